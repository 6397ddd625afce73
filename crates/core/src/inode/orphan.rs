//! Who holds an inode, and what happens when nobody does and it has no name.
//!
//! ```text
//!   last name removed ── nobody holds it ─────────────> inode, extents, attributes, blocks removed
//!                     └─ held ──> orphans tree ── last holder gone, or next mount ──┘
//!   huge file, truncated or removed ──> orphans tree, then a few hundred extents a transaction
//! ```
//! Definitions: an inode is *held* by open files (counted in its state) and by references that the
//! kernel or a [`Hold`](crate::Hold) has (counted by number, since there may be millions of them and
//! they need no inode in memory).
//!
//! An entry in the orphans tree of an inode that has names means that its truncation was not
//! finished: what it has past the end of the file is removed at the next mount, before anyone can
//! make the file grow over it.
//!
//! Crash behaviour: the transaction that removes the last name either removes everything or enters
//! the inode into the orphans tree, so nothing is ever lost to both.

use crate::error::{ErrorKind, Result};
use crate::extent::MapGuard;
use crate::extent::edit::{Blocks, MapEdit};
use crate::inode::cache::InoMap;
use crate::inode::{Inode, Known, State};
use crate::types::Ino;
use crate::volume::Volume;
use ashlar_format::key::{self, TreeId};
use ashlar_store::Txn;
use parking_lot::{Mutex, MutexGuard};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SHARD_COUNT: usize = 32;
/// Extents removed in one transaction.
pub(crate) const EXTENTS_PER_TXN: usize = 256;
/// Attribute pieces removed in one transaction.
const PIECES_PER_TXN: usize = 256;

/// References by inode number.
#[derive(Debug)]
pub(crate) struct References {
    shards: [Mutex<InoMap<u64>>; SHARD_COUNT],
}

impl References {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }

    fn shard(&self, ino: Ino) -> MutexGuard<'_, InoMap<u64>> {
        self.shards[ino.0 as usize % SHARD_COUNT].lock()
    }

    fn add(&self, ino: Ino) {
        *self.shard(ino).entry(ino.0).or_insert(0) += 1;
    }

    /// Takes references back; true when none is left.
    fn remove(&self, ino: Ino, count: u64) -> bool {
        let mut shard = self.shard(ino);
        let Some(held) = shard.get_mut(&ino.0) else { return true };
        *held = held.saturating_sub(count);
        let gone = *held == 0;
        if gone {
            shard.remove(&ino.0);
        }
        gone
    }

    pub(crate) fn any(&self, ino: Ino) -> bool {
        self.shard(ino).contains_key(&ino.0)
    }

    fn all(&self) -> Vec<Ino> {
        let shards = self.shards.iter();
        shards.flat_map(|shard| shard.lock().keys().copied().collect::<Vec<_>>()).map(Ino).collect()
    }
}

/// How an inode came to have no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It was made without one, and may get one.
    Unnamed,
    /// It lost the last one.
    Unlinked,
}

/// Inodes without a name.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    /// Without a name since the mount, and alive; whether it never had one.
    live: Mutex<InoMap<Origin>>,
    live_count: AtomicUsize,
    /// Left behind by a crash.
    left: Mutex<Vec<Ino>>,
}

impl Orphans {
    /// The inode was made without a name.
    pub(crate) fn add(&self, ino: Ino) {
        self.insert(ino, Origin::Unnamed);
    }

    /// The inode has lost its last name, and is not removed yet.
    pub(crate) fn lose_name(&self, ino: Ino) {
        self.insert(ino, Origin::Unlinked);
    }

    fn insert(&self, ino: Ino, origin: Origin) {
        let mut live = self.live.lock();
        live.insert(ino.0, origin);
        self.live_count.store(live.len(), Ordering::Release);
    }

    /// Whether it was made without a name.
    pub(crate) fn may_be_named(&self, ino: Ino) -> bool {
        self.live.lock().get(&ino.0) == Some(&Origin::Unnamed)
    }

    /// The inode has a name again, or is gone.
    pub(crate) fn remove(&self, ino: Ino) {
        if self.live_count.load(Ordering::Acquire) > 0 {
            let mut live = self.live.lock();
            live.remove(&ino.0);
            self.live_count.store(live.len(), Ordering::Release);
        }
    }

