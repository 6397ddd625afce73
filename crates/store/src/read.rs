//! Reading the trees: one entry under the shared transaction lock, or a snapshot of all.

use crate::error::Result;
use crate::store::Store;
use crate::view::View;
use ashlar_format::key::TreeId;
use std::ops::ControlFlow;
use std::sync::Arc;

impl Store {
    /// Calls `read` with the value of `key`.
    ///
    /// # Errors
    /// A node that cannot be read.
    pub fn get_with<R>(
        &self,
        tree: TreeId,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        Ok(self.live.read().trees.get(tree).get_with(&self.nodes, key, read)?)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// A node that cannot be read.
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get_with(tree, key, <[u8]>::to_vec)
    }

    /// Calls `read` with the entry of the greatest key that is not above `key`.
    ///
    /// # Errors
    /// A node that cannot be read.
    pub fn floor_with<R>(
        &self,
        tree: TreeId,
        key: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Result<Option<R>> {
        Ok(self.live.read().trees.get(tree).floor_with(&self.nodes, key, read)?)
    }

    /// A snapshot of all trees.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        let live = self.live.read();
        View::new(self, live.trees.clone(), Arc::clone(&self.epoch.lock()))
    }

    /// Visits the entries of a snapshot at and behind `from`, ascending, until `visit` breaks.
    ///
    /// # Errors
    /// A node that cannot be read.
    pub fn scan(
        &self,
        tree: TreeId,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.view().scan(tree, from, visit)
    }

    /// Entries of a tree.
    #[must_use]
    pub fn entry_count(&self, tree: TreeId) -> u64 {
        self.live.read().trees.get(tree).count()
    }
}
