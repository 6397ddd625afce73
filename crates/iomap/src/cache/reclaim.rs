//! Eviction that resists scans: S3-FIFO over the clean folios of all files.
//!
//! ```text
//!   becomes clean --> [ small: a tenth of the budget ] --not used again--> evicted, remembered
//!                          | used again                                        |
//!                          v                                                   | comes back soon
//!                     [ main ] <-----------------------------------------------'
//!                        |  ^
//!                        |  '-- used since last looked at: once more round
//!                        '-- else evicted
//! ```
//! A file read once from end to end passes through `small` only and leaves `main` alone.
//!
//! Entries are not removed when their folio goes away or becomes dirty; they are recognised as dead
//! when their turn comes, or swept when they are many. A folio that becomes clean again gets a new
//! entry.
//!
//! Invariants:
//! - (R1) a folio has at most one live entry, and `queued` says whether it has one.
//! - (R2) an evicted folio was clean, not under writeback and not being read (F4), all seen under
//!   its cache's lock.
//!
//! Source: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::cache::folio::FOLIO_SIZE_MIN;
use crate::cache::pool::CachePool;
use crate::cache::state::Shared;

/// Part of the budget that the probationary queue gets.
const SMALL_DIVISOR: u64 = 10;
/// Uses after which a folio in `small` is worth keeping. The first use of a folio that was read
/// ahead is what it was read for, so one is not enough.
const HEAT_TO_KEEP: u8 = 2;
/// Entries looked at per round under one lock of the queues.
const ROUND_ENTRIES: usize = 32;
/// Slots of the memory of evicted folios at most: 8 MiB.
const GHOST_SLOTS_MAX: u64 = 1 << 20;

/// A folio that may be evicted: which one, and how large.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) cache: Weak<Shared>,
    pub(crate) start: u64,
    pub(crate) id: u32,
    pub(crate) bytes: u32,
}

/// The two queues and the memory of what was evicted from the first.
#[derive(Debug)]
pub(crate) struct Queues {
    small: Queue,
    main: Queue,
    ghosts: Ghosts,
    small_bytes_target: u64,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Small,
    Main,
}

/// What became of an entry when its turn came.
enum Verdict {
    /// The folio is gone.
    Dead,
    /// The folio is dirty or under writeback: it gets a new entry when it is clean.
    Dropped,
    /// Somebody uses the cache or reads into the folio right now.
    Busy,
    /// It was used: worth keeping.
    Kept,
    Evicted,
}

impl Queue {
    fn push(&mut self, entry: Entry) {
        self.bytes += u64::from(entry.bytes);
        self.entries.push_back(entry);
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= u64::from(entry.bytes);
        Some(entry)
    }
}

impl Queues {
    pub(crate) fn new(budget_bytes: u64) -> Self {
        Self {
            small: Queue::default(),
            main: Queue::default(),
            ghosts: Ghosts::new(budget_bytes),
            small_bytes_target: budget_bytes / SMALL_DIVISOR,
        }
    }

    /// A folio has become clean.
    pub(crate) fn add(&mut self, entry: Entry) {
        if self.ghosts.take(&entry) { self.main.push(entry) } else { self.small.push(entry) }
    }

    fn len(&self) -> usize {
        self.small.entries.len() + self.main.entries.len()
    }

    fn pop_candidates(&mut self, bytes_wanted: u64) -> Vec<(Place, Entry)> {
        let mut found = Vec::with_capacity(ROUND_ENTRIES);
        let mut bytes = 0;
        while found.len() < ROUND_ENTRIES && bytes < bytes_wanted {
            let small_first =
                self.small.bytes > self.small_bytes_target || self.main.entries.is_empty();
            let popped = if small_first {
                self.small.pop().map(|entry| (Place::Small, entry))
            } else {
                self.main.pop().map(|entry| (Place::Main, entry))
            };
            let Some((place, entry)) = popped else { break };
            bytes += u64::from(entry.bytes);
            found.push((place, entry));
        }
        found
    }
}

impl CachePool {
    /// Evicts folios until at most `target` bytes are cached. Gives up when every entry had its
    /// turns: each pass over `main` cools a folio by one.
    pub(crate) fn evict_down_to(&self, target: u64) {
        let mut turns = self.queues.lock().len().saturating_mul(4).max(ROUND_ENTRIES);
        while let Some(excess) = self.cached_bytes().checked_sub(target).filter(|&over| over > 0) {
            let candidates = self.queues.lock().pop_candidates(excess);
            if candidates.is_empty() || turns == 0 {
                self.put_back(candidates);
                return;
            }
            turns = turns.saturating_sub(candidates.len());
            let judged: Vec<_> = candidates
                .into_iter()
                .map(|(place, entry)| (place, self.judge(place, &entry), entry))
                .collect();
            self.settle(judged);
        }
    }

    fn put_back(&self, candidates: Vec<(Place, Entry)>) {
        let mut queues = self.queues.lock();
        for (place, entry) in candidates {
            match place {
                Place::Small => queues.small.push(entry),
                Place::Main => queues.main.push(entry),
            }
        }
    }

    /// Moves entries to where the verdicts say, under one lock of the queues.
    fn settle(&self, judged: Vec<(Place, Verdict, Entry)>) {
        let mut dead = 0;
        let mut queues = self.queues.lock();
        for (place, verdict, entry) in judged {
            match (verdict, place) {
                (Verdict::Dead, _) => dead += 1,
                (Verdict::Dropped, _) | (Verdict::Evicted, Place::Main) => {}
                (Verdict::Evicted, Place::Small) => queues.ghosts.remember(&entry),
                (Verdict::Busy, Place::Small) => queues.small.push(entry),
                (Verdict::Busy | Verdict::Kept, Place::Main) | (Verdict::Kept, Place::Small) => {
                    queues.main.push(entry);
                }
            }
        }
        drop(queues);
        if dead > 0 {
            self.forget_dead_entries(dead);
        }
    }

