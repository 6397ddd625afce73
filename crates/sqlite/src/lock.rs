//! The locks of a database between the connections of this process, as SQLite defines them.
//!
//! ```text
//!   NONE ── SHARED ── RESERVED ── PENDING ── EXCLUSIVE
//!           readers   one writer  no new     nobody else
//!                     beside them readers
//! ```
//! Other processes need not be thought of: a volume is open in one process at a time. Nothing waits
//! here; SQLite's busy handler does.
//!
//! Invariants
//! * (L1) at most one handle is the writer: RESERVED or above.
//! * (L2) EXCLUSIVE: the writer is the only reader.

use std::ffi::c_int;

use parking_lot::Mutex;

use crate::failure::{Failure, Result};

/// How much of a lock a handle has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

impl Level {
    /// SQLite's number for a level, as its calls carry it.
    pub(crate) fn from_number(number: c_int) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Shared,
            2 => Self::Reserved,
            3 => Self::Pending,
            _ => Self::Exclusive,
        }
    }

    pub(crate) fn number(self) -> c_int {
        match self {
            Self::None => 0,
            Self::Shared => 1,
            Self::Reserved => 2,
            Self::Pending => 3,
            Self::Exclusive => 4,
        }
    }
}

/// The lock of one database.
#[derive(Debug, Default)]
pub(crate) struct Lock(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// Handles at SHARED or above.
    readers: usize,
    /// Somebody is at RESERVED or above.
    writer: bool,
    /// The writer lets nobody in.
    pending: bool,
}

impl Lock {
    /// Raises a handle that is at `from` to `to`; returns what it has then.
    ///
    /// # Errors
    /// `BUSY`, with the level that the handle has now: a writer that waits for readers keeps PENDING.
    pub(crate) fn raise(&self, from: Level, to: Level) -> Result<Level, (Level, Failure)> {
        if to <= from {
            return Ok(from);
        }
        let mut held = self.0.lock();
        let mut level = from;
        if level == Level::None {
            if held.pending {
                return Err((level, Failure::busy()));
            }
            held.readers += 1;
            level = Level::Shared;
        }
        if to >= Level::Reserved && level < Level::Reserved {
            if held.writer {
                return Err((level, Failure::busy()));
            }
            held.writer = true; // L1
            level = Level::Reserved;
        }
        if to >= Level::Pending {
            held.pending = true;
            level = level.max(Level::Pending);
        }
        if to == Level::Exclusive {
            if held.readers > 1 {
                return Err((level, Failure::busy()));
            }
            level = Level::Exclusive; // L2
        }
        Ok(level)
    }

    /// Lowers a handle that is at `from` to SHARED or NONE; returns what it has then.
    pub(crate) fn lower(&self, from: Level, to: Level) -> Level {
        if to >= from {
            return from;
        }
        let mut held = self.0.lock();
        if from >= Level::Reserved {
            held.writer = false;
            held.pending = false;
        }
        if to == Level::None {
            held.readers -= 1;
        }
        to
    }

    /// Whether somebody is at RESERVED or above.
    pub(crate) fn is_reserved(&self) -> bool {
        self.0.lock().writer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(lock: &Lock, from: Level, to: Level) -> Level {
        lock.raise(from, to).expect("free")
    }

    #[test]
    fn a_writer_waits_for_readers_and_lets_no_new_ones_in() {
        let lock = Lock::default();
        let reader = raised(&lock, Level::None, Level::Shared);
        let writer = raised(&lock, Level::None, Level::Shared);
        let writer = raised(&lock, writer, Level::Reserved);
        assert!(lock.is_reserved());
        let third = raised(&lock, Level::None, Level::Shared);
        assert_eq!(lock.raise(third, Level::Reserved).unwrap_err().0, Level::Shared);
        let (writer, _) = lock.raise(writer, Level::Exclusive).unwrap_err();
        assert_eq!(writer, Level::Pending);
        assert_eq!(lock.raise(Level::None, Level::Shared).unwrap_err().0, Level::None);
        lock.lower(reader, Level::None);
        lock.lower(third, Level::None);
        let writer = raised(&lock, writer, Level::Exclusive);
        assert_eq!(lock.raise(Level::None, Level::Shared).unwrap_err().0, Level::None);
        let writer = lock.lower(writer, Level::Shared);
        assert!(!lock.is_reserved());
        raised(&lock, Level::None, Level::Shared);
        assert_eq!(lock.lower(writer, Level::None), Level::None);
    }

    #[test]
    fn recovery_goes_from_shared_to_exclusive() {
        let lock = Lock::default();
        let one = raised(&lock, Level::None, Level::Shared);
        let one = raised(&lock, one, Level::Exclusive);
        assert!(lock.is_reserved());
        assert_eq!(lock.lower(one, Level::Shared), Level::Shared);
        assert!(!lock.is_reserved());
    }
}
