//! A node in memory.

use crate::Result;
use crate::home::HomeCell;
use ashlar_format::NODE_SIZE;
use ashlar_format::key::TreeId;
use ashlar_format::node::{Expected, NodePointer};
use std::sync::Arc;

/// A node in memory: its page and, in an inner node, the children that are not at home.
#[derive(Debug)]
pub struct Node {
    page: Box<[u8; NODE_SIZE]>,
    used: usize,
    children: Vec<Option<Arc<Node>>>,
    home: Arc<HomeCell>,
}

impl Node {
    /// Verifies bytes read from a device.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] when they are not the expected node.
    pub fn verified(bytes: Box<[u8; NODE_SIZE]>, expected: &Expected<'_>) -> Result<Self> {
        todo!()
    }

    /// Level, 0 for a leaf.
    #[must_use]
    pub fn level(&self) -> u8 {
        todo!()
    }

    /// Tree it belongs to.
    #[must_use]
    pub fn tree(&self) -> Option<TreeId> {
        todo!()
    }

    /// Where it is on disk; `None` while it is dirty.
    #[must_use]
    pub fn home(&self) -> Option<NodePointer> {
        self.home.get()
    }
}
