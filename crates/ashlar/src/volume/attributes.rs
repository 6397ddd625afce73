//! Attributes of files by path.

use std::path::Path;
use std::time::SystemTime;

use ashlar_core::{AtomicClose, FileKind, InodeFlags, SetAttr, SetTime};

use super::Volume;
use crate::error::{Cause, Result, errno};
use crate::metadata::{Metadata, timestamp};
use crate::walk::Follow;

/// Access and modification times to set; what is not given stays as it is.
///
/// ```
/// use std::time::SystemTime;
/// # let volume = ashlar::Volume::in_memory(64 << 20)?;
/// # volume.write("file", "")?;
/// let times = ashlar::FileTimes::new().modified(SystemTime::UNIX_EPOCH);
/// volume.set_times("file", times)?;
/// assert_eq!(volume.metadata("file")?.modified(), SystemTime::UNIX_EPOCH);
/// # Ok::<(), ashlar::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct FileTimes {
    accessed: Option<SystemTime>,
    modified: Option<SystemTime>,
}

impl FileTimes {
    /// Nothing is changed yet.
    pub fn new() -> FileTimes {
        FileTimes::default()
    }

    /// Sets the time of the last access.
    pub fn accessed(mut self, time: SystemTime) -> FileTimes {
        self.accessed = Some(time);
        self
    }

    /// Sets the time of the last change of the content.
    pub fn modified(mut self, time: SystemTime) -> FileTimes {
        self.modified = Some(time);
        self
    }

    pub(crate) fn as_change(self) -> SetAttr {
        let at = |time: SystemTime| SetTime::At(timestamp(time));
        SetAttr { atime: self.accessed.map(at), mtime: self.modified.map(at), ..SetAttr::default() }
    }
}

/// A file that is not made of bytes, for [`Volume::create_special`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpecialFile {
    /// A named pipe.
    Fifo,
    /// The place of a Unix socket.
    Socket,
    /// A character device.
    CharDevice {
        /// Major number, at most 12 bits.
        major: u32,
        /// Minor number, at most 20 bits.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number, at most 12 bits.
        major: u32,
        /// Minor number, at most 20 bits.
        minor: u32,
    },
}

impl SpecialFile {
    pub(super) fn kind_and_number(self) -> (FileKind, u64) {
        match self {
            SpecialFile::Fifo => (FileKind::Fifo, 0),
            SpecialFile::Socket => (FileKind::Socket, 0),
            SpecialFile::CharDevice { major, minor } => {
                (FileKind::CharDevice, device_number(major, minor))
            }
            SpecialFile::BlockDevice { major, minor } => {
                (FileKind::BlockDevice, device_number(major, minor))
            }
        }
    }
}

/// The kernel's 32-bit encoding: minor 7..0, major 11..0, minor 19..8.
fn device_number(major: u32, minor: u32) -> u64 {
    u64::from((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12))
}

