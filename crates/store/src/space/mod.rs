//! The allocator: which blocks may be handed out now.
//!
//! Called by the store's allocation functions and by the checkpoint; calls nothing above it.
//!
//! Definitions
//! * *free*: not owned by a file or a node in the trees as they are now.
//! * *deferred*: freed by a record that is not proven flushed yet; counted as free, not handed out.
//! * *held*: nodes of the checkpoint in force, freed by the one being written.
//! * *pool*: free runs of one node each, set aside so that a checkpoint can always be written.
//!
//! Invariants
//! * (I1) proof-reuse: a freed block is handed out only once a durable record proves the freeing
//!   record flushed ([`Space::release`]).
//! * (I2) node-hold: a node of the checkpoint in force is handed out only once the next one is in
//!   force ([`Space::hold`], [`Space::release_oldest_held`]).
//! * (I3) reserved blocks, four blocks for each dirty node, and the base reserve never exceed what
//!   is free: neither writeback nor a checkpoint runs out of space.
//! * (I4) data never takes the pool's runs, so fragmentation cannot starve the trees.
//!
//! Locking: deferred → group; counters and pool are leaves. A group's free extents are read from
//! the free tree when the group is first needed, so that mount does not depend on what is stored.

mod free_space;
mod grant;

pub(crate) use free_space::{FreeSpace, Run};
pub use grant::{Grant, Reservation};

use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::sabotage::{self, Rule};
use ashlar_format::NODE_BLOCKS;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Nodes set aside on the smallest volume: a checkpoint of a few hundred files fits.
const POOL_NODES_MIN: u64 = 64;
/// Nodes set aside on a large volume (64 MiB).
const POOL_NODES_MAX: u64 = 4096;
/// One node in this many of the volume's blocks is set aside.
const POOL_SHARE: u64 = 64 * NODE_BLOCKS;

/// Where an allocation should go.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllocHint {
    /// Best first block: behind the extent that the file has in front of the range.
    pub goal: Option<u64>,
}

/// Counted space, blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpaceUsage {
    /// Blocks of the volume that files and nodes may use.
    pub total: u64,
    /// Not owned by anything.
    pub free: u64,
    /// Free, and not promised or set aside.
    pub available: u64,
}

#[derive(Debug, Default)]
struct Counters {
    free: u64,
    reserved: u64,
}

/// Freed blocks that must not be handed out yet, in LSN order.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    queue: VecDeque<(u64, u64, u64)>,
    /// One batch for each checkpoint.
    held: VecDeque<Vec<Run>>,
}

impl Deferred {
    fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let held = self.held.iter().flatten().copied();
        self.queue.iter().map(|(_, block, count)| (*block, *count)).chain(held)
    }
}

/// The allocator of a volume.
pub(crate) struct Space {
    geometry: Geometry,
    counters: Mutex<Counters>,
    groups: Vec<Mutex<Option<FreeSpace>>>,
    /// Free blocks of each group, for choosing one without its lock.
    hints: Vec<AtomicU64>,
    deferred: Mutex<Deferred>,
    /// Frees of later records stay deferred, proven or not: a checkpoint is writing data home.
    release_limit: AtomicU64,
    pool: Mutex<BTreeSet<u64>>,
    pool_target: u64,
    pool_filled: AtomicBool,
    dirty_nodes: AtomicU64,
    /// Where the last data allocation without a goal ended.
    cursor: AtomicU64,
}

impl Space {
    /// `group_free` holds the free blocks of each group.
    pub(crate) fn new(geometry: Geometry, group_free: Vec<u64>) -> Self {
        let total = geometry.block_count - geometry.data_start();
        Self {
            counters: Mutex::new(Counters { free: group_free.iter().sum(), reserved: 0 }),
            groups: group_free.iter().map(|_| Mutex::new(None)).collect(),
            hints: group_free.into_iter().map(AtomicU64::new).collect(),
            deferred: Mutex::default(),
            release_limit: AtomicU64::new(u64::MAX),
            pool: Mutex::default(),
            pool_target: (total / POOL_SHARE).clamp(POOL_NODES_MIN, POOL_NODES_MAX),
            pool_filled: AtomicBool::new(false),
            dirty_nodes: AtomicU64::new(0),
            cursor: AtomicU64::new(geometry.data_start()),
            geometry,
        }
    }

    // ---- counting -------------------------------------------------------------------------

    fn set_aside(&self) -> u64 {
        (self.pool_target + self.dirty_nodes.load(Ordering::Relaxed)) * NODE_BLOCKS
    }

    pub(crate) fn set_dirty_nodes(&self, count: u64) {
        self.dirty_nodes.store(count, Ordering::Relaxed);
    }

    pub(crate) fn dirty_nodes(&self) -> u64 {
        self.dirty_nodes.load(Ordering::Relaxed)
    }

