//! Where a finding was made.

use crate::print::{self, Escaped};
use ashlar_format::key::TreeId;
use std::fmt;

/// Where a finding was made; what does not apply is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Location {
    /// Tree.
    pub tree: Option<TreeId>,
    /// Key of an entry of that tree.
    pub key: Option<Box<[u8]>>,
    /// First device block.
    pub block: Option<u64>,
    /// Blocks from there on.
    pub count: Option<u64>,
    /// Inode; of a name, its directory.
    pub ino: Option<u64>,
    /// Name in that directory, or of an attribute of that inode.
    pub name: Option<Box<[u8]>>,
    /// Log record.
    pub lsn: Option<u64>,
}

impl Location {
    /// The volume as a whole.
    #[must_use]
    pub fn volume() -> Self {
        Self::default()
    }

    /// A node of a tree.
    #[must_use]
    pub fn node(tree: TreeId, block: u64) -> Self {
        Self { tree: Some(tree), block: Some(block), ..Self::default() }
    }

    /// A tree.
    #[must_use]
    pub fn tree(tree: TreeId) -> Self {
        Self { tree: Some(tree), ..Self::default() }
    }

    /// An entry of a tree.
    #[must_use]
    pub fn entry(tree: TreeId, key: &[u8]) -> Self {
        Self { tree: Some(tree), key: Some(key.into()), ..Self::default() }
    }

    /// An inode.
    #[must_use]
    pub fn inode(ino: u64) -> Self {
        Self { ino: Some(ino), ..Self::default() }
    }

    /// A name in a directory.
    #[must_use]
    pub fn name(dir: u64, name: &[u8]) -> Self {
        Self {
            tree: Some(TreeId::Names),
            ino: Some(dir),
            name: Some(name.into()),
            ..Self::default()
        }
    }

    /// An attribute of an inode.
    #[must_use]
    pub fn xattr(ino: u64, name: &[u8]) -> Self {
        Self { tree: Some(TreeId::Xattrs), ..Self::name(ino, name) }
    }

    /// A run of device blocks.
    #[must_use]
    pub fn blocks(block: u64, count: u64) -> Self {
        Self { block: Some(block), count: Some(count), ..Self::default() }
    }

    /// A log record.
    #[must_use]
    pub fn record(lsn: u64) -> Self {
        Self { lsn: Some(lsn), ..Self::default() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lsn) = self.lsn {
            return write!(f, "log record {lsn}");
        }
        if let (Some(ino), Some(name)) = (self.ino, &self.name) {
            let what = match self.tree {
                Some(TreeId::Xattrs) => "attribute",
                _ => "name",
            };
            return write!(f, "inode {ino}, {what} {}", Escaped(name));
        }
        if let (Some(tree), Some(key)) = (self.tree, &self.key) {
            return write!(f, "{} tree, key {}", tree.name(), print::Key(tree, key));
        }
        match (self.tree, self.block, self.count, self.ino) {
            (Some(tree), Some(block), ..) => {
                write!(f, "{} at block {block}", tree.node_structure())
            }
            (Some(tree), None, ..) => write!(f, "{} tree", tree.name()),
            (None, Some(block), Some(1), _) => write!(f, "block {block}"),
            (None, Some(block), count, _) => {
                write!(f, "blocks {block}+{}", count.unwrap_or(1))
            }
            (None, None, _, Some(ino)) => write!(f, "inode {ino}"),
            (None, None, _, None) => f.write_str("volume"),
        }
    }
}
