//! Entries of a tree in key order, as they are after replay: leaves and overlay merged on the fly.
//!
//! Called by the passes; reports damaged leaves and keys that stand outside their leaf's bounds.
//!
//! Invariant (I1): keys come out strictly ascending whatever the leaves hold; what would break the
//! order was reported and is left out.

use crate::finding::{FindingKind, Location};
use crate::replay::Overlay;
use crate::report::Reporter;
use crate::volume::Volume;
use crate::walk::{LeafWalk, RefusedEdges};
use ashlar_format::key::TreeId;
use ashlar_format::node::NodeRef;
use std::cmp::Ordering;
use std::collections::btree_map;

/// Where the current entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Leaf,
    Overlay,
    End,
}

/// Entries of one tree.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    walk: LeafWalk<'a>,
    /// Cell of the current leaf that is next, or is current.
    cell: usize,
    cells: usize,
    /// Last key of the leaf before: I1.
    floor: Option<Box<[u8]>>,
    overlay: btree_map::Iter<'a, Box<[u8]>, Option<Box<[u8]>>>,
    /// Entry of the overlay that is next, or is current.
    ahead: Option<(&'a [u8], Option<&'a [u8]>)>,
    source: Source,
    /// Entries of the leaves, without the overlay.
    leaf_entries: u64,
}

impl<'a> Stream<'a> {
    /// Stands at the first entry.
    pub(crate) fn new(
        volume: &'a Volume<'a>,
        tree: TreeId,
        refused: &'a RefusedEdges,
        overlay: &'a Overlay,
        reporter: &mut Reporter<'_>,
    ) -> Self {
        let mut stream = Self {
            walk: LeafWalk::new(volume, tree, refused),
            cell: 0,
            cells: 0,
            floor: None,
            overlay: overlay.iter(),
            ahead: None,
            source: Source::End,
            leaf_entries: 0,
        };
        stream.next_overlay();
        stream.settle(reporter);
        stream
    }

    pub(crate) fn tree(&self) -> TreeId {
        self.walk.tree()
    }

    /// Entries that the leaves held so far.
    pub(crate) fn leaf_entries(&self) -> u64 {
        self.leaf_entries
    }

    /// The current entry: key and value.
    pub(crate) fn current(&self) -> Option<(&[u8], &[u8])> {
        match self.source {
            Source::End => None,
            Source::Leaf => {
                let node = self.node()?;
                Some((node.key(self.cell), node.value(self.cell)))
            }
            Source::Overlay => {
                let (key, value) = self.ahead?;
                Some((key, value?))
            }
        }
    }

    /// Goes to the next entry.
    pub(crate) fn advance(&mut self, reporter: &mut Reporter<'_>) {
        match self.source {
            Source::End => return,
            Source::Leaf => self.cell += 1,
            Source::Overlay => self.next_overlay(),
        }
        self.settle(reporter);
    }

    fn next_overlay(&mut self) {
        self.ahead = self.overlay.next().map(|(key, value)| (&**key, value.as_deref()));
    }

    fn node(&self) -> Option<NodeRef<'_>> {
        self.walk.leaf()?.1.ok()
    }

    /// Finds the entry to be current: the lower of leaf and overlay. Where both have the key the
    /// overlay counts, and a key that it deletes is passed over.
    fn settle(&mut self, reporter: &mut Reporter<'_>) {
        loop {
            while self.cell >= self.cells {
                if !self.next_leaf(reporter) {
                    break;
                }
            }
            let leaf_has = self.cell < self.cells;
            let Some((overlay_key, overlay_value)) = self.ahead else {
                self.source = if leaf_has { Source::Leaf } else { Source::End };
                return;
            };
            let order = match self.node().filter(|_| leaf_has) {
                Some(node) => node.key(self.cell).cmp(overlay_key),
                None => Ordering::Greater,
            };
            match order {
                Ordering::Less => {
                    self.source = Source::Leaf;
                    return;
                }
                Ordering::Equal => self.cell += 1,
                Ordering::Greater => {}
            }
            if overlay_value.is_some() {
                self.source = Source::Overlay;
                return;
            }
            self.next_overlay();
        }
    }

    /// Opens the next leaf that can be read; false at the end.
    fn next_leaf(&mut self, reporter: &mut Reporter<'_>) -> bool {
        let tree = self.walk.tree();
        if let Some(node) = self.node()
            && node.count() > 0
        {
            let last = node.key(node.count() - 1);
            if self.floor.as_deref().is_none_or(|floor| floor < last) {
                self.floor = Some(last.into());
            }
        }
        (self.cell, self.cells) = (0, 0);
        while self.walk.advance() {
            let Some((place, node)) = self.walk.leaf() else { return false };
            let at = Location::node(tree, place.pointer.block);
            match node {
                Ok(node) => {
                    if let Some(key) = key_outside(node, &place.lower, place.upper.as_deref()) {
                        let key = key.into();
                        reporter.add(at, FindingKind::KeyOutsideNode { key });
                    }
                    self.cells = node.count();
                    self.leaf_entries += self.cells as u64;
                    self.cell = self.floor.as_deref().map_or(0, |floor| above(node, floor));
                    return true;
                }
                Err(problem) => {
                    let problem = problem.to_owned();
                    reporter.set_incomplete(tree);
                    reporter.add(at, FindingKind::NodeDamaged { problem });
                }
            }
        }
        false
    }
}

/// First cell with a key above `floor`.
fn above(node: NodeRef<'_>, floor: &[u8]) -> usize {
    match node.search(floor) {
        Ok(index) => index + 1,
        Err(index) => index,
    }
}

/// First key of a node outside `[lower, upper)`.
pub(crate) fn key_outside<'n>(
    node: NodeRef<'n>,
    lower: &[u8],
    upper: Option<&[u8]>,
) -> Option<&'n [u8]> {
    let count = node.count();
    if count == 0 {
        return None;
    }
    let (first, last) = (node.key(0), node.key(count - 1));
    if first < lower {
        return Some(first);
    }
    upper.filter(|upper| last >= *upper).map(|_| last)
}
