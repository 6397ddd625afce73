//! An [`Ioend`]: one contiguous write, in the file and on the device, with the bytes it writes.
//!
//! The library collects ioends from mappings, sorts and merges them; the file system writes them
//! and makes the metadata follow.
//!
//! ```text
//!   file     4096      8192     12288     16384
//!            |- folio A |- folio B ------------|
//!   pieces   [ A[..]   ][ B[0..4096] ]            length is a sum of whole blocks
//!   device   addr ------------------>             contiguous
//! ```

use std::ops::Range;
use std::sync::Arc;

use ashlar_device::AlignedBuf;
use bitflags::bitflags;
use smallvec::SmallVec;

use crate::mapping::{Mapping, MappingFlags, MappingKind};

bitflags! {
    /// Properties of an [`Ioend`]. All but `BOUNDARY` must be equal for two ioends to merge.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct IoendFlags: u32 {
        /// The blocks were shared; this writes the file's new, own copy.
        #[doc(alias = "IOMAP_IOEND_SHARED")]
        const SHARED = 1 << 0;
        /// The blocks are unwritten and become written by this.
        #[doc(alias = "IOMAP_IOEND_UNWRITTEN")]
        const UNWRITTEN = 1 << 1;
        /// Must not be merged with the ioend before it.
        #[doc(alias = "IOMAP_IOEND_BOUNDARY")]
        const BOUNDARY = 1 << 2;
        /// Comes from a direct write, not from the cache.
        #[doc(alias = "IOMAP_IOEND_DIRECT")]
        const DIRECT = 1 << 3;
        /// The blocks were freshly allocated for this.
        const NEW = 1 << 4;
    }
}

/// Some of the bytes of an ioend: a multiple of the block size.
#[derive(Debug, Clone)]
pub enum Piece<'a> {
    /// A range of a buffer that nobody changes any more: a writer to the same folio makes a copy.
    Cached(Arc<AlignedBuf>, Range<usize>),
    /// The caller's own bytes.
    Borrowed(&'a [u8]),
}

impl Piece<'_> {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Cached(buffer, range) => &buffer[range.clone()],
            Self::Borrowed(bytes) => bytes,
        }
    }

    /// A piece that outlives the call: shares a cached buffer, copies borrowed bytes.
    #[must_use]
    pub fn to_owned_piece(&self) -> Piece<'static> {
        match self {
            Self::Cached(buffer, range) => Piece::Cached(Arc::clone(buffer), range.clone()),
            Self::Borrowed(bytes) => {
                let mut copy = AlignedBuf::new_zeroed(bytes.len());
                copy[..bytes.len()].copy_from_slice(bytes);
                Piece::Cached(Arc::new(copy), 0..bytes.len())
            }
        }
    }
}

/// One contiguous write. `offset`, `length` and `addr` are multiples of the block size; the last
/// block may reach past the end of the file, and its bytes there are zero.
#[derive(Debug, Clone)]
#[doc(alias = "iomap_ioend")]
pub struct Ioend<'a> {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes to write.
    pub length: u64,
    /// Device address in bytes.
    pub addr: u64,
    /// Properties.
    pub flags: IoendFlags,
    pieces: SmallVec<[Piece<'a>; 1]>,
}

impl<'a> Ioend<'a> {
    /// An ioend of one piece that starts at `offset`, where `mapping` says. `None` when the mapping
    /// has no address there.
    pub(crate) fn from_piece(mapping: &Mapping, offset: u64, piece: Piece<'a>) -> Option<Self> {
        let addr = mapping.addr_at(offset)?;
        let mut flags = IoendFlags::empty();
        flags.set(IoendFlags::UNWRITTEN, matches!(mapping.kind, MappingKind::Unwritten { .. }));
        flags.set(IoendFlags::SHARED, mapping.flags.contains(MappingFlags::SHARED));
        flags.set(IoendFlags::NEW, mapping.flags.contains(MappingFlags::NEW));
        // The border lies before the mapping's first byte, not before each piece of it.
        let boundary = mapping.flags.contains(MappingFlags::BOUNDARY) && offset == mapping.offset;
        flags.set(IoendFlags::BOUNDARY, boundary);
        let length = piece.bytes().len() as u64;
        Some(Self { offset, length, addr, flags, pieces: SmallVec::from_iter([piece]) })
    }

    /// The bytes in file order; each piece is a multiple of the block size and not empty.
    pub fn pieces(&self) -> impl ExactSizeIterator<Item = &Piece<'a>> {
        self.pieces.iter()
    }

    /// The range of the file.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.length
    }

    /// Whether `next` directly continues this ioend in the file and on the device, in the same
    /// state, and no boundary lies between.
    #[must_use]
    #[doc(alias = "iomap_ioend_can_merge")]
    pub fn can_merge(&self, next: &Ioend<'_>) -> bool {
        !next.flags.contains(IoendFlags::BOUNDARY)
            && self.flags - IoendFlags::BOUNDARY == next.flags
            && self.offset.checked_add(self.length) == Some(next.offset)
            && self.addr.checked_add(self.length) == Some(next.addr)
    }

    /// Appends `next`, which [`can_merge`](Self::can_merge).
    pub(crate) fn merge(&mut self, next: Ioend<'a>) {
        debug_assert!(self.can_merge(&next));
        self.length += next.length;
        self.pieces.extend(next.pieces);
    }
}

/// Sorts by file offset and joins what can be joined.
#[doc(alias = "iomap_sort_ioends")]
pub(crate) fn sort_and_merge(ioends: &mut Vec<Ioend<'_>>) {
    if !ioends.is_sorted_by_key(|ioend| ioend.offset) {
        ioends.sort_by_key(|ioend| ioend.offset);
    }
    if ioends.len() < 2 {
        return;
    }
    let mut merged: Vec<Ioend<'_>> = Vec::with_capacity(ioends.len());
    for ioend in ioends.drain(..) {
        match merged.last_mut() {
            Some(last) if last.can_merge(&ioend) => last.merge(ioend),
            _ => merged.push(ioend),
        }
    }
    *ioends = merged;
}
