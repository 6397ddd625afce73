//! What can go wrong, in terms of paths.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ashlar_device::{DeviceError, DeviceOp};

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an operation failed on, and why.
///
/// [`kind`](Error::kind) is for programs to match on, [`errno`](Error::errno) for those that
/// speak POSIX, and the message for people: it says what failed, where, and what to do.
///
/// ```
/// use ashlar::{ErrorKind, Volume};
/// let volume = Volume::in_memory(64 << 20)?;
/// let error = volume.read("no/such/file").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.path().unwrap().to_str(), Some("no/such/file"));
/// let error: std::io::Error = error.into();
/// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
/// # Ok::<(), ashlar::Error>(())
/// ```
pub struct Error(Box<Report>);

struct Report {
    action: &'static str,
    path: Option<PathBuf>,
    cause: Cause,
}

/// Why an operation failed, for programs to match on. More kinds may follow.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// `ENOENT`: no such file or directory.
    NotFound,
    /// `EEXIST`: the name is taken.
    AlreadyExists,
    /// `ENOTDIR`: something on the way, or what a trailing slash follows, is no directory.
    NotADirectory,
    /// `EISDIR`: a directory cannot be written or unlinked.
    IsADirectory,
    /// `ENOTEMPTY`: the directory still has entries.
    DirectoryNotEmpty,
    /// `ENAMETOOLONG`: a name above 255 bytes, a path or a target above 4095.
    NameTooLong,
    /// `ELOOP`: more than 40 symbolic links on the way.
    SymlinkLoop,
    /// `EMLINK`: the file has as many names as it can.
    TooManyLinks,
    /// `EPERM`: an immutable or append-only file, a second name for a directory.
    NotPermitted,
    /// `EINVAL`: arguments that make no sense together.
    InvalidArgument,
    /// `EBADF`: the file was not opened for reading, or not for writing.
    WrongAccessMode,
    /// `ENXIO`: an offset past the end, or a file that cannot be opened at all.
    OutOfRange,
    /// `EBUSY`: the volume is open elsewhere, or the root directory cannot be removed.
    InUse,
    /// `ENOSPC`: the volume is full.
    NoSpace,
    /// `EFBIG`: a file cannot become that large.
    FileTooLarge,
    /// `ENODATA`: no such extended attribute.
    NoSuchAttribute,
    /// `E2BIG` or `ERANGE`: an extended attribute's value or name is too long.
    AttributeTooLarge,
    /// `EOPNOTSUPP`: this file, attribute or device cannot do it.
    Unsupported,
    /// `EROFS`: the volume was opened for reading only.
    ReadOnlyVolume,
    /// `ETXTBSY`: the file's blocks are pinned.
    Pinned,
    /// `EUCLEAN`: metadata on the device is damaged, or it is no Ashlar volume; run a check.
    Damaged,
    /// `EIO`: the device failed, or the volume is closed.
    Io,
    /// Anything else; see [`Error::errno`].
    Other,
}

/// POSIX error numbers, as Linux has them on every architecture that Rust and we support alike.
pub(crate) mod errno {
    /// An error number.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub(crate) struct Errno(pub(crate) i32);

    macro_rules! numbers {
        ($($name:ident)*) => { $(pub(crate) const $name: Errno = Errno(libc::$name);)* };
    }
    numbers! {
        EBADF EBUSY EEXIST EINVAL EISDIR ELOOP ENAMETOOLONG ENOENT ENOTDIR ENOTEMPTY
        EOPNOTSUPP EPERM
    }
}

use errno::Errno;

/// The root of an error, before it is known which path and operation it belongs to.
#[derive(Debug)]
pub(crate) enum Cause {
    /// Below the path API.
    Core(ashlar_core::Error),
    /// Opening the device.
    Device(DeviceError),
    /// Opening the image file.
    Host(io::Error),
    /// A rule of POSIX that the path walk keeps; the number says it all.
    Posix(Errno),
    /// A rule that wants words.
    Rule(Errno, &'static str),
}

impl From<ashlar_core::Error> for Cause {
    fn from(error: ashlar_core::Error) -> Cause {
        Cause::Core(error)
    }
}

impl From<Errno> for Cause {
    fn from(number: Errno) -> Cause {
        Cause::Posix(number)
    }
}

impl Cause {
    pub(crate) fn errno(&self) -> Errno {
        Errno(match self {
            // The inode vanished between two steps of one operation: as if it came later.
            Cause::Core(error) if error.errno() == libc::ESTALE => libc::ENOENT,
            Cause::Core(error) => error.errno(),
            Cause::Device(error) => error.errno(),
            Cause::Host(error) => error.raw_os_error().unwrap_or(libc::EIO),
            Cause::Posix(number) | Cause::Rule(number, _) => number.0,
        })
    }

