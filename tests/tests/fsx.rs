//! Goal: any sequence of operations on one file leaves exactly the bytes it should.
//!
//! Method: random operations on a file and on a vector of bytes; after each the size, now and
//! then all bytes must agree. Some sequences forget the kernel's cache, or remount, in between.
//! A failure prints the seed and the last operations; `ASHLAR_SEED=n` plays one seed alone.

use ashlar_tests::mounts::{Ashlar, Xfs};
use ashlar_tests::programs::{soak, soak_time};
use ashlar_tests::sys::{Arg, Mapping, call};
use fastrand::Rng;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Largest file; a few hundred blocks.
const SIZE_MAX: u64 = 1 << 20;
const BLOCK: u64 = 4096;

/// Memory that direct I/O takes.
struct Aligned {
    memory: Vec<u8>,
    length: usize,
}

impl Aligned {
    fn new(length: usize) -> Self {
        Self { memory: vec![0; length + BLOCK as usize], length }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let start = self.memory.as_ptr().align_offset(BLOCK as usize);
        &mut self.memory[start..start + self.length]
    }
}

/// A file and what should be in it.
struct Play<'a> {
    path: PathBuf,
    file: File,
    model: Vec<u8>,
    random: &'a mut Rng,
    done: Vec<String>,
}

fn open(path: &Path) -> File {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    file.unwrap_or_else(|error| panic!("open {}: {error}", path.display()))
}

impl<'a> Play<'a> {
    fn new(path: PathBuf, random: &'a mut Rng) -> Self {
        let file = open(&path);
        Self { path, file, model: Vec::new(), random, done: Vec::new() }
    }

    /// One random operation.
    fn step(&mut self) {
        match self.random.u32(..100) {
            0..24 => self.write(),
            24..30 => self.direct_write(),
            30..41 => self.read(),
            41..45 => self.direct_read(),
            45..52 => self.truncate(),
            52..60 => self.mapped_write(),
            60..65 => self.mapped_read(),
            65..71 => self.punch(),
            71..75 => self.zero(),
            75..79 => self.allocate(),
            79..82 => self.collapse(),
            82..85 => self.insert(),
            85..88 => self.copy(),
            88..93 => self.sync(),
            93..96 => self.reopen(),
            _ => self.compare(),
        }
        let size = self.file.metadata().map_or(u64::MAX, |metadata| metadata.len());
        assert_eq!(size, self.model.len() as u64, "size after {}", self.story());
    }

    fn story(&self) -> String {
        let from = self.done.len().saturating_sub(30);
        format!("…\n  {}", self.done[from..].join("\n  "))
    }

    fn note(&mut self, what: &str, offset: u64, length: u64) {
        let size = self.model.len();
        self.done.push(format!("{what} {offset:#x}+{length:#x}, size {size:#x}"));
    }

    fn size(&self) -> u64 {
        self.model.len() as u64
    }

    /// A range that may pass the end by up to a few blocks; often aligned, often short.
    fn range(&mut self) -> (u64, u64) {
        let end = (self.size() + 5 * BLOCK).min(SIZE_MAX);
        let mut offset = self.random.u64(..end);
        let short = self.random.bool();
        let mut length = self.random.u64(1..=if short { 600 } else { 70_000 });
        if self.random.u32(..3) == 0 {
            offset -= offset % BLOCK;
            length = length.next_multiple_of(BLOCK);
        }
        (offset, length.min(SIZE_MAX - offset))
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        let first = self.random.u8(..);
        (0..length).map(|at| first.wrapping_add((at % 255) as u8) | 1).collect()
    }

    fn store(&mut self, offset: u64, bytes: &[u8]) {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if self.model.len() < end {
            self.model.resize(end, 0);
        }
        self.model[start..end].copy_from_slice(bytes);
    }

    fn write(&mut self) {
        let (offset, length) = self.range();
        self.note("write", offset, length);
        let bytes = self.bytes(length);
        self.file.write_all_at(&bytes, offset).expect("there is space");
        self.store(offset, &bytes);
    }

