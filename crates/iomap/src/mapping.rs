//! A mapping: the file system's answer to "where does this range of the file live?".
//!
//! ```text
//!   file    0        4096      8192      12288     16384
//!           |--------|---------|---------|---------|
//!           | Mapped | Mapped  |  Hole   |Unwritten|
//!           addr 1M   addr 1M+4096         addr 9M
//! ```
//! A mapping covers a half-open byte range of the file with one kind of storage. A sentinel address
//! cannot exist: only the kinds that have an address carry one.

use std::sync::Arc;

use bitflags::bitflags;

/// One contiguous piece of a file and where it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[doc(alias = "iomap")]
pub struct Mapping {
    /// First byte of the file that this mapping covers.
    pub offset: u64,
    /// Bytes covered; never 0.
    pub length: u64,
    /// How the range is stored.
    pub kind: MappingKind,
    /// Properties, set by the file system only.
    pub flags: MappingFlags,
    /// The file system's version of the file's map when this answer was given; compared by
    /// [`MappingOps::is_valid`](crate::MappingOps::is_valid). File systems whose maps never change
    /// under the cache leave it 0.
    #[doc(alias = "validity_cookie")]
    pub cookie: u64,
}

/// How a range of a file is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappingKind {
    /// Nothing is allocated: reads give zeros. Never an answer to a write.
    #[doc(alias = "IOMAP_HOLE")]
    Hole,
    /// Space is promised, none chosen yet; the data is in the page cache only. Never an answer to
    /// writeback or direct I/O.
    #[doc(alias = "IOMAP_DELALLOC")]
    Delalloc,
    /// Allocated and initialised at `addr` on the device, in bytes.
    #[doc(alias = "IOMAP_MAPPED")]
    Mapped {
        /// Device address in bytes of the mapping's first byte.
        addr: u64,
    },
    /// Allocated at `addr`, never written: reads give zeros. Completing a write makes it mapped.
    #[doc(alias = "IOMAP_UNWRITTEN")]
    Unwritten {
        /// Device address in bytes of the mapping's first byte.
        addr: u64,
    },
    /// The bytes themselves, kept in the file system's metadata. Bytes of the mapping past the end
    /// of the slice read as zeros. As the answer to a write it means: keep the new bytes in the
    /// cache; the file system fetches them with [`take_inline`](crate::take_inline).
    #[doc(alias = "IOMAP_INLINE")]
    Inline(Arc<[u8]>),
}

bitflags! {
    /// Properties of a mapping, set by the file system.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct MappingFlags: u32 {
        /// Freshly allocated or reserved by this request: whatever is not written must be zeroed,
        /// and `end` takes back what was not used.
        const NEW = 1 << 0;
        /// Metadata needed to reach the data is not yet durable.
        const DIRTY = 1 << 1;
        /// Other owners share the blocks: a write needs a new place first.
        const SHARED = 1 << 2;
        /// Several extents were joined for this report.
        const MERGED = 1 << 3;
        /// The range belongs to an extended attribute.
        const XATTR = 1 << 5;
        /// I/O must not be merged with the mapping before this one.
        const BOUNDARY = 1 << 6;
        /// A write goes to the device as one atomic request.
        const ATOMIC = 1 << 8;
    }
}

impl Mapping {
    /// A mapping of `[offset, offset + length)` without flags and with cookie 0.
    #[must_use]
    pub fn new(offset: u64, length: u64, kind: MappingKind) -> Self {
        Self { offset, length, kind, flags: MappingFlags::empty(), cookie: 0 }
    }

    /// The same mapping with `flags` added.
    #[must_use]
    pub fn with_flags(mut self, flags: MappingFlags) -> Self {
        self.flags |= flags;
        self
    }

    /// The same mapping with another cookie.
    #[must_use]
    pub fn with_cookie(mut self, cookie: u64) -> Self {
        self.cookie = cookie;
        self
    }

    /// First byte of the file past the mapping; saturates.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// Whether the byte at `offset` lies in the mapping.
    #[must_use]
    pub fn covers(&self, offset: u64) -> bool {
        self.offset <= offset && offset < self.end()
    }

    /// Device address of the byte of the file at `offset`, for kinds that have one and offsets
    /// inside.
    #[must_use]
    pub fn addr_at(&self, offset: u64) -> Option<u64> {
        match self.kind {
            MappingKind::Mapped { addr } | MappingKind::Unwritten { addr }
                if self.covers(offset) =>
            {
                addr.checked_add(offset - self.offset)
            }
            _ => None,
        }
    }

    /// Whether a read of the range gives zeros without any I/O.
    #[must_use]
    pub fn reads_zero(&self) -> bool {
        matches!(
            self.kind,
            MappingKind::Hole | MappingKind::Delalloc | MappingKind::Unwritten { .. }
        ) || self.flags.contains(MappingFlags::NEW)
    }
}
