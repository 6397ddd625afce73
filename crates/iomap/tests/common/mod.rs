//! What the integration tests share: the toy file system and a device that fails on demand.
#![allow(dead_code)] // Each test uses a part of it.

#[path = "../../examples/toyfs/fs/mod.rs"]
pub(crate) mod toyfs;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use ashlar_device::{Device, DeviceError, DeviceOp, Finish, MemoryDevice, Topology, Write};
use iomap::{MapReply, MapRequest, Mapping, MappingOps, Outcome};
use parking_lot::Mutex;
use toyfs::ToyFs;

/// What no test ever writes: shows when blocks are read that never were written.
pub(crate) const GARBAGE: u8 = 0xdc;

/// Something to do once in the middle of an I/O.
pub(crate) type Hook = Box<dyn FnOnce() + Send>;

/// A place for a [`Hook`].
#[derive(Default)]
pub(crate) struct HookSlot(Mutex<Option<Hook>>);

impl HookSlot {
    pub(crate) fn set(&self, hook: impl FnOnce() + Send + 'static) {
        *self.0.lock() = Some(Box::new(hook));
    }

    /// Runs the hook, which is gone after: I/O that it does itself is not hooked.
    fn run(&self) {
        let hook = self.0.lock().take();
        if let Some(hook) = hook {
            hook();
        }
    }

    pub(crate) fn has_run(&self) -> bool {
        self.0.lock().is_none()
    }
}

impl std::fmt::Debug for HookSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HookSlot")
    }
}

/// Memory full of garbage, with failures in chosen ranges, hooks and counters.
#[derive(Debug, Default)]
pub(crate) struct Controls {
    pub(crate) fail_reads: Mutex<Option<Range<u64>>>,
    pub(crate) fail_writes: Mutex<Option<Range<u64>>>,
    /// Runs when the bytes are read and not yet given out.
    pub(crate) after_read: HookSlot,
    /// Runs before the bytes are written, and before `fail_writes` is looked at.
    pub(crate) before_write: HookSlot,
    pub(crate) reads: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) writes: AtomicU64,
}

/// See [`Controls`].
#[derive(Debug)]
pub(crate) struct TestDevice {
    pub(crate) memory: MemoryDevice,
    pub(crate) controls: Controls,
}

impl std::ops::Deref for TestDevice {
    type Target = Controls;

    fn deref(&self) -> &Controls {
        &self.controls
    }
}

impl TestDevice {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            memory: MemoryDevice::from_bytes(vec![GARBAGE; capacity].into_boxed_slice()),
            controls: Controls::default(),
        })
    }

    fn check(
        &self,
        fail: &Mutex<Option<Range<u64>>>,
        op: DeviceOp,
        addr: u64,
        length: u64,
    ) -> ashlar_device::Result<()> {
        match &*fail.lock() {
            Some(range) if addr < range.end && range.start < addr + length => Err(DeviceError {
                op,
                addr,
                length,
                device: "test".into(),
                source: std::io::Error::from_raw_os_error(5),
            }),
            _ => Ok(()),
        }
    }
}

impl Device for TestDevice {
    fn topology(&self) -> &Topology {
        self.memory.topology()
    }

    fn read_at(&self, addr: u64, buf: &mut [u8]) -> ashlar_device::Result<()> {
        self.reads.fetch_add(1, SeqCst);
        self.check(&self.fail_reads, DeviceOp::Read, addr, buf.len() as u64)?;
        self.memory.read_at(addr, buf)?;
        self.after_read.run();
        Ok(())
    }

    fn read_batch(&self, reads: &mut [ashlar_device::Read<'_>]) -> ashlar_device::Result<()> {
        self.batches.fetch_add(1, SeqCst);
        reads.iter_mut().try_for_each(|read| self.read_at(read.addr, read.buf))
    }

    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> ashlar_device::Result<()> {
        self.writes.fetch_add(writes.len() as u64, SeqCst);
        if !writes.is_empty() {
            self.before_write.run();
        }
        for write in writes {
            let length = write.bytes.len() as u64;
            self.check(&self.fail_writes, DeviceOp::Write, write.addr, length)?;
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

/// A toy file system on a fresh test device.
pub(crate) fn toy(capacity: usize, cache_bytes: u64) -> (Arc<TestDevice>, Arc<ToyFs>) {
    let device = TestDevice::new(capacity);
    let fs = ToyFs::new(Arc::clone(&device) as Arc<dyn Device>, cache_bytes);
    (device, fs)
}

/// All files are gone: nothing may be left in use, promised or counted.
pub(crate) fn assert_empty(fs: &ToyFs) {
    assert_eq!((fs.used_blocks(), fs.promised_blocks()), (0, 0), "blocks leaked");
    let pool = &fs.pool;
    assert_eq!(
        (pool.cached_bytes(), pool.dirty_bytes(), pool.writeback_bytes()),
        (0, 0, 0),
        "cache counters"
    );
}

/// Seed of a random test: `IOMAP_SEED` if set, else a fresh one. Printed, so that a failure can be
/// repeated.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("IOMAP_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("IOMAP_SEED={seed}");
    seed
}

/// The operations of a file, with something done after the next `begin`: when the answer is given
/// and the library has not used it yet.
pub(crate) struct AfterBegin {
    pub(crate) file: Arc<toyfs::ToyFile>,
    pub(crate) hook: HookSlot,
}

impl AfterBegin {
    pub(crate) fn new(file: &Arc<toyfs::ToyFile>, hook: impl FnOnce() + Send + 'static) -> Self {
        let slot = HookSlot::default();
        slot.set(hook);
        Self { file: Arc::clone(file), hook: slot }
    }
}

impl MappingOps for AfterBegin {
    fn begin(&self, request: &MapRequest) -> iomap::Result<MapReply> {
        let reply = self.file.begin(request);
        self.hook.run();
        reply
    }

    fn end(&self, request: &MapRequest, mapping: &Mapping, done: Outcome) -> iomap::Result<()> {
        self.file.end(request, mapping, done)
    }

    fn is_valid(&self, mapping: &Mapping) -> bool {
        self.file.is_valid(mapping)
    }
}
