//! A wrapper that counts what reaches a device: I/O per operation is tested, since counts do not
//! jitter.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Device, Finish, Read, Result, Topology, Write};

/// How often a device was called, and for how many bytes. Calls that failed count as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Single reads, those of batches included.
    pub reads: u64,
    /// Bytes asked for by reads.
    pub bytes_read: u64,
    /// Single writes, those of batches included.
    pub writes: u64,
    /// Bytes carried by writes.
    pub bytes_written: u64,
    /// Batches of writes, one-write and empty ones included.
    pub submits: u64,
    /// Flushes, alone or at the end of a batch.
    pub flushes: u64,
    /// Discards.
    pub discards: u64,
    /// Writes of zeroes.
    pub zeroes: u64,
}

impl Counts {
    /// What was added since `before`.
    #[must_use]
    pub fn since(&self, before: &Counts) -> Counts {
        Counts {
            reads: self.reads - before.reads,
            bytes_read: self.bytes_read - before.bytes_read,
            writes: self.writes - before.writes,
            bytes_written: self.bytes_written - before.bytes_written,
            submits: self.submits - before.submits,
            flushes: self.flushes - before.flushes,
            discards: self.discards - before.discards,
            zeroes: self.zeroes - before.zeroes,
        }
    }
}

/// Counts every call on its way to `D`.
#[derive(Debug, Default)]
pub struct Counted<D> {
    inner: D,
    reads: AtomicU64,
    bytes_read: AtomicU64,
    writes: AtomicU64,
    bytes_written: AtomicU64,
    submits: AtomicU64,
    flushes: AtomicU64,
    discards: AtomicU64,
    zeroes: AtomicU64,
}

// Relaxed everywhere: the counters order nothing, and a reader joins its threads first.
const ORDER: Ordering = Ordering::Relaxed;

impl<D> Counted<D> {
    /// Wraps `inner` with all counters at 0.
    pub fn new(inner: D) -> Self {
        Self {
            inner,
            reads: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            submits: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            discards: AtomicU64::new(0),
            zeroes: AtomicU64::new(0),
        }
    }

    /// The counters now.
    pub fn counts(&self) -> Counts {
        Counts {
            reads: self.reads.load(ORDER),
            bytes_read: self.bytes_read.load(ORDER),
            writes: self.writes.load(ORDER),
            bytes_written: self.bytes_written.load(ORDER),
            submits: self.submits.load(ORDER),
            flushes: self.flushes.load(ORDER),
            discards: self.discards.load(ORDER),
            zeroes: self.zeroes.load(ORDER),
        }
    }

    /// The device below.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// Gives the device below back.
    pub fn into_inner(self) -> D {
        self.inner
    }
}

impl<D: Device> Device for Counted<D> {
    fn topology(&self) -> &Topology {
        self.inner.topology()
    }

    fn read_at(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        self.reads.fetch_add(1, ORDER);
        self.bytes_read.fetch_add(buf.len() as u64, ORDER);
        self.inner.read_at(addr, buf)
    }

    fn read_batch(&self, reads: &mut [Read<'_>]) -> Result<()> {
        self.reads.fetch_add(reads.len() as u64, ORDER);
        self.bytes_read.fetch_add(reads.iter().map(|r| r.buf.len() as u64).sum(), ORDER);
        self.inner.read_batch(reads)
    }

    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> Result<()> {
        self.submits.fetch_add(1, ORDER);
        self.writes.fetch_add(writes.len() as u64, ORDER);
        self.bytes_written.fetch_add(writes.iter().map(|w| w.bytes.len() as u64).sum(), ORDER);
        if finish == Finish::Flush {
            self.flushes.fetch_add(1, ORDER);
        }
        self.inner.submit(writes, finish)
    }

    fn discard(&self, addr: u64, length: u64) -> Result<()> {
        self.discards.fetch_add(1, ORDER);
        self.inner.discard(addr, length)
    }

    fn write_zeroes(&self, addr: u64, length: u64) -> Result<()> {
        self.zeroes.fetch_add(1, ORDER);
        self.inner.write_zeroes(addr, length)
    }

    fn block_device_path(&self) -> Option<&Path> {
        self.inner.block_device_path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    #[test]
    fn every_call_counts() -> Result<()> {
        let device = Counted::new(MemoryDevice::new(1 << 16));
        device.write_at(0, &[1; 512])?;
        device.submit(
            &[Write { addr: 512, bytes: &[2; 512] }, Write { addr: 4096, bytes: &[3; 1024] }],
            Finish::Flush,
        )?;
        device.flush()?;
        let before = device.counts();
        let (mut a, mut b) = ([0; 512], [0; 1024]);
        device.read_at(0, &mut a)?;
        device
            .read_batch(&mut [Read { addr: 0, buf: &mut a }, Read { addr: 4096, buf: &mut b }])?;
        device.discard(0, 512)?;
        device.write_zeroes(512, 512)?;
        let counts = device.counts();
        assert_eq!(
            counts,
            Counts {
                reads: 3,
                bytes_read: 2048,
                writes: 3,
                bytes_written: 2048,
                submits: 3,
                flushes: 2,
                discards: 1,
                zeroes: 1,
            }
        );
        assert_eq!(counts.since(&before).reads, 3);
        assert_eq!(counts.since(&before).writes, 0);
        Ok(())
    }
}
