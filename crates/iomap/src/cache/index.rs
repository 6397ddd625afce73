//! Where the folios of one file are: a sorted map by offset that costs nothing while it is empty
//! and no allocation while it holds one folio, since most files are small.
//!
//! Invariants:
//! - (X1) folios do not overlap.
//! - (X2) with several folios, `dirty` holds exactly the starts of those that have dirty blocks, so
//!   that writeback of a large, mostly clean file does not walk the clean part.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use smallvec::SmallVec;

use crate::cache::folio::Folio;

/// Folios of one file by their first byte.
#[derive(Debug, Default)]
pub(crate) enum Index {
    #[default]
    Empty,
    One(u64, Folio),
    Many(Box<Tree>),
}

/// Two folios or more.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    folios: BTreeMap<u64, Folio>,
    dirty: BTreeSet<u64>,
}

/// Starts of some folios.
pub(crate) type Starts = SmallVec<[u64; 8]>;

impl Index {
    /// The folio that covers the byte at `offset`.
    pub(crate) fn covering(&self, offset: u64) -> Option<(u64, &Folio)> {
        let (start, folio) = match self {
            Self::Empty => return None,
            Self::One(start, folio) => (*start, folio),
            Self::Many(tree) => {
                let (start, folio) = tree.folios.range(..=offset).next_back()?;
                (*start, folio)
            }
        };
        (start <= offset && offset < start + folio.size()).then_some((start, folio))
    }

    /// Start of the first folio that starts past `offset`; `u64::MAX` if there is none.
    pub(crate) fn next_start(&self, offset: u64) -> u64 {
        match self {
            Self::Empty => u64::MAX,
            Self::One(start, _) => {
                if *start > offset {
                    *start
                } else {
                    u64::MAX
                }
            }
            Self::Many(tree) => tree
                .folios
                .range(offset.saturating_add(1)..)
                .next()
                .map_or(u64::MAX, |(start, _)| *start),
        }
    }

    /// The folio that starts at `start`.
    pub(crate) fn get(&self, start: u64) -> Option<&Folio> {
        match self {
            Self::Empty => None,
            Self::One(at, folio) => (*at == start).then_some(folio),
            Self::Many(tree) => tree.folios.get(&start),
        }
    }

    /// The folio that starts at `start`, to be changed. Whoever changes its dirty blocks calls
    /// [`note_dirty`](Self::note_dirty) after.
    pub(crate) fn get_mut(&mut self, start: u64) -> Option<&mut Folio> {
        match self {
            Self::Empty => None,
            Self::One(at, folio) => (*at == start).then_some(folio),
            Self::Many(tree) => tree.folios.get_mut(&start),
        }
    }

    /// Adds a folio, which must not overlap one that is there (X1).
    pub(crate) fn insert(&mut self, start: u64, folio: Folio) {
        debug_assert!(self.covering(start).is_none());
        debug_assert!(self.next_start(start) >= start + folio.size());
        match std::mem::take(self) {
            Self::Empty => *self = Self::One(start, folio),
            Self::One(other_start, other) => {
                let mut tree = Box::<Tree>::default();
                tree.add(other_start, other);
                tree.add(start, folio);
                *self = Self::Many(tree);
            }
            Self::Many(mut tree) => {
                tree.add(start, folio);
                *self = Self::Many(tree);
            }
        }
    }

    /// Takes a folio out.
    pub(crate) fn remove(&mut self, start: u64) -> Option<Folio> {
        match self {
            Self::Many(tree) => {
                tree.dirty.remove(&start);
                let folio = tree.folios.remove(&start);
                if tree.folios.is_empty() {
                    *self = Self::Empty;
                }
                folio
            }
            Self::One(at, _) if *at == start => match std::mem::take(self) {
                Self::One(_, folio) => Some(folio),
                Self::Empty | Self::Many(_) => None,
            },
            Self::Empty | Self::One(..) => None,
        }
    }

