//! Extended attributes by path.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use ashlar_core::XattrMode;

use super::Volume;
use crate::error::{Cause, Result};
use crate::walk::Follow;

impl Volume {
    /// The value of an extended attribute; symbolic links are followed.
    ///
    /// # Errors
    /// `ENODATA` if there is none of this name; `EOPNOTSUPP` for a name that does not start with
    /// `user.`, `trusted.`, `security.` or name an ACL; `ENOENT`, `ENOTDIR`, `ELOOP`,
    /// `ENAMETOOLONG` from the path; `EIO`.
    ///
    /// ```
    /// # use ashlar::{Volume, XattrMode};
    /// # let volume = Volume::in_memory(64 << 20)?;
    /// # volume.write("photo.jpg", "")?;
    /// volume.set_xattr("photo.jpg", "user.place", b"Porto", XattrMode::Either)?;
    /// assert_eq!(volume.xattr("photo.jpg", "user.place")?, b"Porto");
    /// # Ok::<(), ashlar::Error>(())
    /// ```
    #[doc(alias = "getxattr")]
    pub fn xattr(&self, path: impl AsRef<Path>, name: impl AsRef<OsStr>) -> Result<Vec<u8>> {
        self.get_value(path.as_ref(), Follow::Yes, name.as_ref())
    }

    /// As [`xattr`](Volume::xattr), of a symbolic link itself.
    ///
    /// # Errors
    /// As [`xattr`](Volume::xattr).
    #[doc(alias = "lgetxattr")]
    pub fn xattr_nofollow(
        &self,
        path: impl AsRef<Path>,
        name: impl AsRef<OsStr>,
    ) -> Result<Vec<u8>> {
        self.get_value(path.as_ref(), Follow::No, name.as_ref())
    }

    /// Sets an extended attribute: at most 255 bytes of name and 64 KiB of value.
    ///
    /// # Errors
    /// `EEXIST` with [`XattrMode::Create`], `ENODATA` with [`XattrMode::Replace`]; `ERANGE` for a
    /// long name, `E2BIG` for a long value; `EPERM` if immutable or append-only; `ENOSPC`,
    /// `EROFS`; else as [`xattr`](Volume::xattr).
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync); all or nothing.
    #[doc(alias = "setxattr")]
    pub fn set_xattr(
        &self,
        path: impl AsRef<Path>,
        name: impl AsRef<OsStr>,
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        self.set_value(path.as_ref(), Follow::Yes, name.as_ref(), value, mode)
    }

    /// As [`set_xattr`](Volume::set_xattr), of a symbolic link itself.
    ///
    /// # Errors
    /// As [`set_xattr`](Volume::set_xattr); `EPERM` for names that start with `user.`.
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync); all or nothing.
    #[doc(alias = "lsetxattr")]
    pub fn set_xattr_nofollow(
        &self,
        path: impl AsRef<Path>,
        name: impl AsRef<OsStr>,
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        self.set_value(path.as_ref(), Follow::No, name.as_ref(), value, mode)
    }

    /// The names of all extended attributes.
    ///
    /// # Errors
    /// As [`metadata`](Volume::metadata).
    #[doc(alias = "listxattr")]
    pub fn list_xattrs(&self, path: impl AsRef<Path>) -> Result<Vec<OsString>> {
        self.list_names(path.as_ref(), Follow::Yes)
    }

    /// As [`list_xattrs`](Volume::list_xattrs), of a symbolic link itself.
    ///
    /// # Errors
    /// As [`metadata`](Volume::metadata).
    #[doc(alias = "llistxattr")]
    pub fn list_xattrs_nofollow(&self, path: impl AsRef<Path>) -> Result<Vec<OsString>> {
        self.list_names(path.as_ref(), Follow::No)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`; `EPERM` if immutable or append-only; `EROFS`; else as [`xattr`](Volume::xattr).
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    #[doc(alias = "removexattr")]
    pub fn remove_xattr(&self, path: impl AsRef<Path>, name: impl AsRef<OsStr>) -> Result<()> {
        let path = path.as_ref();
        let remove = || -> Result<(), Cause> {
            let attr = self.find(path, Follow::Yes)?;
            let name = name.as_ref().as_bytes();
            Ok(self.core.removexattr(&self.caller, attr.ino, name)?)
        };
        remove().map_err(Cause::at("remove an extended attribute of", path))
    }

    fn get_value(&self, path: &Path, follow: Follow, name: &OsStr) -> Result<Vec<u8>> {
        let get = || -> Result<Vec<u8>, Cause> {
            let attr = self.find(path, follow)?;
            Ok(self.core.getxattr(attr.ino, name.as_bytes())?)
        };
        get().map_err(Cause::at("read an extended attribute of", path))
    }

    fn set_value(
        &self,
        path: &Path,
        follow: Follow,
        name: &OsStr,
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        let set = || -> Result<(), Cause> {
            let attr = self.find(path, follow)?;
            Ok(self.core.setxattr(&self.caller, attr.ino, name.as_bytes(), value, mode)?)
        };
        set().map_err(Cause::at("set an extended attribute of", path))
    }

    fn list_names(&self, path: &Path, follow: Follow) -> Result<Vec<OsString>> {
        let list = || -> Result<Vec<u8>, Cause> {
            let attr = self.find(path, follow)?;
            Ok(self.core.listxattr(attr.ino)?)
        };
        let names = list().map_err(Cause::at("list extended attributes of", path))?;
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| OsString::from_vec(name.to_vec())).collect())
    }
}
