//! A node in memory: its page, the children that must not be dropped, and where it is on disk.
//!
//! Called by [`crate::tree`] and by the store, which makes nodes out of what it reads.
//!
//! Invariants:
//! - I1: the address in an inner node's cell is the child's home if, and only if, the node holds
//!   no `Arc` of that child. Otherwise the child itself knows.
//! - I2: a node at home has only children at home, whether it holds them or not.
//! - I3: a node that anyone else can reach never changes, but for the one-time setting of its
//!   home. All changes go through `&mut Node`, which [`Arc::get_mut`] gives to the only owner.

use crate::Result;
use crate::home::{Gauge, HomeCell};
use crate::page::{CAPACITY, Cut, Page, Side};
use ashlar_format::key::TreeId;
use ashlar_format::node::{Expected, NodePointer, NodeRef, SLOT_BYTES};
use ashlar_format::{Corruption, NODE_SIZE};
use std::sync::Arc;

/// Below this many bytes of cells a node is merged with a neighbour, if both fit in one.
const UNDERFLOW: usize = CAPACITY / 4;

/// When a leaf that loses an entry should be merged with a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merge {
    /// It has none: a root.
    Never,
    /// When it falls below [`UNDERFLOW`], and each time it has halved since: a leaf between full
    /// ones would try in vain with each entry otherwise.
    WhenHalved,
}

/// A node in memory.
#[derive(Debug)]
pub struct Node {
    page: Page,
    /// Of an inner node, by cell; empty when it holds no child.
    children: Vec<Option<Arc<Node>>>,
    home: Arc<HomeCell>,
}

/// Which keys may be below a node: from `lower` on and, unless it is at the right edge of its
/// tree, below `upper`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'k> {
    pub(crate) lower: &'k [u8],
    pub(crate) upper: Option<&'k [u8]>,
}

impl<'k> Bounds<'k> {
    /// Of a root.
    pub(crate) const ALL: Self = Self { lower: &[], upper: None };

    /// Of the child at `index` of an inner node that has these bounds.
    #[inline]
    pub(crate) fn of_child(self, page: &'k Page, index: usize) -> Self {
        let lower = if index > 0 { page.key(index) } else { self.lower };
        let upper = if index + 1 < page.count() { Some(page.key(index + 1)) } else { self.upper };
        Self { lower, upper }
    }
}

/// The right half of a node that was full, on its way into the parent.
#[derive(Debug)]
pub(crate) struct Split {
    /// Lower bound of the keys in `right`, above all on the left.
    pub(crate) separator: Vec<u8>,
    pub(crate) right: Arc<Node>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.home.dropped();
    }
}

impl Node {
    /// Makes a node of bytes read from a device, after verifying them. It is at home.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] when they are not the expected node.
    pub fn verified(bytes: Box<[u8; NODE_SIZE]>, expected: &Expected<'_>) -> Result<Self> {
        NodeRef::verify(&bytes, expected)?;
        let bad = |problem: &str| {
            Corruption::new(expected.tree.node_structure(), expected.pointer.block, problem)
        };
        let page = Page::from_verified(bytes).ok_or_else(|| bad("cells overlap"))?;
        if page.count() == 0 {
            return Err(bad("a node without cells").into());
        }
        Ok(Self { page, children: Vec::new(), home: HomeCell::at(expected.pointer) })
    }

    /// An empty dirty node.
    pub(crate) fn empty(tree: TreeId, level: u8, gauge: &Gauge) -> Self {
        Self { page: Page::empty(tree, level), children: Vec::new(), home: HomeCell::dirty(gauge) }
    }

    /// A copy for an owner of its own, with the given home.
    pub(crate) fn copy(&self, home: Arc<HomeCell>) -> Self {
        Self { page: self.page.clone(), children: self.children.clone(), home }
    }

    /// Level, 0 for a leaf.
    #[inline]
    #[must_use]
    pub fn level(&self) -> u8 {
        self.page.level()
    }

    /// The tree it belongs to.
    #[must_use]
    pub fn tree(&self) -> Option<TreeId> {
        TreeId::from_code(self.page.tree_code())
    }

