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

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 4096] = [0; 4096];

    /// An ioend of one block per mapping: block in the file, block on the device.
    fn ioend(offset: u64, addr: u64, kind: fn(u64) -> MappingKind) -> Ioend<'static> {
        let mapping = Mapping::new(offset * 4096, 4096, kind(addr * 4096));
        Ioend::from_piece(&mapping, offset * 4096, Piece::Borrowed(&BYTES)).expect("has an address")
    }

    fn mapped(addr: u64) -> MappingKind {
        MappingKind::Mapped { addr }
    }

    fn unwritten(addr: u64) -> MappingKind {
        MappingKind::Unwritten { addr }
    }

    fn merged(mut ioends: Vec<Ioend<'_>>) -> Vec<(u64, u64, usize)> {
        sort_and_merge(&mut ioends);
        ioends.iter().map(|i| (i.offset / 4096, i.length / 4096, i.pieces().len())).collect()
    }

    #[test]
    fn neighbours_in_file_and_on_the_device_merge_in_any_order() {
        let ioends = vec![ioend(2, 12, mapped), ioend(0, 10, mapped), ioend(1, 11, mapped)];
        assert_eq!(merged(ioends), [(0, 3, 3)]);
    }

    #[test]
    fn gaps_and_different_states_do_not_merge() {
        assert_eq!(merged(vec![ioend(0, 10, mapped), ioend(1, 12, mapped)]).len(), 2, "device");
        assert_eq!(merged(vec![ioend(0, 10, mapped), ioend(2, 11, mapped)]).len(), 2, "file");
        assert_eq!(merged(vec![ioend(0, 10, mapped), ioend(1, 11, unwritten)]).len(), 2, "kind");
        for flag in [IoendFlags::SHARED, IoendFlags::DIRECT, IoendFlags::NEW] {
            let mut other = ioend(1, 11, mapped);
            other.flags |= flag;
            assert_eq!(merged(vec![ioend(0, 10, mapped), other]).len(), 2, "{flag:?}");
        }
    }

    #[test]
    fn boundary_forbids_merging_backwards_only() {
        let mapping =
            Mapping::new(4096, 8192, mapped(11 * 4096)).with_flags(MappingFlags::BOUNDARY);
        let piece = |offset| {
            Ioend::from_piece(&mapping, offset, Piece::Borrowed(&BYTES)).expect("has an address")
        };
        let ioends = vec![ioend(0, 10, mapped), piece(4096), piece(8192), ioend(3, 13, mapped)];
        assert_eq!(merged(ioends), [(0, 1, 1), (1, 3, 3)]);
    }

    #[test]
    fn range_without_an_address_has_no_ioend() {
        let mapping = Mapping::new(0, 4096, MappingKind::Delalloc);
        assert!(Ioend::from_piece(&mapping, 0, Piece::Borrowed(&BYTES)).is_none());
    }
}
