//! Checking all invariants of a tree at once, for tests and for scrubbing.

use super::read::Reader;
use super::{Root, Tree};
use crate::Result;
use crate::node::{Bounds, Node};
use ashlar_format::Corruption;
use ashlar_format::node::NodePointer;

/// What [`Tree::verify`] counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeShape {
    /// Entries.
    pub entries: u64,
    /// Leaves.
    pub leaves: u64,
    /// Inner nodes.
    pub inner_nodes: u64,
    /// Nodes that are not at home.
    pub dirty_nodes: u64,
    /// Nodes at home that the tree holds besides its root.
    pub pinned_nodes: u64,
    /// Bytes of cells and slots in leaves.
    pub leaf_bytes: u64,
}

struct Check<'a> {
    reader: &'a Reader<'a>,
    shape: TreeShape,
    last: Option<Vec<u8>>,
}

pub(super) fn verify(tree: &Tree, reader: &Reader<'_>) -> Result<TreeShape> {
    let mut check = Check { reader, shape: TreeShape::default(), last: None };
    if let Some(root) = reader.root(&tree.root)? {
        check.node(&root, Bounds::ALL)?;
    }
    if check.shape.entries != tree.count {
        let problem = format!("{} entries, the root counts {}", check.shape.entries, tree.count);
        return Err(reader.damage(NO_HOME, problem).into());
    }
    if let Root::Empty = tree.root {
        debug_assert_eq!(tree.count, 0);
    }
    Ok(check.shape)
}

const NO_HOME: NodePointer = NodePointer { block: 0, generation: 0, checksum: 0 };

impl Check<'_> {
    fn node(&mut self, node: &Node, bounds: Bounds<'_>) -> Result<()> {
        if let Some(defect) = node.page().defect() {
            return Err(self.wrong(node, defect).into());
        }
        if node.count() == 0 || node.tree() != Some(self.reader.id) {
            return Err(self.wrong(node, "empty, or of another tree").into());
        }
        if !node.fits(bounds) {
            return Err(self.wrong(node, "its keys do not fit its parent's").into());
        }
        self.shape.dirty_nodes += u64::from(node.home().is_none());
        if node.level() == 0 { self.leaf(node) } else { self.inner(node, bounds) }
    }

    fn leaf(&mut self, node: &Node) -> Result<()> {
        for index in 0..node.count() {
            let key = node.page().key(index);
            if self.last.as_deref().is_some_and(|last| last >= key) {
                return Err(self.wrong(node, "keys do not ascend").into());
            }
            self.last.get_or_insert_default().splice(.., key.iter().copied());
        }
        self.shape.leaves += 1;
        self.shape.entries += node.count() as u64;
        self.shape.leaf_bytes += node.page().used() as u64;
        Ok(())
    }

    fn inner(&mut self, node: &Node, bounds: Bounds<'_>) -> Result<()> {
        self.shape.inner_nodes += 1;
        for index in 0..node.count() {
            let lower = node.page().key(index);
            if index > 0 && self.last.as_deref().is_none_or(|last| last >= lower) {
                return Err(self.wrong(node, "a lower bound not above the keys before it").into());
            }
            let child = self.reader.child(node, index, bounds)?;
            if child.level() + 1 != node.level() {
                return Err(self.wrong(node, "a child of another level").into());
            }
            if node.home().is_some() && child.home().is_none() {
                return Err(self.wrong(node, "at home with a dirty child").into());
            }
            let held = node.held(index).is_some();
            self.shape.pinned_nodes += u64::from(held && child.home().is_some());
            self.node(&child, bounds.of_child(node.page(), index))?;
        }
        Ok(())
    }

    fn wrong(&self, node: &Node, problem: &str) -> Corruption {
        self.reader.damage(node.home().unwrap_or(NO_HOME), problem.into())
    }
}
