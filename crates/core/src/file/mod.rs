//! An open file: reading, writing, syncing and reshaping its content.
//!
//! Called by the crates above → calls `iomap` with the mappings of `mapping/`.
//!
//! | file | idea |
//! |---|---|
//! | `read.rs`, `write.rs` | cached or direct, by size, alignment and mount |
//! | `fsync.rs` | writeback of one file, and one flush |
//! | `truncate.rs` | a new size |
//! | `fallocate.rs` | allocate, punch, zero, collapse, insert |
//! | `seek.rs`, `copy.rs` | data and holes, extents; copying ranges |
//!
//! Locking: reads hold the inode lock shared; writes exclusively, but for direct overwrites of blocks
//! that are written already.

mod copy;
mod fallocate;
mod fsync;
mod read;
mod seek;
mod truncate;
mod write;

use crate::atomic::Holding;
use crate::error::{ErrorKind, Result};
use crate::inode::Inode;
use crate::mapping::FileRef;
use crate::types::{Attr, FileKind, Ino, InodeFlags, OpenFlags};
use crate::volume::Volume;
use iomap::ErrorCursor;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One open handle of a regular file, or of a directory that is to be synced. May be used by many
/// threads at once; keeps the file alive, also without a name.
pub struct File {
    volume: Arc<Volume>,
    inode: Arc<Inode>,
    flags: OpenFlags,
    /// Failed writebacks up to here were told.
    errors: Mutex<ErrorCursor>,
    /// This handle's part in the file's being atomic.
    holding: Holding,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("ino", &self.inode.ino).field("flags", &self.flags).finish()
    }
}

impl Volume {
    /// Opens a regular file, or a directory for reading (that is, for syncing it).
    ///
    /// # Errors
    /// `IsDirectory` (EISDIR) for writing to a directory, `Invalid` (EINVAL) for what is neither,
    /// `NotPermitted` (EPERM) for writing to an immutable file, and other than by appending to an
    /// append-only one; `ReadOnly`, `Stale`, `Shutdown`, `Corrupt`, `Io`.
    pub fn open(self: &Arc<Self>, ino: Ino, flags: OpenFlags) -> Result<Arc<File>> {
        self.open_file(ino, flags).map_err(|error| error.in_op("open").at(ino))
    }

    fn open_file(self: &Arc<Self>, ino: Ino, flags: OpenFlags) -> Result<Arc<File>> {
        self.check_open()?;
        let inode = self.inode(ino)?;
        let changes = flags.write || flags.truncate;
        match inode.kind {
            FileKind::Regular => {}
            FileKind::Directory if changes => return Err(ErrorKind::IsDirectory.into()),
            FileKind::Directory => {}
            _ => return Err(ErrorKind::Invalid.into()),
        }
        if changes {
            self.check_writable()?;
        }
        if flags.atomic && (!flags.write || inode.kind != FileKind::Regular) {
            return Err(ErrorKind::Invalid.into());
        }
        let atomic = {
            let mut state = inode.state()?;
            let persistent = state.record.flags;
            let only_appends = flags.append && !flags.truncate;
            if changes
                && (persistent.contains(InodeFlags::IMMUTABLE)
                    || persistent.contains(InodeFlags::APPEND) && !only_appends)
            {
                return Err(Self::not_permitted(ino));
            }
            if state.record.nlink == 0 && !self.orphans.contains(ino) {
                // Left behind by a crash, and about to be removed.
                return Err(inode.stale());
            }
            state.handles += 1;
            self.opens_atomic(flags, persistent)
        };
        let errors = inode.data_if_any().map(|data| data.cache.sample_error()).unwrap_or_default();
        let file = Arc::new(File {
            volume: Arc::clone(self),
            inode,
            flags,
            errors: Mutex::new(errors),
            holding: Holding::default(),
        });
        if let Some(explicit) = atomic {
            let _lock = file.inode.lock.write();
            self.enter_atomic(&file.inode, explicit)?;
            file.holding.held.store(true, Ordering::Release);
        }
        if flags.truncate {
            let _lock = file.inode.lock.write();
            self.set_size_locked(&file.inode, 0)?;
        }
        Ok(file)
    }
}

impl File {
    /// The inode.
    #[must_use]
    pub fn ino(&self) -> Ino {
        self.inode.ino
    }

    /// Attributes of the file.
    ///
    /// # Errors
    /// `Shutdown`.
    #[doc(alias = "fstat")]
    pub fn attr(&self) -> Result<Attr> {
        self.volume.check_open().map_err(|error| error.in_op("attr"))?;
        let state = self.inode.state()?;
        Ok(self.inode.attr(&state))
    }

    /// Cuts the file to `size` bytes, or makes it grow with zeros.
    ///
    /// # Errors
    /// `BadHandle` (EBADF) when it is not open for writing, `NotPermitted` (EPERM) for append-only
    /// files, `TooLarge` (EFBIG), `NoSpace`, `ReadOnly`, `Shutdown`, `Corrupt`, `Io`.
    #[doc(alias = "ftruncate")]
    pub fn set_len(&self, size: u64) -> Result<()> {
        let set = || {
            self.check_writing()?;
            let _lock = self.inode.lock.write();
            let guarded = InodeFlags::IMMUTABLE | InodeFlags::APPEND;
            if self.inode.state()?.record.flags.intersects(guarded) {
                return Err(Volume::not_permitted(self.inode.ino));
            }
            self.volume.set_size_locked(&self.inode, size)
        };
        set().map_err(|error: crate::Error| error.in_op("set_len").at(self.inode.ino))
    }

    /// Checks that content may be changed through this handle.
    fn check_writing(&self) -> Result<()> {
        self.volume.check_writable()?;
        if self.flags.write { Ok(()) } else { Err(ErrorKind::BadHandle.into()) }
    }

    /// Checks that the handle is one of a regular file that may be read.
    fn check_reading(&self) -> Result<()> {
        self.volume.check_open()?;
        self.check_content()?;
        if self.flags.read { Ok(()) } else { Err(ErrorKind::BadHandle.into()) }
    }

    fn check_content(&self) -> Result<()> {
        if self.inode.kind == FileKind::Directory {
            return Err(ErrorKind::IsDirectory.into());
        }
        Ok(())
    }

    pub(crate) fn file(&self) -> FileRef<'_> {
        FileRef::new(&self.volume, &self.inode)
    }

    /// The file with all that its operations need, unless it is a directory.
    pub(crate) fn regular(&self) -> Option<FileRef<'_>> {
        (self.inode.kind == FileKind::Regular).then(|| self.file())
    }

    pub(crate) fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    pub(crate) fn inode(&self) -> &Arc<Inode> {
        &self.inode
    }

    pub(crate) fn flags(&self) -> OpenFlags {
        self.flags
    }

    /// Its part in the file's being atomic.
    pub(crate) fn holding(&self) -> &Holding {
        &self.holding
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.close_atomic(false);
        self.volume.release(&self.inode);
    }
}
