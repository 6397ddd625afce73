//! Where the time of day comes from: the only place of the file system that asks for it.

use std::fmt;

pub use ashlar_format::inode::Timestamp;

/// A source of the time of day. Simulations and tests bring their own.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock, as of its last tick: what the kernel's file systems use. Cheap to
/// ask, and what happens within a tick shares one time, so that most overwrites leave the inode as
/// it is logged.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        Timestamp {
            seconds: now.tv_sec,
            nanoseconds: u32::try_from(now.tv_nsec).unwrap_or_default(),
        }
    }
}
