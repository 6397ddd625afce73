//! Descents that change nothing: lookups and scans.
//!
//! A descent follows held children by reference and reads the others through the source. It
//! recurses once a level; levels fall strictly, so [`LEVEL_MAX`] bounds it.

use super::Root;
use crate::node::Node;
use crate::{NodeSource, Result};
use ashlar_format::Corruption;
use ashlar_format::key::TreeId;
use ashlar_format::node::{LEVEL_MAX, NodePointer};
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

/// Reads nodes and checks that they fit where they are found.
#[derive(Clone, Copy)]
pub(super) struct Reader<'s> {
    pub(super) source: &'s dyn NodeSource,
    pub(super) id: TreeId,
}

/// A child: held by its parent, or read for now.
pub(super) enum Child<'n> {
    Held(&'n Arc<Node>),
    Read(Arc<Node>),
}

impl Deref for Child<'_> {
    type Target = Arc<Node>;

    #[inline]
    fn deref(&self) -> &Arc<Node> {
        match self {
            Self::Held(node) => node,
            Self::Read(node) => node,
        }
    }
}

type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

impl Reader<'_> {
    /// The root, `None` of a tree without entries.
    pub(super) fn root<'t>(&self, root: &'t Root) -> Result<Option<Child<'t>>> {
        match root {
            Root::Empty => Ok(None),
            Root::Held(node) => Ok(Some(Child::Held(node))),
            Root::Home { pointer, level } => {
                if *level > LEVEL_MAX {
                    return Err(self.damage(*pointer, format!("level {level}")).into());
                }
                let node = self.source.read(self.id, *level, *pointer)?;
                self.check_fit(&node, *level, *pointer, Bounds { lower: &[], upper: None })?;
                Ok(Some(Child::Read(node)))
            }
        }
    }

    /// The child at `index` of `parent`, whose keys end below `upper`.
    #[inline]
    pub(super) fn child<'n>(
        &self,
        parent: &'n Node,
        index: usize,
        upper: Option<&[u8]>,
    ) -> Result<Child<'n>> {
        match parent.held(index) {
            Some(node) => Ok(Child::Held(node)),
            None => Ok(Child::Read(self.read_child(parent, index, upper)?)),
        }
    }

    fn read_child(&self, parent: &Node, index: usize, upper: Option<&[u8]>) -> Result<Arc<Node>> {
        let pointer = parent.pointer(index)?;
        let level = parent.level() - 1;
        let node = self.source.read(self.id, level, pointer)?;
        let bounds = Bounds { lower: parent.page().key(index), upper: parent.upper(index, upper) };
        self.check_fit(&node, level, pointer, bounds)?;
        Ok(node)
    }

    /// Refuses a node that is sound by itself but cannot be here.
    fn check_fit(
        &self,
        node: &Node,
        level: u8,
        pointer: NodePointer,
        bounds: Bounds<'_>,
    ) -> Result<()> {
        let bad = |problem: &str| Err(self.damage(pointer, problem.into()).into());
        if node.page().tree_code() != self.id as u8 || node.level() != level {
            return bad("it is at another place in the tree, too");
        }
        let Some(last) = node.count().checked_sub(1) else {
            return bad("a node without cells");
        };
        let first = node.page().key(0);
        if first < bounds.lower || (level > 0 && first != bounds.lower) {
            return bad("its first key does not fit its parent");
        }
        if bounds.upper.is_some_and(|upper| node.page().key(last) >= upper) {
            return bad("its last key does not fit its parent");
        }
        Ok(())
    }

    pub(super) fn damage(&self, pointer: NodePointer, problem: String) -> Corruption {
        Corruption::new(self.id.node_structure(), pointer.block, problem)
    }

    /// Calls `found` with the value of `key`.
    pub(super) fn find(&self, root: &Root, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<()> {
        match self.root(root)? {
            Some(root) => self.find_below(&root, None, key, found),
            None => Ok(()),
        }
    }

    fn find_below(
        &self,
        node: &Node,
        upper: Option<&[u8]>,
        key: &[u8],
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        if node.level() == 0 {
            if let Ok(index) = node.page().search(key) {
                found(node.page().value(index));
            }
            return Ok(());
        }
        let index = node.child_index(key);
        let child = self.child(node, index, upper)?;
        self.find_below(&child, node.upper(index, upper), key, found)
    }

    /// Calls `found` with the greatest entry, of those not above `limit` if there is one.
    pub(super) fn greatest(
        &self,
        root: &Root,
        limit: Option<&[u8]>,
        found: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        if let Some(root) = self.root(root)? {
            let _found = self.greatest_below(&root, None, limit, found)?;
        }
        Ok(())
    }

    fn greatest_below(
        &self,
        node: &Node,
        upper: Option<&[u8]>,
        limit: Option<&[u8]>,
        found: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<ControlFlow<()>> {
        let page = node.page();
        if node.level() == 0 {
            let count = limit.map_or(node.count(), |limit| match page.search(limit) {
                Ok(index) => index + 1,
                Err(index) => index,
            });
            let Some(index) = count.checked_sub(1) else { return Ok(ControlFlow::Continue(())) };
            found(page.key(index), page.value(index));
            return Ok(ControlFlow::Break(()));
        }
        // A leaf may begin above its lower bound: then the entry is in the leaf before it.
        let first = limit.map_or(node.count() - 1, |limit| node.child_index(limit));
        for index in (0..=first).rev() {
            let child = self.child(node, index, upper)?;
            if self.greatest_below(&child, node.upper(index, upper), limit, found)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Calls `visit` with the entries at and behind `from` until it breaks.
    pub(super) fn for_each_from(&self, root: &Root, from: &[u8], visit: Visit<'_>) -> Result<()> {
        if let Some(root) = self.root(root)? {
            let _stopped = self.for_each_below(&root, None, Some(from), visit)?;
        }
        Ok(())
    }

    fn for_each_below(
        &self,
        node: &Node,
        upper: Option<&[u8]>,
        mut from: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>> {
        let page = node.page();
        if node.level() == 0 {
            let start = from.map_or(0, |from| page.search(from).unwrap_or_else(|index| index));
            for index in start..node.count() {
                if visit(page.key(index), page.value(index)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            return Ok(ControlFlow::Continue(()));
        }
        let start = from.map_or(0, |from| node.child_index(from));
        for index in start..node.count() {
            let child = self.child(node, index, upper)?;
            let flow = self.for_each_below(&child, node.upper(index, upper), from.take(), visit)?;
            if flow.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What a parent says about the keys of a child.
#[derive(Clone, Copy)]
struct Bounds<'k> {
    lower: &'k [u8],
    upper: Option<&'k [u8]>,
}
