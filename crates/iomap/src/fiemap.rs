//! [`fiemap`]: the extents of a file, as an iterator.
//!
//! Holes are left out. Each extent is held back until the next one is known, so that the last can
//! say that it is the last.
//!
//! Locking: the caller holds the inode lock shared for as long as the iterator lives, and has
//! written back first if it wants no delayed-allocated extents (`FIEMAP_FLAG_SYNC`).

use std::fmt;
use std::ops::Range;

use bitflags::bitflags;

use crate::error::Result;
use crate::iter::{MappingIter, OFFSET_MAX};
use crate::mapping::{Mapping, MappingFlags, MappingKind};
use crate::ops::{MapMods, MapRequest, MappingOps, Purpose};

bitflags! {
    /// Properties of a [`ReportedExtent`]; values as in `linux/fiemap.h`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct ReportFlags: u32 {
        /// No extent follows in the range that was asked for.
        #[doc(alias = "FIEMAP_EXTENT_LAST")]
        const LAST = 0x1;
        /// It has no place yet.
        #[doc(alias = "FIEMAP_EXTENT_UNKNOWN")]
        const UNKNOWN = 0x2;
        /// Space is promised, data is in the cache.
        #[doc(alias = "FIEMAP_EXTENT_DELALLOC")]
        const DELALLOC = 0x4;
        /// Offsets are not multiples of the block size.
        #[doc(alias = "FIEMAP_EXTENT_NOT_ALIGNED")]
        const NOT_ALIGNED = 0x100;
        /// The data is in the metadata.
        #[doc(alias = "FIEMAP_EXTENT_DATA_INLINE")]
        const DATA_INLINE = 0x200;
        /// Allocated, reads as zeros.
        #[doc(alias = "FIEMAP_EXTENT_UNWRITTEN")]
        const UNWRITTEN = 0x800;
        /// Several extents reported as one.
        #[doc(alias = "FIEMAP_EXTENT_MERGED")]
        const MERGED = 0x1000;
        /// Other files use the same blocks.
        #[doc(alias = "FIEMAP_EXTENT_SHARED")]
        const SHARED = 0x2000;
    }
}

/// One extent of a file that is not a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(alias = "fiemap_extent")]
pub struct ReportedExtent {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Device address in bytes; `None` for delayed-allocated and inline extents.
    pub addr: Option<u64>,
    /// Properties.
    pub flags: ReportFlags,
}

/// The iterator of [`fiemap`].
pub struct Fiemap<'a> {
    iter: MappingIter<'a>,
    held_back: Option<ReportedExtent>,
    over: bool,
}

/// The extents that touch `range`, in order, whole even if they begin before or end after it. Asks
/// `begin` with [`Purpose::Report`]. An error ends the iteration.
#[doc(alias = "iomap_fiemap")]
#[doc(alias = "FS_IOC_FIEMAP")]
pub fn fiemap(ops: &dyn MappingOps, range: Range<u64>) -> Fiemap<'_> {
    let end = range.end.min(OFFSET_MAX);
    let request = MapRequest {
        offset: range.start,
        length: end.saturating_sub(range.start),
        purpose: Purpose::Report,
        mods: MapMods::empty(),
    };
    Fiemap { iter: MappingIter::new("fiemap", ops, request), held_back: None, over: false }
}

impl Fiemap<'_> {
    /// The next extent, without knowing whether it is the last.
    fn next_extent(&mut self) -> Result<Option<ReportedExtent>> {
        while self.iter.next_mapping()? {
            let extent = report(self.iter.mapping());
            self.iter.advance(self.iter.length());
            if extent.is_some() {
                return Ok(extent);
            }
        }
        Ok(None)
    }

    fn step(&mut self) -> Result<Option<ReportedExtent>> {
        if self.held_back.is_none() {
            self.held_back = self.next_extent()?;
        }
        let Some(mut extent) = self.held_back.take() else { return Ok(None) };
        self.held_back = self.next_extent()?;
        if self.held_back.is_none() {
            extent.flags |= ReportFlags::LAST;
        }
        Ok(Some(extent))
    }
}

impl Iterator for Fiemap<'_> {
    type Item = Result<ReportedExtent>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let step = self.step().transpose();
        self.over = !matches!(&step, Some(Ok(extent)) if !extent.flags.contains(ReportFlags::LAST));
        step
    }
}

impl fmt::Debug for Fiemap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fiemap").field("held_back", &self.held_back).finish_non_exhaustive()
    }
}

/// What is said about a mapping; nothing about a hole.
fn report(mapping: &Mapping) -> Option<ReportedExtent> {
    let (addr, mut flags) = match &mapping.kind {
        MappingKind::Hole => return None,
        MappingKind::Delalloc => (None, ReportFlags::DELALLOC | ReportFlags::UNKNOWN),
        MappingKind::Mapped { addr } => (Some(*addr), ReportFlags::empty()),
        MappingKind::Unwritten { addr } => (Some(*addr), ReportFlags::UNWRITTEN),
        MappingKind::Inline(_) => (None, ReportFlags::DATA_INLINE | ReportFlags::NOT_ALIGNED),
    };
    flags.set(ReportFlags::SHARED, mapping.flags.contains(MappingFlags::SHARED));
    flags.set(ReportFlags::MERGED, mapping.flags.contains(MappingFlags::MERGED));
    Some(ReportedExtent { offset: mapping.offset, length: mapping.length, addr, flags })
}
