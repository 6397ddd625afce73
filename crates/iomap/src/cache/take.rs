//! Handing dirty blocks to writeback, and taking them back when they are written.
//!
//! Taking a block clears its dirty bit, sets its writeback bit and shares its buffer; a write that
//! comes after makes it dirty again, in a copy of the buffer (F3), and the end of this writeback
//! leaves that dirty bit alone.
//!
//! Locking: whoever takes blocks holds the file's `writeback` lock until they are given back, so
//! no block is taken twice at a time.

use std::ops::Range;
use std::sync::Arc;

use ashlar_device::AlignedBuf;

use crate::cache::folio::{Blocks, Folio, blocks, runs};
use crate::cache::{Locked, PageCache};
use crate::host::Host;

/// A run of blocks of one folio that a writeback took.
#[derive(Debug)]
pub(crate) struct Taken {
    /// First byte in the file.
    pub(crate) offset: u64,
    pub(crate) buffer: Arc<AlignedBuf>,
    pub(crate) bytes: Range<usize>,
    start: u64,
    id: u32,
    blocks: Blocks,
}

impl Taken {
    /// First byte in the file past it.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// The blocks that one batch of a writeback holds, in order of offset. Dropping it without
/// [`finish`](Batch::finish) makes them dirty as before, also when a callback panics, so that
/// nothing is lost and nobody waits for ever.
pub(crate) struct Batch<'a> {
    cache: &'a PageCache,
    pub(crate) taken: Vec<Taken>,
}

impl<'a> Batch<'a> {
    /// Takes dirty blocks of `range` in order, about `bytes_max` bytes of them, at least one if
    /// there is one.
    ///
    /// The end of the file is read with the cache locked, as is the whole of a write together with
    /// its change of the size, so a write is seen with its new size or not at all:
    /// ```text
    ///                      EOF
    ///   |------|------|---#..|......|
    ///    dirty  dirty  dirty  dirty
    ///    taken  taken  taken, left alone: past the end there is nothing to keep,
    ///                  tail   and who grows the file finds it still dirty
    ///                  zeroed
    /// ```
    pub(crate) fn take(host: &'a dyn Host, range: &Range<u64>, bytes_max: u64) -> Self {
        let mut batch = Self { cache: host.cache(), taken: Vec::new() };
        let Some(mut cache) = batch.cache.locked_if_any() else { return batch };
        let size = host.size();
        let eof = batch.cache.block_range(&(0..size)).end;
        let range = range.start..range.end.min(eof);
        let mut bytes = 0;
        let mut offset = range.start;
        while offset < range.end && bytes < bytes_max {
            let Some(start) = cache.state.index.next_dirty(offset).filter(|s| *s < range.end)
            else {
                break;
            };
            bytes += cache.take_folio(start, &range, size, &mut batch.taken);
            match cache.folio(start) {
                Some(folio) => offset = start + folio.size(),
                None => break,
            }
        }
        drop(cache);
        batch
    }

    /// Ends the writeback of all blocks. `failed` ranges were not written: for their blocks that
    /// were not made dirty again meanwhile, `discard` drops what the file system holds, atomically
    /// with the look at the dirty bits.
    pub(crate) fn finish(mut self, failed: &[Range<u64>], discard: &dyn Fn(Range<u64>)) {
        let mut cache = self.cache.lock();
        for range in failed {
            for lost in cache.stretches_without(range, |folio| folio.dirty) {
                discard(lost);
            }
        }
        for taken in self.taken.drain(..) {
            cache.give_back(&taken, 0);
        }
        cache.notify();
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let mut cache = self.cache.lock();
        for taken in self.taken.drain(..) {
            cache.give_back(&taken, taken.blocks);
        }
        cache.notify();
    }
}

impl Locked<'_> {
    /// Takes the dirty blocks of one folio; returns how many bytes.
    fn take_folio(
        &mut self,
        start: u64,
        range: &Range<u64>,
        size: u64,
        taken: &mut Vec<Taken>,
    ) -> u64 {
        let Some(folio) = self.folio(start) else { return 0 };
        let set = folio.touched(start, range) & folio.dirty;
        if set == 0 {
            return 0;
        }
        let (id, dirty, writeback) = (folio.id, folio.dirty, folio.writeback);
        let end = start + folio.size();
        if size < end && folio.touched(start, &(size..size + 1)) & set != 0 {
            let block_end = self.block_end(size);
            // Below the folio's size.
            let tail = (size - start) as usize..(block_end - start) as usize;
            if let Some(bytes) = self.bytes_mut(start, 0) {
                bytes[tail].fill(0);
            }
        }
        let Some(folio) = self.folio(start) else { return 0 };
        let Some(data) = &folio.data else { return 0 };
        let mut bytes = 0;
        for run in runs(set) {
            let run_bytes = folio.byte_range(&run);
            bytes += run_bytes.len() as u64;
            taken.push(Taken {
                offset: folio.file_range(start, &run).start,
                buffer: Arc::clone(data),
                bytes: run_bytes,
                start,
                id,
                blocks: blocks(u64::from(run.start), u64::from(run.end)),
            });
        }
        self.set_blocks(start, dirty & !set, writeback | set);
        bytes
    }

    /// Ends the writeback of a run; `redirty` of its blocks become dirty again.
    fn give_back(&mut self, taken: &Taken, redirty: Blocks) {
        let Some(folio) = self.same_folio(taken.start, taken.id) else { return };
        // Blocks that were dropped meanwhile are no longer under writeback.
        let still = taken.blocks & folio.writeback;
        let (dirty, writeback) = (folio.dirty, folio.writeback);
        self.set_blocks(taken.start, dirty | (redirty & still), writeback & !still);
        self.settle(taken.start);
    }

    /// The stretches of `range`, which is made of whole blocks, where no folio has one of the
    /// blocks that `which` selects.
    pub(crate) fn stretches_without(
        &self,
        range: &Range<u64>,
        which: impl Fn(&Folio) -> Blocks,
    ) -> Vec<Range<u64>> {
        let mut without = Vec::new();
        let mut from = range.start;
        let mut offset = range.start;
        while offset < range.end {
            let Some((start, folio)) = self.state.index.at_or_after(offset) else { break };
            for run in runs(folio.touched(start, range) & which(folio)) {
                let with = folio.file_range(start, &run);
                if from < with.start {
                    without.push(from..with.start);
                }
                from = with.end;
            }
            offset = start + folio.size();
        }
        if from < range.end {
            without.push(from..range.end);
        }
        without
    }
}
