//! An open volume: what all files and names share.
//!
//! Called by everyone outside → owns the store, the caches, the queue of dirty inodes and the
//! background thread.
//!
//! | file | idea |
//! |---|---|
//! | `format.rs` | an empty volume with its root directory |
//! | `mount.rs` | mount, unmount |
//! | `options.rs` | how to make and mount |
//! | `statfs.rs` | what a volume says of itself; label, trim |
//! | `pending.rs` | data on its way with its record |
//! | `background.rs` | the queue of dirty inodes, writeback by age, sync |
//! | `shutdown.rs` | stopping at once |
//!
//! Locking: see the order of locks in `inode/mod.rs`.

mod background;
mod format;
mod mount;
mod options;
mod pending;
mod shutdown;
mod statfs;

use crate::atomic::Uncommitted;
use crate::clock::{Clock, Timestamp};
use crate::dir::cache::NameCache;
use crate::error::{ErrorKind, Result};
use crate::inode::Inode;
use crate::inode::cache::InodeCache;
use crate::inode::orphan::{Orphans, References};
use crate::types::{AtomicClose, Ino};
use ashlar_store::{RecoveryReport, Store, Txn};
use background::Background;
use iomap::CachePool;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(crate) use background::{JOURNALED_RUN_BYTES_MAX, Journaling, WritebackMode};
pub use options::{Atime, FormatOptions, MountOptions};
pub(crate) use pending::DataDevice;

/// A mounted volume. All methods may be called by many threads at once.
///
/// Nothing is durable before [`Volume::sync`] or [`File::fsync`](crate::File::fsync) says so;
/// dropping a volume without [`Volume::unmount`] is like a power cut.
pub struct Volume {
    pub(crate) store: Arc<Store>,
    /// The device as file data sees it.
    pub(crate) data_device: DataDevice,
    pub(crate) pool: Arc<CachePool>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) atime: Atime,
    pub(crate) kernel_cache: bool,
    pub(crate) inodes: InodeCache,
    pub(crate) names: NameCache,
    pub(crate) references: References,
    pub(crate) orphans: Orphans,
    /// Held by renames between directories: the tree of directories changes by one at a time.
    pub(crate) rename_lock: Mutex<()>,
    background: Background,
    /// In-place overwrites that no flush has followed.
    pub(crate) overwrites: FlushDebt,
    /// All files are atomic, and what the last close does.
    pub(crate) atomic: Option<AtomicClose>,
    pub(crate) uncommitted: Uncommitted,
    recovery: RecoveryReport,
    read_only: bool,
    /// Stopped by [`Volume::shutdown`] or unmounted: nothing is answered any more.
    closed: AtomicBool,
    /// Stopped by [`Volume::force_read_only`].
    frozen_cause: Mutex<Option<Arc<str>>>,
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Counts writes that only a flush makes durable, since no record of the log speaks of them.
#[derive(Debug, Default)]
pub(crate) struct FlushDebt {
    written: AtomicU64,
    flushed: AtomicU64,
}

impl FlushDebt {
    /// A write completed.
    pub(crate) fn add(&self) {
        self.written.fetch_add(1, Ordering::AcqRel);
    }

    /// What a flush that starts now will cover, if there is anything to cover.
    pub(crate) fn due(&self) -> Option<u64> {
        let written = self.written.load(Ordering::Acquire);
        (written > self.flushed.load(Ordering::Acquire)).then_some(written)
    }

    /// A flush that started after `due` was asked is done.
    pub(crate) fn settle(&self, due: u64) {
        self.flushed.fetch_max(due, Ordering::AcqRel);
    }
}

impl Volume {
    /// The time of day.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Refuses once the volume has been stopped or unmounted.
    ///
    /// # Errors
    /// [`ErrorKind::Shutdown`].
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(ErrorKind::Shutdown.into());
        }
        Ok(())
    }

    /// Refuses where nothing may be changed.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`], [`ErrorKind::Shutdown`].
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        if self.store.is_shut_down() {
            if let Some(cause) = self.frozen_cause.lock().clone() {
                return Err(crate::Error::from(ErrorKind::ReadOnly).because(Cause(cause)));
            }
            self.store.check_writable()?;
        }
        Ok(())
    }

    /// Commits a transaction that speaks of these inodes. Their states are locked.
    ///
    /// # Errors
    /// The volume has shut down.
    pub(crate) fn commit(&self, txn: Txn<'_>, inodes: &[&Inode]) -> Result<()> {
        let lsn = txn.commit()?;
        for inode in inodes {
            inode.note_lsn(lsn);
        }
        Ok(())
    }

    /// Makes durable what a name-changing operation in a `DIRSYNC` or `SYNC` directory did.
    ///
    /// # Errors
    /// The volume has shut down.
    pub(crate) fn sync_names(&self, inodes: &[&Inode]) -> Result<()> {
        let wanted = crate::InodeFlags::DIRSYNC | crate::InodeFlags::SYNC;
        let newest = inodes
            .iter()
            .filter(|inode| inode.any_state().record.flags.intersects(wanted))
            .map(|inode| inode.lsn())
            .max();
        match newest {
            Some(lsn) => self.sync_lsn(lsn),
            None => Ok(()),
        }
    }
}

/// Why a volume was made read-only.
#[derive(Debug)]
struct Cause(Arc<str>);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "made read-only: {}", self.0)
    }
}

impl std::error::Error for Cause {}

/// Keeps an inode alive, as an open file does.
#[derive(Debug)]
pub struct Hold {
    volume: Arc<Volume>,
    ino: Ino,
}

impl Volume {
    /// Holds an inode until the value is dropped: unlinked meanwhile, it stays usable.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`] when there is no such inode.
    pub fn hold(self: &Arc<Self>, ino: Ino) -> Result<Hold> {
        self.remember(ino);
        let hold = Hold { volume: Arc::clone(self), ino };
        self.getattr(ino)?;
        Ok(hold)
    }
}

impl Hold {
    /// The inode that is held.
    #[must_use]
    pub fn ino(&self) -> Ino {
        self.ino
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.volume.forget(self.ino, 1);
    }
}

/// Wakes the background thread, and tells it to end.
#[derive(Debug, Default)]
struct Wake {
    stop: Mutex<bool>,
    condvar: Condvar,
}
