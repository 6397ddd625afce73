//! Details of findings: owners of blocks, and what exactly does not fit.

use ashlar_format::key::TreeId;
use std::fmt;
use thiserror::Error;

/// Who owns blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Superblock copies or log.
    Fixed,
    /// A tree node.
    Node {
        /// Tree.
        tree: TreeId,
        /// First block of the node.
        block: u64,
    },
    /// An extent of a file.
    Extent {
        /// Inode.
        ino: u64,
        /// First file block of the extent.
        file_block: u64,
    },
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed => f.write_str("superblock or log"),
            Self::Node { tree, block } => write!(f, "{} at block {block}", tree.node_structure()),
            Self::Extent { ino, file_block } => write!(f, "inode {ino} file block {file_block}"),
        }
    }
}

/// What is wrong with a free extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum FreeExtentProblem {
    /// Zero blocks.
    #[error("it is empty")]
    Empty,
    /// Not in the area of files and nodes.
    #[error("it leaves the data area")]
    Outside,
    /// Blocks of two groups.
    #[error("it crosses a group border")]
    CrossesGroups,
    /// Blocks that the extent before has too.
    #[error("it overlaps the free extent before it")]
    Overlaps,
    /// Touches the one before in the same group.
    #[error("it touches the free extent before it and should be one with it")]
    NotMerged,
}

/// What is wrong with an edit of free space in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum SpaceEditProblem {
    /// An allocation of what is not free.
    #[error("it allocates blocks that are in use")]
    AllocOfUsed,
    /// A free of what is free.
    #[error("it frees blocks that are free")]
    FreeOfFree,
    /// Not within the data area of one group.
    #[error("it leaves the data area or its group")]
    Outside,
    /// An entry of the free tree put or deleted.
    #[error("it edits the free tree entry by entry")]
    Direct,
}

/// What is wrong with the pieces of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum XattrProblem {
    /// Pieces do not count up from 0.
    #[error("piece {piece} stands where piece {expected} should")]
    Gap {
        /// Number found.
        piece: u16,
        /// Number due.
        expected: u16,
    },
    /// A piece that is not the last is not full, or a piece is too long.
    #[error("piece {piece} is {bytes} bytes long")]
    PieceLength {
        /// Piece.
        piece: u16,
        /// Its length.
        bytes: u64,
    },
    /// Longer than an attribute may be.
    #[error("the value is {bytes} bytes long")]
    TooLong {
        /// Length of the value.
        bytes: u64,
    },
    /// The name is longer than it may be.
    #[error("the name is {bytes} bytes long")]
    NameTooLong {
        /// Length of the name.
        bytes: u64,
    },
}

/// What is wrong with an extent of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum ExtentProblem {
    /// Not in the area of files and nodes.
    #[error("it leaves the data area")]
    Outside,
    /// File blocks that the extent before has too.
    #[error("it overlaps the extent before it")]
    Overlaps,
    /// File blocks behind the largest file size.
    #[error("it lies behind the largest file size")]
    TooFar,
    /// More blocks than an extent may have.
    #[error("it is too long")]
    TooLong,
}

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum NameProblem {
    /// A slash or a zero byte.
    #[error("it has a slash or a zero byte in it")]
    Byte,
    /// "." or "..".
    #[error("it is reserved")]
    Reserved,
    /// More bytes than a name may have.
    #[error("it is too long")]
    TooLong,
}
