//! The block map of a file: extents in the tree, and in memory what is promised or granted but not
//! committed yet.
//!
//! Called by `mapping/` and `file/` → calls the store.
//!
//! ```text
//!   write ──> promised (delalloc) ──map_blocks──> granted ──submit: one transaction──> extent
//!                  └── truncate, discard ──> gone        └── submit failed ──> promised
//! ```
//!
//! Definitions
//! * *promised*: the blocks hold dirty data and as many blocks of space are reserved; no place yet.
//! * *granted*: a place was taken in memory and data is on its way there; no transaction speaks of
//!   it.
//!
//! Invariants
//! * (M1) the reservation is exactly as large as the promised ranges together.
//! * (M2) promised, granted and committed extents of a file do not overlap; of an atomic file, the
//!   first two may lie over committed ones, which stay as they are until the commit.
//! * (M3) each change of what a mapping given out said raises the cookie, with the map locked.
//!
//! Locking: one lock a file (6 in the order of locks), held over the transaction that edits the
//! tree, so that nobody else edits the same file's extents between the look and the commit.

pub(crate) mod delalloc;
pub(crate) mod edit;
mod lookup;
pub(crate) mod shift;

use crate::atomic::Holders;
use crate::atomic::staged::Staged;
use crate::error::Result;
use ashlar_format::Corruption;
use ashlar_format::extent::{ExtentFlags, ExtentRecord};
use ashlar_format::limits::BLOCK_BYTES;
use ashlar_store::{Grant, Reservation};
use delalloc::Ranges;
use parking_lot::{Mutex, MutexGuard};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use lookup::Found;

/// A run of file blocks on a run of device blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First block in the file.
    pub(crate) start: u64,
    /// First block on the device.
    pub(crate) block: u64,
    /// Blocks.
    pub(crate) count: u64,
    pub(crate) flags: ExtentFlags,
}

impl Extent {
    /// A written extent.
    pub(crate) fn written(start: u64, block: u64, count: u64) -> Self {
        Self { start, block, count, flags: ExtentFlags::empty() }
    }

    /// From a tree entry; `block_count` is the volume's.
    ///
    /// # Errors
    /// Damage: the extent leaves the volume or the range of file offsets.
    pub(crate) fn decode(start: u64, value: &[u8], block_count: u64) -> Result<Self> {
        let record = ExtentRecord::decode(value)?;
        let count = u64::from(record.count);
        let on_device = record.block.checked_add(count).is_some_and(|end| end <= block_count);
        let in_file = start.checked_add(count).is_some_and(|end| end <= FILE_BLOCKS_MAX);
        if !on_device || !in_file {
            let problem =
                format!("{count} blocks from file block {start} leave the volume or file");
            return Err(Corruption::new("extent record", record.block, problem).into());
        }
        Ok(Self { start, block: record.block, count, flags: record.flags })
    }

    pub(crate) fn record(&self) -> ExtentRecord {
        // Extents are at most EXTENT_BLOCKS_MAX long, which fits.
        ExtentRecord { block: self.block, count: self.count as u32, flags: self.flags }
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.count
    }

    pub(crate) fn is_unwritten(&self) -> bool {
        self.flags.contains(ExtentFlags::UNWRITTEN)
    }

    /// The part of it in a range of file blocks, which it touches.
    pub(crate) fn cut(&self, range: &Range<u64>) -> Self {
        let start = self.start.max(range.start);
        let end = self.end().min(range.end);
        Self { start, block: self.block + (start - self.start), count: end - start, ..*self }
    }

    /// Whether `next` goes on where this ends, in the file and on the device.
    pub(crate) fn continues_in(&self, next: &Self) -> bool {
        self.end() == next.start
            && self.block + self.count == next.block
            && self.flags == next.flags
    }
}

/// File blocks below the largest file size.
pub(crate) const FILE_BLOCKS_MAX: u64 = (1 << 63) / BLOCK_BYTES;

/// The file blocks that a range of bytes touches.
pub(crate) fn blocks_touched(bytes: &Range<u64>) -> Range<u64> {
    bytes.start / BLOCK_BYTES..bytes.end.div_ceil(BLOCK_BYTES)
}

