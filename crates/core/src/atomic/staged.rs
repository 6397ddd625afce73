//! The working image of an atomic file, where it differs from the tree and is not in the cache:
//! blocks that took a place of their own, and holes.
//!
//! ```text
//!   tree      |====A====|=====B=====|           |==C==|
//!   staged       |==s==|     (hole)  |==s==|              s: own place, no record speaks of it
//!   reads     |AA|==s==|A|BB|   |BBB||==s==|     |==C==|
//! ```
//!
//! Invariants
//! * (S1) runs do not overlap; promised blocks of the file are not staged.
//! * (S2) every block of a run with a place lies in one of the grants; grants may hold more, of what
//!   was staged and truncated since. A commit takes the grants and frees the rest.
//! * (S3) the sums of a run are those of whole blocks, as they were written last.

use crate::extent::Extent;
use ashlar_format::extent::ExtentFlags;
use ashlar_store::Grant;
use std::collections::BTreeMap;
use std::ops::Range;

/// What the working image has instead of the tree's blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing.
    Hole,
    /// Blocks from here on; with the sums of what was written there, or else unwritten.
    Blocks { block: u64, sums: Option<Vec<u32>> },
}

/// A run of file blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) count: u64,
    pub(crate) place: Place,
}

impl Run {
    pub(crate) fn end(&self) -> u64 {
        self.start + self.count
    }

    /// The part of it in a range, which it touches.
    fn cut(&self, range: &Range<u64>) -> Self {
        let start = self.start.max(range.start);
        let end = self.end().min(range.end);
        // Parts of a run are no longer than memory.
        let (skip, count) = ((start - self.start) as usize, (end - start) as usize);
        let place = match &self.place {
            Place::Hole => Place::Hole,
            Place::Blocks { block, sums } => Place::Blocks {
                block: block + skip as u64,
                sums: sums.as_ref().map(|sums| sums[skip..skip + count].to_vec()),
            },
        };
        Self { start, count: end - start, place }
    }

    fn blocks(&self) -> u64 {
        if self.place == Place::Hole { 0 } else { self.count }
    }

    /// As an extent, if it has a place.
    pub(crate) fn extent(&self) -> Option<Extent> {
        let Place::Blocks { block, sums } = &self.place else { return None };
        let extent = Extent::written(self.start, *block, self.count);
        let flags = if sums.is_some() { ExtentFlags::empty() } else { ExtentFlags::UNWRITTEN };
        Some(Extent { flags, ..extent })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    runs: BTreeMap<u64, Run>,
    grants: Vec<Grant>,
    /// Blocks of the runs that have a place.
    blocks: u64,
}

impl Staged {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.grants.is_empty()
    }

    /// Runs, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// Blocks with a place of their own.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Number of runs.
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// The run that holds `block`.
    pub(crate) fn at(&self, block: u64) -> Option<&Run> {
        let (_, run) = self.runs.range(..=block).next_back()?;
        (block < run.end()).then_some(run)
    }

    /// Start of the first run behind `block`; the end of the number space where there is none.
    pub(crate) fn next_start(&self, block: u64) -> u64 {
        let behind = (std::ops::Bound::Excluded(block), std::ops::Bound::Unbounded);
        self.runs.range(behind).next().map_or(u64::MAX, |(start, _)| *start)
    }

    /// Takes a range out of the runs.
    pub(crate) fn remove(&mut self, range: &Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.at(range.start).map_or(range.start, |run| run.start);
        let touched: Vec<u64> =
            self.runs.range(first..range.end).map(|(start, _)| *start).collect();
        for start in touched {
            let Some(run) = self.runs.remove(&start) else { continue };
            self.blocks -= run.blocks();
            if run.start < range.start {
                self.put(run.cut(&(run.start..range.start)));
            }
            if run.end() > range.end {
                self.put(run.cut(&(range.end..run.end())));
            }
        }
    }

    fn put(&mut self, run: Run) {
        self.blocks += run.blocks();
        self.runs.insert(run.start, run);
    }

    /// The range reads as zeros, whatever the tree has there.
    pub(crate) fn insert_hole(&mut self, range: &Range<u64>) {
        self.remove(range);
        if !range.is_empty() {
            let count = range.end - range.start;
            self.put(Run { start: range.start, count, place: Place::Hole });
        }
    }

    /// Blocks of a grant hold file blocks from `start` on.
    pub(crate) fn insert(&mut self, start: u64, grant: Grant, sums: Option<Vec<u32>>) {
        let range = start..start + grant.count();
        self.remove(&range);
        let place = Place::Blocks { block: grant.block(), sums };
        self.put(Run { start, count: grant.count(), place });
        self.grants.push(grant);
    }

    /// File blocks from `start` on, all of them in one run with a place, were written again.
    pub(crate) fn rewrite(&mut self, start: u64, new_sums: &[u32]) {
        let range = start..start + new_sums.len() as u64;
        let Some(run) = self.at(start).map(|run| run.cut(&range)) else { return };
        let Place::Blocks { block, .. } = run.place else { return };
        self.remove(&range);
        let place = Place::Blocks { block, sums: Some(new_sums.to_vec()) };
        self.put(Run { place, ..run });
    }

    /// Blocks of the grants that no run uses.
    pub(crate) fn unused(&self) -> Vec<(u64, u64)> {
        let places = self.runs().filter_map(Run::extent);
        let mut used: Vec<(u64, u64)> = places.map(|place| (place.block, place.count)).collect();
        used.sort_unstable();
        let mut unused = Vec::new();
        for grant in &self.grants {
            let (mut at, end) = (grant.block(), grant.block() + grant.count());
            let first = used.partition_point(|(block, count)| block + count <= at);
            for (block, count) in used[first..].iter().take_while(|(block, _)| *block < end) {
                if at < *block {
                    unused.push((at, block - at));
                }
                at = block + count;
            }
            if at < end {
                unused.push((at, end - at));
            }
        }
        unused
    }

    /// Number of grants.
    pub(crate) fn grant_count(&self) -> usize {
        self.grants.len()
    }

    /// A commit takes everything.
    pub(crate) fn take_grants(&mut self) -> Vec<Grant> {
        self.runs.clear();
        self.blocks = 0;
        std::mem::take(&mut self.grants)
    }

    /// The working image is given up: its blocks are free again.
    pub(crate) fn clear(&mut self) {
        drop(self.take_grants());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holes(staged: &Staged) -> Vec<Range<u64>> {
        staged.runs().map(|run| run.start..run.end()).collect()
    }

    #[test]
    fn removing_cuts_runs_at_both_ends() {
        let mut staged = Staged::default();
        staged.insert_hole(&(10..20));
        staged.insert_hole(&(30..40));
        staged.remove(&(15..32));
        assert_eq!(holes(&staged), [10..15, 32..40]);
        staged.remove(&(12..13));
        assert_eq!(holes(&staged), [10..12, 13..15, 32..40]);
        assert_eq!(staged.next_start(13), 32);
        assert!(staged.at(12).is_none() && staged.at(14).is_some());
    }

    #[test]
    fn sums_follow_the_blocks_of_a_cut_run() {
        let place = Place::Blocks { block: 100, sums: Some(vec![1, 2, 3, 4]) };
        let run = Run { start: 10, count: 4, place };
        let cut = run.cut(&(11..13));
        assert_eq!(cut.place, Place::Blocks { block: 101, sums: Some(vec![2, 3]) });
        assert_eq!((cut.start, cut.count), (11, 2));
    }
}
