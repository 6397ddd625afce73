//! Where data and holes are, and where they live on the device.

use crate::error::{ErrorKind, Result};
use crate::file::File;
use crate::mapping::ReportOps;
use crate::types::{ExtentReport, ExtentState};
use ashlar_format::limits::BLOCK_BYTES;
use iomap::{ReportFlags, ReportedExtent};
use std::ops::Range;

impl File {
    /// Offset of the first byte of data at or behind `offset`.
    ///
    /// # Errors
    /// `NoData` (ENXIO) when there is none, or `offset` is at or past the end; `BadHandle`,
    /// `Shutdown`, `Corrupt`, `Io`.
    #[doc(alias = "SEEK_DATA")]
    pub fn seek_data(&self, offset: u64) -> Result<u64> {
        let seek = || {
            self.check_reading()?;
            let file = self.file();
            let _lock = self.inode.lock.read();
            Ok(iomap::seek_data(&ReportOps(file), &file, offset)?)
        };
        seek().map_err(|error: crate::Error| error.in_op("seek_data").at(self.inode.ino))
    }

    /// Offset of the first byte of a hole at or behind `offset`; the end of the file counts as one.
    ///
    /// # Errors
    /// `NoData` (ENXIO) when `offset` is at or past the end; `BadHandle`, `Shutdown`, `Corrupt`, `Io`.
    #[doc(alias = "SEEK_HOLE")]
    pub fn seek_hole(&self, offset: u64) -> Result<u64> {
        let seek = || {
            self.check_reading()?;
            let file = self.file();
            let _lock = self.inode.lock.read();
            Ok(iomap::seek_hole(&ReportOps(file), &file, offset)?)
        };
        seek().map_err(|error: crate::Error| error.in_op("seek_hole").at(self.inode.ino))
    }

    /// The extents that touch `range`, in order, holes left out. What is not written back yet shows
    /// as `Delalloc`; [`File::fsync`] first gives it a place.
    ///
    /// # Errors
    /// `BadHandle`, `IsDirectory`, `Shutdown`, `Corrupt`, `Io`.
    #[doc(alias = "FIEMAP")]
    pub fn extents(&self, range: Range<u64>) -> Result<Vec<ExtentReport>> {
        let list = || {
            self.volume.check_open()?;
            self.check_content()?;
            let ops = ReportOps(self.file());
            let _lock = self.inode.lock.read();
            let mut found = Vec::new();
            // Up to the end of all files, so that the last extent is known to be the last.
            for extent in iomap::fiemap(&ops, range.start..u64::MAX) {
                let extent = extent?;
                if extent.offset >= range.end {
                    break;
                }
                found.push(report(&extent));
            }
            Ok(found)
        };
        list().map_err(|error: crate::Error| error.in_op("extents").at(self.inode.ino))
    }

    /// The device block that holds a file block, after a sync of the file; `None` for what is not
    /// written to a block.
    ///
    /// # Errors
    /// As [`File::extents`] and [`File::fsync`].
    #[doc(alias = "FIBMAP")]
    pub fn bmap(&self, file_block: u64) -> Result<Option<u64>> {
        let find = || {
            self.volume.check_open()?;
            self.check_content()?;
            if file_block >= crate::extent::FILE_BLOCKS_MAX {
                return Err(ErrorKind::TooLarge.into());
            }
            if self.volume.check_writable().is_ok() && self.file().data.cache.is_dirty() {
                self.sync_file(true)?;
            }
            let _lock = self.inode.lock.read();
            let extent = self.file().extent_of(file_block)?.filter(|e| !e.is_unwritten());
            Ok(extent.map(|extent| extent.block + (file_block - extent.start)))
        };
        find().map_err(|error: crate::Error| error.in_op("bmap").at(self.inode.ino))
    }
}

fn report(extent: &ReportedExtent) -> ExtentReport {
    let state = if extent.flags.contains(ReportFlags::DELALLOC) {
        ExtentState::Delalloc
    } else if extent.flags.contains(ReportFlags::UNWRITTEN) {
        ExtentState::Unwritten
    } else {
        ExtentState::Written
    };
    debug_assert!(extent.addr.is_none_or(|addr| addr.is_multiple_of(BLOCK_BYTES)));
    ExtentReport {
        offset: extent.offset,
        length: extent.length,
        addr: extent.addr,
        state,
        last: extent.flags.contains(ReportFlags::LAST),
    }
}
