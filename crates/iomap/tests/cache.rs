//! Goal: the pool keeps its budget, its counters and its resistance to scans; idle caches are tiny;
//! seek and fiemap report what is there.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use common::toy;
use common::toyfs::{BLOCK, Through, ToyFile};
use iomap::{CachePool, ErrorKind, Host, MappingKind, MappingOps, PageCache, ReportFlags};

const B: usize = BLOCK as usize;

fn read(file: &ToyFile, offset: u64, length: usize) -> Vec<u8> {
    let mut buf = vec![0; length];
    let read = file.read(Through::Cache, offset, &mut buf).expect("read");
    buf.truncate(read);
    buf
}

#[test]
fn small_write_costs_one_block_of_memory() {
    let (_device, fs) = toy(4 << 20, 1 << 20);
    let file = fs.create();
    file.write(Through::Cache, 0, &[1; 100]).expect("write");
    assert_eq!((fs.pool.cached_bytes(), fs.pool.dirty_bytes()), (BLOCK, BLOCK));
    file.write(Through::Cache, 1000, &vec![1; 64 * 1024]).expect("write");
    assert_eq!(fs.pool.cached_bytes(), 17 * BLOCK);
    file.truncate(10).expect("truncate");
    assert_eq!((fs.pool.cached_bytes(), fs.pool.dirty_bytes()), (BLOCK, BLOCK));
    drop(file);
    common::assert_empty(&fs);
}

#[test]
fn idle_cache_is_tiny() {
    assert!(size_of::<PageCache>() <= 48, "{}", size_of::<PageCache>());
}

#[test]
#[should_panic(expected = "cannot be cached")]
fn odd_block_size_is_refused() {
    drop(PageCache::new(&CachePool::new(0), 1000));
}

#[test]
fn clean_folios_stay_within_the_budget() {
    let budget = 256 * 1024;
    let (_device, fs) = toy(8 << 20, budget);
    let files: Vec<_> = (0..4u8)
        .map(|n| {
            let file = fs.create();
            for block in 0..64u64 {
                file.write(Through::Cache, block * BLOCK, &[n + 1; B]).expect("write");
                file.write_back().expect("writeback");
                assert!(fs.pool.cached_bytes() <= budget, "{}", fs.pool.cached_bytes());
            }
            file
        })
        .collect();
    for (n, file) in files.iter().enumerate() {
        assert_eq!(read(file, 0, 64 * B), vec![n as u8 + 1; 64 * B]);
        assert!(fs.pool.cached_bytes() <= budget, "{}", fs.pool.cached_bytes());
    }
    assert_eq!(fs.pool.clean_bytes(), fs.pool.cached_bytes());
}

#[test]
fn dirty_data_is_counted_for_throttling() {
    let (_device, fs) = toy(8 << 20, 64 * BLOCK);
    let file = fs.create();
    file.write(Through::Cache, 0, &[1; 16 * B]).expect("write");
    assert!(!fs.pool.over_background_limit());
    file.write(Through::Cache, 16 * BLOCK, &[1; B]).expect("write");
    assert!(fs.pool.over_background_limit() && !fs.pool.over_hard_limit(), "over a quarter");
    file.write(Through::Cache, 17 * BLOCK, &[1; 16 * B]).expect("write");
    assert!(fs.pool.over_hard_limit(), "over a half");
    file.write_back().expect("writeback");
    assert!(!fs.pool.over_background_limit());
    assert_eq!(fs.pool.dirty_bytes(), 0);
}

/// S3-FIFO: a scan of a file much larger than the cache leaves alone what was used several times.
#[test]
fn scan_does_not_evict_what_is_in_use() {
    let (device, fs) = toy(16 << 20, 1 << 20);
    let (hot, cold) = (fs.create(), fs.create());
    hot.write(Through::Cache, 0, &[1; 32 * B]).expect("write");
    hot.fsync().expect("sync");
    for chunk in 0..8u64 {
        cold.write(Through::Cache, chunk << 20, &vec![2; 1 << 20]).expect("write");
        cold.fsync().expect("sync");
    }
    fs.pool.shrink_to(0);
    let read_hot = || {
        for block in (0..32).step_by(16) {
            read(&hot, block * BLOCK, B);
        }
    };
    for _ in 0..4 {
        read_hot();
    }
    let scan = || {
        for n in 0..2048u64 {
            read(&cold, n * BLOCK, B);
        }
    };
    for round in 0..3 {
        scan();
        let before = device.reads.load(SeqCst);
        read_hot();
        assert_eq!(device.reads.load(SeqCst), before, "round {round}");
    }
    let before = device.reads.load(SeqCst);
    scan();
    assert!(device.reads.load(SeqCst) - before > 100, "the scan itself does not fit");
}

