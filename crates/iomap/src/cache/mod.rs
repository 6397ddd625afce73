//! The page cache of one file, and the pool of memory that all of them share.
//!
//! ```text
//!   Host --> PageCache (one per file, tiny while empty)      CachePool (one per file system)
//!               |                                               budget, counters, free buffers
//!               '--> Shared: Mutex<State>                       queues of clean folios --.
//!                      index: offset --> Folio  <----------------- weak ------------------'
//! ```
//! Called by all page-cache operations → calls nothing but the pool. Device I/O is never done in
//! here, with one exception that holds no lock: [`fill`].
//!
//! | file | idea |
//! |---|---|
//! | `folio.rs` | one folio and the states of its blocks |
//! | `index.rs` | folios of a file by offset |
//! | `state.rs` | the locked state and its counters |
//! | `lookup.rs` | what a read finds |
//! | `fill.rs` | reading what is missing |
//! | `take.rs` | handing dirty blocks to writeback and taking them back |
//! | `drop.rs` | truncate, invalidate, drop |
//! | `readahead.rs`, `errseq.rs` | reading pattern; failed writebacks |
//! | `pool.rs`, `buffers.rs`, `reclaim.rs` | memory |

mod buffers;
mod drop;
mod errseq;
mod fill;
pub(crate) mod folio;
mod index;
mod lookup;
mod pool;
mod readahead;
mod reclaim;
mod state;
pub(crate) mod take;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use errseq::ErrorSequence;
use state::Shared;

pub use errseq::ErrorCursor;
pub(crate) use fill::{Fill, Served};
pub(crate) use lookup::{Found, Snapshot};
pub use pool::{CachePool, PoolOptions};
pub(crate) use state::Locked;

/// Smallest block size that the cache can work with, in bytes.
const BLOCK_SIZE_MIN: u32 = 512;
/// Largest block size that the cache can work with, in bytes.
const BLOCK_SIZE_MAX: u32 = 65536;

/// The cached data of one file. Costs a few words until the first folio comes.
///
/// All methods may be called by many threads. None may be called from
/// [`MappingOps::is_valid`](crate::MappingOps::is_valid), [`Host::set_size`] or
/// [`WritebackOps::discard_range`](crate::WritebackOps::discard_range), which run with the cache
/// locked. Dropping the cache drops what is dirty in it.
#[doc(alias = "address_space")]
#[doc(alias = "i_pages")]
pub struct PageCache {
    pool: Arc<CachePool>,
    shared: OnceLock<Arc<Shared>>,
    invalidate: RwLock<()>,
    block_shift: u8,
}

impl PageCache {
    /// An empty cache for a file of `block_size`-byte blocks.
    ///
    /// # Panics
    /// When `block_size` is not a power of two from 512 to 65536.
    #[must_use]
    pub fn new(pool: &Arc<CachePool>, block_size: u32) -> Self {
        assert!(
            block_size.is_power_of_two() && (BLOCK_SIZE_MIN..=BLOCK_SIZE_MAX).contains(&block_size),
            "a block size of {block_size} cannot be cached"
        );
        Self {
            pool: Arc::clone(pool),
            shared: OnceLock::new(),
            invalidate: RwLock::new(()),
            // At most 16.
            block_shift: block_size.trailing_zeros() as u8,
        }
    }

    /// The pool that holds the memory.
    #[must_use]
    pub fn pool(&self) -> &Arc<CachePool> {
        &self.pool
    }

