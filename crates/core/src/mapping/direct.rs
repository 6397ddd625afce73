//! Mappings for direct writes: what has no place is granted one at once.
//!
//! The inode lock is held, and what was dirty in the range has been written back, so that no
//! promises are met; where there is one all the same, or content in the inode, the library is told
//! so and the write goes through the cache.

use crate::error::{Result, through};
use crate::extent::{Extent, Found};
use crate::mapping::{FileRef, ReadOps, Writer, blocks_of, extent_mapping, mapping};
use crate::volume::WritebackMode;
use iomap::{
    Ioend, MapReply, MapRequest, Mapping, MappingFlags, MappingKind, MappingOps, Outcome, Purpose,
    WritebackOps,
};
use std::ops::Range;

/// Answers direct writes.
#[derive(Debug)]
pub(crate) struct DirectWriteOps<'a> {
    file: FileRef<'a>,
    writer: Writer<'a>,
}

impl<'a> DirectWriteOps<'a> {
    /// For a write that ends at `end`.
    pub(crate) fn new(file: FileRef<'a>, end: u64) -> Self {
        let writer = Writer::new(file, WritebackMode::Background).writing_up_to(end);
        Self { file, writer }
    }

    fn map(&self, request: &MapRequest) -> Result<Mapping> {
        let blocks = blocks_of(request);
        let first = blocks.start;
        let mut map = self.file.data.map.lock();
        let cookie = map.cookie();
        if first == 0
            && let Some(bytes) = self.file.inline()
        {
            return Ok(mapping(0..1, MappingKind::Inline(bytes), cookie));
        }
        if let Some(end) = map.promised_until(first) {
            return Ok(mapping(first..end, MappingKind::Delalloc, cookie));
        }
        match self.file.find(&mut map, first)? {
            Found::Extent(extent) => {
                Ok(extent_mapping(&extent.cut(&(first..extent.end())), cookie))
            }
            Found::Hole { end } => {
                let end = end.min(blocks.end).min(map.next_promise(first));
                let promised = map.promise(&self.file.volume.store, first..end)?;
                let granted = self.writer.grant(&mut map, &promised);
                // What was not granted is asked for again.
                let rest = granted.as_ref().map_or(first, Extent::end);
                map.unpromise(rest..promised.end);
                Ok(extent_mapping(&granted?, cookie).with_flags(MappingFlags::NEW))
            }
        }
    }
}

impl MappingOps for DirectWriteOps<'_> {
    fn begin(&self, request: &MapRequest) -> iomap::Result<MapReply> {
        if request.purpose == Purpose::Write {
            Ok(self.map(request).map_err(through)?.into())
        } else {
            ReadOps(self.file).begin(request)
        }
    }

    fn end(&self, _request: &MapRequest, mapping: &Mapping, outcome: Outcome) -> iomap::Result<()> {
        // Nothing was queued for the place that was granted.
        if mapping.flags.contains(MappingFlags::NEW) && outcome.written == 0 {
            let mut map = self.file.data.map.lock();
            map.take_granted(&crate::extent::blocks_touched(&(mapping.offset..mapping.end())));
            map.invalidate();
        }
        Ok(())
    }

    fn is_valid(&self, mapping: &Mapping) -> bool {
        self.file.is_valid(mapping)
    }
}

impl WritebackOps for DirectWriteOps<'_> {
    fn map_blocks(&self, offset: u64, length: u64) -> iomap::Result<Mapping> {
        self.writer.map_blocks(offset, length)
    }

    fn submit(&self, ioends: &[Ioend<'_>]) -> iomap::Result<()> {
        self.writer.submit(ioends)
    }

    fn discard_range(&self, range: Range<u64>) {
        self.writer.discard_range(range);
    }
}
