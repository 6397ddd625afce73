//! Names: making, linking, renaming and removing them.
//!
//! What a last component of `.`, `..` or `/` means for each call, and what a trailing slash does,
//! is decided here, as in the kernel above any file system; the rest is the volume's.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use ashlar_core::{Attr, FileKind, Ino, NewInode, RenameFlags};

use super::Volume;
use super::attributes::SpecialFile;
use crate::dir::ReadDir;
use crate::error::{Cause, Result, errno};
use crate::walk::{self, Follow, Last, PATH_BYTES_MAX};

impl Volume {
    /// Makes an empty directory.
    ///
    /// # Errors
    /// `EEXIST`; `ENOENT` if its parent is missing; `ENOTDIR`, `ELOOP`, `ENAMETOOLONG` from the
    /// path; `ENOSPC`, `EROFS`, `EIO`.
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    #[doc(alias = "mkdir")]
    pub fn create_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.make_dir(path).map_err(Cause::at("create the directory", path))
    }

    /// Makes a directory and all that are missing on the way; succeeds if it is there already.
    ///
    /// # Errors
    /// As [`create_dir`](Volume::create_dir); `EEXIST` if the name belongs to something else.
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    pub fn create_dir_all(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.make_dir_all(path).map_err(Cause::at("create the directory", path))
    }

    /// The entries of a directory, without `.` and `..`, in no particular order.
    ///
    /// An entry that is there from the first call to the last is returned exactly once; one that
    /// comes or goes meanwhile, at most once.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ELOOP`, `ENAMETOOLONG` from the path. Each step of the iterator may
    /// give `EIO` or `EUCLEAN`.
    ///
    /// ```
    /// # let volume = ashlar::Volume::in_memory(64 << 20)?;
    /// volume.create_dir_all("a/b")?;
    /// volume.write("a/c", "text")?;
    /// let mut names = Vec::new();
    /// for entry in volume.read_dir("a")? {
    ///     names.push(entry?.file_name().to_owned());
    /// }
    /// names.sort();
    /// assert_eq!(names, ["b", "c"]);
    /// # Ok::<(), ashlar::Error>(())
    /// ```
    #[doc(alias = "readdir")]
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<ReadDir> {
        let path = path.as_ref();
        let attr = self.find(path, Follow::Yes).and_then(|attr| match attr.kind {
            FileKind::Directory => Ok(attr),
            _ => Err(errno::ENOTDIR.into()),
        });
        let attr = attr.map_err(Cause::at("read the directory", path))?;
        Ok(ReadDir::new(&self.core, attr.ino, path))
    }

    /// Removes a name that is not a directory's. The file itself lives until its last name is
    /// gone and nobody has it open.
    ///
    /// # Errors
    /// `EISDIR` for a directory; `ENOENT`, `ENOTDIR`, `ELOOP`, `ENAMETOOLONG` from the path;
    /// `EPERM` if it is immutable or append-only; `EROFS`, `EIO`. Never `ENOSPC`.
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    #[doc(alias = "unlink")]
    pub fn remove_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.unlink(path).map_err(Cause::at("remove", path))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOTEMPTY`; `ENOTDIR` if it is none; `EINVAL` for a path that ends in `.`; `EBUSY` for the
    /// root; else as [`remove_file`](Volume::remove_file).
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    #[doc(alias = "rmdir")]
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let remove = || -> Result<(), Cause> {
            let place = walk::place(&self.core, path)?;
            match place.last {
                Last::Name(name) => Ok(self.core.rmdir(place.dir, &name)?),
                Last::Dot => Err(errno::EINVAL.into()),
                Last::DotDot => Err(errno::ENOTEMPTY.into()),
                Last::Root => Err(errno::EBUSY.into()),
            }
        };
        remove().map_err(Cause::at("remove the directory", path))
    }

    /// Renames a file or directory, replacing a file, or an empty directory, at the new name.
    ///
    /// # Errors
    /// As [`rename_with`](Volume::rename_with).
    ///
    /// # Durability
    /// All or nothing: at any time, and after a crash, the new name is what it was before or what
    /// it is after. Durable after the next [`sync`](Volume::sync).
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        self.rename_with(from, to, RenameFlags::empty())
    }

    /// Renames with a choice: [`RenameFlags::NOREPLACE`] fails if the new name is taken,
    /// [`RenameFlags::EXCHANGE`] swaps two names that both exist.
    ///
    /// # Errors
    /// `ENOENT` if `from` is missing (or `to`, for an exchange); `EEXIST` with `NOREPLACE`;
    /// `ENOTDIR` or `EISDIR` if one is a directory and the other is not; `ENOTEMPTY`; `EINVAL` for
    /// a directory moved into itself, or flags that exclude each other; `EBUSY` for `.`, `..` or
    /// the root; `EPERM` if immutable or append-only; `ENAMETOOLONG`, `ELOOP`, `ENOSPC`, `EROFS`,
    /// `EIO`.
    ///
    /// # Durability
    /// As [`rename`](Volume::rename); an exchange is one step too.
    #[doc(alias = "renameat2")]
    pub fn rename_with(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        flags: RenameFlags,
    ) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.rename_at(from, to, flags).map_err(Cause::at("rename", from))
    }

    /// Gives a file one more name. A symbolic link gets the name itself, not what it points to.
    ///
    /// # Errors
    /// `EEXIST`; `EPERM` for a directory or an immutable file; `EMLINK`; `ENOENT`, `ENOTDIR`,
    /// `ELOOP`, `ENAMETOOLONG` from the paths; `ENOSPC`, `EROFS`, `EIO`.
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    #[doc(alias = "link")]
    pub fn hard_link(&self, original: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
        let (original, link) = (original.as_ref(), link.as_ref());
        let make = || -> Result<(), Cause> {
            walk::check_bytes(link)?;
            let attr = self.find(original, Follow::No)?;
            let (dir, name) = self.free_name(link, Slash::Forbidden)?;
            if attr.kind == FileKind::Directory {
                // That the name is taken comes first.
                return Err(match self.core.lookup(dir, &name) {
                    Ok(_) => errno::EEXIST.into(),
                    Err(error) if error.errno() == libc::ENOENT => {
                        Cause::Rule(errno::EPERM, "a directory has one name only")
                    }
                    Err(error) => error.into(),
                });
            }
            self.core.link(attr.ino, dir, &name)?;
            Ok(())
        };
        make().map_err(Cause::at("create the link", link))
    }

    /// Makes a symbolic link at `link` that holds `target`, which need not exist.
    ///
    /// # Errors
    /// `EEXIST`; `ENOENT` for an empty target; `ENAMETOOLONG` for one above 4095 bytes; `ENOENT`,
    /// `ENOTDIR`, `ELOOP`, `ENAMETOOLONG` from the path; `ENOSPC`, `EROFS`, `EIO`.
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    pub fn symlink(&self, target: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
        let (target, link) = (target.as_ref().as_os_str().as_encoded_bytes(), link.as_ref());
        let make = || -> Result<(), Cause> {
            walk::check_bytes(link)?;
            check_target(target)?;
            let (dir, name) = self.free_name(link, Slash::Forbidden)?;
            let new =
                NewInode { kind: FileKind::Symlink, mode: 0o777, rdev: 0, symlink_target: target };
            self.core.create(&self.caller, dir, &name, &new)?;
            Ok(())
        };
        make().map_err(Cause::at("create the link", link))
    }

    /// What a symbolic link holds.
    ///
    /// # Errors
    /// `EINVAL` if it is none; `ENOENT`, `ENOTDIR`, `ELOOP`, `ENAMETOOLONG` from the path; `EIO`.
    #[doc(alias = "readlink")]
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let read = || -> Result<Vec<u8>, Cause> {
            let attr = self.find(path, Follow::No)?;
            if attr.kind != FileKind::Symlink {
                return Err(Cause::Rule(errno::EINVAL, "it is no symbolic link"));
            }
            Ok(self.core.readlink(attr.ino)?)
        };
        let target = read().map_err(Cause::at("read the link", path))?;
        Ok(PathBuf::from(OsString::from_vec(target)))
    }

    /// Makes a pipe, socket or device file with the permission bits `mode`, less the umask. It is
    /// of use where the volume is mounted; this crate cannot open it.
    ///
    /// # Errors
    /// As [`create_dir`](Volume::create_dir).
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    #[doc(alias = "mknod")]
    pub fn create_special(
        &self,
        path: impl AsRef<Path>,
        special: SpecialFile,
        mode: u16,
    ) -> Result<()> {
        let path = path.as_ref();
        let make = || -> Result<(), Cause> {
            let (dir, name) = self.free_name(path, Slash::Forbidden)?;
            let (kind, rdev) = special.kind_and_number();
            let mode = u32::from(mode & 0o7777);
            let new = NewInode { kind, mode, rdev, symlink_target: &[] };
            self.core.create(&self.caller, dir, &name, &new)?;
            Ok(())
        };
        make().map_err(Cause::at("create", path))
    }

    pub(super) fn find(&self, path: &Path, follow: Follow) -> Result<Attr, Cause> {
        walk::find(&self.core, path, follow)
    }

    /// Where something new is going to be. That a name is taken is the volume's to find out,
    /// unless there is none that could be free.
    fn free_name<'p>(&self, path: &'p Path, slash: Slash) -> Result<(Ino, Cow<'p, [u8]>), Cause> {
        let place = walk::place(&self.core, path)?;
        let Last::Name(name) = place.last else { return Err(errno::EEXIST.into()) };
        if place.slash && slash == Slash::Forbidden {
            // Only a directory could be made with this name: say whether it is taken.
            self.core.lookup(place.dir, &name)?;
            return Err(errno::EEXIST.into());
        }
        Ok((place.dir, name))
    }

    fn make_dir(&self, path: &Path) -> Result<(), Cause> {
        let (dir, name) = self.free_name(path, Slash::Allowed)?;
        let new = NewInode { kind: FileKind::Directory, mode: 0o777, rdev: 0, symlink_target: &[] };
        self.core.create(&self.caller, dir, &name, &new)?;
        Ok(())
    }

    fn make_dir_all(&self, path: &Path) -> Result<(), Cause> {
        // Upwards until something exists, then down again.
        let mut missing = Vec::new();
        for ancestor in path.ancestors().filter(|path| !path.as_os_str().is_empty()) {
            match self.make_dir(ancestor) {
                Ok(()) => break,
                Err(cause) if cause.errno() == errno::ENOENT => missing.push(ancestor),
                Err(cause) => {
                    self.settle_for_existing(ancestor, cause)?;
                    break;
                }
            }
        }
        for path in missing.into_iter().rev() {
            self.make_dir(path).or_else(|cause| self.settle_for_existing(path, cause))?;
        }
        Ok(())
    }

    /// Creating failed with `cause`; a directory that is there is as good.
    fn settle_for_existing(&self, path: &Path, cause: Cause) -> Result<(), Cause> {
        match self.find(path, Follow::Yes) {
            Ok(attr) if attr.kind == FileKind::Directory => Ok(()),
            _ => Err(cause),
        }
    }

    fn unlink(&self, path: &Path) -> Result<(), Cause> {
        let place = walk::place(&self.core, path)?;
        let Last::Name(name) = place.last else { return Err(errno::EISDIR.into()) };
        if place.slash {
            return Err(match self.core.lookup(place.dir, &name)?.kind {
                FileKind::Directory => errno::EISDIR.into(),
                _ => errno::ENOTDIR.into(),
            });
        }
        Ok(self.core.unlink(place.dir, &name)?)
    }

    fn rename_at(&self, from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Cause> {
        let exclusive = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
        if flags.contains(exclusive) {
            return Err(Cause::Rule(errno::EINVAL, "NOREPLACE and EXCHANGE exclude each other"));
        }
        walk::check_bytes(to)?;
        let source = walk::place(&self.core, from)?;
        let target = walk::place(&self.core, to)?;
        let Last::Name(name) = source.last else { return Err(errno::EBUSY.into()) };
        let Last::Name(new_name) = target.last else {
            let taken = flags.contains(RenameFlags::NOREPLACE);
            return Err(if taken { errno::EEXIST } else { errno::EBUSY }.into());
        };
        if source.slash || target.slash {
            let attr = self.core.lookup(source.dir, &name)?;
            let found = match self.core.lookup(target.dir, &new_name) {
                Err(error) if error.errno() == libc::ENOENT => None,
                found => Some(found?.kind),
            };
            let slashes = (source.slash, target.slash);
            check_slashes(attr.kind, found, slashes, flags)?;
        }
        let renamed =
            self.core.rename(&self.caller, source.dir, &name, target.dir, &new_name, flags);
        renamed.map_err(|error| match self.core.lookup(source.dir, &name) {
            // What is wrong with the old name comes first.
            Err(first) if error.errno() == libc::ENAMETOOLONG => first.into(),
            _ => error.into(),
        })
    }
}

/// Whether a name may be followed by a slash.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Slash {
    Allowed,
    Forbidden,
}

/// Only a directory may have a slash behind its name, before or after it is renamed.
fn check_slashes(
    source: FileKind,
    target: Option<FileKind>,
    (source_slash, target_slash): (bool, bool),
    flags: RenameFlags,
) -> Result<(), Cause> {
    let exchange = flags.contains(RenameFlags::EXCHANGE);
    if flags.contains(RenameFlags::NOREPLACE) && target.is_some() {
        return Err(errno::EEXIST.into());
    }
    if exchange {
        let target = target.ok_or(errno::ENOENT)?;
        if target != FileKind::Directory && target_slash {
            return Err(errno::ENOTDIR.into());
        }
    }
    if source != FileKind::Directory && (source_slash || (target_slash && !exchange)) {
        return Err(errno::ENOTDIR.into());
    }
    Ok(())
}

fn check_target(target: &[u8]) -> Result<(), Cause> {
    if target.is_empty() {
        return Err(Cause::Rule(errno::ENOENT, "the target is empty"));
    }
    if target.len() > PATH_BYTES_MAX {
        return Err(Cause::Rule(errno::ENAMETOOLONG, "the target is longer than 4095 bytes"));
    }
    if target.contains(&0) {
        return Err(Cause::Rule(errno::EINVAL, "the target contains a zero byte"));
    }
    Ok(())
}