    /// Where it is on disk; `None` while it is dirty.
    #[inline]
    #[must_use]
    pub fn home(&self) -> Option<NodePointer> {
        self.home.get()
    }

    #[inline]
    pub(crate) fn page(&self) -> &Page {
        &self.page
    }

    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.page.count()
    }

    pub(crate) fn home_cell(&self) -> &Arc<HomeCell> {
        &self.home
    }

    /// Makes the node dirty; returns the cell of what is on disk.
    pub(crate) fn renew_home(&mut self, gauge: &Gauge) -> Arc<HomeCell> {
        std::mem::replace(&mut self.home, HomeCell::dirty(gauge))
    }

    /// The child of cell `index`, where it is held.
    #[inline]
    pub(crate) fn held(&self, index: usize) -> Option<&Arc<Self>> {
        self.children.get(index)?.as_ref()
    }

    /// The slot of the child of cell `index`, where it is held.
    pub(crate) fn held_mut(&mut self, index: usize) -> Option<&mut Arc<Self>> {
        self.children.get_mut(index)?.as_mut()
    }

    /// Whether any child is held.
    pub(crate) fn holds_any(&self) -> bool {
        self.children.iter().any(Option::is_some)
    }

    /// Address in cell `index`: the child's home unless the child is held (I1).
    pub(crate) fn pointer(&self, index: usize) -> Result<NodePointer> {
        Ok(NodePointer::decode(self.page.value(index))?)
    }

    /// Cell whose child covers `key`.
    #[inline]
    pub(crate) fn child_index(&self, key: &[u8]) -> usize {
        // The key of the first cell is empty, so no key is below it.
        self.page.search(key).unwrap_or_else(|index| index.saturating_sub(1))
    }

    /// Whether the keys of a node that has been read fit where it was found.
    pub(crate) fn fits(&self, bounds: Bounds<'_>) -> bool {
        let first = usize::from(self.level() > 0);
        if first == 1 && !self.page.key(0).is_empty() {
            return false;
        }
        if self.count() == first {
            return first == 1;
        }
        self.page.key(first) >= bounds.lower
            && bounds.upper.is_none_or(|upper| self.page.key(self.count() - 1) < upper)
    }

    /// The page, and the slot of the child at `index` to hold it in.
    pub(crate) fn parts_mut(&mut self, index: usize) -> (&Page, &mut Option<Arc<Self>>) {
        self.hold_slots();
        (&self.page, &mut self.children[index])
    }

    fn hold_slots(&mut self) {
        if self.children.is_empty() {
            self.children.resize(self.page.count(), None);
        }
    }

    /// Lets go of the child at `index`, which is at home.
    pub(crate) fn release(&mut self, index: usize) -> Option<Arc<Self>> {
        let pointer = self.held(index)?.home()?;
        self.page.set_pointer(index, &pointer); // I1
        self.children[index].take()
    }

    /// Gives back the memory for children when none is held.
    pub(crate) fn trim(&mut self) {
        if !self.holds_any() {
            self.children = Vec::new();
        }
    }

    /// Whether a merge should be tried.
    pub(crate) fn underflows(&self) -> bool {
        self.page.used() < UNDERFLOW
    }

    /// Sets the value of `key` in a leaf; whether it replaced one, and what no longer fits.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], gauge: &Gauge) -> (bool, Option<Split>) {
        let (index, replaced) = match self.page.search(key) {
            Ok(index) if self.page.replace(index, key, value) => return (true, None),
            Ok(index) => {
                self.page.remove(index);
                (index, true)
            }
            Err(index) => (index, false),
        };
        (replaced, self.insert(index, key, value, None, gauge))
    }

    /// Removes `key` from a leaf; whether it was there.
    pub(crate) fn delete(&mut self, key: &[u8]) -> bool {
        let found = self.page.search(key);
        if let Ok(index) = found {
            self.page.remove(index);
        }
        found.is_ok()
    }

    /// As [`Self::delete`], unless the leaf would be empty, or `merge` says that a merge should be
    /// tried: then `None`, and nothing is changed.
    pub(crate) fn delete_unless_sparse(&mut self, key: &[u8], merge: Merge) -> Option<bool> {
        let Ok(index) = self.page.search(key) else { return Some(false) };
        let before = self.page.used();
        let after = before - self.page.view().cell_bytes(index) - SLOT_BYTES;
        let sparse = match merge {
            Merge::Never => false,
            Merge::WhenHalved => after < UNDERFLOW.min(1 << before.max(1).ilog2()),
        };
        if after == 0 || sparse {
            return None;
        }
        self.page.remove(index);
        Some(true)
    }

    /// Adds the right half of the split child at `index`.
    pub(crate) fn adopt(&mut self, index: usize, split: Split, gauge: &Gauge) -> Option<Split> {
        let Split { separator, right } = split;
        let unset = NodePointer { block: 0, generation: 0, checksum: 0 }.encode();
        self.hold_slots();
        self.insert(index + 1, &separator, &unset, Some(right), gauge)
    }

    /// Makes an empty inner node the parent of `left`, the left edge of the tree.
    pub(crate) fn adopt_first(&mut self, left: Arc<Self>) {
        let unset = NodePointer { block: 0, generation: 0, checksum: 0 }.encode();
        let fits = self.page.insert(0, &[], &unset);
        assert!(fits, "an empty node has room");
        self.children.push(Some(left));
    }

    fn insert(
        &mut self,
        index: usize,
        key: &[u8],
        value: &[u8],
        child: Option<Arc<Self>>,
        gauge: &Gauge,
    ) -> Option<Split> {
        if self.page.insert(index, key, value) {
            if let Some(child) = child {
                self.children.insert(index, Some(child));
            }
            return None;
        }
        let Cut { at, side } = self.page.cut(index, key.len(), value.len());
        let mut right = Self {
            page: self.page.split_off(at),
            children: self.children.split_off(at.min(self.children.len())),
            home: HomeCell::dirty(gauge),
        };
        let (half, index) = match side {
            Side::Left => (&mut *self, index),
            Side::Right => (&mut right, index - at),
        };
        let fits = half.page.insert(index, key, value);
        assert!(fits, "a cut leaves room for the cell");
        if let Some(child) = child {
            half.children.insert(index, Some(child));
        }
        let separator = self.separator(&right);
        if right.level() > 0 {
            let fits = right.page.rekey(0, &[]);
            assert!(fits, "no key is shorter");
        }
        Some(Split { separator, right: Arc::new(right) })
    }

    /// Lower bound of `right` that is above all of `self`: between inner nodes the key that is
    /// there already, between leaves the shortest that will do.
    fn separator(&self, right: &Self) -> Vec<u8> {
        let first = right.page.key(0);
        if self.level() > 0 {
            return first.to_vec();
        }
        let last = self.page.key(self.count() - 1);
        let common = last.iter().zip(first).take_while(|(left, right)| left == right).count();
        first[..first.len().min(common + 1)].to_vec()
    }

    /// Whether this node's cells and those of `right`, whose lower bound is `separator`, fit in
    /// one page.
    pub(crate) fn can_absorb(&self, right: &Self, separator: &[u8]) -> bool {
        let first_key = if self.level() > 0 { separator.len() } else { 0 };
        self.page.used() + first_key + right.page.used() <= CAPACITY
    }

    /// Appends all cells of `right`, the next node of the level, whose lower bound is `separator`.
    pub(crate) fn absorb(&mut self, right: &Self, separator: &[u8]) {
        let seam = self.count();
        self.page.append(&right.page, 0..right.count());
        if self.level() > 0 {
            self.children.resize(seam, None);
            self.children.extend((0..right.count()).map(|index| right.held(index).cloned()));
            let fits = self.page.rekey(seam, separator);
            assert!(fits, "room for the key has been counted");
        }
    }

    /// Removes the cell of a child, whose keys the one before it or, of the first, behind it covers
    /// from now on.
    pub(crate) fn remove_child(&mut self, index: usize) -> Option<Arc<Self>> {
        self.hold_slots();
        let child = self.children.remove(index);
        if index == 0 && self.count() > 1 {
            self.page.remove(0);
            let fits = self.page.rekey(0, &[]);
            assert!(fits, "no key is shorter");
        } else {
            self.page.remove(index);
        }
        child
    }
}
