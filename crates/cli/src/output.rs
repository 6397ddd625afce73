//! Standard output: buffered, and names shown so that they cannot play tricks on a terminal.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

/// Buffered standard output. [`finish`](Output::finish) reports what a drop would swallow.
pub(crate) struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    terminal: bool,
}

impl Output {
    pub(crate) fn new() -> Output {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Output { writer: BufWriter::with_capacity(1 << 16, stdout.lock()), terminal }
    }

    /// One JSON document and a newline.
    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.writer, value).map_err(io::Error::from)?;
        self.writer.write_all(b"\n")
    }

    /// A file name: its bytes into a pipe or file, harmless on a terminal.
    pub(crate) fn name(&mut self, name: &OsStr) -> io::Result<()> {
        if self.terminal {
            self.writer.write_all(harmless(name).as_bytes())
        } else {
            self.writer.write_all(name.as_bytes())
        }
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Prints one line to standard output for people. That nobody reads it changes nothing about what
/// was done, which the exit code tells.
pub(crate) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// As [`say`], to standard error.
pub(crate) fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A name with control characters and bytes that are not UTF-8 written as `\x..`.
pub(crate) fn harmless(name: &OsStr) -> Cow<'_, str> {
    if let Some(text) = name.to_str()
        && !text.chars().any(char::is_control)
    {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() {
                let mut bytes = [0; 4];
                escape(&mut shown, letter.encode_utf8(&mut bytes).as_bytes());
            } else {
                shown.push(letter);
            }
        }
        escape(&mut shown, chunk.invalid());
    }
    Cow::Owned(shown)
}

fn escape(shown: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(shown, "\\x{byte:02x}");
    }
}

/// Whether standard error is a terminal that wants colours (<https://no-color.org>).
pub(crate) fn wants_colour() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(harmless(OsStr::new("naïve name")), "naïve name");
        assert_eq!(harmless(OsStr::new("a\u{1b}[2Jb\n")), "a\\x1b[2Jb\\x0a");
        assert_eq!(harmless(OsStr::from_bytes(b"a\xffb")), "a\\xffb");
    }
}