/// Entries of folios that are gone do not pile up in the queues.
#[test]
fn files_that_come_and_go_leave_nothing_in_the_pool() {
    let (_device, fs) = toy(4 << 20, 1 << 30);
    for _ in 0..20_000 {
        let file = fs.create();
        file.write(Through::Cache, 0, &[1; 300]).expect("write");
        file.write_back().expect("writeback");
    }
    common::assert_empty(&fs);
    let words = format!("{:?}", fs.pool);
    let entries = words.matches("Entry {").count();
    assert!(entries <= 2500, "{entries} dead entries");
}

/// A cache that is gone is no danger to eviction.
#[test]
fn eviction_survives_files_that_are_gone() {
    let (_device, fs) = toy(4 << 20, 64 * 1024);
    let keep = fs.create();
    for n in 0..100u64 {
        let file = fs.create();
        file.write(Through::Cache, 0, &[n as u8; 3 * B]).expect("write");
        file.write_back().expect("writeback");
        keep.write(Through::Cache, n * BLOCK, &[n as u8 + 1; B]).expect("write");
        keep.write_back().expect("writeback");
    }
    for n in 0..100u64 {
        assert_eq!(read(&keep, n * BLOCK, B), [n as u8 + 1; B]);
    }
}

#[test]
fn holes_and_unwritten_ranges_cost_no_memory_to_read() {
    let (_device, fs) = toy(4 << 20, 1 << 20);
    let file = fs.create();
    file.truncate(100 * BLOCK).expect("size");
    file.allocate(10 * BLOCK..20 * BLOCK).expect("allocate");
    assert_eq!(read(&file, 5, 30 * B), vec![0; 30 * B]);
    assert_eq!(fs.pool.cached_bytes(), 0);
}

#[test]
fn sequential_read_becomes_few_device_reads() {
    let (device, fs) = toy(8 << 20, 16 << 20);
    let file = fs.create();
    file.write(Through::Cache, 0, &vec![1; 4 << 20]).expect("write");
    file.fsync().expect("sync");
    file.cache().drop_clean();
    let before = device.batches.load(SeqCst);
    for n in 0..1024u64 {
        assert_eq!(read(&file, n * BLOCK, B), [1; B]);
    }
    // 128 K, 256 K, 512 K, then 1 MiB each.
    assert_eq!(device.batches.load(SeqCst) - before, 7);
}

#[test]
fn random_read_reads_only_what_it_asks_for() {
    let (device, fs) = toy(8 << 20, 16 << 20);
    let file = fs.create();
    file.write(Through::Cache, 0, &vec![1; 4 << 20]).expect("write");
    file.fsync().expect("sync");
    file.cache().drop_clean();
    for n in [100, 20, 300, 77] {
        read(&file, n * BLOCK, 100);
    }
    assert_eq!(fs.pool.cached_bytes(), 4 * BLOCK);
    assert_eq!(device.batches.load(SeqCst), 0, "single reads");
}

#[test]
fn seek_finds_data_and_holes() {
    let (_device, fs) = toy(4 << 20, 1 << 20);
    let file = fs.create();
    file.truncate(20 * BLOCK + 5).expect("size");
    file.write(Through::Cache, 2 * BLOCK, &[1; 2 * B]).expect("delalloc data");
    file.allocate(8 * BLOCK..12 * BLOCK).expect("unwritten");
    file.write(Through::Cache, 10 * BLOCK, &[1; B]).expect("cached data over unwritten");
    let (data, hole) = (|o| file.seek_data(o).ok(), |o| file.seek_hole(o).ok());
    assert_eq!(data(0), Some(2 * BLOCK));
    assert_eq!(data(2 * BLOCK + 7), Some(2 * BLOCK + 7));
    assert_eq!(data(4 * BLOCK), Some(10 * BLOCK), "unwritten and not cached is a hole");
    assert_eq!(data(11 * BLOCK), None);
    assert_eq!(hole(0), Some(0));
    assert_eq!(hole(2 * BLOCK), Some(4 * BLOCK));
    assert_eq!(hole(10 * BLOCK), Some(11 * BLOCK));
    assert_eq!(data(20 * BLOCK + 5), None, "at the end");
    let error = file.seek_hole(20 * BLOCK + 5).expect_err("at the end");
    assert!(matches!(error.kind, ErrorKind::NoData));
    file.write(Through::Cache, 20 * BLOCK, &[1; 5]).expect("tail");
    assert_eq!(hole(20 * BLOCK), Some(20 * BLOCK + 5), "there is a hole at the end of every file");
}

