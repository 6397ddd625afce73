//! The error of the library: what failed, where in the file, and why.
//!
//! A file system's own errors pass through untouched in [`ErrorKind::FileSystem`]: the library
//! never interprets them. The library has no errno of its own; the kernel's counterpart of each
//! kind is named at the kind, and the file system maps it at its border.

use std::error::Error as StdError;
use std::sync::Arc;

/// What the device reports.
pub use ashlar_device::DeviceError;

/// Result of the library.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed file operation.
#[derive(Debug, thiserror::Error)]
#[error("{operation}{}: {kind}", place(.offset))]
pub struct Error {
    /// Why it failed.
    #[source]
    pub kind: ErrorKind,
    /// Which operation of the library was under way, by its function's name.
    pub operation: &'static str,
    /// File offset in bytes where it stopped, if it has one.
    pub offset: Option<u64>,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The device failed (EIO, or what the device says).
    #[error("the device failed: {0}")]
    Io(#[source] DeviceError),
    /// The file system broke a rule of [`MappingOps`](crate::MappingOps) or
    /// [`WritebackOps`](crate::WritebackOps): a bug in the file system, reported instead of
    /// followed (EIO).
    #[error("the file system broke the mapping contract: {0}")]
    Contract(&'static str),
    /// Direct I/O cannot do this without reading first: use the buffered call. Nothing was done
    /// (kernel: ENOTBLK).
    #[error("not possible without the page cache; repeat it as a buffered call")]
    NeedsBuffered,
    /// No space is left (ENOSPC). File systems may also pass their own error instead.
    #[error("no space left")]
    NoSpace,
    /// The request forbids waiting and would have to wait (EAGAIN).
    #[error("it would have to wait, and must not")]
    WouldBlock,
    /// No data, or no hole, at or after the offset (ENXIO).
    #[error("nothing there up to the end of the file")]
    NoData,
    /// An argument that no file system could serve, such as a range past 2^63 (EINVAL).
    #[error("invalid argument: {0}")]
    InvalidArgument(&'static str),
    /// An earlier writeback failed; reported once to each opener (EIO, or the cause's errno).
    #[error("data could not be written back: {0}")]
    Writeback(#[source] Arc<Error>),
    /// The file system's own error, passed through unchanged.
    #[error("{0}")]
    FileSystem(#[source] Box<dyn StdError + Send + Sync>),
}

fn place(offset: &Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| format!(" at offset {offset}"))
}

impl Error {
    /// An error of `operation` at no particular offset.
    #[must_use]
    pub fn new(operation: &'static str, kind: ErrorKind) -> Self {
        Self { kind, operation, offset: None }
    }

    /// The same error with the file offset where it happened.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Wraps a file system's own error, to be returned from its callbacks.
    pub fn file_system(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new("file system", ErrorKind::FileSystem(source.into()))
    }

    pub(crate) fn contract(operation: &'static str, rule: &'static str, offset: u64) -> Self {
        Self::new(operation, ErrorKind::Contract(rule)).at(offset)
    }

    pub(crate) fn io(operation: &'static str, offset: u64, source: DeviceError) -> Self {
        Self::new(operation, ErrorKind::Io(source)).at(offset)
    }

    /// The file system's own error of type `T`, looked for behind a recorded writeback failure,
    /// too.
    #[must_use]
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        match &self.kind {
            ErrorKind::FileSystem(source) => source.downcast_ref(),
            ErrorKind::Writeback(cause) => cause.downcast_ref(),
            _ => None,
        }
    }

    /// Takes the file system's own error of type `T` out.
    ///
    /// # Errors
    /// Gives the error back unchanged when it is of another kind or type, or shared with others
    /// (a recorded writeback failure; see [`Error::downcast_ref`]).
    pub fn downcast<T: StdError + 'static>(self) -> std::result::Result<T, Self> {
        let Self { kind, operation, offset } = self;
        match kind {
            ErrorKind::FileSystem(source) => source
                .downcast::<T>()
                .map(|own| *own)
                .map_err(|source| Self { kind: ErrorKind::FileSystem(source), operation, offset }),
            kind => Err(Self { kind, operation, offset }),
        }
    }

    /// Whether the caller should repeat the call through the page cache.
    #[must_use]
    pub fn needs_buffered(&self) -> bool {
        matches!(self.kind, ErrorKind::NeedsBuffered)
    }
}
