//! Giving space back to the host, and zeroes without carrying them.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use super::{Kind, ioctl};
use crate::{AlignedBuf, Result, Topology, Write};

/// The host frees whole blocks of this size; it would write zeroes into parts of one.
const HOST_BLOCK: u64 = 4096;

/// Zeroes in one write, where the host has no better way.
const ZEROES_MAX: u64 = 1 << 20;

/// Frees the range on the host. Does nothing where the host cannot.
pub(super) fn discard(
    file: &File,
    kind: Kind,
    topology: &Topology,
    range: Range<u64>,
) -> io::Result<()> {
    let start = range.start.next_multiple_of(HOST_BLOCK);
    let end = range.end - range.end % HOST_BLOCK;
    if start >= end || !topology.discard {
        return Ok(());
    }
    let result = match kind {
        Kind::Block => ioctl::discard(file, start, end - start),
        Kind::Image => punch(file, start, end - start),
    };
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        other => other,
    }
}

fn punch(file: &File, start: u64, length: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(retry_on_intr(|| fallocate(file, flags, start, length))?)
}

/// Lets the host zero the range; `false` where it cannot.
///
/// On an image file this leaves extents that are allocated but unwritten.
pub(super) fn zero(file: &File, addr: u64, length: u64) -> io::Result<bool> {
    if length == 0 {
        return Ok(true);
    }
    let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    match retry_on_intr(|| fallocate(file, flags, addr, length)) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Calls `write` with zeroes until the range is covered.
pub(super) fn for_each_zero_write(
    addr: u64,
    length: u64,
    mut write: impl FnMut(Write<'_>) -> Result<()>,
) -> Result<()> {
    let zeroes = AlignedBuf::new_zeroed(length.min(ZEROES_MAX) as usize);
    let mut done = 0;
    while done < length {
        let count = (length - done).min(ZEROES_MAX);
        write(Write { addr: addr + done, bytes: &zeroes[..count as usize] })?;
        done += count;
    }
    Ok(())
}
