//! Extent records: values of the extents tree.
//!
//! ```text
//! OFFSET  SIZE  FIELD
//!      0     8  block    first device block
//!      8     4  count    blocks
//!     12     4  flags    1 unwritten, 2 shared
//! ```

use crate::{Corruption, Result};
use bitflags::bitflags;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

bitflags! {
    /// State of an extent.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct ExtentFlags: u32 {
        /// Allocated, reads as zeros until written.
        const UNWRITTEN = 1;
        /// May have other owners: the refs tree knows; written only after copying.
        const SHARED = 2;
    }
}

/// On-disk extent record.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawExtent {
    block: U64,
    count: U32,
    flags: U32,
}

/// Bytes of an extent record.
pub const RECORD_BYTES: usize = size_of::<RawExtent>();

/// A run of device blocks that holds a run of file blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtentRecord {
    /// First device block.
    pub block: u64,
    /// Blocks, at least 1.
    pub count: u32,
    /// State.
    pub flags: ExtentFlags,
}

impl ExtentRecord {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let raw = RawExtent {
            block: self.block.into(),
            count: self.count.into(),
            flags: self.flags.bits().into(),
        };
        let mut bytes = [0; RECORD_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Decodes a value of the extents tree.
    ///
    /// # Errors
    /// [`Corruption`] when the length is wrong, the extent is empty, or a flag is unknown.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let raw = RawExtent::read_from_bytes(bytes).map_err(|_| {
            Corruption::new("extent record", 0, format!("{} bytes long", bytes.len()))
        })?;
        let flags = ExtentFlags::from_bits(raw.flags.get()).ok_or_else(|| {
            Corruption::new("extent record", 0, format!("unknown flags {:#x}", raw.flags))
        })?;
        if raw.count.get() == 0 {
            return Err(Corruption::new("extent record", 0, "zero blocks long"));
        }
        Ok(Self { block: raw.block.get(), count: raw.count.get(), flags })
    }
}
