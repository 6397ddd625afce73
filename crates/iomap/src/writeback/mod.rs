//! Cache → device: [`writepages`] finds a place for dirty blocks and has the file system write
//! them.
//!
//! ```text
//!   dirty blocks      ##.#########....####
//!   Batch::take       dirty → writeback, buffers shared      (cache locked)
//!   runs              |--||--------|  |--|
//!   map_blocks           once per run, again where an answer stops short
//!   ioends            [==][====][==]  [==]                    sorted, merged
//!   submit            all of the batch in one call            (nothing locked)
//!   Batch::finish     writeback → clean, unless written to meanwhile   (cache locked)
//! ```
//!
//! A failed range is not retried by itself: its dirty bits stay cleared, the error is kept for
//! every opener ([`PageCache::check_error`](crate::PageCache::check_error)), and
//! [`discard_range`](WritebackOps::discard_range) drops what was reserved. The bytes stay in the
//! cache until they are evicted.
//!
//! Locking: one writeback of a file at a time, by a lock that is held across the callbacks and
//! their I/O and taken before the cache's lock; the callbacks must not call `writepages`,
//! `take_inline` or direct I/O on the same file, nor truncate or invalidate its cache. Neither the
//! inode lock nor the invalidate lock is taken; the caller may hold them.

mod gather;
mod inline;
mod ioend;
mod ops;

use std::ops::Range;
use std::sync::Arc;

use crate::cache::check_host;
use crate::cache::take::{Batch, Taken};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::mapping::{Mapping, MappingKind};

pub use gather::{Gathered, gather};
pub use inline::take_inline;
pub(crate) use ioend::sort_and_merge;
pub use ioend::{Ioend, IoendFlags, Piece};
pub use ops::{DirectOps, WritebackOps};

/// Bytes per `submit` unless asked otherwise: enough for a device's full speed, little enough that
/// writers who change the same folios do not copy much.
const BATCH_BYTES: u64 = 8 << 20;

/// How far a [`writepages`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(alias = "writeback_control")]
pub struct WritebackControl {
    /// Stop after about this many bytes.
    #[doc(alias = "nr_to_write")]
    pub max_bytes: u64,
    /// About this many bytes per [`WritebackOps::submit`].
    pub batch_bytes: u64,
}

impl Default for WritebackControl {
    fn default() -> Self {
        Self { max_bytes: u64::MAX, batch_bytes: BATCH_BYTES }
    }
}

/// What a [`writepages`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WritebackReport {
    /// Bytes written, in whole blocks.
    pub bytes: u64,
    /// Ioends submitted.
    pub ioends: u64,
}

/// Writes the dirty blocks of `range`, in order of offset. On return all blocks that were dirty in
/// the range when it was called are written or failed, also those that another thread was already
/// writing.
///
/// Blocks wholly past the end of the file are left alone and stay dirty; bytes past the end in the
/// last block are written as zeros.
///
/// # Errors
/// The first failure as [`ErrorKind::Writeback`], after the rest of the range was tried. The same
/// failure is recorded in the cache and will be reported by `check_error`; a caller that looks
/// there anyway may ignore this one.
///
/// # Durability
/// What the file system's `submit` gives.
///
/// # Blocking
/// Waits for another writeback of the file, and for what `submit` waits for.
#[doc(alias = "iomap_writepages")]
#[doc(alias = "filemap_write_and_wait_range")]
pub fn writepages(
    ops: &dyn WritebackOps,
    host: &dyn Host,
    range: Range<u64>,
    control: &WritebackControl,
) -> Result<WritebackReport> {
    let block_size = check_host("writepages", host)?;
    let mut report = WritebackReport::default();
    let Some(shared) = host.cache().shared_if_any() else { return Ok(report) };
    let _only_one = shared.writeback.lock();
    let mut range = host.cache().block_range(&range);
    let mut left = control.max_bytes;
    let mut first_error = None;
    while left > 0 {
        let batch = Batch::take(host, &range, left.min(control.batch_bytes.max(1)));
        let Some(last) = batch.taken.last() else { break };
        range.start = last.end();
        left = left.saturating_sub(batch.taken.iter().map(|t| t.bytes.len() as u64).sum());
        if let Some(error) = write_batch(ops, block_size, batch, &mut report) {
            let error = host.cache().record_error(error);
            first_error.get_or_insert(error);
        }
        host.cache().pool().maintain();
    }
    match first_error {
        None => Ok(report),
        Some(cause) => Err(Error::new("writepages", ErrorKind::Writeback(cause))),
    }
}

