//! All-or-nothing updates of one file or several.

use crate::Volume;
use crate::error::{Cause, Result};
use crate::file::File;

/// What atomic updates of a file are bound to, from [`File::atomic_limits`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
#[doc(alias = "F_IOINFO")]
pub struct AtomicLimits {
    /// Updates need not be aligned; those that are, to this many bytes, are cheaper.
    pub alignment: u32,
    /// Bytes that one commit can hold for certain, however scattered. What lies together may be more.
    pub max_bytes: u64,
    /// Committing runs of up to so many bytes leaves the file's blocks where they are.
    pub journaled_bytes: u64,
    /// Files that one [`Volume::sync_all`] can join.
    pub max_files: u32,
}

impl File {
    /// Makes the file atomic from here on, through this handle, until [`commit`](File::commit) or
    /// [`abort`](File::abort): as if it had been opened
    /// [`atomic`](crate::OpenOptions::atomic). Beginning twice is beginning once.
    ///
    /// # Errors
    /// `EBADF` if not opened for writing; `EINVAL` for what is not a regular file; `EROFS`, `EIO`.
    pub fn begin(&self) -> Result<()> {
        self.file.begin_atomic().map_err(Cause::when("begin an atomic update of the file"))
    }

    /// Commits what was written since the last commit, and ends what [`begin`](File::begin) began.
    ///
    /// # Errors
    /// As [`sync`](File::sync): nothing is committed then, and nothing is lost. Try again, or
    /// [`abort`](File::abort).
    ///
    /// # Durability
    /// After a crash the file is as before or as after this call; as after it once it returned `Ok`.
    pub fn commit(&self) -> Result<()> {
        self.file.commit_atomic().map_err(Cause::when("commit the file"))
    }

    /// Gives up what was written to an atomic file since the last commit, by any handle: content and
    /// size are as committed. Ends what [`begin`](File::begin) began.
    ///
    /// # Errors
    /// `EBADF` if not opened for writing; `EINVAL` for what is not a regular file; `EROFS`, `EIO`.
    pub fn abort(&self) -> Result<()> {
        self.file.abort_atomic().map_err(Cause::when("abort the update of the file"))
    }

    /// Whether writes wait for a commit: this handle or another one made the file atomic.
    #[must_use]
    pub fn is_atomic(&self) -> bool {
        self.file.is_atomic()
    }

    /// What atomic updates of this file are bound to.
    ///
    /// # Errors
    /// `EINVAL` for what is not a regular file; `EIO`.
    #[doc(alias = "F_IOINFO")]
    pub fn atomic_limits(&self) -> Result<AtomicLimits> {
        let info = self.file.io_info().map_err(Cause::when("examine the file"))?;
        Ok(AtomicLimits {
            alignment: info.alignment,
            max_bytes: info.max_bytes,
            journaled_bytes: info.journaled_bytes,
            max_files: info.max_files,
        })
    }
}

impl Volume {
    /// Commits several atomic files together: after a crash all of them are as before this call, or
    /// all as after. One flush for all; a file given twice counts once.
    ///
    /// # Errors
    /// `EINVAL` for no file, or one that is not atomic; `E2BIG` above 1,024 files; `EXDEV` for a file
    /// of another volume; `EFBIG` for more than one commit can hold; `EROFS`, `EIO`. None is committed
    /// then, and nothing is lost.
    ///
    /// # Durability
    /// All of it is durable once this returns `Ok`.
    #[doc(alias = "syncv")]
    pub fn sync_all(&self, files: &[&File]) -> Result<()> {
        let files: Vec<&ashlar_core::File> = files.iter().map(|file| &*file.file).collect();
        self.core.sync_files(&files).map_err(Cause::when("commit the files together"))
    }
}
