//! Promised ranges of a file: what is dirty and has no place yet.
//!
//! Called with the map locked. M1 is kept here: every change of the ranges changes the reservation
//! by as much.

use crate::error::Result;
use crate::extent::{Granted, MapState};
use ashlar_format::limits::BLOCK_BYTES;
use ashlar_store::Store;
use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint ranges of file blocks; neighbours are joined.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// Start → end.
    map: BTreeMap<u64, u64>,
}

impl Ranges {
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Number of ranges.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// The range that holds `block`.
    pub(crate) fn containing(&self, block: u64) -> Option<Range<u64>> {
        let (&start, &end) = self.map.range(..=block).next_back()?;
        (block < end).then_some(start..end)
    }

    /// Start of the first range behind `block`.
    pub(crate) fn next_start(&self, block: u64) -> Option<u64> {
        self.map
            .range((std::ops::Bound::Excluded(block), std::ops::Bound::Unbounded))
            .next()
            .map(|(start, _)| *start)
    }

    /// Adds a range of which nothing is in yet.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        let mut range = range;
        if let Some((&start, end)) = self.map.range_mut(..=range.start).next_back()
            && *end == range.start
        {
            range.start = start;
        }
        if let Some(end) = self.map.remove(&range.end) {
            range.end = end;
        }
        self.map.insert(range.start, range.end);
    }

    /// Takes a range out; returns how many blocks of it were in.
    pub(crate) fn remove(&mut self, range: Range<u64>) -> u64 {
        let mut removed = 0;
        if range.is_empty() {
            return 0;
        }
        if let Some(found) = self.containing(range.start) {
            self.map.remove(&found.start);
            if found.start < range.start {
                self.map.insert(found.start, range.start);
            }
            removed += found.end.min(range.end) - range.start;
            if found.end > range.end {
                self.map.insert(range.end, found.end);
                return removed;
            }
        }
        while let Some((&start, &end)) = self.map.range(range.clone()).next() {
            self.map.remove(&start);
            removed += end.min(range.end) - start;
            if end > range.end {
                self.map.insert(range.end, end);
            }
        }
        removed
    }
}

impl MapState {
    /// End of the stretch at `block` that is promised or granted, if it is.
    pub(crate) fn promised_until(&self, block: u64) -> Option<u64> {
        if let Some(range) = self.promised.containing(block) {
            return Some(range.end);
        }
        let granted = self.granted.iter().find(|g| (g.start..g.end()).contains(&block))?;
        Some(granted.end())
    }

    /// First block behind `block`, which is not promised, that is promised or granted.
    pub(crate) fn next_promise(&self, block: u64) -> u64 {
        let promised = self.promised.next_start(block).unwrap_or(u64::MAX);
        let granted = self.granted.iter().map(|g| g.start).filter(|start| *start > block).min();
        promised.min(granted.unwrap_or(u64::MAX))
    }

    /// `size`, or where the first grant starts if that is earlier: up to there, nothing is on its
    /// way to the device.
    pub(crate) fn settled_up_to(&self, size: u64) -> u64 {
        let first = self.granted.iter().map(|granted| granted.start).min();
        first.map_or(size, |first| size.min(first * BLOCK_BYTES))
    }

    /// Promises blocks from `range.start` on, at most the range, at least one; returns the range.
    ///
    /// # Errors
    /// `NoSpace`: a write fails here, writeback never does.
    pub(crate) fn promise(&mut self, store: &Store, range: Range<u64>) -> Result<Range<u64>> {
        let mut count = range.end - range.start;
        let reservation = loop {
            match store.reserve(count) {
                Ok(reservation) => break reservation,
                // A part of a write is better than none.
                Err(ashlar_store::Error::NoSpace { available, .. })
                    if (1..count).contains(&available) =>
                {
                    count = available;
                }
                Err(error) => return Err(error.into()),
            }
        };
        match &mut self.reservation {
            Some(all) => all.merge(reservation),
            none => *none = Some(reservation),
        }
        let range = range.start..range.start + count;
        self.promised.insert(range.clone());
        Ok(range)
    }

    /// Takes promises back; returns how many blocks.
    pub(crate) fn unpromise(&mut self, range: Range<u64>) -> u64 {
        let count = self.promised.remove(range);
        if count > 0
            && let Some(reservation) = &mut self.reservation
        {
            drop(reservation.split(count));
        }
        if self.promised.is_empty() {
            self.reservation = None;
        }
        count
    }

    /// The ranges of the grants that lie in `range`, in order.
    pub(crate) fn granted_in(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let ranges = self.granted.iter().map(|granted| granted.start..granted.end());
        let mut found: Vec<_> =
            ranges.filter(|g| range.start <= g.start && g.end <= range.end).collect();
        found.sort_by_key(|granted| granted.start);
        found
    }

    /// The grants that lie in `range`, taken out, by their start.
    pub(crate) fn take_granted(&mut self, range: &Range<u64>) -> Vec<Granted> {
        let mut taken: Vec<Granted> = Vec::new();
        let mut index = 0;
        while let Some(granted) = self.granted.get(index) {
            if range.start <= granted.start && granted.end() <= range.end {
                taken.push(self.granted.swap_remove(index));
            } else {
                index += 1;
            }
        }
        taken.sort_by_key(|granted| granted.start);
        taken
    }

    /// Writing failed: granted blocks in `range` are promised again, in so far as there is space.
    pub(crate) fn revert(&mut self, store: &Store, range: &Range<u64>) {
        for granted in self.take_granted(range) {
            let range = granted.start..granted.end();
            drop(granted);
            if let Err(error) = self.promise(store, range.clone()) {
                tracing::warn!("blocks {range:?} of a file lost their promise: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[Range<u64>]) -> Ranges {
        let mut ranges = Ranges::default();
        for range in list {
            ranges.insert(range.clone());
        }
        ranges
    }

    #[test]
    fn neighbours_are_joined() {
        assert_eq!(ranges(&[0..2, 4..6, 2..4]), ranges(std::slice::from_ref(&(0..6))));
        assert_eq!(ranges(&[0..2, 4..6]).next_start(1), Some(4));
        assert_eq!(ranges(&[0..2, 4..6]).containing(5), Some(4..6));
        assert_eq!(ranges(&[0..2, 4..6]).containing(2), None);
    }

    #[test]
    fn removing_splits_and_counts() {
        let mut set = ranges(&[0..10, 20..30, 40..50]);
        assert_eq!(set.remove(5..45), 5 + 10 + 5);
        assert_eq!(set, ranges(&[0..5, 45..50]));
        assert_eq!(set.remove(1..2), 1);
        assert_eq!(set, ranges(&[0..1, 2..5, 45..50]));
        assert_eq!(set.remove(5..45), 0);
        assert_eq!(set.remove(0..u64::MAX), 4 + 5);
        assert!(set.is_empty());
    }

    #[test]
    fn random_changes_equal_those_of_a_set() {
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut set, mut model) = (Ranges::default(), std::collections::BTreeSet::new());
        for _ in 0..2000 {
            let start = rng.u64(0..60);
            let range = start..start + rng.u64(0..20);
            if rng.bool() {
                let free = range.clone().all(|block| !model.contains(&block));
                if free && !range.is_empty() {
                    set.insert(range.clone());
                    model.extend(range);
                }
            } else {
                let count = range.clone().filter(|block| model.remove(block)).count() as u64;
                assert_eq!(set.remove(range), count, "seed {seed}");
            }
            for block in 0..80 {
                assert_eq!(set.containing(block).is_some(), model.contains(&block), "seed {seed}");
            }
        }
    }
}
