//! Copying trees between this machine and a volume.
//!
//! | file | idea |
//! |---|---|
//! | [`put`] | from the machine into a volume |
//! | [`get`] | out of a volume onto the machine |
//!
//! Both work like `cp -r`, or `cp -a` if attributes are to be kept: symbolic links are copied as
//! links, holes stay holes, special files are made anew. A file that fails is reported, and the
//! rest is copied all the same; the command fails in the end.

pub(crate) mod get;
pub(crate) mod put;

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::progress::Progress;

/// Bytes copied at a time.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;

/// Whether owners, modes, times, hard links and extended attributes are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Attributes {
    /// Content and permission bits only, as `cp -r`.
    Plain,
    /// All that can be kept, as `cp -a`.
    Archive,
}

/// What both directions keep while they copy.
pub(crate) struct Job {
    pub(crate) attributes: Attributes,
    pub(crate) umask: u16,
    pub(crate) progress: Progress,
    /// Files that could not be copied.
    pub(crate) failed: u64,
    pub(crate) buf: Vec<u8>,
}

impl Job {
    pub(crate) fn new(attributes: Attributes, umask: u16, progress: Progress) -> Job {
        Job { attributes, umask, progress, failed: 0, buf: vec![0; BUFFER_BYTES] }
    }

    pub(crate) fn archives(&self) -> bool {
        self.attributes == Attributes::Archive
    }

    /// The permission bits that a copy starts with.
    pub(crate) fn initial_mode(&self, mode: u16) -> u16 {
        mode & 0o777 & !self.umask
    }

    /// Reports what was not copied, and goes on.
    pub(crate) fn report(&mut self, failure: &Failure) {
        self.failed += 1;
        self.progress.say(&format!("ashlar: {failure}"));
    }

    /// Reports what was copied without some attribute.
    pub(crate) fn warn(&self, words: &str) {
        self.progress.say(&format!("ashlar: {words}"));
    }

    /// The end of the command.
    pub(crate) fn finish(self) -> Result<()> {
        self.progress.finish();
        match self.failed {
            0 => Ok(()),
            1 => Err(Failure::new("one file was not copied; see above")),
            count => Err(Failure::new(format!("{count} files were not copied; see above"))),
        }
    }
}

/// Where `source` goes, by the rules of cp: into a directory that exists, else under a new name.
///
/// # Errors
/// The source has no name (`/`, `..`) to be copied under.
pub(crate) fn target_of(source: &Path, target: &Path, target_is_dir: bool) -> Result<PathBuf> {
    if !target_is_dir {
        return Ok(target.to_owned());
    }
    // The content of `dir/.` and `/` goes into the target itself, as cp does it.
    let bytes = source.as_os_str().as_encoded_bytes();
    if bytes == b"/" || bytes == b"." || bytes.ends_with(b"/.") {
        return Ok(target.to_owned());
    }
    match source.file_name() {
        Some(name) => Ok(target.join(name)),
        None => Err(Failure::usage(format!("{} has no name to copy it under", source.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_follows_the_rules_of_cp() {
        let of = |source: &str, dir| target_of(Path::new(source), Path::new("t"), dir).unwrap();
        assert_eq!(of("a/b", true), Path::new("t/b"));
        assert_eq!(of("a/b/", true), Path::new("t/b"));
        assert_eq!(of("a/b", false), Path::new("t"));
        assert_eq!(of("a/.", true), Path::new("t"));
        assert_eq!(of("/", true), Path::new("t"));
        assert!(target_of(Path::new(".."), Path::new("t"), true).is_err());
    }
}