#[test]
fn fiemap_reports_every_extent_and_the_last_one() {
    let (_device, fs) = toy(4 << 20, 1 << 20);
    let file = fs.create();
    assert_eq!(file.extents().count(), 0, "empty");
    file.write(Through::Cache, 0, b"inline").expect("write");
    file.fsync().expect("sync");
    let flags = |file: &ToyFile| -> Vec<_> {
        file.extents()
            .map(|extent| extent.expect("extent"))
            .map(|e| (e.offset / BLOCK, e.length / BLOCK, e.addr.is_some(), e.flags))
            .collect()
    };
    let inline = ReportFlags::DATA_INLINE | ReportFlags::NOT_ALIGNED;
    assert_eq!(flags(&file), [(0, 1, false, inline | ReportFlags::LAST)]);
    file.write(Through::Device, 0, &[1; 2 * B]).expect("mapped");
    file.allocate(4 * BLOCK..6 * BLOCK).expect("unwritten");
    file.write(Through::Cache, 8 * BLOCK, &[1; B]).expect("delalloc");
    assert_eq!(
        flags(&file),
        [
            (0, 2, true, ReportFlags::empty()),
            (4, 2, true, ReportFlags::UNWRITTEN),
            (8, 1, false, ReportFlags::DELALLOC | ReportFlags::UNKNOWN | ReportFlags::LAST),
        ]
    );
    let clone = fs.clone_file(&file).expect("clone");
    assert_eq!(flags(&clone)[0].3, ReportFlags::SHARED);
}

#[test]
fn fiemap_stops_at_an_error() {
    struct Bad;
    impl MappingOps for Bad {
        fn begin(&self, _: &iomap::MapRequest) -> iomap::Result<iomap::MapReply> {
            Ok(iomap::Mapping::new(0, 0, MappingKind::Hole).into())
        }
    }
    let mut extents = iomap::fiemap(&Bad, 0..100);
    assert!(extents.next().is_some_and(|extent| extent.is_err()));
    assert!(extents.next().is_none());
}

/// Block sizes from 512 bytes to 64 KiB work the same.
#[test]
fn folio_arithmetic_holds_for_all_block_sizes() {
    for block_size in [512u32, 1024, 4096, 16384, 65536] {
        let (device, host) = small_host(block_size);
        let bytes: Vec<u8> = (0..200_000).map(|n| (n % 251) as u8).collect();
        iomap::buffered_write(&Identity, &host, 1000, &bytes).expect("write");
        iomap::writepages(&Identity, &host, 0..u64::MAX, &Default::default()).expect("writeback");
        host.cache.drop_clean();
        assert_eq!(host.cache.pool().cached_bytes(), 0);
        let mut back = vec![0; bytes.len()];
        let mut done = 0;
        while done < back.len() {
            let at = 1000 + done as u64;
            done += iomap::buffered_read(&Identity, &host, at, &mut back[done..]).expect("read");
        }
        assert_eq!(back, bytes, "block size {block_size}");
        host.cache.truncate(5000);
        host.size.store(5000, SeqCst);
        assert_eq!(device.memory.to_bytes()[1000..2000], bytes[..1000]);
    }
}

/// The file is the device, all of it written.
struct Identity;

impl MappingOps for Identity {
    fn begin(&self, _: &iomap::MapRequest) -> iomap::Result<iomap::MapReply> {
        Ok(iomap::Mapping::new(0, 1 << 20, MappingKind::Mapped { addr: 0 }).into())
    }
}

impl iomap::WritebackOps for Identity {
    fn map_blocks(&self, offset: u64, length: u64) -> iomap::Result<iomap::Mapping> {
        Ok(iomap::Mapping::new(offset, length, MappingKind::Mapped { addr: offset }))
    }
    fn submit(&self, ioends: &[iomap::Ioend<'_>]) -> iomap::Result<()> {
        for ioend in ioends {
            let mut at = ioend.addr as usize;
            for piece in ioend.pieces() {
                WRITTEN.with(|device| {
                    use ashlar_device::Device;
                    let device = device.borrow();
                    let device = device.as_ref().expect("set by the test");
                    device.write_at(at as u64, piece.bytes()).expect("write");
                });
                at += piece.bytes().len();
            }
        }
        Ok(())
    }
    fn discard_range(&self, _: std::ops::Range<u64>) {}
}

thread_local! {
    static WRITTEN: std::cell::RefCell<Option<Arc<common::TestDevice>>> =
        const { std::cell::RefCell::new(None) };
}

struct SmallHost {
    cache: PageCache,
    size: std::sync::atomic::AtomicU64,
    device: Arc<common::TestDevice>,
}

fn small_host(block_size: u32) -> (Arc<common::TestDevice>, SmallHost) {
    let device = common::TestDevice::new(1 << 20);
    WRITTEN.with(|slot| *slot.borrow_mut() = Some(Arc::clone(&device)));
    let cache = PageCache::new(&CachePool::new(1 << 20), block_size);
    let host = SmallHost { cache, size: Default::default(), device: Arc::clone(&device) };
    (device, host)
}

impl Host for SmallHost {
    fn size(&self) -> u64 {
        self.size.load(SeqCst)
    }
    fn set_size(&self, size: u64) {
        self.size.store(size, SeqCst);
    }
    fn block_size(&self) -> u32 {
        self.cache.block_size()
    }
    fn cache(&self) -> &PageCache {
        &self.cache
    }
    fn device(&self) -> &dyn ashlar_device::Device {
        &*self.device
    }
}
