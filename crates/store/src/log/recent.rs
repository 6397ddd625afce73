//! Sums of unproven records: blocks that must not change in place yet.
//!
//! Rule proof-overwrite: recovery verifies the sums of every record that no later durable record
//! proves flushed. If such a block changed in place, recovery would take the record for one that
//! never finished and drop it, although it was acknowledged.
//!
//! ```text
//!   record 7 (block 40, sum of its bytes) ── flush, acknowledged
//!   block 40 overwritten in place         ── power cut before any later record
//!   recovery: 7 is not proven, the sum of block 40 differs: 7 is dropped     (wrong)
//! ```
//!
//! A write that leaves the summed bytes as they are is harmless: an append into the last block
//! of a file, whose sum ends at the old end of file.

use ashlar_format::checksum::crc32c;
use ashlar_format::limits::BLOCK_SIZE;
use ashlar_format::log::DataSums;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

#[derive(Debug, Clone, Copy)]
struct BlockSum {
    lsn: u64,
    bytes: u32,
    sum: u32,
}

/// Block numbers are spread by a multiplication; nobody chooses them to collide.
#[derive(Default)]
struct BlockHasher(u64);

impl Hasher for BlockHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, block: u64) {
        self.0 = (self.0 ^ block).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

/// The sums of records that are not proven flushed.
#[derive(Default)]
pub(crate) struct Recent {
    blocks: HashMap<u64, BlockSum, BuildHasherDefault<BlockHasher>>,
    order: VecDeque<(u64, u64, u64)>,
}

impl Recent {
    /// Record `lsn` carries these sums. A newer sum of the same block replaces the older one:
    /// it covers at least as many bytes, or the block was overwritten after a proof.
    pub(crate) fn add(&mut self, lsn: u64, sums: &DataSums) {
        let count = sums.sums.len();
        for (index, sum) in sums.sums.iter().enumerate() {
            let bytes = if index + 1 == count { sums.last_bytes } else { BLOCK_SIZE as u32 };
            self.blocks.insert(sums.block + index as u64, BlockSum { lsn, bytes, sum: *sum });
        }
        self.order.push_back((lsn, sums.block, count as u64));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Forgets what is proven.
    pub(crate) fn prune(&mut self, proof: u64) {
        while let Some(&(lsn, block, count)) = self.order.front() {
            if lsn > proof {
                return;
            }
            self.order.pop_front();
            for block in block..block + count {
                if self.blocks.get(&block).is_some_and(|sum| sum.lsn <= proof) {
                    self.blocks.remove(&block);
                }
            }
        }
    }

    /// The newest record whose sums writing `bytes` at `block` would break.
    pub(crate) fn conflict(&self, block: u64, bytes: &[u8]) -> Option<u64> {
        if self.blocks.is_empty() {
            return None;
        }
        let chunks = bytes.chunks(BLOCK_SIZE).enumerate();
        chunks
            .filter_map(|(index, chunk)| {
                let sum = self.blocks.get(&(block + index as u64))?;
                let same = chunk.get(..sum.bytes as usize).is_some_and(|b| crc32c(b) == sum.sum);
                (!same).then_some(sum.lsn)
            })
            .max()
    }

    /// The newest record with sums in a run of blocks, whatever is written there.
    pub(crate) fn newest_in(&self, block: u64, count: u64) -> Option<u64> {
        if self.blocks.is_empty() {
            return None;
        }
        (block..block + count).filter_map(|b| self.blocks.get(&b)).map(|sum| sum.lsn).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn append_behind_the_sum_is_no_conflict() {
        let mut recent = Recent::default();
        let mut block = vec![7; BLOCK_SIZE];
        recent.add(5, &DataSums::of(40, &block[..100]));
        block[100..].fill(9);
        assert_eq!(recent.conflict(40, &block), None);
        block[99] = 0;
        assert_eq!(recent.conflict(40, &block), Some(5));
        assert_eq!(recent.conflict(41, &block), None);
    }

    #[test]
    fn proven_sums_are_forgotten_but_newer_ones_stay() {
        let mut recent = Recent::default();
        recent.add(5, &DataSums::of(40, &[1; 100]));
        recent.add(6, &DataSums::of(40, &[1; 200]));
        recent.prune(5);
        assert_eq!(recent.newest_in(40, 1), Some(6));
        recent.prune(6);
        assert_eq!(recent.newest_in(30, 20), None);
        assert!(recent.order.is_empty());
    }
}
