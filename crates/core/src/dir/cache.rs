//! The name cache: what names refer to, so that most lookups read no tree.
//!
//! Asked by lookups, told by everything that changes names; knows neither trees nor inodes.
//!
//! ```text
//!   lookup ── here? ──> inode number, kind
//!     └─ no: note the version, read the tree, remember it if the version is still the same
//!   change ── begin: forget it, next version ── commit ── end: may say what it is now
//! ```
//! Only names that exist are kept: a missing one is never remembered, so that nothing has to be
//! forgotten when one is made. Names above [`NAME_BYTES_CACHED`] bytes are not kept.
//!
//! Invariants
//! * (N1) what is here is what the tree says. A name that is about to change is forgotten before the
//!   commit, and while that goes on nothing is remembered in its shard; what a lookup read from the
//!   tree is remembered only if no change began in the shard since before it read.
//! * (N2) each name has one place where it can be: a set of a few entries, one of which goes when
//!   another comes. Memory is bounded by [`BYTES_MAX`], and grows to it as names come.
//!
//! Names change under their directory's inode lock, so one name is changed by one thread at a time.
//!
//! Locking: a shard's lock is a leaf, held for one set.

use crate::types::{FileKind, Ino};
use ashlar_format::name::NameRecord;
use parking_lot::Mutex;

const SHARD_COUNT: usize = 64;
/// Entries of a set.
const WAYS: usize = 4;
const SETS_MIN: usize = 16;
/// Sets of a shard, a power of two.
const SETS_MAX: usize = 512;
/// Longest name that is kept: with it an entry fills a cache line.
const NAME_BYTES_CACHED: usize = 38;
/// What all entries take: 131,072 of them.
const BYTES_MAX: usize = SHARD_COUNT * SETS_MAX * WAYS * size_of::<Entry>();
const _: () = assert!(size_of::<Entry>() == 64 && BYTES_MAX == 8 << 20);

/// A name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    pub(crate) dir: Ino,
    /// Of the name, as the names tree has it.
    pub(crate) hash: u64,
    pub(crate) bytes: &'a [u8],
}

impl Name<'_> {
    /// Spreads over shards by its lowest bits, over sets by those above.
    fn mix(&self) -> u64 {
        mix(self.dir.0, self.hash)
    }
}

fn mix(dir: u64, hash: u64) -> u64 {
    // The hash of a name is as good as random, but for its low bits.
    (hash >> 4) ^ dir.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    dir: u64,
    hash: u64,
    ino: u64,
    kind: FileKind,
    /// Bytes of the name; 0 where there is no entry.
    length: u8,
    name: [u8; NAME_BYTES_CACHED],
}

impl Entry {
    const NONE: Self = Self {
        dir: 0,
        hash: 0,
        ino: 0,
        kind: FileKind::Regular,
        length: 0,
        name: [0; NAME_BYTES_CACHED],
    };

    /// Nothing where the name is too long.
    fn new(name: &Name<'_>, record: NameRecord) -> Option<Self> {
        let length = name.bytes.len();
        let NameRecord { ino, kind } = record;
        let mut entry = Self { dir: name.dir.0, hash: name.hash, ino, kind, ..Self::NONE };
        entry.name.get_mut(..length)?.copy_from_slice(name.bytes);
        entry.length = u8::try_from(length).ok()?;
        Some(entry)
    }

    fn is(&self, name: &Name<'_>) -> bool {
        self.hash == name.hash
            && self.dir == name.dir.0
            && &self.name[..usize::from(self.length)] == name.bytes
    }
}

#[derive(Debug, Default)]
struct Shard {
    sets: Vec<[Entry; WAYS]>,
    entries: usize,
    /// Changes that have begun and not ended.
    changing: usize,
    /// Raised when a change begins.
    version: u64,
    /// Which entry of a full set goes next.
    victim: usize,
}

