//! The bridge to `iomap`: one small type per purpose that answers where ranges of a file live.
//!
//! Called by `iomap` → asks the file's block map and the extents tree.
//!
//! | file | purpose |
//! |---|---|
//! | `read.rs` | reads, buffered and direct |
//! | `write.rs` | buffered writes: holes become promises |
//! | `direct.rs` | direct writes: holes are granted at once |
//! | `zero.rs` | zeroing parts of blocks |
//! | `report.rs` | seek, extents |
//! | `writeback.rs` | where dirty data goes: promises become grants |
//! | `submit.rs` | the write itself, and the transaction that makes it reachable |

mod direct;
mod read;
mod report;
mod submit;
mod write;
mod writeback;
mod zero;

use crate::error::Result;
use crate::extent::{Extent, Found, MapGuard};
use crate::inode::{FileData, Inode};
use crate::volume::Volume;
use ashlar_device::Device;
use ashlar_format::limits::{BLOCK_BYTES, BLOCK_SIZE};
use iomap::{Host, MapRequest, Mapping, MappingKind, PageCache};
use std::ops::Range;
use std::sync::Arc;

pub(crate) use direct::DirectWriteOps;
pub(crate) use read::{DirectReadOps, ReadOps};
pub(crate) use report::ReportOps;
pub(crate) use write::{WriteOps, release_promises};
pub(crate) use writeback::Writer;
pub(crate) use zero::ZeroOps;

/// A regular file with all that its operations need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileRef<'a> {
    pub(crate) volume: &'a Volume,
    pub(crate) inode: &'a Inode,
    pub(crate) data: &'a FileData,
}

impl<'a> FileRef<'a> {
    pub(crate) fn new(volume: &'a Volume, inode: &'a Inode) -> Self {
        Self { volume, inode, data: inode.data(&volume.pool) }
    }

    /// Where `block` lives by what is staged, and else by the tree.
    pub(crate) fn find(&self, map: &mut MapGuard<'_>, block: u64) -> Result<Found> {
        if let Some(run) = map.staged.at(block) {
            return Ok(run.extent().map_or(Found::Hole { end: run.end() }, Found::Extent));
        }
        let limit = map.staged.next_start(block);
        if self.inode.any_state().record.blocks == 0 {
            return Ok(Found::Hole { end: limit.min(crate::extent::FILE_BLOCKS_MAX) });
        }
        Ok(match self.volume.find_block(self.inode.ino, map, block)? {
            Found::Extent(extent) => Found::Extent(extent.cut(&(extent.start..limit))),
            Found::Hole { end } => Found::Hole { end: end.min(limit) },
        })
    }

    /// Whether what `extent` says of `block` is committed and must stay: a write takes another place.
    fn must_copy(map: &MapGuard<'_>, block: u64) -> bool {
        map.holders.is_atomic() && map.staged.at(block).is_none()
    }

    /// The content that is kept in the inode.
    pub(crate) fn inline(&self) -> Option<Arc<[u8]>> {
        self.inode.any_state().record.inline.as_deref().map(Arc::from)
    }

    /// Whether a mapping given out with `cookie` still says the truth.
    fn is_valid(&self, mapping: &Mapping) -> bool {
        mapping.cookie == self.data.map.cookie()
    }

    /// What the tree has at `block`.
    ///
    /// # Errors
    /// What reading the tree returns.
    pub(crate) fn found_at(&self, block: u64) -> Result<Found> {
        self.find(&mut self.data.map.lock(), block)
    }

    /// The extent that holds `block`, if the tree has one.
    ///
    /// # Errors
    /// What reading the tree returns.
    pub(crate) fn extent_of(&self, block: u64) -> Result<Option<Extent>> {
        Ok(match self.found_at(block)? {
            Found::Extent(extent) => Some(extent),
            Found::Hole { .. } => None,
        })
    }
}

impl Host for FileRef<'_> {
    fn size(&self) -> u64 {
        self.inode.size()
    }

    fn set_size(&self, size: u64) {
        self.inode.grow_to(size);
    }

    fn block_size(&self) -> u32 {
        BLOCK_SIZE as u32
    }

    fn cache(&self) -> &PageCache {
        &self.data.cache
    }

    fn device(&self) -> &dyn Device {
        &self.volume.data_device
    }
}

/// The blocks that a request touches.
fn blocks_of(request: &MapRequest) -> Range<u64> {
    crate::extent::blocks_touched(&(request.offset..request.offset + request.length))
}

/// The answer for a run of file blocks.
fn mapping(blocks: Range<u64>, kind: MappingKind, cookie: u64) -> Mapping {
    let length = (blocks.end - blocks.start) * BLOCK_BYTES;
    Mapping::new(blocks.start * BLOCK_BYTES, length, kind).with_cookie(cookie)
}

/// The answer for an extent, or a part of one.
fn extent_mapping(extent: &Extent, cookie: u64) -> Mapping {
    let addr = extent.block * BLOCK_BYTES;
    let kind = if extent.is_unwritten() {
        MappingKind::Unwritten { addr }
    } else {
        MappingKind::Mapped { addr }
    };
    mapping(extent.start..extent.end(), kind, cookie)
}
