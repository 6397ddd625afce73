//! First pass: inner nodes of every tree, and the blocks that all nodes own.
//!
//! Leaves are not read here, only claimed: their address is in their parent.
//!
//! Invariants
//! * (I1) a node is followed only if its blocks belong to no other node: a tree that shares nodes,
//!   which no writer makes, would otherwise take for ever to walk.
//! * (I2) every edge that is not followed is in [`NodePass::refused`] and was reported.

use crate::blocks::BlockSet;
use crate::finding::{FindingKind, Location};
use crate::node_batch::NodeBatch;
use crate::report::Reporter;
use crate::stream::key_outside;
use crate::volume::Volume;
use crate::walk::{RefusedEdges, root_edge};
use ashlar_format::NODE_BLOCKS;
use ashlar_format::key::TreeId;
use ashlar_format::node::{NodePointer, NodeRef};

/// Inner nodes read together; few, since one batch is held at each level.
const BATCH: usize = 64;

/// What the pass found out.
#[derive(Debug, Default)]
pub(crate) struct NodePass {
    /// Blocks of superblock, log and nodes.
    pub(crate) owned: BlockSet,
    pub(crate) refused: RefusedEdges,
}

/// A pointer to a child, and what its parent says of the keys below it.
#[derive(Debug)]
struct Child {
    pointer: NodePointer,
    edge: (u64, usize),
    lower: Box<[u8]>,
    upper: Option<Box<[u8]>>,
}

impl NodePass {
    /// Runs the pass over the trees of `volume`.
    pub(crate) fn run(volume: &Volume<'_>, reporter: &mut Reporter<'_>) -> Self {
        Self::run_with(volume, reporter, &mut |_, _| {})
    }

    /// Runs the pass and calls `on_node` with the tree and the first block of every node.
    pub(crate) fn run_with(
        volume: &Volume<'_>,
        reporter: &mut Reporter<'_>,
        on_node: &mut dyn FnMut(TreeId, u64),
    ) -> Self {
        let mut pass = Self::default();
        pass.owned.insert(0, volume.superblock.data_start());
        for tree in TreeId::ALL {
            if let Some((pointer, level)) = volume.root(tree) {
                let lower = Box::default();
                let root = Child { pointer, edge: root_edge(tree), lower, upper: None };
                let pass = &mut pass;
                let mut walk = Walk { volume, tree, reporter, pass, on_node };
                walk.visit(level, vec![root]);
            }
        }
        pass
    }
}

/// Walks one tree.
struct Walk<'a, 'r> {
    volume: &'a Volume<'a>,
    tree: TreeId,
    reporter: &'a mut Reporter<'r>,
    pass: &'a mut NodePass,
    on_node: &'a mut dyn FnMut(TreeId, u64),
}

impl Walk<'_, '_> {
    /// Claims children at `level` and follows those that are inner nodes. The recursion is as deep
    /// as the level of the root, which the superblock's decoder bounds.
    fn visit(&mut self, level: u8, mut children: Vec<Child>) {
        children.retain(|child| self.claim(child));
        if level == 0 {
            return;
        }
        for group in children.chunks(BATCH) {
            let pointers: Vec<NodePointer> = group.iter().map(|child| child.pointer).collect();
            let batch = NodeBatch::read(self.volume, self.tree, level, &pointers);
            for (index, child) in group.iter().enumerate() {
                match batch.get(index) {
                    Ok(node) => {
                        let below = self.children(child, node);
                        self.visit(level - 1, below);
                    }
                    Err(problem) => {
                        let problem = problem.to_owned();
                        self.refuse(child, FindingKind::NodeDamaged { problem });
                    }
                }
            }
        }
    }

    /// I1
    fn claim(&mut self, child: &Child) -> bool {
        let block = child.pointer.block;
        if !self.volume.holds(block, NODE_BLOCKS) {
            let problem = "its address is outside the data area".to_owned();
            self.refuse(child, FindingKind::NodeDamaged { problem });
            return false;
        }
        if self.pass.owned.insert(block, NODE_BLOCKS) > 0 {
            self.refuse(child, FindingKind::NodeReachedTwice);
            return false;
        }
        (self.on_node)(self.tree, block);
        true
    }

    /// I2
    fn refuse(&mut self, child: &Child, kind: FindingKind) {
        self.pass.refused.insert(child.edge);
        self.reporter.set_incomplete(self.tree);
        self.reporter.add(Location::node(self.tree, child.pointer.block), kind);
    }

    fn children(&mut self, parent: &Child, node: NodeRef<'_>) -> Vec<Child> {
        let block = parent.pointer.block;
        let upper = parent.upper.as_deref();
        // The first key may lie below what is really there: see the format of nodes.
        let lower = parent.lower.as_ref().min(node.key(0));
        if let Some(key) = key_outside(node, lower, upper) {
            let kind = FindingKind::KeyOutsideNode { key: key.into() };
            self.reporter.add(Location::node(self.tree, block), kind);
        }
        (0..node.count())
            .filter_map(|index| {
                let pointer = NodePointer::decode(node.value(index)).ok()?;
                let lower = node.key(index).max(&parent.lower).into();
                let upper = match index + 1 < node.count() {
                    true => Some(node.key(index + 1).into()),
                    false => parent.upper.clone(),
                };
                Some(Child { pointer, edge: (block, index), lower, upper })
            })
            .collect()
    }
}
