//! Goal: each race that the library closes is closed.
//!
//! Method: the other party's step runs at the exact moment where it would do harm, from a hook in
//! the device or after `begin`. The library is called without the inode lock here, as it would be
//! by threads that share it. Each test names the rule it holds the library to.

mod common;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use common::toyfs::{BLOCK, Through, ToyFile, ToyFs};
use common::{AfterBegin, TestDevice, toy};
use iomap::{Host, WritebackControl, buffered_read, buffered_write, writepages};

const B: usize = BLOCK as usize;

/// A file of `blocks` blocks full of `byte`, all written and none cached.
fn file_of(fs: &Arc<ToyFs>, blocks: usize, byte: u8) -> Arc<ToyFile> {
    let file = fs.create();
    assert_eq!(file.write(Through::Cache, 0, &vec![byte; blocks * B]).expect("write"), blocks * B);
    file.fsync().expect("sync");
    file.cache().drop_clean();
    file
}

fn read_block(file: &ToyFile, block: usize) -> Vec<u8> {
    let mut buf = vec![0xee; B];
    let read = buffered_read(file, file, (block * B) as u64, &mut buf).expect("read");
    buf.truncate(read);
    buf
}

fn write_block(file: &ToyFile, block: usize, byte: u8) {
    let offset = (block * B) as u64;
    assert_eq!(buffered_write(file, file, offset, &[byte; B]).expect("write"), B);
}

fn write_back(file: &ToyFile) {
    writepages(file, file, 0..u64::MAX, &WritebackControl::default()).expect("writeback");
}

fn setup() -> (Arc<TestDevice>, Arc<ToyFs>) {
    toy(4 << 20, 1 << 20)
}

/// fill.rs: a write clears the mark, so the bytes read meanwhile are ignored.
#[test]
fn write_during_a_read_of_the_same_block_wins() {
    let (device, fs) = setup();
    let file = file_of(&fs, 4, 1);
    let other = Arc::clone(&file);
    device.after_read.set(move || write_block(&other, 2, 9));
    read_block(&file, 0); // Reads ahead to block 3.
    assert!(device.after_read.has_run());
    assert_eq!(read_block(&file, 2), [9; B]);
    file.fsync().expect("sync");
    file.cache().drop_clean();
    assert_eq!(read_block(&file, 2), [9; B]);
}

/// fill.rs: as above, when the written block was even written back and evicted meanwhile.
#[test]
fn read_that_began_before_a_write_does_not_bring_old_bytes_back_after_its_eviction() {
    let (device, fs) = setup();
    let file = file_of(&fs, 4, 1);
    let other = Arc::clone(&file);
    device.after_read.set(move || {
        write_block(&other, 2, 9);
        write_back(&other);
        other.cache().drop_clean();
        other.cache().pool().shrink_to(0);
    });
    read_block(&file, 0);
    assert_eq!(read_block(&file, 2), [9; B]);
}

/// fill.rs: invalidated blocks are not filled by reads that began before, even if they are being
/// read again when the old read ends (epoch).
#[test]
fn read_that_began_before_an_invalidation_is_ignored_though_the_block_is_read_again() {
    let (device, fs) = setup();
    let file = file_of(&fs, 16, 1);
    let (release, released) = mpsc::channel::<()>();
    let second = Arc::new(parking_lot::Mutex::new(None));
    let (inner_device, inner_file, inner_second) =
        (Arc::clone(&device), Arc::clone(&file), Arc::clone(&second));
    device.after_read.set(move || {
        // The first read has the old bytes. Block 6 is replaced behind the cache; block 5 keeps the
        // folio.
        write_block(&inner_file, 5, 2);
        write_block(&inner_file, 6, 2);
        write_back(&inner_file);
        inner_file.cache().invalidate(6 * BLOCK..7 * BLOCK);
        let (begun, has_begun) = mpsc::channel();
        inner_device.after_read.set(move || {
            begun.send(()).expect("the first read waits");
            released.recv().expect("released");
        });
        let file = Arc::clone(&inner_file);
        *inner_second.lock() = Some(std::thread::spawn(move || read_block(&file, 6)));
        has_begun.recv().expect("the second read begins");
    });
    // Ends while the second read is under way.
    let mut buf = vec![0; B];
    buffered_read(&*file, &*file, 0, &mut buf).expect("read");
    release.send(()).expect("the second read waits");
    let second = second.lock().take().expect("spawned").join().expect("no panic");
    assert_eq!(second, [2; B]);
    assert_eq!(read_block(&file, 6), [2; B]);
}

