//! Inode flags by chattr's and by XFS's numbers, the project, and the generation.
//!
//! Newer kernels check the caller before they send a change; older ones pass any ioctl through,
//! so we check again: the owner may change flags, immutable and append-only take a capability.

use ashlar_core::{Attr, Caller, InodeFlags};
use zerocopy::IntoBytes;

use super::{Answer, Call, Server, answer};
use crate::credentials::{Capability, file_user, has_capability};
use crate::ioctl::abi::FileAttributes;
use crate::ops::errno;
use crate::wire::reply::Errno;

/// Our flag, chattr's bit (`FS_*_FL`), XFS's bit (`FS_XFLAG_*`).
const TABLE: [(InodeFlags, u32, u32); 7] = [
    (InodeFlags::SYNC, 0x8, 0x20),
    (InodeFlags::IMMUTABLE, 0x10, 0x8),
    (InodeFlags::APPEND, 0x20, 0x10),
    (InodeFlags::NODUMP, 0x40, 0x80),
    (InodeFlags::NOATIME, 0x80, 0x40),
    (InodeFlags::PROJECT_INHERIT, 0x2000_0000, 0x200),
    // XFS has no bit for this one.
    (InodeFlags::DIRSYNC, 0x1_0000, 0),
];

/// Flags that only an administrator may change.
const GUARDED: InodeFlags = InodeFlags::IMMUTABLE.union(InodeFlags::APPEND);

impl Server {
    pub(super) fn get_flags(&self, call: Call<'_>) -> Answer {
        let flags = self.attr_of(call)?.flags;
        answer_sized(call, to_bits(flags, chattr_bit))
    }

    pub(super) fn set_flags(&self, call: Call<'_>) -> Answer {
        let bits: u32 = call.argument()?;
        let attr = self.attr_of(call)?;
        let wanted = from_bits(bits, chattr_bit).ok_or(Errno::EOPNOTSUPP)?;
        self.change_flags(call, &attr, wanted, InodeFlags::empty())?;
        answer(&[])
    }

    pub(super) fn get_file_attributes(&self, call: Call<'_>) -> Answer {
        let attr = self.attr_of(call)?;
        let projid = self.volume.project(call.ino()).map_err(|error| errno(&error))?;
        let found = FileAttributes {
            xflags: to_bits(attr.flags, xfs_bit),
            projid,
            ..FileAttributes::default()
        };
        answer(found.as_bytes())
    }

    pub(super) fn set_file_attributes(&self, call: Call<'_>) -> Answer {
        let wanted: FileAttributes = call.argument()?;
        if wanted.extsize != 0 || wanted.cowextsize != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let attr = self.attr_of(call)?;
        let flags = from_bits(wanted.xflags, xfs_bit).ok_or(Errno::EOPNOTSUPP)?;
        // A flag that XFS has no bit for stays as it is.
        let untold = TABLE.iter().filter(|row| row.2 == 0);
        let untold = untold.fold(InodeFlags::empty(), |all, row| all | row.0);
        self.change_flags(call, &attr, flags, untold)?;
        let project = self.volume.project(call.ino()).map_err(|error| errno(&error))?;
        if wanted.projid != project {
            self.volume
                .set_project(&Caller::root(), call.ino(), wanted.projid)
                .map_err(|error| errno(&error))?;
        }
        answer(&[])
    }

    pub(super) fn get_version(&self, call: Call<'_>) -> Answer {
        answer_sized(call, self.attr_of(call)?.generation)
    }

    /// Replaces the flags that the caller's numbering knows, except those in `untold`.
    fn change_flags(
        &self,
        call: Call<'_>,
        attr: &Attr,
        wanted: InodeFlags,
        untold: InodeFlags,
    ) -> Result<(), Errno> {
        let changeable = TABLE.iter().fold(InodeFlags::empty(), |all, row| all | row.0) - untold;
        let flags = (attr.flags - changeable) | (wanted & changeable);
        let (pid, uid) = (call.header.pid, call.header.uid);
        let user = file_user(pid, uid);
        if user != Some(attr.uid) && !has_capability(pid, uid, Capability::Fowner) {
            return Err(Errno::EPERM);
        }
        if (flags ^ attr.flags).intersects(GUARDED)
            && !has_capability(pid, uid, Capability::LinuxImmutable)
        {
            return Err(Errno::EPERM);
        }
        if flags == attr.flags {
            return Ok(());
        }
        self.volume.set_flags(&Caller::root(), call.ino(), flags).map_err(|error| errno(&error))
    }

    fn attr_of(&self, call: Call<'_>) -> Result<Attr, Errno> {
        self.volume.getattr(call.ino()).map_err(|error| errno(&error))
    }
}

/// A number in as many bytes as the caller's number announces: C's `int` or `long`.
fn answer_sized(call: Call<'_>, value: u32) -> Answer {
    let wide = u64::from(value).to_ne_bytes();
    let narrow = value.to_ne_bytes();
    if call.arguments.out_size as usize >= wide.len() { answer(&wide) } else { answer(&narrow) }
}

fn chattr_bit(row: &(InodeFlags, u32, u32)) -> u32 {
    row.1
}

fn xfs_bit(row: &(InodeFlags, u32, u32)) -> u32 {
    row.2
}

fn to_bits(flags: InodeFlags, bit: fn(&(InodeFlags, u32, u32)) -> u32) -> u32 {
    TABLE.iter().filter(|row| flags.contains(row.0)).map(bit).fold(0, |all, one| all | one)
}

/// `None` if there is a bit we have no flag for.
fn from_bits(bits: u32, bit: fn(&(InodeFlags, u32, u32)) -> u32) -> Option<InodeFlags> {
    let mut flags = InodeFlags::empty();
    let mut rest = bits;
    for row in TABLE.iter().filter(|row| bit(row) != 0 && bits & bit(row) != 0) {
        flags |= row.0;
        rest &= !bit(row);
    }
    (rest == 0).then_some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_numberings_lead_back_to_the_same_flags() {
        let flags = InodeFlags::IMMUTABLE | InodeFlags::NODUMP | InodeFlags::SYNC;
        assert_eq!(to_bits(flags, chattr_bit), 0x58);
        assert_eq!(from_bits(0x58, chattr_bit), Some(flags));
        assert_eq!(from_bits(to_bits(flags, xfs_bit), xfs_bit), Some(flags));
    }

    #[test]
    fn flag_we_do_not_have_is_not_silently_dropped() {
        // Compression.
        assert_eq!(from_bits(0x4, chattr_bit), None);
        assert_eq!(from_bits(0x8000, xfs_bit), None);
    }
}
