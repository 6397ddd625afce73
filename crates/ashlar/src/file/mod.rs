//! An open file.

mod atomic;
mod cursor;
mod space;

use std::fmt;
use std::sync::Arc;

use ashlar_core::{Caller, SetAttr, WriteFlags};

use crate::Volume;
use crate::error::{Cause, Result, errno};
use crate::metadata::Metadata;
use crate::volume::FileTimes;

pub use atomic::AtomicLimits;
pub use cursor::FileCursor;
pub use space::{FileExtent, KeepSize};

/// Bytes by which a file of unknown size is read.
const READ_BYTES: usize = 64 << 10;

/// An open file. It has no position: every read and write says where, so that threads can share
/// it. [`cursor`](File::cursor) adds one for [`std::io`].
///
/// Clones are the same open file. The content of a file whose last name is removed stays until
/// it is closed everywhere. An open directory can be synced and examined.
///
/// # Atomic updates
/// A file that was opened [`atomic`](crate::OpenOptions::atomic) has two images: the committed one,
/// which a crash leaves, and the working one, which all handles read and write. A sync makes the
/// working image the committed one, whatever its size, with one flush. There is no isolation between
/// handles.
///
/// ```
/// use ashlar::{OpenOptions, Volume};
/// let volume = Volume::in_memory(64 << 20)?;
/// let options = OpenOptions::new().read(true).write(true).create(true).atomic(true);
/// let (from, to) = (volume.open("from", options)?, volume.open("to", options)?);
/// from.write_at(0, b"balance: 10")?;
/// to.write_at(0, b"balance: 90")?;
/// // Both or neither, also after a power cut in the middle of this.
/// volume.sync_all(&[&from, &to])?;
/// from.write_at(0, b"never mind")?;
/// from.abort()?;
/// assert_eq!(from.read_to_end(0)?, b"balance: 10");
/// # Ok::<(), ashlar::Error>(())
/// ```
///
/// # Durability
/// Writes are seen at once by everybody, and survive a crash after [`sync`](File::sync) or
/// [`sync_data`](File::sync_data), or as said at [`Volume`].
#[derive(Clone)]
pub struct File {
    file: Arc<ashlar_core::File>,
    volume: Arc<ashlar_core::Volume>,
    caller: Arc<Caller>,
    access: Access,
}

/// What an open file may be used for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Every write goes to the end.
    pub(crate) append: bool,
}

impl File {
    pub(crate) fn new(volume: &Volume, file: Arc<ashlar_core::File>, access: Access) -> File {
        let (caller, volume) = (Arc::clone(&volume.caller), Arc::clone(&volume.core));
        File { file, volume, caller, access }
    }