impl Shard {
    fn set(&mut self, mix: u64) -> Option<&mut [Entry; WAYS]> {
        let at = (mix / SHARD_COUNT as u64) as usize & self.sets.len().wrapping_sub(1);
        self.sets.get_mut(at)
    }

    fn find(&mut self, name: &Name<'_>) -> Option<&mut Entry> {
        self.set(name.mix())?.iter_mut().find(|entry| entry.is(name))
    }

    fn forget(&mut self, name: &Name<'_>) {
        if let Some(entry) = self.find(name) {
            *entry = Entry::NONE;
            self.entries -= 1;
        }
    }

    fn insert(&mut self, name: &Name<'_>, record: NameRecord) {
        let Some(new) = Entry::new(name, record) else { return };
        if let Some(entry) = self.find(name) {
            *entry = new;
            return;
        }
        if self.entries >= self.sets.len() * WAYS / 4 * 3 {
            self.grow();
        }
        self.place(new);
    }

    /// Puts an entry into its set, in the place of another where that is full.
    fn place(&mut self, new: Entry) {
        let victim = self.victim;
        let Some(set) = self.set(mix(new.dir, new.hash)) else { return };
        if let Some(vacant) = set.iter_mut().find(|entry| entry.length == 0) {
            *vacant = new;
            self.entries += 1;
        } else {
            set[victim % WAYS] = new;
            self.victim = victim.wrapping_add(1);
        }
    }

    /// Doubles the sets, unless there are as many as there may be.
    fn grow(&mut self) {
        let count = (self.sets.len() * 2).max(SETS_MIN);
        if count > SETS_MAX {
            return;
        }
        let old = std::mem::replace(&mut self.sets, vec![[Entry::NONE; WAYS]; count]);
        self.entries = 0;
        old.into_iter().flatten().filter(|entry| entry.length > 0).for_each(|it| self.place(it));
    }
}

/// What the cache says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cached {
    /// This is it.
    Known(NameRecord),
    /// The tree must be asked; [`NameCache::remember`] takes the answer.
    Unknown(Ticket),
}

/// What a lookup knows about changes before it reads the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// See the module.
#[derive(Debug)]
pub(crate) struct NameCache {
    shards: Box<[Mutex<Shard>; SHARD_COUNT]>,
}

impl NameCache {
    pub(crate) fn new() -> Self {
        Self { shards: Box::new(std::array::from_fn(|_| Mutex::default())) }
    }

    fn shard(&self, name: &Name<'_>) -> &Mutex<Shard> {
        &self.shards[name.mix() as usize % SHARD_COUNT]
    }

    /// What a name refers to.
    pub(crate) fn get(&self, name: &Name<'_>) -> Cached {
        let mut shard = self.shard(name).lock();
        match shard.find(name) {
            Some(entry) => Cached::Known(NameRecord { ino: entry.ino, kind: entry.kind }),
            None => Cached::Unknown(Ticket(shard.version)),
        }
    }

    /// A lookup found this in the tree, after it got the ticket.
    pub(crate) fn remember(&self, name: &Name<'_>, ticket: Ticket, record: NameRecord) {
        let mut shard = self.shard(name).lock();
        if shard.changing == 0 && shard.version == ticket.0 {
            shard.insert(name, record);
        }
    }

    /// A name was made, and the commit is through. Its directory is still locked: nobody removes it
    /// meanwhile.
    pub(crate) fn made(&self, name: &Name<'_>, record: NameRecord) {
        self.shard(name).lock().insert(name, record);
    }

    /// A name is about to be removed or to refer to something else: before the commit, with its
    /// directory locked. The change ends when the value is dropped, which is after the commit.
    #[must_use = "the change ends when this is dropped"]
    pub(crate) fn change(&self, name: &Name<'_>) -> Change<'_> {
        let shard = self.shard(name);
        let mut locked = shard.lock();
        locked.forget(name);
        locked.version += 1;
        locked.changing += 1;
        Change { shard }
    }

    /// Entries now.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().entries).sum()
    }
}