/// fill.rs: a mapping is used only if it is valid when the blocks are marked. The block moves
/// (copy-on-write), its old place belongs to somebody else.
#[test]
fn read_never_follows_a_mapping_that_changed_after_begin() {
    let (_device, fs) = setup();
    let file = file_of(&fs, 1, 1);
    let clone = fs.clone_file(&file).expect("clone");
    let (other, other_fs) = (Arc::clone(&file), Arc::clone(&fs));
    let ops = AfterBegin::new(&file, move || {
        write_block(&other, 0, 2);
        write_back(&other);
        other.cache().drop_clean();
        drop(clone);
        // Takes every free block, the old one of `file` among them.
        let secret = other_fs.create();
        while secret.write(Through::Cache, secret.size(), &vec![0x5e; 64 * B]).is_ok() {}
        write_back(&secret);
    });
    let mut buf = vec![0; B];
    assert_eq!(buffered_read(&ops, &*file, 0, &mut buf).expect("read"), B);
    assert!(ops.hook.has_run());
    assert_eq!(buf, [2; B]);
    assert_eq!(read_block(&file, 0), [2; B]);
}

/// read.rs: zeros of an unwritten range are given only if it still is unwritten when the cache is
/// looked at.
#[test]
fn read_of_an_unwritten_range_sees_what_was_written_back_and_evicted_after_begin() {
    let (_device, fs) = setup();
    let file = fs.create();
    file.truncate(2 * BLOCK).expect("size");
    file.allocate(0..2 * BLOCK).expect("allocate");
    let other = Arc::clone(&file);
    let ops = AfterBegin::new(&file, move || {
        write_block(&other, 1, 7);
        write_back(&other);
        other.cache().drop_clean();
    });
    let mut buf = vec![0xee; 2 * B];
    assert_eq!(buffered_read(&ops, &*file, 0, &mut buf).expect("read"), 2 * B);
    assert_eq!((&buf[..B], &buf[B..]), (&[0; B][..], &[7; B][..]));
}

/// store.rs: a write goes only where a valid mapping says. The block became shared.
#[test]
fn write_never_follows_a_mapping_that_changed_after_begin() {
    let (_device, fs) = setup();
    let file = file_of(&fs, 1, 1);
    let clone = Arc::new(parking_lot::Mutex::new(None));
    let (other, other_fs, slot) = (Arc::clone(&file), Arc::clone(&fs), Arc::clone(&clone));
    let ops = AfterBegin::new(&file, move || {
        *slot.lock() = Some(other_fs.clone_file(&other).expect("clone"));
    });
    assert_eq!(buffered_write(&ops, &*file, 0, &[2; B]).expect("write"), B);
    write_back(&file);
    file.cache().drop_clean();
    let clone = clone.lock().take().expect("the hook ran");
    assert_eq!(read_block(&clone, 0), [1; B], "the clone keeps its bytes");
    assert_eq!(read_block(&file, 0), [2; B]);
}

/// zero.rs: as for reads, before an unwritten range is skipped.
#[test]
fn zeroing_sees_what_was_written_back_and_evicted_after_begin() {
    let (_device, fs) = setup();
    let file = fs.create();
    file.truncate(2 * BLOCK).expect("size");
    file.allocate(0..2 * BLOCK).expect("allocate");
    let other = Arc::clone(&file);
    let ops = AfterBegin::new(&file, move || {
        write_block(&other, 1, 7);
        write_back(&other);
        other.cache().drop_clean();
    });
    // Something cached, so that there is a cache to look at.
    write_block(&file, 0, 1);
    iomap::zero_range(&ops, &*file, BLOCK, BLOCK).expect("zero");
    assert_eq!(read_block(&file, 1), [0; B]);
}

