//! Why a command failed: a message, advice, and the exit code.

use std::fmt;
use std::io;
use std::path::Path;

use crate::output::complain;

/// Result of a command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Exit codes of our own commands. The helpers for mount(8) and fsck(8) have their own.
pub(crate) const EXIT_FAILURE: u8 = 1;
/// The command line itself is wrong.
pub(crate) const EXIT_USAGE: u8 = 2;

/// What a command says on standard error before it ends.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Failure {
    /// What went wrong, and where.
    message: String,
    /// What to do about it, if there is something.
    advice: Option<String>,
    code: u8,
    /// Nothing is printed: the reader of our output has gone, or all was said before.
    silent: bool,
}

impl Failure {
    /// A command that could not do its work.
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), advice: None, code: EXIT_FAILURE, silent: false }
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure { code: EXIT_USAGE, ..Failure::new(message) }
    }

    /// Ends with `code`; everything was said already.
    pub(crate) fn silent(code: u8) -> Failure {
        Failure { code, silent: true, ..Failure::new("") }
    }

    /// An operation on a file of this machine.
    pub(crate) fn host(action: &str, path: &Path, error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::silent(0);
        }
        Failure::new(format!("cannot {action} {}: {}", path.display(), reason(error)))
    }

    /// Adds what the user can do.
    #[must_use]
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Failure {
        self.advice = Some(advice.into());
        self
    }

    /// Changes the exit code.
    #[must_use]
    pub(crate) fn with_code(mut self, code: u8) -> Failure {
        self.code = code;
        self
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Prints to standard error, after the name of the command.
    pub(crate) fn print(&self, program: &str) {
        if !self.silent {
            complain(format_args!("{program}: {self}"));
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(advice) = &self.advice {
            write!(f, "\n  help: {advice}")?;
        }
        Ok(())
    }
}

/// Writing to standard output failed; a reader that went away is no failure.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::silent(0)
        } else {
            Failure::new(format!("cannot write to standard output: {}", reason(&error)))
        }
    }
}

impl From<ashlar::Error> for Failure {
    fn from(error: ashlar::Error) -> Failure {
        Failure::new(error.to_string())
    }
}

/// The operating system's words without the number that `std` appends.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_pipe_ends_quietly_with_success() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.code(), 0);
        assert!(failure.silent);
    }

    #[test]
    fn advice_follows_the_message() {
        let text = Failure::new("x is in use").advise("unmount it").to_string();
        assert_eq!(text, "x is in use\n  help: unmount it");
    }

    #[test]
    fn reason_leaves_the_number_out() {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(reason(&error), "No such file or directory");
    }
}
