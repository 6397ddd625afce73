//! Finding blocks: which group, how much, and what to do when free blocks cannot be had yet.

use crate::error::{Error, Result};
use crate::space::{AllocHint, FreeSpace, Grant, Reservation};
use crate::store::Store;
use ashlar_format::key::{self, FreeKey, TreeId};
use ashlar_format::limits::EXTENT_BLOCKS_MAX;
use ashlar_format::{NODE_BLOCKS, limits::BLOCK_BYTES};
use std::ops::{ControlFlow, Range};

/// Blocks kept available behind a promise for new names and inodes.
const METADATA_SPARE: u64 = 8;
/// A run this long is as good as any: no other group is searched for a longer one.
const RUN_GOOD_ENOUGH: u64 = 1024;

impl Store {
    /// Promises `blocks` of data: allocating them later cannot fail for space.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub fn reserve(&self, blocks: u64) -> Result<Reservation> {
        self.check_writable()?;
        match self.space.reserve(blocks, 0) {
            Err(Error::NoSpace { .. }) if self.space.dirty_nodes() > 0 => {
                // A checkpoint gives back what was set aside for the nodes it writes.
                self.run_checkpoint()?;
                self.space.reserve(blocks, 0)
            }
            other => other,
        }
    }

    /// Asks whether the trees may grow by a few entries. What only removes need not ask: the
    /// space set aside is for that.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub fn check_room_for_names(&self) -> Result<()> {
        if self.space.reserve(0, METADATA_SPARE).is_ok() {
            return Ok(());
        }
        self.run_checkpoint()?;
        self.space.reserve(0, METADATA_SPARE).map(drop)
    }

    /// Takes up to `want` blocks in one run, at least one, out of a promise. The run lies in one
    /// allocation group.
    ///
    /// # Errors
    /// [`Error::NoSpace`] when the promise is empty or nothing is free; device failures.
    pub fn allocate(
        &self,
        reservation: &mut Reservation,
        want: u64,
        hint: AllocHint,
    ) -> Result<Grant> {
        let want = want.min(reservation.blocks()).min(EXTENT_BLOCKS_MAX);
        if want == 0 {
            return Err(Error::NoSpace { needed: 1, available: 0 });
        }
        self.fill_pool()?;
        let grant = self.take_blocks(want, hint)?;
        self.space.settle(reservation, &grant);
        Ok(grant)
    }

    fn take_blocks(&self, want: u64, hint: AllocHint) -> Result<Grant> {
        if let Some(grant) = self.take_somewhere(want, hint.goal)? {
            return Ok(grant);
        }
        // All that is free was freed a moment ago: prove the records that freed it.
        if self.space.has_deferred() {
            self.prove(self.last_lsn().0)?;
            self.space.release(self.log.proof());
        } else {
            self.run_checkpoint()?;
        }
        if let Some(grant) = self.take_somewhere(want, hint.goal)? {
            return Ok(grant);
        }
        // A checkpoint that writes data home holds releases back until it is done.
        self.run_checkpoint()?;
        self.take_somewhere(want, hint.goal)?.ok_or_else(|| {
            let available = self.space.usage().free;
            Error::NoSpace { needed: want, available }
        })
    }

    /// Tries the goal, then its group, then the others for a long run, then anything.
    fn take_somewhere(&self, want: u64, goal: Option<u64>) -> Result<Option<Grant>> {
        let at = goal.unwrap_or_else(|| self.space.cursor());
        let at = at.clamp(self.geometry.data_start(), self.geometry.block_count - 1);
        let home = self.geometry.group_of(at);
        let count = self.space.group_count();
        for least in [want.min(RUN_GOOD_ENOUGH), 1] {
            for step in 0..count {
                let group = (home + step) % count;
                if self.space.group_free(group) < least {
                    continue;
                }
                self.load_group(group)?;
                let here = (step == 0).then_some(at);
                // At the goal itself a shorter run is fine: the file stays in one piece.
                let least = if goal.is_some() { least.min(64) } else { least };
                if let Some(grant) = self.space.take_in_group(group, want, least, here) {
                    if goal.is_none() {
                        self.space.set_cursor(grant.block() + grant.count());
                    }
                    return Ok(Some(grant));
                }
            }
        }
        Ok(None)
    }

    /// Takes a node's blocks: from long runs while there are any, else from the pool.
    pub(crate) fn allocate_node(&self, cursor: &mut Option<u64>) -> Result<Grant> {
        let at = cursor.unwrap_or_else(|| self.geometry.data_start());
        let home = self.geometry.group_of(at.min(self.geometry.block_count - 1));
        let count = self.space.group_count();
        for step in 0..count {
            let group = (home + step) % count;
            if self.space.group_free(group) < NODE_BLOCKS {
                continue;
            }
            self.load_group(group)?;
            let goal = cursor.filter(|_| step == 0);
            if let Some(grant) = self.space.take_in_group(group, NODE_BLOCKS, NODE_BLOCKS, goal) {
                *cursor = Some(grant.block() + NODE_BLOCKS);
                return Ok(grant);
            }
        }
        self.space.take_from_pool().ok_or(Error::NoSpace { needed: NODE_BLOCKS, available: 0 })
    }

    /// Fills the pool while there is room for it: data must not take its last runs.
    pub(crate) fn fill_pool(&self) -> Result<()> {
        if self.space.pool_is_filled() {
            return Ok(());
        }
        for group in (0..self.space.group_count()).rev() {
            if self.space.group_free(group) >= NODE_BLOCKS {
                self.load_group(group)?;
                self.space.fill_pool_from(group);
            }
            if self.space.pool_missing() == 0 {
                break;
            }
        }
        self.space.note_pool_filled();
        Ok(())
    }

    /// Reads a group's free extents from the free tree, if that was not done yet.
    pub(crate) fn load_group(&self, group: u64) -> Result<()> {
        if self.space.is_loaded(group) {
            return Ok(());
        }
        // Nothing commits and nothing is released in between, so what the tree calls free and
        // what is deferred fit together.
        let live = self.live.read();
        let deferred = self.space.lock_deferred();
        let range = self.geometry.group_range(group);
        let mut free = FreeSpace::default();
        let (mut broken, mut end) = (None, 0);
        let tree = live.trees.get(TreeId::Free);
        tree.for_each_from(
            &self.nodes,
            &key::free(range.start),
            &mut |key, value| match decode_free(key, value, &range) {
                Ok(Some((block, count))) if block >= end => {
                    free.give(block, count);
                    end = block + count;
                    ControlFlow::Continue(())
                }
                Ok(Some((block, _))) => {
                    let problem = "free extents overlap";
                    broken =
                        Some(ashlar_format::Corruption::new("free tree", block, problem).into());
                    ControlFlow::Break(())
                }
                Ok(None) => ControlFlow::Break(()),
                Err(error) => {
                    broken = Some(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        if let Some(error) = broken {
            return Err(error);
        }
        self.space.install(group, free, &deferred);
        Ok(())
    }

    /// Tells the device which blocks of `range` (bytes) are free, in runs of at least
    /// `length_min` bytes; returns how many bytes were told.
    ///
    /// # Errors
    /// Device failures.
    pub fn trim(&self, range: Range<u64>, length_min: u64) -> Result<u64> {
        self.check_writable()?;
        // What was freed lately is free for good only when that is durable.
        self.prove(self.last_lsn().0)?;
        self.space.release(self.log.proof());
        let least = length_min.div_ceil(BLOCK_BYTES).max(1);
        let first = range.start.div_ceil(BLOCK_BYTES);
        let last = (range.end / BLOCK_BYTES).min(self.geometry.block_count);
        let mut trimmed = 0;
        for group in 0..self.space.group_count() {
            let blocks = self.geometry.group_range(group);
            if blocks.end <= first || blocks.start >= last {
                continue;
            }
            self.load_group(group)?;
            for (block, count) in self.space.runs_in(group, least) {
                let (start, end) = (block.max(first), (block + count).min(last));
                if start >= end || end - start < least {
                    continue;
                }
                // Taken while it is told, so that nobody writes there meanwhile.
                if let Some(grant) = self.space.take_exactly(start, end - start) {
                    let bytes = grant.count() * BLOCK_BYTES;
                    self.device.discard(grant.block() * BLOCK_BYTES, bytes)?;
                    trimmed += bytes;
                }
            }
        }
        Ok(trimmed)
    }
}

fn decode_free(key: &[u8], value: &[u8], range: &Range<u64>) -> Result<Option<(u64, u64)>> {
    let FreeKey::Extent(block) = key::decode_free(key)? else { return Ok(None) };
    if block >= range.end {
        return Ok(None);
    }
    let count = key::decode_free_value(value)?;
    if block < range.start || count == 0 || count > range.end - block {
        let problem = format!("free extent of {count} blocks leaves its group");
        return Err(ashlar_format::Corruption::new("free tree", block, problem).into());
    }
    Ok(Some((block, count)))
}
