//! What is written: superblocks, nodes, records; and what a record's edits do to the trees.

use super::disk::{Bytes, CELLS};
use std::hash::{Hash, Hasher};
use xxhash_rust::xxh3::Xxh3;

/// Blocks of the largest file.
pub const FILE_BLOCKS: usize = 2;

/// A file's inode and block map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FileMap {
    /// Places of its blocks; those behind the end are 0.
    pub blocks: [u8; FILE_BLOCKS],
    /// Cells in front of its end.
    pub size: u8,
    /// The map must not change.
    pub sealed: bool,
}

impl FileMap {
    /// Blocks in front of the end.
    #[must_use]
    pub fn block_count(&self) -> usize {
        usize::from(self.size).div_ceil(CELLS)
    }

    /// Its blocks.
    pub fn used(&self) -> impl Iterator<Item = u8> + '_ {
        self.blocks[..self.block_count()].iter().copied()
    }

    /// Cells of block `index` in front of the end.
    #[must_use]
    pub fn covered(&self, index: usize) -> usize {
        usize::from(self.size).saturating_sub(index * CELLS).min(CELLS)
    }
}

/// Block numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BlockSet(u32);

impl BlockSet {
    /// Blocks `1..count`.
    #[must_use]
    pub fn first(count: u8) -> Self {
        Self((1 << count) - 2)
    }
    /// Adds a block.
    pub fn insert(&mut self, block: u8) {
        self.0 |= 1 << block;
    }
    /// Takes a block out.
    pub fn remove(&mut self, block: u8) {
        self.0 &= !(1 << block);
    }
    /// True when the block is in it.
    #[must_use]
    pub fn has(self, block: u8) -> bool {
        self.0 & (1 << block) != 0
    }
    /// Ascending.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = u8> {
        (0..32).filter(move |block| self.has(*block))
    }
}

/// The trees of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// Files by number.
    pub files: Vec<FileMap>,
    /// Free blocks.
    pub free: BlockSet,
}

impl Snapshot {
    /// Applies an edit: the same live and at replay.
    pub fn apply(&mut self, edit: &Edit) {
        match *edit {
            Edit::Put(file, map) => self.files[usize::from(file)] = map,
            Edit::Alloc(block) => self.free.remove(block),
            Edit::Free(block) => self.free.insert(block),
            Edit::Journal(..) | Edit::Revoke(_) => {}
        }
    }
}

/// Which checkpoint counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Superblock {
    /// Higher counts.
    pub generation: u32,
    /// Where its node is.
    pub node: u8,
    /// The last record that is contained.
    pub tail: u32,
    /// Its checksum.
    pub tail_sum: u64,
    /// Proven flushed.
    pub flushed: u32,
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edit {
    /// A file's inode and map.
    Put(u8, FileMap),
    /// A block is taken.
    Alloc(u8),
    /// A block is given back.
    Free(u8),
    /// These bytes belong to a block.
    Journal(u8, Bytes),
    /// What earlier records journaled for a block is void.
    Revoke(u8),
}

/// The bytes that a record makes reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sum {
    /// Where.
    pub block: u8,
    /// Cells that count, from the first.
    pub covered: usize,
    /// What they hold.
    pub bytes: Bytes,
}

impl Sum {
    /// True when the block's summed cells are these.
    #[must_use]
    pub fn matches(&self, bytes: Bytes) -> bool {
        self.bytes[..self.covered] == bytes[..self.covered]
    }
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Record {
    /// Its number.
    pub lsn: u32,
    /// Checksum of the record before.
    pub previous: u64,
    /// All records up to this one were flushed when it was written.
    pub flushed: u32,
    /// Changes.
    pub edits: Vec<Edit>,
    /// Sums of data.
    pub sums: Vec<Sum>,
    /// Counts only if the superblock reached this generation.
    pub checkpoint: Option<u32>,
    /// Counts only with the next record.
    pub unfinished: bool,
    /// Says that a recovery wrote it.
    pub mark: bool,
}

impl Record {
    /// Its checksum: of all that it says.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        let mut hasher = Xxh3::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}
