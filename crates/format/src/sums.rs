//! Data sums of a log record: what recovery verifies where nothing proves the record flushed.
//!
//! One group for each run of freshly written blocks that the record makes reachable:
//!
//! ```text
//! first block 8, count 4, last_bytes 4, then count CRC-32Cs of 4 bytes
//! ```
//!
//! `last_bytes` is how many bytes of the run's last block are summed: those below the end of the
//! file. Bytes behind it are not reachable yet, so a later append may write them in place before
//! this record is proven flushed.

use crate::limits::BLOCK_SIZE;
use crate::{Corruption, Result};

/// Checksums of a run of freshly written blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSums {
    /// First block.
    pub block: u64,
    /// Bytes summed of the last block, 1 to 4096.
    pub last_bytes: u32,
    /// One CRC-32C a block.
    pub sums: Vec<u32>,
}

impl DataSums {
    /// Sums `bytes`, to be written from block `block` on; a partial last block is summed as far
    /// as it goes.
    #[must_use]
    pub fn of(block: u64, bytes: &[u8]) -> Self {
        let sums = bytes.chunks(BLOCK_SIZE).map(crate::checksum::crc32c).collect();
        let tail = bytes.len() % BLOCK_SIZE;
        let last_bytes = if tail == 0 { BLOCK_SIZE } else { tail } as u32;
        Self { block, last_bytes, sums }
    }

    /// Appends the group's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.block.to_le_bytes());
        out.extend_from_slice(&(self.sums.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.last_bytes.to_le_bytes());
        for sum in &self.sums {
            out.extend_from_slice(&sum.to_le_bytes());
        }
    }

    /// Bytes that [`Self::encode`] appends.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        16 + 4 * self.sums.len()
    }

    /// The same sums in groups of at most `count` blocks.
    pub fn split(&self, count: usize) -> impl Iterator<Item = Self> + '_ {
        let parts = self.sums.chunks(count).enumerate();
        parts.map(move |(index, sums)| {
            let last = (index + 1) * count >= self.sums.len();
            Self {
                block: self.block + (index * count) as u64,
                last_bytes: if last { self.last_bytes } else { BLOCK_SIZE as u32 },
                sums: sums.to_vec(),
            }
        })
    }

    /// Decodes all groups of a record.
    ///
    /// # Errors
    /// [`Corruption`] when the bytes do not divide into groups.
    pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<Self>> {
        let mut groups = Vec::new();
        while !bytes.is_empty() {
            let (group, rest) = Self::decode(bytes).ok_or_else(|| {
                Corruption::new("log record", 0, format!("bad sums {} bytes long", bytes.len()))
            })?;
            groups.push(group);
            bytes = rest;
        }
        Ok(groups)
    }

    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (block, rest) = bytes.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (last, rest) = rest.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let last_bytes = u32::from_le_bytes(*last);
        let (sums, rest) = rest.split_at_checked(count.checked_mul(4)?)?;
        let block = u64::from_le_bytes(*block);
        block.checked_add(count as u64)?;
        if count == 0 || last_bytes == 0 || last_bytes > BLOCK_SIZE as u32 {
            return None;
        }
        let sums = sums
            .chunks_exact(4)
            .map(|sum| u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]))
            .collect();
        Some((Self { block, last_bytes, sums }, rest))
    }
}
