//! Copying a range from file to file.

use crate::error::{ErrorKind, Result};
use crate::file::File;
use crate::types::WriteFlags;
use ashlar_format::limits::FILE_BYTES_MAX;
use std::sync::Arc;

/// Bytes copied at once.
const CHUNK_BYTES: usize = 1 << 20;

impl File {
    /// Copies `length` bytes from `offset` to `to_offset` of another file of the volume, or of this
    /// one; returns how many bytes, fewer at the end of this file or when space ends.
    ///
    /// # Errors
    /// `CrossDevice` (EXDEV) for another volume, `Invalid` (EINVAL) for ranges of one file that
    /// overlap, `TooLarge`; as [`File::read_at`] and [`File::write_at`] when nothing was copied.
    #[doc(alias = "copy_file_range")]
    pub fn copy_range(&self, offset: u64, to: &Self, to_offset: u64, length: u64) -> Result<u64> {
        self.copy_checked(offset, to, to_offset, length)
            .map_err(|error| error.in_op("copy_range").at(self.inode.ino))
    }

    fn copy_checked(&self, offset: u64, to: &Self, to_offset: u64, length: u64) -> Result<u64> {
        self.check_reading()?;
        to.check_writing()?;
        if !Arc::ptr_eq(&self.volume, &to.volume) {
            return Err(ErrorKind::CrossDevice.into());
        }
        let end = |start: u64| {
            start
                .checked_add(length)
                .filter(|end| *end <= FILE_BYTES_MAX)
                .ok_or(ErrorKind::TooLarge)
        };
        let length = length.min(self.inode.size().saturating_sub(offset));
        let same = self.inode.ino == to.inode.ino;
        if same && offset < end(to_offset)? && to_offset < end(offset)? {
            return Err(ErrorKind::Invalid.into());
        }
        end(to_offset)?;
        let mut buf = vec![0; length.min(CHUNK_BYTES as u64) as usize];
        let mut done = 0;
        while done < length {
            let want = (length - done).min(buf.len() as u64) as usize;
            let copied =
                self.read_checked(offset + done, &mut buf[..want]).and_then(|read| match read {
                    0 => Ok(0),
                    read => to.write_at(to_offset + done, &buf[..read], WriteFlags::default()),
                });
            match copied {
                Ok(0) => break,
                Ok(copied) => done += copied as u64,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}
