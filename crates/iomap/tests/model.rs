//! Goal: whatever mix of buffered and direct reads and writes, truncates, holes, preallocation,
//! clones, writeback and eviction runs, a file reads as a flat vector of bytes would.
//!
//! Method: random histories on the toy file system against `Vec<u8>`, one model per file. The
//! device starts as garbage, so a block read without having been written is seen; the cache budget
//! is a few folios, so eviction happens all the time; a background thread writes back and evicts
//! without any lock of the file. Each worker owns its files; all share pool, device and space.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use common::toyfs::{BLOCK, Through, ToyFile, ToyFs};
use common::{assert_empty, seed, toy};
use fastrand::Rng;
use iomap::Host;
use parking_lot::Mutex;

/// Offsets stay below: a few folios, several blocks past the largest one.
const FILE_MAX: u64 = 300 * 1024;
const FILES: usize = 3;

struct Modelled {
    file: Arc<ToyFile>,
    bytes: Vec<u8>,
}

/// The files that the background thread works on.
type Registry = Arc<Mutex<Vec<Arc<ToyFile>>>>;

struct Worker {
    fs: Arc<ToyFs>,
    files: Vec<Modelled>,
    registry: Registry,
    rng: Rng,
}

impl Worker {
    fn new(fs: &Arc<ToyFs>, registry: &Registry, seed: u64) -> Self {
        let files = (0..FILES)
            .map(|_| {
                let file = fs.create();
                registry.lock().push(Arc::clone(&file));
                Modelled { file, bytes: Vec::new() }
            })
            .collect();
        Self {
            fs: Arc::clone(fs),
            files,
            registry: Arc::clone(registry),
            rng: Rng::with_seed(seed),
        }
    }

    fn run(&mut self, steps: usize) {
        for step in 0..steps {
            let n = self.rng.usize(..FILES);
            let what = self.step(n);
            if step % 64 == 0 {
                self.check(n, &format!("step {step}: {what}"));
            }
        }
        for n in 0..FILES {
            self.files[n].file.fsync().expect("sync");
            self.files[n].file.cache().drop_clean();
            self.check(n, "after everything was evicted");
        }
    }

    /// Offsets and lengths like those of programs: often small, often aligned, near the end.
    fn range(&mut self, size: u64) -> (u64, u64) {
        let offset = match self.rng.u8(..6) {
            0 => 0,
            1 => size.min(FILE_MAX - 1),
            2 => self.rng.u64(..FILE_MAX / BLOCK) * BLOCK,
            3 => self.rng.u64(..200),
            _ => self.rng.u64(..FILE_MAX),
        };
        let length = match self.rng.u8(..6) {
            0 => self.rng.u64(1..200),
            1 => BLOCK,
            2 => self.rng.u64(1..=16) * BLOCK,
            3 => self.rng.u64(1..150_000),
            _ => self.rng.u64(1..10_000),
        };
        (offset, length.min(FILE_MAX - offset).max(1))
    }

    fn through(&mut self) -> Through {
        if self.rng.u8(..3) == 0 { Through::Device } else { Through::Cache }
    }

    fn step(&mut self, n: usize) -> String {
        let size = self.files[n].bytes.len() as u64;
        let (offset, length) = self.range(size);
        match self.rng.u8(..100) {
            0..35 => self.write(n, offset, length),
            35..60 => self.read(n, offset, length),
            60..67 => self.truncate(n, offset),
            67..74 => self.punch(n, offset, length),
            74..79 => {
                self.files[n].file.allocate(offset..offset + length).expect("allocate");
                format!("allocate {offset} {length}")
            }
            79..85 => {
                self.files[n].file.fsync().expect("sync");
                "sync".into()
            }
            85..90 => {
                self.files[n].file.cache().drop_clean();
                "drop clean".into()
            }
            90..96 => self.seek(n, offset),
            96..98 => self.clone_over(n),
            _ => {
                self.check(n, "check");
                "check".into()
            }
        }
    }

    fn write(&mut self, n: usize, offset: u64, length: u64) -> String {
        // Never zero and never garbage, so that both stand out.
        let stamp = self.rng.u8(1..0xdc);
        let bytes: Vec<u8> = (0..length).map(|i| (i % 7) as u8 ^ stamp | 1).collect();
        let through = self.through();
        let Modelled { file, bytes: model } = &mut self.files[n];
        let mut done = 0;
        while done < bytes.len() {
            done += file.write(through, offset + done as u64, &bytes[done..]).expect("write");
        }
        let (from, to) = (offset as usize, (offset + length) as usize);
        model.resize(model.len().max(to), 0);
        model[from..to].copy_from_slice(&bytes);
        format!("write {through:?} {offset} {length}")
    }

    fn read(&mut self, n: usize, offset: u64, length: u64) -> String {
        let through = self.through();
        let what = format!("read {through:?} {offset} {length}");
        let Modelled { file, bytes: model } = &self.files[n];
        let mut buf = vec![0xee; length as usize];
        let mut done = 0;
        loop {
            let at = offset + done as u64;
            match file.read(through, at, &mut buf[done..]).expect("read") {
                0 => break,
                read => done += read,
            }
        }
        let from = (offset as usize).min(model.len());
        let to = ((offset + length) as usize).min(model.len());
        assert_same(&buf[..done], &model[from..to], &what);
        assert!(buf[done..].iter().all(|&byte| byte == 0xee), "{what}: written past the end");
        what
    }

    fn truncate(&mut self, n: usize, size: u64) -> String {
        let Modelled { file, bytes: model } = &mut self.files[n];
        file.truncate(size).expect("truncate");
        model.resize(size as usize, 0);
        format!("truncate {size}")
    }

