//! The volume's trees, and the one function that changes them: live and at replay.
//!
//! Definitions: the *free tree* holds free extents, never across a group border and never two
//! that touch inside a group, and a count of free blocks for each group.
//!
//! Invariants:
//! * (I1) every change of a tree goes through [`Trees::apply`];
//! * (I2) a group's count equals the sum of its free extents;
//! * (I3) an allocation takes only blocks that are free, a free only blocks that are not.
//!
//! A violated I3 is reported as corruption: the edits come from the log or from extents on disk.

use crate::error::Result;
use crate::geometry::Geometry;
use ashlar_btree::{NodeSource, Obsolete, Tree};
use ashlar_format::key::{self, FreeKey, TREE_COUNT, TreeId};
use ashlar_format::log::Edit;
use ashlar_format::superblock::TreeRoot;
use ashlar_format::{Corruption, inode};

/// All trees of a volume. Cloning is a snapshot and takes constant time.
#[derive(Clone)]
pub(crate) struct Trees {
    trees: [Tree; TREE_COUNT],
}

impl Trees {
    pub(crate) fn from_roots(roots: &[Option<TreeRoot>; TREE_COUNT]) -> Self {
        let trees = TreeId::ALL.map(|id| Tree::from_root(id, roots[id as usize]));
        Self { trees }
    }

    pub(crate) fn get(&self, id: TreeId) -> &Tree {
        &self.trees[id as usize]
    }

    pub(crate) fn all_mut(&mut self) -> &mut [Tree; TREE_COUNT] {
        &mut self.trees
    }

    /// Applies one edit.
    pub(crate) fn apply(
        &mut self,
        nodes: &dyn NodeSource,
        obsolete: &mut Obsolete,
        geometry: &Geometry,
        edit: &Edit<'_>,
    ) -> Result<()> {
        match *edit {
            Edit::Put { tree, key, value } => {
                self.trees[tree as usize].put(nodes, obsolete, key, value)?;
            }
            Edit::Delete { tree, key } => {
                self.trees[tree as usize].delete(nodes, obsolete, key)?;
            }
            Edit::Alloc { block, count } => {
                self.free_tree(nodes, obsolete, geometry).take(block, u64::from(count))?;
            }
            Edit::Free { block, count } => {
                self.free_tree(nodes, obsolete, geometry).give(block, u64::from(count))?;
            }
            // Data, of which the trees know nothing.
            Edit::Journal { .. } => {}
        }
        Ok(())
    }

    fn free_tree<'a>(
        &'a mut self,
        nodes: &'a dyn NodeSource,
        obsolete: &'a mut Obsolete,
        geometry: &'a Geometry,
    ) -> FreeTree<'a> {
        FreeTree { tree: &mut self.trees[TreeId::Free as usize], nodes, obsolete, geometry }
    }
}

/// Highest inode number that the edit brings into use.
pub(crate) fn inode_number_of(edit: &Edit<'_>) -> Option<u64> {
    match edit {
        Edit::Put { tree: TreeId::Inodes, key, value } if value.len() >= inode::RECORD_BYTES => {
            key::decode_number(TreeId::Inodes, key).ok()
        }
        _ => None,
    }
}

struct FreeTree<'a> {
    tree: &'a mut Tree,
    nodes: &'a dyn NodeSource,
    obsolete: &'a mut Obsolete,
    geometry: &'a Geometry,
}

impl FreeTree<'_> {
    /// Takes `[block, block + count)` out of the free extent that holds it.
    ///
    /// ```text
    ///   free extent   |----------------------|
    ///   taken              |=======|
    ///   left          |---|         |--------|
    /// ```
    fn take(&mut self, block: u64, count: u64) -> Result<()> {
        self.check_range(block, count)?;
        let end = block + count;
        let (start, length) = self
            .extent_at_or_before(block)?
            .filter(|(start, length)| start + length >= end)
            .ok_or_else(|| Self::bad(block, format!("{count} blocks allocated that are in use")))?;
        if start < block {
            self.put(start, block - start)?;
        } else {
            self.tree.delete(self.nodes, self.obsolete, &key::free(start))?;
        }
        if start + length > end {
            self.put(end, start + length - end)?;
        }
        self.change_group_count(block, |free| free.checked_sub(count))
    }

    /// Gives `[block, block + count)` back, joined with free neighbours in the same group.
    fn give(&mut self, block: u64, count: u64) -> Result<()> {
        self.check_range(block, count)?;
        let group = self.geometry.group_range(self.geometry.group_of(block));
        let (mut start, mut end) = (block, block + count);
        if let Some((before, length)) = self.extent_at_or_before(block)? {
            if before + length > block {
                return Err(Self::bad(block, format!("{count} blocks freed that are free")).into());
            }
            if before + length == block && before >= group.start {
                start = before;
            }
        }
        let next = self.extent_at_or_before(end)?.filter(|(next, _)| *next > block);
        if let Some((next, length)) = next {
            if next < end {
                return Err(Self::bad(block, format!("{count} blocks freed, some free")).into());
            }
            if next < group.end {
                end = next + length;
                self.tree.delete(self.nodes, self.obsolete, &key::free(next))?;
            }
        }
        self.put(start, end - start)?;
        self.change_group_count(block, |free| free.checked_add(count))
    }

    fn put(&mut self, block: u64, count: u64) -> Result<()> {
        let value = count.to_le_bytes();
        self.tree.put(self.nodes, self.obsolete, &key::free(block), &value)?;
        Ok(())
    }

    fn extent_at_or_before(&self, block: u64) -> Result<Option<(u64, u64)>> {
        let found = self.tree.floor_with(self.nodes, &key::free(block), |key, value| {
            let FreeKey::Extent(start) = key::decode_free(key)? else { return Ok(None) };
            let length = key::decode_free_value(value)?;
            if length == 0 || start.checked_add(length).is_none() {
                return Err(Self::bad(start, format!("free extent of {length} blocks")));
            }
            Ok(Some((start, length)))
        })?;
        Ok(found.unwrap_or(Ok(None))?)
    }

    fn change_group_count(
        &mut self,
        block: u64,
        change: impl FnOnce(u64) -> Option<u64>,
    ) -> Result<()> {
        let group = u32::try_from(self.geometry.group_of(block)).unwrap_or(u32::MAX);
        let key = key::group(group);
        let free =
            self.tree.get_with(self.nodes, &key, key::decode_free_value)?.unwrap_or(Ok(0))?;
        let free = change(free)
            .ok_or_else(|| Self::bad(block, format!("group {group} counts {free} free blocks")))?;
        self.tree.put(self.nodes, self.obsolete, &key, &free.to_le_bytes())?;
        Ok(())
    }

    fn check_range(&self, block: u64, count: u64) -> Result<()> {
        let one_group = self.geometry.group_of(block)
            == self.geometry.group_of(block.saturating_add(count.saturating_sub(1)));
        if self.geometry.holds(block, count) && one_group {
            return Ok(());
        }
        Err(Self::bad(block, format!("{count} blocks outside one group's data area")).into())
    }

    fn bad(block: u64, problem: String) -> Corruption {
        Corruption::new("free tree", block, problem)
    }
}
