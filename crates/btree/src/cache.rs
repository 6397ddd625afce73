//! Bounded cache of nodes at home.

use crate::node::Node;
use ashlar_format::node::NodePointer;
use std::sync::Arc;

/// Bounded cache of nodes at home, keyed by address.
#[derive(Debug)]
pub struct NodeCache {}

impl NodeCache {
    /// A cache that holds about `bytes` of nodes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        todo!()
    }

    /// The node at `pointer`, if it is cached.
    #[must_use]
    pub fn get(&self, pointer: &NodePointer) -> Option<Arc<Node>> {
        todo!()
    }

    /// Adds a node that is at home; others are ignored.
    pub fn insert(&self, node: Arc<Node>) {
        todo!()
    }

    /// Drops what is cached for `block`: the address is about to be reused.
    pub fn forget(&self, block: u64) {
        todo!()
    }

    /// Bytes held now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        todo!()
    }
}
