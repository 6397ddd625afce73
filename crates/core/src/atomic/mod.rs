//! Failure-atomic files: after a crash a file holds exactly its last commit, size included.
//!
//! ```text
//!              committed image                 working image
//!   content    the extents tree, the inode     the same, under what is staged, under the cache
//!   size       `record.size`                   `Inode::size`
//!
//!   write, truncate, punch ──> working image ──fsync──> one record of the log: committed
//!                                   │  memory short: dirty blocks to places of their own (stage.rs)
//!                                   └─ abort, last close ──> gone
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `staged.rs` | what the working image has outside the cache |
//! | `stage.rs` | dirty blocks take places of their own; holes |
//! | `commit.rs` | working images of one or many files become the committed ones |
//!
//! A file is *atomic* while somebody holds it open so: through [`OpenFlags::atomic`], an attribute of
//! the file, an option of the mount, or [`File::begin_atomic`]. All handles of a file see, and write
//! to, the one working image; there is no isolation between them, as in the sources: Verma et al.,
//! "Failure-atomic updates of application data in a Linux file system" (FAST 2015), and the atomic
//! writes of F2FS.
//!
//! Crash behaviour: background writeback never commits. What it writes goes to blocks that no record
//! speaks of, which are free again after a crash.

mod commit;
mod stage;
pub(crate) mod staged;

use crate::error::{ErrorKind, Result};
use crate::file::File;
use crate::inode::Inode;
use crate::mapping::FileRef;
use crate::types::{AtomicClose, FileKind, Ino, InodeFlags, IoInfo, OpenFlags};
use crate::volume::{JOURNALED_RUN_BYTES_MAX, Volume, WritebackMode};
use ashlar_format::limits::{BLOCK_BYTES, BLOCK_SIZE};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Files that one commit can join.
const SYNCV_FILES_MAX: usize = 1024;
/// Bytes of log that a block takes which is committed alone: three edits of the map, an allocation, a
/// free and a sum.
const LOG_BYTES_PER_RUN: u64 = 192;
/// And each block more.
const LOG_BYTES_PER_BLOCK: u64 = 4;

/// Who holds a file atomic. Part of its map, which says where writes go.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    /// Handles.
    count: u32,
    /// One of them asked for it by itself: what is not committed at the end is discarded.
    explicit: bool,
    /// Handles through which an update was begun and has not ended: as explicit.
    begun: u32,
    /// Staging failed, and with it a part of the working image is gone: only discarding it helps.
    pub(crate) lost: bool,
}

/// One handle's part in that.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    /// It is one of the holders.
    pub(crate) held: AtomicBool,
    /// It began an update that has not ended.
    begun: AtomicBool,
    /// It is a holder only for that update.
    for_update: AtomicBool,
}

/// Files with changes that are not committed, by number; held in memory until they are.
#[derive(Debug, Default)]
pub(crate) struct Uncommitted(Mutex<BTreeMap<Ino, Arc<Inode>>>);

impl Holders {
    pub(crate) fn is_atomic(&self) -> bool {
        self.count > 0
    }

    fn discards(&self) -> bool {
        self.explicit || self.begun > 0
    }
}

impl FileRef<'_> {
    /// Whether writes go to a working image.
    pub(crate) fn is_atomic(&self) -> bool {
        self.data.map.lock().holders.is_atomic()
    }
}

impl Volume {
    /// Whether opening with these flags makes the file atomic, and whether the caller said so itself.
    pub(crate) fn opens_atomic(&self, flags: OpenFlags, persistent: InodeFlags) -> Option<bool> {
        if !flags.write {
            return None;
        }
        let inherited = persistent.contains(InodeFlags::ATOMIC) || self.atomic.is_some();
        (flags.atomic || inherited).then_some(flags.atomic)
    }

    /// One more handle holds the file atomic. What was written before is not part of the working
    /// image: it is brought on its way first. Inode lock held exclusively.
    ///
    /// # Errors
    /// A failed writeback.
    pub(crate) fn enter_atomic(&self, inode: &Inode, explicit: bool) -> Result<()> {
        let file = FileRef::new(self, inode);
        if !file.is_atomic() {
            self.write_back(inode, WritebackMode::Background)?;
        }
        let mut map = file.data.map.lock();
        map.holders.count += 1;
        map.holders.explicit |= explicit;
        map.invalidate();
        Ok(())
    }

