//! Putting bytes, or zeros, into one folio: the step of every operation that dirties the cache.
//!
//! ```text
//!   block       |        0       |        1       |        2       |
//!   content              [========================================)
//!                ^^^^^^^ kept: block 0 must be uptodate first        block 2 as well
//!                        zeros if the source reads as zeros or lies past EOF,
//!                        inline bytes, or a read from the device
//! ```
//! Everything that others can see – bytes, uptodate and dirty bits, the new size – changes in one
//! hold of the cache's lock, after the mapping was found valid in the same hold. So a failed step
//! leaves no dirty block behind, and writeback sees a write whole or not at all.

use std::ops::Range;

use crate::buffered::read::copy_padded;
use crate::cache::folio::{Blocks, Folio, runs};
use crate::cache::{Fill, Locked};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::iter::MappingIter;
use crate::mapping::{Mapping, MappingKind};

/// What is put into the cache.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content<'a> {
    /// These bytes; they move the end of the file if they reach past it.
    Bytes(&'a [u8]),
    /// That many zeros; the end of the file stays.
    Zeros(u64),
}

impl Content<'_> {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(length) => *length,
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// That many bytes are in the cache and dirty.
    Done { length: u64, size_changed: bool },
    /// The mapping is out of date; nothing was done.
    Stale,
}

/// Puts the beginning of `content` at the iterator's offset: as much as fits one folio and the
/// mapping.
pub(crate) fn store(
    operation: &'static str,
    iter: &MappingIter<'_>,
    host: &dyn Host,
    content: Content<'_>,
) -> Result<Stored> {
    let offset = iter.offset();
    let end = offset + content.length().min(iter.length());
    loop {
        let mut cache = host.cache().lock();
        if !iter.is_valid() {
            return Ok(Stored::Stale);
        }
        let start = cache.covering_or_new(offset, end);
        let folio = cache.folio(start).expect("the folio was found under this lock");
        let range = offset..end.min(start + folio.size());
        let partial = partly_covered(folio, start, &range) & !folio.uptodate;
        if partial & folio.reading != 0 {
            cache.wait();
            continue;
        }
        if let Some(block) = first_to_read(&cache, iter.source(), start, partial, host.size()) {
            drop(cache);
            if !read_block(operation, iter, host, &block)? {
                return Ok(Stored::Stale);
            }
            continue;
        }
        prepare(&mut cache, iter.source(), start, partial, &range);
        let size_changed = put(&mut cache, start, &range, content, host);
        return Ok(Stored::Done { length: range.end - range.start, size_changed });
    }
}

/// The blocks at the ends of `range` that it covers only in part: two at most.
fn partly_covered(folio: &Folio, start: u64, range: &Range<u64>) -> Blocks {
    let mut set = 0;
    for edge in [range.start, range.end] {
        let block = folio.touched(start, &(edge..edge + 1));
        let run = runs(block).next();
        // An edge on a block border cuts nothing; one at the folio's end touches nothing.
        if run.is_some_and(|run| folio.file_range(start, &run).start != edge) {
            set |= block;
        }
    }
    set
}

/// The first of the blocks whose old bytes are on the device.
fn first_to_read(
    cache: &Locked<'_>,
    source: &Mapping,
    start: u64,
    partial: Blocks,
    size: u64,
) -> Option<Range<u64>> {
    let folio = cache.folio(start)?;
    let on_device = matches!(source.kind, MappingKind::Mapped { .. }) && !source.reads_zero();
    runs(partial)
        .filter(|_| on_device)
        .flat_map(|run| run.map(|block| block..block + 1))
        .map(|block| folio.file_range(start, &block))
        // Past the end there is nothing of value.
        .find(|block| block.start < size)
}

/// Brings one block into the cache. `false`: the mapping is out of date.
fn read_block(
    operation: &'static str,
    iter: &MappingIter<'_>,
    host: &dyn Host,
    block: &Range<u64>,
) -> Result<bool> {
    let mut fill = Fill::new(host.cache());
    if !fill.plan(iter.source(), block, || iter.is_valid()) {
        return Ok(false);
    }
    fill.read(host.device()).map_err(|e| Error::io(operation, block.start, e))?;
    fill.finish(host);
    Ok(true)
}

/// Gives the blocks that are not uptodate and only partly covered their old bytes, which need no
/// I/O: zeros, or inline data.
fn prepare(
    cache: &mut Locked<'_>,
    source: &Mapping,
    start: u64,
    partial: Blocks,
    range: &Range<u64>,
) {
    let Some(folio) = cache.folio(start) else { return };
    let whole = folio.touched(start, range) & !partly_covered(folio, start, range);
    let blocks: Vec<_> = runs(partial)
        .map(|run| (folio.byte_range(&run), folio.file_range(start, &run).start))
        .collect();
    // Blocks that will be covered as a whole, or get their bytes here, need not be kept.
    let Some(bytes) = cache.bytes_mut(start, whole | partial) else { return };
    for (target, offset) in blocks {
        let target = &mut bytes[target];
        match &source.kind {
            MappingKind::Inline(inline) => {
                let skip = offset.saturating_sub(source.offset).min(inline.len() as u64) as usize;
                copy_padded(target, &inline[skip..]);
            }
            _ => target.fill(0),
        }
    }
}

/// Copies the content and publishes it; whether the file grew.
fn put(
    cache: &mut Locked<'_>,
    start: u64,
    range: &Range<u64>,
    content: Content<'_>,
    host: &dyn Host,
) -> bool {
    // Both below the folio's size.
    let target = (range.start - start) as usize..(range.end - start) as usize;
    let length = target.len();
    let Some(bytes) = cache.bytes_mut(start, 0) else { return false };
    match content {
        Content::Bytes(source) => bytes[target].copy_from_slice(&source[..length]),
        Content::Zeros(_) => bytes[target].fill(0),
    }
    let Some(folio) = cache.state.index.get_mut(start) else { return false };
    let touched = folio.touched(start, range);
    folio.uptodate |= touched;
    let was_reading = folio.reading & touched != 0;
    folio.reading &= !touched;
    let (dirty, writeback) = (folio.dirty | touched, folio.writeback);
    cache.set_blocks(start, dirty, writeback);
    cache.note_use(start);
    if was_reading {
        cache.notify();
    }
    let grows = matches!(content, Content::Bytes(_)) && range.end > host.size();
    if grows {
        host.set_size(range.end);
    }
    grows
}
