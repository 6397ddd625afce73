//! A checkpoint in steps, between which commits go on.
//!
//! ```text
//!   begin   snapshot, its node written, the record that counts only with the new superblock
//!   home    records flushed; journaled bytes of the snapshot written home and flushed
//!   flip    the other superblock written
//!   end     flushed; the old node is free, the log in front of the tail is gone
//! ```

use super::Rule;
use super::disk::{Addr, Bytes, Cell};
use super::machine::Machine;
use super::record::{Edit, Snapshot, Superblock};
use super::volume::Changes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A checkpoint that has begun.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Where the snapshot goes.
    pub node: u8,
    /// The last record that it contains.
    pub tail: u32,
    /// Its checksum.
    pub tail_sum: u64,
    /// The checkpoint's own record.
    pub record: u32,
    /// What was journaled and not home at the freeze.
    pub homeward: BTreeMap<u8, (u32, Bytes)>,
    /// That is home.
    pub is_home: bool,
    /// The superblock was written.
    pub flipped: bool,
}

impl Checkpoint {
    /// Frees of records behind this one hold their blocks back.
    #[must_use]
    pub fn release_limit(&self) -> Option<u32> {
        (!self.is_home && !self.homeward.is_empty()).then_some(self.tail)
    }
}

impl Machine {
    /// Step 1.
    pub(super) fn checkpoint_begin(&mut self, highest: bool) -> bool {
        if self.volume.checkpoint.is_some() {
            return false;
        }
        let mut free = self.volume.reusable(self.rules).iter();
        let place = if highest { free.next_back() } else { free.next() };
        let Some(node) = place else { return false };
        let (tail, tail_sum) = (self.volume.lsn, self.volume.previous);
        let snapshot: Arc<Snapshot> = Arc::new(self.volume.trees.clone());
        self.disk.write_node(node, &snapshot);
        let old = self.volume.node;
        let edits = vec![Edit::Alloc(node), Edit::Free(old)];
        let generation = self.volume.generation + 1;
        let record = self.append(Changes { edits, sums: Vec::new() }, Some(generation));
        self.volume.trees.free.remove(node);
        if !self.rules.has(Rule::NodeHold) {
            self.volume.trees.free.insert(old);
        }
        let homeward = self.volume.overlay.clone();
        self.volume.checkpoint = Some(Checkpoint {
            node,
            tail,
            tail_sum,
            record,
            homeward,
            is_home: false,
            flipped: false,
        });
        true
    }

    /// Step 2.
    pub(super) fn checkpoint_home(&mut self) -> bool {
        let Some(checkpoint) = &mut self.volume.checkpoint else { return false };
        if checkpoint.is_home {
            return false;
        }
        let homeward = std::mem::take(&mut checkpoint.homeward);
        if homeward.is_empty() || !self.rules.has(Rule::HomeCheckpoint) {
            self.flush();
        } else {
            // Kept in the checkpoint until they are flushed: they hold freed blocks back.
            checkpoint.homeward.clone_from(&homeward);
            self.write_home(&homeward);
        }
        if let Some(checkpoint) = &mut self.volume.checkpoint {
            checkpoint.is_home = true;
        }
        self.volume.forget_proven();
        true
    }

    /// Step 3.
    pub(super) fn checkpoint_flip(&mut self) -> bool {
        let volume = &mut self.volume;
        let Some(checkpoint) = volume.checkpoint.as_mut().filter(|c| c.is_home && !c.flipped)
        else {
            return false;
        };
        checkpoint.flipped = true;
        volume.generation += 1;
        let superblock = Superblock {
            generation: volume.generation,
            node: checkpoint.node,
            tail: checkpoint.tail,
            tail_sum: checkpoint.tail_sum,
            flushed: checkpoint.record,
        };
        let copy = (volume.generation % 2) as u8;
        self.disk.write(Addr::Super(copy), Cell::Super(superblock));
        true
    }

    /// Step 4.
    pub(super) fn checkpoint_end(&mut self) -> bool {
        if !self.volume.checkpoint.as_ref().is_some_and(|c| c.flipped) {
            return false;
        }
        self.flush();
        let volume = &mut self.volume;
        let Some(checkpoint) = volume.checkpoint.take() else { return false };
        if self.rules.has(Rule::NodeHold) {
            volume.trees.free.insert(volume.node);
            volume.deferred.push((checkpoint.record, volume.node));
        }
        volume.node = checkpoint.node;
        volume.overlay.retain(|_, (lsn, _)| *lsn > checkpoint.tail);
        volume.window.retain(|_, lsn| *lsn > checkpoint.tail);
        volume.proof = volume.proof.max(checkpoint.record);
        volume.forget_proven();
        self.disk.prune_log();
        true
    }

    /// All steps at once.
    pub(super) fn checkpoint_whole(&mut self, highest: bool) -> bool {
        self.checkpoint_begin(highest)
            && self.checkpoint_home()
            && self.checkpoint_flip()
            && self.checkpoint_end()
    }
}
