//! What never changes about a volume while it is open.

use ashlar_format::limits::BLOCK_BYTES;
use ashlar_format::superblock::Superblock;

/// Identity and layout of a volume.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) uuid: [u8; 16],
    pub(crate) block_count: u64,
    pub(crate) group_blocks: u64,
    pub(crate) log_start: u64,
    pub(crate) log_blocks: u64,
    pub(crate) hash_seed: u64,
    pub(crate) created: i64,
    /// Padding unit of log records, bytes: the device's sector.
    pub(crate) sector: u32,
}

impl Geometry {
    pub(crate) fn of(superblock: &Superblock, sector: u32) -> Self {
        Self {
            uuid: superblock.uuid,
            block_count: superblock.block_count,
            group_blocks: superblock.group_blocks,
            log_start: superblock.log_start,
            log_blocks: superblock.log_blocks,
            hash_seed: superblock.hash_seed,
            created: superblock.created,
            sector,
        }
    }

    /// First block that files and nodes may use.
    pub(crate) fn data_start(&self) -> u64 {
        self.log_start + self.log_blocks
    }

    pub(crate) fn group_count(&self) -> u64 {
        self.block_count.div_ceil(self.group_blocks)
    }

    pub(crate) fn group_of(&self, block: u64) -> u64 {
        block / self.group_blocks
    }

    /// Blocks of a group, cut by the volume's end.
    pub(crate) fn group_range(&self, group: u64) -> std::ops::Range<u64> {
        let start = group * self.group_blocks;
        start..(start + self.group_blocks).min(self.block_count)
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_blocks * BLOCK_BYTES
    }

    /// True when the run lies in the area that files and nodes use.
    pub(crate) fn holds(&self, block: u64, count: u64) -> bool {
        block >= self.data_start()
            && count > 0
            && block.checked_add(count).is_some_and(|end| end <= self.block_count)
    }
}
