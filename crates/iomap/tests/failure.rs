//! Goal: a failing device or a full one loses nothing silently and leaves nothing behind: no stale
//! reservation, no block counted twice, no error that nobody hears of.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use common::toyfs::{BLOCK, Through, ToyFile, ToyFs};
use common::{TestDevice, assert_empty, toy};
use iomap::{ErrorKind, Host, WritebackControl, buffered_read, buffered_write, writepages};

const B: usize = BLOCK as usize;
const ALL: std::ops::Range<u64> = 0..u64::MAX;

fn setup() -> (Arc<TestDevice>, Arc<ToyFs>) {
    toy(4 << 20, 1 << 20)
}

fn write_back(file: &ToyFile) -> iomap::Result<iomap::WritebackReport> {
    writepages(file, file, ALL, &WritebackControl::default())
}

#[test]
fn failed_writeback_is_reported_once_to_each_opener() {
    let (device, fs) = setup();
    let file = fs.create();
    let cache = file.cache();
    let mut early = cache.sample_error();
    file.write(Through::Cache, 0, &[1; 3 * B]).expect("write");
    *device.fail_writes.lock() = Some(ALL);
    let error = write_back(&file).expect_err("device fails");
    let ErrorKind::Writeback(cause) = &error.kind else { panic!("{error}") };
    assert!(matches!(cause.kind, ErrorKind::Io(_)));
    assert!(!file.cache().is_dirty(), "not retried by itself");

    let mut late = cache.sample_error();
    assert!(cache.check_error(&mut early).is_err(), "who was there hears of it");
    assert!(cache.check_error(&mut early).is_ok(), "once");
    assert!(cache.check_error(&mut late).is_err(), "nobody had seen it when this one came");
    let mut later = cache.sample_error();
    assert!(cache.check_error(&mut later).is_ok(), "seen before this one came");

    *device.fail_writes.lock() = None;
    file.write(Through::Cache, 0, &[2; B]).expect("write");
    write_back(&file).expect("works again");
    assert!(cache.check_error(&mut early).is_ok());
    drop(file);
    assert_empty(&fs);
}

#[test]
fn failed_writeback_drops_the_reservation_but_not_of_blocks_written_meanwhile() {
    let (device, fs) = setup();
    let file = fs.create();
    file.write(Through::Cache, 0, &[1; 2 * B]).expect("write");
    assert_eq!(fs.promised_blocks(), 2);
    let fail = Arc::clone(&device);
    let other = Arc::clone(&file);
    device.before_write.set(move || {
        buffered_write(&*other, &*other, BLOCK, &[3; B]).expect("write");
        *fail.fail_writes.lock() = Some(ALL);
    });
    write_back(&file).expect_err("device fails");
    assert_eq!((fs.used_blocks(), fs.promised_blocks()), (1, 0), "block 0 is given back");
    assert_eq!(file.cache().dirty_range(), Some(BLOCK..2 * BLOCK));
    *device.fail_writes.lock() = None;
    write_back(&file).expect("the second block still has its place");
    file.cache().drop_clean();
    let mut buf = vec![0; 2 * B];
    buffered_read(&*file, &*file, 0, &mut buf).expect("read");
    assert_eq!((&buf[..B], &buf[B..]), (&[0; B][..], &[3; B][..]));
    drop(file);
    assert_empty(&fs);
}

#[test]
fn failure_of_one_range_does_not_stop_the_others() {
    let (_device, fs) = setup();
    let file = fs.create();
    file.write(Through::Cache, 0, &[1; B]).expect("write");
    file.write(Through::Cache, 4 * BLOCK, &[2; B]).expect("write");
    file.write(Through::Cache, 8 * BLOCK, &[3; B]).expect("write");
    // The file system loses the promise of the middle block.
    iomap::WritebackOps::discard_range(&*file, 4 * BLOCK..5 * BLOCK);
    let error = write_back(&file).expect_err("middle block has no space");
    assert!(error.to_string().contains("block 4 has no space"), "{error}");
    assert_eq!(fs.used_blocks(), 2, "the others are written");
    file.cache().drop_clean();
    let mut buf = vec![0; B];
    buffered_read(&*file, &*file, 8 * BLOCK, &mut buf).expect("read");
    assert_eq!(buf, [3; B]);
}

