//! Builds the inner nodes of a tree over leaves that come in key order.
//!
//! ```text
//!   add leaf, add leaf, ...        each level holds one open node; a full one is written
//!   finish                         and becomes a child one level up
//! ```
//!
//! Invariants
//! * (I1) the first cell of each level has the empty key: the left edge.
//! * (I2) an inner node has two children or more: a full node gives its last cell to the next one.

use super::writer::{Cell, NODE_ROOM, NodeWriter, cell_bytes};
use crate::error::Result;
use ashlar_format::key::TreeId;
use ashlar_format::node::{NodePointer, POINTER_BYTES};
use ashlar_format::superblock::TreeRoot;

/// The open node of one level.
#[derive(Debug, Default)]
struct Level {
    cells: Vec<Cell>,
    bytes: usize,
    /// Nodes of this level were written before.
    has_written: bool,
}

/// Builds one tree.
pub(super) struct Loader<'w, 'a> {
    pub(super) writer: &'w mut NodeWriter<'a>,
    tree: TreeId,
    /// Levels 1 and up.
    levels: Vec<Level>,
    /// Entries of the leaves added.
    count: u64,
}

impl<'w, 'a> Loader<'w, 'a> {
    pub(super) fn new(writer: &'w mut NodeWriter<'a>, tree: TreeId) -> Self {
        Self { writer, tree, levels: Vec::new(), count: 0 }
    }

    /// Adds a leaf that is on the device already.
    pub(super) fn add_leaf(
        &mut self,
        lower: &[u8],
        pointer: NodePointer,
        entries: u64,
    ) -> Result<()> {
        self.count += entries;
        self.add_child(1, lower, pointer)
    }

    /// Writes entries as one leaf or more, evenly filled.
    pub(super) fn write_leaves(&mut self, lower: &[u8], cells: &[Cell]) -> Result<()> {
        let total: usize = cells.iter().map(|(key, value)| cell_bytes(key, value)).sum();
        // A tenth is left for later entries, unless all fit as they are.
        let share = if total <= NODE_ROOM {
            NODE_ROOM
        } else {
            total.div_ceil(total.div_ceil(NODE_ROOM - NODE_ROOM / 10))
        };
        let mut rest = cells;
        let mut lower = lower;
        while !rest.is_empty() {
            let (leaf, behind) = rest.split_at(leading(rest, share));
            let block = self.writer.place()?;
            let pairs = leaf.iter().map(|(key, value)| (&**key, &**value));
            let pointer = self.writer.write(block, self.tree, 0, pairs)?;
            self.add_leaf(lower, pointer, leaf.len() as u64)?;
            rest = behind;
            lower = rest.first().map_or(&[], |(key, _)| key);
        }
        Ok(())
    }

    fn add_child(&mut self, level: usize, lower: &[u8], pointer: NodePointer) -> Result<()> {
        if self.levels.len() < level {
            self.levels.push(Level::default());
        }
        let open = &mut self.levels[level - 1];
        let is_edge = open.cells.is_empty() && !open.has_written;
        // I1
        let key: Box<[u8]> = if is_edge { Box::default() } else { lower.into() };
        let value: Box<[u8]> = pointer.encode().into();
        let bytes = cell_bytes(&key, &value);
        if open.bytes + bytes > NODE_ROOM {
            // I2
            let kept = open.cells.pop();
            self.write_level(level)?;
            let open = &mut self.levels[level - 1];
            open.bytes = kept.iter().map(|(key, value)| cell_bytes(key, value)).sum();
            open.cells.extend(kept);
        }
        let open = &mut self.levels[level - 1];
        open.bytes += bytes;
        open.cells.push((key, value));
        Ok(())
    }

    /// Writes the open node of a level and adds it one level up.
    fn write_level(&mut self, level: usize) -> Result<()> {
        let open = &mut self.levels[level - 1];
        let cells = std::mem::take(&mut open.cells);
        open.bytes = 0;
        open.has_written = true;
        let block = self.writer.place()?;
        let pairs = cells.iter().map(|(key, value)| (&**key, &**value));
        let pointer = self.writer.write(block, self.tree, level as u8, pairs)?;
        let lower = cells.first().map_or(&[][..], |(key, _)| key);
        self.add_child(level + 1, lower, pointer)
    }

    /// Writes what is open; returns the root.
    pub(super) fn finish(mut self) -> Result<Option<TreeRoot>> {
        let mut level = 1;
        while let Some(open) = self.levels.get(level - 1) {
            if !open.has_written
                && let [(_, only)] = open.cells.as_slice()
            {
                let pointer = NodePointer::decode(only)?;
                return Ok(Some(TreeRoot { pointer, level: level as u8 - 1, count: self.count }));
            }
            self.write_level(level)?;
            level += 1;
        }
        Ok(None)
    }
}

const _: () = assert!(NODE_ROOM >= 4 * (POINTER_BYTES + ashlar_format::limits::KEY_BYTES_MAX));

/// How many cells make the next leaf: as many as reach `share` bytes, one at least.
fn leading(cells: &[Cell], share: usize) -> usize {
    let mut bytes = 0;
    for (index, (key, value)) in cells.iter().enumerate() {
        let next = bytes + cell_bytes(key, value);
        if index > 0 && (bytes >= share || next > NODE_ROOM) {
            return index;
        }
        bytes = next;
    }
    cells.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::BlockSet;
    use crate::node_batch::NodeBatch;
    use crate::tests::image::{Image, TWO_GROUPS};
    use crate::volume::Volume;
    use ashlar_format::key;

    #[test]
    fn inner_nodes_cover_all_leaves_and_have_two_children_or_more() {
        let built = Image::empty(TWO_GROUPS).build();
        let volume = Volume::open(&built.device).unwrap();
        let mut owned = BlockSet::default();
        owned.insert(0, volume.data_range().start + 1000);
        for leaves in (1..20).chain(400..440).chain([840, 1000, 100_000]) {
            let mut writer = NodeWriter::new(&volume, &owned);
            let mut loader = Loader::new(&mut writer, TreeId::Inodes);
            let leaf = |block| NodePointer { block, generation: 1, checksum: 5 };
            for number in 0..leaves {
                loader.add_leaf(&key::inode(number), leaf(number), 3).unwrap();
            }
            let root = loader.finish().unwrap().unwrap();
            writer.submit().unwrap();
            assert_eq!(root.count, 3 * leaves);
            let mut nodes = vec![root.pointer];
            for level in (1..=root.level).rev() {
                let mut below = Vec::new();
                for pointer in nodes {
                    let mut newer = volume.superblock.clone();
                    newer.generation += 1;
                    let volume = Volume { superblock: newer, damaged_copy: None, ..volume };
                    let batch = NodeBatch::read(&volume, TreeId::Inodes, level, &[pointer]);
                    let node = batch.get(0).unwrap();
                    assert!(node.count() >= 2, "{leaves} leaves");
                    let child = |index| NodePointer::decode(node.value(index)).unwrap();
                    below.extend((0..node.count()).map(child));
                }
                nodes = below;
            }
            assert_eq!(nodes, (0..leaves).map(leaf).collect::<Vec<_>>());
        }
    }
}
