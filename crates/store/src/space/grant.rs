//! Blocks and promises of blocks, as values that give back what was not used.

use super::Space;
use std::sync::Arc;

/// Blocks taken from free space for one purpose. Dropped without having been
/// [taken](crate::Txn::take) by a transaction that committed, the blocks are free again.
#[must_use = "a grant that is dropped gives its blocks back"]
pub struct Grant {
    pub(super) space: Arc<Space>,
    pub(super) block: u64,
    pub(super) count: u64,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Grant({}+{})", self.block, self.count)
    }
}

impl Grant {
    /// First block.
    #[must_use]
    pub fn block(&self) -> u64 {
        self.block
    }

    /// Blocks, at least 1.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The transaction committed: the blocks belong to someone now.
    pub(crate) fn keep(mut self) {
        self.count = 0;
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if self.count > 0 {
            self.space.give_back(self.block, self.count);
        }
    }
}

/// A promise of blocks: as long as it stands, allocating that many cannot fail for space.
#[must_use = "a reservation that is dropped promises nothing"]
pub struct Reservation {
    pub(super) space: Arc<Space>,
    pub(super) blocks: u64,
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reservation({})", self.blocks)
    }
}

impl Reservation {
    /// Blocks still promised.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Splits off a promise of up to `blocks`.
    pub fn split(&mut self, blocks: u64) -> Self {
        let blocks = blocks.min(self.blocks);
        self.blocks -= blocks;
        Self { space: Arc::clone(&self.space), blocks }
    }

    /// Joins another promise to this one.
    pub fn merge(&mut self, mut other: Self) {
        self.blocks += std::mem::take(&mut other.blocks);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.blocks > 0 {
            self.space.release_reservation(self.blocks);
        }
    }
}
