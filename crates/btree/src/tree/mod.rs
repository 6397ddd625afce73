//! The tree, its snapshots, and the protocol with the checkpoints that write it.
//!
//! Called by the store: many readers on snapshots, one writer on the live tree at a time, one
//! checkpoint at a time on a snapshot of it.
//!
//! Definitions:
//! - A node is *at home* once its [`crate::home::HomeCell`] is set, *dirty* until then.
//! - The *live tree* is the one that changes. A clone of it is a *snapshot*: read it, write it
//!   home, but do not change it. (Going back to a snapshot is allowed if the live tree is
//!   dropped and what it pushed to [`Obsolete`] since then is forgotten.)
//! - A checkpoint takes a snapshot and the [`Obsolete`] list in one critical section, writes the
//!   snapshot [home](Tree::write_home), makes the new root durable, and then gives back the
//!   addresses in the list.
//!
//! Invariants, besides those of [`crate::node`]:
//! - I1: the key of an inner node's cell is a lower bound of its child, above all keys before it.
//!   The first one is empty: there the lower bound is that of the node itself.
//! - I2: no node is empty. A tree without entries has no root.
//! - I3: a dirty node's ancestors are dirty (the other side of node I2).
//!
//! # Every address becomes obsolete exactly once, and not too early
//!
//! Let N be a node of the live tree. There are two ways out of it, both in [`own`]: *replaced*
//! by a copy or by itself under a new cell ([`Owner::own`]), or *removed* ([`Owner::retire`]).
//! Both push N's cell. Nothing brings a cell back: copies get new ones, and snapshots do not
//! change. (The copies of [`Tree::unpin`] that keep the cell take the place of the original in
//! the live tree, so that one node there has it, as before.) So **a cell is pushed at most once**
//! while it is set or may yet be set, and every node that leaves is pushed. The sweep in
//! [`Obsolete`] drops only cells that are empty and without a node, which stay empty for ever.
//!
//! Let checkpoint C have taken the list L. A cell in L was pushed before C's snapshot was taken,
//! so its node is not in that snapshot: **C does not need what is in L**, and neither does any
//! later checkpoint. The checkpoint before C may; that is why L waits until C is durable.
//! Older snapshots may, too: the store keeps an address until those are gone.
//!
//! Let N be changed while C writes it. The snapshot shares N, so the writer copies it and pushes
//! its cell, perhaps still empty, to the list that the *next* checkpoint D takes. C then sets the
//! cell. When D looks at its list C has finished, so the cell says what there is to free, and
//! after D is durable no checkpoint needs it. If C fails instead, the cell stays empty and there
//! is nothing to free. The same goes for a node that is changed in place because nobody shares
//! it: then no snapshot contains it, its cell is either empty and stays its own, or set and is
//! pushed like any other.
//!
//! What C wrote is a copy of the page with the children's addresses put in; the shared node
//! itself changes only by its cell being set, so snapshots read on without noticing.
//!
//! Locking: none. `&mut Tree` is the writer's exclusion, and `Arc` counts tell it what it may
//! change in place. No `Weak` is ever made of a node.
//!
//! Errors: an unreadable node fails the call before any entry changes. Nodes on the way to it may
//! have become dirty, which is sound. Bytes from a device never cause a panic: a child is checked
//! against its parent whenever it is read: level and tree, so that descents end, and bounds, so
//! that scans ascend and end, and changes keep the order, even in a forged tree.

mod checkpoint;
mod own;
mod range;
mod read;
mod verify;
mod write;

pub use range::Range;
pub use verify::TreeShape;

use crate::home::{Gauge, Obsolete};
use crate::node::Node;
use crate::{NodeCache, NodeSource, Result};
use ashlar_format::NODE_SIZE;
use ashlar_format::key::TreeId;
use ashlar_format::node::NodePointer;
use ashlar_format::superblock::TreeRoot;
use own::Owner;
use read::Reader;
use std::ops::ControlFlow;
use std::sync::Arc;
use write::Writer;

/// A B+tree. A clone is a snapshot, taken in constant time.
///
/// While a snapshot or a [`Range`] lives, addresses that became obsolete after it was taken must
/// not be reused: it may still read them. The first change of each node that it shares with the
/// live tree copies that node, so drop snapshots early.
#[derive(Debug, Clone)]
pub struct Tree {
    id: TreeId,
    root: Root,
    count: u64,
    gauge: Gauge,
}

/// How a tree knows its root.
#[derive(Debug, Clone)]
enum Root {
    /// No entries.
    Empty,
    /// At home, not read yet.
    Home { pointer: NodePointer, level: u8 },
    /// In memory.
    Held(Arc<Node>),
}

impl Tree {
    /// A tree without entries.
    #[must_use]
    pub fn empty(id: TreeId) -> Self {
        Self { id, root: Root::Empty, count: 0, gauge: Gauge::default() }
    }

