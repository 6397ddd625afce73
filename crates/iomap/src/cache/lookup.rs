//! What a read finds in the cache.
//!
//! A reader takes snapshots: counted references to the buffers, copied from after the lock is let
//! go. A writer that comes meanwhile changes a copy (folio invariant F3), so each snapshot is the
//! folio at one moment.

use std::ops::Range;
use std::sync::Arc;

use ashlar_device::AlignedBuf;
use smallvec::SmallVec;

use crate::cache::{Locked, PageCache};

/// Snapshots taken under one lock; a bound on how long a large read keeps others out.
const SNAPSHOTS_MAX: usize = 16;

/// Snapshots of neighbouring bytes; most reads need few.
pub(crate) type Snapshots = SmallVec<[Snapshot; 4]>;

/// Some bytes of a folio as they were at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) buffer: Arc<AlignedBuf>,
    pub(crate) bytes: Range<usize>,
}

/// What the cache has of a range.
pub(crate) enum Found {
    /// Its beginning.
    Prefix(Snapshots),
    /// Not its first block: read at least the range, best up to `until`.
    Nothing { until: u64 },
}

impl PageCache {
    /// Looks for the bytes at `range.start` and as many after them as are there, up to the range's
    /// end. Waits for a read of the first block that is under way. `size`: the end of the file,
    /// past which nothing is read ahead.
    pub(crate) fn find(&self, range: &Range<u64>, size: u64) -> Found {
        let end = range.end;
        let wanted = self.block_range(&(range.start..end)).end;
        // A file of one block has nothing to read ahead, and may never need the allocated part.
        let one_block = size <= u64::from(self.block_size());
        if one_block && self.shared_if_any().is_none() {
            return Found::Nothing { until: wanted };
        }
        let mut cache = self.lock();
        let mut found = Snapshots::new();
        let mut offset = range.start;
        while offset < end && found.len() < SNAPSHOTS_MAX {
            match cache.snapshot_at(offset, end) {
                Block::Uptodate(snapshot) => {
                    offset += snapshot.bytes.len() as u64;
                    found.push(snapshot);
                }
                Block::Reading if found.is_empty() => cache.wait(),
                Block::Reading | Block::Missing => break,
            }
        }
        if !found.is_empty() {
            return Found::Prefix(found);
        }
        if one_block {
            return Found::Nothing { until: wanted };
        }
        let start = self.block_range(range).start;
        let budget = self.pool.options().budget_bytes;
        let until = cache.state.readahead.plan(start, wanted, budget);
        let eof = self.block_range(&(0..size)).end;
        Found::Nothing { until: until.min(eof).max(wanted) }
    }

    /// Whether reading the range needs dirty data or data under writeback to reach the device
    /// first.
    pub(crate) fn needs_writeback(&self, range: &Range<u64>) -> bool {
        let Some(cache) = self.locked_if_any() else { return false };
        cache.any_block(range, |folio| folio.dirty | folio.writeback)
    }

    /// Whether the cache holds data of the file anywhere in `range`: dirty, under writeback or
    /// clean. Zeros that stand for holes and unwritten ranges are never cached by reads, so what is
    /// here was written.
    #[must_use]
    pub fn has_cached_data(&self, range: Range<u64>) -> bool {
        let Some(cache) = self.locked_if_any() else { return false };
        cache.any_block(&range, |folio| folio.uptodate)
    }

    /// The first stretch of cached data in `range`, cut to the range.
    #[must_use]
    #[doc(alias = "mapping_seek_hole_data")]
    pub fn next_cached_data(&self, range: Range<u64>) -> Option<Range<u64>> {
        self.locked_if_any()?.next_uptodate(&range)
    }
}

enum Block {
    Uptodate(Snapshot),
    Reading,
    Missing,
}

impl Locked<'_> {
    /// The run of bytes at `offset` within one folio, up to `end`.
    fn snapshot_at(&mut self, offset: u64, end: u64) -> Block {
        let Some(start) = self.covering(offset) else { return Block::Missing };
        let Some(folio) = self.folio(start) else { return Block::Missing };
        let end = end.min(start + folio.size());
        let touched = folio.touched(start, &(offset..end));
        let first = touched & touched.wrapping_neg();
        let Some(buffer) = folio.data.as_ref().filter(|_| folio.uptodate & first != 0) else {
            let reading = folio.reading & first != 0;
            return if reading { Block::Reading } else { Block::Missing };
        };
        // The run of uptodate blocks from the first touched one.
        let index = first.trailing_zeros();
        let length = (folio.uptodate >> index).trailing_ones();
        let run_end = folio.file_range(start, &(index..index + length)).end.min(end);
        // Both are below the folio's size.
        let bytes = (offset - start) as usize..(run_end - start) as usize;
        let snapshot = Snapshot { buffer: Arc::clone(buffer), bytes };
        self.note_use(start);
        Block::Uptodate(snapshot)
    }

    /// Whether a folio in `range` has one of the blocks that `which` selects there.
    pub(crate) fn any_block(
        &self,
        range: &Range<u64>,
        which: impl Fn(&super::folio::Folio) -> u64,
    ) -> bool {
        let mut offset = range.start;
        while offset < range.end {
            let Some((start, folio)) = self.state.index.at_or_after(offset) else { return false };
            if folio.touched(start, range) & which(folio) != 0 {
                return true;
            }
            offset = start + folio.size();
        }
        false
    }

    /// The first stretch of uptodate blocks in `range`, over any number of folios.
    pub(crate) fn next_uptodate(&self, range: &Range<u64>) -> Option<Range<u64>> {
        let mut found: Option<Range<u64>> = None;
        let mut offset = range.start;
        while offset < range.end {
            let Some((start, folio)) = self.state.index.at_or_after(offset) else { break };
            let set = folio.touched(start, range) & folio.uptodate;
            for run in super::folio::runs(set) {
                let run = folio.file_range(start, &run);
                match &mut found {
                    None => found = Some(run),
                    Some(found) if found.end == run.start => found.end = run.end,
                    Some(_) => {
                        return found.map(|f| f.start.max(range.start)..f.end.min(range.end));
                    }
                }
            }
            offset = start + folio.size();
        }
        found.map(|f| f.start.max(range.start)..f.end.min(range.end))
    }
}
