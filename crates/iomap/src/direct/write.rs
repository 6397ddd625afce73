//! [`direct_write`]: caller's bytes → device, in one `submit` for the whole request.
//!
//! ```text
//!   1 edges       may they be padded? else NeedsBuffered, nothing done
//!   2 write_back, invalidate_clean      the cache holds nothing of the range
//!   3 begin/end   once per mapping: ioends are collected, nothing is written
//!   4 submit      all ioends, DIRECT
//!   5 invalidate_clean                  what a reader cached meanwhile is old
//!   6 set_size
//! ```
//! Since `submit` comes after every `end`, `Outcome::written` there means "queued". If `submit`
//! fails, `discard_range` takes back what `begin` allocated.

use std::ops::Range;

use crate::cache::check_host;
use crate::direct::edges::Padded;
use crate::direct::write_back;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::iter::MappingIter;
use crate::mapping::{Mapping, MappingFlags, MappingKind};
use crate::ops::{MapMods, MapRequest, Purpose};
use crate::writeback::{DirectOps, Ioend, IoendFlags, sort_and_merge};

/// What a [`direct_write`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectWritten {
    /// Bytes written; fewer than asked if the file system could not map all of them.
    pub written: usize,
    /// Whether the end of the file moved.
    pub size_changed: bool,
    /// Whether only allocated, written, unshared blocks with durable metadata were overwritten,
    /// below the end of the file: nothing but the data itself needs to become durable.
    #[doc(alias = "IOMAP_DIO_WRITE_THROUGH")]
    pub pure_overwrite: bool,
}

/// Writes `bytes` at `offset` to the device without the cache.
///
/// The offset and the end of the write are on block borders, or the block that is written in part
/// is a hole or unwritten, or the end is at or past the end of the file; the rest of such a block
/// is written as zeros.
///
/// Asks `begin` with [`Purpose::Write`] and [`MapMods::DIRECT`] (for edge blocks first with
/// [`Purpose::Report`]). The file system commits size and metadata in
/// [`submit`](crate::WritebackOps::submit) or after; the library moves the end of the file through
/// [`Host::set_size`] after `submit`.
///
/// # Errors
/// [`NeedsBuffered`](ErrorKind::NeedsBuffered) when a block would have to be read first, is inline
/// or delayed-allocated, or the cache could not be emptied: nothing was written, use
/// [`buffered_write`](crate::buffered_write). What `begin` and `end` return if nothing could be
/// mapped. What `submit` returns: then any part of the range may hold old or new bytes.
///
/// # Durability
/// What the file system's `submit` gives.
///
/// # Blocking
/// Waits for the device. The caller holds the inode lock: exclusively if the write moves the end of
/// the file or covers a block in part (two such writes to one block would zero each other's bytes),
/// else shared is enough.
#[doc(alias = "iomap_dio_rw")]
#[doc(alias = "O_DIRECT")]
pub fn direct_write(
    ops: &dyn DirectOps,
    host: &dyn Host,
    offset: u64,
    bytes: &[u8],
) -> Result<DirectWritten> {
    let block_size = check_host("direct_write", host)?;
    let mut done = DirectWritten { written: 0, size_changed: false, pure_overwrite: true };
    if bytes.is_empty() {
        return Ok(done);
    }
    let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= crate::OFFSET_MAX);
    let Some(end) = end else {
        let kind = ErrorKind::InvalidArgument("the range ends past 2^63 - 1");
        return Err(Error::new("direct_write", kind).at(offset));
    };
    let size = host.size();
    let padded = Padded::new(offset, bytes, block_size, size);
    padded.check_edges(ops, host)?;
    let range = host.cache().block_range(&(offset..end));
    empty_cache(ops, host, &range)?;

    let request = MapRequest {
        offset,
        length: bytes.len() as u64,
        purpose: Purpose::Write,
        mods: MapMods::DIRECT,
    };
    let mut iter =
        MappingIter::new("direct_write", ops, request).with_block_size(host.block_size());
    let mut queue = Queue { padded: &padded, ioends: Vec::new(), pure: end <= size };
    let result = queue_all(&mut iter, host, &mut queue);
    let written = iter.done();
    drop(iter);
    if written == 0 {
        return result.map(|()| done);
    }
    let Queue { mut ioends, pure, .. } = queue;
    sort_and_merge(&mut ioends);
    if let Err(error) = ops.submit(&ioends) {
        take_back(ops, host, &ioends);
        return Err(error);
    }
    host.cache().invalidate_clean(range);
    // At most the slice's length.
    done.written = written as usize;
    done.pure_overwrite = pure;
    if offset + written > host.size() {
        host.set_size(offset + written);
        done.size_changed = true;
    }
    Ok(done)
}

