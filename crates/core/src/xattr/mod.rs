//! Extended attributes: values cut into pieces in the xattrs tree.
//!
//! ```text
//!   (ino, "user.big", 0) → 4096 bytes     pieces are full but for the last; a value whose length
//!   (ino, "user.big", 1) → 4096 bytes     is a multiple of 4096 ends where the next piece is
//!   (ino, "user.big", 2) →  100 bytes     missing; an empty value has one empty piece
//! ```
//! Which names exist: `user.` on files and directories, `trusted.` and `security.` on everything (who
//! may is checked above this crate), and the two ACLs, which `acl.rs` keeps together with the mode.
//!
//! Locking: changes hold the inode lock exclusively, reads of values in several pieces shared.

pub(crate) mod acl;

use crate::error::{ErrorKind, Result};
use crate::inode::{Inode, Known, State};
use crate::types::{Caller, FileKind, Ino, InodeFlags, XattrMode};
use crate::volume::Volume;
use ashlar_format::key::{self, TreeId};
use ashlar_format::limits::{XATTR_NAME_BYTES_MAX, XATTR_PIECE_BYTES, XATTR_VALUE_BYTES_MAX};
use ashlar_store::Txn;
use std::ops::ControlFlow;

pub(crate) use acl::Inherited;
use acl::{ACCESS, DEFAULT};

/// What a name's prefix says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    User,
    Trusted,
    Security,
    Acl,
}

/// # Errors
/// [`ErrorKind::AttributeName`], [`ErrorKind::Unsupported`], [`ErrorKind::Invalid`].
fn classify(name: &[u8]) -> Result<Class> {
    if name.is_empty() || name.len() > XATTR_NAME_BYTES_MAX {
        return Err(ErrorKind::AttributeName.into());
    }
    if name == ACCESS || name == DEFAULT {
        return Ok(Class::Acl);
    }
    let prefixes: [(&[u8], Class); 3] =
        [(b"user.", Class::User), (b"trusted.", Class::Trusted), (b"security.", Class::Security)];
    for (prefix, class) in prefixes {
        if let Some(rest) = name.strip_prefix(prefix) {
            let fine = !rest.is_empty() && !rest.contains(&0);
            return if fine { Ok(class) } else { Err(ErrorKind::Invalid.into()) };
        }
    }
    Err(ErrorKind::Unsupported.into())
}