/// A change of a name on its way.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    shard: &'a Mutex<Shard>,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.shard.lock().changing -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn name(dir: u64, bytes: &[u8]) -> Name<'_> {
        let hash = ashlar_format::checksum::name_hash(9, bytes);
        Name { dir: Ino(dir), hash, bytes }
    }

    fn record(ino: u64) -> NameRecord {
        NameRecord { ino, kind: FileKind::Regular }
    }

    fn known(cache: &NameCache, name: &Name<'_>) -> Option<NameRecord> {
        match cache.get(name) {
            Cached::Known(record) => Some(record),
            Cached::Unknown(_) => None,
        }
    }

    fn ticket(cache: &NameCache, name: &Name<'_>) -> Ticket {
        match cache.get(name) {
            Cached::Known(record) => panic!("it is known: {record:?}"),
            Cached::Unknown(ticket) => ticket,
        }
    }

    #[test]
    fn what_was_read_before_or_during_a_change_is_not_remembered() {
        let cache = NameCache::new();
        let it = name(1, b"file");
        let before = ticket(&cache, &it);
        let change = cache.change(&it);
        cache.remember(&it, before, record(5));
        let during = ticket(&cache, &it);
        cache.remember(&it, during, record(5));
        assert_eq!(known(&cache, &it), None);
        drop(change);
        cache.remember(&it, before, record(5));
        assert_eq!(known(&cache, &it), None);
        cache.remember(&it, ticket(&cache, &it), record(6));
        assert_eq!(known(&cache, &it), Some(record(6)));
    }

    #[test]
    fn names_that_share_a_hash_or_a_beginning_are_told_apart() {
        let cache = NameCache::new();
        let one = Name { dir: Ino(1), hash: 64, bytes: b"one" };
        let two = Name { bytes: b"two", ..one };
        cache.made(&one, record(5));
        assert_eq!(known(&cache, &two), None);
        assert_eq!(known(&cache, &Name { bytes: b"on", ..one }), None);
        assert_eq!(known(&cache, &Name { bytes: b"one\0", ..one }), None);
        assert_eq!(known(&cache, &Name { dir: Ino(2), ..one }), None);
        cache.made(&two, record(6));
        assert_eq!((known(&cache, &one), known(&cache, &two)), (Some(record(5)), Some(record(6))));
    }

    #[test]
    fn cache_agrees_with_a_map_and_stays_bounded() {
        let cache = NameCache::new();
        let mut random = fastrand::Rng::with_seed(4);
        let mut model: HashMap<(u64, Vec<u8>), u64> = HashMap::new();
        let mut hits = 0;
        for step in 0..400_000 {
            let (dir, number) = (random.u64(1..4), random.u32(..100_000));
            let bytes = match number % 50 {
                0 => format!("{number:060}"),
                1 => format!("{number:038}"),
                _ => format!("f{number}"),
            };
            let (it, key) = (name(dir, bytes.as_bytes()), (dir, bytes.clone().into_bytes()));
            match random.u8(..4) {
                0 => {
                    let _change = cache.change(&it);
                    model.remove(&key);
                }
                1 if !model.contains_key(&key) => {
                    model.insert(key, step);
                    cache.made(&it, record(step));
                }
                _ => match (cache.get(&it), model.get(&key)) {
                    (Cached::Known(found), wanted) => {
                        assert_eq!(Some(&found.ino), wanted);
                        hits += 1;
                    }
                    (Cached::Unknown(ticket), Some(ino)) => {
                        cache.remember(&it, ticket, record(*ino));
                    }
                    _ => {}
                },
            }
        }
        let entries: usize = cache.shards.iter().map(|shard| shard.lock().sets.len() * WAYS).sum();
        assert!(entries * size_of::<Entry>() <= BYTES_MAX && cache.len() <= entries);
        assert!(hits > 20_000, "{hits} hits");
    }
}
