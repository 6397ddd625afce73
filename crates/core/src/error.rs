//! What can go wrong with files and names, and the errno of each.

use crate::types::Ino;
use ashlar_format::Corruption;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// Result of file-system operations.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation: what, on which file, why.
#[derive(Debug, Clone)]
pub struct Error {
    /// Why it failed.
    pub kind: ErrorKind,
    /// Which operation failed.
    pub op: &'static str,
    /// The inode that it was about.
    pub ino: Option<Ino>,
    /// The name in that directory that it was about.
    pub name: Option<Box<[u8]>>,
    /// The failure below.
    pub source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// Why an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such name (ENOENT).
    NotFound,
    /// The name exists (EEXIST).
    Exists,
    /// Not a directory (ENOTDIR).
    NotDirectory,
    /// A directory (EISDIR).
    IsDirectory,
    /// The directory has entries (ENOTEMPTY).
    NotEmpty,
    /// The name has more than 255 bytes (ENAMETOOLONG).
    NameTooLong,
    /// The file has as many links as can be counted (EMLINK).
    TooManyLinks,
    /// Immutable, append-only, or never allowed (EPERM).
    NotPermitted,
    /// Only somebody else may do it (EACCES).
    AccessDenied,
    /// Two volumes (EXDEV).
    CrossDevice,
    /// No space is left (ENOSPC).
    NoSpace,
    /// Beyond the largest file, or the largest commit (EFBIG).
    TooLarge,
    /// An argument that cannot be (EINVAL).
    Invalid,
    /// No such extended attribute (ENODATA).
    NoAttribute,
    /// An attribute's value has more than 64 KiB (E2BIG).
    ValueTooLong,
    /// More files than one commit can join (E2BIG).
    TooManyFiles,
    /// An attribute's name is empty or has more than 255 bytes (ERANGE).
    AttributeName,
    /// Not done by this file system, or not on this kind of file (EOPNOTSUPP).
    Unsupported,
    /// The volume is read-only (EROFS).
    ReadOnly,
    /// The device failed (EIO).
    Io,
    /// Bytes on the device are wrong (EUCLEAN).
    Corrupt,
    /// No data, or no hole, up to the end of the file (ENXIO).
    NoData,
    /// The block map is sealed (ETXTBSY).
    Sealed,
    /// No such inode, or not any more (ESTALE).
    Stale,
    /// The volume has shut down or was unmounted (EIO).
    Shutdown,
    /// The handle does not allow it (EBADF).
    BadHandle,
    /// Would have to wait (EAGAIN).
    WouldBlock,
}

impl ErrorKind {
    /// The errno that stands for it.
    #[must_use]
    pub fn errno(self) -> i32 {
        match self {
            Self::NotFound => libc::ENOENT,
            Self::Exists => libc::EEXIST,
            Self::NotDirectory => libc::ENOTDIR,
            Self::IsDirectory => libc::EISDIR,
            Self::NotEmpty => libc::ENOTEMPTY,
            Self::NameTooLong => libc::ENAMETOOLONG,
            Self::TooManyLinks => libc::EMLINK,
            Self::NotPermitted => libc::EPERM,
            Self::AccessDenied => libc::EACCES,
            Self::CrossDevice => libc::EXDEV,
            Self::NoSpace => libc::ENOSPC,
            Self::TooLarge => libc::EFBIG,
            Self::Invalid => libc::EINVAL,
            Self::NoAttribute => libc::ENODATA,
            Self::ValueTooLong | Self::TooManyFiles => libc::E2BIG,
            Self::AttributeName => libc::ERANGE,
            Self::Unsupported => libc::EOPNOTSUPP,
            Self::ReadOnly => libc::EROFS,
            Self::Io | Self::Shutdown => libc::EIO,
            Self::Corrupt => libc::EUCLEAN,
            Self::NoData => libc::ENXIO,
            Self::Sealed => libc::ETXTBSY,
            Self::Stale => libc::ESTALE,
            Self::BadHandle => libc::EBADF,
            Self::WouldBlock => libc::EAGAIN,
        }
    }