impl Volume {
    /// Value of an extended attribute.
    ///
    /// # Errors
    /// `NoAttribute` (ENODATA), `Unsupported` (EOPNOTSUPP) for an unknown prefix, `AttributeName`
    /// (ERANGE), `Invalid`, `Stale`, `Shutdown`, `Corrupt`, `Io`.
    pub fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        self.get_value(ino, name).map_err(|error| error.in_op("getxattr").at(ino))
    }

    fn get_value(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        self.check_open()?;
        classify(name)?;
        // One look is enough for most values, and for most that are not there.
        match self.get_piece(ino, name, 0)? {
            Some(value) if value.len() < XATTR_PIECE_BYTES => return Ok(value),
            Some(_) => {}
            None => {
                self.getattr(ino)?;
                return Err(ErrorKind::NoAttribute.into());
            }
        }
        let inode = self.inode(ino)?;
        let _lock = inode.lock.read();
        self.read_value(ino, name)?.ok_or_else(|| ErrorKind::NoAttribute.into())
    }

    fn get_piece(&self, ino: Ino, name: &[u8], piece: u16) -> Result<Option<Vec<u8>>> {
        Ok(self.store.get(TreeId::Xattrs, &key::xattr(ino.0, name, piece))?)
    }

    /// All pieces of a value. Inode lock held.
    fn read_value(&self, ino: Ino, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(mut value) = self.get_piece(ino, name, 0)? else { return Ok(None) };
        let mut piece = 1;
        while value.len() == usize::from(piece) * XATTR_PIECE_BYTES
            && value.len() < XATTR_VALUE_BYTES_MAX
        {
            let Some(more) = self.get_piece(ino, name, piece)? else { break };
            value.extend_from_slice(&more);
            piece += 1;
        }
        Ok(Some(value))
    }

    /// Sets an extended attribute. Setting an ACL changes the mode, and an ACL that says no more
    /// than the mode is not kept.
    ///
    /// # Errors
    /// `Exists` (EEXIST) and `NoAttribute` (ENODATA) by `mode`; `ValueTooLong` (E2BIG) above 64 KiB;
    /// `NotPermitted` (EPERM) for `user.` on what is neither file nor directory, and for immutable or
    /// append-only files; `AccessDenied` (EACCES) for a default ACL on what is no directory;
    /// `Invalid` (EINVAL) for a bad ACL; `Unsupported`, `AttributeName`, `NoSpace`, `ReadOnly`,
    /// `Stale`, `Shutdown`, `Corrupt`, `Io`.
    pub fn setxattr(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        self.set_value(caller, ino, name, Some(value), mode)
            .map_err(|error| error.in_op("setxattr").at(ino))
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `NoAttribute` (ENODATA), but not for an ACL; otherwise as [`Volume::setxattr`].
    pub fn removexattr(&self, caller: &Caller, ino: Ino, name: &[u8]) -> Result<()> {
        self.set_value(caller, ino, name, None, XattrMode::Replace)
            .map_err(|error| error.in_op("removexattr").at(ino))
    }

    fn set_value(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &[u8],
        value: Option<&[u8]>,
        mode: XattrMode,
    ) -> Result<()> {
        self.check_writable()?;
        let class = classify(name)?;
        if value.is_some_and(|value| value.len() > XATTR_VALUE_BYTES_MAX) {
            return Err(ErrorKind::ValueTooLong.into());
        }
        let inode = self.inode(ino)?;
        let _lock = inode.lock.write();
        if value.is_some() {
            self.store.check_room_for_names()?;
        }
        let mut state = inode.state()?;
        check_allowed(&inode, &state, class)?;
        let mut txn = self.store.begin();
        if class == Class::Acl {
            self.set_acl(&mut txn, caller, &inode, &mut state, (name, value))?;
        } else {
            let old = self.read_value(ino, name)?;
            match (mode, &old) {
                (XattrMode::Create, Some(_)) => return Err(ErrorKind::Exists.into()),
                (XattrMode::Replace, None) => return Err(ErrorKind::NoAttribute.into()),
                _ => {}
            }
            put_value(&mut txn, ino, name, old.as_deref(), value);
        }
        if value.is_some() {
            state.xattrs = Known::Some;
        }
        state.record.ctime = self.now();
        state.log(ino, &mut txn);
        self.commit(txn, &[&inode])?;
        drop(state);
        self.sync_names(&[&inode])
    }

    /// Names of all extended attributes, each with a zero byte behind it.
    ///
    /// # Errors
    /// `Stale`, `Shutdown`, `Corrupt`, `Io`.
    pub fn listxattr(&self, ino: Ino) -> Result<Vec<u8>> {
        let list = || {
            self.check_open()?;
            self.getattr(ino)?;
            let prefix = ino.0.to_be_bytes();
            let mut names = Vec::new();
            let mut broken = None;
            self.store.scan(TreeId::Xattrs, &prefix, &mut |key, _| {
                match key::decode_xattr(key) {
                    Ok((owner, _, _)) if owner != ino.0 => return ControlFlow::Break(()),
                    Ok((_, name, 0)) => {
                        names.extend_from_slice(name);
                        names.push(0);
                    }
                    Ok(_) => {}
                    Err(corruption) => {
                        broken = Some(corruption);
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            })?;
            broken.map_or(Ok(names), |corruption| Err(corruption.into()))
        };
        list().map_err(|error: crate::Error| error.in_op("listxattr").at(ino))
    }
}

/// Whether attributes of this class may be changed on this inode. State locked.
fn check_allowed(inode: &Inode, state: &State, class: Class) -> Result<()> {
    if state.record.flags.intersects(InodeFlags::IMMUTABLE | InodeFlags::APPEND) {
        return Err(Volume::not_permitted(inode.ino));
    }
    let has_content = matches!(inode.kind, FileKind::Regular | FileKind::Directory);
    match class {
        Class::User if !has_content => Err(Volume::not_permitted(inode.ino)),
        Class::Acl if inode.kind == FileKind::Symlink => Err(ErrorKind::Unsupported.into()),
        _ => Ok(()),
    }
}

/// Replaces a value, piece by piece.
fn put_value(txn: &mut Txn<'_>, ino: Ino, name: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) {
    // At most 16 pieces.
    let pieces = |value: &[u8]| value.len().div_ceil(XATTR_PIECE_BYTES).max(1) as u16;
    let kept = new.map_or(0, pieces);
    if let Some(value) = new {
        for piece in 0..kept {
            let start = usize::from(piece) * XATTR_PIECE_BYTES;
            let end = (start + XATTR_PIECE_BYTES).min(value.len());
            txn.put(TreeId::Xattrs, &key::xattr(ino.0, name, piece), &value[start..end]);
        }
    }
    for piece in kept..old.map_or(0, pieces) {
        txn.delete(TreeId::Xattrs, &key::xattr(ino.0, name, piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_into_classes() {
        let kind = |name: &[u8]| classify(name).map_err(|error| error.kind);
        assert_eq!(kind(b"user.a"), Ok(Class::User));
        assert_eq!(kind(b"security.capability"), Ok(Class::Security));
        assert_eq!(kind(b"system.posix_acl_default"), Ok(Class::Acl));
        assert_eq!(kind(b"system.other"), Err(ErrorKind::Unsupported));
        assert_eq!(kind(b"user."), Err(ErrorKind::Invalid));
        assert_eq!(kind(b""), Err(ErrorKind::AttributeName));
        assert_eq!(kind(&[b'a'; 256]), Err(ErrorKind::AttributeName));
    }
}