    /// The tree that a checkpoint left; reads nothing.
    #[must_use]
    pub fn from_root(id: TreeId, root: Option<TreeRoot>) -> Self {
        let mut tree = Self::empty(id);
        if let Some(TreeRoot { pointer, level, count }) = root {
            tree.root = Root::Home { pointer, level };
            tree.count = count;
        }
        tree
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

    /// Dirty nodes in memory, of this tree and of all its snapshots together: what memory they
    /// take, and nearly what the next checkpoint will have to write.
    #[must_use]
    pub fn dirty_nodes(&self) -> usize {
        self.gauge.count()
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn get(&self, source: &dyn NodeSource, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get_with(source, key, <[u8]>::to_vec)
    }

    /// Applies `read` to the value of `key`, without a copy.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn get_with<R>(
        &self,
        source: &dyn NodeSource,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        let (mut read, mut result) = (Some(read), None);
        self.reader(source).find(&self.root, key, &mut |value| {
            result = read.take().map(|read| read(value));
        })?;
        Ok(result)
    }

    /// The entry with the greatest key not above `key`.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn floor(&self, source: &dyn NodeSource, key: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
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
        self.greatest(source, Some(key), read)
    }

    /// The entry with the greatest key.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn last(&self, source: &dyn NodeSource) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.greatest(source, None, |key, value| (key.to_vec(), value.to_vec()))
    }

    /// The greatest key.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn last_key(&self, source: &dyn NodeSource) -> Result<Option<Vec<u8>>> {
        self.greatest(source, None, |key, _| key.to_vec())
    }

    fn greatest<R>(
        &self,
        source: &dyn NodeSource,
        limit: Option<&[u8]>,
        read: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Result<Option<R>> {
        let (mut read, mut result) = (Some(read), None);
        self.reader(source).greatest(&self.root, limit, &mut |key, value| {
            result = read.take().map(|read| read(key, value));
        })?;
        Ok(result)
    }

    /// Visits the entries at and behind `from`, ascending, until `visit` breaks.
    ///
    /// # Errors
    /// A node could not be read; the entries in front of it have been visited.
    pub fn for_each_from(
        &self,
        source: &dyn NodeSource,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.reader(source).for_each_from(&self.root, from, visit)
    }

    /// Iterates over the entries at and behind `from`, ascending, as they are now: like a snapshot,
    /// it does not see later changes.
    ///
    /// # Errors
    /// A node could not be read.
    pub fn range<'s>(&self, source: &'s dyn NodeSource, from: &[u8]) -> Result<Range<'s>> {
        Range::new(&self.root, self.reader(source), from)
    }

    fn reader<'s>(&self, source: &'s dyn NodeSource) -> Reader<'s> {
        Reader { source, id: self.id }
    }

    /// Sets the value of `key`; true when it replaced another.
    ///
    /// # Errors
    /// A node could not be read, or key or value are longer than the format allows. The entries
    /// are as before.
    pub fn put(
        &mut self,
        source: &dyn NodeSource,
        obsolete: &mut Obsolete,
        key: &[u8],
        value: &[u8],
    ) -> Result<bool> {
        let reader = self.reader(source);
        let owner = Owner { obsolete, gauge: &self.gauge };
        let replaced = Writer { reader, owner }.put(&mut self.root, key, value)?;
        self.count += u64::from(!replaced);
        Ok(replaced)
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
        let reader = self.reader(source);
        let owner = Owner { obsolete, gauge: &self.gauge };
        let deleted = Writer { reader, owner }.delete(&mut self.root, key)?;
        // A forged root may have counted fewer.
        self.count = self.count.saturating_sub(u64::from(deleted));
        Ok(deleted)
    }

    /// Hands every dirty node's page and level to `write`, children first; `write` allocates an
    /// address, [seals](ashlar_format::node::seal) the page and queues it. When all have been
    /// accepted the nodes are at home. Call it on a snapshot: the live tree may change meanwhile.
    ///
    /// Returns the root to keep in the superblock, `None` of a tree without entries.
    ///
    /// # Errors
    /// What `write` returned. Then no node is at home that was not before, and what has been
    /// queued is of no use.
    pub fn write_home(
        &self,
        write: &mut dyn FnMut(u8, &mut [u8; NODE_SIZE]) -> Result<NodePointer>,
    ) -> Result<Option<TreeRoot>> {
        checkpoint::write_home(self, write)
    }

    /// Hands the nodes at home that the tree still holds over to `cache`, so that memory stays
    /// bounded. Entries and dirty nodes stay as they are, and so do snapshots.
    ///
    /// Call it on the live tree, when what [`Tree::write_home`] queued can be read back, and drop
    /// the snapshot first: inner nodes that it shares are copied.
    pub fn unpin(&mut self, cache: &NodeCache, obsolete: &mut Obsolete) {
        checkpoint::unpin(&mut self.root, cache, Owner { obsolete, gauge: &self.gauge });
    }

    /// Checks every invariant of the tree, reading all of it.
    ///
    /// # Errors
    /// A node could not be read, or the first thing that is wrong.
    pub fn verify(&self, source: &dyn NodeSource) -> Result<TreeShape> {
        verify::verify(self, &self.reader(source))
    }
}
