//! Where the time of day comes from: the only place of the file system that asks for it.

use std::fmt;

pub use ashlar_format::inode::Timestamp;

/// A source of the time of day. Simulations and tests bring their own.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Timestamp {
                seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                nanoseconds: since.subsec_nanos(),
            },
            // A clock that is set before 1970 is not worth more than the second.
            Err(before) => Timestamp {
                seconds: i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |s| -s),
                nanoseconds: 0,
            },
        }
    }
}
