//! The kinds of findings: one for each invariant of a volume.

use super::Severity;
use super::problem::{
    ExtentProblem, FreeExtentProblem, NameProblem, Owner, SpaceEditProblem, XattrProblem,
};
use crate::print;
use ashlar_format::inode::FileKind;
use ashlar_format::key::TreeId;
use thiserror::Error;

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
    pub(super) fn is_repairable(&self, tree: Option<TreeId>) -> bool {
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

    pub(super) fn remedy(&self, repairable: bool) -> Option<&'static str> {
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
                "correcting it would need a guess: look with `ashlar dump`, then remove or restore"
            }
        })
    }
}
