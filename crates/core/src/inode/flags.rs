//! Persistent flags of an inode, and its project.

use crate::error::{ErrorKind, Result};
use crate::types::{Caller, FileKind, Ino, InodeFlags};
use crate::volume::Volume;

/// Flags that callers may set and clear.
const SETTABLE: InodeFlags = InodeFlags::IMMUTABLE
    .union(InodeFlags::APPEND)
    .union(InodeFlags::NOATIME)
    .union(InodeFlags::SYNC)
    .union(InodeFlags::NODUMP)
    .union(InodeFlags::DIRSYNC)
    .union(InodeFlags::PROJECT_INHERIT)
    .union(InodeFlags::ATOMIC)
    .union(InodeFlags::ATOMIC_COMMIT_ON_CLOSE);
/// Flags that only the superuser may set and clear.
const GUARDED: InodeFlags = InodeFlags::IMMUTABLE.union(InodeFlags::APPEND);
/// Flags that mean something for directories only.
const FOR_DIRECTORIES: InodeFlags = InodeFlags::DIRSYNC.union(InodeFlags::PROJECT_INHERIT);

/// Whether a kind of file can be atomic: regular files, and directories, whose new entries inherit it.
fn has_place_for(kind: FileKind, added: InodeFlags) -> bool {
    let atomic = InodeFlags::ATOMIC | InodeFlags::ATOMIC_COMMIT_ON_CLOSE;
    !added.intersects(atomic) || matches!(kind, FileKind::Regular | FileKind::Directory)
}

impl Volume {
    /// Replaces an inode's flags, those that may be set.
    ///
    /// # Errors
    /// `NotPermitted` (EPERM) for a change of `IMMUTABLE` or `APPEND` by somebody who is not
    /// privileged; `Unsupported` (EOPNOTSUPP) for flags that cannot be set this way or not on this
    /// kind of file; `ReadOnly`, `Stale`, `Shutdown`, `Corrupt`, `Io`.
    #[doc(alias = "chattr")]
    #[doc(alias = "FS_IOC_SETFLAGS")]
    pub fn set_flags(&self, caller: &Caller, ino: Ino, flags: InodeFlags) -> Result<()> {
        self.change_flags(caller, ino, flags).map_err(|error| error.in_op("set_flags").at(ino))
    }

    fn change_flags(&self, caller: &Caller, ino: Ino, flags: InodeFlags) -> Result<()> {
        self.check_writable()?;
        let inode = self.inode(ino)?;
        let _lock = inode.lock.write();
        let mut state = inode.state()?;
        let old = state.record.flags;
        let changed = flags ^ old;
        if !SETTABLE.contains(changed)
            || (inode.kind != FileKind::Directory && FOR_DIRECTORIES.intersects(flags & changed))
        {
            return Err(ErrorKind::Unsupported.into());
        }
        if changed.intersects(GUARDED) && !caller.privileged {
            return Err(Self::not_permitted(ino));
        }
        if changed.is_empty() {
            return Ok(());
        }
        if !has_place_for(inode.kind, flags & changed) {
            return Err(ErrorKind::Unsupported.into());
        }
        state.record.flags = flags;
        state.record.ctime = self.now();
        let mut txn = self.store.begin();
        state.log(ino, &mut txn);
        self.commit(txn, &[&inode])
    }

    /// The project that a file belongs to.
    ///
    /// # Errors
    /// `Stale`, `Shutdown`, `Corrupt`, `Io`.
    pub fn project(&self, ino: Ino) -> Result<u32> {
        let project = || {
            self.check_open()?;
            match self.inodes.peek(ino) {
                Some(inode) => Ok(inode.state()?.record.project),
                None => Ok(self.read_record(ino)?.project),
            }
        };
        project().map_err(|error: crate::Error| error.in_op("project").at(ino))
    }

    /// Gives a file to a project.
    ///
    /// # Errors
    /// `NotPermitted` (EPERM) for an immutable file, or when the caller neither owns it nor is
    /// privileged; `ReadOnly`, `Stale`, `Shutdown`, `Corrupt`, `Io`.
    pub fn set_project(&self, caller: &Caller, ino: Ino, project: u32) -> Result<()> {
        let change = || {
            self.check_writable()?;
            let inode = self.inode(ino)?;
            let _lock = inode.lock.write();
            let mut state = inode.state()?;
            let owner = caller.privileged || caller.uid == state.record.uid;
            if !owner || state.record.flags.contains(InodeFlags::IMMUTABLE) {
                return Err(Self::not_permitted(ino));
            }
            state.record.project = project;
            state.record.ctime = self.now();
            let mut txn = self.store.begin();
            state.log(ino, &mut txn);
            self.commit(txn, &[&inode])
        };
        change().map_err(|error: crate::Error| error.in_op("set_project").at(ino))
    }
}