    pub(crate) fn usage(&self) -> SpaceUsage {
        let counters = self.counters.lock();
        SpaceUsage {
            total: self.geometry.block_count - self.geometry.data_start(),
            free: counters.free,
            available: counters.free.saturating_sub(counters.reserved + self.set_aside()),
        }
    }

    /// Promises `blocks`, leaving `spare` available.
    pub(crate) fn reserve(self: &Arc<Self>, blocks: u64, spare: u64) -> Result<Reservation> {
        let mut counters = self.counters.lock();
        let available = counters.free.saturating_sub(counters.reserved + self.set_aside());
        if available < blocks.saturating_add(spare) {
            return Err(Error::NoSpace { needed: blocks, available });
        }
        counters.reserved += blocks;
        Ok(Reservation { space: Arc::clone(self), blocks })
    }

    fn release_reservation(&self, blocks: u64) {
        let mut counters = self.counters.lock();
        counters.reserved -= blocks;
    }

    /// True while the pool could not hold the nodes that a checkpoint would write now.
    pub(crate) fn checkpoint_urgent(&self) -> bool {
        let dirty = self.dirty_nodes.load(Ordering::Relaxed);
        let free = self.counters.lock().free;
        dirty * 2 > self.pool_target && free < (self.pool_target + dirty) * NODE_BLOCKS * 4
    }

    // ---- groups ---------------------------------------------------------------------------

    pub(crate) fn group_count(&self) -> u64 {
        self.groups.len() as u64
    }