/// Writes the range back and drops it from the cache.
fn empty_cache(ops: &dyn DirectOps, host: &dyn Host, range: &Range<u64>) -> Result<()> {
    if !host.cache().has_cached_data(range.clone()) {
        return Ok(());
    }
    write_back(ops, host, range)?;
    if host.cache().invalidate_clean(range.clone()) {
        return Ok(());
    }
    // Somebody dirties it as fast as we write it: let the cache order the writes.
    Err(Error::new("direct_write", ErrorKind::NeedsBuffered).at(range.start))
}

/// The ioends collected so far.
struct Queue<'p, 'a> {
    padded: &'p Padded<'a>,
    ioends: Vec<Ioend<'a>>,
    pure: bool,
}

fn queue_all(iter: &mut MappingIter<'_>, host: &dyn Host, queue: &mut Queue<'_, '_>) -> Result<()> {
    while iter.next_mapping()? {
        queue_iter(iter, host, queue)?;
    }
    Ok(())
}

fn queue_iter(
    iter: &mut MappingIter<'_>,
    host: &dyn Host,
    queue: &mut Queue<'_, '_>,
) -> Result<()> {
    let (offset, length) = (iter.offset(), iter.length());
    let mapping = iter.mapping();
    let needs_buffered = || Error::new("direct_write", ErrorKind::NeedsBuffered).at(offset);
    let fresh = match mapping.kind {
        MappingKind::Mapped { .. } => mapping.flags.contains(MappingFlags::NEW),
        MappingKind::Unwritten { .. } => true,
        MappingKind::Hole | MappingKind::Delalloc | MappingKind::Inline(_) => {
            return Err(needs_buffered());
        }
    };
    let covered = host.cache().block_range(&(offset..offset + length));
    let range = covered.start..covered.end.min(mapping.end());
    // E1 was checked before; between, somebody else may have written the block.
    let touches = |block: &Range<u64>| block.start < range.end && range.start < block.end;
    if !fresh && queue.padded.fresh_only.iter().any(touches) {
        return Err(needs_buffered());
    }
    for (at, piece) in queue.padded.pieces(range) {
        let ioend = Ioend::from_piece(mapping, at, piece).map(|mut ioend| {
            ioend.flags |= IoendFlags::DIRECT;
            ioend
        });
        queue.ioends.extend(ioend);
    }
    queue.pure &= is_pure_overwrite(mapping);
    iter.advance(length);
    Ok(())
}

fn is_pure_overwrite(mapping: &Mapping) -> bool {
    let metadata = MappingFlags::NEW | MappingFlags::SHARED | MappingFlags::DIRTY;
    matches!(mapping.kind, MappingKind::Mapped { .. }) && !mapping.flags.intersects(metadata)
}

/// `submit` failed: the file system drops what it allocated. With the cache locked, as
/// `discard_range` is promised.
fn take_back(ops: &dyn DirectOps, host: &dyn Host, ioends: &[Ioend<'_>]) {
    let _locked = host.cache().lock();
    for ioend in ioends {
        ops.discard_range(ioend.range());
    }
}