    fn problem(self) -> &'static str {
        match self {
            Self::NotFound => "no such file or directory",
            Self::Exists => "the name exists already",
            Self::NotDirectory => "not a directory",
            Self::IsDirectory => "is a directory",
            Self::NotEmpty => "the directory is not empty; remove its entries first",
            Self::NameTooLong => "the name has more than 255 bytes",
            Self::TooManyLinks => "the file has too many links",
            Self::NotPermitted => {
                "not permitted: immutable or append-only (see lsattr), or never allowed"
            }
            Self::AccessDenied => "not allowed to this caller",
            Self::CrossDevice => "two different volumes; copy instead",
            Self::NoSpace => "no space is left; remove something or make the volume larger",
            Self::TooLarge => "beyond the largest possible file, or more than one commit can hold",
            Self::Invalid => "invalid argument",
            Self::NoAttribute => "no such extended attribute",
            Self::ValueTooLong => "the value has more than 64 KiB",
            Self::TooManyFiles => "more than 1,024 files cannot be committed together",
            Self::AttributeName => "the attribute's name is empty or has more than 255 bytes",
            Self::Unsupported => "not supported",
            Self::ReadOnly => "the volume is read-only",
            Self::Io => "input or output failed",
            Self::Corrupt => "the volume is damaged; run `ashlar fsck`",
            Self::NoData => "nothing there up to the end of the file",
            Self::Sealed => "the file's block map is sealed; unseal it first",
            Self::Stale => "the inode does not exist any more",
            Self::Shutdown => "the volume has shut down; unmount it",
            Self::BadHandle => "the file was not opened for this",
            Self::WouldBlock => "would have to wait",
        }
    }
}

impl Error {
    /// An error of operation `op`.
    #[must_use]
    pub fn new(kind: ErrorKind, op: &'static str) -> Self {
        Self { kind, op, ino: None, name: None, source: None }
    }

    /// The same error, about inode `ino`.
    #[must_use]
    pub fn at(mut self, ino: impl Into<Option<Ino>>) -> Self {
        self.ino = self.ino.or(ino.into());
        self
    }

    /// The same error, about `name` in the inode's directory.
    #[must_use]
    pub fn named(mut self, name: &[u8]) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same error, with what failed below.
    #[must_use]
    pub fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The same error as `op` reports it, if no operation is named yet.
    #[must_use]
    pub(crate) fn in_op(mut self, op: &'static str) -> Self {
        if self.op.is_empty() {
            self.op = op;
        }
        self
    }

    /// The errno that stands for it.
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.kind.errno()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.op.is_empty() { "file system" } else { self.op })?;
        if let Some(name) = &self.name {
            write!(f, " \"{}\"", name.escape_ascii())?;
        }
        if let Some(ino) = self.ino {
            let relation = if self.name.is_some() { "in directory" } else { "of" };
            write!(f, " {relation} inode {ino}")?;
        }
        write!(f, ": {}", self.kind.problem())?;
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind, "")
    }
}

impl From<Corruption> for Error {
    fn from(source: Corruption) -> Self {
        Self::new(ErrorKind::Corrupt, "").because(source)
    }
}

impl From<ashlar_store::Error> for Error {
    fn from(source: ashlar_store::Error) -> Self {
        let kind = match &source {
            ashlar_store::Error::Device(_) => ErrorKind::Io,
            ashlar_store::Error::Corrupt(_) => ErrorKind::Corrupt,
            ashlar_store::Error::NoSpace { .. } => ErrorKind::NoSpace,
            ashlar_store::Error::TooLarge { .. } => ErrorKind::TooLarge,
            ashlar_store::Error::ReadOnly => ErrorKind::ReadOnly,
            ashlar_store::Error::Shutdown { .. } => ErrorKind::Shutdown,
            ashlar_store::Error::Unsupported { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, "").because(source)
    }
}

impl From<iomap::Error> for Error {
    fn from(error: iomap::Error) -> Self {
        if let Some(own) = error.downcast_ref::<Self>() {
            return own.clone();
        }
        let kind = match &error.kind {
            iomap::ErrorKind::NoSpace => ErrorKind::NoSpace,
            iomap::ErrorKind::WouldBlock => ErrorKind::WouldBlock,
            iomap::ErrorKind::NoData => ErrorKind::NoData,
            iomap::ErrorKind::InvalidArgument(_) => ErrorKind::Invalid,
            _ => ErrorKind::Io,
        };
        Self::new(kind, "").because(error)
    }
}

/// How own errors travel through the library.
pub(crate) fn through(error: impl Into<Error>) -> iomap::Error {
    iomap::Error::file_system(error.into())
}