    pub(crate) fn contains(&self, ino: Ino) -> bool {
        self.live_count.load(Ordering::Acquire) > 0 && self.live.lock().contains_key(&ino.0)
    }
}

impl Volume {
    /// Counts a reference to an inode: unlinked meanwhile, it lives until
    /// [`forget`](Self::forget) takes the last one back.
    pub fn remember(&self, ino: Ino) {
        self.references.add(ino);
    }

    /// All inodes that somebody refers to, in no order.
    #[must_use]
    pub fn remembered(&self) -> Vec<Ino> {
        self.references.all()
    }

    /// Takes `count` references back. What has no name and is not held any more is removed; a
    /// failure of that leaves it to the next mount.
    pub fn forget(&self, ino: Ino, count: u64) {
        if self.references.remove(ino, count) && self.orphans.contains(ino) {
            self.remove_if_unused(ino);
        }
    }

    /// Whether anybody but the caller holds the inode. State locked.
    pub(crate) fn is_held(&self, ino: Ino, state: &State) -> bool {
        state.handles > 0 || self.references.any(ino)
    }

    /// Removes an inode that has no name, if nobody holds it.
    pub(crate) fn remove_if_unused(&self, ino: Ino) {
        let removed = self.check_writable().and_then(|()| self.inode(ino)).and_then(|inode| {
            let _lock = inode.lock.write();
            let unused = {
                let state = inode.any_state();
                !state.dead && state.record.nlink == 0 && !self.is_held(ino, &state)
            };
            if unused { self.remove_inode(&inode) } else { Ok(()) }
        });
        // Stale: the last file and the last reference went at once, and the other was first.
        if let Err(error) = removed
            && error.kind != ErrorKind::Stale
        {
            tracing::warn!("inode {ino} without a name is left to the next mount: {error}");
        }
    }

    /// Removes an inode that is in the orphans tree, in as many transactions as it takes. Inode lock
    /// held exclusively; nobody holds the inode.
    ///
    /// # Errors
    /// Damage, a volume that has shut down: the rest is left to the next mount.
    pub(crate) fn remove_inode(&self, inode: &Inode) -> Result<()> {
        let _writeback = inode.data_if_any().map(|data| data.writeback.lock());
        loop {
            let map = inode.data_if_any().map(|data| data.map.lock());
            let mut state = inode.state()?;
            let mut txn = self.store.begin();
            let done = self.remove_contents(&mut txn, inode, &mut state)?;
            if done {
                self.finish_removal(&mut txn, inode, &mut state);
            } else {
                state.log(inode.ino, &mut txn);
            }
            self.commit(txn, &[inode])?;
            if done {
                self.after_removal(inode, state, map);
                return Ok(());
            }
        }
    }

    /// Puts the removal of an inode's extents and attributes into a transaction; false when not all
    /// of them fit. Map and state locked.
    ///
    /// # Errors
    /// What reading the trees returns.
    pub(crate) fn remove_contents(
        &self,
        txn: &mut Txn<'_>,
        inode: &Inode,
        state: &mut State,
    ) -> Result<bool> {
        let mut done = true;
        if state.record.blocks > 0 {
            let mut edit = MapEdit::begin(self, inode.ino, state)?;
            // From the end, so that a crash in between leaves no hole in front of data.
            done = edit.remove_backwards(0..u64::MAX, Blocks::Free, EXTENTS_PER_TXN)?;
            edit.write_to(txn, state);
        }
        if done && self.may_have_xattrs(inode.ino, state)? {
            done = self.remove_all_xattrs(txn, inode.ino)?;
        }
        Ok(done)
    }