#[test]
fn write_that_cannot_read_the_old_bytes_leaves_nothing_dirty() {
    let (device, fs) = setup();
    let file = fs.create();
    file.write(Through::Cache, 0, &[1; 4 * B]).expect("write");
    file.fsync().expect("sync");
    file.cache().drop_clean();
    *device.fail_reads.lock() = Some(ALL);
    let error = file.write(Through::Cache, 100, &[2; 10]).expect_err("cannot read block 0");
    assert!(matches!(error.kind, ErrorKind::Io(_)), "{error}");
    assert!(!file.cache().is_dirty());
    assert_eq!(fs.pool.cached_bytes(), 0, "no empty folio stays");
    // Block 0 is covered as a whole, block 1 in part: a short write.
    assert_eq!(file.write(Through::Cache, 0, &[2; B + 10]).expect("short"), B);
    assert_eq!(file.cache().dirty_range(), Some(0..BLOCK));
    *device.fail_reads.lock() = None;
    file.fsync().expect("sync");
    file.cache().drop_clean();
    let mut buf = vec![0; 2 * B];
    file.read(Through::Cache, 0, &mut buf).expect("read");
    assert_eq!((&buf[..B], &buf[B..]), (&[2; B][..], &[1; B][..]));
}

/// The same where `begin` made promises for it: a copy-on-write whose source cannot be read.
#[test]
fn failed_copy_on_write_gives_its_promise_back() {
    let (device, fs) = setup();
    let file = fs.create();
    file.write(Through::Cache, 0, &[1; B]).expect("write");
    file.fsync().expect("sync");
    let clone = fs.clone_file(&file).expect("clone");
    file.cache().drop_clean();
    *device.fail_reads.lock() = Some(ALL);
    file.write(Through::Cache, 1, &[2; 10]).expect_err("cannot read");
    assert_eq!((fs.used_blocks(), fs.promised_blocks()), (1, 0));
    *device.fail_reads.lock() = None;
    file.write(Through::Cache, 1, &[2; 10]).expect("write");
    assert_eq!(fs.promised_blocks(), 1);
    file.fsync().expect("sync");
    assert_eq!((fs.used_blocks(), fs.promised_blocks()), (2, 0));
    drop((file, clone));
    assert_empty(&fs);
}

/// `release_unwritten` spares what somebody else dirtied in the promised range.
#[test]
fn release_spares_dirty_blocks() {
    let (_device, fs) = setup();
    let file = fs.create();
    file.write(Through::Cache, 2 * BLOCK, &[1; B]).expect("write");
    let request = iomap::MapRequest {
        offset: 100,
        length: 5 * BLOCK,
        purpose: iomap::Purpose::Write,
        mods: iomap::MapMods::empty(),
    };
    let mapping = iomap::Mapping::new(0, 8 * BLOCK, iomap::MappingKind::Delalloc);
    let released = |mapping: &iomap::Mapping, written: u64| {
        let outcome = iomap::Outcome { written, ..Default::default() };
        let mut ranges = Vec::new();
        iomap::release_unwritten(&*file, &request, mapping, outcome, &mut |r| {
            ranges.push((r.start / BLOCK, r.end / BLOCK));
        });
        ranges
    };
    assert_eq!(released(&mapping, 0), [], "not NEW: nothing was reserved");
    let mapping = mapping.with_flags(iomap::MappingFlags::NEW);
    assert_eq!(released(&mapping, 0), [(0, 2), (3, 6)], "block 2 is dirty; asked up to block 5");
    assert_eq!(released(&mapping, 10), [(1, 2), (3, 6)], "block 0 was written to");
    assert_eq!(released(&mapping, 5 * BLOCK), [], "all written");
}