    /// Looks at one folio and evicts it unless there is a reason not to.
    fn judge(&self, place: Place, entry: &Entry) -> Verdict {
        let Some(shared) = entry.cache.upgrade() else { return Verdict::Dead };
        // Trying only: the caller may be anywhere in the file system, and the cache's owner too.
        let Some(mut state) = shared.state.try_lock() else { return Verdict::Busy };
        let Some(folio) = state.index.get_mut(entry.start).filter(|folio| folio.id == entry.id)
        else {
            return Verdict::Dead;
        };
        if (folio.dirty | folio.writeback) != 0 {
            folio.queued = false;
            return Verdict::Dropped;
        }
        if folio.is_pinned() {
            return Verdict::Busy;
        }
        match place {
            Place::Small if folio.heat >= HEAT_TO_KEEP => {
                folio.heat = 0;
                Verdict::Kept
            }
            Place::Main if folio.heat > 0 => {
                folio.heat -= 1;
                Verdict::Kept
            }
            Place::Small | Place::Main => {
                // R2. The entry is in our hands, so no dead one stays behind.
                folio.queued = false;
                state.remove_folio(entry.start, self);
                Verdict::Evicted
            }
        }
    }

    /// Drops the entries whose folios are gone, if they are the greater part.
    pub(crate) fn sweep_dead_entries(&self) {
        let (small, main) = {
            let mut queues = self.queues.lock();
            if self.dead_entries() < queues.len() as u64 / 2 {
                return;
            }
            (std::mem::take(&mut queues.small), std::mem::take(&mut queues.main))
        };
        let before = small.entries.len() + main.entries.len();
        let (small, main) = (live_part(small), live_part(main));
        let after = small.entries.len() + main.entries.len();
        let mut queues = self.queues.lock();
        // What came in meanwhile is younger and goes behind.
        let (young_small, young_main) = (
            std::mem::replace(&mut queues.small, small),
            std::mem::replace(&mut queues.main, main),
        );
        young_small.entries.into_iter().for_each(|entry| queues.small.push(entry));
        young_main.entries.into_iter().for_each(|entry| queues.main.push(entry));
        drop(queues);
        self.forget_dead_entries((before - after) as u64);
    }
}

fn live_part(queue: Queue) -> Queue {
    let mut live = Queue::default();
    for entry in queue.entries {
        if is_live(&entry) {
            live.push(entry);
        }
    }
    live
}

fn is_live(entry: &Entry) -> bool {
    let Some(shared) = entry.cache.upgrade() else { return false };
    let Some(state) = shared.state.try_lock() else { return true };
    state.index.get(entry.start).is_some_and(|folio| folio.id == entry.id)
}

/// Recently evicted folios: a direct-mapped table, so that it has a size and no upkeep. A collision
/// forgets one folio or keeps a wrong one, neither of which hurts.
///
/// "Recently" means that no more than a budget's worth was evicted since: what comes back later
/// than that would not have stayed anyway.
#[derive(Debug)]
struct Ghosts {
    slots: Box<[Ghost]>,
    slot_count: u64,
    /// Counts what was evicted, in units of [`FOLIO_SIZE_MIN`]; wraps.
    clock: u32,
    memory: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Ghost {
    /// Part of the hash of the folio's identity; 0 means empty.
    tag: u32,
    evicted_at: u32,
}

impl Ghosts {
    fn new(budget_bytes: u64) -> Self {
        let folios = budget_bytes / FOLIO_SIZE_MIN;
        Self {
            slots: Box::default(),
            slot_count: folios.next_power_of_two().clamp(64, GHOST_SLOTS_MAX),
            clock: 0,
            memory: u32::try_from(folios).unwrap_or(u32::MAX / 2),
        }
    }

    fn slot_and_tag(&self, entry: &Entry) -> (usize, u32) {
        // Identity only; the allocation is not looked into.
        let cache = Weak::as_ptr(&entry.cache).addr() as u64;
        let mixed = (cache ^ (entry.start >> 12).wrapping_mul(0x9E37_79B9_7F4A_7C15))
            .wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let slot = (mixed >> 32) & (self.slot_count - 1);
        // Both values were masked to fit.
        (slot as usize, (mixed & 0xFFFF_FFFF) as u32 | 1)
    }

    fn remember(&mut self, entry: &Entry) {
        if self.slots.is_empty() {
            self.slots = vec![Ghost::default(); self.slot_count as usize].into_boxed_slice();
        }
        let (slot, tag) = self.slot_and_tag(entry);
        self.clock = self.clock.wrapping_add(entry.bytes / FOLIO_SIZE_MIN as u32);
        self.slots[slot] = Ghost { tag, evicted_at: self.clock };
    }

    /// Whether the folio was evicted not long ago; forgets it.
    fn take(&mut self, entry: &Entry) -> bool {
        if self.slots.is_empty() {
            return false;
        }
        let (slot, tag) = self.slot_and_tag(entry);
        let ghost = self.slots[slot];
        if ghost.tag != tag {
            return false;
        }
        self.slots[slot] = Ghost::default();
        self.clock.wrapping_sub(ghost.evicted_at) <= self.memory
    }
}

/// The entry for a folio of `shared`.
pub(crate) fn entry(shared: &Arc<Shared>, start: u64, id: u32, size: u64) -> Entry {
    // Folios are at most 64 KiB.
    Entry { cache: Arc::downgrade(shared), start, id, bytes: size as u32 }
}
