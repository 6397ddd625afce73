//! What a check has to say: how bad, where, what, and what can be done.
//!
//! [`FindingKind`] names each violated invariant with its values; severity and remedy follow from
//! it and from where it was seen.

use crate::print::{self, Escaped};
use ashlar_format::inode::FileKind;
use ashlar_format::key::TreeId;
use std::fmt;
use thiserror::Error;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Unusual, but nothing is lost and nothing will go wrong by it.
    Warning,
    /// An invariant is violated: the volume must be repaired before it is written again.
    Error,
    /// Part of the volume cannot be read; what lies behind it was not checked.
    Fatal,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        })
    }
}

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

/// A violated invariant with its values. One test plants each.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FindingKind {
    // ---- superblock ---------------------------------------------------------------------
    /// The copy that does not count is not valid.
    #[error("superblock copy {copy} is damaged: {problem}")]
    SuperblockCopyDamaged {
        /// Copy, 0 or 1.
        copy: u64,
        /// What does not fit.
        problem: String,
    },
    /// Features that forbid writing to those who do not know them.
    #[error("features that this version does not know: ro_compat {ro_compat:#x}")]
    UnknownFeatures {
        /// Unknown bits.
        ro_compat: u64,
    },
    /// An inode number in use would be given out again.
    #[error("the next inode number is {next_ino}, but inode {highest} is in use")]
    NextInodeTooLow {
        /// By superblock and log.
        next_ino: u64,
        /// Highest in use.
        highest: u64,
    },

    // ---- log ----------------------------------------------------------------------------
    /// Data that the record makes reachable was never written: the power failed before.
    #[error("never finished: replay leaves out this record and {behind} behind it")]
    RecordDiscarded {
        /// Whole records behind it, left out too.
        behind: u64,
    },
    /// A record whose checksum is right, but whose edits or sums do not decode.
    #[error("its content does not decode: {problem}; replay ends in front of it")]
    RecordUndecodable {
        /// What does not fit.
        problem: String,
    },
    /// Records that were flushed are not there.
    #[error("records up to {flushed} were flushed, but the log ends with {last}")]
    LogCut {
        /// Highest record known flushed.
        flushed: u64,
        /// Last record that can be replayed.
        last: u64,
    },
    /// An edit of free space that cannot be.
    #[error("an edit of {count} blocks at {block} cannot be: {problem}")]
    SpaceEditWrong {
        /// First block.
        block: u64,
        /// Blocks.
        count: u64,
        /// What does not fit.
        problem: SpaceEditProblem,
    },

    // ---- trees --------------------------------------------------------------------------
    /// A node cannot be read or does not verify.
    #[error("the node is damaged: {problem}")]
    NodeDamaged {
        /// What does not fit.
        problem: String,
    },
    /// Two pointers lead to the same blocks.
    #[error("a second pointer leads to this node, or to part of it")]
    NodeReachedTwice,
    /// Keys that a search would not find.
    #[error("it holds key {}, outside the bounds that its parents set", print::Bytes(.key))]
    KeyOutsideNode {
        /// First such key.
        key: Box<[u8]>,
    },
    /// The root's count of entries.
    #[error("it has {counted} entries, the superblock says {recorded}")]
    TreeCountWrong {
        /// Entries found.
        counted: u64,
        /// By the superblock.
        recorded: u64,
    },
    /// A key or value does not decode.
    #[error("the entry is damaged: {problem}")]
    EntryDamaged {
        /// What does not fit.
        problem: String,
    },
    /// An entry of the refs tree; no version that this one knows shares blocks.
    #[error("an entry for shared blocks, though nothing is shared")]
    RefUnexpected,

    // ---- space --------------------------------------------------------------------------
    /// Blocks with two owners.
    #[error("owned twice: by {first} and by {second}")]
    OwnedTwice {
        /// One owner.
        first: Owner,
        /// Another.
        second: Owner,
    },
    /// Blocks in use that would be given out again.
    #[error("in use, but free by the free tree")]
    FreeButOwned,
    /// Blocks that nobody can use.
    #[error("neither in use nor free")]
    Leaked,
    /// A free extent that cannot be.
    #[error("free extent wrong: {problem}")]
    FreeExtentWrong {
        /// What does not fit.
        problem: FreeExtentProblem,
    },
    /// Count of free blocks of a group.
    #[error("group {group} has {counted} free blocks, its count says {recorded}")]
    GroupCountWrong {
        /// Group.
        group: u32,
        /// Blocks in its free extents.
        counted: u64,
        /// Its count.
        recorded: u64,
    },
    /// Count of a group that the volume does not have.
    #[error("a count for group {group}, of which there are {groups}")]
    GroupUnknown {
        /// Group.
        group: u32,
        /// Groups of the volume.
        groups: u64,
    },

    // ---- inodes -------------------------------------------------------------------------
    /// No root directory.
    #[error("there is no root directory (inode 1)")]
    RootMissing,
    /// Inode 1 is something else.
    #[error("the root is a {kind:?}, not a directory")]
    RootNotDirectory {
        /// What it is.
        kind: FileKind,
    },
    /// Count of data blocks.
    #[error("it has {counted} blocks, its record says {recorded}")]
    BlocksWrong {
        /// In its extents.
        counted: u64,
        /// By the record.
        recorded: u64,
    },
    /// Size beyond what offsets can express.
    #[error("its size is {size} bytes")]
    SizeTooLarge {
        /// Bytes.
        size: u64,
    },
    /// Content in two places.
    #[error("its content is in the record, but it has extents too")]
    InlineWithExtents,
    /// Extents of something that is not a regular file.
    #[error("a {kind:?} with extents")]
    ExtentsOfWrongKind {
        /// What it is.
        kind: FileKind,
    },
    /// Extents of an inode that is not there.
    #[error("an extent of {count} blocks at {block} for file block {file_block} without an inode")]
    ExtentWithoutInode {
        /// First file block.
        file_block: u64,
        /// First device block.
        block: u64,
        /// Blocks.
        count: u64,
    },
    /// An extent that cannot be.
    #[error("extent of {count} blocks at {block} for file block {file_block} wrong: {problem}")]
    ExtentWrong {
        /// First file block.
        file_block: u64,
        /// First device block.
        block: u64,
        /// Blocks.
        count: u64,
        /// What does not fit.
        problem: ExtentProblem,
    },
    /// Shared blocks that the refs tree does not know.
    #[error("extent at file block {file_block} is marked shared, but nothing is shared")]
    SharedUnexpected {
        /// First file block.
        file_block: u64,
    },
    /// The block map of a sealed file has a hole, or an unwritten or shared extent.
    #[error("it is sealed, but its block map is not complete at file block {file_block}")]
    SealedMapIncomplete {
        /// First file block that is a hole, unwritten or shared.
        file_block: u64,
    },
    /// A symbolic link to nowhere.
    #[error("a symbolic link without a target")]
    SymlinkWithoutTarget,
    /// An attribute of an inode that is not there.
    #[error("without an inode")]
    XattrWithoutInode,
    /// An attribute that cannot be.
    #[error("wrong: {problem}")]
    XattrWrong {
        /// What does not fit.
        problem: XattrProblem,
    },
    /// An orphan that is not there.
    #[error("listed as an orphan, but there is no such inode")]
    OrphanWithoutInode,
    /// An inode nobody can reach and nobody will remove.
    #[error("it has no name and no link, but is not listed as an orphan")]
    OrphanMissing,

    // ---- names --------------------------------------------------------------------------
    /// A name of nothing.
    #[error("it names inode {ino}, which does not exist")]
    NameDangling {
        /// Inode named.
        ino: u64,
    },
    /// A name in something that is not a directory, or not there.
    #[error("it names inode {ino}, but stands in no directory")]
    NameOutsideDirectory {
        /// Inode named.
        ino: u64,
    },
    /// A name where a lookup does not find it.
    #[error("it stands at hash {recorded:#x}, its hash is {expected:#x}")]
    NameHashWrong {
        /// In the key.
        recorded: u64,
        /// Of the name.
        expected: u64,
    },
    /// Kind of file in a name.
    #[error("it says that inode {ino} is a {recorded:?}, but that is a {actual:?}")]
    NameKindWrong {
        /// Inode named.
        ino: u64,
        /// By the name.
        recorded: FileKind,
        /// By the inode.
        actual: FileKind,
    },
    /// A name that no program can use.
    #[error("the name cannot be: {problem}")]
    NameWrong {
        /// What does not fit.
        problem: NameProblem,
    },
    /// Link count.
    #[error("its link count is {recorded}, it should be {counted}")]
    LinkCountWrong {
        /// By the record.
        recorded: u64,
        /// By the names.
        counted: u64,
    },
    /// A file that lost its names.
    #[error("it has no name, but a link count of {recorded}")]
    Nameless {
        /// By the record.
        recorded: u64,
    },
    /// Number of entries of a directory.
    #[error("it has {counted} entries, its record says {recorded}")]
    DirectorySizeWrong {
        /// Names found.
        counted: u64,
        /// By the record.
        recorded: u64,
    },
    /// Where ".." leads.
    #[error("its parent is {actual}, its record says {recorded}")]
    DirectoryParentWrong {
        /// By the record.
        recorded: u64,
        /// The directory that holds its name.
        actual: u64,
    },
    /// A directory with several names, or a root with any.
    #[error("a directory with {counted} names, {expected} allowed")]
    DirectoryNamesWrong {
        /// Names found.
        counted: u64,
        /// Names allowed.
        expected: u64,
    },
    /// A directory that contains itself.
    #[error("it lies inside itself: no path leads to it")]
    DirectoryCycle,
}

