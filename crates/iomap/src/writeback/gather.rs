//! [`gather`]: the first half of a writeback, for file systems that commit several files at once.
//!
//! ```text
//!   writepages    take ── map ── submit ── finish                 one file, in batches
//!   gather        take ── map ──┐
//!   gather        take ── map ──┤── the file system's one commit ── finish, finish
//! ```

use std::ops::Range;

use parking_lot::MutexGuard;

use crate::cache::check_host;
use crate::cache::take::Batch;
use crate::error::Result;
use crate::host::Host;
use crate::writeback::{Ioend, WritebackOps, map_run, sort_and_merge};

/// All dirty blocks of a range, on their way. Dropped without [`finish`](Self::finish) they are
/// dirty as before; what `map_blocks` did is the file system's to undo then.
pub struct Gathered<'a> {
    batch: Batch<'a>,
    ioends: Vec<Ioend<'static>>,
    _only_one: MutexGuard<'a, ()>,
}

impl Gathered<'_> {
    /// What is to be written, sorted by offset and merged.
    #[must_use]
    pub fn ioends(&self) -> &[Ioend<'static>] {
        &self.ioends
    }

    /// The bytes are where later reads find them: the blocks are clean, but for those that were
    /// written to meanwhile.
    pub fn finish(self) {
        // Before the blocks are given back: a buffer that nobody holds can be written to in place.
        drop(self.ioends);
        self.batch.finish(&[], &|_: Range<u64>| {});
    }
}

/// Takes the dirty blocks of `range` and asks `ops` for their places, as
/// [`writepages`](crate::writepages) does; `None` where nothing is dirty. The file's writeback lock
/// is held until the answer is gone.
///
/// # Errors
/// The first failure of `map_blocks`: the blocks are dirty as before, and nothing is recorded.
///
/// # Blocking
/// Waits for another writeback of the file.
pub fn gather<'a>(
    ops: &dyn WritebackOps,
    host: &'a dyn Host,
    range: &Range<u64>,
) -> Result<Option<Gathered<'a>>> {
    let block_size = check_host("gather", host)?;
    let Some(shared) = host.cache().shared_if_any() else { return Ok(None) };
    let only_one = shared.writeback.lock();
    let range = host.cache().block_range(range);
    let batch = Batch::take(host, &range, u64::MAX);
    let mut ioends = Vec::new();
    for run in batch.taken.chunk_by(|a, b| a.end() == b.offset) {
        map_run(ops, block_size, run, &mut ioends).map_err(|(_, error)| error)?;
    }
    sort_and_merge(&mut ioends);
    if ioends.is_empty() {
        return Ok(None);
    }
    Ok(Some(Gathered { batch, ioends, _only_one: only_one }))
}
