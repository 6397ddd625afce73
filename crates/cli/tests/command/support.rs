//! Runs the program and looks at what it did.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory in which the program runs.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

/// What the program did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Panics unless the program succeeded; returns what it printed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout
    }

    /// Panics unless the program ended with `code` and complained about all of `words`.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self.stderr
    }
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap() }
    }

    /// A place with a volume of 64 MiB in `disk.img`.
    pub(crate) fn with_volume() -> Place {
        let place = Place::new();
        place.ashlar(["mkfs", "--size", "64M", "disk.img"]).ok();
        place
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a file on this machine.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn ashlar<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Ran {
        self.command(program()).args(arguments).output().unwrap().into()
    }

    /// Runs the program under another name.
    pub(crate) fn ashlar_as<I: IntoIterator<Item: AsRef<OsStr>>>(
        &self,
        name: &str,
        arguments: I,
    ) -> Ran {
        let link = self.path(name);
        if !link.exists() {
            std::os::unix::fs::symlink(program(), &link).unwrap();
        }
        self.command(link).args(arguments).output().unwrap().into()
    }

    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.directory).env_remove("ASHLAR_LOG").env("LC_ALL", "C");
        command
    }
}

pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_ashlar")
}
