//! [`buffered_read`]: what is cached is copied; what is missing is read together with what will be
//! wanted next.
//!
//! ```text
//!   request          [===========================)
//!   cache             ####....................####........
//!   mappings          |  mapped  | hole |  mapped          |
//!   step 1            copy
//!   step 2 miss           [rrrrrr 000000 rrrrrrrr      rrrr)   one batch, to the readahead's end
//!                                                ^ cached: skipped
//! ```
//! Holes, unwritten ranges and inline data are answered from the mapping and not cached: they cost
//! no memory, and cached data always is data.
//!
//! Locking: the caller holds the inode lock shared if reads must be atomic against writes; for the
//! cache's own soundness it is not needed. Misses hold the invalidate lock shared.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::cache::{Fill, Found, Served, check_host};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::iter::MappingIter;
use crate::mapping::{Mapping, MappingKind};
use crate::ops::{MapMods, MapRequest, MappingOps, Purpose};

/// Reads from `offset` into `buf`, up to the end of the file; returns how many bytes. 0 at or past
/// the end. A failure after some bytes were read gives those bytes; the next call meets it again.
///
/// Asks `begin` with [`Purpose::Read`] for ranges that are not cached, grown to whole blocks and to
/// the readahead window.
///
/// # Errors
/// What `begin` and `end` return; [`Io`](crate::ErrorKind::Io) when the device cannot read the
/// first block that is missing (a failure further on does not fail the bytes before it).
///
/// # Blocking
/// Waits for the device, and for other readers of the same blocks.
#[doc(alias = "pread")]
#[doc(alias = "iomap_read_folio")]
#[doc(alias = "iomap_readahead")]
pub fn buffered_read(
    ops: &dyn MappingOps,
    host: &dyn Host,
    offset: u64,
    buf: &mut [u8],
) -> Result<usize> {
    check_host("buffered_read", host)?;
    let size = host.size();
    // At most the buffer's length, which fits.
    let length = size.saturating_sub(offset).min(buf.len() as u64) as usize;
    let buf = &mut buf[..length];
    let mut done = 0;
    let mut missed = false;
    let mut result = Ok(());
    while done < length {
        let at = offset + done as u64;
        match host.cache().find(&(at..offset + length as u64), size) {
            Found::Prefix(snapshots) => {
                for snapshot in snapshots {
                    let bytes = &snapshot.buffer[snapshot.bytes];
                    buf[done..done + bytes.len()].copy_from_slice(bytes);
                    done += bytes.len();
                }
            }
            Found::Nothing { until } => {
                missed = true;
                match read_missing(ops, host, at, &mut buf[done..], until) {
                    Ok(read) => done += read,
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
            }
        }
    }
    if missed {
        host.cache().pool().maintain();
    }
    if done > 0 { Ok(done) } else { result.map(|()| 0) }
}

/// Reads the missing block at `offset` and what else is missing up to `until`; returns how many
/// bytes of `buf` were read. 0 when somebody else brought the first block meanwhile.
fn read_missing(
    ops: &dyn MappingOps,
    host: &dyn Host,
    offset: u64,
    buf: &mut [u8],
    until: u64,
) -> Result<usize> {
    let wanted = host.cache().block_range(&(offset..offset + buf.len() as u64)).end;
    let first_block = host.cache().block_range(&(offset..offset + 1)).end;
    // A bad sector that was only read ahead, or lies further on, must not fail these bytes.
    let attempts = [until, wanted, first_block];
    let mut result = Ok(0);
    for (n, &end) in attempts.iter().enumerate() {
        if n > 0 && end >= attempts[n - 1] {
            continue;
        }
        result = read_batch(ops, host, offset, buf, end);
        if !matches!(&result, Err(error) if matches!(error.kind, crate::ErrorKind::Io(_))) {
            break;
        }
    }
    result
}

/// A piece of the answer, in order of offset.
enum Step {
    Zeros(Range<u64>),
    Inline(Range<u64>, Arc<[u8]>, u64),
    FromDevice(Range<u64>),
}

/// One pass over the mappings of `[offset, until)`, one batch to the device.
fn read_batch(
    ops: &dyn MappingOps,
    host: &dyn Host,
    offset: u64,
    buf: &mut [u8],
    until: u64,
) -> Result<usize> {
    let cache = host.cache();
    let _blocks_stay = cache.invalidate_lock().read();
    let request = MapRequest {
        offset,
        length: until.saturating_sub(offset),
        purpose: Purpose::Read,
        mods: MapMods::empty(),
    };
    let mut iter =
        MappingIter::new("buffered_read", ops, request).with_block_size(host.block_size());
    let mut fill = Fill::new(cache);
    let mut steps: SmallVec<[Step; 4]> = SmallVec::new();
    let request_end = offset + buf.len() as u64;
    loop {
        match iter.next_mapping() {
            Ok(true) => {}
            Ok(false) => break,
            // What was found so far is worth reading.
            Err(error) if steps.is_empty() => return Err(error),
            Err(_) => break,
        }
        if !read_iter(&mut iter, host, request_end, &mut fill, &mut steps) {
            break;
        }
    }
    drop(iter);
    if !fill.is_empty() {
        fill.read(host.device()).map_err(|e| Error::io("buffered_read", offset, e))?;
    }
    let served = fill.finish(host);
    Ok(copy_steps(offset, buf, &steps, &served))
}

/// Plans one mapping. `false`: the pass is over.
fn read_iter(
    iter: &mut MappingIter<'_>,
    host: &dyn Host,
    request_end: u64,
    fill: &mut Fill<'_>,
    steps: &mut SmallVec<[Step; 4]>,
) -> bool {
    let range = iter.offset()..iter.offset() + iter.length();
    let source = iter.source();
    if let (MappingKind::Mapped { .. }, false) = (&source.kind, source.reads_zero()) {
        if !fill.plan(source, &range, || iter.is_valid()) {
            iter.mark_stale();
            return true;
        }
        steps.push(Step::FromDevice(range.clone()));
        iter.advance(range.end - range.start);
        return true;
    }
    // Nothing to read ahead in what is answered without the device.
    if range.start >= request_end {
        iter.advance(range.end - range.start);
        return true;
    }
    let range = range.start..range.end.min(request_end);
    let Some(uncached) = uncached_prefix(iter, host, &range) else {
        iter.mark_stale();
        return true;
    };
    let stopped = uncached.end < range.end;
    iter.advance(uncached.end - uncached.start);
    let step = step_without_device(iter.source(), uncached);
    steps.push(step);
    !stopped
}

fn step_without_device(source: &Mapping, range: Range<u64>) -> Step {
    match &source.kind {
        MappingKind::Inline(bytes) => Step::Inline(range, Arc::clone(bytes), source.offset),
        _ => Step::Zeros(range),
    }
}

/// The beginning of `range` that is not cached: dirty data over a hole, a promise or an unwritten
/// range is newer than the mapping's zeros. `None`: the mapping is out of date.
///
/// Both under one lock: else a block could be written back, converted and evicted between the
/// answer "unwritten" and the look at the cache, and old zeros be read.
fn uncached_prefix(
    iter: &MappingIter<'_>,
    host: &dyn Host,
    range: &Range<u64>,
) -> Option<Range<u64>> {
    let Some(cache) = host.cache().locked_if_any() else { return Some(range.clone()) };
    if !iter.is_valid() {
        return None;
    }
    let cached = cache.next_uptodate(range);
    Some(range.start..cached.map_or(range.end, |found| found.start))
}

/// Copies the answer as far as it has no gap; returns how many bytes.
fn copy_steps(offset: u64, buf: &mut [u8], steps: &[Step], served: &[Served]) -> usize {
    let mut target = Target { offset, buf, done: 0 };
    let mut served = served.iter();
    for step in steps {
        match step {
            Step::Zeros(range) => target.put_zeros(range),
            Step::Inline(range, bytes, base) => target.put_inline(range, bytes, *base),
            Step::FromDevice(range) => {
                // Served pieces are in order and inside the steps, so each belongs to one step.
                while target.next() < range.end {
                    let Some(piece) = served.next() else { break };
                    let bytes = &piece.snapshot.buffer[piece.snapshot.bytes.clone()];
                    target.put(piece.offset, bytes);
                }
            }
        }
    }
    target.done
}

/// The caller's buffer, filled from its start without gaps.
struct Target<'a> {
    offset: u64,
    buf: &'a mut [u8],
    done: usize,
}

