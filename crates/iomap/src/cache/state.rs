//! The locked part of one file's cache, and the guard through which all code changes it.
//!
//! Invariants:
//! - (S1) `dirty_blocks` and `writeback_blocks` are the sums over the folios; the pool's counters
//!   move with them, under this lock.
//! - (S2) a folio that is neither pinned nor queued gets an entry in the pool's queues before the
//!   lock is let go ([`Locked::settle`]).
//!
//! Locking: one mutex per file. It is held for lookups and copies of bytes, never across I/O nor
//! across `begin`, `end`, `map_blocks`, `submit`; it is held while `is_valid`, `set_size` and
//! `discard_range` run, which is what makes those atomic with the folio's state. The pool's locks
//! are taken inside.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use smallvec::SmallVec;

use crate::cache::errseq::ErrorSequence;
use crate::cache::folio::{Blocks, Folio, HEAT_MAX, folio_range};
use crate::cache::index::Index;
use crate::cache::pool::CachePool;
use crate::cache::readahead::Readahead;
use crate::cache::reclaim::{self, Entry};

/// What a file's cache allocates when its first folio comes.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// Signalled when blocks stop being read or written back.
    pub(crate) changed: Condvar,
    /// Held by whoever takes dirty blocks until they are written: one writeback of a file at a
    /// time, so that older bytes never overtake newer ones. Taken before `state`.
    pub(crate) writeback: Mutex<()>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) dirty_blocks: u64,
    pub(crate) writeback_blocks: u64,
    pub(crate) readahead: Readahead,
    pub(crate) errors: Option<Box<ErrorSequence>>,
    /// The folio used last: using it again right away is the same use (see `reclaim`).
    last_used: u64,
    next_id: u32,
    block_shift: u8,
}

impl Shared {
    pub(crate) fn new(block_shift: u8) -> Self {
        let state = State {
            index: Index::default(),
            dirty_blocks: 0,
            writeback_blocks: 0,
            readahead: Readahead::default(),
            errors: None,
            last_used: u64::MAX,
            next_id: 0,
            block_shift,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), writeback: Mutex::new(()) }
    }
}

impl State {
    fn bytes(&self, blocks: u32) -> u64 {
        u64::from(blocks) << self.block_shift
    }

    /// Takes a folio out, whatever its state, and returns its buffer to the pool.
    pub(crate) fn remove_folio(&mut self, start: u64, pool: &CachePool) {
        let Some(folio) = self.index.remove(start) else { return };
        pool.sub_cached(folio.size());
        self.count_dirty(pool, folio.dirty, 0);
        self.count_writeback(pool, folio.writeback, 0);
        if folio.queued {
            pool.note_dead_entry();
        }
        if let Some(data) = folio.data {
            pool.buffers.give(data);
        }
    }

    /// S1 for a change of dirty blocks.
    fn count_dirty(&mut self, pool: &CachePool, before: Blocks, after: Blocks) {
        let added = (after & !before).count_ones();
        let removed = (before & !after).count_ones();
        self.dirty_blocks = self.dirty_blocks + u64::from(added) - u64::from(removed);
        if added > 0 {
            pool.add_dirty(self.bytes(added));
        }
        if removed > 0 {
            pool.sub_dirty(self.bytes(removed));
        }
    }

    /// S1 for a change of blocks under writeback.
    fn count_writeback(&mut self, pool: &CachePool, before: Blocks, after: Blocks) {
        let added = (after & !before).count_ones();
        let removed = (before & !after).count_ones();
        self.writeback_blocks = self.writeback_blocks + u64::from(added) - u64::from(removed);
        if added > 0 {
            pool.add_writeback(self.bytes(added));
        }
        if removed > 0 {
            pool.sub_writeback(self.bytes(removed));
        }
    }
}

/// The file's cache, locked.
pub(crate) struct Locked<'a> {
    pub(crate) state: MutexGuard<'a, State>,
    pub(crate) pool: &'a CachePool,
    shared: &'a Arc<Shared>,
    /// Entries for folios that became clean, handed to the pool when the lock is let go.
    clean: SmallVec<[Entry; 2]>,
}

