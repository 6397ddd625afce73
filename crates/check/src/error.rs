//! What keeps a check, a repair or a dump from running at all.

use ashlar_device::DeviceError;
use ashlar_format::Corruption;
use thiserror::Error;

/// Result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure to operate, as opposed to a [`crate::Finding`] about the volume. An `fsck` that ends
/// with one exits with 8.
#[derive(Debug, Error)]
pub enum Error {
    /// The device failed where there is no way on without it.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Neither superblock copy is valid: not a volume, or nothing is left to start from.
    #[error("neither superblock copy is valid ({first}; {second}): is this an Ashlar volume?")]
    NoSuperblock {
        /// What is wrong with copy 0.
        first: String,
        /// What is wrong with copy 1.
        second: String,
    },
    /// The volume uses features that this version does not know.
    #[error(
        "the volume needs features that this version does not know (incompat {bits:#x}); use a \
         newer ashlar"
    )]
    Unsupported {
        /// The unknown bits.
        bits: u64,
    },
    /// The volume says it is larger than the device.
    #[error(
        "the volume has {blocks} blocks of 4 KiB but the device only {device}: truncated image?"
    )]
    Truncated {
        /// Blocks by the superblock.
        blocks: u64,
        /// Blocks of the device.
        device: u64,
    },
    /// The volume is larger than what can be checked in bounded memory.
    #[error(
        "the volume has {blocks} blocks in {groups} groups; at most {blocks_max} in {groups_max} \
         can be checked"
    )]
    TooLarge {
        /// Blocks by the superblock.
        blocks: u64,
        /// Groups by the superblock.
        groups: u64,
        /// Most blocks.
        blocks_max: u64,
        /// Most groups.
        groups_max: u64,
    },
    /// Repair found no free blocks to write corrected nodes to.
    #[error("no four free blocks in a row for a corrected tree node; nothing was changed")]
    NoSpace,
    /// Repair found no room behind the last record of the log.
    #[error("the log is full up to its last record; mount and unmount the volume, then repair")]
    LogFull,
    /// Something asked for is not on the volume.
    #[error("{what} does not exist on this volume")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// A structure that was asked for is damaged.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// The output could not be written.
    #[error("output failed: {0}")]
    Output(#[from] std::io::Error),
}
