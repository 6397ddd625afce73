//! The block map of one inode: extents in order, and what follows from them.

use crate::finding::{ExtentProblem, FindingKind, Location};
use ashlar_format::extent::{ExtentFlags, ExtentRecord};
use ashlar_format::limits::{BLOCK_BYTES, EXTENT_BLOCKS_MAX, FILE_BYTES_MAX};

/// File blocks that offsets can reach.
const FILE_BLOCKS_MAX: u64 = FILE_BYTES_MAX.div_ceil(BLOCK_BYTES);

/// What the extents of an inode add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FileMap {
    /// Blocks in all extents.
    pub(crate) blocks: u64,
    /// Number of extents.
    pub(crate) extents: u64,
    /// End of the last extent, in file blocks.
    end: u64,
    /// File blocks from 0 on that are mapped, written and not shared without a gap.
    complete: u64,
}

impl FileMap {
    /// Adds the next extent; `in_data_area` says of its device blocks. Returns what is wrong.
    pub(crate) fn add(
        &mut self,
        file_block: u64,
        extent: &ExtentRecord,
        in_data_area: bool,
    ) -> Option<ExtentProblem> {
        let count = u64::from(extent.count);
        let end = file_block.saturating_add(count);
        let overlaps = self.extents > 0 && file_block < self.end;
        self.extents += 1;
        self.blocks = self.blocks.saturating_add(count);
        self.end = self.end.max(end);
        if extent.flags.is_empty() && file_block == self.complete {
            self.complete = end;
        }
        if !in_data_area {
            Some(ExtentProblem::Outside)
        } else if overlaps {
            Some(ExtentProblem::Overlaps)
        } else if end > FILE_BLOCKS_MAX {
            Some(ExtentProblem::TooFar)
        } else if count > EXTENT_BLOCKS_MAX {
            Some(ExtentProblem::TooLong)
        } else {
            None
        }
    }

    /// First file block below `size` bytes that is a hole, unwritten or shared.
    pub(crate) fn first_incomplete(&self, size: u64) -> Option<u64> {
        (self.complete < size.div_ceil(BLOCK_BYTES)).then_some(self.complete)
    }
}

/// The finding for a wrong extent.
pub(crate) fn wrong(
    ino: u64,
    file_block: u64,
    extent: &ExtentRecord,
    problem: ExtentProblem,
) -> (Location, FindingKind) {
    let (block, count) = (extent.block, u64::from(extent.count));
    (Location::inode(ino), FindingKind::ExtentWrong { file_block, block, count, problem })
}

/// True when nothing may be said to be shared, but this extent does.
pub(crate) fn is_shared(extent: &ExtentRecord) -> bool {
    extent.flags.contains(ExtentFlags::SHARED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(block: u64, count: u32, flags: ExtentFlags) -> ExtentRecord {
        ExtentRecord { block, count, flags }
    }

    #[test]
    fn overlap_is_found_where_ranges_meet() {
        // file blocks   0   4   8
        // first         |---|
        // touching          |---|      allowed
        // one less         |---|       overlap
        let mut map = FileMap::default();
        let plain = extent(100, 4, ExtentFlags::empty());
        assert_eq!(map.add(0, &plain, true), None);
        let mut touching = map;
        assert_eq!(touching.add(4, &plain, true), None);
        assert_eq!(touching.first_incomplete(8 * BLOCK_BYTES), None);
        assert_eq!(map.add(3, &plain, true), Some(ExtentProblem::Overlaps));
    }

    #[test]
    fn map_is_incomplete_at_holes_and_unwritten_extents() {
        let mut map = FileMap::default();
        map.add(0, &extent(100, 4, ExtentFlags::empty()), true);
        assert_eq!(map.first_incomplete(4 * BLOCK_BYTES), None);
        assert_eq!(map.first_incomplete(4 * BLOCK_BYTES + 1), Some(4));
        map.add(4, &extent(200, 4, ExtentFlags::UNWRITTEN), true);
        assert_eq!(map.first_incomplete(8 * BLOCK_BYTES), Some(4));
    }

    #[test]
    fn extent_at_the_end_of_all_offsets_is_allowed_and_one_behind_is_not() {
        let last = extent(100, 1, ExtentFlags::empty());
        assert_eq!(FileMap::default().add(FILE_BLOCKS_MAX - 1, &last, true), None);
        let behind = FileMap::default().add(FILE_BLOCKS_MAX, &last, true);
        assert_eq!(behind, Some(ExtentProblem::TooFar));
        assert_eq!(FileMap::default().add(u64::MAX, &last, true), Some(ExtentProblem::TooFar));
    }
}