    /// A descriptor that goes past the kernel's cache.
    fn direct(&self) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_DIRECT);
        options.open(&self.path).expect("it is there")
    }

    fn direct_write(&mut self) {
        let (offset, length) = self.range();
        let offset = offset - offset % BLOCK;
        let length = length.next_multiple_of(BLOCK).min(SIZE_MAX - offset);
        if length == 0 {
            return;
        }
        self.note("direct write", offset, length);
        let bytes = self.bytes(length);
        let mut memory = Aligned::new(bytes.len());
        memory.bytes().copy_from_slice(&bytes);
        self.direct().write_all_at(memory.bytes(), offset).expect("there is space");
        self.store(offset, &bytes);
    }

    fn direct_read(&mut self) {
        let (offset, length) = self.range();
        let offset = offset - offset % BLOCK;
        let length = length.next_multiple_of(BLOCK);
        self.note("direct read", offset, length);
        let mut memory = Aligned::new(length as usize);
        let count = self.direct().read_at(memory.bytes(), offset).expect("it can be read");
        let below = self.size().saturating_sub(offset).min(length);
        assert_eq!(count as u64, below, "bytes read after {}", self.story());
        self.expect("direct read", offset, &memory.bytes()[..count]);
    }

    fn expect(&self, what: &str, offset: u64, seen: &[u8]) {
        let start = (offset as usize).min(self.model.len());
        let want = &self.model[start..(start + seen.len()).min(self.model.len())];
        if seen != want {
            let at = seen.iter().zip(want).position(|(a, b)| a != b);
            let at = at.unwrap_or(want.len().min(seen.len()));
            let (have, wanted) = (seen.get(at), want.get(at));
            let place = start + at;
            panic!("{what} at {place:#x}: {have:?}, not {wanted:?}, after {}", self.story());
        }
    }

    fn read(&mut self) {
        let (offset, length) = self.range();
        self.note("read", offset, length);
        let mut buffer = vec![0; length as usize];
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            match self.file.read_at(&mut buffer[filled..], at).expect("it can be read") {
                0 => break,
                count => filled += count,
            }
        }
        let below = self.size().saturating_sub(offset).min(length);
        assert_eq!(filled as u64, below, "bytes read after {}", self.story());
        self.expect("read", offset, &buffer[..filled]);
    }

    fn compare(&mut self) {
        self.note("compare", 0, self.size());
        let seen = std::fs::read(&self.path).expect("it can be read");
        self.expect("compare", 0, &seen);
        assert_eq!(seen.len(), self.model.len(), "bytes compared after {}", self.story());
    }

    fn truncate(&mut self) {
        let (size, _) = self.range();
        self.note("truncate", size, 0);
        self.file.set_len(size).expect("it can be cut");
        self.model.resize(size as usize, 0);
    }

    fn mapped(&mut self, act: impl FnOnce(&mut Self, &Mapping, u64, u64)) {
        if self.model.is_empty() {
            return;
        }
        let (offset, length) = self.range();
        let offset = offset.min(self.size() - 1);
        let length = length.min(self.size() - offset).min(9000);
        let fd = self.file.as_raw_fd().into();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let mapping = Mapping::new(fd, self.model.len(), protection, libc::MAP_SHARED);
        act(self, &mapping.expect("it can be mapped"), offset, length);
    }

    fn mapped_write(&mut self) {
        self.mapped(|play, mapping, offset, length| {
            play.note("mapped write", offset, length);
            let bytes = play.bytes(length);
            for (at, byte) in bytes.iter().enumerate() {
                mapping.set(offset as usize + at, *byte);
            }
            if play.random.bool() {
                mapping.sync(libc::MS_SYNC).expect("it can be synced");
            }
            play.store(offset, &bytes);
        });
    }

    fn mapped_read(&mut self) {
        self.mapped(|play, mapping, offset, length| {
            play.note("mapped read", offset, length);
            let seen: Vec<u8> =
                (offset..offset + length).map(|at| mapping.byte(at as usize)).collect();
            play.expect("mapped read", offset, &seen);
        });
    }

    /// fallocate(2); false where the file system has no such mode.
    fn fallocate(&mut self, mode: i32, offset: u64, length: u64) -> bool {
        let mut args = [
            Arg::Int(self.file.as_raw_fd().into()),
            Arg::Int(mode.into()),
            Arg::Int(offset.cast_signed()),
            Arg::Int(length.cast_signed()),
        ];
        match call(libc::SYS_fallocate, &mut args) {
            Ok(_) => true,
            Err(libc::EOPNOTSUPP) => false,
            Err(errno) => panic!("fallocate {mode:#x}: errno {errno} after {}", self.story()),
        }
    }

    fn clear(&mut self, offset: u64, length: u64) {
        let start = offset.min(self.size()) as usize;
        let end = (offset + length).min(self.size()) as usize;
        self.model[start..end].fill(0);
    }

    fn punch(&mut self) {
        let (offset, length) = self.range();
        self.note("punch", offset, length);
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        if self.fallocate(mode, offset, length) {
            self.clear(offset, length);
        }
    }

    fn zero(&mut self) {
        let (offset, length) = self.range();
        self.note("zero", offset, length);
        if self.fallocate(libc::FALLOC_FL_ZERO_RANGE, offset, length) {
            self.clear(offset, length);
            let end = (offset + length) as usize;
            self.model.resize(self.model.len().max(end), 0);
        }
    }

    fn allocate(&mut self) {
        let (offset, length) = self.range();
        let keep = self.random.bool();
        self.note(if keep { "allocate, keep" } else { "allocate" }, offset, length);
        let mode = if keep { libc::FALLOC_FL_KEEP_SIZE } else { 0 };
        if self.fallocate(mode, offset, length) && !keep {
            self.model.resize(self.model.len().max((offset + length) as usize), 0);
        }
    }

    fn collapse(&mut self) {
        let blocks = self.size() / BLOCK;
        if blocks < 3 {
            return;
        }
        let offset = self.random.u64(..blocks - 1) * BLOCK;
        let length = (self.random.u64(1..8) * BLOCK).min((blocks - 1) * BLOCK - offset);
        self.note("collapse", offset, length);
        // The range must end below the end of the file.
        if length > 0
            && offset + length < self.size()
            && self.fallocate(libc::FALLOC_FL_COLLAPSE_RANGE, offset, length)
        {
            self.model.drain(offset as usize..(offset + length) as usize);
        }
    }

    fn insert(&mut self) {
        let blocks = self.size() / BLOCK;
        if blocks < 2 || self.size() + 8 * BLOCK > SIZE_MAX {
            return;
        }
        let offset = self.random.u64(..blocks) * BLOCK;
        let length = self.random.u64(1..8) * BLOCK;
        self.note("insert", offset, length);
        if offset < self.size() && self.fallocate(libc::FALLOC_FL_INSERT_RANGE, offset, length) {
            let at = offset as usize;
            self.model.splice(at..at, std::iter::repeat_n(0, length as usize));
        }
    }

    fn copy(&mut self) {
        let ((source, length), (target, _)) = (self.range(), self.range());
        let below = self.size().saturating_sub(source);
        let length = length.min(below).min(SIZE_MAX - target).min(20_000);
        if length == 0 || source.abs_diff(target) < length {
            return;
        }
        self.note(&format!("copy to {target:#x} from"), source, length);
        let (mut from, mut to) = (source.to_ne_bytes(), target.to_ne_bytes());
        let fd = || Arg::Int(self.file.as_raw_fd().into());
        let length_arg = Arg::Int(length.cast_signed());
        let mut args =
            [fd(), Arg::Out(&mut from), fd(), Arg::Out(&mut to), length_arg, Arg::Int(0)];
        let copied = call(libc::SYS_copy_file_range, &mut args).expect("it can be copied");
        let (start, end) = (source as usize, source as usize + copied as usize);
        let bytes = self.model[start..end].to_vec();
        self.store(target, &bytes);
    }

    fn sync(&mut self) {
        self.note("sync", 0, 0);
        self.file.sync_all().expect("it can be synced");
        if self.random.bool() {
            // Forgets clean pages of this file, so that reads come from the volume.
            let fd = Arg::Int(self.file.as_raw_fd().into());
            let advice = Arg::Int(libc::POSIX_FADV_DONTNEED.into());
            let forget = [fd, Arg::Int(0), Arg::Int(0), advice];
            let mut forget = forget;
            call(libc::SYS_fadvise64, &mut forget).expect("advice is taken");
        }
    }

    fn reopen(&mut self) {
        self.note("reopen", 0, 0);
        self.file = open(&self.path);
    }
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("ASHLAR_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=if soak() { count * 50 } else { count }).collect(),
    }
}

