//! Ashlar's ioctls from the caller's side, for files on a mounted volume.
#![allow(unsafe_code)] // ioctl(2) has no safe form.

use std::fs::File;
use std::io;

use rustix::ioctl::{Setter, Updater, ioctl};
use zerocopy::FromZeros;

use super::abi::{self, Extents, RawExtent};

/// Where a part of a file lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Extent {
    /// First byte in the file.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// First byte on the device, if the part has a place there.
    pub addr: Option<u64>,
    /// `abi::EXTENT_*`.
    pub flags: u32,
}

/// Takes `length` bytes out of a file at `offset`; what follows moves down.
///
/// # Errors
/// `EINVAL` if not block-aligned or if the range reaches the end of the file, `ENOTTY` if the
/// file is not on an Ashlar volume, and what the volume says.
pub fn collapse_range(file: &File, offset: u64, length: u64) -> io::Result<()> {
    file.sync_all()?;
    let size = file.metadata()?.len();
    // SAFETY: the number belongs to a structure of this type, which the kernel only reads.
    unsafe {
        let range = abi::Range { offset, length };
        ioctl(file, Setter::<{ abi::COLLAPSE_RANGE }, _>::new(range))?;
    }
    file.set_len(size.saturating_sub(length))
}

/// Puts a hole of `length` bytes into a file at `offset`; what was there moves up.
///
/// # Errors
/// As [`collapse_range`], and `EFBIG`.
pub fn insert_range(file: &File, offset: u64, length: u64) -> io::Result<()> {
    file.sync_all()?;
    let size = file.metadata()?.len();
    // SAFETY: the number belongs to a structure of this type, which the kernel only reads.
    unsafe {
        let range = abi::Range { offset, length };
        ioctl(file, Setter::<{ abi::INSERT_RANGE }, _>::new(range))?;
    }
    file.set_len(size.saturating_add(length))
}

/// The extents of a whole file, holes left out, after writing back what is cached of it.
///
/// # Errors
/// `ENOTTY` if the file is not on an Ashlar volume, and what the volume says.
pub fn extents(file: &File) -> io::Result<Vec<Extent>> {
    file.sync_all()?;
    let mut found: Vec<Extent> = Vec::new();
    let mut argument = Box::new(Extents::new_zeroed());
    loop {
        let offset = found.last().map_or(0, |last| last.offset.saturating_add(last.length));
        argument.range = abi::Range { offset, length: u64::MAX - offset };
        // SAFETY: the number belongs to a structure of this type, which the kernel reads and
        // writes as a whole; all its bit patterns are valid.
        unsafe {
            ioctl(file, Updater::<{ abi::GET_EXTENTS }, Extents>::new(&mut argument))?;
        }
        let list = argument.list.get(..argument.count as usize).unwrap_or_default();
        let last = list.last().is_none_or(|last| last.flags & abi::EXTENT_LAST != 0);
        found.extend(list.iter().map(from_raw));
        if last {
            return Ok(found);
        }
    }
}

fn from_raw(raw: &RawExtent) -> Extent {
    let addr = (raw.addr != abi::NO_ADDRESS).then_some(raw.addr);
    Extent { offset: raw.offset, length: raw.length, addr, flags: raw.flags }
}
