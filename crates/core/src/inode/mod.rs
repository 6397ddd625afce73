//! Inodes in memory: attributes, locks, and for regular files the cache and the map of blocks.
//!
//! Called by everything in this crate → calls the store through [`Volume`](crate::Volume).
//!
//! Definitions
//! * *record*: what the inodes tree holds, with changes of times and mode that are not logged yet.
//! * *size*: the end of the file as everyone sees it. *Disk size*: the end as last logged
//!   (`record.size`); never beyond what has been written to the device.
//! * *dead*: removed for good; whoever still holds the inode in memory must leave it alone.
//!
//! Invariants
//! * (I1) `disk size <= size` of a regular file; the bytes between are in the cache, dirty or under
//!   writeback, or were never written (a hole).
//! * (I2) an inode whose record is not all logged, or whose cache is dirty, is in the queue of
//!   dirty inodes, which holds it: the inode cache only drops what nobody else holds.
//! * (I3) the tree's record is replaced only with the state locked until the commit is through, so
//!   that a newer record is never overwritten by an older one.
//! * (I4) while the disk size is not a multiple of the block and the size is larger, the block that
//!   holds the disk size is dirty, under writeback, or reads as zeros by the map: so the commit
//!   that exposes the rest of that block also sums it.
//!
//! Locking. The order of all locks of this crate, outermost first; a thread that holds one takes
//! only later ones:
//!
//! ```text
//!  1 rename lock             renames between directories, one at a time
//!  2 inode locks             directories before what they contain; two directories: the ancestor
//!                            first, else by number; two files: by number
//!  3 writeback lock          of one file: whole-file writeback, and growth over an unaligned end
//!  4 invalidate lock         of iomap: reads shared, removal of blocks exclusive
//!  5 iomap's own             writeback of a file, its cache
//!  6 map lock                of one file: promises and edits of the block map
//!  7 state locks             attributes; several: by number
//!  8 inode cache, name cache, queue, references    leaves, never two at a time
//!  9 store
//! ```
//! Reading names and attributes takes none of the first six.

pub(crate) mod attr;
pub(crate) mod cache;
mod flags;
pub(crate) mod orphan;

use crate::clock::Timestamp;
use crate::error::{ErrorKind, Result};
use crate::extent::BlockMap;
use crate::types::{Attr, FileKind, Ino};
use crate::volume::FlushDebt;
use ashlar_format::inode::InodeRecord;
use ashlar_format::key::{self, TreeId};
use ashlar_format::limits::BLOCK_BYTES;
use ashlar_store::{Lsn, Txn};
use bitflags::bitflags;
use iomap::{CachePool, PageCache};
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

bitflags! {
    /// What a record says that the log does not say yet.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub(crate) struct Unlogged: u8 {
        /// Times only: fdatasync may leave them.
        const TIMES = 1;
        /// Anything else.
        const ATTRIBUTES = 1 << 1;
    }
}

/// Whether an inode has extended attributes, or one of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Not looked yet.
    Unknown,
    /// Certainly none.
    None,
    /// There may be.
    Some,
}

/// What the state lock protects.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) record: InodeRecord,
    pub(crate) unlogged: Unlogged,
    /// Open files.
    pub(crate) handles: u32,
    pub(crate) dead: bool,
    pub(crate) xattrs: Known,
    /// Of a directory: a default ACL.
    pub(crate) default_acl: Known,
}

impl State {
    /// Puts the record into a transaction. The state stays locked until that is committed: I3.
    pub(crate) fn log(&mut self, ino: Ino, txn: &mut Txn<'_>) {
        txn.put(TreeId::Inodes, &key::inode(ino.0), &self.record.encode());
        self.unlogged = Unlogged::empty();
    }

    /// Content changed, or a name in a directory.
    pub(crate) fn touch_content(&mut self, now: Timestamp) {
        self.record.mtime = now;
        self.record.ctime = now;
    }
}

/// What only regular files have.
#[derive(Debug)]
pub(crate) struct FileData {
    pub(crate) cache: PageCache,
    pub(crate) map: BlockMap,
    /// See the order of locks.
    pub(crate) writeback: Mutex<()>,
    /// In-place overwrites that no flush has followed.
    pub(crate) overwrites: FlushDebt,
}