    /// Free blocks of a group by its hint.
    pub(crate) fn group_free(&self, group: u64) -> u64 {
        self.hints[group as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn is_loaded(&self, group: u64) -> bool {
        self.groups[group as usize].lock().is_some()
    }

    /// Blocks freed lately, locked: whoever fills a group from the free tree holds this from
    /// before it looks at the tree until the group is [installed](Self::install), so that no run
    /// is released in between.
    pub(crate) fn lock_deferred(&self) -> MutexGuard<'_, Deferred> {
        self.deferred.lock()
    }

    /// Installs what the free tree says of a group, less what must not be handed out yet.
    pub(crate) fn install(&self, group: u64, mut free: FreeSpace, deferred: &Deferred) {
        for (block, count) in deferred.runs() {
            if self.geometry.group_of(block) == group {
                free.exclude(block, count);
            }
        }
        let mut slot = self.groups[group as usize].lock();
        if slot.is_none() {
            self.hints[group as usize].store(free.blocks(), Ordering::Relaxed);
            *slot = Some(free);
        }
    }

    fn with_group<R>(&self, group: u64, act: impl FnOnce(&mut FreeSpace) -> R) -> Option<R> {
        let mut slot = self.groups[group as usize].lock();
        let free = slot.as_mut()?;
        let result = act(free);
        self.hints[group as usize].store(free.blocks(), Ordering::Relaxed);
        Some(result)
    }

    // ---- taking ---------------------------------------------------------------------------

    /// Takes up to `want` blocks of one group, which must be loaded; fewer only if `least` allows.
    pub(crate) fn take_in_group(
        self: &Arc<Self>,
        group: u64,
        want: u64,
        least: u64,
        goal: Option<u64>,
    ) -> Option<Grant> {
        let run = self.with_group(group, |free| {
            goal.and_then(|goal| {
                let run = free.take_at(goal, want)?;
                if run.1 >= least {
                    return Some(run);
                }
                free.give(run.0, run.1);
                None
            })
            .or_else(|| free.take_best(want))
            .or_else(|| free.take_longest(want, least))
        })??;
        self.counters.lock().free -= run.1;
        Some(Grant { space: Arc::clone(self), block: run.0, count: run.1 })
    }

    /// The blocks of `grant` were promised by `reservation`.
    pub(crate) fn settle(&self, reservation: &mut Reservation, grant: &Grant) {
        let used = grant.count.min(reservation.blocks);
        reservation.blocks -= used;
        self.release_reservation(used);
    }

    pub(crate) fn cursor(&self) -> u64 {
        self.cursor.load(Ordering::Relaxed)
    }

    pub(crate) fn set_cursor(&self, block: u64) {
        self.cursor.store(block, Ordering::Relaxed);
    }

    fn give_back(&self, block: u64, count: u64) {
        let group = self.geometry.group_of(block);
        // Granted blocks come from a loaded group, and groups stay loaded.
        self.with_group(group, |free| free.give(block, count));
        self.counters.lock().free += count;
    }

    // ---- freeing --------------------------------------------------------------------------

    /// Record `lsn` freed the blocks.
    pub(crate) fn defer(&self, lsn: u64, block: u64, count: u64) {
        self.counters.lock().free += count;
        if sabotage::kept(Rule::ProofReuse) {
            self.deferred.lock().queue.push_back((lsn, block, count));
        } else {
            self.give_free(block, count);
        }
    }

    /// As [`Self::defer`], for a replayed record: the group counts contain the blocks already.
    pub(crate) fn defer_replayed(&self, lsn: u64, block: u64, count: u64) {
        let group = self.geometry.group_of(block) as usize;
        self.hints[group].fetch_sub(count, Ordering::Relaxed);
        self.deferred.lock().queue.push_back((lsn, block, count));
    }

    /// A durable record proves everything up to `proof` flushed: I1.
    pub(crate) fn release(&self, proof: u64) {
        let mut deferred = self.deferred.lock();
        let proof = proof.min(self.release_limit.load(Ordering::Acquire));
        while let Some(&(lsn, block, count)) = deferred.queue.front() {
            if lsn > proof {
                return;
            }
            deferred.queue.pop_front();
            self.give_free(block, count);
        }
    }

    /// Blocks freed by records behind `lsn` are not handed out until [`Self::resume_release`]: data
    /// that records up to `lsn` journaled for them is being written home.
    pub(crate) fn pause_release(&self, lsn: u64) {
        // With the lock, so that no release is under way that looked before.
        let _deferred = self.deferred.lock();
        self.release_limit.store(lsn, Ordering::Release);
    }

    pub(crate) fn resume_release(&self) {
        self.release_limit.store(u64::MAX, Ordering::Release);
    }

    /// Blocks are deferred that a proof would release.
    pub(crate) fn has_deferred(&self) -> bool {
        !self.deferred.lock().queue.is_empty()
    }

    /// A checkpoint being written frees these nodes; the one in force still needs them: I2.
    pub(crate) fn hold(&self, nodes: Vec<Run>) {
        self.counters.lock().free += nodes.iter().map(|(_, count)| count).sum::<u64>();
        self.deferred.lock().held.push_back(nodes);
    }

    /// The checkpoint that freed the oldest batch is in force, and no reader is left that could
    /// look at those nodes.
    pub(crate) fn release_oldest_held(&self) {
        let mut deferred = self.deferred.lock();
        for (block, count) in deferred.held.pop_front().unwrap_or_default() {
            self.give_free(block, count);
        }
    }

    /// Deferred lock held by the caller.
    fn give_free(&self, block: u64, count: u64) {
        if count == NODE_BLOCKS && self.is_loaded(self.geometry.group_of(block)) {
            let mut pool = self.pool.lock();
            if (pool.len() as u64) < self.pool_target {
                pool.insert(block);
                return;
            }
        }
        let group = self.geometry.group_of(block);
        if self.with_group(group, |free| free.give(block, count)).is_none() {
            self.hints[group as usize].fetch_add(count, Ordering::Relaxed);
        }
    }

    // ---- pool -----------------------------------------------------------------------------

    /// The pool was filled once; what it gave comes back with the nodes that checkpoints free.
    pub(crate) fn pool_is_filled(&self) -> bool {
        self.pool_filled.load(Ordering::Relaxed)
    }

    pub(crate) fn note_pool_filled(&self) {
        self.pool_filled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn pool_missing(&self) -> u64 {
        self.pool_target - self.pool.lock().len() as u64
    }

    /// Moves runs of a loaded group into the pool until it is full.
    pub(crate) fn fill_pool_from(&self, group: u64) {
        self.with_group(group, |free| {
            let mut pool = self.pool.lock();
            // Counted under the lock: others give nodes back meanwhile.
            let mut missing = self.pool_target - pool.len() as u64;
            if missing == 0 {
                return;
            }
            for (start, length) in free.runs(NODE_BLOCKS) {
                let nodes = (length / NODE_BLOCKS).min(missing);
                // From the end, so that low addresses stay in long runs.
                let first = start + length - nodes * NODE_BLOCKS;
                free.exclude(first, nodes * NODE_BLOCKS);
                pool.extend((0..nodes).map(|node| first + node * NODE_BLOCKS));
                missing -= nodes;
                if missing == 0 {
                    return;
                }
            }
        });
    }

    /// Takes a node's blocks out of the pool; only a checkpoint may.
    pub(crate) fn take_from_pool(self: &Arc<Self>) -> Option<Grant> {
        let block = self.pool.lock().pop_first()?;
        self.counters.lock().free -= NODE_BLOCKS;
        Some(Grant { space: Arc::clone(self), block, count: NODE_BLOCKS })
    }

    /// Free runs of a loaded group of at least `least` blocks.
    pub(crate) fn runs_in(&self, group: u64, least: u64) -> Vec<Run> {
        self.with_group(group, |free| free.runs(least)).unwrap_or_default()
    }

    /// Takes exactly this run, if it is all free.
    pub(crate) fn take_exactly(self: &Arc<Self>, block: u64, count: u64) -> Option<Grant> {
        let taken = self.with_group(self.geometry.group_of(block), |free| {
            let run = free.take_at(block, count)?;
            if run.1 == count {
                return Some(());
            }
            free.give(run.0, run.1);
            None
        })?;
        taken?;
        self.counters.lock().free -= count;
        Some(Grant { space: Arc::clone(self), block, count })
    }
}