/// Something a check has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub at: Location,
    /// What.
    pub kind: FindingKind,
    /// Repair removes it without guessing.
    pub repairable: bool,
}

impl Finding {
    /// Severity and remedy follow from kind and place.
    #[must_use]
    pub fn new(at: Location, kind: FindingKind) -> Self {
        let severity = kind.severity();
        let repairable = kind.is_repairable(at.tree);
        Self { severity, at, kind, repairable }
    }

    /// Why nothing can be corrected where this was found, if so: what is missing would be taken
    /// for what never was.
    pub(crate) fn obstacle(&self) -> Option<&'static str> {
        match &self.kind {
            FindingKind::NodeDamaged { .. }
            | FindingKind::NodeReachedTwice
            | FindingKind::KeyOutsideNode { .. }
                if !self.repairable =>
            {
                Some("a tree is damaged")
            }
            FindingKind::EntryDamaged { .. } if !self.repairable => Some("an entry is damaged"),
            FindingKind::RecordUndecodable { .. } => Some("a log record cannot be replayed"),
            FindingKind::RootMissing | FindingKind::RootNotDirectory { .. } => {
                Some("there is no root directory")
            }
            FindingKind::UnknownFeatures { .. } => Some("the volume has unknown features"),
            _ => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.severity, self.at, self.kind)?;
        match self.kind.remedy(self.repairable) {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl FindingKind {
    /// How bad this kind is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::RecordDiscarded { .. } | Self::UnknownFeatures { .. } => Severity::Note,
            Self::SuperblockCopyDamaged { .. } | Self::SealedMapIncomplete { .. } => {
                Severity::Warning
            }
            Self::NodeDamaged { .. } | Self::NodeReachedTwice | Self::RecordUndecodable { .. } => {
                Severity::Fatal
            }
            _ => Severity::Error,
        }
    }

