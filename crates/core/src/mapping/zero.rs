//! Mappings for zeroing parts of blocks: holes stay holes.

use crate::error::{Result, through};
use crate::extent::Found;
use crate::mapping::write::release_promises;
use crate::mapping::{FileRef, WriteOps, blocks_of, extent_mapping, mapping};
use iomap::{MapReply, MapRequest, Mapping, MappingKind, MappingOps, Outcome};

/// Answers zeroing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ZeroOps<'a>(pub(crate) FileRef<'a>);

impl ZeroOps<'_> {
    fn map(&self, request: &MapRequest) -> Result<MapReply> {
        let file = &self.0;
        let blocks = blocks_of(request);
        let first = blocks.start;
        let mut map = file.data.map.lock();
        let cookie = map.cookie();
        if let Some(end) = map.promised_until(first) {
            let target = mapping(first..end, MappingKind::Delalloc, cookie);
            return WriteOps(*file).with_source(&mut map, target);
        }
        if first == 0
            && let Some(bytes) = file.inline()
        {
            // Behind the content there are zeros already.
            return if request.offset >= bytes.len() as u64 {
                Ok(mapping(0..1, MappingKind::Hole, cookie).into())
            } else {
                WriteOps(*file).promise(&mut map, 0, 1)
            };
        }
        Ok(match file.find(&mut map, first)? {
            Found::Extent(extent) if !extent.is_unwritten() && FileRef::must_copy(&map, first) => {
                let end = extent.end().min(blocks.end).min(map.next_promise(first));
                return WriteOps(*file).promise(&mut map, first, end);
            }
            Found::Extent(extent) => {
                extent_mapping(&extent.cut(&(first..extent.end())), cookie).into()
            }
            Found::Hole { end } => {
                let end = end.min(map.next_promise(first));
                mapping(first..end, MappingKind::Hole, cookie).into()
            }
        })
    }
}

impl MappingOps for ZeroOps<'_> {
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
