//! An open file with a position, for the traits of `std::io`.

use std::io::{self, Read, Seek, SeekFrom, Write};

use ashlar_core::WriteFlags;

use super::File;
use crate::error::Cause;

/// A [`File`] with a position; from [`File::cursor`].
///
/// Reading and writing move the position. Writes through a file opened for appending go to the
/// end, wherever the position is, and leave it behind what they wrote. Flushing does nothing:
/// nothing is buffered here, and durability is [`File::sync`]'s.
#[derive(Clone, Debug)]
pub struct FileCursor {
    file: File,
    offset: u64,
}

impl FileCursor {
    pub(super) fn new(file: File) -> FileCursor {
        FileCursor { file, offset: 0 }
    }

    /// The file it moves over.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Position in bytes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.offset
    }
}

impl Read for FileCursor {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(self.offset, buf)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Write for FileCursor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self
            .file
            .write_some(self.offset, bytes, WriteFlags::default())
            .map_err(Cause::when("write to the file"))?;
        self.offset = if self.file.access.append {
            self.file.metadata()?.len()
        } else {
            self.offset + count as u64
        };
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for FileCursor {
    /// # Errors
    /// A position before the start, or beyond 2^64 - 1.
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        let offset = match target {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(distance) => self.offset.checked_add_signed(distance),
            SeekFrom::End(distance) => self.file.metadata()?.len().checked_add_signed(distance),
        };
        self.offset = offset.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "seek to a position before the start")
        })?;
        Ok(self.offset)
    }
}
