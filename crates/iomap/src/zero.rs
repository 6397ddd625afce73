//! [`zero_range`]: makes a range read as zeros through the cache, without freeing anything.
//!
//! ```text
//!   mappings    |  mapped  |   hole   | unwritten      | delalloc |
//!   cache                                 ####
//!   done        zeros,dirty  nothing        zeros,dirty  zeros, dirty
//! ```
//! What reads as zeros already is left alone, except where the cache holds newer data than the
//! mapping tells of.
//!
//! Locking: the caller holds the inode lock and the invalidate lock exclusively.

use std::ops::Range;

use crate::buffered::{Content, Stored, store};
use crate::cache::check_host;
use crate::error::Result;
use crate::host::Host;
use crate::iter::MappingIter;
use crate::mapping::MappingKind;
use crate::ops::{MapMods, MapRequest, MappingOps, Purpose};

/// Zeroes `[offset, offset + length)`. Does not move the end of the file; past it nothing is read.
///
/// Meant for the parts of blocks at the ends of a range whose whole blocks the file system frees or
/// converts. Asks `begin` with [`Purpose::Zero`]; a hole may be answered and stays a hole.
///
/// # Errors
/// What `begin` and `end` return; [`Io`](crate::ErrorKind::Io) when the old bytes of a block cannot
/// be read. Zeroing may have been done in part.
///
/// # Durability
/// As [`buffered_write`](crate::buffered_write).
#[doc(alias = "iomap_zero_range")]
pub fn zero_range(ops: &dyn MappingOps, host: &dyn Host, offset: u64, length: u64) -> Result<()> {
    zero("zero_range", ops, host, offset, length)
}

pub(crate) fn zero(
    operation: &'static str,
    ops: &dyn MappingOps,
    host: &dyn Host,
    offset: u64,
    length: u64,
) -> Result<()> {
    check_host(operation, host)?;
    let request = MapRequest { offset, length, purpose: Purpose::Zero, mods: MapMods::empty() };
    let mut iter = MappingIter::new(operation, ops, request).with_block_size(host.block_size());
    while iter.next_mapping()? {
        zero_iter(operation, &mut iter, host)?;
    }
    drop(iter);
    host.cache().pool().maintain();
    Ok(())
}

fn zero_iter(operation: &'static str, iter: &mut MappingIter<'_>, host: &dyn Host) -> Result<()> {
    while iter.length() > 0 {
        let range = iter.offset()..iter.offset() + iter.length();
        let reads_zero =
            matches!(iter.source().kind, MappingKind::Hole | MappingKind::Unwritten { .. });
        let step = if reads_zero {
            skip_or_store(operation, iter, host, &range)?
        } else {
            store(operation, iter, host, Content::Zeros(range.end - range.start))?
        };
        match step {
            Stored::Done { length, .. } => iter.advance(length),
            Stored::Stale => {
                iter.mark_stale();
                break;
            }
        }
    }
    Ok(())
}

/// In a range that reads as zeros by its mapping: zeroes what the cache has of it.
fn skip_or_store(
    operation: &'static str,
    iter: &MappingIter<'_>,
    host: &dyn Host,
    range: &Range<u64>,
) -> Result<Stored> {
    let cached = {
        let Some(cache) = host.cache().locked_if_any() else {
            return Ok(Stored::Done { length: range.end - range.start, size_changed: false });
        };
        // Under one lock, as in `buffered_read`: what left the cache changed the mapping.
        if !iter.is_valid() {
            return Ok(Stored::Stale);
        }
        cache.next_uptodate(range)
    };
    match cached {
        Some(data) if data.start == range.start => {
            store(operation, iter, host, Content::Zeros(data.end - data.start))
        }
        Some(data) => Ok(Stored::Done { length: data.start - range.start, size_changed: false }),
        None => Ok(Stored::Done { length: range.end - range.start, size_changed: false }),
    }
}
