//! A volume as it lies on its device: superblock and geometry.
//!
//! Called by every pass and by the dump; reads the device, writes nothing.

use crate::error::{Error, Result};
use ashlar_device::{AlignedBuf, Device};
use ashlar_format::Corruption;
use ashlar_format::key::TreeId;
use ashlar_format::limits::{BLOCK_BYTES, BLOCK_SIZE, GROUP_COUNT_MAX, SUPERBLOCK_BLOCKS};
use ashlar_format::node::NodePointer;
use ashlar_format::superblock::{COPY_COUNT, Superblock, newest};
use std::ops::Range;

/// Largest volume that is checked, blocks (1 PiB): bounds the maps of owned and free blocks.
pub(crate) const CHECKED_BLOCKS_MAX: u64 = 1 << 38;

/// A volume, open for reading.
#[derive(Debug)]
pub(crate) struct Volume<'a> {
    pub(crate) device: &'a dyn Device,
    pub(crate) superblock: Superblock,
    /// What is wrong with the superblock copy that does not count, if anything.
    pub(crate) damaged_copy: Option<Corruption>,
}

impl<'a> Volume<'a> {
    /// Reads both superblock copies.
    ///
    /// # Errors
    /// No valid copy, unknown incompat features, a volume that passes its device's end or the
    /// limits of this check.
    pub(crate) fn open(device: &'a dyn Device) -> Result<Self> {
        let copies = read_copies(device)?;
        let damaged_copy = match &copies {
            [Ok(_), Err(damage)] | [Err(damage), Ok(_)] => Some(damage.clone()),
            [Err(first), Err(second)] => {
                let (first, second) = (first.problem.clone(), second.problem.clone());
                return Err(Error::NoSuperblock { first, second });
            }
            [Ok(_), Ok(_)] => None,
        };
        let superblock = newest(copies)?;
        let (_, _, bits) = superblock.unknown_features();
        if bits != 0 {
            return Err(Error::Unsupported { bits });
        }
        let device_blocks = device.topology().capacity / BLOCK_BYTES;
        if superblock.block_count > device_blocks {
            let blocks = superblock.block_count;
            return Err(Error::Truncated { blocks, device: device_blocks });
        }
        if superblock.block_count > CHECKED_BLOCKS_MAX || superblock.group_count() > GROUP_COUNT_MAX
        {
            return Err(Error::TooLarge {
                blocks: superblock.block_count,
                groups: superblock.group_count(),
                blocks_max: CHECKED_BLOCKS_MAX,
                groups_max: GROUP_COUNT_MAX,
            });
        }
        Ok(Self { device, superblock, damaged_copy })
    }

    /// Blocks that files and nodes may use.
    pub(crate) fn data_range(&self) -> Range<u64> {
        self.superblock.data_start()..self.superblock.block_count
    }

    /// True when the run is not empty and lies in the area that files and nodes use.
    pub(crate) fn holds(&self, block: u64, count: u64) -> bool {
        let data = self.data_range();
        count > 0
            && block >= data.start
            && block.checked_add(count).is_some_and(|end| end <= data.end)
    }

    /// Allocation group of a block.
    pub(crate) fn group_of(&self, block: u64) -> u64 {
        block / self.superblock.group_blocks
    }

    /// Blocks of a group, cut by the volume's end. `group` must be one of the volume's.
    pub(crate) fn group_range(&self, group: u64) -> Range<u64> {
        let start = group * self.superblock.group_blocks;
        start..start.saturating_add(self.superblock.group_blocks).min(self.superblock.block_count)
    }

    /// Bytes of the log.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.superblock.log_blocks * BLOCK_BYTES
    }

    /// Root of a tree with its level, or `None` for an empty tree.
    pub(crate) fn root(&self, tree: TreeId) -> Option<(NodePointer, u8)> {
        let root = self.superblock.roots.get(tree as usize).copied().flatten()?;
        Some((root.pointer, root.level))
    }
}

/// Both copies as they decode.
pub(crate) fn read_copies(
    device: &dyn Device,
) -> Result<[ashlar_format::Result<Superblock>; COPY_COUNT as usize]> {
    if device.topology().capacity < SUPERBLOCK_BLOCKS * BLOCK_BYTES {
        let problem = format!("a device of {} bytes", device.topology().capacity);
        return Err(Error::NoSuperblock { first: problem.clone(), second: problem });
    }
    Ok([read_copy(device, 0), read_copy(device, 1)])
}

/// One copy; where it cannot be read the other one may still do.
fn read_copy(device: &dyn Device, copy: u64) -> ashlar_format::Result<Superblock> {
    let mut buf = AlignedBuf::new_zeroed(BLOCK_SIZE);
    device
        .read_at(copy * BLOCK_BYTES, &mut buf)
        .map_err(|error| Corruption::new("superblock", copy, error.to_string()))?;
    Superblock::decode(copy, &buf)
}
