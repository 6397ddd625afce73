//! STATFS, FALLOCATE and BMAP.

use ashlar_core::{Caller, FallocateMode, Ino, OpenFlags, SetAttr};

use super::attr::BLOCK_SIZE;
use super::{Answer, Server, errno};
use crate::credentials::{Capability, has_capability};
use crate::handles::OpenFile;
use crate::wire::abi::{BmapIn, BmapOut, FallocateIn, InHeader, Kstatfs};
use crate::wire::reply::{Errno, Reply};

impl Server {
    pub(super) fn statfs(&self) -> Answer {
        let stat = self.volume.statfs();
        Ok(Reply::Statfs(Kstatfs {
            blocks: stat.blocks,
            bfree: stat.free,
            bavail: stat.available,
            // In use in core's count, all there can be in statfs(2)'s.
            files: stat.files.saturating_add(stat.files_free),
            ffree: stat.files_free,
            bsize: stat.block_size,
            frsize: stat.block_size,
            namelen: stat.name_max,
            ..Kstatfs::default()
        }))
    }

    pub(super) fn fallocate(&self, header: &InHeader, arguments: &FallocateIn) -> Answer {
        let mode = fallocate_mode(arguments.mode).ok_or(Errno::EOPNOTSUPP)?;
        let open = self.handles.get(arguments.fh)?;
        if !open.writable {
            return Err(Errno::EBADF);
        }
        self.drop_privileges(header, &open)?;
        open.file
            .allocate(&Caller::root(), mode, arguments.offset, arguments.length)
            .map_err(|error| errno(&error))?;
        Ok(Reply::Done)
    }

    /// Clears set-id bits and capabilities before a change of contents whose request, unlike
    /// WRITE, does not say whether the caller may keep them.
    pub(super) fn drop_privileges(&self, header: &InHeader, open: &OpenFile) -> Result<(), Errno> {
        self.drop_capability_once(open)?;
        let attr = self.volume.getattr(open.ino).map_err(|error| errno(&error))?;
        let set_id = u32::from(attr.mode) & (libc::S_ISUID | libc::S_ISGID) != 0;
        if set_id && !has_capability(header.pid, header.uid, Capability::Fsetid) {
            let change = SetAttr { kill_suid_gid: true, ..SetAttr::default() };
            self.volume
                .setattr(&Caller::root(), open.ino, &change)
                .map_err(|error| errno(&error))?;
        }
        Ok(())
    }

    /// Where a block of a file lies on the device; zero for a hole. Only `fuseblk` mounts ask.
    pub(super) fn bmap(&self, ino: Ino, arguments: &BmapIn) -> Answer {
        if arguments.blocksize != BLOCK_SIZE {
            return Err(Errno::EINVAL);
        }
        let flags = OpenFlags { read: true, ..OpenFlags::default() };
        let file = self.volume.open(ino, flags).map_err(|error| errno(&error))?;
        let found = file.bmap(arguments.block).map_err(|error| errno(&error))?;
        Ok(Reply::Bmap(BmapOut { block: found.unwrap_or(0) }))
    }
}

/// Translates fallocate(2)'s mode.
fn fallocate_mode(bits: u32) -> Option<FallocateMode> {
    let keep_size = bits as i32 & libc::FALLOC_FL_KEEP_SIZE != 0;
    match bits as i32 & !libc::FALLOC_FL_KEEP_SIZE {
        0 => Some(FallocateMode::Allocate { keep_size }),
        libc::FALLOC_FL_PUNCH_HOLE if keep_size => Some(FallocateMode::PunchHole),
        libc::FALLOC_FL_ZERO_RANGE => Some(FallocateMode::ZeroRange { keep_size }),
        libc::FALLOC_FL_COLLAPSE_RANGE if !keep_size => Some(FallocateMode::CollapseRange),
        libc::FALLOC_FL_INSERT_RANGE if !keep_size => Some(FallocateMode::InsertRange),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punching_without_keeping_the_size_is_not_a_mode() {
        assert!(matches!(fallocate_mode(3), Some(FallocateMode::PunchHole)));
        assert!(fallocate_mode(2).is_none());
        assert!(matches!(fallocate_mode(0x11), Some(FallocateMode::ZeroRange { keep_size: true })));
        assert!(fallocate_mode(0x40).is_none());
    }
}
