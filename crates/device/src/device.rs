//! The trait that every place for bytes implements.

use std::fmt;
use std::path::Path;

use crate::{Result, Topology};

/// One write of a batch: `bytes` go to `addr`. Both are multiples of the sector.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// First byte on the device.
    pub addr: u64,
    /// What to write; any alignment in memory.
    pub bytes: &'a [u8],
}

/// One read of a batch: `buf` is filled from `addr`. Both are multiples of the sector.
#[derive(Debug)]
pub struct Read<'a> {
    /// First byte on the device.
    pub addr: u64,
    /// Where the bytes go; any alignment in memory.
    pub buf: &'a mut [u8],
}

/// What ends a batch of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finish {
    /// The writes are complete when the call returns, but a power cut may undo them.
    Nothing,
    /// The writes, and everything completed before the call, are durable when it returns.
    Flush,
}

/// An array of bytes that is read and written in whole sectors.
///
/// All calls take `&self` and may run at the same time from any number of threads. Requests that
/// overlap in time and in place have no defined order; the caller keeps them apart.
///
/// Every call checks its ranges: `EINVAL` where an address or a length is not a multiple of the
/// sector or leaves the device, `EROFS` for a change of a read-only device. Nothing has been done
/// then. Empty requests succeed.
pub trait Device: Send + Sync + fmt::Debug {
    /// Size, sector and preferences.
    fn topology(&self) -> &Topology;

    /// Fills `buf` from `addr`.
    ///
    /// # Errors
    /// The host's error; the contents of `buf` are undefined then.
    fn read_at(&self, addr: u64, buf: &mut [u8]) -> Result<()>;

    /// Fills every buffer; the reads have no order among themselves.
    ///
    /// # Errors
    /// The error of one read that failed; all buffers are undefined then.
    fn read_batch(&self, reads: &mut [Read<'_>]) -> Result<()> {
        reads.iter_mut().try_for_each(|read| self.read_at(read.addr, read.buf))
    }

    /// Writes `bytes` at `addr`.
    ///
    /// # Errors
    /// The host's error; any of the sectors may have been written then.
    fn write_at(&self, addr: u64, bytes: &[u8]) -> Result<()> {
        self.submit(&[Write { addr, bytes }], Finish::Nothing)
    }

    /// Writes scattered bytes, unordered among themselves and not overlapping, then does what
    /// `finish` says; returns when all of it is done.
    ///
    /// # Errors
    /// The error of the part that failed first; any sector of the batch may have been written.
    ///
    /// # Durability
    /// With [`Finish::Flush`] the batch and every write that completed before this call are durable
    /// on `Ok`. After an error nothing since the last successful flush may be relied on, and no
    /// later flush can make up for it (D3 of the crate).
    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> Result<()>;

    /// Makes every completed write durable.
    ///
    /// # Errors
    /// The host's error; see [`submit`](Self::submit).
    fn flush(&self) -> Result<()> {
        self.submit(&[], Finish::Flush)
    }

    /// Tells the device that the bytes are not needed; they are undefined until written again.
    ///
    /// Advisory: a device that cannot discard does nothing and succeeds.
    ///
    /// # Errors
    /// The host's error.
    fn discard(&self, addr: u64, length: u64) -> Result<()>;

    /// Makes the range read as zeroes; on the device's side where it can.
    ///
    /// # Errors
    /// The host's error; any part of the range may hold zeroes then.
    ///
    /// # Durability
    /// As a write: unordered until a flush.
    fn write_zeroes(&self, addr: u64, length: u64) -> Result<()>;

    /// The path of the host's block device behind this one, where there is one.
    fn block_device_path(&self) -> Option<&Path> {
        None
    }
}

impl<D: Device + ?Sized> Device for std::sync::Arc<D> {
    fn topology(&self) -> &Topology {
        (**self).topology()
    }

    fn read_at(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        (**self).read_at(addr, buf)
    }

    fn read_batch(&self, reads: &mut [Read<'_>]) -> Result<()> {
        (**self).read_batch(reads)
    }

    fn write_at(&self, addr: u64, bytes: &[u8]) -> Result<()> {
        (**self).write_at(addr, bytes)
    }

    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> Result<()> {
        (**self).submit(writes, finish)
    }

    fn flush(&self) -> Result<()> {
        (**self).flush()
    }

    fn discard(&self, addr: u64, length: u64) -> Result<()> {
        (**self).discard(addr, length)
    }

    fn write_zeroes(&self, addr: u64, length: u64) -> Result<()> {
        (**self).write_zeroes(addr, length)
    }

    fn block_device_path(&self) -> Option<&Path> {
        (**self).block_device_path()
    }
}