/// Writes one batch; the first failure.
fn write_batch(
    ops: &dyn WritebackOps,
    block_size: u64,
    batch: Batch<'_>,
    report: &mut WritebackReport,
) -> Option<Error> {
    let mut ioends = Vec::new();
    let mut failed = Vec::new();
    let mut first_error = None;
    for run in batch.taken.chunk_by(|a, b| a.end() == b.offset) {
        if let Err((lost, error)) = map_run(ops, block_size, run, &mut ioends) {
            failed.push(lost);
            first_error.get_or_insert(error);
        }
    }
    sort_and_merge(&mut ioends);
    if !ioends.is_empty() {
        match ops.submit(&ioends) {
            Ok(()) => {
                report.bytes += ioends.iter().map(|ioend| ioend.length).sum::<u64>();
                report.ioends += ioends.len() as u64;
            }
            Err(error) => {
                failed.extend(ioends.iter().map(Ioend::range));
                first_error.get_or_insert(error);
            }
        }
    }
    // Before the blocks are given back: a buffer that nobody holds can be written to in place.
    drop(ioends);
    batch.finish(&failed, &|lost| ops.discard_range(lost));
    first_error
}

/// Maps a run of neighbouring blocks and appends its ioends. On failure: the part of the run for
/// which there is no ioend.
fn map_run(
    ops: &dyn WritebackOps,
    block_size: u64,
    run: &[Taken],
    ioends: &mut Vec<Ioend<'static>>,
) -> std::result::Result<(), (Range<u64>, Error)> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
    let end = last.end();
    let mut offset = first.offset;
    let mut pieces = run.iter();
    let mut piece = pieces.next();
    while offset < end {
        let mapping =
            map_checked(ops, block_size, offset, end - offset).map_err(|e| (offset..end, e))?;
        while let Some(taken) = piece.filter(|taken| taken.offset < mapping.end()) {
            let from = taken.offset.max(offset);
            let to = taken.end().min(mapping.end());
            // Both below the folio's size.
            let skip = (from - taken.offset) as usize;
            let length = (to - from) as usize;
            let bytes = taken.bytes.start + skip..taken.bytes.start + skip + length;
            let cached = Piece::Cached(Arc::clone(&taken.buffer), bytes);
            // Rules W1 and W2 were checked, so there is an address.
            ioends.extend(Ioend::from_piece(&mapping, from, cached));
            if to < taken.end() {
                break;
            }
            piece = pieces.next();
        }
        offset = mapping.end();
    }
    Ok(())
}

/// Asks `map_blocks` and checks the answer.
fn map_checked(
    ops: &dyn WritebackOps,
    block_size: u64,
    offset: u64,
    length: u64,
) -> Result<Mapping> {
    let mapping = ops.map_blocks(offset, length)?;
    let breach = |rule| Err(Error::contract("writepages", rule, offset));
    let (MappingKind::Mapped { addr } | MappingKind::Unwritten { addr }) = mapping.kind else {
        return breach("W1: writeback needs a place on the device");
    };
    if mapping.length == 0 || !mapping.covers(offset) {
        return breach("W2: the mapping does not cover the first block");
    }
    // No overflow: the asked range lies in the file.
    if mapping.end() > offset + length {
        return breach("W3: the mapping reaches past what was asked");
    }
    if addr.checked_add(mapping.length).is_none() {
        return breach("W4: the address overflows");
    }
    // Block sizes are powers of two, so one test covers all.
    if (mapping.offset | mapping.length | addr) & (block_size - 1) != 0 {
        return breach("W5: the mapping is not made of whole blocks");
    }
    Ok(mapping)
}
