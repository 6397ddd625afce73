//! [`buffered_write`]: bytes go into the cache and are dirty there; writeback brings them to the
//! device later.
//!
//! Locking: the caller holds the inode lock exclusively (shared, if it keeps writers of overlapping
//! ranges and of the end of the file apart by other means).

use std::ops::Range;

use crate::buffered::store::{Content, Stored, store};
use crate::cache::check_host;
use crate::cache::folio::Folio;
use crate::error::Result;
use crate::host::Host;
use crate::iter::MappingIter;
use crate::mapping::{Mapping, MappingFlags};
use crate::ops::{MapMods, MapRequest, MappingOps, Outcome, Purpose};

/// Writes `bytes` at `offset` into the cache; returns how many bytes. 0 only for empty `bytes`. A
/// failure after some bytes were taken gives those bytes; the next call meets it again.
///
/// Asks `begin` with [`Purpose::Write`]; blocks that are written in part are read first, from the
/// source if there is one. Grows the file through [`Host::set_size`]. `end` gets in
/// [`Outcome::written`] what went into the cache; what a [`NEW`](MappingFlags::NEW) mapping
/// reserved beyond that must be taken back there, see [`release_unwritten`].
///
/// A write that starts past the end of the file leaves the gap as the mappings have it, and the
/// rest of the block that held the old end as it is on the device: as in the kernel, the file
/// system first zeroes it with [`truncate_page`](crate::truncate_page) if it may hold anything but
/// zeros.
///
/// # Errors
/// What `begin` and `end` return; [`Io`](crate::ErrorKind::Io) when the old bytes of a block cannot
/// be read. No block is dirty then that was not written whole by the count returned before.
///
/// # Durability
/// None until [`writepages`](crate::writepages) and the file system's commit.
///
/// # Blocking
/// Waits for the device when a block must be read; never for writeback. Throttling is up to the
/// caller, see [`CachePool::over_hard_limit`](crate::CachePool::over_hard_limit).
#[doc(alias = "pwrite")]
#[doc(alias = "iomap_file_buffered_write")]
pub fn buffered_write(
    ops: &dyn MappingOps,
    host: &dyn Host,
    offset: u64,
    bytes: &[u8],
) -> Result<usize> {
    check_host("buffered_write", host)?;
    let request = MapRequest {
        offset,
        length: bytes.len() as u64,
        purpose: Purpose::Write,
        mods: MapMods::empty(),
    };
    let mut iter =
        MappingIter::new("buffered_write", ops, request).with_block_size(host.block_size());
    let result = write_all(&mut iter, host, bytes);
    // At most the length of a slice.
    let done = iter.done() as usize;
    drop(iter);
    host.cache().pool().maintain();
    if done > 0 { Ok(done) } else { result.map(|()| 0) }
}

fn write_all(iter: &mut MappingIter<'_>, host: &dyn Host, bytes: &[u8]) -> Result<()> {
    while iter.next_mapping()? {
        write_iter(iter, host, bytes)?;
    }
    Ok(())
}

/// Writes the part of `bytes` that one mapping covers.
fn write_iter(iter: &mut MappingIter<'_>, host: &dyn Host, bytes: &[u8]) -> Result<()> {
    while iter.length() > 0 {
        // At most the length of a slice.
        let rest = &bytes[iter.done() as usize..];
        match store("buffered_write", iter, host, Content::Bytes(rest))? {
            Stored::Done { length, size_changed } => {
                if size_changed {
                    iter.mark_size_changed();
                }
                iter.advance(length);
            }
            Stored::Stale => {
                iter.mark_stale();
                break;
            }
        }
    }
    Ok(())
}

/// For [`MappingOps::end`] of a buffered write: finds what the request reserved and did not use.
///
/// ```text
///   mapping, NEW    |--------|--------|--------|--------|
///   request            [=================================)
///   written            [========)
///   dirty           ########|########|        |########|        (somebody else's, e.g. a fault)
///   release                           |--------|                 whole blocks, nothing in use
/// ```
/// Calls `release` for each such range, with the cache locked, so that nothing can become dirty
/// there between the look and the release: `release` may take the map's lock, must not do I/O, must
/// not call the cache, and makes mappings given out for the range invalid. Does nothing when the
/// mapping is not NEW or all of the request was written. `outcome.stale` needs no special case.
#[doc(alias = "iomap_write_delalloc_release")]
#[doc(alias = "iomap_file_buffered_write_punch_delalloc")]
pub fn release_unwritten(
    host: &dyn Host,
    request: &MapRequest,
    mapping: &Mapping,
    outcome: Outcome,
    release: &mut dyn FnMut(Range<u64>),
) {
    if !mapping.flags.contains(MappingFlags::NEW) {
        return;
    }
    let cache = host.cache();
    let request_end = request.offset.saturating_add(request.length).min(mapping.end());
    let written = request.offset..request.offset.saturating_add(outcome.written);
    let asked = cache.block_range(&(request.offset..request_end));
    let from = if written.is_empty() { asked.start } else { cache.block_range(&written).end };
    if from >= asked.end {
        return;
    }
    // Locked even if the cache is empty: a writer may be about to use the same promise.
    let locked = cache.lock();
    let unused = |folio: &Folio| folio.dirty | folio.writeback;
    for unused in locked.stretches_without(&(from..asked.end), unused) {
        release(unused);
    }
}
