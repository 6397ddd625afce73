//! Copy-on-write B+tree over checksummed nodes, with constant-time snapshots.
//!
//! ```text
//! Tree ── Arc ──▶ root ── Arc ──▶ dirty inner node ── Arc ──▶ dirty leaf
//!                   │                    └─ address ─ ─ ─ ─ ▶ leaf at home ◀─ NodeSource
//!                   └─ address ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─▶ node at home    NodeCache
//! ```
//!
//! | module | what lives there |
//! |---|---|
//! | `tree` | the tree; the protocol between live tree, snapshots and checkpoints |
//! | `node` | a node in memory, and its changes as a whole |
//! | `page` | changes to the bytes of a page |
//! | `home` | where a node is on disk, and the list of addresses to give back |
//! | `cache` | bounded cache of nodes at home |
//!
//! Knows no device, no log and no allocator: the store reads nodes through [`NodeSource`], and
//! allocates and writes them in the closure of [`Tree::write_home`].

mod cache;
mod home;
mod node;
mod page;
mod tree;

pub use cache::NodeCache;
pub use home::Obsolete;
pub use node::Node;
pub use tree::{Range, Tree, TreeShape};

use ashlar_format::Corruption;
use ashlar_format::key::TreeId;
use ashlar_format::node::NodePointer;
use std::sync::Arc;
use thiserror::Error;

/// Why a tree could not be read, or was not changed.
#[derive(Debug, Error)]
pub enum Error {
    /// Bytes that cannot be.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// The device, or whatever nodes are read from and written to, failed.
    #[error("a tree node could not be read or written: {0}")]
    Io(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Where nodes at home are read from: a device behind a [`NodeCache`].
pub trait NodeSource: Send + Sync {
    /// The node at `pointer`, [verified](Node::verified) when it comes from a device. One from a
    /// cache needs no check against `tree` and `level`: the tree makes it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the bytes there are not that node, [`Error::Io`] when they cannot
    /// be read.
    fn read(&self, tree: TreeId, level: u8, pointer: NodePointer) -> Result<Arc<Node>>;
}