    /// One handle less. The last one takes what is not committed along, or commits it, unless the
    /// image is `spoiled`. Returns whether changes were discarded.
    pub(crate) fn leave_atomic(&self, inode: &Arc<Inode>, spoiled: bool) -> bool {
        let _lock = inode.lock.write();
        let file = FileRef::new(self, inode);
        let (last, explicit) = {
            let map = file.data.map.lock();
            (map.holders.count == 1, map.holders.discards())
        };
        let mut discarded = false;
        if last {
            let committed = match self.policy_at_close(inode, explicit) {
                AtomicClose::Commit if !spoiled => self.commit_locked(&[inode]).map(drop),
                _ => Ok(()),
            };
            if let Err(error) = committed {
                tracing::warn!(ino = inode.ino.0, "the last close could not commit: {error}");
            }
            discarded = self.uncommitted.0.lock().contains_key(&inode.ino);
            self.discard_locked(inode);
        }
        let mut map = file.data.map.lock();
        map.holders.count -= 1;
        if last {
            map.holders.explicit = false;
        }
        map.invalidate();
        discarded
    }

    /// Whether the file has changes that are not committed, and its last close would discard them.
    #[must_use]
    pub fn discards_at_close(&self, ino: Ino) -> bool {
        let inode = self.uncommitted.0.lock().get(&ino).cloned();
        inode.is_some_and(|inode| {
            let explicit = FileRef::new(self, &inode).data.map.lock().holders.discards();
            self.policy_at_close(&inode, explicit) == AtomicClose::Discard
        })
    }

    fn policy_at_close(&self, inode: &Inode, explicit: bool) -> AtomicClose {
        let flags = inode.any_state().record.flags;
        if explicit {
            AtomicClose::Discard
        } else if flags.contains(InodeFlags::ATOMIC_COMMIT_ON_CLOSE) {
            AtomicClose::Commit
        } else if flags.contains(InodeFlags::ATOMIC) {
            AtomicClose::Discard
        } else {
            self.atomic.unwrap_or(AtomicClose::Discard)
        }
    }

    /// The working image changed.
    pub(crate) fn note_uncommitted(&self, inode: &Arc<Inode>) {
        self.uncommitted.0.lock().entry(inode.ino).or_insert_with(|| Arc::clone(inode));
    }

    /// Commits all working images, each by itself; a sync follows.
    ///
    /// # Errors
    /// The first failure, after all were tried.
    pub(crate) fn commit_all_images(&self) -> Result<()> {
        let mut result = Ok(());
        for inode in self.uncommitted() {
            let _lock = inode.lock.write();
            let committed = self.commit_locked(&[&inode]).map(drop);
            result = result.and(committed);
        }
        result
    }

    /// Does what the last close of each file would do: the volume is being unmounted.
    pub(crate) fn settle_images(&self) {
        for inode in self.uncommitted() {
            let _lock = inode.lock.write();
            let file = FileRef::new(self, &inode);
            let explicit = file.data.map.lock().holders.discards();
            if self.policy_at_close(&inode, explicit) == AtomicClose::Discard {
                self.discard_locked(&inode);
            }
        }
    }

    /// Files with changes that are not committed.
    fn uncommitted(&self) -> Vec<Arc<Inode>> {
        self.uncommitted.0.lock().values().cloned().collect()
    }

    /// Gives the working image up: the file is as last committed. Inode lock held exclusively.
    pub(crate) fn discard_locked(&self, inode: &Inode) {
        let file = FileRef::new(self, inode);
        let _writeback = file.data.writeback.lock();
        file.data.cache.invalidate(0..u64::MAX);
        let mut map = file.data.map.lock();
        map.unpromise(0..u64::MAX);
        map.staged.clear();
        map.holders.lost = false;
        map.invalidate();
        drop(map);
        let state = inode.any_state();
        inode.set_size(state.record.size);
        drop(state);
        self.uncommitted.0.lock().remove(&inode.ino);
    }