fn sequences(mount: &Path, count: u64, steps: usize) {
    let steps = if soak() { steps * 10 } else { steps };
    let start = Instant::now();
    for seed in seeds(count).into_iter().take_while(|_| start.elapsed() < soak_time()) {
        println!("ASHLAR_SEED={seed}, {steps} operations");
        let mut random = Rng::with_seed(seed);
        let mut play = Play::new(mount.join(format!("fsx{seed}")), &mut random);
        for _ in 0..steps {
            play.step();
        }
        play.sync();
        play.compare();
    }
}

#[test]
fn random_operations_leave_the_right_bytes() {
    let on_xfs = std::env::var("ASHLAR_TESTS_ON").is_ok_and(|value| value == "xfs");
    if on_xfs {
        sequences(Xfs::create("fsx").path(), 4, 500);
    } else {
        sequences(Ashlar::create("fsx").path(), 4, 500);
    }
}

#[test]
fn random_operations_survive_remounts() {
    let mut volume = Ashlar::create("fsx-remount");
    let start = Instant::now();
    for seed in seeds(3).into_iter().take_while(|_| start.elapsed() < soak_time()) {
        println!("ASHLAR_SEED={seed}");
        let mut random = Rng::with_seed(seed);
        let path = volume.path().join("file");
        let mut model = Vec::new();
        for _ in 0..4 {
            let mut play = Play::new(path.clone(), &mut random);
            play.model = model;
            for _ in 0..100 {
                play.step();
            }
            model = std::mem::take(&mut play.model);
            drop(play);
            volume.unmount();
            volume.check();
            volume.mount();
            let seen = std::fs::read(&path).expect("it is there");
            assert!(seen == model, "the file differs after a remount, seed {seed}");
        }
        std::fs::remove_file(&path).expect("it is there");
    }
}
