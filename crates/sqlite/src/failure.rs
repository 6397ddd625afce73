//! Why a call from SQLite failed: the number that SQLite understands, and words for its log.

use std::cell::Cell;
use std::ffi::c_int;

use ashlar::ErrorKind;

use crate::ffi;

/// Result of what SQLite calls.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// A failed call.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    /// One of SQLite's result codes.
    pub(crate) code: c_int,
    /// What the system would say.
    pub(crate) errno: i32,
    text: String,
}

thread_local! {
    static LAST_ERRNO: Cell<i32> = const { Cell::new(0) };
}

impl Failure {
    pub(crate) fn new(code: c_int, errno: i32, text: impl Into<String>) -> Self {
        Self { code, errno, text: text.into() }
    }

    /// Somebody else has the lock: no error, and nothing for the log.
    pub(crate) fn busy() -> Self {
        Self::new(ffi::BUSY, libc::EAGAIN, "")
    }

    /// For `map_err`: an error of the volume; `code` where SQLite has no better word for it.
    pub(crate) fn of(code: c_int) -> impl Fn(ashlar::Error) -> Self {
        move |error| {
            let code = match error.kind() {
                // Too large is what one commit cannot hold.
                ErrorKind::NoSpace | ErrorKind::FileTooLarge => ffi::FULL,
                ErrorKind::ReadOnlyVolume => ffi::READONLY,
                ErrorKind::InUse => ffi::BUSY,
                _ if error.errno() == libc::ENOMEM => ffi::NOMEM,
                _ => code,
            };
            Self::new(code, error.errno(), error.to_string())
        }
    }

    /// Whether it belongs into the log.
    pub(crate) fn has_words(&self) -> bool {
        !self.text.is_empty()
    }

    /// Keeps the system's error number for `xGetLastError`.
    pub(crate) fn remember(&self) {
        LAST_ERRNO.set(self.errno);
    }

    /// The number kept last by this thread.
    pub(crate) fn last_errno() -> i32 {
        LAST_ERRNO.get()
    }
}
