//! Walks the leaves of a tree in key order, reading many at once.
//!
//! Called by [`crate::stream`] and by repair. The pass over inner nodes ([`crate::passes::nodes`])
//! ran before and reported what is wrong there; edges that it refused are skipped in silence.
//!
//! Bounded: an edge is followed only if the pass over inner nodes followed it, and that pass
//! follows each node's blocks once, so a walk ends after as many nodes as the volume holds.

use crate::node_batch::{BATCH_NODES, NodeBatch};
use crate::volume::Volume;
use ashlar_format::NODE_SIZE;
use ashlar_format::key::TreeId;
use ashlar_format::node::{NodePointer, NodeRef};
use std::collections::HashSet;

/// Children that must not be followed: block of the parent and position in it; of a root, block 0
/// and the tree's number.
pub(crate) type RefusedEdges = HashSet<(u64, usize)>;

/// The edge to a tree's root.
pub(crate) fn root_edge(tree: TreeId) -> (u64, usize) {
    (0, tree as usize)
}

/// Where a leaf stands and what its parents say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeafPlace {
    pub(crate) pointer: NodePointer,
    /// No key below it belongs here.
    pub(crate) lower: Box<[u8]>,
    /// Keys from here on belong to the next leaf; `None` on the right edge.
    pub(crate) upper: Option<Box<[u8]>>,
}

/// An inner node on the way to the current leaf.
#[derive(Debug)]
struct Frame {
    page: Box<[u8; NODE_SIZE]>,
    block: u64,
    next: usize,
    lower: Box<[u8]>,
    upper: Option<Box<[u8]>>,
}

impl Frame {
    fn node(&self) -> NodeRef<'_> {
        NodeRef::new(&self.page)
    }

    /// Bounds of child `index`.
    fn bounds(&self, index: usize) -> (Box<[u8]>, Option<Box<[u8]>>) {
        let node = self.node();
        let lower = node.key(index).max(&self.lower).into();
        let upper = if index + 1 < node.count() {
            Some(node.key(index + 1).into())
        } else {
            self.upper.clone()
        };
        (lower, upper)
    }
}

/// The leaves of one tree.
#[derive(Debug)]
pub(crate) struct LeafWalk<'a> {
    volume: &'a Volume<'a>,
    tree: TreeId,
    refused: &'a RefusedEdges,
    frames: Vec<Frame>,
    places: Vec<LeafPlace>,
    batch: Option<NodeBatch>,
    /// Leaf of the batch that is next.
    next: usize,
}

impl<'a> LeafWalk<'a> {
    pub(crate) fn new(volume: &'a Volume<'a>, tree: TreeId, refused: &'a RefusedEdges) -> Self {
        let mut walk = Self {
            volume,
            tree,
            refused,
            frames: Vec::new(),
            places: Vec::new(),
            batch: None,
            next: 0,
        };
        if let Some((pointer, level)) = volume.root(tree)
            && !refused.contains(&root_edge(tree))
        {
            if level == 0 {
                walk.load(vec![LeafPlace { pointer, lower: Box::default(), upper: None }]);
            } else {
                walk.descend(pointer, level, Box::default(), None);
            }
        }
        walk
    }

    pub(crate) fn tree(&self) -> TreeId {
        self.tree
    }

    /// Goes to the next leaf; false at the end.
    pub(crate) fn advance(&mut self) -> bool {
        loop {
            if self.next < self.places.len() {
                self.next += 1;
                return true;
            }
            let Some(frame) = self.frames.last_mut() else { return false };
            if frame.next >= frame.node().count() {
                self.frames.pop();
            } else if frame.node().level() == 1 {
                self.load_children();
            } else {
                self.descend_next();
            }
        }
    }

    /// The leaf that [`Self::advance`] went to: its place, and its node or what is wrong with it.
    pub(crate) fn leaf(&self) -> Option<(&LeafPlace, Result<NodeRef<'_>, &str>)> {
        let index = self.next.checked_sub(1)?;
        Some((self.places.get(index)?, self.batch.as_ref()?.get(index)))
    }

    /// Loads the next few leaves below the last frame, which is at level 1.
    fn load_children(&mut self) {
        let Some(frame) = self.frames.last_mut() else { return };
        let end = frame.node().count().min(frame.next + BATCH_NODES);
        let mut places = Vec::with_capacity(end - frame.next);
        for index in frame.next..end {
            if self.refused.contains(&(frame.block, index)) {
                continue;
            }
            // Inner nodes verified: their values are as long as a pointer.
            if let Ok(pointer) = NodePointer::decode(frame.node().value(index)) {
                let (lower, upper) = frame.bounds(index);
                places.push(LeafPlace { pointer, lower, upper });
            }
        }
        frame.next = end;
        self.load(places);
    }

    fn load(&mut self, places: Vec<LeafPlace>) {
        let pointers: Vec<NodePointer> = places.iter().map(|place| place.pointer).collect();
        self.batch = Some(NodeBatch::read(self.volume, self.tree, 0, &pointers));
        self.places = places;
        self.next = 0;
    }

    fn descend_next(&mut self) {
        let Some(frame) = self.frames.last_mut() else { return };
        let index = frame.next;
        frame.next += 1;
        if self.refused.contains(&(frame.block, index)) {
            return;
        }
        let Ok(pointer) = NodePointer::decode(frame.node().value(index)) else { return };
        let level = frame.node().level() - 1;
        let (lower, upper) = frame.bounds(index);
        self.descend(pointer, level, lower, upper);
    }

    /// Opens an inner node; one that cannot be read was reported and refused before.
    fn descend(
        &mut self,
        pointer: NodePointer,
        level: u8,
        lower: Box<[u8]>,
        upper: Option<Box<[u8]>>,
    ) {
        let batch = NodeBatch::read(self.volume, self.tree, level, &[pointer]);
        if let Ok(page) = batch.page(0) {
            let page = Box::new(*page);
            self.frames.push(Frame { page, block: pointer.block, next: 0, lower, upper });
        }
    }
}
