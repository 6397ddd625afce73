//! Mappings for reads.

use crate::error::{Result, through};
use crate::extent::Found;
use crate::mapping::{FileRef, Writer, blocks_of, extent_mapping, mapping};
use crate::volume::WritebackMode;
use iomap::{Ioend, MapReply, MapRequest, Mapping, MappingKind, MappingOps, WritebackOps};
use std::ops::Range;

/// Answers reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadOps<'a>(pub(crate) FileRef<'a>);

impl ReadOps<'_> {
    pub(super) fn map(&self, request: &MapRequest) -> Result<Mapping> {
        let file = &self.0;
        let first = blocks_of(request).start;
        let mut map = file.data.map.lock();
        let cookie = map.cookie();
        // Before the promise: a promised block 0 whose write did not happen is inline still.
        if first == 0
            && let Some(bytes) = file.inline()
        {
            return Ok(mapping(0..1, MappingKind::Inline(bytes), cookie));
        }
        if let Some(end) = map.promised_until(first) {
            return Ok(mapping(first..end, MappingKind::Delalloc, cookie));
        }
        Ok(match file.find(&mut map, first)? {
            Found::Extent(extent) => extent_mapping(&extent.cut(&(first..extent.end())), cookie),
            Found::Hole { end } => {
                let end = end.min(map.next_promise(first));
                mapping(first..end, MappingKind::Hole, cookie)
            }
        })
    }
}

impl MappingOps for ReadOps<'_> {
    fn begin(&self, request: &MapRequest) -> iomap::Result<MapReply> {
        Ok(self.map(request).map_err(through)?.into())
    }

    fn is_valid(&self, mapping: &Mapping) -> bool {
        self.0.is_valid(mapping)
    }
}

/// Answers direct reads, which may have to write back first.
#[derive(Debug)]
pub(crate) struct DirectReadOps<'a> {
    read: ReadOps<'a>,
    writer: Writer<'a>,
}

impl<'a> DirectReadOps<'a> {
    pub(crate) fn new(file: FileRef<'a>) -> Self {
        Self { read: ReadOps(file), writer: Writer::new(file, WritebackMode::Background) }
    }
}

impl MappingOps for DirectReadOps<'_> {
    fn begin(&self, request: &MapRequest) -> iomap::Result<MapReply> {
        self.read.begin(request)
    }

    fn is_valid(&self, mapping: &Mapping) -> bool {
        self.read.is_valid(mapping)
    }
}

impl WritebackOps for DirectReadOps<'_> {
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