    /// For `map_err`: completes an error about a path.
    pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(Cause) -> Error {
        move |cause| Error(Box::new(Report { action, path: Some(path.to_owned()), cause }))
    }

    /// For `map_err`: completes an error about something that has no path.
    pub(crate) fn when<C: Into<Cause>>(action: &'static str) -> impl FnOnce(C) -> Error {
        move |cause| Error(Box::new(Report { action, path: None, cause: cause.into() }))
    }
}

impl Error {
    /// Why the operation failed.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        kind_of(self.errno())
    }

    /// The POSIX error number, always above zero.
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.0.cause.errno().0
    }

    /// The path it is about, as it was given; `None` for open files and whole volumes.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }
}

/// The one table from numbers to kinds.
fn kind_of(errno: i32) -> ErrorKind {
    match errno {
        libc::ENOENT => ErrorKind::NotFound,
        libc::EEXIST => ErrorKind::AlreadyExists,
        libc::ENOTDIR => ErrorKind::NotADirectory,
        libc::EISDIR => ErrorKind::IsADirectory,
        libc::ENOTEMPTY => ErrorKind::DirectoryNotEmpty,
        libc::ENAMETOOLONG => ErrorKind::NameTooLong,
        libc::ELOOP => ErrorKind::SymlinkLoop,
        libc::EMLINK => ErrorKind::TooManyLinks,
        libc::EPERM | libc::EACCES => ErrorKind::NotPermitted,
        libc::EINVAL => ErrorKind::InvalidArgument,
        libc::EBADF => ErrorKind::WrongAccessMode,
        libc::ENXIO => ErrorKind::OutOfRange,
        libc::EBUSY | libc::EAGAIN => ErrorKind::InUse,
        libc::ENOSPC => ErrorKind::NoSpace,
        libc::EFBIG => ErrorKind::FileTooLarge,
        libc::ENODATA => ErrorKind::NoSuchAttribute,
        libc::E2BIG | libc::ERANGE => ErrorKind::AttributeTooLarge,
        libc::EOPNOTSUPP => ErrorKind::Unsupported,
        libc::EROFS => ErrorKind::ReadOnlyVolume,
        libc::ETXTBSY => ErrorKind::Pinned,
        libc::EUCLEAN => ErrorKind::Damaged,
        libc::EIO => ErrorKind::Io,
        _ => ErrorKind::Other,
    }
}

/// Words for errors that say all with their kind; `None` where the cause knows more.
fn words(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::NotFound => "no such file or directory",
        ErrorKind::AlreadyExists => "it exists already",
        ErrorKind::NotADirectory => "not a directory, or something on the way is none",
        ErrorKind::IsADirectory => "it is a directory",
        ErrorKind::DirectoryNotEmpty => "the directory is not empty",
        ErrorKind::NameTooLong => "a name in it is longer than 255 bytes",
        ErrorKind::SymlinkLoop => "a symbolic link, or more than 40 of them on the way",
        ErrorKind::InUse => "it is in use",
        ErrorKind::NoSuchAttribute => "it has no such extended attribute",
        ErrorKind::ReadOnlyVolume => "the volume is open for reading only",
        _ => return None,
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.0.action)?;
        if let Some(path) = &self.0.path {
            write!(f, " {}", path.display())?;
        }
        f.write_str(": ")?;
        let words = words(self.kind());
        match (&self.0.cause, words) {
            (Cause::Rule(_, text), _) => f.write_str(text),
            (Cause::Core(_) | Cause::Posix(_), Some(words)) => f.write_str(words),
            (Cause::Core(error), None) => error.fmt(f),
            // The path is said already.
            (Cause::Device(error), _) if error.op == DeviceOp::Open => error.source.fmt(f),
            (Cause::Device(error), _) => error.fmt(f),
            (Cause::Host(error), _) => error.fmt(f),
            (Cause::Posix(number), None) => io::Error::from_raw_os_error(number.0).fmt(f),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind())
            .field("action", &self.0.action)
            .field("path", &self.0.path)
            .field("cause", &self.0.cause)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.cause {
            Cause::Core(error) => Some(error),
            Cause::Device(error) => Some(error),
            Cause::Host(error) => Some(error),
            Cause::Posix(_) | Cause::Rule(..) => None,
        }
    }
}

impl From<Error> for io::Error {
    /// Keeps the kind and the message; [`io::Error::raw_os_error`] is `None`, since an error made
    /// from a number alone could carry no path. [`io::Error::get_ref`] gives the [`Error`] back.
    fn from(error: Error) -> io::Error {
        let kind = io::Error::from_raw_os_error(error.errno()).kind();
        io::Error::new(kind, error)
    }
}
