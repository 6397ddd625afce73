//! Where dirty data goes: promises become grants, near what the file has already.
//!
//! ```text
//!   map_blocks   promised ──> granted (in memory)       written, unwritten: stay where they are
//!   submit       see `submit.rs`
//!   discard      writing failed: granted or promised ──> nothing
//! ```

use crate::error::{Result, through};
use crate::extent::{Extent, Found, Granted, MapGuard, blocks_touched};
use crate::mapping::{FileRef, extent_mapping};
use crate::volume::WritebackMode;
use ashlar_store::AllocHint;
use iomap::{Ioend, Mapping, MappingFlags, WritebackOps};
use std::ops::Range;

/// Blocks granted at once: their sums and edits fit well into one transaction.
pub(super) const GRANT_BLOCKS_MAX: u64 = 4096;

/// Largest gap that a direct write leaves on the device as it leaves it in the file.
const ROOM_BLOCKS: u64 = 1024;

/// Writes a file's data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub(crate) file: FileRef<'a>,
    pub(super) mode: WritebackMode,
    /// End of a direct write: the size that it gives the file, if that is larger.
    pub(super) direct_end: Option<u64>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(file: FileRef<'a>, mode: WritebackMode) -> Self {
        Self { file, mode, direct_end: None }
    }

    /// The same, for a direct write that ends at `end`.
    pub(super) fn writing_up_to(self, end: u64) -> Self {
        Self { direct_end: Some(end), ..self }
    }

    fn map(&self, offset: u64, length: u64) -> Result<Mapping> {
        let blocks = blocks_touched(&(offset..offset + length));
        let first = blocks.start;
        let mut map = self.file.data.map.lock();
        let promised = match map.promised.containing(first) {
            Some(range) => range,
            None => match self.file.find(&mut map, first)? {
                Found::Extent(extent) if FileRef::must_copy(&map, first) => {
                    let end = extent.end().min(blocks.end).min(map.next_promise(first));
                    map.promise(&self.file.volume.store, first..end)?
                }
                Found::Extent(extent) => {
                    return Ok(extent_mapping(&extent.cut(&blocks), map.cookie()));
                }
                // A promise was lost when an earlier writeback failed and space was short.
                Found::Hole { end } => {
                    let end = end.min(blocks.end).min(map.next_promise(first));
                    map.promise(&self.file.volume.store, first..end)?
                }
            },
        };
        let mut wanted = first..promised.end.min(blocks.end);
        if let WritebackMode::Commit { journal } = self.mode {
            match self.file.find(&mut map, first)? {
                Found::Extent(extent) if journal.takes(length) || extent.is_unwritten() => {
                    return Ok(extent_mapping(&extent.cut(&wanted), map.cookie()));
                }
                // What lies behind may be journaled.
                Found::Hole { end } => wanted.end = wanted.end.min(end),
                Found::Extent(extent) => wanted.end = wanted.end.min(extent.end()),
            }
        }
        let extent = self.grant(&mut map, &wanted)?;
        Ok(extent_mapping(&extent, map.cookie()).with_flags(MappingFlags::NEW))
    }

    /// Gives promised blocks a place, at least the first of them.
    ///
    /// # Errors
    /// A device that fails; never for space.
    pub(super) fn grant(&self, map: &mut MapGuard<'_>, blocks: &Range<u64>) -> Result<Extent> {
        let volume = self.file.volume;
        let goal = self.goal(map, blocks.start)?;
        let wanted = (blocks.end - blocks.start).min(GRANT_BLOCKS_MAX);
        let Some(reservation) = &mut map.reservation else {
            return Err(crate::ErrorKind::NoSpace.into());
        };
        let grant = volume.store.allocate(reservation, wanted, AllocHint { goal })?;
        volume.data_device.reused(grant.block(), grant.count());
        let granted = Granted { start: blocks.start, grant };
        // The allocation took its part of the reservation with it: M1.
        map.promised.remove(blocks.start..granted.end());
        let extent = granted.extent();
        map.granted.push(granted);
        Ok(extent)
    }

    /// Where the file would go on without a gap.
    fn goal(&self, map: &MapGuard<'_>, first: u64) -> Result<Option<u64>> {
        let granted = map.granted.iter().filter(|g| g.start <= first).map(Granted::extent);
        let has_blocks = self.file.inode.any_state().record.blocks > 0;
        let committed = if has_blocks {
            self.file.volume.extent_floor(self.file.inode.ino, first)?
        } else {
            None
        };
        let before = granted.chain(committed).max_by_key(|extent| extent.start);
        // Direct writes come side by side: one that overtakes leaves room for those before it.
        let room = match (&before, self.direct_end) {
            (Some(extent), Some(_)) => {
                Some(first.saturating_sub(extent.end())).filter(|gap| *gap <= ROOM_BLOCKS)
            }
            _ => None,
        };
        Ok(before.map(|extent| extent.block + extent.count + room.unwrap_or(0)))
    }
}

impl WritebackOps for Writer<'_> {
    fn map_blocks(&self, offset: u64, length: u64) -> iomap::Result<Mapping> {
        self.map(offset, length).map_err(through)
    }

    fn submit(&self, ioends: &[Ioend<'_>]) -> iomap::Result<()> {
        let written = if self.file.is_atomic() {
            self.write_and_stage(ioends)
        } else {
            self.write_and_commit(ioends)
        };
        written.map_err(|error| {
            // As before `map_blocks`: what is written to again while this fails needs its promise.
            let mut map = self.file.data.map.lock();
            for ioend in ioends {
                let blocks = blocks_touched(&ioend.range());
                map.revert(&self.file.volume.store, &blocks);
            }
            map.invalidate();
            through(error)
        })
    }

    fn discard_range(&self, range: Range<u64>) {
        let blocks = blocks_touched(&range);
        let mut map = self.file.data.map.lock();
        map.unpromise(blocks.clone());
        map.take_granted(&blocks);
        map.holders.lost |= map.holders.is_atomic();
        map.invalidate();
    }
}
