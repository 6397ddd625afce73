//! Files of the volume that are no database: a write-ahead log, and a journal that another SQLite left
//! on the volume when it crashed on a mount.
//!
//! They are atomic files as well, since what is claimed of the device is claimed of all its files:
//! writes reach it in order, or not at all. SQLite does not sync a log that it can do without, so
//! closing one commits it.

use ashlar::File;

use crate::failure::{Failure, Result};
use crate::ffi;
use crate::io::Opened;
use crate::volumes::Use;

/// See the module. The file closes before the volume does.
#[derive(Debug)]
pub(crate) struct PlainFile {
    pub(crate) file: File,
    pub(crate) writable: bool,
    /// Keeps the volume open.
    pub(crate) _volume: Use,
}

impl Opened for PlainFile {
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.file.read_at(offset, buf).map_err(Failure::of(ffi::IOERR_READ))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_at(offset, bytes).map_err(Failure::of(ffi::IOERR_WRITE))
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        self.file.set_len(size).map_err(Failure::of(ffi::IOERR_TRUNCATE))
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(Failure::of(ffi::IOERR_FSYNC))
    }

    fn size(&mut self) -> Result<u64> {
        let found = self.file.metadata().map_err(Failure::of(ffi::IOERR_FSTAT))?;
        Ok(found.len())
    }

    fn close(self: Box<Self>) -> Result<()> {
        if self.writable {
            self.file.sync_data().map_err(Failure::of(ffi::IOERR_CLOSE))?;
        }
        Ok(())
    }
}
