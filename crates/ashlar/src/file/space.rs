//! Space inside a file: allocating, punching, shifting, and asking where data is.

use std::ops::Range;

use ashlar_core::{ExtentState, FallocateMode};

use super::File;
use crate::error::{Cause, Result};

/// Whether allocating behind the end makes the file larger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeepSize {
    /// The size grows to the end of the range.
    No,
    /// The size stays; the space behind the end waits for later writes.
    Yes,
}

/// A piece of a file, from [`File::extents`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct FileExtent {
    /// Where it starts in the file, bytes.
    pub offset: u64,
    /// How long it is, bytes.
    pub length: u64,
    /// Where it starts on the device, bytes; `None` if it has no place of its own yet, or lies
    /// inside the inode.
    pub addr: Option<u64>,
    /// Whether it reads as what was written, or as zeros.
    pub state: ExtentState,
}

impl File {
    /// Reserves space for a range, so that writing there cannot fail for lack of it. What the
    /// range holds stays; the new space reads as zeros.
    ///
    /// # Errors
    /// `EBADF` if not opened for writing; `ENOSPC`, with nothing changed or a part allocated;
    /// `EINVAL` for an empty range; `EFBIG` beyond 2^63 - 1; `EPERM`, `EROFS`, `EIO`.
    ///
    /// # Durability
    /// After [`sync_data`](File::sync_data).
    #[doc(alias = "fallocate")]
    pub fn allocate(&self, range: Range<u64>, keep_size: KeepSize) -> Result<()> {
        let keep_size = keep_size == KeepSize::Yes;
        self.shape(FallocateMode::Allocate { keep_size }, range)
            .map_err(Cause::when("allocate space in the file"))
    }

    /// Gives the range's space back; it reads as zeros. The size stays.
    ///
    /// # Errors
    /// As [`allocate`](File::allocate).
    ///
    /// # Durability
    /// After [`sync_data`](File::sync_data).
    #[doc(alias = "FALLOC_FL_PUNCH_HOLE")]
    pub fn punch_hole(&self, range: Range<u64>) -> Result<()> {
        self.shape(FallocateMode::PunchHole, range).map_err(Cause::when("punch a hole"))
    }

    /// Makes the range read as zeros but keeps, or reserves, its space.
    ///
    /// # Errors
    /// As [`allocate`](File::allocate).
    ///
    /// # Durability
    /// After [`sync_data`](File::sync_data).
    #[doc(alias = "FALLOC_FL_ZERO_RANGE")]
    pub fn zero_range(&self, range: Range<u64>, keep_size: KeepSize) -> Result<()> {
        let keep_size = keep_size == KeepSize::Yes;
        self.shape(FallocateMode::ZeroRange { keep_size }, range)
            .map_err(Cause::when("zero a range of the file"))
    }

    /// Takes the range out: what follows moves up, and the file becomes shorter.
    ///
    /// # Errors
    /// `EINVAL` unless start and end are multiples of the block size (4096) and the range ends
    /// before the file does; else as [`allocate`](File::allocate).
    ///
    /// # Durability
    /// After [`sync_data`](File::sync_data).
    #[doc(alias = "FALLOC_FL_COLLAPSE_RANGE")]
    pub fn collapse_range(&self, range: Range<u64>) -> Result<()> {
        self.shape(FallocateMode::CollapseRange, range)
            .map_err(Cause::when("take a range out of the file"))
    }

    /// Puts a hole in: what starts at the range's start moves to its end.
    ///
    /// # Errors
    /// `EINVAL` unless start and end are multiples of the block size (4096) and the range starts
    /// before the file's end; else as [`allocate`](File::allocate).
    ///
    /// # Durability
    /// After [`sync_data`](File::sync_data).
    #[doc(alias = "FALLOC_FL_INSERT_RANGE")]
    pub fn insert_range(&self, range: Range<u64>) -> Result<()> {
        self.shape(FallocateMode::InsertRange, range)
            .map_err(Cause::when("put a range into the file"))
    }

    /// The first offset at or behind `offset` that holds data; `None` if only a hole is left, or
    /// `offset` is at or behind the end.
    ///
    /// # Errors
    /// `EIO`, `EUCLEAN`.
    #[doc(alias = "SEEK_DATA")]
    pub fn seek_data(&self, offset: u64) -> Result<Option<u64>> {
        none_behind_end(self.file.seek_data(offset)).map_err(Cause::when("look for data"))
    }

    /// The first offset at or behind `offset` that lies in a hole, the end of the file counting
    /// as one; `None` if `offset` is at or behind the end.
    ///
    /// # Errors
    /// `EIO`, `EUCLEAN`.
    #[doc(alias = "SEEK_HOLE")]
    pub fn seek_hole(&self, offset: u64) -> Result<Option<u64>> {
        none_behind_end(self.file.seek_hole(offset)).map_err(Cause::when("look for a hole"))
    }

    /// The pieces that a range of the file is made of, in order; holes are left out. The first
    /// and last may reach beyond the range.
    ///
    /// # Errors
    /// `EIO`, `EUCLEAN`.
    #[doc(alias = "FIEMAP")]
    pub fn extents(&self, range: Range<u64>) -> Result<Vec<FileExtent>> {
        let reports = self.file.extents(range).map_err(Cause::when("map the file"))?;
        let extents = reports.into_iter().map(|report| FileExtent {
            offset: report.offset,
            length: report.length,
            addr: report.addr,
            state: report.state,
        });
        Ok(extents.collect())
    }

    fn shape(&self, mode: FallocateMode, range: Range<u64>) -> Result<(), Cause> {
        self.check_writable()?;
        // An empty or inverted range has no length, which is refused below.
        let length = range.end.saturating_sub(range.start);
        Ok(self.file.allocate(&self.caller, mode, range.start, length)?)
    }
}

fn none_behind_end(found: ashlar_core::Result<u64>) -> ashlar_core::Result<Option<u64>> {
    match found {
        Ok(offset) => Ok(Some(offset)),
        Err(error) if error.errno() == libc::ENXIO => Ok(None),
        Err(error) => Err(error),
    }
}
