//! Rollback journals and super-journals: in memory, known by name to the whole process.
//!
//! A crash needs none of them, since it leaves the last commit. They are there for `ROLLBACK` and
//! `ROLLBACK TO`, which read back what a transaction has overwritten. Names matter: while a
//! transaction over several databases is undone, SQLite asks for each journal whether it still exists.
//!
//! A journal that outgrows [`MEMORY_BYTES_MAX`], such as that of a `VACUUM`, moves to a nameless
//! temporary file of the host.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::failure::{Failure, Result};
use crate::ffi;
use crate::io::Opened;
use crate::names::Name;
use crate::volumes::Use;

/// What one journal keeps in memory.
const MEMORY_BYTES_MAX: usize = 64 << 20;

/// Content of a journal.
#[derive(Debug)]
pub(crate) enum Bytes {
    Memory(Vec<u8>),
    Host(File),
}

impl Default for Bytes {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl Bytes {
    fn read(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let count = buf.len().min(bytes.len() - start);
                buf[..count].copy_from_slice(&bytes[start..start + count]);
                Ok(count)
            }
            Self::Host(file) => {
                let mut filled = 0;
                while filled < buf.len() {
                    match file.read_at(&mut buf[filled..], offset + filled as u64)? {
                        0 => break,
                        count => filled += count,
                    }
                }
                Ok(filled)
            }
        }
    }

    fn write(&mut self, offset: u64, new: &[u8]) -> std::io::Result<()> {
        if let Self::Memory(bytes) = self {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let end = start.saturating_add(new.len());
            if end <= MEMORY_BYTES_MAX {
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(new);
                return Ok(());
            }
            let file = nameless()?;
            file.write_all_at(bytes, 0)?;
            *self = Self::Host(file);
        }
        match self {
            Self::Host(file) => file.write_all_at(new, offset),
            Self::Memory(_) => Ok(()),
        }
    }

    fn truncate(&mut self, size: u64) -> std::io::Result<()> {
        match self {
            Self::Memory(bytes) => bytes.resize(usize::try_from(size).unwrap_or(usize::MAX), 0),
            Self::Host(_) if size == 0 => *self = Self::default(),
            Self::Host(file) => file.set_len(size)?,
        }
        Ok(())
    }

    pub(crate) fn size(&self) -> std::io::Result<u64> {
        match self {
            Self::Memory(bytes) => Ok(bytes.len() as u64),
            Self::Host(file) => Ok(file.metadata()?.len()),
        }
    }
}

/// A file of the host that is gone when it is closed.
fn nameless() -> std::io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE);
    options.open(std::env::temp_dir())
}

/// What is special about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Journal,
    /// Holds the names of the journals of one transaction.
    SuperJournal,
}

/// A handle of a journal. What it holds lives until the name is deleted and the handle closed.
#[derive(Debug)]
pub(crate) struct JournalFile {
    pub(crate) bytes: Arc<Mutex<Bytes>>,
    pub(crate) volume: Use,
    pub(crate) kind: Kind,
}

impl Opened for JournalFile {
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.bytes.lock().read(offset, buf).map_err(failed(ffi::IOERR_READ))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        if self.kind == Kind::SuperJournal {
            self.check_member(bytes)?;
        }
        self.bytes.lock().write(offset, bytes).map_err(failed(ffi::IOERR_WRITE))
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        self.bytes.lock().truncate(size).map_err(failed(ffi::IOERR_TRUNCATE))
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    fn size(&mut self) -> Result<u64> {
        self.bytes.lock().size().map_err(failed(ffi::IOERR_FSTAT))
    }
}

impl JournalFile {
    /// Refuses a transaction that could not be all or nothing, before anything of it is written: what
    /// SQLite writes here is the name of the journal of one database.
    fn check_member(&self, name: &[u8]) -> Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(name.strip_suffix(&[0]).unwrap_or(name));
        if Name::below(&self.volume.shared().path, name.as_ref()).is_some() {
            return Ok(());
        }
        let text = format!(
            "one transaction cannot cover {} and databases in {}: commit them one by one",
            name.display(),
            self.volume.shared().path.display()
        );
        Err(Failure::new(ffi::IOERR_WRITE, libc::EXDEV, text))
    }
}

fn failed(code: std::ffi::c_int) -> impl Fn(std::io::Error) -> Failure {
    move |error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        let code = if errno == libc::ENOSPC { ffi::FULL } else { code };
        Failure::new(code, errno, format!("cannot use a temporary file for a journal: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_in_memory_and_on_the_host() {
        let mut memory = Bytes::default();
        let mut host = Bytes::Host(nameless().unwrap());
        for bytes in [&mut memory, &mut host] {
            bytes.write(10, b"hello").unwrap();
            bytes.write(2, b"ab").unwrap();
            let mut buf = [9; 20];
            assert_eq!(bytes.read(0, &mut buf).unwrap(), 15);
            assert_eq!(&buf[..15], b"\0\0ab\0\0\0\0\0\0hello");
            assert_eq!(bytes.read(15, &mut buf).unwrap(), 0);
            bytes.truncate(11).unwrap();
            assert_eq!((bytes.size().unwrap(), bytes.read(10, &mut buf).unwrap()), (11, 1));
        }
    }

    #[test]
    fn a_large_journal_leaves_memory_and_comes_back() {
        let mut bytes = Bytes::default();
        bytes.write(5, b"early").unwrap();
        bytes.write(MEMORY_BYTES_MAX as u64 - 1, b"late").unwrap();
        assert!(matches!(bytes, Bytes::Host(_)));
        let mut buf = [0; 5];
        bytes.read(5, &mut buf).unwrap();
        assert_eq!(&buf, b"early");
        assert_eq!(bytes.size().unwrap(), MEMORY_BYTES_MAX as u64 + 3);
        bytes.truncate(0).unwrap();
        assert!(matches!(bytes, Bytes::Memory(_)));
    }
}
