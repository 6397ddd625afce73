//! Whose turn it is to write the log: group commit without a queue of sleepers.
//!
//! ```text
//!   committers   A ── leads ── device batch, flush ──> done: everyone wakes at once
//!                B ── waits ─────────────────────────> flushed: returns
//!                C ── waits ─────────────────────────> flushed: returns
//!                D ── came late, waits ──────────────> leads, with all who came late
//! ```
//! A mutex alone would wake them one after the other, each by the one before; where waking a thread
//! takes as long as a flush, that is slower than not grouping at all. For the same reason this is the
//! standard library's condition variable: it wakes all sleepers together.

use std::sync::{Condvar, Mutex, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    taken: Mutex<bool>,
    over: Condvar,
}

/// It is this thread's turn until the value is dropped.
#[derive(Debug)]
pub(crate) struct Leader<'a>(&'a Turn);

impl Turn {
    /// Returns when `done` says so, or with the turn.
    pub(crate) fn wait(&self, done: impl Fn() -> bool) -> Option<Leader<'_>> {
        // Nothing that panics is done with the lock held.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if done() {
                return None;
            }
            if !std::mem::replace(&mut *taken, true) {
                return Some(Leader(self));
            }
            taken = self.over.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.over.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn one_leads_at_a_time_and_nobody_sleeps_for_ever() {
        let (turn, wanted, flushed) = (Turn::default(), AtomicU64::new(0), AtomicU64::new(0));
        let leaders = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let mine = wanted.fetch_add(1, Ordering::SeqCst) + 1;
                        let leader = turn.wait(|| flushed.load(Ordering::SeqCst) >= mine);
                        if leader.is_some() {
                            assert_eq!(leaders.fetch_add(1, Ordering::SeqCst), 0);
                            flushed.store(wanted.load(Ordering::SeqCst), Ordering::SeqCst);
                            leaders.fetch_sub(1, Ordering::SeqCst);
                        }
                        drop(leader);
                        assert!(flushed.load(Ordering::SeqCst) >= mine);
                    }
                });
            }
        });
    }
}
