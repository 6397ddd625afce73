//! Copy-on-write B+tree over checksummed nodes, with constant-time snapshots.

mod cache;
mod home;
mod node;
mod tree;

pub use cache::NodeCache;
pub use home::{HomeCell, Obsolete};
pub use node::Node;
pub use tree::{Range, Tree, TreeShape};

use ashlar_format::Corruption;
use ashlar_format::key::TreeId;
use ashlar_format::node::NodePointer;
use std::sync::Arc;
use thiserror::Error;

/// Why a tree could not be read.
#[derive(Debug, Error)]
pub enum Error {
    /// Bytes that cannot be; nothing was changed because of them.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// The source of nodes failed.
    #[error("a tree node could not be read or written: {0}")]
    Io(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Where nodes at home are read from: a device behind a [`NodeCache`].
pub trait NodeSource: Send + Sync {
    /// The node at `pointer`, verified ([`Node::verified`]) to be of this tree and level.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the bytes there are not that node, [`Error::Io`] when they cannot
    /// be read.
    fn read(&self, tree: TreeId, level: u8, pointer: NodePointer) -> Result<Arc<Node>>;
}
