//! Descents that change nothing: lookups and scans.
//!
//! A descent follows held children by reference and reads the others through the source. It
//! recurses once a level; levels fall strictly, so [`LEVEL_MAX`] bounds it.

use super::Root;
use crate::node::{Bounds, Node};
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
                let node = self.read_at(*pointer, *level)?;
                self.check_bounds(&node, *pointer, Bounds::ALL)?;
                Ok(Some(Child::Read(node)))
            }
        }
    }

    /// The child at `index` of `parent`, whose bounds are given.
    #[inline]
    pub(super) fn child<'n>(
        &self,
        parent: &'n Node,
        index: usize,
        bounds: Bounds<'_>,
    ) -> Result<Child<'n>> {
        if let Some(node) = parent.held(index) {
            return Ok(Child::Held(node));
        }
        let (node, pointer) = self.read_child_unbounded(parent, index)?;
        self.check_bounds(&node, pointer, bounds.of_child(parent.page(), index))?;
        Ok(Child::Read(node))
    }

    fn read_child_unbounded(
        &self,
        parent: &Node,
        index: usize,
    ) -> Result<(Arc<Node>, NodePointer)> {
        let pointer = parent.pointer(index)?;
        let node = self.read_at(pointer, parent.level() - 1)?;
        Ok((node, pointer))
    }

    /// Reads a node; one from a cache may have been verified for another place.
    fn read_at(&self, pointer: NodePointer, level: u8) -> Result<Arc<Node>> {
        let node = self.source.read(self.id, level, pointer)?;
        if node.page().tree_code() != self.id as u8 || node.level() != level {
            return Err(self.damage(pointer, "it is part of another tree or level".into()).into());
        }
        Ok(node)
    }

    /// Refuses a node that is sound by itself but whose keys cannot be here.
    fn check_bounds(&self, node: &Node, pointer: NodePointer, bounds: Bounds<'_>) -> Result<()> {
        if node.fits(bounds) {
            return Ok(());
        }
        Err(self.damage(pointer, "its keys do not fit its parent's".into()).into())
    }

    pub(super) fn damage(&self, pointer: NodePointer, problem: String) -> Corruption {
        Corruption::new(self.id.node_structure(), pointer.block, problem)
    }

    /// Calls `found` with the value of `key`.
    pub(super) fn find(&self, root: &Root, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<()> {
        match self.root(root)? {
            Some(root) => self.find_below(&root, key, found),
            None => Ok(()),
        }
    }

    /// Does not check bounds, which would cost as much as the search: levels fall all the same,
    /// and what is found has the right key.
    fn find_below(&self, node: &Node, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<()> {
        if node.level() == 0 {
            if let Ok(index) = node.page().search(key) {
                found(node.page().value(index));
            }
            return Ok(());
        }
        let index = node.child_index(key);
        match node.held(index) {
            Some(child) => self.find_below(child, key, found),
            None => self.find_below(&self.read_child_unbounded(node, index)?.0, key, found),
        }
    }

    /// Calls `found` with the greatest entry, of those not above `limit` if there is one.
    pub(super) fn greatest(
        &self,
        root: &Root,
        limit: Option<&[u8]>,
        found: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        if let Some(root) = self.root(root)? {
            let _found = self.greatest_below(&root, Bounds::ALL, limit, found)?;
        }
        Ok(())
    }

    fn greatest_below(
        &self,
        node: &Node,
        bounds: Bounds<'_>,
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
            let child = self.child(node, index, bounds)?;
            if self.greatest_below(&child, bounds.of_child(page, index), limit, found)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Calls `visit` with the entries at and behind `from` until it breaks.
    pub(super) fn for_each_from(&self, root: &Root, from: &[u8], visit: Visit<'_>) -> Result<()> {
        if let Some(root) = self.root(root)? {
            let _stopped = self.for_each_below(&root, Bounds::ALL, Some(from), visit)?;
        }
        Ok(())
    }

    fn for_each_below(
        &self,
        node: &Node,
        bounds: Bounds<'_>,
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
            let child = self.child(node, index, bounds)?;
            let flow =
                self.for_each_below(&child, bounds.of_child(page, index), from.take(), visit)?;
            if flow.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
