//! [`seek_data`] and [`seek_hole`]: where the next data, or the next hole, begins.
//!
//! Mapped, inline and delayed-allocated ranges are data, holes are holes. An unwritten range is
//! data where the cache holds some of it (it will be written), else a hole. There is a hole at the
//! end of every file.
//!
//! Locking: the caller holds the inode lock shared.

use std::ops::Range;

use crate::cache::check_host;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::iter::MappingIter;
use crate::mapping::MappingKind;
use crate::ops::{MapMods, MapRequest, MappingOps, Purpose};

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seek {
    Data,
    Hole,
}

/// Offset of the first byte of data at or after `offset`.
///
/// # Errors
/// [`NoData`](ErrorKind::NoData) (ENXIO) when `offset` is at or past the end of the file or only
/// holes follow; what `begin` and `end` return.
#[doc(alias = "SEEK_DATA")]
#[doc(alias = "iomap_seek_data")]
pub fn seek_data(ops: &dyn MappingOps, host: &dyn Host, offset: u64) -> Result<u64> {
    check_host("seek_data", host)?;
    let found = seek("seek_data", ops, host, offset, Seek::Data)?;
    found.ok_or_else(|| Error::new("seek_data", ErrorKind::NoData).at(offset))
}

/// Offset of the first byte at or after `offset` that lies in a hole; at the latest the end of the
/// file.
///
/// # Errors
/// [`NoData`](ErrorKind::NoData) (ENXIO) when `offset` is at or past the end of the file; what
/// `begin` and `end` return.
#[doc(alias = "SEEK_HOLE")]
#[doc(alias = "iomap_seek_hole")]
pub fn seek_hole(ops: &dyn MappingOps, host: &dyn Host, offset: u64) -> Result<u64> {
    check_host("seek_hole", host)?;
    let found = seek("seek_hole", ops, host, offset, Seek::Hole)?;
    Ok(found.unwrap_or_else(|| host.size().max(offset)))
}

fn seek(
    operation: &'static str,
    ops: &dyn MappingOps,
    host: &dyn Host,
    offset: u64,
    what: Seek,
) -> Result<Option<u64>> {
    let size = host.size();
    if offset >= size {
        return Err(Error::new(operation, ErrorKind::NoData).at(offset));
    }
    let request = MapRequest {
        offset,
        length: size - offset,
        purpose: Purpose::Report,
        mods: MapMods::empty(),
    };
    let mut iter = MappingIter::new(operation, ops, request);
    while iter.next_mapping()? {
        if let Some(found) = seek_iter(&iter, host, what) {
            iter.finish()?;
            return Ok(Some(found));
        }
        iter.advance(iter.length());
    }
    Ok(None)
}

/// Where in this mapping what is looked for begins.
fn seek_iter(iter: &MappingIter<'_>, host: &dyn Host, what: Seek) -> Option<u64> {
    let range = iter.offset()..iter.offset() + iter.length();
    match iter.mapping().kind {
        MappingKind::Hole => (what == Seek::Hole).then_some(range.start),
        MappingKind::Unwritten { .. } => seek_cached(host, range, what),
        MappingKind::Mapped { .. } | MappingKind::Inline(_) | MappingKind::Delalloc => {
            (what == Seek::Data).then_some(range.start)
        }
    }
}

/// The same within an unwritten range.
fn seek_cached(host: &dyn Host, range: Range<u64>, what: Seek) -> Option<u64> {
    let cached = host.cache().next_cached_data(range.clone());
    match (what, cached) {
        (Seek::Data, found) => found.map(|data| data.start),
        (Seek::Hole, Some(data)) if data.start == range.start => {
            (data.end < range.end).then_some(data.end)
        }
        (Seek::Hole, _) => Some(range.start),
    }
}