impl<'a> Locked<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>, pool: &'a CachePool) -> Self {
        Self { state: shared.state.lock(), pool, shared, clean: SmallVec::new() }
    }

    /// Start of the folio that covers `offset`.
    pub(crate) fn covering(&self, offset: u64) -> Option<u64> {
        self.state.index.covering(offset).map(|(start, _)| start)
    }

    /// First byte past the block that holds `offset`.
    pub(crate) fn block_end(&self, offset: u64) -> u64 {
        (offset | ((1 << self.state.block_shift) - 1)) + 1
    }

    pub(crate) fn folio(&self, start: u64) -> Option<&Folio> {
        self.state.index.get(start)
    }

    /// The folio at `start`, if it still is the one called `id`.
    pub(crate) fn same_folio(&mut self, start: u64, id: u32) -> Option<&mut Folio> {
        self.state.index.get_mut(start).filter(|folio| folio.id == id)
    }

    /// Start of the folio that covers `offset`, made if there is none: as large as fits between
    /// its neighbours and before `end`.
    pub(crate) fn covering_or_new(&mut self, offset: u64, end: u64) -> u64 {
        if let Some(start) = self.covering(offset) {
            return start;
        }
        let state = &mut *self.state;
        let next = state.index.next_start(offset);
        let range = folio_range(offset, end, next, 1 << state.block_shift);
        state.next_id = state.next_id.wrapping_add(1);
        let size = range.end - range.start;
        state.index.insert(range.start, Folio::new(state.next_id, size, state.block_shift));
        self.pool.add_cached(size);
        range.start
    }

    /// Makes the folio's bytes writable and returns them with the folio. See [`Folio::bytes_mut`].
    pub(crate) fn bytes_mut(&mut self, start: u64, overwritten: Blocks) -> Option<&mut [u8]> {
        let buffers = &self.pool.buffers;
        self.state.index.get_mut(start).map(|folio| folio.bytes_mut(buffers, overwritten))
    }

    /// Changes the dirty and writeback sets of a folio, with all counters.
    pub(crate) fn set_blocks(&mut self, start: u64, dirty: Blocks, writeback: Blocks) {
        let state = &mut *self.state;
        let Some(folio) = state.index.get_mut(start) else { return };
        debug_assert_eq!((dirty | writeback) & !folio.uptodate, 0, "F1");
        let dirty_before = std::mem::replace(&mut folio.dirty, dirty);
        let writeback_before = std::mem::replace(&mut folio.writeback, writeback);
        if (dirty_before == 0) != (dirty == 0) {
            state.index.note_dirty(start);
        }
        state.count_dirty(self.pool, dirty_before, dirty);
        state.count_writeback(self.pool, writeback_before, writeback);
    }

    /// Counts a use of a folio for eviction.
    pub(crate) fn note_use(&mut self, start: u64) {
        let state = &mut *self.state;
        if state.last_used == start {
            return;
        }
        state.last_used = start;
        if let Some(folio) = state.index.get_mut(start) {
            folio.heat = (folio.heat + 1).min(HEAT_MAX);
        }
    }

    /// Removes the folio at `start`.
    pub(crate) fn remove(&mut self, start: u64) {
        self.state.remove_folio(start, self.pool);
    }

    /// S2: to be called after a change that may have made the folio evictable. A folio with nothing
    /// in it goes at once.
    pub(crate) fn settle(&mut self, start: u64) {
        let Some(folio) = self.state.index.get_mut(start) else { return };
        if folio.is_pinned() {
            return;
        }
        if folio.uptodate == 0 {
            self.remove(start);
        } else if !folio.queued {
            folio.queued = true;
            self.clean.push(reclaim::entry(self.shared, start, folio.id, folio.size()));
        }
    }

    /// Lets others in until something changed, then has the lock again. What was looked up before
    /// may be gone.
    pub(crate) fn wait(&mut self) {
        self.hand_over();
        self.shared.changed.wait(&mut self.state);
    }

    /// Wakes those who wait for blocks that are no longer read or written back.
    pub(crate) fn notify(&self) {
        self.shared.changed.notify_all();
    }

    fn hand_over(&mut self) {
        if !self.clean.is_empty() {
            self.pool.enqueue(self.clean.drain(..));
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.hand_over();
    }
}