    /// Refuses what a commit could not take. Map locked; `blocks` more are about to change.
    ///
    /// # Errors
    /// `TooLarge` (EFBIG).
    pub(crate) fn check_image_size(
        &self,
        map: &crate::extent::MapState,
        blocks: u64,
    ) -> Result<()> {
        let promised = map.reservation.as_ref().map_or(0, ashlar_store::Reservation::blocks);
        let runs = (map.promised.len() + map.staged.len()) as u64 + 1;
        let needed = runs * LOG_BYTES_PER_RUN
            + (promised + map.staged.blocks() + blocks) * LOG_BYTES_PER_BLOCK;
        if needed > self.store.commit_bytes_max() as u64 {
            Err(ErrorKind::TooLarge.into())
        } else {
            Ok(())
        }
    }

    /// Commits the working images of several files in one step: after a crash either all of them hold
    /// what was written before this call, or none. One flush. A file that is given twice counts once.
    ///
    /// # Errors
    /// `Invalid` (EINVAL) for no file, or one that is not [atomic](OpenFlags::atomic); `TooManyFiles`
    /// (E2BIG) above 1,024; `CrossDevice` (EXDEV) for a file of another volume; `TooLarge` (EFBIG) for
    /// more than one commit can hold; `ReadOnly`, `Shutdown`, `Io`: then none is committed, and all of
    /// the working images are still there.
    ///
    /// # Blocking
    /// Waits for other readers and writers of the files, and for the device.
    #[doc(alias = "syncv")]
    pub fn sync_files(self: &Arc<Self>, files: &[&File]) -> Result<()> {
        let sync = || {
            self.check_writable()?;
            if files.is_empty() {
                return Err(ErrorKind::Invalid.into());
            }
            if files.len() > SYNCV_FILES_MAX {
                return Err(ErrorKind::TooManyFiles.into());
            }
            for file in files {
                if !Arc::ptr_eq(self, file.volume()) {
                    return Err(ErrorKind::CrossDevice.into());
                }
                if !file.is_atomic() {
                    return Err(crate::Error::from(ErrorKind::Invalid).at(file.ino()));
                }
            }
            self.commit_files(&files.iter().map(|file| file.inode()).collect::<Vec<_>>())
        };
        sync().map_err(|error: crate::Error| error.in_op("sync_files"))
    }

    /// Commits working images, durably. No lock of the files is held.
    ///
    /// # Errors
    /// As [`Self::sync_files`].
    pub(crate) fn commit_files(&self, inodes: &[&Arc<Inode>]) -> Result<()> {
        let mut inodes = inodes.to_vec();
        inodes.sort_by_key(|inode| inode.ino);
        inodes.dedup_by_key(|inode| inode.ino);
        let locks: Vec<_> = inodes.iter().map(|inode| inode.lock.write()).collect();
        let lsn = self.commit_locked(&inodes)?;
        drop(locks);
        self.sync_lsn(lsn)
    }
}

impl File {
    /// Whether writes through any handle of the file wait for a commit now.
    #[must_use]
    pub fn is_atomic(&self) -> bool {
        self.regular().is_some_and(|file| file.is_atomic())
    }

    /// Makes the file atomic through this handle: what is written from here on is committed by
    /// [`commit_atomic`](Self::commit_atomic), or by a sync, all at once; and gone with
    /// [`abort_atomic`](Self::abort_atomic), the last close, or a crash. Begun twice is begun once.
    ///
    /// # Errors
    /// `BadHandle` (EBADF) when it is not open for writing, `Invalid` (EINVAL) for what is not a
    /// regular file and for direct handles, `ReadOnly`, `Shutdown`, `Io`.
    #[doc(alias = "F2FS_IOC_START_ATOMIC_WRITE")]
    pub fn begin_atomic(&self) -> Result<()> {
        let begin = || {
            self.check_atomic_handle()?;
            if self.flags().direct {
                return Err(ErrorKind::Invalid.into());
            }
            let _lock = self.inode().lock.write();
            let hold = self.holding();
            if hold.begun.load(Ordering::Acquire) {
                return Ok(());
            }
            if !hold.held.load(Ordering::Acquire) {
                self.volume().enter_atomic(self.inode(), true)?;
                hold.held.store(true, Ordering::Release);
                hold.for_update.store(true, Ordering::Release);
            }
            hold.begun.store(true, Ordering::Release);
            self.file().data.map.lock().holders.begun += 1;
            Ok(())
        };
        begin().map_err(|error: crate::Error| error.in_op("begin_atomic").at(self.ino()))
    }