impl Volume {
    /// Attributes of a file or directory; symbolic links are followed.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ELOOP`, `ENAMETOOLONG` from the path; `EIO`, `EUCLEAN`.
    #[doc(alias = "stat")]
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        self.examine(path.as_ref(), Follow::Yes)
    }

    /// As [`metadata`](Volume::metadata), of a symbolic link itself.
    ///
    /// # Errors
    /// As [`metadata`](Volume::metadata).
    #[doc(alias = "lstat")]
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        self.examine(path.as_ref(), Follow::No)
    }

    /// Whether a path leads to something; symbolic links are followed.
    ///
    /// # Errors
    /// Whatever keeps this from being known: `ENOTDIR`, `ELOOP`, `ENAMETOOLONG`, `EIO`, `EUCLEAN`.
    pub fn exists(&self, path: impl AsRef<Path>) -> Result<bool> {
        let path = path.as_ref();
        match self.find(path, Follow::Yes) {
            Ok(_) => Ok(true),
            Err(cause) if cause.errno() == errno::ENOENT => Ok(false),
            Err(cause) => Err(Cause::at("examine", path)(cause)),
        }
    }

    /// Sets permission, set-id and sticky bits: the low twelve bits of `mode`.
    ///
    /// # Errors
    /// As [`metadata`](Volume::metadata); `EPERM` if immutable or append-only; `EROFS`, `ENOSPC`.
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    #[doc(alias = "chmod")]
    pub fn set_permissions(&self, path: impl AsRef<Path>, mode: u16) -> Result<()> {
        let change = SetAttr { mode: Some(u32::from(mode & 0o7777)), ..SetAttr::default() };
        self.change(path.as_ref(), Follow::Yes, &change, "change the mode of")
    }

    /// Sets user and group; `None` leaves one as it is. Set-id bits of a file are cleared.
    ///
    /// # Errors
    /// As [`set_permissions`](Volume::set_permissions).
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    #[doc(alias = "chown")]
    pub fn set_owner(
        &self,
        path: impl AsRef<Path>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        let change = owner(uid, gid);
        self.change(path.as_ref(), Follow::Yes, &change, "change the owner of")
    }

    /// As [`set_owner`](Volume::set_owner), of a symbolic link itself.
    ///
    /// # Errors
    /// As [`set_permissions`](Volume::set_permissions).
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    #[doc(alias = "lchown")]
    pub fn set_owner_nofollow(
        &self,
        path: impl AsRef<Path>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        let change = owner(uid, gid);
        self.change(path.as_ref(), Follow::No, &change, "change the owner of")
    }

    /// Sets access and modification times.
    ///
    /// # Errors
    /// As [`set_permissions`](Volume::set_permissions).
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    #[doc(alias = "utimensat")]
    pub fn set_times(&self, path: impl AsRef<Path>, times: FileTimes) -> Result<()> {
        self.change(path.as_ref(), Follow::Yes, &times.as_change(), "change the times of")
    }

    /// As [`set_times`](Volume::set_times), of a symbolic link itself.
    ///
    /// # Errors
    /// As [`set_permissions`](Volume::set_permissions).
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    #[doc(alias = "lutimes")]
    pub fn set_times_nofollow(&self, path: impl AsRef<Path>, times: FileTimes) -> Result<()> {
        self.change(path.as_ref(), Follow::No, &times.as_change(), "change the times of")
    }

    fn examine(&self, path: &Path, follow: Follow) -> Result<Metadata> {
        self.find(path, follow).map(Metadata::new).map_err(Cause::at("examine", path))
    }

    /// Whether a file is atomic for everybody who opens it for writing, and what its last close does
    /// with changes that were not committed; of a directory, what new files in it will be.
    ///
    /// # Errors
    /// As [`metadata`](Volume::metadata).
    pub fn atomic(&self, path: impl AsRef<Path>) -> Result<Option<AtomicClose>> {
        let path = path.as_ref();
        let attr = self.find(path, Follow::Yes).map_err(Cause::at("examine", path))?;
        Ok(match attr.flags {
            flags if !flags.contains(InodeFlags::ATOMIC) => None,
            flags if flags.contains(InodeFlags::ATOMIC_COMMIT_ON_CLOSE) => {
                Some(AtomicClose::Commit)
            }
            _ => Some(AtomicClose::Discard),
        })
    }

    /// Makes a file atomic for everybody who opens it for writing from now on, as
    /// [`OpenOptions::atomic`](crate::OpenOptions::atomic) does for one handle; `None`: no more so.
    /// New files and directories inherit it from their directory.
    ///
    /// # Errors
    /// As [`metadata`](Volume::metadata); `EOPNOTSUPP` for what is neither a regular file nor a
    /// directory; `EROFS`, `ENOSPC`.
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    pub fn set_atomic(&self, path: impl AsRef<Path>, close: Option<AtomicClose>) -> Result<()> {
        let path = path.as_ref();
        let all = InodeFlags::ATOMIC | InodeFlags::ATOMIC_COMMIT_ON_CLOSE;
        let wanted = match close {
            None => InodeFlags::empty(),
            Some(AtomicClose::Discard) => InodeFlags::ATOMIC,
            Some(AtomicClose::Commit) => all,
        };
        let apply = || -> Result<(), Cause> {
            let attr = self.find(path, Follow::Yes)?;
            self.core.set_flags(&self.caller, attr.ino, (attr.flags - all) | wanted)?;
            Ok(())
        };
        apply().map_err(Cause::at("make atomic", path))
    }

    fn change(
        &self,
        path: &Path,
        follow: Follow,
        change: &SetAttr,
        action: &'static str,
    ) -> Result<()> {
        let apply = || -> Result<(), Cause> {
            let attr = self.find(path, follow)?;
            self.core.setattr(&self.caller, attr.ino, change)?;
            Ok(())
        };
        apply().map_err(Cause::at(action, path))
    }
}

fn owner(uid: Option<u32>, gid: Option<u32>) -> SetAttr {
    SetAttr { uid, gid, ..SetAttr::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_files_are_as_atomic_as_their_directory() {
        let volume = Volume::in_memory(64 << 20).unwrap();
        volume.create_dir("safe").unwrap();
        volume.set_atomic("safe", Some(AtomicClose::Commit)).unwrap();
        volume.write("safe/file", "old").unwrap();
        assert_eq!(volume.atomic("safe/file").unwrap(), Some(AtomicClose::Commit));
        volume.set_atomic("safe/file", None).unwrap();
        assert_eq!(volume.atomic("safe/file").unwrap(), None);
        volume.symlink("x", "safe/link").unwrap();
        assert_eq!(volume.atomic("safe").unwrap(), Some(AtomicClose::Commit));
    }

    #[test]
    fn device_numbers_are_encoded_as_the_kernel_does() {
        assert_eq!(device_number(1, 3), 0x103);
        assert_eq!(device_number(0xfff, 0xfffff), 0xffff_ffff);
        assert_eq!(device_number(8, 0x123), 0x0010_0823);
    }
}