    /// X2: brings the set of dirty folios up to date for one of them.
    pub(crate) fn note_dirty(&mut self, start: u64) {
        if let Self::Many(tree) = self {
            if tree.folios.get(&start).is_some_and(|folio| folio.dirty != 0) {
                tree.dirty.insert(start);
            } else {
                tree.dirty.remove(&start);
            }
        }
    }

    /// Start of the first dirty folio that reaches past `offset`.
    pub(crate) fn next_dirty(&self, offset: u64) -> Option<u64> {
        match self {
            Self::Empty => None,
            Self::One(start, folio) => {
                (folio.dirty != 0 && *start + folio.size() > offset).then_some(*start)
            }
            Self::Many(tree) => match self.covering(offset) {
                Some((start, folio)) if folio.dirty != 0 => Some(start),
                _ => tree.dirty.range(offset..).next().copied(),
            },
        }
    }

    /// Start of the last dirty folio.
    pub(crate) fn last_dirty(&self) -> Option<u64> {
        match self {
            Self::Many(tree) => tree.dirty.last().copied(),
            Self::Empty | Self::One(..) => self.next_dirty(0),
        }
    }

    /// Starts of the folios that touch `range`, in order.
    pub(crate) fn touching(&self, range: &Range<u64>) -> Starts {
        if range.is_empty() {
            return Starts::new();
        }
        match self {
            Self::Empty => Starts::new(),
            Self::One(start, folio) => {
                let touches = *start < range.end && start + folio.size() > range.start;
                touches.then_some(*start).into_iter().collect()
            }
            Self::Many(tree) => {
                let first = self.covering(range.start).map_or(range.start, |(start, _)| start);
                tree.folios.range(first..range.end).map(|(start, _)| *start).collect()
            }
        }
    }

    /// The first folio that touches `[offset, ...)`, in order, for walks that stop early.
    pub(crate) fn at_or_after(&self, offset: u64) -> Option<(u64, &Folio)> {
        if let Some(found) = self.covering(offset) {
            return Some(found);
        }
        let start = self.next_start(offset);
        self.get(start).map(|folio| (start, folio))
    }
}

impl Tree {
    fn add(&mut self, start: u64, folio: Folio) {
        if folio.dirty != 0 {
            self.dirty.insert(start);
        }
        self.folios.insert(start, folio);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folio(id: u32, size: u64, dirty: u64) -> Folio {
        let mut folio = Folio::new(id, size, 12);
        folio.dirty = dirty;
        folio
    }

    #[test]
    fn lookup_agrees_with_a_linear_search_for_any_number_of_folios() {
        for count in 0..6u64 {
            let mut index = Index::default();
            let mut starts = Vec::new();
            for n in 0..count {
                let start = n * 3 * 4096;
                index.insert(start, folio(n as u32, 8192, n & 1));
                starts.push(start);
            }
            for offset in (0..count * 3 * 4096 + 4096).step_by(2048) {
                let want = starts.iter().copied().find(|s| (*s..s + 8192).contains(&offset));
                assert_eq!(index.covering(offset).map(|(start, _)| start), want);
                let next = starts.iter().copied().find(|s| *s > offset);
                assert_eq!(index.next_start(offset), next.unwrap_or(u64::MAX));
                let dirty = starts
                    .iter()
                    .copied()
                    .find(|s| s + 8192 > offset && index.get(*s).is_some_and(|f| f.dirty != 0));
                assert_eq!(index.next_dirty(offset), dirty, "count {count} offset {offset}");
            }
            for start in starts {
                assert!(index.remove(start).is_some());
            }
            assert!(matches!(index, Index::Empty));
        }
    }

    #[test]
    fn the_dirty_set_follows_the_folios() {
        let mut index = Index::default();
        for n in 0..4 {
            index.insert(n * 4096, folio(0, 4096, 0));
        }
        assert_eq!(index.next_dirty(0), None);
        index.get_mut(8192).expect("there").dirty = 1;
        index.note_dirty(8192);
        assert_eq!((index.next_dirty(0), index.last_dirty()), (Some(8192), Some(8192)));
        index.get_mut(8192).expect("there").dirty = 0;
        index.note_dirty(8192);
        assert_eq!(index.last_dirty(), None);
    }
}