    /// Commits what was written since [`begin_atomic`](Self::begin_atomic), durably, and ends what
    /// that began. A plain sync where nothing was begun.
    ///
    /// # Errors
    /// As [`File::fsync`]: the working image is still there, to be tried again or aborted.
    #[doc(alias = "F2FS_IOC_COMMIT_ATOMIC_WRITE")]
    pub fn commit_atomic(&self) -> Result<()> {
        self.check_atomic_handle().map_err(|error| error.in_op("commit_atomic").at(self.ino()))?;
        self.fsync(false)?;
        self.end_atomic();
        Ok(())
    }

    /// Gives up what was written since the last commit: content and size are as committed. Also ends
    /// what [`begin_atomic`](Self::begin_atomic) began.
    ///
    /// # Errors
    /// `BadHandle` (EBADF) when it is not open for writing; `Invalid` (EINVAL) for what is not a
    /// regular file; `ReadOnly`, `Shutdown`.
    #[doc(alias = "F2FS_IOC_ABORT_ATOMIC_WRITE")]
    pub fn abort_atomic(&self) -> Result<()> {
        self.check_atomic_handle().map_err(|error| error.in_op("abort_atomic").at(self.ino()))?;
        if self.is_atomic() {
            let _lock = self.inode().lock.write();
            self.volume().discard_locked(self.inode());
        }
        self.end_atomic();
        Ok(())
    }

    /// What atomic updates of this file are bound to.
    ///
    /// # Errors
    /// `Invalid` (EINVAL) for what is not a regular file; `Shutdown`.
    #[doc(alias = "F_IOINFO")]
    pub fn io_info(&self) -> Result<IoInfo> {
        self.volume().check_open().map_err(|error| error.in_op("io_info").at(self.ino()))?;
        if self.inode().kind != FileKind::Regular {
            return Err(crate::Error::new(ErrorKind::Invalid, "io_info").at(self.ino()));
        }
        let sealed = self.inode().any_state().record.flags.contains(InodeFlags::SEALED);
        Ok(self.volume().atomic_limits(sealed))
    }

    fn check_atomic_handle(&self) -> Result<()> {
        self.volume().check_writable()?;
        if self.inode().kind != FileKind::Regular {
            return Err(ErrorKind::Invalid.into());
        }
        if self.flags().write { Ok(()) } else { Err(ErrorKind::BadHandle.into()) }
    }

    /// Ends what `begin_atomic` began: the handle is again what it was opened as. Returns whether it
    /// had begun anything.
    fn end_update(&self) -> bool {
        let hold = self.holding();
        let begun = hold.begun.swap(false, Ordering::AcqRel);
        if begun {
            self.file().data.map.lock().holders.begun -= 1;
        }
        begun
    }

    /// As [`Self::end_update`], after a commit or an abort.
    fn end_atomic(&self) {
        let hold = self.holding();
        if self.end_update() && hold.for_update.swap(false, Ordering::AcqRel) {
            hold.held.store(false, Ordering::Release);
            self.volume().leave_atomic(self.inode(), true);
        }
    }

    /// Ends this handle's part in the file's being atomic, as dropping it does. What it began and did
    /// not commit is given up. The last holder commits or discards what is not committed, as the
    /// file's policy says; what is `spoiled`, because some of it was lost on its way here, is discarded
    /// in any case. Returns whether changes were discarded: caches above must forget them.
    pub fn close_atomic(&self, spoiled: bool) -> bool {
        let hold = self.holding();
        let mut discarded = false;
        if self.end_update() {
            let _lock = self.inode().lock.write();
            discarded = self.volume().uncommitted.0.lock().contains_key(&self.ino());
            self.volume().discard_locked(self.inode());
        }
        if hold.held.swap(false, Ordering::AcqRel) {
            discarded |= self.volume().leave_atomic(self.inode(), spoiled);
        }
        discarded
    }
}

impl Volume {
    fn atomic_limits(&self, sealed: bool) -> IoInfo {
        let blocks = self.store.commit_bytes_max() as u64 / LOG_BYTES_PER_RUN;
        let max_bytes = if sealed { commit::JOURNAL_BYTES_SEALED } else { blocks * BLOCK_BYTES };
        IoInfo {
            alignment: BLOCK_SIZE as u32,
            max_bytes,
            journaled_bytes: if sealed { max_bytes } else { JOURNALED_RUN_BYTES_MAX },
            max_files: SYNCV_FILES_MAX as u32,
        }
    }
}
