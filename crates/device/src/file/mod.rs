//! Image files and block devices of the host.
//!
//! Called by everything above through [`Device`]; calls the host. The parts: `open` finds out what
//! the file can do and locks it, `run` turns requests into vectored transfers, `ring` submits many
//! of them with one system call, `plain` makes one transfer and finishes those that came back
//! short, `space` frees and zeroes.
//!
//! Definitions. A *run* is a stretch of the device that one system call transfers from or to
//! scattered memory; requests that touch each other on the device share a run.
//!
//! Invariants:
//! * **F1** A flush starts after the completion of every write of its batch was seen. It is a plain
//!   `fdatasync`: inside a ring it would go to a worker thread, and ordering it behind the writes
//!   there (a drain or a link) costs more than the second system call.
//! * **F2** A batch of one run needs no ring; the others use the calling thread's own, so no thread
//!   waits for another one's I/O.
//! * **F3** With direct I/O all memory that reaches the host has its alignment; other memory is
//!   copied through an [`AlignedBuf`](crate::AlignedBuf).
//!
//! Measured with 16 KiB and 512 B to a written 256 MiB image on ext4 over a virtual disk, median of
//! 1000: two `pwrite` and `fdatasync` 242 µs; ring with both writes, then `fdatasync` 219 µs; ring
//! with a drained fsync 288 µs; with linked requests 364 µs; one `pwrite` of 16 KiB and `fdatasync`
//! for comparison 179 µs. With 8 × 16 KiB: 927, 695, 825, 1273 and 879 µs. The disk takes about
//! 45 µs for a second write of any size, so a batch that needs one cannot do better.

mod ioctl;
mod open;
mod plain;
mod ring;
mod run;
mod space;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub use open::OpenMode;

use crate::{Device, DeviceError, DeviceOp, Finish, Read, Result, Topology, Write};
use run::{ReadPlan, WritePlan};

/// An image file or a block device of the host.
///
/// Opened with [`FileDevice::open`], which locks it for as long as the value lives. Direct I/O and
/// `io_uring` are used where the host offers them; `ASHLAR_IO=sync` in the environment keeps to
/// plain system calls.
///
/// # Durability
/// A flush is `fdatasync` of the file, so it reaches the medium through the host's file system and
/// the disk's cache. A crash of this process alone loses nothing that was written.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    path: PathBuf,
    kind: Kind,
    topology: Topology,
    /// Alignment that the host asks of memory: 1 when the host's page cache is in between.
    memory_align: usize,
    /// Whether batches go through `io_uring`.
    batches: bool,
}

/// What the path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    Block,
}

impl FileDevice {
    /// Opens and locks an image file or a block device.
    ///
    /// The lock is `flock`: exclusive, or shared with other readers when read-only. A writable
    /// block device is also claimed against the kernel's own users (`O_EXCL`), unless
    /// [`OpenMode::leave_to_kernel`].
    ///
    /// # Errors
    /// With a message that names the path:
    /// * `EBUSY` – somebody else has it open, or the kernel has it mounted;
    /// * `ENOENT` – missing, and no [`OpenMode::create_size`];
    /// * `EISDIR` – a directory;
    /// * `EINVAL` – neither file nor block device, or smaller than a sector;
    /// * `ENOSPC`, `EFBIG` – the host cannot hold an image of that size;
    /// * whatever else the host answers.
    ///
    /// # Blocking
    /// Waits up to half a second for the lock, so that a process that was just killed can let go.
    pub fn open(path: impl AsRef<Path>, mode: OpenMode) -> Result<Self> {
        let plain_calls = std::env::var_os("ASHLAR_IO").is_some_and(|value| value == "sync");
        Self::open_with(path.as_ref(), mode, plain_calls)
    }

