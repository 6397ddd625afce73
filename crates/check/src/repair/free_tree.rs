//! The free tree, made anew from who owns what.
//!
//! Its own nodes take blocks, which changes what it says. So the number of nodes is fixed first,
//! for the most entries there can be: placing a node splits a free run at most once. Then the
//! blocks are taken, then the entries are spread evenly over exactly these nodes.

use super::writer::{Cell, NodeWriter};
use crate::blocks::{BlockSet, for_each_run};
use crate::error::Result;
use crate::volume::Volume;
use ashlar_format::NODE_BLOCKS;
use ashlar_format::key::{self, TreeId};
use ashlar_format::superblock::TreeRoot;

/// Entries of a leaf: about 700 fit, so some room is left.
const LEAF_ENTRIES: u64 = 600;
/// Children of an inner node: about 400 fit.
const INNER_CHILDREN: u64 = 350;

/// Writes a free tree for a volume where `owned` is in use, besides the nodes it takes itself.
///
/// # Errors
/// Device failures, no space.
pub(super) fn build(
    volume: &Volume<'_>,
    mut owned: BlockSet,
    writer: &mut NodeWriter<'_>,
) -> Result<Option<TreeRoot>> {
    let levels = level_sizes(entries(volume, &owned).len() as u64);
    let mut places = Vec::new();
    for _ in 0..levels.iter().sum() {
        let block = writer.place()?;
        owned.insert(block, NODE_BLOCKS);
        places.push(block);
    }
    let mut places = places.into_iter();
    let mut cells = entries(volume, &owned);
    let count = cells.len() as u64;
    let mut root = None;
    for (level, nodes) in levels.into_iter().enumerate() {
        let mut above: Vec<Cell> = Vec::new();
        for (index, node) in shares(&cells, nodes).enumerate() {
            let block = places.next().map_or_else(|| writer.place(), Ok)?;
            let pairs = node.iter().map(|(key, value)| (&**key, &**value));
            let pointer = writer.write(block, TreeId::Free, level as u8, pairs)?;
            // The left edge of each level has the empty key.
            let lower = node.first().filter(|_| index > 0).map(|(key, _)| key.clone());
            above.push((lower.unwrap_or_default(), pointer.encode().into()));
            root = Some(TreeRoot { pointer, level: level as u8, count });
        }
        cells = above;
    }
    Ok(root)
}

/// Nodes of each level, leaves first, for `free` entries and those that the nodes add.
fn level_sizes(free: u64) -> Vec<u64> {
    let mut nodes = 0;
    loop {
        let mut levels = vec![(free + nodes).div_ceil(LEAF_ENTRIES)];
        while let Some(below) = levels.last().copied().filter(|nodes| *nodes > 1) {
            levels.push(below.div_ceil(INNER_CHILDREN));
        }
        let needed = levels.iter().sum();
        if needed <= nodes {
            return levels;
        }
        nodes = needed;
    }
}

/// Cuts cells into `nodes` shares that differ by one at most.
fn shares(cells: &[Cell], nodes: u64) -> impl Iterator<Item = &[Cell]> {
    let nodes = nodes as usize;
    (0..nodes).map(move |index| {
        let bound = |index: usize| cells.len() * index / nodes;
        &cells[bound(index)..bound(index + 1)]
    })
}

/// Counts of all groups, then the free runs, cut at group borders.
fn entries(volume: &Volume<'_>, owned: &BlockSet) -> Vec<Cell> {
    let data = volume.data_range();
    let nothing = BlockSet::default();
    let mut counts: Vec<Cell> = Vec::new();
    let mut runs: Vec<Cell> = Vec::new();
    for group in 0..volume.superblock.group_count() {
        let range = volume.group_range(group);
        let mut free = 0;
        let range = range.start.max(data.start)..range.end.min(data.end).max(data.start);
        for_each_run(owned, &nothing, range, |owned, _| !owned, &mut |block, count| {
            free += count;
            runs.push((key::free(block).into(), count.to_le_bytes().into()));
        });
        counts.push((key::group(group as u32).into(), free.to_le_bytes().into()));
    }
    counts.append(&mut runs);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_enough_for_the_entries_they_add() {
        for free in [1, 2, 599, 600, 601, 1200, 200_000, 210_000, 209_999, 10_000_000] {
            let levels = level_sizes(free);
            let nodes: u64 = levels.iter().sum();
            assert!(levels[0] * LEAF_ENTRIES >= free + nodes, "{free} entries");
            assert!(levels.windows(2).all(|pair| pair[1] * INNER_CHILDREN >= pair[0]));
            assert_eq!(levels.last(), Some(&1));
        }
    }

    #[test]
    fn shares_cover_all_cells_in_order() {
        let cells: Vec<Cell> = (0..17u8).map(|byte| ([byte].into(), Box::default())).collect();
        let joined: Vec<u8> = shares(&cells, 5).flatten().map(|(key, _)| key[0]).collect();
        assert_eq!(joined, (0..17).collect::<Vec<u8>>());
        assert!(shares(&cells, 5).all(|share| (3..=4).contains(&share.len())));
    }
}
