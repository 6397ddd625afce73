//! Failed writebacks of one file, reported once to each opener.
//!
//! Each opener keeps a cursor; an error recorded after the cursor was taken is reported by the next
//! check and moves the cursor. An error that nobody has seen yet is also reported to those who open
//! the file after it happened, so that it cannot get lost between two openers.
//!
//! Source: Linux `lib/errseq.c`.

use std::sync::Arc;

use crate::error::Error;

/// How far an opener has seen the file's writeback errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[doc(alias = "errseq_t")]
pub struct ErrorCursor(u32);

/// The errors of one file; only the latest is kept.
#[derive(Debug)]
pub(crate) struct ErrorSequence {
    count: u32,
    seen: bool,
    last: Arc<Error>,
}

impl ErrorSequence {
    /// A sequence with its first error.
    pub(crate) fn new(error: Arc<Error>) -> Self {
        Self { count: 1, seen: false, last: error }
    }

    pub(crate) fn record(&mut self, error: Arc<Error>) {
        // Errors that nobody looked at between count as one. Wrapping: 2^32 seen errors later a
        // cursor may take a new error for an old one; 0 is left out, it means "none yet".
        if self.seen {
            self.count = self.count.checked_add(1).unwrap_or(1);
        }
        self.seen = false;
        self.last = error;
    }

    /// Where a new opener starts.
    pub(crate) fn sample(&self) -> ErrorCursor {
        ErrorCursor(if self.seen { self.count } else { self.count - 1 })
    }

    /// The error recorded since the cursor, which is moved past it.
    pub(crate) fn check(&mut self, since: &mut ErrorCursor) -> Option<Arc<Error>> {
        if since.0 == self.count {
            return None;
        }
        since.0 = self.count;
        self.seen = true;
        Some(Arc::clone(&self.last))
    }
}
