//! The one device control that has no safe wrapper: discard on a block device.

// `ioctl` trusts its caller about the argument of each request.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use rustix::ioctl::{Setter, ioctl, opcode};

/// `BLKDISCARD`, `_IO(0x12, 119)`.
const BLKDISCARD: rustix::ioctl::Opcode = opcode::none(0x12, 119);

/// Discards `length` bytes from `addr` on.
pub(super) fn discard(file: &File, addr: u64, length: u64) -> io::Result<()> {
    // SAFETY: the request reads two `u64`, start and length, through its argument and keeps
    // nothing; any other kind of file answers ENOTTY.
    unsafe { ioctl(file, Setter::<BLKDISCARD, [u64; 2]>::new([addr, length]))? };
    Ok(())
}
