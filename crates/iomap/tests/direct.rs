//! Goal: direct I/O does what it says about alignment, edges, the cache and the number of device
//! requests.

mod common;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use common::toyfs::{BLOCK, Through, ToyFile, ToyFs};
use common::{TestDevice, toy};
use iomap::{
    DirectWritten, Host, Ioend, IoendFlags, MapReply, MapRequest, Mapping, MappingOps, Outcome,
    Result, WritebackOps, direct_read, direct_write,
};

const B: usize = BLOCK as usize;

fn setup() -> (Arc<TestDevice>, Arc<ToyFs>) {
    toy(4 << 20, 1 << 20)
}

/// A file of `blocks` written blocks of `byte`, none cached, with blocks (not inline).
fn file_of(fs: &Arc<ToyFs>, blocks: usize, byte: u8) -> Arc<ToyFile> {
    let file = fs.create();
    file.write(Through::Cache, 0, &vec![byte; blocks * B]).expect("write");
    file.fsync().expect("sync");
    file.cache().drop_clean();
    file
}

/// First block, blocks, flags and pieces of an ioend.
type Seen = (u64, u64, IoendFlags, usize);

/// The operations of a file, with the ioends they got.
struct Recorded {
    file: Arc<ToyFile>,
    submits: RefCell<Vec<Vec<Seen>>>,
}

impl Recorded {
    fn new(file: &Arc<ToyFile>) -> Self {
        Self { file: Arc::clone(file), submits: RefCell::default() }
    }
}

impl MappingOps for Recorded {
    fn begin(&self, request: &MapRequest) -> Result<MapReply> {
        self.file.begin(request)
    }
    fn end(&self, request: &MapRequest, mapping: &Mapping, outcome: Outcome) -> Result<()> {
        self.file.end(request, mapping, outcome)
    }
    fn is_valid(&self, mapping: &Mapping) -> bool {
        self.file.is_valid(mapping)
    }
}