/// take.rs: a write during writeback dirties the block again, and the bytes under writeback do not
/// change (F3).
#[test]
fn write_during_writeback_is_kept_and_does_not_change_what_is_being_written() {
    let (device, fs) = setup();
    let file = file_of(&fs, 2, 1);
    write_block(&file, 0, 2);
    write_block(&file, 1, 2);
    let other = Arc::clone(&file);
    device.before_write.set(move || {
        write_block(&other, 1, 3);
        assert_eq!(other.cache().writeback_bytes(), 2 * BLOCK);
    });
    write_back(&file);
    assert_eq!(file.cache().dirty_range(), Some(BLOCK..2 * BLOCK), "written again");
    assert_eq!(file.cache().writeback_bytes(), 0);
    let written = device.memory.to_bytes();
    assert_eq!((&written[..B], &written[B..2 * B]), (&[2; B][..], &[2; B][..]));
    assert_eq!(read_block(&file, 1), [3; B]);
    write_back(&file);
    assert!(!file.cache().is_dirty());
    assert_eq!(&device.memory.to_bytes()[B..2 * B], &[3; B][..]);
}

/// inline.rs: the same for inline data.
#[test]
fn write_while_inline_data_is_stored_is_kept() {
    let (_device, fs) = setup();
    let file = fs.create();
    buffered_write(&*file, &*file, 0, b"old").expect("write");
    iomap::take_inline(&*file, &*file, 3, |bytes| {
        assert_eq!(bytes, b"old");
        buffered_write(&*file, &*file, 0, b"new")?;
        assert_eq!(bytes, b"old", "F3");
        Ok(())
    })
    .expect("take");
    assert!(file.cache().is_dirty());
    file.fsync().expect("sync");
    file.cache().drop_clean();
    let mut buf = [0; 3];
    file.read(Through::Cache, 0, &mut buf).expect("read");
    assert_eq!(&buf, b"new");
}

/// writeback: one at a time per file, so that older bytes never land after newer ones; and a second
/// caller returns only when what the first took is written.
#[test]
fn second_writeback_waits_for_the_first() {
    let (device, fs) = setup();
    let file = file_of(&fs, 1, 1);
    write_block(&file, 0, 2);
    let (begun, has_begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    device.before_write.set(move || {
        begun.send(()).expect("test waits");
        released.recv().expect("released");
    });
    let first = std::thread::spawn({
        let file = Arc::clone(&file);
        move || write_back(&file)
    });
    has_begun.recv().expect("first writeback begins");
    write_block(&file, 0, 3);
    let (done, is_done) = mpsc::channel();
    let second = std::thread::spawn({
        let file = Arc::clone(&file);
        move || {
            write_back(&file);
            done.send(()).expect("test waits");
        }
    });
    assert!(is_done.recv_timeout(Duration::from_millis(50)).is_err(), "must wait");
    release.send(()).expect("first waits");
    is_done.recv().expect("second ends");
    first.join().expect("no panic");
    second.join().expect("no panic");
    assert_eq!(&device.memory.to_bytes()[..B], &[3; B][..], "newest bytes last");
}

/// drop.rs: blocks under writeback are not dropped before they are written: their place may be
/// given away right after.
#[test]
fn truncate_and_invalidate_wait_for_writeback() {
    let calls: [fn(&ToyFile); 3] = [
        |file| file.cache().truncate(0),
        |file| file.cache().invalidate(0..2 * BLOCK),
        |file| assert!(file.cache().invalidate_clean(0..2 * BLOCK)),
    ];
    for call in calls {
        let (device, fs) = setup();
        let file = file_of(&fs, 2, 1);
        write_block(&file, 1, 2);
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        device.before_write.set(move || {
            begun.send(()).expect("test waits");
            released.recv().expect("released");
        });
        let writer = std::thread::spawn({
            let file = Arc::clone(&file);
            move || write_back(&file)
        });
        has_begun.recv().expect("writeback begins");
        let (done, is_done) = mpsc::channel();
        let dropper = std::thread::spawn({
            let file = Arc::clone(&file);
            move || {
                call(&file);
                done.send(()).expect("test waits");
            }
        });
        assert!(is_done.recv_timeout(Duration::from_millis(50)).is_err(), "must wait");
        release.send(()).expect("writer waits");
        is_done.recv().expect("ends");
        writer.join().expect("no panic");
        dropper.join().expect("no panic");
        assert!(!file.cache().has_cached_data(BLOCK..2 * BLOCK));
    }
}

/// writeback: what lies past the end of the file is neither written nor lost: a write that grows
/// the file is seen with its size or not at all.
#[test]
fn blocks_past_the_end_stay_dirty_and_the_tail_is_written_as_zeros() {
    let (device, fs) = setup();
    let file = file_of(&fs, 1, 1);
    write_block(&file, 0, 2);
    write_block(&file, 1, 2);
    file.set_size(100);
    write_back(&file);
    assert_eq!(file.cache().dirty_range(), Some(BLOCK..2 * BLOCK));
    let written = device.memory.to_bytes();
    assert!(written[..100].iter().all(|&byte| byte == 2));
    assert!(written[100..B].iter().all(|&byte| byte == 0), "no old bytes past the end");
    file.set_size(2 * BLOCK);
    write_back(&file);
    assert!(!file.cache().is_dirty());
    assert_eq!(read_block(&file, 1), [2; B]);
}

/// fill.rs: what the device has past the end of the file never gets into the cache.
#[test]
fn growing_file_shows_zeros_whatever_the_device_had_past_the_old_end() {
    let (_device, fs) = setup();
    let file = file_of(&fs, 1, 7);
    file.set_size(100);
    assert_eq!(read_block(&file, 0), [7; 100]);
    buffered_write(&*file, &*file, 200, &[9]).expect("write");
    let block = read_block(&file, 0);
    assert_eq!((&block[..100], &block[100..200], block[200]), (&[7; 100][..], &[0; 100][..], 9));
}

/// direct/write.rs: what a reader cached while the device was written is dropped.
#[test]
fn read_during_a_direct_write_does_not_leave_old_bytes_in_the_cache() {
    let (device, fs) = setup();
    let file = file_of(&fs, 1, 1);
    let other = Arc::clone(&file);
    device.before_write.set(move || assert_eq!(read_block(&other, 0), [1; B]));
    iomap::direct_write(&*file, &*file, 0, &[2; B]).expect("direct write");
    assert!(device.before_write.has_run());
    assert_eq!(read_block(&file, 0), [2; B]);
}

/// A callback that panics leaves the blocks dirty and nobody waiting.
#[test]
fn panic_in_submit_leaves_the_blocks_dirty() {
    let (device, fs) = setup();
    let file = file_of(&fs, 1, 1);
    write_block(&file, 0, 2);
    device.before_write.set(|| panic!("planted"));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write_back(&file)));
    assert!(caught.is_err());
    assert_eq!((file.cache().dirty_bytes(), file.cache().writeback_bytes()), (BLOCK, 0));
    write_back(&file);
    file.cache().truncate(0);
}