/// An inode in memory.
#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) ino: Ino,
    pub(crate) kind: FileKind,
    /// The inode lock: exclusive for changes of names in a directory, of content, of the map.
    pub(crate) lock: RwLock<()>,
    state: Mutex<State>,
    /// End of a regular file as everyone sees it.
    size: AtomicU64,
    /// The record of the log that last spoke of this inode.
    lsn: AtomicU64,
    /// In the queue of dirty inodes.
    pub(crate) queued: AtomicBool,
    /// Looked up since the inode cache last came by.
    pub(crate) referenced: AtomicBool,
    data: OnceLock<Box<FileData>>,
}

impl Inode {
    /// An inode as the tree has it. `lsn` is a record not older than the last change.
    pub(crate) fn new(ino: Ino, record: InodeRecord, lsn: Lsn) -> Self {
        Self {
            ino,
            kind: record.kind,
            lock: RwLock::new(()),
            size: AtomicU64::new(record.size),
            state: Mutex::new(State {
                record,
                unlogged: Unlogged::empty(),
                handles: 0,
                dead: false,
                xattrs: Known::Unknown,
                default_acl: Known::Unknown,
            }),
            lsn: AtomicU64::new(lsn.0),
            queued: AtomicBool::new(false),
            referenced: AtomicBool::new(false),
            data: OnceLock::new(),
        }
    }

    /// The state, locked.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`] when the inode is dead.
    pub(crate) fn state(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.dead { Err(self.stale()) } else { Ok(state) }
    }

    /// The state, locked, dead or alive.
    pub(crate) fn any_state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(crate) fn stale(&self) -> crate::Error {
        crate::Error::from(ErrorKind::Stale).at(self.ino)
    }

    /// The parts of a regular file, made when first needed.
    pub(crate) fn data(&self, pool: &Arc<CachePool>) -> &FileData {
        self.data.get_or_init(|| {
            Box::new(FileData {
                cache: PageCache::new(pool, BLOCK_BYTES as u32),
                map: BlockMap::default(),
                writeback: Mutex::new(()),
                overwrites: FlushDebt::default(),
            })
        })
    }

    /// The parts of a regular file, if anything was read or written.
    pub(crate) fn data_if_any(&self) -> Option<&FileData> {
        self.data.get().map(|data| &**data)
    }

    /// End of a regular file.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Moves the end of a regular file. Inode lock held exclusively.
    pub(crate) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// Moves the end of a regular file up to `size`, if it is not there yet: direct writes that
    /// hold the inode lock shared may end in any order.
    pub(crate) fn grow_to(&self, size: u64) {
        self.size.fetch_max(size, Ordering::AcqRel);
    }

    /// A record of the log speaks of this inode.
    pub(crate) fn note_lsn(&self, lsn: Lsn) {
        self.lsn.fetch_max(lsn.0, Ordering::AcqRel);
    }

    /// What must be durable for this inode to be.
    pub(crate) fn lsn(&self) -> Lsn {
        Lsn(self.lsn.load(Ordering::Acquire))
    }

    /// Attributes as stat(2) shows them.
    pub(crate) fn attr(&self, state: &State) -> Attr {
        let mut attr = attr_of(self.ino, &state.record);
        if self.kind == FileKind::Regular {
            attr.size = self.size();
            if let Some(data) = self.data_if_any() {
                attr.blocks += data.map.promised_hint() * (BLOCK_BYTES / 512);
            }
        }
        attr
    }
}

/// Attributes as the tree has them.
pub(crate) fn attr_of(ino: Ino, record: &InodeRecord) -> Attr {
    Attr {
        ino,
        generation: record.generation,
        kind: record.kind,
        mode: record.permissions,
        nlink: record.nlink,
        uid: record.uid,
        gid: record.gid,
        rdev: u64::from(record.rdev),
        size: record.size,
        blocks: record.blocks.saturating_mul(BLOCK_BYTES / 512),
        atime: record.atime,
        mtime: record.mtime,
        ctime: record.ctime,
        btime: record.btime,
        flags: record.flags,
    }
}

/// Locks the states of two inodes in the order of their numbers.
///
/// # Errors
/// [`ErrorKind::Stale`] when one is dead.
pub(crate) fn lock_two<'a>(
    first: &'a Inode,
    second: &'a Inode,
) -> Result<(MutexGuard<'a, State>, MutexGuard<'a, State>)> {
    assert!(first.ino != second.ino, "one state cannot be locked twice");
    if first.ino < second.ino {
        let one = first.state()?;
        Ok((one, second.state()?))
    } else {
        let two = second.state()?;
        Ok((first.state()?, two))
    }
}