    /// Block size in bytes.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        1 << self.block_shift
    }

    /// Keeps reads of missing blocks away while blocks are taken from the file: reads hold it
    /// shared from asking for the mapping until the bytes are in the cache. Whoever removes blocks
    /// that a reader without the inode lock might be reading holds it exclusively around
    /// [`invalidate`](Self::invalidate) or [`truncate`](Self::truncate) and the change of the map.
    ///
    /// Not recursive: who holds it must not call [`buffered_read`](crate::buffered_read) or
    /// [`take_inline`](crate::take_inline) on this file.
    ///
    /// Lock order: inode lock → this → the cache's own locks → the file system's map lock.
    #[must_use]
    pub fn invalidate_lock(&self) -> &RwLock<()> {
        &self.invalidate
    }

    /// Whether any block is dirty. Blocks under writeback do not count.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty_bytes() > 0
    }

    /// Bytes of dirty blocks.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.shared.get().map_or(0, |s| s.state.lock().dirty_blocks << self.block_shift)
    }

    /// Bytes of blocks under writeback.
    #[must_use]
    pub fn writeback_bytes(&self) -> u64 {
        self.shared.get().map_or(0, |s| s.state.lock().writeback_blocks << self.block_shift)
    }

    /// From the first dirty block to the end of the last one; `None` if nothing is dirty.
    #[must_use]
    pub fn dirty_range(&self) -> Option<Range<u64>> {
        let cache = self.locked_if_any()?;
        let index = &cache.state.index;
        let (first, last) = (index.next_dirty(0)?, index.last_dirty()?);
        let (first_folio, last_folio) = (index.get(first)?, index.get(last)?);
        let start = u64::from(first_folio.dirty.trailing_zeros());
        let end = u64::from(u64::BITS - last_folio.dirty.leading_zeros());
        Some(first + (start << self.block_shift)..last + (end << self.block_shift))
    }

    /// Where an opener of the file starts to look for failed writebacks.
    #[must_use]
    #[doc(alias = "filemap_sample_wb_err")]
    pub fn sample_error(&self) -> ErrorCursor {
        let Some(cache) = self.locked_if_any() else { return ErrorCursor::default() };
        cache.state.errors.as_ref().map_or_else(ErrorCursor::default, |errors| errors.sample())
    }

    /// Reports a writeback that failed since `since` was sampled or last checked, once.
    ///
    /// # Errors
    /// [`ErrorKind::Writeback`] with the cause.
    #[doc(alias = "file_check_and_advance_wb_err")]
    pub fn check_error(&self, since: &mut ErrorCursor) -> Result<()> {
        let Some(mut cache) = self.locked_if_any() else { return Ok(()) };
        match cache.state.errors.as_mut().and_then(|errors| errors.check(since)) {
            Some(cause) => Err(Error::new("writeback", ErrorKind::Writeback(cause))),
            None => Ok(()),
        }
    }

    /// Records a failure of writing this file's data, to be reported by
    /// [`check_error`](Self::check_error). The library does this for its own writeback; a file
    /// system that writes data in other ways does it itself.
    #[doc(alias = "mapping_set_error")]
    pub fn record_error(&self, error: Error) -> Arc<Error> {
        let error = Arc::new(error);
        let mut cache = self.lock();
        match &mut cache.state.errors {
            Some(errors) => errors.record(Arc::clone(&error)),
            errors @ None => *errors = Some(Box::new(ErrorSequence::new(Arc::clone(&error)))),
        }
        error
    }

    /// The allocated part, made if need be.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.shared.get_or_init(|| Arc::new(Shared::new(self.block_shift)))
    }

    /// The allocated part, if there ever was a folio or an error.
    pub(crate) fn shared_if_any(&self) -> Option<&Arc<Shared>> {
        self.shared.get()
    }

    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked::new(self.shared(), &self.pool)
    }

    pub(crate) fn locked_if_any(&self) -> Option<Locked<'_>> {
        self.shared.get().map(|shared| Locked::new(shared, &self.pool))
    }

    /// `range` grown to whole blocks; saturates at the end of the number space.
    pub(crate) fn block_range(&self, range: &Range<u64>) -> Range<u64> {
        let mask = (1u64 << self.block_shift) - 1;
        (range.start & !mask)..range.end.checked_add(mask).map_or(!mask, |end| end & !mask)
    }
}

impl Drop for PageCache {
    fn drop(&mut self) {
        if let Some(mut cache) = self.locked_if_any() {
            for start in cache.state.index.touching(&(0..u64::MAX)) {
                cache.remove(start);
            }
            drop(cache);
            self.pool.maintain();
        }
    }
}

impl fmt::Debug for PageCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dirty, writeback) = match self.shared.get().map(|shared| shared.state.try_lock()) {
            None => (Some(0), Some(0)),
            Some(None) => (None, None),
            Some(Some(state)) => (Some(state.dirty_blocks), Some(state.writeback_blocks)),
        };
        f.debug_struct("PageCache")
            .field("block_size", &self.block_size())
            .field("dirty_blocks", &dirty)
            .field("writeback_blocks", &writeback)
            .finish_non_exhaustive()
    }
}

/// Refuses a host whose block size is not that of its cache, for which no arithmetic would hold.
pub(crate) fn check_host(operation: &'static str, host: &dyn Host) -> Result<u64> {
    if host.block_size() == host.cache().block_size() {
        Ok(u64::from(host.block_size()))
    } else {
        let rule = "the host's block size is not its cache's";
        Err(Error::new(operation, ErrorKind::Contract(rule)))
    }
}
