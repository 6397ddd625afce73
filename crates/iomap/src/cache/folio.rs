//! A folio: the unit of the cache, a naturally aligned power of two of bytes of one file.
//!
//! ```text
//!   folio   64 KiB at most, one buffer
//!           |b0|b1|b2|b3|b4|b5|b6|b7|
//!   uptodate 1  1  1  1  0  0  0  0     the buffer holds the file's bytes
//!   dirty    0  1  1  0  0  0  0  0     newer than what is on the device
//!   writeback0  0  1  0  0  0  0  0     a writeback took these bytes and is not done
//!   reading  0  0  0  0  1  1  0  0     somebody is reading these from the device
//! ```
//!
//! States of one block and what moves it:
//! ```text
//!   absent --Fill::plan--> reading --Fill::finish--> clean <--finish_writeback-- writeback
//!      \                                             |  ^                        ^    |
//!       `------------------ write -----------------> dirty --take_dirty----------'    |
//!                                                    ^------------- write -------------'
//! ```
//!
//! Invariants:
//! - (F1) dirty ⊆ uptodate, writeback ⊆ uptodate, reading ∩ uptodate = ∅ once a write came.
//! - (F2) bytes of a block that is not uptodate are arbitrary and are never shown to anyone.
//! - (F3) a buffer that somebody else holds (a reader's snapshot, an ioend) is never changed: the
//!   writer copies it first ([`Folio::bytes_mut`]).
//! - (F4) a folio that is dirty, under writeback or being read is not evicted.

use std::ops::Range;
use std::sync::Arc;

use ashlar_device::AlignedBuf;

use crate::cache::buffers::Buffers;

/// Smallest folio: the buffers are aligned to it.
pub(crate) const FOLIO_SIZE_MIN: u64 = 4096;
/// Largest folio: large enough for cheap sequential I/O, small enough that copying one on a write
/// under writeback does not hurt.
pub(crate) const FOLIO_SIZE_MAX: u64 = 64 * 1024;
/// Blocks of a folio, one bit each.
pub(crate) const FOLIO_BLOCKS_MAX: u64 = 64;

/// A set of blocks of one folio: bit *i* is block *i*.
pub(crate) type Blocks = u64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Folio {
    /// `None` while the only thing in sight is a read under way.
    pub(crate) data: Option<Arc<AlignedBuf>>,
    pub(crate) uptodate: Blocks,
    pub(crate) dirty: Blocks,
    pub(crate) writeback: Blocks,
    pub(crate) reading: Blocks,
    /// Tells this folio from an earlier one at the same offset.
    pub(crate) id: u32,
    /// Grows when reads under way are called off; a read that began under another epoch is ignored.
    pub(crate) fill_epoch: u32,
    /// log2 of the size in bytes.
    size_shift: u8,
    /// log2 of the block size.
    block_shift: u8,
    /// Accesses since it was last looked at by reclaim, at most [`HEAT_MAX`].
    pub(crate) heat: u8,
    /// Whether the pool's queues hold an entry for it.
    pub(crate) queued: bool,
}

/// More accesses than this are not counted (S3-FIFO counts two bits).
pub(crate) const HEAT_MAX: u8 = 3;

impl Folio {
    /// An empty folio of `size` bytes, a power of two.
    pub(crate) fn new(id: u32, size: u64, block_shift: u8) -> Self {
        debug_assert!(size.is_power_of_two() && size >> block_shift <= FOLIO_BLOCKS_MAX);
        Self {
            data: None,
            uptodate: 0,
            dirty: 0,
            writeback: 0,
            reading: 0,
            id,
            fill_epoch: 0,
            // A power of two below 2^64 has at most 63 trailing zeros.
            size_shift: size.trailing_zeros() as u8,
            block_shift,
            heat: 0,
            queued: false,
        }
    }

    /// Bytes it covers.
    pub(crate) fn size(&self) -> u64 {
        1 << self.size_shift
    }

    /// The blocks that `range` of the file touches, if the folio starts at `start`.
    pub(crate) fn touched(&self, start: u64, range: &Range<u64>) -> Blocks {
        let from = range.start.max(start);
        let to = range.end.min(start + self.size());
        if from >= to {
            return 0;
        }
        let first = (from - start) >> self.block_shift;
        let end = (to - start).div_ceil(1 << self.block_shift);
        blocks(first, end)
    }

    /// The bytes of the buffer that a run of blocks occupies.
    pub(crate) fn byte_range(&self, run: &Range<u32>) -> Range<usize> {
        (run.start as usize) << self.block_shift..(run.end as usize) << self.block_shift
    }

    /// The part of the file that a run of blocks covers, if the folio starts at `start`.
    pub(crate) fn file_range(&self, start: u64, run: &Range<u32>) -> Range<u64> {
        start + (u64::from(run.start) << self.block_shift)
            ..start + (u64::from(run.end) << self.block_shift)
    }

    /// F4: whether reclaim must leave it alone.
    pub(crate) fn is_pinned(&self) -> bool {
        (self.dirty | self.writeback | self.reading) != 0
    }

    /// The buffer for writing. F3: when somebody holds it, it is replaced by a copy first, of which
    /// the blocks in `overwritten` need not be kept.
    pub(crate) fn bytes_mut(&mut self, buffers: &Buffers, overwritten: Blocks) -> &mut [u8] {
        let size = 1usize << self.size_shift;
        let keep = self.uptodate & !overwritten;
        let exclusive = self.data.as_mut().is_some_and(|data| Arc::get_mut(data).is_some());
        if !exclusive {
            let mut copy = buffers.take(size);
            if let Some(old) = self.data.take() {
                let target = exclusive_bytes(&mut copy);
                for run in runs(keep) {
                    let bytes = self.byte_range(&run);
                    target[bytes.clone()].copy_from_slice(&old[bytes]);
                }
            }
            self.data = Some(copy);
        }
        let data = self.data.as_mut().expect("the buffer was just put there");
        exclusive_bytes(data)
    }

