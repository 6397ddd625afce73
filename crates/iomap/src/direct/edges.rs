//! Blocks that a direct write covers only in part.
//!
//! ```text
//!   block        |      0      |      1      |      2      |
//!   write               [===========================)          EOF anywhere
//!   written      |000000|=====|=============|=======|00000|
//!                 head          middle        tail
//! ```
//! Devices write whole blocks, so the rest of an edge block is written, too: as zeros. That is
//! right only where the rest reads as zeros anyway:
//! - (E1) the block is a hole or unwritten, and nothing of it is cached; or
//! - (E2) the rest lies at or past the end of the file.
//!
//! Anything else must be read first, which is the page cache's job
//! ([`NeedsBuffered`](ErrorKind::NeedsBuffered)).

use std::ops::Range;
use std::sync::Arc;

use ashlar_device::AlignedBuf;

use crate::cache::check_host;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::iter::MappingIter;
use crate::mapping::MappingKind;
use crate::ops::{MapMods, MapRequest, Purpose};
use crate::writeback::{DirectOps, Piece};

/// A write in whole blocks: at most three segments that follow each other.
pub(crate) struct Padded<'a> {
    segments: Vec<Segment<'a>>,
    /// Blocks that may be written only where their rest reads as zeros (E1).
    pub(crate) fresh_only: Vec<Range<u64>>,
}

struct Segment<'a> {
    range: Range<u64>,
    bytes: SegmentBytes<'a>,
}

enum SegmentBytes<'a> {
    Callers(&'a [u8]),
    Bounce(Arc<AlignedBuf>),
}

impl<'a> Padded<'a> {
    /// Cuts `bytes` at `offset` into whole blocks, with zeros around the ends.
    pub(crate) fn new(offset: u64, bytes: &'a [u8], block_size: u64, size: u64) -> Self {
        let end = offset + bytes.len() as u64;
        let mut padded = Self { segments: Vec::new(), fresh_only: Vec::new() };
        let mut at = offset;
        let mut rest = bytes;
        while at < end {
            let block = at - at % block_size..at - at % block_size + block_size;
            let whole_blocks = (end - at) / block_size * block_size;
            if at == block.start && whole_blocks > 0 {
                // A part of the slice's length.
                let (middle, behind) = rest.split_at(whole_blocks as usize);
                let range = at..at + whole_blocks;
                padded.segments.push(Segment { range, bytes: SegmentBytes::Callers(middle) });
                (at, rest) = (at + whole_blocks, behind);
                continue;
            }
            let part_end = end.min(block.end);
            // E2: only a tail can do without the look at the block.
            if at > block.start || part_end < size {
                padded.fresh_only.push(block.clone());
            }
            // Parts of one block.
            let (part, behind) = rest.split_at((part_end - at) as usize);
            let mut bounce = AlignedBuf::new_zeroed(block_size as usize);
            let skip = (at - block.start) as usize;
            bounce[skip..skip + part.len()].copy_from_slice(part);
            let bytes = SegmentBytes::Bounce(Arc::new(bounce));
            padded.segments.push(Segment { range: block, bytes });
            (at, rest) = (part_end, behind);
        }
        padded
    }

    /// The pieces that make up `range`, which is made of whole blocks of the write.
    pub(crate) fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Piece<'a>)> {
        self.segments.iter().filter_map(move |segment| {
            let from = range.start.max(segment.range.start);
            let to = range.end.min(segment.range.end);
            if from >= to {
                return None;
            }
            // Parts of a slice.
            let within = (from - segment.range.start) as usize..(to - segment.range.start) as usize;
            let piece = match &segment.bytes {
                SegmentBytes::Callers(bytes) => Piece::Borrowed(&bytes[within]),
                SegmentBytes::Bounce(buffer) => Piece::Cached(Arc::clone(buffer), within),
            };
            Some((from, piece))
        })
    }

    /// Looks whether every edge block may be padded, without changing anything.
    ///
    /// # Errors
    /// [`NeedsBuffered`](ErrorKind::NeedsBuffered) if not; what `begin` returns.
    pub(crate) fn check_edges(&self, ops: &dyn DirectOps, host: &dyn Host) -> Result<()> {
        let block_size = check_host("direct_write", host)?;
        for block in &self.fresh_only {
            let refused = || Error::new("direct_write", ErrorKind::NeedsBuffered).at(block.start);
            // Cached data means that the block holds data, or will.
            if host.cache().has_cached_data(block.clone()) {
                return Err(refused());
            }
            let request = MapRequest {
                offset: block.start,
                length: block_size,
                purpose: Purpose::Report,
                mods: MapMods::empty(),
            };
            let mut iter =
                MappingIter::new("direct_write", ops, request).with_block_size(host.block_size());
            if !iter.next_mapping()? {
                return Err(refused());
            }
            let fresh =
                matches!(iter.mapping().kind, MappingKind::Hole | MappingKind::Unwritten { .. });
            if !fresh {
                return Err(refused());
            }
            iter.finish()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The segments and, of those, the blocks that must be fresh; each by its first byte and end.
    fn shape(offset: u64, length: usize, size: u64) -> (Vec<(u64, u64)>, Vec<u64>) {
        let bytes = vec![1; length];
        let padded = Padded::new(offset, &bytes, 4096, size);
        let segments = padded.segments.iter().map(|s| (s.range.start, s.range.end)).collect();
        (segments, padded.fresh_only.iter().map(|block| block.start).collect())
    }

    #[test]
    fn whole_blocks_have_no_edges() {
        assert_eq!(shape(4096, 8192, 1 << 20), (vec![(4096, 12288)], vec![]));
    }

    #[test]
    fn a_tail_needs_a_fresh_block_unless_it_reaches_the_end_of_the_file() {
        let two = vec![(0, 4096), (4096, 8192)];
        assert_eq!(shape(0, 5000, 5000), (two.clone(), vec![]));
        assert_eq!(shape(0, 5000, 5001), (two, vec![4096]));
        assert_eq!(shape(0, 100, 0), (vec![(0, 4096)], vec![]));
    }

    #[test]
    fn a_head_always_needs_a_fresh_block() {
        let (segments, fresh_only) = shape(4000, 5000, 0);
        assert_eq!(segments, [(0, 4096), (4096, 8192), (8192, 12288)]);
        assert_eq!(fresh_only, [0]);
        assert_eq!(shape(100, 50, 10_000).1, [0], "one block, both ends");
    }

    #[test]
    fn pieces_hold_the_bytes_with_zeros_around() {
        let bytes: Vec<u8> = (0..10_000).map(|n| (n % 251) as u8 + 1).collect();
        let padded = Padded::new(3000, &bytes, 4096, 0);
        let mut whole = vec![0u8; 16384];
        for range in [0..8192, 8192..16384] {
            for (offset, piece) in padded.pieces(range) {
                let at = offset as usize;
                whole[at..at + piece.bytes().len()].copy_from_slice(piece.bytes());
            }
        }
        assert!(whole[..3000].iter().all(|&byte| byte == 0));
        assert_eq!(&whole[3000..13_000], &bytes[..]);
        assert!(whole[13_000..].iter().all(|&byte| byte == 0));
    }
}