    /// Deletes keys of the xattrs tree; false when there are more.
    fn remove_all_xattrs(&self, txn: &mut Txn<'_>, ino: Ino) -> Result<bool> {
        let prefix = ino.0.to_be_bytes();
        let mut count = 0;
        let mut more = false;
        self.store.scan(TreeId::Xattrs, &prefix, &mut |key, _| {
            if !key.starts_with(&prefix) {
                return ControlFlow::Break(());
            }
            if count == PIECES_PER_TXN {
                more = true;
                return ControlFlow::Break(());
            }
            txn.delete(TreeId::Xattrs, key);
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(!more)
    }

    /// Whether the inode may have extended attributes. State locked.
    ///
    /// # Errors
    /// What reading the tree returns.
    pub(crate) fn may_have_xattrs(&self, ino: Ino, state: &State) -> Result<bool> {
        if state.xattrs == Known::None || self.store.entry_count(TreeId::Xattrs) == 0 {
            return Ok(false);
        }
        let Some(behind) = ino.0.checked_add(1) else { return Ok(true) };
        // Keys of the next inode are longer than its bare number, so this is below all of them.
        let found = self.store.floor_with(TreeId::Xattrs, &behind.to_be_bytes(), |key, _| {
            key.starts_with(&ino.0.to_be_bytes())
        })?;
        Ok(found.unwrap_or(false))
    }

    /// Puts the end of an inode into a transaction. Inode lock held exclusively.
    pub(crate) fn finish_removal(&self, txn: &mut Txn<'_>, inode: &Inode, state: &mut State) {
        txn.delete(TreeId::Inodes, &key::inode(inode.ino.0));
        // Nobody else enters this inode there meanwhile.
        if self.store.entry_count(TreeId::Orphans) > 0 {
            txn.delete(TreeId::Orphans, &key::inode(inode.ino.0));
        }
        state.record.nlink = 0;
    }

    /// The transaction is committed: nothing in memory remains.
    pub(crate) fn after_removal(
        &self,
        inode: &Inode,
        mut state: MutexGuard<'_, State>,
        map: Option<MapGuard<'_>>,
    ) {
        state.dead = true;
        drop(state);
        if let Some(mut map) = map {
            map.unpromise(0..u64::MAX);
            map.granted.clear();
            map.invalidate();
        }
        if let Some(data) = inode.data_if_any() {
            // The writeback lock is held: nothing is under way that this would wait for.
            data.cache.invalidate(0..u64::MAX);
        }
        self.inodes.remove(inode.ino);
        self.orphans.remove(inode.ino);
    }

    /// Finds what a crash left behind: finishes truncations, and remembers inodes without a name for
    /// [`remove_left_orphans`](Self::remove_left_orphans).
    ///
    /// # Errors
    /// Damage, a device that fails.
    pub(crate) fn find_left_orphans(&self) -> Result<()> {
        let mut found = Vec::new();
        let mut broken = None;
        self.store.scan(TreeId::Orphans, &[], &mut |key, _| {
            match key::decode_number(TreeId::Orphans, key) {
                Ok(ino) => found.push(Ino(ino)),
                Err(corruption) => broken = Some(corruption),
            }
            ControlFlow::Continue(())
        })?;
        if let Some(corruption) = broken {
            return Err(corruption.into());
        }
        for ino in found {
            match self.inode(ino) {
                Ok(inode) if inode.any_state().record.nlink > 0 => {
                    let _lock = inode.lock.write();
                    self.remove_past_end(&inode)?;
                }
                Ok(_) => self.orphans.left.lock().push(ino),
                Err(error) if error.kind == ErrorKind::Stale => {
                    let mut txn = self.store.begin();
                    txn.delete(TreeId::Orphans, &key::inode(ino.0));
                    self.commit(txn, &[])?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes inodes without a name that a crash left behind.
    ///
    /// # Errors
    /// Damage, a volume that has shut down: the rest stays for the next time.
    pub(crate) fn remove_left_orphans(&self) -> Result<()> {
        loop {
            let Some(ino) = self.orphans.left.lock().pop() else { return Ok(()) };
            let inode = self.inode(ino)?;
            let _lock = inode.lock.write();
            self.remove_inode(&inode)?;
        }
    }

    /// Removes all inodes without a name that are not open, referenced or not: the volume is being
    /// unmounted.
    ///
    /// # Errors
    /// As [`Self::remove_left_orphans`].
    pub(crate) fn remove_unheld_orphans(&self) -> Result<()> {
        let live: Vec<u64> = self.orphans.live.lock().keys().copied().collect();
        for ino in live {
            let inode = self.inode(Ino(ino))?;
            let _lock = inode.lock.write();
            if inode.any_state().handles == 0 {
                self.remove_inode(&inode)?;
            }
        }
        Ok(())
    }

    /// An open file is gone.
    pub(crate) fn release(&self, inode: &Arc<Inode>) {
        let unused = {
            let mut state = inode.any_state();
            state.handles -= 1;
            !state.dead && state.record.nlink == 0 && !self.is_held(inode.ino, &state)
        };
        if unused {
            self.remove_if_unused(inode.ino);
        }
    }
}
