//! GETATTR and SETATTR.
//!
//! With the write-back cache the kernel is the master of a regular file's size and of its
//! modification and change times: it ignores what we report for them, and sends them by SETATTR
//! when it writes the inode back. We store what it says.
//!
//! The kernel has checked ownership and stripped set-id bits that the caller may not set; what is
//! left to us is `KILL_SUIDGID`, and that core keeps the ACL's mask and the mode together.

use ashlar_core::{Attr, Caller, FileKind, Ino, SetAttr, SetTime, Timestamp};

use super::{Answer, Server, errno};
use crate::wire::abi::{self, GETATTR_FH, GetattrIn, SetattrIn, SetattrValid};
use crate::wire::reply::{Errno, Reply};

/// Preferred unit of I/O shown to programs: the volume's block.
pub(super) const BLOCK_SIZE: u32 = 4096;

impl Server {
    pub(super) fn getattr(&self, ino: Ino, arguments: &GetattrIn) -> Answer {
        if arguments.flags & GETATTR_FH != 0 {
            self.report_lost_data(ino, arguments.fh)?;
        }
        let attr = self.volume.getattr(ino).map_err(|error| errno(&error))?;
        Ok(Reply::Attr(self.attr_out(&attr)))
    }

    /// Data that the kernel had accepted found the volume full when it was written back. The
    /// kernel tells that to fsync(2) and close(2) only, and a program that just writes on would
    /// never end. But the kernel asks for the attributes before a cached write, every second, and
    /// an error then is the write's error: tell it here, once.
    fn report_lost_data(&self, ino: Ino, handle: u64) -> Result<(), Errno> {
        let writes = || self.handles.get(handle).is_ok_and(|open| open.writable);
        if self.handles.is_full(ino) && writes() && self.handles.take_full(ino) {
            return Err(Errno(libc::ENOSPC));
        }
        Ok(())
    }

    pub(super) fn setattr(&self, ino: Ino, arguments: &SetattrIn) -> Answer {
        if let Some(reply) = self.times_of_the_unlinked(ino, arguments)? {
            return Ok(reply);
        }
        let change = wanted_change(arguments);
        let attr =
            self.volume.setattr(&Caller::root(), ino, &change).map_err(|error| errno(&error))?;
        if change.size.is_some() {
            // What was lost, or is lost before the next write, is no longer waited for.
            self.handles.take_full(ino);
        }
        // Changing the owner or the length invalidates the capabilities of a program file.
        if attr.kind == FileKind::Regular
            && (change.uid.is_some() || change.gid.is_some() || change.size.is_some())
        {
            self.drop_capability(ino)?;
        }
        if self.policy.sync_attributes {
            self.sync_volume()?;
        }
        Ok(Reply::Attr(self.attr_out(&attr)))
    }

    /// The kernel writes back the change time after each unlink, also of the last name. Nobody
    /// will ever read it from us: that is worth no transaction.
    fn times_of_the_unlinked(
        &self,
        ino: Ino,
        arguments: &SetattrIn,
    ) -> Result<Option<Reply>, Errno> {
        let handles = SetattrValid::FH | SetattrValid::LOCKOWNER;
        let times = SetattrValid::MTIME | SetattrValid::CTIME;
        let asked = SetattrValid::from_bits_retain(arguments.valid) - handles;
        if !times.contains(asked) {
            return Ok(None);
        }
        let attr = self.volume.getattr(ino).map_err(|error| errno(&error))?;
        Ok((attr.nlink == 0).then(|| Reply::Attr(self.attr_out(&attr))))
    }

    pub(super) fn attr_out(&self, attr: &Attr) -> abi::AttrOut {
        abi::AttrOut {
            attr_valid: self.attr_validity(attr),
            attr: wire_attr(attr),
            ..abi::AttrOut::default()
        }
    }
}

