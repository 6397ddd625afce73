//! What a power cut may leave: everything durable, and of the pending writes any of their sectors.
//!
//! Definitions. A *cut* is a position in a [`History`]. A *choice* says for every sector that a
//! pending write covers which bytes a cut leaves there: the durable ones, or those of one of the
//! pending writes. All choices together are all that the media may leave, whatever the order of
//! overlapping writes and however they are torn: sectors are independent of each other until a
//! flush, and nothing is granted beyond that.
//!
//! Few choices are enumerated, all of them. Of many, all subsets of whole writes are tried if these
//! are few, and then samples that are likely to hurt: see `plan`.
//!
//! A state is a thin layer over the durable image, made only when its digest is new.

mod plan;
mod table;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use fastrand::Rng;

use crate::history::{History, Walk};
use crate::image::Image;
use plan::Plan;
use table::Table;

/// How many states to try at a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Up to this many states are enumerated completely: first all choices, else all subsets of
    /// whole writes.
    pub exhaustive: u64,
    /// Distinct states sampled where choices are not enumerated. The subsets of whole writes that
    /// were enumerated count.
    pub samples: u64,
}

impl Budget {
    /// About `samples` states at each cut.
    #[must_use]
    pub fn samples(samples: u64) -> Self {
        Self { exhaustive: samples.max(16), samples }
    }
}

/// Walks a history and makes the states that cuts may leave.
#[derive(Debug)]
pub struct CrashStates<'h> {
    walk: Walk<'h>,
    /// Digests of all states so far.
    ever: HashSet<u128>,
    /// Digests of the states that need not be judged again.
    judged: HashSet<u128>,
}

impl<'h> CrashStates<'h> {
    /// States of a device that held `base` before `history`.
    #[must_use]
    pub fn new(base: &Arc<Image>, history: &'h History) -> Self {
        let walk = Walk::new(Arc::clone(base), history);
        Self { walk, ever: HashSet::new(), judged: HashSet::new() }
    }

    /// Distinct states made so far, over all cuts.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.ever.len()
    }

    /// From here on more was promised than before: states that were made already are made again.
    ///
    /// Without this a state is made once only, even if several cuts may leave it. But what was
    /// right before a call returned may be wrong after it.
    pub fn judge_anew(&mut self) {
        self.judged.clear();
    }

    /// The states that a cut after `cut` events may leave. Each cut comes after the one before, or
    /// is the same.
    ///
    /// # Panics
    /// The cut goes back, or past the history.
    pub fn at<'s>(&'s mut self, cut: usize, budget: Budget, random: &'s mut Rng) -> States<'s> {
        self.walk.advance(cut);
        let table = Table::new(self.walk.durable(), self.walk.pending());
        let plan = Plan::new(&table, budget, random);
        States {
            cut,
            walk: &self.walk,
            table,
            plan,
            random,
            ever: &mut self.ever,
            judged: &mut self.judged,
        }
    }

    /// Calls `visit` with states that a cut after `cut` events may leave, about `samples` of them.
    /// Cuts must not go back.
    pub fn visit(
        &mut self,
        cut: usize,
        samples: usize,
        random: &mut Rng,
        mut visit: impl FnMut(Image),
    ) {
        for state in self.at(cut, Budget::samples(samples as u64), random) {
            visit(state.image);
        }
    }
}

/// The distinct states of one cut. Made by [`CrashStates::at`].
#[derive(Debug)]
pub struct States<'s> {
    cut: usize,
    walk: &'s Walk<'s>,
    table: Table,
    plan: Plan,
    random: &'s mut Rng,
    ever: &'s mut HashSet<u128>,
    judged: &'s mut HashSet<u128>,
}

impl States<'_> {
    /// Whether these are all states that the media may leave, rather than a sample.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.plan.is_exhaustive()
    }
}

impl Iterator for States<'_> {
    type Item = CrashState;

    fn next(&mut self) -> Option<CrashState> {
        loop {
            let choice = self.plan.next(&self.table, self.random)?;
            let digest = self.walk.durable().digest() ^ self.table.difference(&choice);
            self.ever.insert(digest);
            if self.judged.insert(digest) {
                self.plan.found_new();
                let image = self.table.image(&choice, self.walk.durable(), self.walk.pending());
                let found = self.table.summary(&choice, self.walk.pending());
                return Some(CrashState { cut: self.cut, image, found });
            }
        }
    }
}

/// What a device holds after a power cut.
#[derive(Debug, Clone)]
pub struct CrashState {
    /// Events before the cut.
    pub cut: usize,
    /// The bytes.
    pub image: Image,
    /// For each pending write: its event, and how many of how many sectors are found.
    pub found: Vec<(usize, usize, usize)>,
}

impl fmt::Display for CrashState {
    /// For example `cut after 7 events, found of the pending writes: 3 all, 4 none, 6 2/8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cut after {} events", self.cut)?;
        let mut separator = ", found of the pending writes:";
        for (event, found, sectors) in &self.found {
            write!(f, "{separator} {event} ")?;
            match found {
                0 => write!(f, "none")?,
                _ if found == sectors => write!(f, "all")?,
                _ => write!(f, "{found}/{sectors}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}