/// Two readers of one missing block read it once.
#[test]
fn second_reader_of_a_block_waits_for_the_first() {
    let (device, fs) = setup();
    let file = file_of(&fs, 1, 1);
    let before = device.reads.load(std::sync::atomic::Ordering::SeqCst);
    let second = Arc::new(parking_lot::Mutex::new(None));
    let (other, slot) = (Arc::clone(&file), Arc::clone(&second));
    device.after_read.set(move || {
        *slot.lock() = Some(std::thread::spawn(move || read_block(&other, 0)));
        std::thread::sleep(Duration::from_millis(30));
    });
    assert_eq!(read_block(&file, 0), [1; B]);
    let second = second.lock().take().expect("spawned").join().expect("no panic");
    assert_eq!(second, [1; B]);
    assert_eq!(device.reads.load(std::sync::atomic::Ordering::SeqCst) - before, 1);
}

/// F4: a folio that is being read into is not evicted, nor is a dirty one.
#[test]
fn eviction_spares_folios_in_use() {
    let (device, fs) = setup();
    let file = file_of(&fs, 4, 1);
    read_block(&file, 0);
    // Block 0 stays, clean, in a folio of four blocks.
    file.cache().invalidate(BLOCK..4 * BLOCK);
    let other = Arc::clone(&file);
    device.after_read.set(move || {
        other.cache().pool().shrink_to(0);
        assert!(other.cache().has_cached_data(0..BLOCK), "being read into");
    });
    assert_eq!(read_block(&file, 1), [1; B]);
    assert!(device.after_read.has_run());
    write_block(&file, 0, 2);
    fs.pool.shrink_to(0);
    assert_eq!(file.cache().dirty_bytes(), BLOCK);
    write_back(&file);
    fs.pool.shrink_to(0);
    assert_eq!(fs.pool.cached_bytes(), 0, "clean and idle: goes");
}