    /// Forgets some blocks, and all reads under way: their bytes will not be taken, not even if the
    /// same blocks are read again meanwhile. The dirty and writeback sets are the caller's.
    pub(crate) fn forget(&mut self, blocks: Blocks) {
        self.uptodate &= !blocks;
        self.reading = 0;
        self.fill_epoch = self.fill_epoch.wrapping_add(1);
    }
}

/// The bytes of a buffer that only we hold.
pub(crate) fn exclusive_bytes(buffer: &mut Arc<AlignedBuf>) -> &mut [u8] {
    Arc::get_mut(buffer).expect("F3: the buffer is ours alone")
}

/// Blocks `first..end` of a folio.
pub(crate) fn blocks(first: u64, end: u64) -> Blocks {
    debug_assert!(first <= end && end <= FOLIO_BLOCKS_MAX);
    let below_end = if end == FOLIO_BLOCKS_MAX { u64::MAX } else { (1 << end) - 1 };
    let below_first = if first == FOLIO_BLOCKS_MAX { u64::MAX } else { (1 << first) - 1 };
    below_end & !below_first
}

/// The runs of neighbouring blocks of a set, in order.
pub(crate) fn runs(mut set: Blocks) -> impl Iterator<Item = Range<u32>> {
    std::iter::from_fn(move || {
        if set == 0 {
            return None;
        }
        let first = set.trailing_zeros();
        let length = (set >> first).trailing_ones();
        let run = first..first + length;
        set &= !blocks(u64::from(run.start), u64::from(run.end));
        Some(run)
    })
}

/// Size of a new folio that holds the block at `offset` and does not reach past `end`, the end of
/// what the operation touches, nor into the folio that starts at `next`.
///
/// ```text
///   offset = 20 K, end = 80 K           |----16K----|---------- 64K aligned ...
///   0        16K   20K 24K    32K              64K   80K
///   |---------|-----|###|######|################|#####|
///                    4K   8K          32K        16K      naturally aligned, never overlapping
/// ```
pub(crate) fn folio_range(offset: u64, end: u64, next: u64, block_size: u64) -> Range<u64> {
    let size_min = block_size.max(FOLIO_SIZE_MIN);
    let size_max = FOLIO_SIZE_MAX.min(block_size.saturating_mul(FOLIO_BLOCKS_MAX)).max(size_min);
    let start = offset & !(size_min - 1);
    let limit = end.min(next);
    let mut size = size_min;
    while size < size_max && start & size == 0 && start + size * 2 <= limit {
        size *= 2;
    }
    start..start + size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_split_a_set_at_its_gaps() {
        let found: Vec<_> = runs(0b1110_0101).collect();
        assert_eq!(found, [0..1, 2..3, 5..8]);
        assert_eq!(runs(u64::MAX).collect::<Vec<_>>(), std::iter::once(0..64).collect::<Vec<_>>());
        assert_eq!(runs(1 << 63).collect::<Vec<_>>(), std::iter::once(63..64).collect::<Vec<_>>());
    }

    #[test]
    fn folios_grow_with_alignment_and_stop_at_neighbours() {
        let k = 1024;
        assert_eq!(folio_range(100, 200, u64::MAX, 4096), 0..4096, "a small write costs a block");
        assert_eq!(folio_range(20 * k, 80 * k, u64::MAX, 4096), 20 * k..24 * k);
        assert_eq!(folio_range(24 * k, 80 * k, u64::MAX, 4096), 24 * k..32 * k);
        assert_eq!(folio_range(32 * k, 80 * k, u64::MAX, 4096), 32 * k..64 * k);
        assert_eq!(folio_range(0, 1024 * k, u64::MAX, 4096), 0..64 * k, "64 KiB at most");
        assert_eq!(folio_range(0, 1024 * k, 16 * k, 4096), 0..16 * k, "not into a neighbour");
        assert_eq!(folio_range(0, 1024 * k, u64::MAX, 512), 0..32 * k, "64 blocks at most");
        assert_eq!(folio_range(700, 710, u64::MAX, 512), 0..4096, "buffers are pages");
        assert_eq!(folio_range(0, 1 << 20, u64::MAX, 65536), 0..65536);
    }

    #[test]
    fn writing_copies_a_buffer_that_is_held_and_keeps_what_matters() {
        let buffers = Buffers::new(1 << 20);
        let mut folio = Folio::new(1, 8192, 12);
        folio.bytes_mut(&buffers, 0).fill(7);
        folio.uptodate = 0b11;
        let held = Arc::clone(folio.data.as_ref().expect("data"));
        folio.bytes_mut(&buffers, 0b01)[..4096].fill(9);
        assert!(held.iter().all(|&byte| byte == 7), "F3: held bytes do not change");
        let now = folio.data.as_ref().expect("data");
        assert!(now[..4096].iter().all(|&byte| byte == 9));
        assert!(now[4096..].iter().all(|&byte| byte == 7));
        let address = now.as_ptr();
        drop(held);
        assert_eq!(folio.bytes_mut(&buffers, 0).as_ptr(), address, "alone: no copy");
    }
}
