//! What a file system implements so that dirty data finds its place: [`WritebackOps`].

use std::ops::Range;

use crate::error::Result;
use crate::mapping::Mapping;
use crate::ops::MappingOps;
use crate::writeback::ioend::Ioend;

/// The file system's side of writeback and of direct writes, for **one file**.
///
/// The library drives: [`map_blocks`](Self::map_blocks) once per run of dirty blocks, then
/// [`submit`](Self::submit) for all of them together; [`discard_range`](Self::discard_range) when
/// either fails. A direct write maps through [`MappingOps::begin`] and shares `submit` and
/// `discard_range`.
///
/// Writeback takes no lock of the inode, so a file system whose maps change here must make the
/// mappings that it gave out before invalid ([`MappingOps::is_valid`]): a reader may hold one that
/// says "unwritten" while the block is being written.
#[doc(alias = "iomap_writeback_ops")]
pub trait WritebackOps {
    /// Where the dirty blocks `[offset, offset + length)` are to be written: delayed allocation
    /// ends here. Both are multiples of the block size; the range is what will be submitted, asked
    /// for in one go so that it can be allocated in one go.
    ///
    /// The answer (W1) is [`Mapped`](crate::MappingKind::Mapped) or
    /// [`Unwritten`](crate::MappingKind::Unwritten), (W2) is not empty and covers the block at
    /// `offset`, (W3) ends at most where the asked range ends, (W4) has an address that does not
    /// overflow, and (W5) starts and ends on block borders, in the file and on the device. If it
    /// covers less than asked, the rest is asked for next; a breach of a rule fails the range with
    /// [`ErrorKind::Contract`](crate::ErrorKind::Contract).
    ///
    /// Every mapped range is part of the `submit` that follows, unless `discard_range` is called
    /// for it.
    ///
    /// # Errors
    /// Fails the asked range: its dirty bits are cleared, the error is kept for the file's openers,
    /// and `discard_range` is called. Other ranges go on.
    fn map_blocks(&self, offset: u64, length: u64) -> Result<Mapping>;

    /// Writes the bytes of all ioends to the device and commits the metadata that makes them the
    /// file's contents (unwritten becomes written, copy-on-write is remapped). When it returns
    /// `Ok`, the I/O is done as far as the caller of the library asked for: the cached blocks
    /// count as clean and a later read through `begin` must find the bytes.
    ///
    /// Ioends are sorted by offset and do not overlap. No lock of the cache is held.
    ///
    /// # Errors
    /// Fails all of the ioends, as `map_blocks`.
    #[doc(alias = "submit_ioend")]
    fn submit(&self, ioends: &[Ioend<'_>]) -> Result<()>;

    /// Drops the reservation and what `map_blocks` or a direct `begin` allocated for `range`, whose
    /// writing failed. Called with the file's cache locked: it may take the map's lock, must not do
    /// I/O and must not call the cache. It must make mappings given out earlier for the range
    /// invalid ([`MappingOps::is_valid`]).
    #[doc(alias = "discard_folio")]
    fn discard_range(&self, range: Range<u64>);
}

/// Both sides, as direct I/O needs them. Implemented for every type that has both.
pub trait DirectOps: MappingOps + WritebackOps {}

impl<T: MappingOps + WritebackOps + ?Sized> DirectOps for T {}