impl WritebackOps for Recorded {
    fn map_blocks(&self, offset: u64, length: u64) -> Result<Mapping> {
        self.file.map_blocks(offset, length)
    }
    fn submit(&self, ioends: &[Ioend<'_>]) -> Result<()> {
        let record =
            |i: &Ioend<'_>| (i.offset / BLOCK, i.length / BLOCK, i.flags, i.pieces().len());
        self.submits.borrow_mut().push(ioends.iter().map(record).collect());
        self.file.submit(ioends)
    }
    fn discard_range(&self, range: std::ops::Range<u64>) {
        self.file.discard_range(range);
    }
}

fn write(file: &Arc<ToyFile>, offset: u64, bytes: &[u8]) -> Result<DirectWritten> {
    direct_write(&**file, &**file, offset, bytes)
}

fn read_all(file: &ToyFile) -> Vec<u8> {
    let mut buf = vec![0xee; file.size() as usize];
    assert_eq!(file.read(Through::Device, 0, &mut buf).expect("read"), buf.len());
    buf
}

#[test]
fn partial_overwrite_of_written_blocks_needs_the_page_cache_and_does_nothing() {
    let (device, fs) = setup();
    let file = file_of(&fs, 4, 1);
    let before = device.writes.load(SeqCst);
    for (offset, length) in [(100, 50), (100, B), (0, 100), (0, B + 100), (B + 1, 2 * B)] {
        let error = write(&file, offset as u64, &vec![2; length]).expect_err("would need a read");
        assert!(error.needs_buffered(), "{offset} {length}: {error}");
    }
    assert_eq!(device.writes.load(SeqCst), before, "nothing was done");
    assert_eq!(read_all(&file), vec![1; 4 * B]);
}

#[test]
fn whole_blocks_are_overwritten_in_place() {
    let (_device, fs) = setup();
    let file = file_of(&fs, 4, 1);
    let done = write(&file, BLOCK, &[2; 2 * B]).expect("write");
    assert_eq!(done, DirectWritten { written: 2 * B, size_changed: false, pure_overwrite: true });
    let bytes = read_all(&file);
    assert_eq!((bytes[B - 1], bytes[B], bytes[3 * B - 1], bytes[3 * B]), (1, 2, 2, 1));
}

#[test]
fn tail_at_the_end_of_the_file_is_padded_with_zeros() {
    let (_device, fs) = setup();
    let file = file_of(&fs, 1, 1);
    let done = write(&file, 0, &[2; B + 100]).expect("write");
    assert_eq!((done.written, done.size_changed, done.pure_overwrite), (B + 100, true, false));
    assert_eq!(file.size(), BLOCK + 100);
    assert_eq!(read_all(&file), vec![2; B + 100]);
    // Up to the end exactly: the block is replaced as a whole.
    write(&file, BLOCK, &[3; 100]).expect("reaches the end");
    assert!(write(&file, BLOCK, &[3; 99]).expect_err("does not").needs_buffered());
    file.truncate(2 * BLOCK).expect("grow");
    let bytes = read_all(&file);
    assert!(bytes[B + 100..].iter().all(|&byte| byte == 0), "padding, not garbage");
}

#[test]
fn parts_of_fresh_blocks_are_padded_on_both_sides() {
    let (_device, fs) = setup();
    let file = fs.create();
    file.truncate(8 * BLOCK).expect("size");
    file.allocate(0..2 * BLOCK).expect("unwritten");
    write(&file, 100, &[1; 50]).expect("unwritten block");
    write(&file, 5 * BLOCK + 10, &[2; B]).expect("holes");
    let mut wanted = vec![0; 8 * B];
    wanted[100..150].fill(1);
    wanted[5 * B + 10..6 * B + 10].fill(2);
    assert_eq!(read_all(&file), wanted);
    let again = write(&file, 200, &[3; 50]).expect_err("now it is written");
    assert!(again.needs_buffered());
}

#[test]
fn part_of_a_fresh_block_with_cached_data_needs_the_page_cache() {
    let (_device, fs) = setup();
    let file = fs.create();
    file.truncate(2 * BLOCK).expect("size");
    file.write(Through::Cache, 10, &[1; 10]).expect("promised, dirty");
    assert!(write(&file, 100, &[2; 10]).expect_err("dirty").needs_buffered());
}

#[test]
fn all_mappings_of_a_write_go_out_in_one_submit_sorted_and_merged() {
    let (_device, fs) = setup();
    let file = fs.create();
    file.truncate(8 * BLOCK).expect("size");
    file.write(Through::Device, 2 * BLOCK, &[1; B]).expect("one written block");
    let ops = Recorded::new(&file);
    direct_write(&ops, &*file, 0, &[2; 6 * B]).expect("write");
    let submits = ops.submits.borrow();
    assert_eq!(submits.len(), 1, "one submit for the request");
    let fresh = IoendFlags::DIRECT | IoendFlags::NEW | IoendFlags::UNWRITTEN;
    // Blocks 0-1 and 3-5 are new; 2 is overwritten.
    assert_eq!(submits[0], [(0, 2, fresh, 2), (2, 1, IoendFlags::DIRECT, 1), (3, 3, fresh, 3)]);
    assert_eq!(&read_all(&file)[..6 * B], &[2; 6 * B]);
}

#[test]
fn writeback_merges_neighbouring_folios_into_one_ioend() {
    let (_device, fs) = setup();
    let file = fs.create();
    for block in [3, 1, 2, 0, 9] {
        file.write(Through::Cache, block * BLOCK, &[1; B]).expect("write");
    }
    let ops = Recorded::new(&file);
    iomap::writepages(&ops, &*file, 0..u64::MAX, &iomap::WritebackControl::default())
        .expect("writeback");
    let unwritten = IoendFlags::UNWRITTEN;
    assert_eq!(*ops.submits.borrow(), [vec![(0, 4, unwritten, 4), (9, 1, unwritten, 1)]]);
}

#[test]
fn read_of_many_mappings_is_one_batch() {
    let (device, fs) = setup();
    let file = fs.create();
    // Every other block, so that no two are neighbours in the file.
    for n in 0..8u64 {
        file.write(Through::Cache, 2 * n * BLOCK, &[n as u8 + 1; B]).expect("write");
    }
    file.fsync().expect("sync");
    file.cache().drop_clean();
    let (batches, reads) = (device.batches.load(SeqCst), device.reads.load(SeqCst));
    let bytes = read_all(&file);
    assert_eq!(device.batches.load(SeqCst) - batches, 1);
    assert_eq!(device.reads.load(SeqCst) - reads, 8, "holes cost nothing");
    for n in 0..8 {
        assert!(bytes[2 * n * B..(2 * n + 1) * B].iter().all(|&byte| byte == n as u8 + 1));
    }
}

#[test]
fn read_needs_no_alignment() {
    let (_device, fs) = setup();
    let file = fs.create();
    let wanted: Vec<u8> = (0..3 * B + 77).map(|n| (n % 251) as u8).collect();
    file.write(Through::Cache, 0, &wanted).expect("write");
    for (offset, length) in
        [(0, 1), (511, 2), (512, 512), (513, 1000), (100, 3 * B), (3 * B + 70, 100), (1, 4 * B)]
    {
        let mut buf = vec![0xee; length + 1];
        let read = direct_read(&*file, &*file, offset as u64, &mut buf[1..]).expect("read");
        let end = (offset + length).min(wanted.len());
        assert_eq!(&buf[1..1 + read], &wanted[offset..end], "{offset} {length}");
    }
    assert_eq!(direct_read(&*file, &*file, 1 << 30, &mut [0; 10]).expect("past the end"), 0);
}

#[test]
fn direct_and_buffered_see_each_other() {
    let (_device, fs) = setup();
    let file = file_of(&fs, 4, 1);
    file.write(Through::Cache, 10, &[2; 10]).expect("dirty");
    assert_eq!(read_all(&file)[10..20], [2; 10], "dirty data is written back first");
    let mut buf = [0; 4 * B];
    file.read(Through::Cache, 0, &mut buf).expect("cached now");
    write(&file, 0, &[3; B]).expect("write");
    file.read(Through::Cache, 0, &mut buf).expect("read");
    assert_eq!((buf[0], buf[B - 1], buf[B]), (3, 3, 1), "the cache forgot");
}

#[test]
fn owned_piece_outlives_the_write() {
    let (_device, fs) = setup();
    struct Keep(Arc<ToyFile>, RefCell<Vec<iomap::Piece<'static>>>);
    impl MappingOps for Keep {
        fn begin(&self, request: &MapRequest) -> Result<MapReply> {
            self.0.begin(request)
        }
    }
    impl WritebackOps for Keep {
        fn map_blocks(&self, offset: u64, length: u64) -> Result<Mapping> {
            self.0.map_blocks(offset, length)
        }
        fn submit(&self, ioends: &[Ioend<'_>]) -> Result<()> {
            let pieces = ioends.iter().flat_map(Ioend::pieces);
            self.1.borrow_mut().extend(pieces.map(iomap::Piece::to_owned_piece));
            self.0.submit(ioends)
        }
        fn discard_range(&self, _range: std::ops::Range<u64>) {}
    }
    let file = file_of(&fs, 1, 1);
    let ops = Keep(Arc::clone(&file), RefCell::default());
    file.write(Through::Cache, 0, &[2; B]).expect("write");
    iomap::writepages(&ops, &*file, 0..u64::MAX, &iomap::WritebackControl::default())
        .expect("writeback");
    direct_write(&ops, &*file, 0, &[3; B]).expect("direct");
    file.write(Through::Cache, 0, &[4; B]).expect("write");
    let kept = ops.1.borrow();
    assert_eq!((kept[0].bytes(), kept[1].bytes()), (&[2; B][..], &[3; B][..]));
}