    /// True when repair removes a finding of this kind in `tree` without guessing.
    fn is_repairable(&self, tree: Option<TreeId>) -> bool {
        match self {
            // What these trees hold follows from the others.
            Self::NodeDamaged { .. }
            | Self::NodeReachedTwice
            | Self::KeyOutsideNode { .. }
            | Self::EntryDamaged { .. } => {
                matches!(tree, Some(TreeId::Free | TreeId::Orphans | TreeId::Refs))
            }
            Self::UnknownFeatures { .. }
            | Self::RecordDiscarded { .. }
            | Self::RecordUndecodable { .. }
            | Self::OwnedTwice { .. }
            | Self::RootMissing
            | Self::RootNotDirectory { .. }
            | Self::SizeTooLarge { .. }
            | Self::InlineWithExtents
            | Self::ExtentsOfWrongKind { .. }
            | Self::ExtentWrong { .. }
            | Self::SealedMapIncomplete { .. }
            | Self::SymlinkWithoutTarget
            | Self::XattrWrong { .. }
            | Self::NameWrong { .. }
            | Self::DirectoryNamesWrong { .. }
            | Self::DirectoryCycle => false,
            _ => true,
        }
    }

    fn remedy(&self, repairable: bool) -> Option<&'static str> {
        Some(match self {
            Self::UnknownFeatures { .. } => "use a newer ashlar to repair this volume",
            Self::RecordDiscarded { .. } | Self::SealedMapIncomplete { .. } => return None,
            Self::LogCut { .. } => {
                "what the missing records said is lost; repair goes on without, and so does a mount"
            }
            Self::Nameless { .. } => "repair puts it into /lost+found",
            Self::ExtentWithoutInode { .. }
            | Self::XattrWithoutInode
            | Self::OrphanWithoutInode
            | Self::NameDangling { .. }
            | Self::NameOutsideDirectory { .. } => "repair removes it",
            Self::NodeDamaged { .. } if !repairable => {
                "copy what is still readable from a read-only mount, or restore a backup"
            }
            _ if repairable => "repair corrects it",
            _ => {
                "repairing it would need a guess: look with `ashlar dump`, remove or restore by hand"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_says_where_what_and_what_to_do() {
        let kind = FindingKind::LinkCountWrong { recorded: 3, counted: 2 };
        let finding = Finding::new(Location::inode(12), kind);
        assert_eq!(
            finding.to_string(),
            "error: inode 12: its link count is 3, it should be 2; repair corrects it"
        );
        let kind = FindingKind::NodeDamaged { problem: "checksum".into() };
        let free = Finding::new(Location::node(TreeId::Free, 40), kind.clone());
        let names = Finding::new(Location::node(TreeId::Names, 40), kind);
        assert!(free.repairable && !names.repairable);
        assert!(names.to_string().contains("names tree node at block 40"));
    }
}
