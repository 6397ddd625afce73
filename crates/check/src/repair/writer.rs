//! Places new nodes in free blocks and writes them in batches.
//!
//! Invariant (I1): a block given to a node is owned by nothing in the state that recovery makes of
//! the old superblock, and is given once.

use crate::blocks::{BlockSet, for_each_run};
use crate::error::{Error, Result};
use crate::volume::Volume;
use ashlar_device::{AlignedBuf, Finish, Write};
use ashlar_format::NODE_BLOCKS;
use ashlar_format::key::TreeId;
use ashlar_format::limits::{BLOCK_BYTES, NODE_SIZE};
use ashlar_format::node::{
    CELL_HEADER_BYTES, HEADER_BYTES, NodePointer, SLOT_BYTES, Stamp, format_empty, seal,
};
use std::collections::VecDeque;

/// Nodes written in one device batch (1 MiB).
const BATCH_NODES: usize = 64;

/// Bytes of a node that cells and their slots can fill.
pub(super) const NODE_ROOM: usize = NODE_SIZE - HEADER_BYTES;

/// Key and value of a cell.
pub(super) type Cell = (Box<[u8]>, Box<[u8]>);

/// Bytes that a cell takes of [`NODE_ROOM`].
pub(super) fn cell_bytes(key: &[u8], value: &[u8]) -> usize {
    SLOT_BYTES + CELL_HEADER_BYTES + key.len() + value.len()
}

/// Writes nodes of one new checkpoint.
pub(super) struct NodeWriter<'a> {
    volume: &'a Volume<'a>,
    owned: &'a BlockSet,
    /// Group that is searched next.
    next_group: u64,
    /// Free runs of the groups searched so far.
    runs: VecDeque<(u64, u64)>,
    batch: Vec<(u64, AlignedBuf)>,
}

impl<'a> NodeWriter<'a> {
    /// Places nodes outside `owned`.
    pub(super) fn new(volume: &'a Volume<'a>, owned: &'a BlockSet) -> Self {
        let next_group = volume.group_of(volume.data_range().start);
        Self { volume, owned, next_group, runs: VecDeque::new(), batch: Vec::new() }
    }

    /// Generation that the nodes carry.
    pub(super) fn generation(&self) -> u64 {
        self.volume.superblock.generation.saturating_add(1)
    }

    /// Takes the blocks of a node: I1.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub(super) fn place(&mut self) -> Result<u64> {
        loop {
            if let Some((block, count)) = self.runs.front_mut() {
                let taken = *block;
                *block += NODE_BLOCKS;
                *count -= NODE_BLOCKS;
                if *count < NODE_BLOCKS {
                    self.runs.pop_front();
                }
                return Ok(taken);
            }
            if self.next_group >= self.volume.superblock.group_count() {
                return Err(Error::NoSpace);
            }
            self.search_group();
        }
    }

    fn search_group(&mut self) {
        let group = self.volume.group_range(self.next_group);
        self.next_group += 1;
        let range = group.start.max(self.volume.data_range().start)..group.end;
        let runs = &mut self.runs;
        let nothing = BlockSet::default();
        for_each_run(self.owned, &nothing, range, |owned, _| !owned, &mut |block, count| {
            if count >= NODE_BLOCKS {
                runs.push_back((block, count));
            }
        });
    }

    /// Writes a node with these cells at `block`, which must fit it; returns what its parent keeps.
    ///
    /// # Errors
    /// Device failures.
    pub(super) fn write<'c>(
        &mut self,
        block: u64,
        tree: TreeId,
        level: u8,
        cells: impl Iterator<Item = (&'c [u8], &'c [u8])>,
    ) -> Result<NodePointer> {
        let mut page = Box::new([0; NODE_SIZE]);
        format_empty(&mut page, tree, level);
        fill(&mut page, cells);
        let generation = self.generation();
        let stamp = Stamp { uuid: &self.volume.superblock.uuid, block, generation };
        let pointer = seal(&mut page, &stamp);
        self.batch.push((block, AlignedBuf::from_slice(&page[..])));
        if self.batch.len() >= BATCH_NODES {
            self.submit()?;
        }
        Ok(pointer)
    }

    /// Hands to the device what was gathered.
    ///
    /// # Errors
    /// Device failures.
    pub(super) fn submit(&mut self) -> Result<()> {
        let writes: Vec<Write<'_>> = self
            .batch
            .iter()
            .map(|(block, buf)| Write { addr: block * BLOCK_BYTES, bytes: buf })
            .collect();
        self.volume.device.submit(&writes, Finish::Nothing)?;
        self.batch.clear();
        Ok(())
    }
}

/// Puts cells into an empty node: slots up from the header, cells down from the end.
fn fill<'c>(page: &mut [u8; NODE_SIZE], cells: impl Iterator<Item = (&'c [u8], &'c [u8])>) {
    let (mut slot, mut heap) = (HEADER_BYTES, NODE_SIZE);
    let mut count: u16 = 0;
    for (key, value) in cells {
        let bytes = CELL_HEADER_BYTES + key.len() + value.len();
        assert!(slot + SLOT_BYTES + bytes <= heap, "cells passed the end of a node");
        heap -= bytes;
        let (head, body) = page[heap..heap + bytes].split_at_mut(CELL_HEADER_BYTES);
        head[..2].copy_from_slice(&(key.len() as u16).to_le_bytes());
        head[2..].copy_from_slice(&(value.len() as u16).to_le_bytes());
        let (key_at, value_at) = body.split_at_mut(key.len());
        key_at.copy_from_slice(key);
        value_at.copy_from_slice(value);
        page[slot..slot + SLOT_BYTES].copy_from_slice(&(heap as u16).to_le_bytes());
        slot += SLOT_BYTES;
        count += 1;
    }
    page[42..44].copy_from_slice(&count.to_le_bytes());
    page[44..46].copy_from_slice(&(heap as u16).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::image::{Image, TWO_GROUPS};

    #[test]
    fn nodes_are_placed_in_free_blocks_of_one_group_once() {
        let built = Image::empty(TWO_GROUPS).build();
        let volume = Volume::open(&built.device).unwrap();
        let data = volume.data_range();
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut owned = BlockSet::default();
            owned.insert(0, data.start);
            for _ in 0..random.u32(..4000) {
                owned.insert(random.u64(data.clone()), 1 + random.u64(..30));
            }
            let mut writer = NodeWriter::new(&volume, &owned);
            let mut taken = BlockSet::default();
            loop {
                match writer.place() {
                    Ok(block) => {
                        assert_eq!(owned.count_in(block..block + NODE_BLOCKS), 0, "seed {seed}");
                        assert_eq!(taken.insert(block, NODE_BLOCKS), 0, "seed {seed}");
                        assert!(volume.holds(block, NODE_BLOCKS));
                        assert_eq!(volume.group_of(block), volume.group_of(block + 3));
                    }
                    Err(error) => {
                        assert!(matches!(error, Error::NoSpace), "{error}");
                        break;
                    }
                }
            }
            // What is left has no room for another one.
            for group in 0..volume.superblock.group_count() {
                let neither = |owned: u64, taken: u64| !(owned | taken);
                let mut longest = 0;
                let range = volume.group_range(group);
                for_each_run(&owned, &taken, range, neither, &mut |_, count| {
                    longest = longest.max(count);
                });
                assert!(longest < NODE_BLOCKS, "seed {seed}: {longest} blocks left");
            }
        }
    }
}
