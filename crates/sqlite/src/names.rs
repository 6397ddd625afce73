//! Where a database is: a path that goes through the image of a volume.
//!
//! ```text
//!   /srv/data/volume.img/shop/orders.db
//!   └──────┬───────────┘ └─────┬──────┘
//!   first that is no directory  inside the volume
//! ```
//! The volume is part of the path, not a parameter beside it: SQLite derives the names of journals
//! from the path, hands those to the VFS without parameters, and lets `ATTACH` inherit the VFS alone.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// A path, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// The image, the block device, or the name under which a program provides its volume; on the
    /// host, without symbolic links.
    pub(crate) volume: PathBuf,
    /// The file in it. Empty: the path ends on the host.
    pub(crate) inner: PathBuf,
}

impl Name {
    /// Takes a path apart that somebody wrote.
    ///
    /// # Errors
    /// What the host says about the current directory, or about a directory on the way.
    pub(crate) fn resolve(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let mut volume = PathBuf::new();
        let mut parts = path.components();
        for part in parts.by_ref() {
            volume.push(part);
            let is_directory = fs::metadata(&volume).is_ok_and(|found| found.is_dir());
            if !is_directory {
                break;
            }
        }
        let inner = normal(parts.as_path());
        Ok(Self { volume: canonical(&volume)?, inner })
    }

    /// Takes a path apart that [`full`](Self::full) made, given the volume's part if it is in it.
    pub(crate) fn below(volume: &Path, path: &Path) -> Option<Self> {
        let inner = path.strip_prefix(volume).ok()?;
        let inside = inner.components().next().is_some();
        inside.then(|| Self { volume: volume.to_owned(), inner: inner.to_owned() })
    }

    /// The whole path again.
    pub(crate) fn full(&self) -> PathBuf {
        self.volume.join(&self.inner)
    }

    /// Whether the path ends outside of any volume.
    pub(crate) fn is_on_host(&self) -> bool {
        self.inner.as_os_str().is_empty()
    }
}

/// Without `.` and `..`; `..` of the root is the root.
fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// Without symbolic links; the last component may be missing.
fn canonical(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = fs::canonicalize(path.parent().unwrap_or(Path::new("/")))?;
            Ok(directory.join(path.file_name().unwrap_or(OsStr::new(""))))
        }
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_no_directory_is_the_volume() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        fs::create_dir(folder.join("sub")).unwrap();
        fs::write(folder.join("sub/v.img"), "").unwrap();
        std::os::unix::fs::symlink(folder.join("sub/v.img"), folder.join("link")).unwrap();
        let volume = folder.join("sub/v.img");
        for path in ["sub/v.img/a/b.db", "link/a/./b.db", "sub/../link//a/x/../b.db"] {
            let name = Name::resolve(&folder.join(path)).unwrap();
            assert_eq!(name, Name { volume: volume.clone(), inner: "a/b.db".into() }, "{path}");
            assert_eq!(Name::below(&volume, &name.full()), Some(name));
        }
        let missing = Name::resolve(&folder.join("new.img/app.db")).unwrap();
        assert_eq!(missing, Name { volume: folder.join("new.img"), inner: "app.db".into() });
        assert!(Name::resolve(&folder.join("sub/v.img")).unwrap().is_on_host());
        assert!(Name::resolve(&folder.join("sub")).unwrap().is_on_host());
        assert_eq!(Name::below(&volume, &volume), None);
    }
}
