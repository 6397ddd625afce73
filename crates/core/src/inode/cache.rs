//! The inode cache: inodes in use, and a bounded number of idle ones.
//!
//! Called by every operation that needs more than attributes → reads the inodes tree.
//!
//! ```text
//!   get ── here? ──> Arc                        lookups of attributes only do not come here
//!     └─ no: read the record, insert, look at the two oldest: nobody else holds it and it was not
//!        looked up lately ──> dropped
//! ```
//! Invariant: (C1) at most one [`Inode`] for a number. The tree is read and the inode inserted under
//! the shard's lock, and whoever removes an inode has it in the cache while doing so, so that a
//! record read before a removal is not inserted after it.
//!
//! Locking: a shard's lock is a leaf, but for the read of the tree below it.

use crate::error::{ErrorKind, Result};
use crate::inode::Inode;
use crate::types::Ino;
use crate::volume::Volume;
use ashlar_format::inode::InodeRecord;
use ashlar_format::key::{self, TreeId};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const SHARD_COUNT: usize = 32;
/// Inodes kept although nobody uses them: about 10 MiB, and what is cached of their data.
const IDLE_MAX: usize = 20_000;
/// Candidates looked at for each insertion: two keep up with one new inode each time.
const LOOKS_PER_INSERT: usize = 2;

/// Numbers are given out in sequence; a multiplication spreads them.
#[derive(Default)]
pub(crate) struct InoHasher(u64);

impl Hasher for InoHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

/// A map by inode number.
pub(crate) type InoMap<V> = HashMap<u64, V, BuildHasherDefault<InoHasher>>;

#[derive(Debug, Default)]
struct Shard {
    inodes: InoMap<Arc<Inode>>,
    /// Oldest first. May name inodes that were removed.
    order: VecDeque<u64>,
}

impl Shard {
    /// Looks at the oldest inodes and drops those that nobody needs.
    fn shrink(&mut self) {
        for _ in 0..LOOKS_PER_INSERT {
            let crowded = self.inodes.len() > IDLE_MAX / SHARD_COUNT;
            // Removed inodes leave their number behind.
            if !crowded && self.order.len() <= self.inodes.len() * 2 + 64 {
                return;
            }
            let Some(ino) = self.order.pop_front() else { return };
            let Some(inode) = self.inodes.get(&ino) else { continue };
            // Held by us alone, it is clean, too: the queue of dirty inodes holds what is not.
            let idle = crowded && Arc::strong_count(inode) == 1;
            if idle && !inode.referenced.swap(false, Ordering::Relaxed) {
                self.inodes.remove(&ino);
            } else {
                self.order.push_back(ino);
            }
        }
    }

    fn insert(&mut self, inode: &Arc<Inode>) {
        self.inodes.insert(inode.ino.0, Arc::clone(inode));
        self.order.push_back(inode.ino.0);
        self.shrink();
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct InodeCache {
    shards: [Mutex<Shard>; SHARD_COUNT],
}

impl InodeCache {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }

    fn shard(&self, ino: Ino) -> &Mutex<Shard> {
        &self.shards[ino.0 as usize % SHARD_COUNT]
    }

    /// The inode, if it is in memory.
    pub(crate) fn peek(&self, ino: Ino) -> Option<Arc<Inode>> {
        let shard = self.shard(ino).lock();
        let inode = shard.inodes.get(&ino.0)?;
        inode.referenced.store(true, Ordering::Relaxed);
        Some(Arc::clone(inode))
    }

    /// Adds an inode that is about to be created, before its name can be found: C1.
    pub(crate) fn insert_new(&self, inode: &Arc<Inode>) {
        self.shard(inode.ino).lock().insert(inode);
    }

    /// Forgets an inode that was removed from the volume.
    pub(crate) fn remove(&self, ino: Ino) {
        self.shard(ino).lock().inodes.remove(&ino.0);
    }

    /// Inodes in memory.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().inodes.len()).sum()
    }
}

impl Volume {
    /// The inode, from memory or from the tree.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`] when there is none; what reading the tree returns.
    pub(crate) fn inode(&self, ino: Ino) -> Result<Arc<Inode>> {
        let mut shard = self.inodes.shard(ino).lock();
        if let Some(inode) = shard.inodes.get(&ino.0) {
            inode.referenced.store(true, Ordering::Relaxed);
            return Ok(Arc::clone(inode));
        }
        // C1: read with the shard locked.
        let lsn = self.store.last_lsn();
        let record = self.read_record(ino)?;
        let inode = Arc::new(Inode::new(ino, record, lsn));
        shard.insert(&inode);
        Ok(inode)
    }

    /// The record of an inode as the tree has it.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`] when there is none; what reading the tree returns.
    pub(crate) fn read_record(&self, ino: Ino) -> Result<InodeRecord> {
        self.store
            .get_with(TreeId::Inodes, &key::inode(ino.0), InodeRecord::decode)?
            .ok_or_else(|| crate::Error::from(ErrorKind::Stale).at(ino))?
            .map_err(|corruption| crate::Error::from(corruption).at(ino))
    }

    /// The inode, which must be a directory.
    ///
    /// # Errors
    /// [`ErrorKind::NotDirectory`]; as [`Self::inode`].
    pub(crate) fn directory(&self, ino: Ino) -> Result<Arc<Inode>> {
        let inode = self.inode(ino)?;
        if inode.kind == crate::FileKind::Directory {
            Ok(inode)
        } else {
            Err(crate::Error::from(ErrorKind::NotDirectory).at(ino))
        }
    }
}
