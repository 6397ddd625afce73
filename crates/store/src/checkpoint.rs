//! Checkpoint: the trees go home, the superblock flips, the log gets shorter. Writers go on.
//!
//! ```text
//!   1 freeze   snapshot of the trees at the end of record L           transaction lock, microseconds
//!   2 write    dirty nodes to free blocks, children first             no lock
//!   3 log      a record of the nodes taken and freed, valid only if   transaction lock, microseconds
//!              the superblock reached this generation
//!   4 flush    nodes and record durable; journaled data written home and flushed
//!   5 flip     superblock copy with roots and log tail, then flush
//!   6 release  old nodes and the log in front of the tail are free
//! ```
//!
//! Why step 3: saving the free tree takes blocks, and that changes the free tree. The snapshot
//! cannot say so; a record behind it can. Rule *conditional*: with the older superblock the old
//! nodes are still in use and the new ones are not, so there the record does not count.
//!
//! Rule *node-hold*: the old nodes are given out only after step 5, and only when no [`View`]
//! is left that was taken before.
//!
//! Crash behaviour: before the flip is durable the older superblock counts, with the log from its
//! tail; after it the new one, with the log from record L + 1. Both are the same state.
//!
//! [`View`]: crate::View

use crate::error::{Error, Result};
use crate::journal::Homeward;
use crate::log::{OpenRecord, RECORD_BYTES_CLOSE};
use crate::space::{Grant, Run};
use crate::store::{Store, dirty_nodes};
use crate::trees::Trees;
use ashlar_btree::Obsolete;
use ashlar_device::{AlignedBuf, Finish, Write};
use ashlar_format::NODE_BLOCKS;
use ashlar_format::key::{TREE_COUNT, TreeId};
use ashlar_format::limits::{BLOCK_BYTES, BLOCK_SIZE, NODE_SIZE};
use ashlar_format::log::Edit;
use ashlar_format::node::{self, Stamp};
use ashlar_format::superblock::{Superblock, TreeRoot};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Nodes written in one device batch (1 MiB).
const BATCH_NODES: usize = 64;

/// What the newest checkpoint left; its lock makes checkpoints one at a time.
pub(crate) struct CheckpointState {
    pub(crate) superblock: Superblock,
    /// Epochs of the checkpoints whose freed nodes are still held, oldest first.
    pub(crate) epochs: VecDeque<Arc<()>>,
}

/// The state that a checkpoint writes.
struct Frozen {
    trees: Trees,
    obsolete: Obsolete,
    lsn: u64,
    next_ino: u64,
    homeward: Homeward,
}

impl Store {
    /// Runs a checkpoint, unless another one ran while this one waited for it.
    pub(crate) fn run_checkpoint(&self) -> Result<()> {
        let before = self.checkpoints_done.load(Ordering::Acquire);
        let mut state = self.checkpoint.lock();
        if self.checkpoints_done.load(Ordering::Acquire) > before + 1 {
            return Ok(());
        }
        self.checkpoint_locked(&mut state, |_| {})
    }

    /// Writes the trees home now and shortens the log.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Shutdown`]; a device failure shuts the volume down.
    pub fn checkpoint(&self) -> Result<()> {
        self.checkpoint_locked(&mut self.checkpoint.lock(), |_| {})
    }

    /// Name of the volume.
    #[must_use]
    pub fn label(&self) -> String {
        self.checkpoint.lock().superblock.label.clone()
    }

    /// Renames the volume; durable on return. At most 64 bytes of UTF-8 are kept.
    ///
    /// # Errors
    /// As [`Self::checkpoint`].
    pub fn set_label(&self, label: &str) -> Result<()> {
        let label = label.to_owned();
        let mut state = self.checkpoint.lock();
        self.checkpoint_locked(&mut state, move |superblock| superblock.label = label)
    }

