//! Iterating over a directory.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar_core::{FileKind, Ino, Volume};

use crate::error::{Cause, Result};
use crate::metadata::Metadata;

/// Entries read at a time.
const BATCH: usize = 256;

/// Iterator over the entries of a directory; from [`Volume::read_dir`](crate::Volume::read_dir).
///
/// Reads in batches; a directory that is removed meanwhile just ends. After an error it ends.
pub struct ReadDir {
    volume: Arc<Volume>,
    dir: Ino,
    path: Arc<Path>,
    /// Read but not returned yet.
    ready: VecDeque<DirEntry>,
    /// Where to go on; `None` at the end.
    cookie: Option<u64>,
}

/// One entry of a directory.
#[derive(Clone)]
pub struct DirEntry {
    volume: Arc<Volume>,
    dir: Arc<Path>,
    name: OsString,
    ino: Ino,
    kind: FileKind,
}

impl ReadDir {
    pub(crate) fn new(volume: &Arc<Volume>, dir: Ino, path: &Path) -> ReadDir {
        let volume = Arc::clone(volume);
        ReadDir { volume, dir, path: Arc::from(path), ready: VecDeque::new(), cookie: Some(0) }
    }

    fn refill(&mut self, from: u64) -> Result<()> {
        self.cookie = None;
        let read = self.volume.read_dir(self.dir, from, &mut |entry| {
            if entry.name != b"." && entry.name != b".." {
                self.ready.push_back(DirEntry {
                    volume: Arc::clone(&self.volume),
                    dir: Arc::clone(&self.path),
                    name: OsString::from_vec(entry.name.clone()),
                    ino: entry.ino,
                    kind: entry.kind,
                });
            }
            if self.ready.len() < BATCH {
                return ControlFlow::Continue(());
            }
            self.cookie = Some(entry.cookie);
            ControlFlow::Break(())
        });
        match read {
            Err(error) if error.errno() == libc::ESTALE => Ok(()),
            other => {
                other.map_err(|error| Cause::at("read the directory", &self.path)(error.into()))
            }
        }
    }
}

impl Iterator for ReadDir {
    type Item = Result<DirEntry>;

    fn next(&mut self) -> Option<Result<DirEntry>> {
        if self.ready.is_empty()
            && let Some(from) = self.cookie
            && let Err(error) = self.refill(from)
        {
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok)
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadDir").field(&self.path).finish()
    }
}

impl DirEntry {
    /// The name, without the directory.
    #[must_use]
    pub fn file_name(&self) -> &OsStr {
        &self.name
    }

    /// The directory's path, as it was given, and the name.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// What it is; no further access to the volume.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Inode number.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.ino.0
    }

    /// Attributes; of a symbolic link, its own.
    ///
    /// # Errors
    /// `ENOENT` if it has been removed; `EIO`, `EUCLEAN`.
    pub fn metadata(&self) -> Result<Metadata> {
        let attr = self.volume.getattr(self.ino);
        attr.map(Metadata::new).map_err(|error| Cause::at("examine", &self.path())(error.into()))
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirEntry").field(&self.path()).finish()
    }
}
