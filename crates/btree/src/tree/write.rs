//! Changes: put and delete, with the copying, splitting and merging they take.
//!
//! A descent makes each node on its path the writer's own before it goes on. All reading is done
//! on the way down, so that a node that cannot be read stops the change before it begins.

use super::Root;
use super::own::Owner;
use super::read::{Child, Reader};
use crate::node::{Bounds, Merge, Node, Split};
use crate::{Error, Result};
use ashlar_format::Corruption;
use ashlar_format::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use ashlar_format::node::LEVEL_MAX;
use std::sync::Arc;

/// One change of a tree.
pub(super) struct Writer<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) owner: Owner<'a>,
}

impl Writer<'_> {
    /// Sets the value of `key`; true when it replaced another.
    pub(super) fn put(&mut self, root: &mut Root, key: &[u8], value: &[u8]) -> Result<bool> {
        if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            let problem = format!("an entry of {} and {} bytes", key.len(), value.len());
            return Err(self.refuse(problem));
        }
        if let Root::Empty = root {
            *root = Root::Held(Arc::new(Node::empty(self.reader.id, 0, self.owner.gauge)));
        }
        let Some(root) = self.hold_root(root)? else { unreachable!("it is not empty") };
        if root.level() >= LEVEL_MAX {
            return Err(self.refuse(format!("a tree {} levels deep", root.level())));
        }
        let (replaced, split) = self.put_below(root, Bounds::ALL, key, value)?;
        if let Some(split) = split {
            self.grow(root, split);
        }
        Ok(replaced)
    }

    fn put_below(
        &mut self,
        slot: &mut Arc<Node>,
        bounds: Bounds<'_>,
        key: &[u8],
        value: &[u8],
    ) -> Result<(bool, Option<Split>)> {
        let node = self.owner.own(slot);
        if node.level() == 0 {
            return Ok(node.put(key, value, self.owner.gauge));
        }
        let index = node.child_index(key);
        let (child, below) = self.hold_child(node, index, bounds)?;
        let (replaced, split) = self.put_below(child, below, key, value)?;
        Ok((replaced, split.and_then(|split| node.adopt(index, split, self.owner.gauge))))
    }

    /// Puts a new root above one that was split.
    fn grow(&self, root: &mut Arc<Node>, split: Split) {
        let id = self.reader.id;
        let above = Node::empty(id, root.level() + 1, self.owner.gauge);
        let left = std::mem::replace(root, Arc::new(above));
        let Some(above) = Arc::get_mut(root) else { unreachable!("it is new") };
        above.adopt_first(left);
        let again = above.adopt(0, split, self.owner.gauge);
        assert!(again.is_none(), "two children fit in a node");
    }

    /// Removes the entry of `key`; true when there was one.
    pub(super) fn delete(&mut self, root: &mut Root, key: &[u8]) -> Result<bool> {
        if let Root::Held(top) = root
            && let Some(deleted) = delete_in_place(top, key, Merge::Never)
        {
            self.shrink(root);
            return Ok(deleted);
        }
        // Looked up first: what is not there must not make nodes dirty.
        let mut present = false;
        self.reader.find(root, key, &mut |_| present = true)?;
        if !present {
            return Ok(false);
        }
        let Some(top) = self.hold_root(root)? else { return Ok(false) };
        let deleted = self.delete_below(top, Bounds::ALL, key)?;
        self.shrink(root);
        Ok(deleted)
    }

    fn delete_below(
        &mut self,
        slot: &mut Arc<Node>,
        bounds: Bounds<'_>,
        key: &[u8],
    ) -> Result<bool> {
        let node = self.owner.own(slot);
        if node.level() == 0 {
            return Ok(node.delete(key));
        }
        let index = node.child_index(key);
        let (child, below) = self.hold_child(node, index, bounds)?;
        let deleted = self.delete_below(child, below, key)?;
        if child.count() == 0 {
            self.remove_child(node, index);
        } else if child.underflows() {
            self.merge_child(node, index, bounds);
        }
        Ok(deleted)
    }

    /// Drops a root without entries, and roots with only one child, down to one that would have
    /// to be read for that: it can wait for the next deletion.
    fn shrink(&mut self, root: &mut Root) {
        while let Root::Held(top) = root {
            let next = match (top.count(), top.level()) {
                (0, _) => Root::Empty,
                (1, 1..) => match top.held(0) {
                    Some(child) => Root::Held(Arc::clone(child)),
                    None => match top.pointer(0) {
                        Ok(pointer) => Root::Home { pointer, level: top.level() - 1 },
                        // A longer tree than need be is a sound one.
                        Err(_) => return,
                    },
                },
                _ => return,
            };
            self.owner.retire(top);
            *root = next;
        }
    }

    fn remove_child(&mut self, node: &mut Node, index: usize) {
        if let Some(child) = node.remove_child(index) {
            self.owner.retire(&child);
        }
    }

    /// Merges the child at `index` with a neighbour, if both fit in one node. A neighbour that
    /// cannot be read stays as it is: whoever needs it will learn why.
    fn merge_child(&mut self, node: &mut Node, index: usize, bounds: Bounds<'_>) {
        let pairs = [index.checked_sub(1), (index + 1 < node.count()).then_some(index)];
        for left in pairs.into_iter().flatten() {
            if self.merge_pair(node, left, bounds).unwrap_or(false) {
                return;
            }
        }
    }

    /// Merges the children at `left` and behind it, if both fit in one node.
    fn merge_pair(&mut self, node: &mut Node, left: usize, bounds: Bounds<'_>) -> Result<bool> {
        let first = self.reader.child(node, left, bounds)?;
        let second = Arc::clone(&*self.reader.child(node, left + 1, bounds)?);
        let separator = node.page().key(left + 1).to_vec();
        if !first.can_absorb(&second, &separator) {
            return Ok(false);
        }
        let (first, _) = self.hold_child(node, left, bounds)?;
        self.owner.own(first).absorb(&second, &separator);
        drop(node.remove_child(left + 1));
        self.owner.retire(&second);
        Ok(true)
    }

    /// The root's slot, read if need be.
    fn hold_root<'t>(&self, root: &'t mut Root) -> Result<Option<&'t mut Arc<Node>>> {
        if let Root::Home { .. } = root {
            let read = self.reader.root(root)?.map(|top| Arc::clone(&top));
            *root = read.map_or(Root::Empty, Root::Held);
        }
        match root {
            Root::Held(top) => Ok(Some(top)),
            Root::Empty | Root::Home { .. } => Ok(None),
        }
    }

    /// The slot of a child of `node`, read if need be, and the child's bounds.
    fn hold_child<'n>(
        &self,
        node: &'n mut Node,
        index: usize,
        bounds: Bounds<'n>,
    ) -> Result<(&'n mut Arc<Node>, Bounds<'n>)> {
        let read = match self.reader.child(node, index, bounds)? {
            Child::Held(_) => None,
            Child::Read(child) => Some(child),
        };
        let (page, slot) = node.parts_mut(index);
        let child = match read {
            Some(child) => slot.insert(child),
            None => slot.as_mut().unwrap_or_else(|| unreachable!("it is held")),
        };
        Ok((child, bounds.of_child(page, index)))
    }

    fn refuse(&self, problem: String) -> Error {
        Corruption::new(self.reader.id.node_structure(), 0, problem).into()
    }
}

/// Deletes along a path that the writer owns and that is dirty already, which it is while many
/// entries go: then one descent does, and an absent entry changes nothing. `None`, and nothing
/// changed, when the path is not like that, or the leaf would be empty or should be merged.
fn delete_in_place(slot: &mut Arc<Node>, key: &[u8], merge: Merge) -> Option<bool> {
    let node = Arc::get_mut(slot).filter(|node| !node.home_cell().is_set())?;
    if node.level() == 0 {
        return node.delete_unless_sparse(key, merge);
    }
    let index = node.child_index(key);
    delete_in_place(node.held_mut(index)?, key, Merge::WhenHalved)
}