    /// The path that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether transfers bypass the host's page cache.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.memory_align > 1
    }

    fn open_with(path: &Path, mode: OpenMode, plain_calls: bool) -> Result<Self> {
        open::open(path, mode, plain_calls).map_err(|source| DeviceError {
            op: DeviceOp::Open,
            addr: 0,
            length: 0,
            device: path.display().to_string(),
            source,
        })
    }

    fn error(&self, op: DeviceOp, addr: u64, length: u64, source: io::Error) -> DeviceError {
        DeviceError { op, addr, length, device: self.path.display().to_string(), source }
    }

    fn check_change(&self, op: DeviceOp, addr: u64, length: u64) -> Result<()> {
        self.topology
            .check_change(addr, length)
            .map_err(|source| self.error(op, addr, length, source))
    }

    fn read(&self, reads: &mut [Read<'_>]) -> Result<()> {
        for read in reads.iter() {
            let length = read.buf.len() as u64;
            self.topology
                .check_range(read.addr, length)
                .map_err(|source| self.error(DeviceOp::Read, read.addr, length, source))?;
        }
        let mut plan = ReadPlan::new(reads, self.memory_align);
        let mut runs = plan.runs();
        let results =
            self.transfer_batch(runs.len(), || ring::read(&self.file, runs.as_mut_slice()));
        for (run, result) in runs.iter_mut().zip(results) {
            let (addr, length) = (run.addr, run.length());
            plain::finish_read(&self.file, run, result)
                .map_err(|source| self.error(DeviceOp::Read, addr, length, source))?;
        }
        drop(runs);
        plan.copy_back();
        Ok(())
    }

    fn write(&self, writes: &[Write<'_>]) -> Result<()> {
        let plan = WritePlan::new(writes, self.memory_align);
        let mut runs = plan.runs();
        let results = self.transfer_batch(runs.len(), || ring::write(&self.file, &runs));
        for (run, result) in runs.iter_mut().zip(results) {
            let (addr, length) = (run.addr, run.length());
            plain::finish_write(&self.file, run, result)
                .map_err(|source| self.error(DeviceOp::Write, addr, length, source))?;
        }
        Ok(())
    }

    /// Runs `batch` where a ring pays (F2), and answers "not tried" for every run otherwise.
    fn transfer_batch(
        &self,
        runs: usize,
        batch: impl FnOnce() -> Vec<ring::Outcome>,
    ) -> Vec<ring::Outcome> {
        if runs > 1 && self.batches { batch() } else { vec![None; runs] }
    }
}

impl Device for FileDevice {
    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn read_at(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        self.read(&mut [Read { addr, buf }])
    }

    fn read_batch(&self, reads: &mut [Read<'_>]) -> Result<()> {
        self.read(reads)
    }

    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> Result<()> {
        for write in writes {
            self.check_change(DeviceOp::Write, write.addr, write.bytes.len() as u64)?;
        }
        self.write(writes)?;
        match finish {
            Finish::Nothing => Ok(()),
            // F1: `write` has seen every completion.
            Finish::Flush => {
                plain::flush(&self.file).map_err(|source| self.error(DeviceOp::Flush, 0, 0, source))
            }
        }
    }

    fn discard(&self, addr: u64, length: u64) -> Result<()> {
        self.check_change(DeviceOp::Discard, addr, length)?;
        space::discard(&self.file, self.kind, &self.topology, addr..addr + length)
            .map_err(|source| self.error(DeviceOp::Discard, addr, length, source))
    }

    fn write_zeroes(&self, addr: u64, length: u64) -> Result<()> {
        self.check_change(DeviceOp::WriteZeroes, addr, length)?;
        if space::zero(&self.file, addr, length)
            .map_err(|source| self.error(DeviceOp::WriteZeroes, addr, length, source))?
        {
            return Ok(());
        }
        space::for_each_zero_write(addr, length, |write| self.write(&[write]))
    }

    fn block_device_path(&self) -> Option<&Path> {
        (self.kind == Kind::Block).then_some(self.path.as_path())
    }
}
