//! Where a node is on disk, known once it is written, and the list of those no longer needed.

use ashlar_format::node::NodePointer;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Address of a node, empty while the node is dirty; set once, by the checkpoint that writes it.
#[derive(Debug)]
pub struct HomeCell {
    pointer: OnceLock<NodePointer>,
    gauge: Option<Arc<AtomicUsize>>,
}

impl HomeCell {
    /// The address, once the node is written.
    #[must_use]
    pub fn get(&self) -> Option<NodePointer> {
        self.pointer.get().copied()
    }
}

/// Cells of nodes that the live trees no longer contain, since the last [`Obsolete::take`].
#[derive(Debug, Default)]
pub struct Obsolete {
    cells: Vec<Arc<HomeCell>>,
}

impl Obsolete {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves everything out: call it in the same critical section that takes the snapshots of a
    /// checkpoint.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Addresses to free once the checkpoint of [`Obsolete::take`] is durable. Final as soon as
    /// the checkpoint before it has finished.
    pub fn pointers(&self) -> impl Iterator<Item = NodePointer> + '_ {
        self.cells.iter().filter_map(|cell| cell.get())
    }
}
