//! Figures of the hot paths, for reading; nothing is asserted. Run with
//! `cargo test --release -p iomap --test speed -- --ignored --nocapture`.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ashlar_device::{Device, MemoryDevice};
use iomap::{
    CachePool, Host, Ioend, MapReply, MapRequest, Mapping, MappingFlags, MappingKind, MappingOps,
    PageCache, Purpose, Result, WritebackControl, WritebackOps, buffered_read, buffered_write,
    direct_write, take_inline, writepages,
};

/// A file system that costs nothing: writes are promised, reads are mapped, submits are free.
struct Free {
    cache: PageCache,
    size: AtomicU64,
    device: Arc<MemoryDevice>,
}

impl Free {
    fn new(pool: &Arc<CachePool>, device: &Arc<MemoryDevice>) -> Self {
        let cache = PageCache::new(pool, 4096);
        Self { cache, size: AtomicU64::new(0), device: Arc::clone(device) }
    }
}

impl Host for Free {
    fn size(&self) -> u64 {
        self.size.load(Relaxed)
    }
    fn set_size(&self, size: u64) {
        self.size.store(size, Relaxed);
    }
    fn block_size(&self) -> u32 {
        4096
    }
    fn cache(&self) -> &PageCache {
        &self.cache
    }
    fn device(&self) -> &dyn Device {
        &*self.device
    }
}

impl MappingOps for Free {
    fn begin(&self, request: &MapRequest) -> Result<MapReply> {
        let start = request.offset & !4095;
        let end = (request.offset + request.length + 4095) & !4095;
        let direct = request.mods.contains(iomap::MapMods::DIRECT);
        let mapping = match request.purpose {
            Purpose::Write if !direct => {
                let mapping = Mapping::new(start, end - start, MappingKind::Delalloc);
                mapping.with_flags(MappingFlags::NEW)
            }
            _ => Mapping::new(start, end - start, MappingKind::Mapped { addr: start }),
        };
        Ok(mapping.into())
    }
}

impl WritebackOps for Free {
    fn map_blocks(&self, offset: u64, length: u64) -> Result<Mapping> {
        Ok(Mapping::new(offset, length, MappingKind::Mapped { addr: offset }))
    }
    fn submit(&self, _ioends: &[Ioend<'_>]) -> Result<()> {
        Ok(())
    }
    fn discard_range(&self, _range: Range<u64>) {}
}

fn report(what: &str, count: u64, bytes: u64, took: Duration) {
    let each = took.as_nanos() as f64 / count as f64;
    let rate = (count * bytes) as f64 / took.as_secs_f64() / 1e9;
    println!("{what:<55} {each:>9.0} ns each  {rate:>7.2} GB/s");
}

fn timed(what: &str, count: u64, bytes: u64, mut run: impl FnMut(u64)) {
    let begun = Instant::now();
    for n in 0..count {
        run(n);
    }
    report(what, count, bytes, begun.elapsed());
}

fn write_back(file: &Free) {
    writepages(file, file, 0..u64::MAX, &WritebackControl::default()).expect("writeback");
}

#[test]
#[ignore = "figures for reading"]
fn many_small_files() {
    const FILES: u64 = 100_000;
    let pool = CachePool::new(2 << 30);
    let device = Arc::new(MemoryDevice::new(1 << 20));
    for round in ["first, memory from the kernel", "second, free buffers kept in part"] {
        println!("-- {round}");
        let files: Vec<_> = (0..FILES).map(|_| Free::new(&pool, &device)).collect();
        let each = |n: u64| &files[n as usize];
        timed("create one folio, 100 bytes", FILES, 100, |n| {
            buffered_write(each(n), each(n), 0, &[1; 100]).expect("write");
        });
        timed("append 100 bytes", FILES, 100, |n| {
            buffered_write(each(n), each(n), 100, &[2; 100]).expect("write");
        });
        timed("take inline", FILES, 200, |n| {
            take_inline(each(n), each(n), 200, |_| Ok(())).expect("take");
        });
        timed("dirty again", FILES, 100, |n| {
            buffered_write(each(n), each(n), 0, &[1; 100]).expect("write");
        });
        timed("write back", FILES, 4096, |n| write_back(each(n)));
        let mut buf = [0; 200];
        timed("read 200 bytes, cached", FILES, 200, |n| {
            buffered_read(each(n), each(n), 0, &mut buf).expect("read");
        });
        let begun = Instant::now();
        drop(files);
        report("drop", FILES, 0, begun.elapsed());
    }
}

#[test]
#[ignore = "figures for reading"]
fn one_large_file() {
    const SIZE: u64 = 256 << 20;
    let pool = CachePool::new(1 << 30);
    let device = Arc::new(MemoryDevice::new(SIZE));
    let file = Free::new(&pool, &device);
    let bytes = vec![7; 1 << 20];
    for round in ["first", "again"] {
        println!("-- {round}");
        timed("write 1 MiB, in order", SIZE >> 20, 1 << 20, |n| {
            buffered_write(&file, &file, n << 20, &bytes).expect("write");
        });
        let begun = Instant::now();
        write_back(&file);
        report("write back, per 8 MiB", SIZE >> 23, 8 << 20, begun.elapsed());
    }
    let mut buf = vec![0; 1 << 20];
    timed("read 1 MiB, cached", SIZE >> 20, 1 << 20, |n| {
        buffered_read(&file, &file, n << 20, &mut buf).expect("read");
    });
    timed("read 4 KiB at random, cached", 1_000_000, 4096, |n| {
        let block = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (SIZE / 4096);
        buffered_read(&file, &file, block * 4096, &mut buf[..4096]).expect("read");
    });
    timed("write 4 KiB at random, cached", 1_000_000, 4096, |n| {
        let block = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (SIZE / 4096);
        buffered_write(&file, &file, block * 4096, &bytes[..4096]).expect("write");
    });
    write_back(&file);
    file.cache.drop_clean();
    timed("read 128 KiB, in order, from the device", SIZE >> 17, 128 << 10, |n| {
        buffered_read(&file, &file, n << 17, &mut buf[..128 << 10]).expect("read");
    });
    timed("direct write 4 KiB", 1_000_000, 4096, |n| {
        direct_write(&file, &file, (n % 1024) * 4096, &bytes[..4096]).expect("write");
    });
}

#[test]
#[ignore = "figures for reading"]
fn larger_than_the_cache() {
    const SIZE: u64 = 512 << 20;
    let pool = CachePool::new(64 << 20);
    let device = Arc::new(MemoryDevice::new(SIZE));
    let file = Free::new(&pool, &device);
    file.set_size(SIZE);
    let mut buf = vec![0; 1 << 20];
    timed("read 1 MiB, in order, evicting", SIZE >> 20, 1 << 20, |n| {
        buffered_read(&file, &file, n << 20, &mut buf).expect("read");
    });
    timed("read 4 KiB at random, evicting", 500_000, 4096, |n| {
        let block = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (SIZE / 4096);
        buffered_read(&file, &file, block * 4096, &mut buf[..4096]).expect("read");
    });
}
