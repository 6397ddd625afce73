//! A device that fails on purpose: the nth request of a kind, once or from then on.

use ashlar_device::{Device, DeviceError, DeviceOp, Finish, Read, Result, Topology, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// Which requests count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// Reads.
    Read,
    /// Batches of writes.
    Write,
    /// Batches that end in a flush.
    Flush,
}

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Which requests count.
    pub victim: Victim,
    /// The one that fails, counted from 1.
    pub nth: u64,
    /// errno that it fails with.
    pub errno: i32,
    /// All later ones fail, too.
    pub lasting: bool,
}

/// See the module.
#[derive(Debug)]
pub struct FaultDevice<D> {
    inner: D,
    plan: Plan,
    count: AtomicU64,
}

impl<D: Device> FaultDevice<D> {
    /// Wraps a device.
    pub fn new(inner: D, plan: Plan) -> Self {
        Self { inner, plan, count: AtomicU64::new(0) }
    }

    /// True once the failure has happened.
    pub fn has_struck(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= self.plan.nth
    }

    fn strike(&self, victim: Victim, op: DeviceOp, addr: u64, length: u64) -> Result<()> {
        if victim != self.plan.victim {
            return Ok(());
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if number < self.plan.nth || (number > self.plan.nth && !self.plan.lasting) {
            return Ok(());
        }
        let source = std::io::Error::from_raw_os_error(self.plan.errno);
        Err(DeviceError { op, addr, length, device: "failing device".into(), source })
    }
}

impl<D: Device> Device for FaultDevice<D> {
    fn topology(&self) -> &Topology {
        self.inner.topology()
    }

    fn read_at(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        self.strike(Victim::Read, DeviceOp::Read, addr, buf.len() as u64)?;
        self.inner.read_at(addr, buf)
    }

    fn read_batch(&self, reads: &mut [Read<'_>]) -> Result<()> {
        self.strike(Victim::Read, DeviceOp::Read, 0, 0)?;
        self.inner.read_batch(reads)
    }

    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> Result<()> {
        if let Some(first) = writes.first() {
            let length = first.bytes.len() as u64;
            self.strike(Victim::Write, DeviceOp::Write, first.addr, length)?;
        }
        if finish == Finish::Flush {
            self.strike(Victim::Flush, DeviceOp::Flush, 0, 0)?;
        }
        self.inner.submit(writes, finish)
    }

    fn discard(&self, addr: u64, length: u64) -> Result<()> {
        self.inner.discard(addr, length)
    }

    fn write_zeroes(&self, addr: u64, length: u64) -> Result<()> {
        self.strike(Victim::Write, DeviceOp::Write, addr, length)?;
        self.inner.write_zeroes(addr, length)
    }
}
