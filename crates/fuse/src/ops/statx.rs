//! STATX: sent when a program asks for the birth time; GETATTR serves the rest.
//!
//! The kernel takes the basic fields and the birth time, and ignores the attribute bits.

use ashlar_core::{Ino, Timestamp};

use super::attr::{BLOCK_SIZE, wire_mode};
use super::{Answer, Server, errno};
use crate::wire::abi::{Statx, StatxOut, StatxTime};
use crate::wire::reply::Reply;

impl Server {
    pub(super) fn statx(&self, ino: Ino) -> Answer {
        let attr = self.volume.getattr(ino).map_err(|error| errno(&error))?;
        let (rdev_major, rdev_minor) = split_device(attr.rdev as u32);
        let stat = Statx {
            mask: libc::STATX_BASIC_STATS | libc::STATX_BTIME,
            blksize: BLOCK_SIZE,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            // All type bits lie in the lower half.
            mode: wire_mode(&attr) as u16,
            ino: attr.ino.0,
            size: attr.size,
            blocks: attr.blocks,
            atime: wire_time(attr.atime),
            btime: wire_time(attr.btime),
            ctime: wire_time(attr.ctime),
            mtime: wire_time(attr.mtime),
            rdev_major,
            rdev_minor,
            ..Statx::default()
        };
        let attr_valid = self.attr_validity(&attr);
        Ok(Reply::Statx(Box::new(StatxOut { attr_valid, stat, ..StatxOut::default() })))
    }
}

fn wire_time(time: Timestamp) -> StatxTime {
    StatxTime { seconds: time.seconds, nanoseconds: time.nanoseconds, reserved: 0 }
}

/// Major and minor number of the kernel's 32-bit encoding: `mmmM MMmm`.
fn split_device(device: u32) -> (u32, u32) {
    ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_number_splits_as_the_kernel_encodes_it() {
        assert_eq!(split_device(0x0000_0103), (1, 3));
        assert_eq!(split_device(0x1230_4556), (0x45, 0x1_2356));
        assert_eq!(split_device(0xffff_ffff), (0xfff, 0xf_ffff));
    }
}
