//! How much to read when a read misses: more while a file is read in order, just what was asked for
//! otherwise.
//!
//! ```text
//!   miss at 0      read [0, 128K)               expected = 128K
//!   miss at 128K   in order: window doubles     [128K, 384K)
//!   miss at 384K   again                        [384K, 896K) ... up to WINDOW_MAX
//!   miss elsewhere window closes                only what was asked for
//! ```
//! Hits change nothing: a reader in order misses exactly where the last window ended.

/// First window of a reader that seems to go in order.
const WINDOW_MIN: u64 = 128 * 1024;
/// Large enough to keep a device busy with one batch, small enough to throw away.
const WINDOW_MAX: u64 = 1024 * 1024;

/// The reading pattern of one file.
#[derive(Debug, Default)]
pub(crate) struct Readahead {
    /// Where the last window ended: a miss here is the next step of a reader in order.
    expected: u64,
    window: u64,
}

impl Readahead {
    /// A read of `[offset, end)` missed at `offset`: how far to read. Never less than `end`; at
    /// most
    /// `budget_bytes` / 8 beyond it, so that what was read ahead is not evicted before its use.
    pub(crate) fn plan(&mut self, offset: u64, end: u64, budget_bytes: u64) -> u64 {
        // A file is usually read from its start, and then to its end.
        if offset == self.expected {
            self.window = (self.window * 2).clamp(WINDOW_MIN, WINDOW_MAX);
        } else {
            self.window = 0;
        }
        let window = self.window.min(budget_bytes / 8);
        let until = end.max(offset.saturating_add(window));
        self.expected = until;
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = 1024;

    #[test]
    fn the_window_grows_in_order_and_closes_on_a_jump() {
        let mut readahead = Readahead::default();
        let budget = 1 << 30;
        assert_eq!(readahead.plan(0, 4 * K, budget), 128 * K);
        assert_eq!(readahead.plan(128 * K, 132 * K, budget), 384 * K);
        assert_eq!(readahead.plan(384 * K, 388 * K, budget), 896 * K);
        assert_eq!(
            readahead.plan(896 * K, 900 * K, budget),
            (896 + 1024) * K,
            "at most WINDOW_MAX"
        );
        assert_eq!(readahead.plan(40 * K, 44 * K, budget), 44 * K, "a jump reads what it asks for");
        assert_eq!(readahead.plan(44 * K, 48 * K, budget), (44 + 128) * K, "and may start over");
    }

    #[test]
    fn the_window_respects_the_budget_but_not_below_the_request() {
        let mut readahead = Readahead::default();
        assert_eq!(readahead.plan(0, 4 * K, 64 * K), 8 * K);
        assert_eq!(readahead.plan(8 * K, 100 * K, 64 * K), 100 * K);
    }
}