#[test]
fn bad_sector_that_is_only_read_ahead_does_not_fail_the_read() {
    let (device, fs) = setup();
    let file = fs.create();
    file.write(Through::Cache, 0, &[1; 16 * B]).expect("write");
    file.fsync().expect("sync");
    file.cache().drop_clean();
    *device.fail_reads.lock() = Some(10 * BLOCK..11 * BLOCK);
    let mut buf = vec![0; 2 * B];
    assert_eq!(file.read(Through::Cache, 0, &mut buf).expect("good part"), 2 * B);
    assert_eq!(buf, vec![1; 2 * B]);
    let mut buf = vec![0; 16 * B];
    let read = file.read(Through::Cache, 8 * BLOCK, &mut buf).expect("up to the bad block");
    assert!((1..=2 * B).contains(&read), "{read}");
    file.read(Through::Cache, 10 * BLOCK, &mut buf).expect_err("the bad block itself");
    assert_eq!(file.read(Through::Cache, 11 * BLOCK, &mut buf).expect("behind it"), 5 * B);
}

#[test]
fn failed_direct_write_gives_its_blocks_back() {
    let (device, fs) = setup();
    let file = fs.create();
    file.write(Through::Cache, 0, &[1; B]).expect("write");
    file.fsync().expect("sync");
    *device.fail_writes.lock() = Some(ALL);
    file.write(Through::Device, BLOCK, &[2; 3 * B]).expect_err("device fails");
    assert_eq!((fs.used_blocks(), fs.promised_blocks()), (1, 0));
    assert_eq!(file.size(), BLOCK, "the end did not move");
    drop(file);
    assert_empty(&fs);
}

#[test]
fn direct_write_into_a_full_device_is_short_and_then_fails() {
    let (_device, fs) = toy(4 * B, 1 << 20);
    let file = fs.create();
    let written = file.write(Through::Device, 0, &[1; 6 * B]).expect("short");
    assert_eq!(written, 4 * B);
    let error = file.write(Through::Device, 4 * BLOCK, &[1; B]).expect_err("full");
    assert!(matches!(error.kind, ErrorKind::NoSpace));
    assert_eq!(file.size(), 4 * BLOCK);
}

/// Fails the nth device write for all n until nothing fails: each time nothing leaks and the file
/// can be written again.
#[test]
fn any_failing_block_leaves_the_volume_consistent() {
    for bad in 0..12u64 {
        let (device, fs) = setup();
        let file = fs.create();
        *device.fail_writes.lock() = Some(bad * BLOCK..(bad + 1) * BLOCK);
        for n in 0..4u64 {
            file.write(Through::Cache, n * 3 * BLOCK, &[n as u8 + 1; 2 * B]).expect("write");
        }
        let failed = write_back(&file).is_err();
        assert_eq!(failed, bad < 8, "block {bad}");
        assert_eq!(fs.promised_blocks(), 0);
        *device.fail_writes.lock() = None;
        for n in 0..4u64 {
            file.write(Through::Cache, n * 3 * BLOCK, &[n as u8 + 1; 2 * B]).expect("write");
        }
        write_back(&file).expect("second try");
        file.cache().drop_clean();
        for n in 0..4u64 {
            let mut buf = vec![0; 2 * B];
            file.read(Through::Cache, n * 3 * BLOCK, &mut buf).expect("read");
            assert_eq!(buf, vec![n as u8 + 1; 2 * B]);
        }
        drop(file);
        assert_empty(&fs);
    }
}

#[test]
fn limited_writeback_stops_near_its_limit() {
    let (device, fs) = setup();
    let file = fs.create();
    for n in 0..16u64 {
        file.write(Through::Cache, n * 2 * BLOCK, &[1; B]).expect("write");
    }
    let control = WritebackControl { max_bytes: 4 * BLOCK, batch_bytes: 2 * BLOCK };
    let report = writepages(&*file, &*file, ALL, &control).expect("writeback");
    assert_eq!((report.bytes, report.ioends), (4 * BLOCK, 4));
    assert_eq!(device.writes.load(SeqCst), 4);
    assert_eq!(file.cache().dirty_bytes(), 12 * BLOCK);
    assert_eq!(file.cache().dirty_range(), Some(8 * BLOCK..31 * BLOCK), "in order of offset");
}
