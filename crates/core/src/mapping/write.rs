//! Mappings for buffered writes: what has no place gets a promise of space.
//!
//! ```text
//!   file block      written      unwritten      promised      hole
//!   answer          Mapped       Unwritten      Delalloc      promise it, then Delalloc, NEW
//! ```
//! In an atomic file a written or unwritten block is committed, and must stay: it gets a promise, too,
//! with the committed extent as the source of what a partial write keeps.
//!
//! Content kept in the inode is the source of block 0 once that is written to: it goes through the
//! cache, and writeback decides whether it stays in the inode.

use crate::error::{Result, through};
use crate::extent::{Found, MapGuard, blocks_touched};
use crate::mapping::{FileRef, blocks_of, extent_mapping, mapping};
use ashlar_format::limits::BLOCK_BYTES;
use iomap::{MapReply, MapRequest, Mapping, MappingFlags, MappingKind, MappingOps, Outcome};

/// Answers buffered writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteOps<'a>(pub(crate) FileRef<'a>);

impl WriteOps<'_> {
    fn map(&self, request: &MapRequest) -> Result<MapReply> {
        let file = &self.0;
        let blocks = blocks_of(request);
        let first = blocks.start;
        let mut map = file.data.map.lock();
        if let Some(end) = map.promised_until(first) {
            let target = mapping(first..end, MappingKind::Delalloc, map.cookie());
            return self.with_source(&mut map, target);
        }
        match file.find(&mut map, first)? {
            Found::Extent(extent) if FileRef::must_copy(&map, first) => {
                let end = extent.end().min(blocks.end).min(map.next_promise(first));
                self.promise(&mut map, first, end)
            }
            Found::Extent(extent) => {
                let extent = extent.cut(&(first..extent.end()));
                Ok(extent_mapping(&extent, map.cookie()).into())
            }
            Found::Hole { end } => {
                let end = end.min(blocks.end).min(map.next_promise(first));
                self.promise(&mut map, first, end)
            }
        }
    }

    /// Promises `first..end`, or its beginning.
    pub(super) fn promise(&self, map: &mut MapGuard<'_>, first: u64, end: u64) -> Result<MapReply> {
        if map.holders.is_atomic() {
            self.0.volume.check_image_size(map, end - first)?;
        }
        let promised = map.promise(&self.0.volume.store, first..end)?;
        let target = mapping(promised, MappingKind::Delalloc, map.cookie());
        self.with_source(map, target.with_flags(MappingFlags::NEW))
    }

    /// Adds where the old content of promised blocks is: in the inode, for block 0, or in committed
    /// extents of an atomic file.
    pub(super) fn with_source(
        &self,
        map: &mut MapGuard<'_>,
        mut target: Mapping,
    ) -> Result<MapReply> {
        let cookie = target.cookie;
        if target.offset == 0
            && let Some(bytes) = self.0.inline()
        {
            // The source is for one block; the rest is asked for again.
            target.length = BLOCK_BYTES;
            let source = mapping(0..1, MappingKind::Inline(bytes), cookie);
            return Ok(MapReply { mapping: target, source: Some(source) });
        }
        if !map.holders.is_atomic() {
            return Ok(target.into());
        }
        let blocks = blocks_touched(&(target.offset..target.end()));
        let (end, source) = match self.0.find(map, blocks.start)? {
            Found::Extent(extent) => {
                let extent = extent.cut(&blocks);
                (extent.end(), Some(extent_mapping(&extent, cookie)))
            }
            Found::Hole { end } => (end.min(blocks.end), None),
        };
        target.length = (end - blocks.start) * BLOCK_BYTES;
        Ok(MapReply { mapping: target, source })
    }
}

impl MappingOps for WriteOps<'_> {
    fn begin(&self, request: &MapRequest) -> iomap::Result<MapReply> {
        self.map(request).map_err(through)
    }

    fn end(&self, request: &MapRequest, mapping: &Mapping, outcome: Outcome) -> iomap::Result<()> {
        release_promises(&self.0, request, mapping, outcome);
        Ok(())
    }

    fn is_valid(&self, mapping: &Mapping) -> bool {
        self.0.is_valid(mapping)
    }
}

/// Takes back what was promised for blocks that hold nothing dirty.
pub(crate) fn release_promises(
    file: &FileRef<'_>,
    request: &MapRequest,
    mapping: &Mapping,
    outcome: Outcome,
) {
    iomap::release_unwritten(file, request, mapping, outcome, &mut |range| {
        let mut map = file.data.map.lock();
        if map.unpromise(crate::extent::blocks_touched(&range)) > 0 {
            map.invalidate();
        }
    });
}