    fn punch(&mut self, n: usize, offset: u64, length: u64) -> String {
        let Modelled { file, bytes: model } = &mut self.files[n];
        file.punch(offset..offset + length).expect("punch");
        let from = (offset as usize).min(model.len());
        let to = ((offset + length) as usize).min(model.len());
        model[from..to].fill(0);
        format!("punch {offset} {length}")
    }

    /// What lies before the next data is zero, and what starts at the next hole is zero.
    fn seek(&mut self, n: usize, offset: u64) -> String {
        let Modelled { file, bytes: model } = &self.files[n];
        let size = model.len() as u64;
        let data = file.seek_data(offset);
        let until = data.as_ref().map_or(size, |found| *found).max(offset.min(size));
        let skipped = &model[offset.min(size) as usize..until as usize];
        assert!(skipped.iter().all(|&byte| byte == 0), "seek_data({offset}) skipped data");
        match file.seek_hole(offset) {
            Ok(hole) => {
                assert!((offset..=size).contains(&hole), "seek_hole({offset}) = {hole}");
                let block_end = (hole / BLOCK * BLOCK + BLOCK).min(size);
                let found = &model[hole as usize..block_end.max(hole) as usize];
                assert!(found.iter().all(|&byte| byte == 0), "seek_hole({offset}) found data");
            }
            Err(_) => assert!(offset >= size, "seek_hole({offset}) failed below {size}"),
        }
        format!("seek {offset}")
    }

    /// Replaces another file by a clone of this one: both must go their own ways after.
    fn clone_over(&mut self, n: usize) -> String {
        let copy = self.fs.clone_file(&self.files[n].file).expect("clone");
        let other = (n + 1) % FILES;
        {
            let mut registry = self.registry.lock();
            let old = &self.files[other].file;
            registry.retain(|file| !Arc::ptr_eq(file, old));
            registry.push(Arc::clone(&copy));
        }
        self.files[other] = Modelled { file: copy, bytes: self.files[n].bytes.clone() };
        format!("clone {n} over {other}")
    }

    fn check(&mut self, n: usize, what: &str) {
        let Modelled { file, bytes: model } = &self.files[n];
        assert_eq!(file.size(), model.len() as u64, "{what}: size");
        let through = if self.rng.bool() { Through::Device } else { Through::Cache };
        let mut buf = vec![0; model.len()];
        let mut done = 0;
        while done < buf.len() {
            let read = file.read(through, done as u64, &mut buf[done..]).expect("read");
            assert!(read > 0, "{what}: short read at {done}");
            done += read;
        }
        assert_same(&buf, model, &format!("{what}: whole file, {through:?}"));
    }
}

fn assert_same(found: &[u8], wanted: &[u8], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}: length");
    if let Some(at) = (0..found.len()).find(|&n| found[n] != wanted[n]) {
        panic!("{what}: byte {at} is {:#x}, should be {:#x}", found[at], wanted[at]);
    }
}

/// Writes back and evicts at random until told to stop.
fn background(fs: &ToyFs, registry: &Registry, stop: &AtomicBool, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    while !stop.load(SeqCst) {
        let file = {
            let files = registry.lock();
            Arc::clone(&files[rng.usize(..files.len())])
        };
        match rng.u8(..8) {
            0 => fs.pool.shrink_to(rng.u64(..128 * 1024)),
            1 => file.cache().drop_clean(),
            _ => file.write_back().expect("background writeback"),
        }
        if rng.u8(..4) == 0 {
            std::thread::yield_now();
        }
    }
}

fn run(seed: u64, workers: usize, steps: usize, cache_bytes: u64) {
    let (_device, fs) = toy(16 << 20, cache_bytes);
    let registry = Registry::default();
    let mut all: Vec<_> =
        (0..workers).map(|n| Worker::new(&fs, &registry, seed.wrapping_add(n as u64))).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flusher = scope.spawn(|| background(&fs, &registry, &stop, !seed));
        let running: Vec<_> =
            all.iter_mut().map(|worker| scope.spawn(|| worker.run(steps))).collect();
        let results: Vec<_> =
            running.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, SeqCst);
        flusher.join().expect("background thread");
        for result in results {
            result.expect("worker");
        }
    });
    drop(all);
    registry.lock().clear();
    assert_empty(&fs);
}

#[test]
fn files_read_as_the_model_says_single_threaded_without_background() {
    let seed = seed();
    for round in 0..12 {
        let (_device, fs) = toy(16 << 20, 64 * 1024);
        let registry = Registry::default();
        let mut worker = Worker::new(&fs, &registry, seed.wrapping_add(round));
        worker.run(400);
        drop(worker);
        registry.lock().clear();
        assert_empty(&fs);
    }
}

#[test]
fn files_read_as_the_model_says_under_writeback_and_eviction() {
    let seed = seed();
    for round in 0..8 {
        // The larger budget lets buffers with old bytes be used again.
        run(seed.wrapping_add(round * 100), 3, 300, [96 << 10, 1 << 20][round as usize % 2]);
    }
}

#[test]
fn files_read_as_the_model_says_with_a_cache_of_one_folio() {
    run(seed(), 2, 500, 4096);
}

#[test]
#[ignore = "soak: minutes"]
fn files_read_as_the_model_says_for_a_long_time() {
    let seed = seed();
    for round in 0..400u64 {
        println!("round {round}");
        run(seed.wrapping_add(round * 1000), 4, 500, [4096, 64 << 10, 1 << 20][round as usize % 3]);
    }
}
