//! What a file system implements to answer "where?": [`MappingOps`].
//!
//! The library calls [`begin`](MappingOps::begin) for a range, works on the part of it that the
//! answer covers, and calls [`end`](MappingOps::end) with what it did; then it asks for the rest.
//! A file system usually has one small type per purpose (read, buffered write, direct write,
//! report) instead of one `begin` that switches over everything.

use bitflags::bitflags;

use crate::error::Result;
use crate::mapping::Mapping;

/// What the library wants to know a mapping for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapRequest {
    /// First byte of the file that must be covered.
    pub offset: u64,
    /// Bytes still to do from there; the answer may cover fewer or more.
    pub length: u64,
    /// What will be done with the range.
    pub purpose: Purpose,
    /// How it must be done.
    pub mods: MapMods,
}

/// What will be done with a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Read bytes.
    Read,
    /// Write bytes: space must be allocated or promised.
    #[doc(alias = "IOMAP_WRITE")]
    Write,
    /// Make the range read as zeros; holes and unwritten ranges may stay what they are.
    #[doc(alias = "IOMAP_ZERO")]
    Zero,
    /// Tell where the range lives; nothing is read or changed.
    #[doc(alias = "IOMAP_REPORT")]
    Report,
    /// A store into a memory mapping.
    #[doc(alias = "IOMAP_FAULT")]
    Fault,
    /// Copy shared blocks so that the file owns them alone.
    #[doc(alias = "IOMAP_UNSHARE")]
    Unshare,
}

bitflags! {
    /// How the work behind a request must be done.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct MapMods: u32 {
        /// Never wait; fail early with [`ErrorKind::WouldBlock`](crate::ErrorKind::WouldBlock).
        #[doc(alias = "IOMAP_NOWAIT")]
        const NOWAIT = 1 << 0;
        /// The page cache is bypassed.
        #[doc(alias = "IOMAP_DIRECT")]
        const DIRECT = 1 << 1;
        /// Storage is memory and is accessed by loads and stores.
        const DAX = 1 << 2;
        /// The whole range is written atomically: metadata of all of it commits together.
        const ATOMIC = 1 << 3;
        /// Only overwrite what is allocated: no allocation, no zeroing.
        const OVERWRITE_ONLY = 1 << 4;
    }
}

/// The file system's answer to a [`MapRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapReply {
    /// Where the range lives, or where it will be written.
    pub mapping: Mapping,
    /// Where the old contents are read from when that is somewhere else (copy-on-write, or data
    /// that leaves the inode). `None`: from `mapping` itself. Page-cache operations only.
    #[doc(alias = "srcmap")]
    pub source: Option<Mapping>,
}

impl From<Mapping> for MapReply {
    fn from(mapping: Mapping) -> Self {
        Self { mapping, source: None }
    }
}

/// What the library did with a mapping, told to [`MappingOps::end`]. Set by the library only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Bytes from the request's offset that were done; may be 0.
    ///
    /// For a direct write: bytes queued for the [`submit`](crate::WritebackOps::submit) that
    /// follows.
    pub written: u64,
    /// The mapping was found out of date: nothing past `written` was done and the rest will be
    /// asked for again.
    #[doc(alias = "IOMAP_F_STALE")]
    pub stale: bool,
    /// The operation moved the end of the file.
    #[doc(alias = "IOMAP_F_SIZE_CHANGED")]
    pub size_changed: bool,
}

/// The file system's side of the library: it answers where ranges of **one file** live.
///
/// The library drives: `begin`, work, `end`, and again until the range is done. The caller of the
/// library has checked permissions and holds the inode lock as the operation's page says; the
/// library never takes it.
///
/// # Contract
/// Checked in every build; a violation ends the operation with
/// [`ErrorKind::Contract`](crate::ErrorKind::Contract):
/// - (C1) a mapping is not empty and its end does not overflow;
/// - (C2) it covers the first byte of the request (it need not cover more);
/// - (C3) [`Hole`](crate::MappingKind::Hole) never answers [`Purpose::Write`] or
///   [`Purpose::Fault`], nor [`Purpose::Unshare`] without a source;
/// - (C4) a source obeys C1 and C2, is given only to page-cache operations, and is not
///   [`Delalloc`](crate::MappingKind::Delalloc);
/// - (C5) inline data is not longer than its mapping;
/// - (C6) an address plus the mapping's length does not overflow, and in operations that do I/O an
///   addressed mapping starts and ends on block borders, in the file and on the device.
#[doc(alias = "iomap_ops")]
pub trait MappingOps {
    /// Finds, and for writes reserves or allocates, where the range lives. Locks of the file
    /// system's map may be taken inside, never kept on return.
    ///
    /// # Errors
    /// Anything the file system likes; the library passes it on, after earlier progress as a short
    /// count. After an error `end` is not called.
    #[doc(alias = "iomap_begin")]
    fn begin(&self, request: &MapRequest) -> Result<MapReply>;

    /// Called once after every successful `begin`, also when the work failed: keeps what was used
    /// (`outcome.written` bytes from `request.offset`) and takes back what was reserved beyond.
    /// For a buffered write into [`NEW`](crate::MappingFlags::NEW) space,
    /// [`release_unwritten`](crate::release_unwritten) finds the ranges to take back.
    ///
    /// # Errors
    /// Ends the operation; bytes already done are still reported.
    #[doc(alias = "iomap_end")]
    fn end(&self, request: &MapRequest, mapping: &Mapping, outcome: Outcome) -> Result<()> {
        let _ = (request, mapping, outcome);
        Ok(())
    }

    /// Whether `mapping` still says the truth. Called with the file's cache locked, so it may take
    /// the map's lock but must not wait for I/O and must not call the cache. File systems whose
    /// maps change in writeback must compare [`Mapping::cookie`] here.
    #[doc(alias = "iomap_valid")]
    fn is_valid(&self, mapping: &Mapping) -> bool {
        let _ = mapping;
        true
    }
}
