//! Format version and feature flags: who may mount what.
//!
//! * compat: unknown bits do not matter;
//! * ro_compat: unknown bits allow reading only;
//! * incompat: unknown bits forbid mounting.

use bitflags::bitflags;

/// Version of the layout described by this crate. Raised only for a change that feature flags
/// cannot express.
pub const FORMAT_VERSION: u32 = 1;

bitflags! {
    /// Features that old code may ignore.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Compat: u64 {
        /// Every block was written at format time, so that the host has allocated all of them.
        const PREALLOCATED = 1;
    }
}

bitflags! {
    /// Features that old code may ignore as long as it does not write.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct RoCompat: u64 {
        /// Some extents are shared; the refs tree counts their owners.
        const SHARED_EXTENTS = 1;
        /// Some inodes carry a persistent seal.
        const SEALS = 2;
    }
}

bitflags! {
    /// Features that old code must not touch at all.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Incompat: u64 {}
}

/// What this code understands.
pub const COMPAT_KNOWN: Compat = Compat::all();
/// What this code understands.
pub const RO_COMPAT_KNOWN: RoCompat = RoCompat::empty();
/// What this code understands.
pub const INCOMPAT_KNOWN: Incompat = Incompat::empty();
