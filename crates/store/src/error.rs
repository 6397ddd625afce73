//! What can go wrong below files and names.

use ashlar_device::DeviceError;
use ashlar_format::Corruption;
use std::sync::Arc;
use thiserror::Error;

/// Result of store operations.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the store. Cloneable, since the first fatal one is kept and shown to everyone
/// who comes later.
#[derive(Debug, Clone, Error)]
pub enum Error {
    /// The device failed.
    #[error("{0}")]
    Device(Arc<DeviceError>),
    /// Bytes on the device are wrong.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// No room for what was asked.
    #[error("no space: {needed} blocks of 4 KiB needed, {available} available")]
    NoSpace {
        /// Blocks asked for.
        needed: u64,
        /// Blocks that could have been given.
        available: u64,
    },
    /// A transaction is larger than the log can hold at once.
    #[error("a change of {bytes} bytes of log is too large to be made at once: {max} is the most")]
    TooLarge {
        /// Bytes that the transaction needs.
        bytes: usize,
        /// Bytes that the log can take.
        max: usize,
    },
    /// The volume is open for reading only.
    #[error("the volume is mounted read-only")]
    ReadOnly,
    /// The volume stopped taking changes after a failure, or was closed.
    #[error("the volume has shut down: {cause}; unmount it, then run `ashlar fsck`")]
    Shutdown {
        /// The first failure.
        cause: Arc<str>,
    },
    /// The volume uses features that this version does not know.
    #[error(
        "the volume needs features that this version does not know ({kind} {bits:#x}); use a newer \
         ashlar"
    )]
    Unsupported {
        /// "incompat" or "ro_compat".
        kind: &'static str,
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
    /// The device is too small or too large for a volume.
    #[error("a volume needs 16 MiB to 4 EiB, the device has {bytes} bytes")]
    Size {
        /// Bytes of the device.
        bytes: u64,
    },
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        Self::Device(Arc::new(error))
    }
}

impl From<ashlar_btree::Error> for Error {
    fn from(error: ashlar_btree::Error) -> Self {
        match error {
            ashlar_btree::Error::Corrupt(corruption) => Self::Corrupt(corruption),
            ashlar_btree::Error::Io(source) => match source.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => Self::Corrupt(Corruption::new("tree", 0, other.to_string())),
            },
        }
    }
}