    /// Writes everything and marks the volume clean; it takes no changes afterwards.
    ///
    /// # Errors
    /// As [`Self::checkpoint`]. A read-only volume just closes.
    pub fn close(&self) -> Result<()> {
        self.stop_background();
        if !self.read_only && !self.is_shut_down() {
            let mut state = self.checkpoint.lock();
            self.checkpoint_locked(&mut state, |superblock| superblock.clean = true)?;
        }
        self.mark_closed();
        Ok(())
    }

    pub(crate) fn checkpoint_locked(
        &self,
        state: &mut CheckpointState,
        change: impl FnOnce(&mut Superblock),
    ) -> Result<()> {
        self.check_writable()?;
        let frozen = self.freeze();
        let generation = state.superblock.generation + 1;
        let mut grants = Vec::new();
        let roots = self
            .write_trees(&frozen.trees, generation, &mut grants)
            .map_err(|error| self.fail(error))?;
        // From here on the live trees own their nodes alone again, and change them in place.
        drop(frozen.trees);
        let freed =
            merge_runs(frozen.obsolete.pointers().map(|p| (p.block, NODE_BLOCKS)).collect());
        let lsn = self.log_checkpoint(generation, &grants, &freed)?;
        grants.into_iter().for_each(Grant::keep);
        self.sync(crate::Lsn(lsn))?;
        if !frozen.homeward.is_empty() {
            self.write_home(&frozen.homeward).map_err(|error| self.fail(error))?;
            self.space.resume_release();
        }
        let tail = self.log.tail_at(&mut self.log.lock_writer(), frozen.lsn);
        let mut superblock = Superblock {
            generation,
            tail,
            clean: false,
            flushed_lsn: lsn,
            next_ino: frozen.next_ino,
            roots,
            ..state.superblock.clone()
        };
        change(&mut superblock);
        self.flip(&superblock).map_err(|error| self.fail(error))?;
        state.superblock = superblock;
        self.release_old(state, &frozen.obsolete, tail, lsn);
        self.checkpoints_done.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Step 1. The snapshot ends where a record ends.
    fn freeze(&self) -> Frozen {
        let mut live = self.live.write();
        if !live.open.is_empty() {
            self.log.close(&mut live.open);
        }
        let homeward = self.journal.freeze();
        if !homeward.is_empty() {
            self.space.pause_release(live.open.lsn - 1);
        }
        Frozen {
            trees: live.trees.clone(),
            obsolete: live.obsolete.take(),
            lsn: live.open.lsn - 1,
            next_ino: self.next_ino.load(Ordering::Relaxed),
            homeward,
        }
    }

    /// Step 2.
    fn write_trees(
        &self,
        trees: &Trees,
        generation: u64,
        grants: &mut Vec<Grant>,
    ) -> Result<[Option<TreeRoot>; TREE_COUNT]> {
        self.fill_pool()?;
        let mut batch = NodeBatch { store: self, nodes: Vec::new() };
        let mut cursor = None;
        let mut roots = [None; TREE_COUNT];
        for id in TreeId::ALL {
            let mut write = |_level: u8, page: &mut [u8; NODE_SIZE]| {
                let grant = self.allocate_node(&mut cursor)?;
                let stamp = Stamp { uuid: &self.geometry.uuid, block: grant.block(), generation };
                let pointer = node::seal(page, &stamp);
                batch.push(grant.block(), page)?;
                grants.push(grant);
                Ok(pointer)
            };
            roots[id as usize] = trees.get(id).write_home(&mut |level, page| {
                write(level, page).map_err(|error: Error| ashlar_btree::Error::Io(Box::new(error)))
            })?;
        }
        batch.submit()?;
        Ok(roots)
    }

    /// Step 3: the record that counts only with the new superblock. Returns its LSN.
    fn log_checkpoint(&self, generation: u64, grants: &[Grant], freed: &[Run]) -> Result<u64> {
        let taken = merge_runs(grants.iter().map(|grant| (grant.block(), grant.count())).collect());
        let mut live = self.live.write();
        if !live.open.is_empty() {
            self.log.close(&mut live.open);
        }
        let mut record = OpenRecord { checkpoint: generation, ..OpenRecord::new(live.open.lsn) };
        let mut edits: Vec<(bool, u64, u32)> = Vec::new();
        for (alloc, runs) in [(true, &taken[..]), (false, freed)] {
            for (block, count) in runs {
                self.for_each_group_part(*block, *count, |b, c| edits.push((alloc, b, c)));
            }
        }
        for (alloc, block, count) in edits {
            if record.body_bytes() + 16 > RECORD_BYTES_CLOSE {
                self.log.close(&mut record);
                record.checkpoint = generation;
            }
            let edit =
                if alloc { Edit::Alloc { block, count } } else { Edit::Free { block, count } };
            edit.encode(&mut record.edits);
            let live = &mut *live;
            live.trees
                .apply(&self.nodes, &mut live.obsolete, &self.geometry, &edit)
                .map_err(|error| self.fail(error))?;
        }
        record.wanted = true;
        let lsn = record.lsn;
        self.log.close(&mut record);
        record.checkpoint = 0;
        live.open = record;
        self.space.hold(freed.to_vec());
        Ok(lsn)
    }

    /// Step 5.
    pub(crate) fn flip(&self, superblock: &Superblock) -> Result<()> {
        let mut block = AlignedBuf::new_zeroed(BLOCK_SIZE);
        let bytes = superblock.encode();
        block[..bytes.len()].copy_from_slice(&bytes);
        let addr = superblock.copy_block() * BLOCK_BYTES;
        self.device.submit(&[Write { addr, bytes: &block }], Finish::Flush)?;
        Ok(())
    }

    /// Step 6.
    fn release_old(
        &self,
        state: &mut CheckpointState,
        obsolete: &Obsolete,
        tail: ashlar_format::superblock::LogTail,
        lsn: u64,
    ) {
        {
            let mut live = self.live.write();
            let live = &mut *live;
            for tree in live.trees.all_mut() {
                tree.unpin(&self.nodes.cache, &mut live.obsolete);
            }
            self.space.set_dirty_nodes(dirty_nodes(&live.trees) as u64);
        }
        for pointer in obsolete.pointers() {
            self.nodes.cache.forget(pointer.block);
        }
        state.epochs.push_back(std::mem::take(&mut *self.epoch.lock()));
        while state.epochs.front().is_some_and(|epoch| Arc::strong_count(epoch) == 1) {
            state.epochs.pop_front();
            self.space.release_oldest_held();
        }
        self.log.move_tail(tail);
        self.journal.retire(tail.lsn);
        // The superblock on stable media says that the log is flushed up to here.
        self.log.prove(lsn);
        self.space.release(self.log.proof());
    }
}

/// Nodes on their way to the device.
struct NodeBatch<'a> {
    store: &'a Store,
    nodes: Vec<(u64, AlignedBuf)>,
}

impl NodeBatch<'_> {
    fn push(&mut self, block: u64, page: &[u8; NODE_SIZE]) -> Result<()> {
        self.nodes.push((block, AlignedBuf::from_slice(page)));
        if self.nodes.len() >= BATCH_NODES { self.submit() } else { Ok(()) }
    }

    fn submit(&mut self) -> Result<()> {
        let writes: Vec<_> = self
            .nodes
            .iter()
            .map(|(block, page)| Write { addr: block * BLOCK_BYTES, bytes: page })
            .collect();
        self.store.device.submit(&writes, Finish::Nothing)?;
        self.nodes.clear();
        Ok(())
    }
}

/// Sorts runs and joins those that touch.
fn merge_runs(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_unstable();
    let mut merged: Vec<Run> = Vec::with_capacity(runs.len());
    for (block, count) in runs {
        match merged.last_mut() {
            Some((start, length)) if *start + *length == block => *length += count,
            _ => merged.push((block, count)),
        }
    }
    merged
}