    /// Reads bytes from `offset` on and returns how many: fewer than asked for only where the file
    /// ends, 0 at its end and behind it. Holes read as zeros.
    ///
    /// # Errors
    /// `EBADF` if not opened for reading; `EISDIR` for a directory; `EIO` if the device failed;
    /// `EUCLEAN` if metadata is damaged.
    #[doc(alias = "pread")]
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.read_some(offset, buf).map_err(Cause::when("read from the file"))
    }

    /// Reads everything from `offset` to the end.
    ///
    /// # Errors
    /// As [`read_at`](File::read_at).
    pub fn read_to_end(&self, offset: u64) -> Result<Vec<u8>> {
        self.read_from(offset).map_err(Cause::when("read from the file"))
    }

    /// Writes all of `bytes` from `offset` on; a gap behind the old end becomes a hole. In a file
    /// opened for appending, `offset` does not matter.
    ///
    /// # Errors
    /// `EBADF` if not opened for writing; `ENOSPC` if the volume is full; `EFBIG` beyond
    /// 2^63 - 1; `EPERM` if the file is immutable; `EIO`. A part may have been written then.
    ///
    /// # Durability
    /// After [`sync_data`](File::sync_data). A crash before may keep any of it, block by block,
    /// but never shows bytes that were not in the file.
    #[doc(alias = "pwrite")]
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write_all_at(offset, bytes, WriteFlags::default())
            .map_err(Cause::when("write to the file"))
    }

    /// Writes all of `bytes` at the end. Several threads that append do not overwrite each other.
    ///
    /// # Errors
    /// As [`write_at`](File::write_at).
    ///
    /// # Durability
    /// As [`write_at`](File::write_at).
    pub fn append(&self, bytes: &[u8]) -> Result<()> {
        let flags = WriteFlags { append: true, ..WriteFlags::default() };
        self.write_all_at(0, bytes, flags).map_err(Cause::when("append to the file"))
    }

    /// Makes content and attributes durable, and the file's name if it is new.
    ///
    /// # Errors
    /// `EIO` if the device failed, now or in the background since the last call: reported once
    /// for each open file, and what was written since the last success may be lost.
    ///
    /// # Durability
    /// All writes that returned before this call survive a crash once it returns `Ok`.
    ///
    /// # Blocking
    /// Waits for the device: one batch of writes and one flush, shared with others who sync.
    #[doc(alias = "fsync")]
    pub fn sync(&self) -> Result<()> {
        self.file.fsync(false).map_err(Cause::when("sync the file"))
    }

    /// As [`sync`](File::sync), but times and such may stay behind if they are not needed to read
    /// the content back.
    ///
    /// # Errors
    /// As [`sync`](File::sync).
    ///
    /// # Durability
    /// As [`sync`](File::sync), for content and size.
    #[doc(alias = "fdatasync")]
    pub fn sync_data(&self) -> Result<()> {
        self.file.fsync(true).map_err(Cause::when("sync the file"))
    }

    /// Cuts the file off at `size` bytes, or lets it grow to that size with a hole.
    ///
    /// # Errors
    /// `EINVAL` if not opened for writing; `EFBIG` beyond 2^63 - 1; `EPERM` if the file is
    /// immutable or append-only; `ENOSPC`, `EROFS`, `EIO`.
    ///
    /// # Durability
    /// After [`sync_data`](File::sync_data); all or nothing.
    #[doc(alias = "ftruncate")]
    pub fn set_len(&self, size: u64) -> Result<()> {
        let cut = || -> Result<(), Cause> {
            if !self.access.write {
                return Err(Cause::Rule(errno::EINVAL, "it was not opened for writing"));
            }
            Ok(self.file.set_len(size)?)
        };
        cut().map_err(Cause::when("change the size of the file"))
    }

    /// Attributes of the file.
    ///
    /// # Errors
    /// `EIO`, `EUCLEAN`.
    #[doc(alias = "fstat")]
    pub fn metadata(&self) -> Result<Metadata> {
        let attr = self.volume.getattr(self.file.ino());
        attr.map(Metadata::new).map_err(Cause::when("examine the file"))
    }

    /// Sets permission, set-id and sticky bits: the low twelve bits of `mode`.
    ///
    /// # Errors
    /// `EPERM` if immutable or append-only; `EROFS`, `ENOSPC`, `EIO`.
    ///
    /// # Durability
    /// After [`sync`](File::sync).
    #[doc(alias = "fchmod")]
    pub fn set_permissions(&self, mode: u16) -> Result<()> {
        let change = SetAttr { mode: Some(u32::from(mode & 0o7777)), ..SetAttr::default() };
        self.change(&change, "change the mode of the file")
    }

    /// Sets access and modification times.
    ///
    /// # Errors
    /// As [`set_permissions`](File::set_permissions).
    ///
    /// # Durability
    /// After [`sync`](File::sync).
    #[doc(alias = "futimens")]
    pub fn set_times(&self, times: FileTimes) -> Result<()> {
        self.change(&times.as_change(), "change the times of the file")
    }

    /// A view with a position that starts at 0, for [`std::io::Read`], [`std::io::Write`] and
    /// [`std::io::Seek`].
    ///
    /// ```
    /// use std::io::{BufRead, BufReader, Write};
    /// use ashlar::OpenOptions;
    /// # let volume = ashlar::Volume::in_memory(64 << 20)?;
    /// let options = OpenOptions::new().read(true).write(true).create(true);
    /// let file = volume.open("lines", options)?;
    /// writeln!(file.cursor(), "first\nsecond")?;
    /// let lines: Result<Vec<String>, _> = BufReader::new(file.cursor()).lines().collect();
    /// assert_eq!(lines?, ["first", "second"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn cursor(&self) -> FileCursor {
        FileCursor::new(self.clone())
    }

    /// Everything, in few steps where the size is right.
    pub(crate) fn read_all(&self) -> Result<Vec<u8>, Cause> {
        self.read_from(0)
    }

    pub(crate) fn write_all_at(
        &self,
        offset: u64,
        bytes: &[u8],
        flags: WriteFlags,
    ) -> Result<(), Cause> {
        let mut written = 0;
        while written < bytes.len() {
            let at = offset.saturating_add(written as u64);
            let count = self.write_some(at, &bytes[written..], flags)?;
            if count == 0 {
                return Err(Cause::Host(std::io::ErrorKind::WriteZero.into()));
            }
            written += count;
        }
        Ok(())
    }

    fn write_some(&self, offset: u64, bytes: &[u8], flags: WriteFlags) -> Result<usize, Cause> {
        self.check_writable()?;
        Ok(self.file.write_at(offset, bytes, flags)?)
    }

    fn read_some(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Cause> {
        if !self.access.read {
            return Err(Cause::Rule(errno::EBADF, "it was not opened for reading"));
        }
        Ok(self.file.read_at(offset, buf)?)
    }

    fn read_from(&self, offset: u64) -> Result<Vec<u8>, Cause> {
        let size = self.volume.getattr(self.file.ino())?.size;
        let expected = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        // One byte more, so that the end is seen without growing the buffer.
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(expected.saturating_add(1))
            .map_err(|_| Cause::Rule(errno::Errno(libc::ENOMEM), "it does not fit into memory"))?;
        let mut filled = 0;
        loop {
            if filled == bytes.len() {
                let room = bytes.capacity() - filled;
                bytes.resize(filled + if room == 0 { READ_BYTES } else { room }, 0);
            }
            let at = offset.saturating_add(filled as u64);
            match self.read_some(at, &mut bytes[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn check_writable(&self) -> Result<(), Cause> {
        if self.access.write {
            return Ok(());
        }
        Err(Cause::Rule(errno::EBADF, "it was not opened for writing"))
    }

    fn change(&self, change: &SetAttr, action: &'static str) -> Result<()> {
        match self.volume.setattr(&self.caller, self.file.ino(), change) {
            Ok(_) => Ok(()),
            Err(error) => Err(Cause::when(action)(error)),
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("ino", &self.file.ino().0)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}