/// The file blocks that lie wholly in a range of bytes; may be empty.
pub(crate) fn blocks_inside(bytes: &Range<u64>) -> Range<u64> {
    let start = bytes.start.div_ceil(BLOCK_BYTES);
    start..(bytes.end / BLOCK_BYTES).max(start)
}

/// Blocks taken for a range of the file whose data is on its way.
#[derive(Debug)]
pub(crate) struct Granted {
    /// First block in the file.
    pub(crate) start: u64,
    pub(crate) grant: Grant,
}

impl Granted {
    pub(crate) fn end(&self) -> u64 {
        self.start + self.grant.count()
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent::written(self.start, self.grant.block(), self.grant.count())
    }
}

/// What the map lock protects.
#[derive(Debug, Default)]
pub(crate) struct MapState {
    pub(crate) promised: Ranges,
    pub(crate) reservation: Option<Reservation>,
    /// In no order; a few.
    pub(crate) granted: Vec<Granted>,
    /// Of an atomic file: what its working image has in place of committed extents.
    pub(crate) staged: Staged,
    /// Who holds the file atomic.
    pub(crate) holders: Holders,
    /// The extent found last: the next block is usually in it.
    recent: Option<Extent>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct BlockMap {
    state: Mutex<MapState>,
    cookie: AtomicU64,
    /// Blocks promised and granted, for stat(2).
    promised: AtomicU64,
}

impl BlockMap {
    /// The map, locked.
    pub(crate) fn lock(&self) -> MapGuard<'_> {
        MapGuard { map: self, state: self.state.lock() }
    }

    /// Version of the map: what a mapping carries and `is_valid` compares.
    pub(crate) fn cookie(&self) -> u64 {
        self.cookie.load(Ordering::Acquire)
    }

    /// Blocks promised and granted, not counted exactly.
    pub(crate) fn promised_hint(&self) -> u64 {
        self.promised.load(Ordering::Relaxed)
    }
}

/// The map, locked.
pub(crate) struct MapGuard<'a> {
    map: &'a BlockMap,
    state: MutexGuard<'a, MapState>,
}

impl MapGuard<'_> {
    /// M3: mappings given out before are not to be used any more.
    pub(crate) fn invalidate(&mut self) {
        self.state.recent = None;
        self.map.cookie.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn cookie(&self) -> u64 {
        self.map.cookie()
    }
}

impl std::ops::Deref for MapGuard<'_> {
    type Target = MapState;

    fn deref(&self) -> &MapState {
        &self.state
    }
}

impl std::ops::DerefMut for MapGuard<'_> {
    fn deref_mut(&mut self) -> &mut MapState {
        &mut self.state
    }
}

impl Drop for MapGuard<'_> {
    fn drop(&mut self) {
        let granted: u64 = self.state.granted.iter().map(|granted| granted.grant.count()).sum();
        let promised = self.state.reservation.as_ref().map_or(0, Reservation::blocks);
        self.map.promised.store(granted + promised, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_bytes_become_ranges_of_blocks() {
        assert_eq!(blocks_touched(&(1..4097)), 0..2);
        assert_eq!(blocks_touched(&(4096..4096)), 1..1);
        assert_eq!(blocks_inside(&(1..8192)), 1..2);
        assert!(blocks_inside(&(1..4095)).is_empty());
    }

    #[test]
    fn cutting_moves_both_starts() {
        let extent = Extent::written(10, 100, 20);
        assert_eq!(extent.cut(&(15..18)), Extent::written(15, 105, 3));
        assert!(extent.cut(&(0..15)).continues_in(&extent.cut(&(15..40))));
    }

    #[test]
    fn an_extent_that_leaves_the_volume_is_damage() {
        let value = Extent::written(0, 90, 20).record().encode();
        assert!(Extent::decode(0, &value, 110).is_ok());
        assert_eq!(Extent::decode(0, &value, 109).unwrap_err().kind, crate::ErrorKind::Corrupt);
        assert!(Extent::decode(FILE_BLOCKS_MAX - 19, &value, 110).is_err());
    }
}