/// Translates SETATTR's fields.
fn wanted_change(arguments: &SetattrIn) -> SetAttr {
    let valid = SetattrValid::from_bits_retain(arguments.valid);
    let has = |flag| valid.contains(flag);
    let time = |flag, now, seconds, nanoseconds| {
        if has(now) {
            Some(SetTime::Now)
        } else if has(flag) {
            Some(SetTime::At(Timestamp { seconds, nanoseconds }))
        } else {
            None
        }
    };
    SetAttr {
        mode: has(SetattrValid::MODE).then_some(arguments.mode & 0o7777),
        uid: has(SetattrValid::UID).then_some(arguments.uid),
        gid: has(SetattrValid::GID).then_some(arguments.gid),
        size: has(SetattrValid::SIZE).then_some(arguments.size),
        atime: time(
            SetattrValid::ATIME,
            SetattrValid::ATIME_NOW,
            arguments.atime,
            arguments.atimensec,
        ),
        mtime: time(
            SetattrValid::MTIME,
            SetattrValid::MTIME_NOW,
            arguments.mtime,
            arguments.mtimensec,
        ),
        ctime: has(SetattrValid::CTIME)
            .then_some(Timestamp { seconds: arguments.ctime, nanoseconds: arguments.ctimensec }),
        kill_suid_gid: has(SetattrValid::KILL_SUIDGID),
        ..SetAttr::default()
    }
}

/// Attributes as the kernel reads them.
pub(super) fn wire_attr(attr: &Attr) -> abi::Attr {
    abi::Attr {
        ino: attr.ino.0,
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.atime.seconds,
        mtime: attr.mtime.seconds,
        ctime: attr.ctime.seconds,
        atimensec: attr.atime.nanoseconds,
        mtimensec: attr.mtime.nanoseconds,
        ctimensec: attr.ctime.nanoseconds,
        mode: wire_mode(attr),
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        // The kernel's 32-bit encoding, which is also what it gave us.
        rdev: attr.rdev as u32,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// Permission bits and file type in one word.
pub(super) fn wire_mode(attr: &Attr) -> u32 {
    let kind = match attr.kind {
        FileKind::Regular => libc::S_IFREG,
        FileKind::Directory => libc::S_IFDIR,
        FileKind::Symlink => libc::S_IFLNK,
        FileKind::Fifo => libc::S_IFIFO,
        FileKind::Socket => libc::S_IFSOCK,
        FileKind::CharDevice => libc::S_IFCHR,
        FileKind::BlockDevice => libc::S_IFBLK,
    };
    kind | u32::from(attr.mode)
}

/// The kind that a mode's type bits name; `None` for what cannot be created.
pub(super) fn kind_of_mode(mode: u32) -> Option<FileKind> {
    match mode & libc::S_IFMT {
        // mknod(2) takes a mode without a type for a regular file.
        libc::S_IFREG | 0 => Some(FileKind::Regular),
        libc::S_IFDIR => Some(FileKind::Directory),
        libc::S_IFLNK => Some(FileKind::Symlink),
        libc::S_IFIFO => Some(FileKind::Fifo),
        libc::S_IFSOCK => Some(FileKind::Socket),
        libc::S_IFCHR => Some(FileKind::CharDevice),
        libc::S_IFBLK => Some(FileKind::BlockDevice),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_wins_over_the_time_that_comes_with_it() {
        let valid = SetattrValid::ATIME | SetattrValid::ATIME_NOW | SetattrValid::MTIME;
        let arguments = SetattrIn {
            valid: valid.bits(),
            atime: 5,
            mtime: -6,
            mtimensec: 7,
            ..Default::default()
        };
        let change = wanted_change(&arguments);
        assert!(matches!(change.atime, Some(SetTime::Now)));
        let Some(SetTime::At(mtime)) = change.mtime else { panic!("no mtime") };
        assert_eq!((mtime.seconds, mtime.nanoseconds), (-6, 7));
        assert!(change.ctime.is_none() && change.size.is_none() && change.mode.is_none());
    }

    #[test]
    fn mode_loses_its_type_bits() {
        let arguments = SetattrIn {
            valid: (SetattrValid::MODE | SetattrValid::KILL_SUIDGID).bits(),
            mode: libc::S_IFREG | 0o4755,
            ..Default::default()
        };
        let change = wanted_change(&arguments);
        assert_eq!(change.mode, Some(0o4755));
        assert!(change.kill_suid_gid);
    }
}
