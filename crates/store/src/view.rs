//! A snapshot of the trees: constant time to take, holds no lock, sees no later change.

use crate::error::Result;
use crate::store::Store;
use crate::trees::Trees;
use ashlar_format::key::TreeId;
use std::ops::ControlFlow;
use std::sync::Arc;

/// All trees of a volume at one moment.
pub struct View<'a> {
    store: &'a Store,
    trees: Trees,
    /// While a view holds its epoch, the nodes that later checkpoints free are not reused.
    _epoch: Arc<()>,
}

impl<'a> View<'a> {
    pub(crate) fn new(store: &'a Store, trees: Trees, epoch: Arc<()>) -> Self {
        Self { store, trees, _epoch: epoch }
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// A node that cannot be read.
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.trees.get(tree).get(&self.store.nodes, key)?)
    }

    /// Visits the entries at and behind `from`, ascending, until `visit` breaks.
    ///
    /// # Errors
    /// A node that cannot be read.
    pub fn scan(
        &self,
        tree: TreeId,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        Ok(self.trees.get(tree).for_each_from(&self.store.nodes, from, visit)?)
    }
}
