//! The memory that all page caches of a file system share: budget, counters, eviction.
//!
//! Called by every operation after it let go of its file's cache → evicts clean folios of any file.
//!
//! Definitions: *cached* bytes are the sizes of all folios; *dirty* and *writeback* bytes count
//! single blocks. What is neither dirty nor under writeback nor being read can be evicted.
//!
//! Invariants:
//! - (P1) the counters are the sums over all folios of all caches, up to operations under way.
//! - (P2) after an operation, cached bytes are within the budget unless what exceeds it cannot be
//!   evicted; bounding the dirty part is the file system's job, by writing back when
//!   [`over_background_limit`](CachePool::over_background_limit) and by making writers wait when
//!   [`over_hard_limit`](CachePool::over_hard_limit).
//!
//! Buffers that writeback holds while a writer changes its own copy are not counted; they are
//! bounded by the writeback batch.
//!
//! Locking: the queues' lock and the free lists are leaves. Eviction takes a file's cache lock only
//! by trying, with no other lock held, so it can run below any lock of the file system.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::cache::buffers::Buffers;
use crate::cache::reclaim::{Entry, Queues};

/// Free buffers are kept up to this part of the budget per size ...
const FREE_BUFFERS_DIVISOR: u64 = 32;
/// ... and never more than this.
const FREE_BUFFERS_MAX: u64 = 16 << 20;
/// Dead entries are swept out of the queues when there are more than this, and more than half.
const DEAD_ENTRIES_MIN: u64 = 1024;

/// Sizes of a [`CachePool`], in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// Memory for cached data.
    pub budget_bytes: u64,
    /// Dirty data above which writeback should start in the background.
    #[doc(alias = "dirty_background_bytes")]
    pub background_dirty_bytes: u64,
    /// Dirty data above which writers should wait for writeback.
    #[doc(alias = "dirty_bytes")]
    pub hard_dirty_bytes: u64,
}

impl PoolOptions {
    /// A budget of which a quarter may be dirty before background writeback starts, and half before
    /// writers wait.
    #[must_use]
    pub fn new(budget_bytes: u64) -> Self {
        Self {
            budget_bytes,
            background_dirty_bytes: budget_bytes / 4,
            hard_dirty_bytes: budget_bytes / 2,
        }
    }
}

/// Memory shared by the page caches of all files. See the module for what is counted.
#[derive(Debug)]
pub struct CachePool {
    options: PoolOptions,
    cached: AtomicU64,
    dirty: AtomicU64,
    writeback: AtomicU64,
    /// Entries in the queues whose folio is gone.
    dead_entries: AtomicU64,
    pub(crate) buffers: Buffers,
    pub(crate) queues: Mutex<Queues>,
}

impl CachePool {
    /// A pool with the default limits for a budget; see [`PoolOptions::new`].
    #[must_use]
    pub fn new(budget_bytes: u64) -> Arc<Self> {
        Self::with_options(PoolOptions::new(budget_bytes))
    }

    /// A pool with chosen limits.
    #[must_use]
    pub fn with_options(options: PoolOptions) -> Arc<Self> {
        let keep = (options.budget_bytes / FREE_BUFFERS_DIVISOR).min(FREE_BUFFERS_MAX);
        Arc::new(Self {
            options,
            cached: AtomicU64::new(0),
            dirty: AtomicU64::new(0),
            writeback: AtomicU64::new(0),
            dead_entries: AtomicU64::new(0),
            // At most FREE_BUFFERS_MAX, which fits.
            buffers: Buffers::new(usize::try_from(keep).unwrap_or(0)),
            queues: Mutex::new(Queues::new(options.budget_bytes)),
        })
    }

    /// The limits.
    #[must_use]
    pub fn options(&self) -> PoolOptions {
        self.options
    }

    /// Bytes of all folios, clean and dirty.
    #[must_use]
    pub fn cached_bytes(&self) -> u64 {
        self.cached.load(Relaxed)
    }

    /// Bytes that are neither dirty nor under writeback.
    #[must_use]
    pub fn clean_bytes(&self) -> u64 {
        self.cached_bytes().saturating_sub(self.dirty_bytes() + self.writeback_bytes())
    }

    /// Bytes of dirty blocks.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.dirty.load(Relaxed)
    }

    /// Bytes of blocks that a writeback has taken and not finished.
    #[must_use]
    pub fn writeback_bytes(&self) -> u64 {
        self.writeback.load(Relaxed)
    }

    /// Whether writeback should start in the background.
    #[must_use]
    pub fn over_background_limit(&self) -> bool {
        self.dirty_bytes() > self.options.background_dirty_bytes
    }

    /// Whether writers should wait for writeback before dirtying more.
    #[must_use]
    #[doc(alias = "balance_dirty_pages")]
    pub fn over_hard_limit(&self) -> bool {
        self.dirty_bytes() + self.writeback_bytes() > self.options.hard_dirty_bytes
    }

    /// Evicts until at most `bytes` are cached or nothing more can be evicted.
    pub fn shrink_to(&self, bytes: u64) {
        self.evict_down_to(bytes);
    }

    /// P2 and the bound on dead entries; called by operations that hold no lock of a cache.
    pub(crate) fn maintain(&self) {
        if self.cached_bytes() > self.options.budget_bytes {
            self.evict_down_to(self.options.budget_bytes);
        }
        if self.dead_entries.load(Relaxed) > DEAD_ENTRIES_MIN {
            self.sweep_dead_entries();
        }
    }

    pub(crate) fn enqueue(&self, entries: impl IntoIterator<Item = Entry>) {
        let mut queues = self.queues.lock();
        for entry in entries {
            queues.add(entry);
        }
    }

    pub(crate) fn add_cached(&self, bytes: u64) {
        self.cached.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn sub_cached(&self, bytes: u64) {
        self.cached.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn add_dirty(&self, bytes: u64) {
        self.dirty.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn sub_dirty(&self, bytes: u64) {
        self.dirty.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn add_writeback(&self, bytes: u64) {
        self.writeback.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn sub_writeback(&self, bytes: u64) {
        self.writeback.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn note_dead_entry(&self) {
        self.dead_entries.fetch_add(1, Relaxed);
    }

    pub(crate) fn forget_dead_entries(&self, count: u64) {
        // Saturating: an entry may be met before the folio's removal was counted.
        let _ = self
            .dead_entries
            .fetch_update(Relaxed, Relaxed, |dead| Some(dead.saturating_sub(count)));
    }

    pub(crate) fn dead_entries(&self) -> u64 {
        self.dead_entries.load(Relaxed)
    }
}
