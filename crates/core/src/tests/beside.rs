//! Direct writes of one file that are under way at the same time.

use super::*;
use ashlar_device::{Finish, Read, Topology, Write};
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

const CHUNK: usize = 64 << 10;
const ROOT: Ino = Ino::ROOT;

/// Holds back writes that begin with a certain byte.
#[derive(Debug)]
struct Gate {
    memory: MemoryDevice,
    /// The byte, and how many writes that begin with it have arrived.
    held: Mutex<(Option<u8>, u32)>,
    moved: Condvar,
}

impl Gate {
    fn hold(&self, byte: Option<u8>) {
        *self.held.lock() = (byte, 0);
        self.moved.notify_all();
    }

    /// Waits until a write is held back.
    fn wait(&self) {
        let mut held = self.held.lock();
        while held.1 == 0 {
            let wait = self.moved.wait_for(&mut held, Duration::from_secs(20));
            assert!(!wait.timed_out(), "the write does not come");
        }
    }
}

impl Device for Gate {
    fn topology(&self) -> &Topology {
        self.memory.topology()
    }
    fn read_at(&self, addr: u64, buf: &mut [u8]) -> ashlar_device::Result<()> {
        self.memory.read_at(addr, buf)
    }
    fn read_batch(&self, reads: &mut [Read<'_>]) -> ashlar_device::Result<()> {
        self.memory.read_batch(reads)
    }
    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> ashlar_device::Result<()> {
        let first = writes.first().filter(|write| write.bytes.len() == CHUNK);
        if let Some(first) = first.map(|write| write.bytes[0]) {
            let mut held = self.held.lock();
            while held.0 == Some(first) {
                held.1 += 1;
                self.moved.notify_all();
                self.moved.wait(&mut held);
            }
        }
        self.memory.submit(writes, finish)
    }
    fn discard(&self, addr: u64, length: u64) -> ashlar_device::Result<()> {
        self.memory.discard(addr, length)
    }
    fn write_zeroes(&self, addr: u64, length: u64) -> ashlar_device::Result<()> {
        self.memory.write_zeroes(addr, length)
    }
}

fn gated() -> (Arc<Gate>, Arc<Volume>) {
    let held = Mutex::new((None, 0));
    let gate = Gate { memory: MemoryDevice::new(64 << 20), held, moved: Condvar::new() };
    let gate = Arc::new(gate);
    let device: Arc<dyn Device> = Arc::<Gate>::clone(&gate);
    Volume::format(&device, &FormatOptions::default()).unwrap();
    let options = MountOptions { kernel_cache: true, ..options() };
    (gate, Volume::mount(device, &options).unwrap())
}

#[test]
fn one_that_extends_the_file_passes_another_and_the_disk_size_waits() {
    let (gate, volume) = gated();
    let ino = make(&volume, ROOT, "file");
    let file = open(&volume, ino);
    gate.hold(Some(1));
    thread::scope(|scope| {
        let slow = scope.spawn(|| write(&file, 0, &[1; CHUNK]));
        gate.wait();
        write(&file, CHUNK as u64, &[2; CHUNK]);
        assert_eq!(file.attr().unwrap().size, 2 * CHUNK as u64);
        volume.write_back(file.inode(), crate::volume::WritebackMode::Background).unwrap();
        assert_eq!(file.inode().any_state().record.size, 0, "what lies below is on its way");
        gate.hold(None);
        slow.join().unwrap();
    });
    file.fsync(true).unwrap();
    assert_eq!(file.inode().any_state().record.size, 2 * CHUNK as u64);
    let extents = file.extents(0..u64::MAX).unwrap();
    assert_eq!(extents.len(), 1, "side by side on the device, too: {extents:?}");
    drop(file);
    let volume = remount(&volume, &options());
    let bytes = read_all(&open(&volume, ino));
    assert!(bytes[..CHUNK] == [1; CHUNK] && bytes[CHUNK..] == [2; CHUNK]);
}

#[test]
fn sync_of_a_finished_write_does_not_wait_for_an_unfinished_one() {
    let (gate, volume) = gated();
    let file = open(&volume, make(&volume, ROOT, "file"));
    gate.hold(Some(1));
    thread::scope(|scope| {
        let slow = scope.spawn(|| write(&file, 0, &[1; CHUNK]));
        gate.wait();
        write(&file, CHUNK as u64, &[2; CHUNK]);
        file.fsync(true).unwrap();
        assert_eq!(file.inode().any_state().record.size, 2 * CHUNK as u64);
        gate.hold(None);
        slow.join().unwrap();
    });
}

#[test]
fn one_that_overlaps_another_waits_for_it() {
    let (gate, volume) = gated();
    let ino = make(&volume, ROOT, "file");
    let file = open(&volume, ino);
    gate.hold(Some(1));
    let half = CHUNK as u64 / 2;
    thread::scope(|scope| {
        let first = scope.spawn(|| write(&file, half, &[1; CHUNK]));
        gate.wait();
        let second = scope.spawn(|| write(&file, 0, &[2; CHUNK]));
        thread::sleep(Duration::from_millis(50));
        assert!(!second.is_finished());
        gate.hold(None);
        first.join().unwrap();
        second.join().unwrap();
    });
    drop(file);
    let volume = remount(&volume, &options());
    let bytes = read_all(&open(&volume, ino));
    assert!(bytes[..CHUNK] == [2; CHUNK]);
    assert!(bytes[CHUNK..] == [1; CHUNK / 2]);
}

#[test]
fn many_threads_write_one_file_in_any_order() {
    let options = MountOptions { kernel_cache: true, background: true, ..options() };
    let volume = Volume::mount(device(128), &options).unwrap();
    let ino = make(&volume, ROOT, "file");
    let file = open(&volume, ino);
    let next = AtomicU64::new(0);
    let chunk_at = |index: u64| pattern(index as u8, CHUNK);
    thread::scope(|scope| {
        for id in 0..4 {
            let (file, next, volume) = (&file, &next, &volume);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(id);
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= 400 {
                        return;
                    }
                    // Now and then what another has written, or is writing, once more.
                    for index in [index, index.saturating_sub(rng.u64(0..3))] {
                        write(file, index * CHUNK as u64, &chunk_at(index));
                    }
                    match rng.u8(0..20) {
                        0 => file.fsync(true).unwrap(),
                        1 => volume.sync().unwrap(),
                        _ => {}
                    }
                }
            });
        }
    });
    drop(file);
    let volume = remount(&volume, &options);
    let bytes = read_all(&open(&volume, ino));
    assert_eq!(bytes.len(), 400 * CHUNK);
    for (index, chunk) in (0..).zip(bytes.chunks(CHUNK)) {
        assert!(chunk == chunk_at(index), "chunk {index}");
    }
}