impl Target<'_> {
    /// File offset of the next byte.
    fn next(&self) -> u64 {
        self.offset + self.done as u64
    }

    /// The part of the buffer for `[next, end)`.
    fn room(&mut self, end: u64) -> &mut [u8] {
        let left = self.buf.len() - self.done;
        let length = end.saturating_sub(self.next()).min(left as u64) as usize;
        let from = self.done;
        self.done += length;
        &mut self.buf[from..from + length]
    }

    /// Copies the part of `bytes`, which lie at `at`, that comes next.
    fn put(&mut self, at: u64, bytes: &[u8]) {
        let next = self.next();
        if at > next || at + bytes.len() as u64 <= next {
            return;
        }
        // Below the piece's length.
        let skip = (next - at) as usize;
        let room = self.room(at + bytes.len() as u64);
        let length = room.len();
        room.copy_from_slice(&bytes[skip..skip + length]);
    }

    fn put_zeros(&mut self, range: &Range<u64>) {
        if range.start <= self.next() {
            self.room(range.end).fill(0);
        }
    }

    fn put_inline(&mut self, range: &Range<u64>, bytes: &[u8], base: u64) {
        if range.start > self.next() {
            return;
        }
        // Past the inline bytes there are zeros, up to the mapping's end.
        let skip = (self.next() - base).min(bytes.len() as u64) as usize;
        let room = self.room(range.end);
        copy_padded(room, &bytes[skip..]);
    }
}

/// Fills `target` from `bytes`, and with zeros after them.
pub(crate) fn copy_padded(target: &mut [u8], bytes: &[u8]) {
    let copied = target.len().min(bytes.len());
    target[..copied].copy_from_slice(&bytes[..copied]);
    target[copied..].fill(0);
}
