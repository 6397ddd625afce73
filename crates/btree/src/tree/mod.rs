//! The tree.

use crate::home::Obsolete;
use crate::node::Node;
use crate::{NodeCache, NodeSource, Result};
use ashlar_format::NODE_SIZE;
use ashlar_format::key::TreeId;
use ashlar_format::node::NodePointer;
use ashlar_format::superblock::TreeRoot;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// A B+tree; a clone is a snapshot, taken in constant time.
#[derive(Debug, Clone)]
pub struct Tree {
    id: TreeId,
    root: Root,
    count: u64,
    dirty: Arc<AtomicUsize>,
}

#[derive(Debug, Clone)]
enum Root {
    Empty,
    Home { pointer: NodePointer, level: u8 },
    Node(Arc<Node>),
}

/// Lending iterator over the entries of a tree, ascending.
pub struct Range<'a> {
    tree: &'a Tree,
    source: &'a dyn NodeSource,
}

impl Range<'_> {
    /// The next entry, `None` behind the last.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        todo!()
    }
}

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
    /// Bytes of cells and slots in leaves.
    pub leaf_bytes: u64,
}

impl Tree {
    /// A tree without entries.
    #[must_use]
    pub fn empty(id: TreeId) -> Self {
        Self { id, root: Root::Empty, count: 0, dirty: Arc::default() }
    }

    /// The tree that a checkpoint left; reads nothing.
    #[must_use]
    pub fn from_root(id: TreeId, root: Option<TreeRoot>) -> Self {
        todo!()
    }

    /// Which tree it is.
    #[must_use]
    pub fn id(&self) -> TreeId {
        self.id
    }

    /// Entries.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Nodes in memory that no checkpoint has written, those of older snapshots included.
    #[must_use]
    pub fn dirty_nodes(&self) -> usize {
        todo!()
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn get(&self, source: &dyn NodeSource, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get_with(source, key, <[u8]>::to_vec)
    }

    /// Applies `read` to the value under `key`, without a copy.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn get_with<R>(
        &self,
        source: &dyn NodeSource,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        todo!()
    }

    /// The entry with the greatest key not above `key`.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn floor(
        &self,
        source: &dyn NodeSource,
        key: &[u8],
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.floor_with(source, key, |key, value| (key.to_vec(), value.to_vec()))
    }

    /// Applies `read` to the entry with the greatest key not above `key`, without a copy.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn floor_with<R>(
        &self,
        source: &dyn NodeSource,
        key: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Result<Option<R>> {
        todo!()
    }

    /// The entry with the greatest key.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn last(&self, source: &dyn NodeSource) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        todo!()
    }

    /// The greatest key.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn last_key(&self, source: &dyn NodeSource) -> Result<Option<Vec<u8>>> {
        todo!()
    }

    /// Visits the entries at and behind `from`, ascending, until `visit` breaks.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn for_each_from(
        &self,
        source: &dyn NodeSource,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        todo!()
    }

    /// Iterates over the entries at and behind `from`, ascending.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn range<'a>(&'a self, source: &'a dyn NodeSource, from: &[u8]) -> Result<Range<'a>> {
        todo!()
    }

    /// Sets the value of `key`; true when it replaced another.
    ///
    /// # Errors
    /// A node could not be read, or key or value is longer than the format allows. The entries
    /// are as before.
    pub fn put(
        &mut self,
        source: &dyn NodeSource,
        obsolete: &mut Obsolete,
        key: &[u8],
        value: &[u8],
    ) -> Result<bool> {
        todo!()
    }

    /// Removes the entry of `key`; true when there was one.
    ///
    /// # Errors
    /// A node could not be read. The entries are as before.
    pub fn delete(
        &mut self,
        source: &dyn NodeSource,
        obsolete: &mut Obsolete,
        key: &[u8],
    ) -> Result<bool> {
        todo!()
    }

    /// Hands every dirty node to `write`, children first, as the page to put on disk; `write`
    /// allocates an address, seals the page and queues it. When all have been accepted the nodes
    /// are at home. Call it on a snapshot; the live tree may change meanwhile.
    ///
    /// # Errors
    /// What `write` returned; then no node is at home that was not before.
    pub fn write_home(
        &self,
        write: &mut dyn FnMut(u8, &mut [u8; NODE_SIZE]) -> Result<NodePointer>,
    ) -> Result<Option<TreeRoot>> {
        todo!()
    }

    /// Moves the nodes at home that the tree still holds into `cache`. Call it on the live tree
    /// when everything that [`Tree::write_home`] queued can be read back; the entries, and what
    /// is dirty, stay as they are.
    pub fn unpin(&mut self, cache: &NodeCache, obsolete: &mut Obsolete) {
        todo!()
    }

    /// Checks the whole structure.
    ///
    /// # Errors
    /// A node could not be read, or the first thing that is wrong.
    pub fn verify(&self, source: &dyn NodeSource) -> Result<TreeShape> {
        todo!()
    }
}
