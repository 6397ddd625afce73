//! Extended attributes.
//!
//! Which names exist and who may use them is core's to say (`user.`, `trusted.`, `security.`, the
//! two ACLs), and the kernel's before that. Setting the access ACL changes the mode in core; the
//! kernel forgets its copy of both and asks again.

use std::sync::atomic::Ordering;

use ashlar_core::{Caller, Ino, SetAttr, XattrMode};

use super::write::CAPABILITY;
use super::{Answer, Server, errno};
use crate::credentials::{Capability, has_capability};
use crate::wire::abi::{GetxattrOut, InHeader, SETXATTR_ACL_KILL_SGID};
use crate::wire::reply::{Errno, Reply};

impl Server {
    pub(super) fn setxattr(
        &self,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        flags: u32,
        ext_flags: u32,
    ) -> Answer {
        const BOTH: i32 = libc::XATTR_CREATE | libc::XATTR_REPLACE;
        let mode = match flags as i32 {
            0 => XattrMode::Either,
            libc::XATTR_CREATE => XattrMode::Create,
            libc::XATTR_REPLACE => XattrMode::Replace,
            BOTH => return self.refuse_both_modes(ino, name),
            _ => return Err(Errno::EINVAL),
        };
        self.volume
            .setxattr(&Caller::root(), ino, name, value, mode)
            .map_err(|error| errno(&error))?;
        if name == CAPABILITY {
            self.capability_epoch.fetch_add(1, Ordering::Release);
        }
        if ext_flags & SETXATTR_ACL_KILL_SGID != 0 {
            self.clear_set_gid(ino)?;
        }
        self.attributes_changed()
    }

    /// "It must not exist, and it must": one of the two is always wrong.
    fn refuse_both_modes(&self, ino: Ino, name: &[u8]) -> Answer {
        self.volume.getxattr(ino, name).map_err(|error| errno(&error))?;
        Err(Errno(libc::EEXIST))
    }

    /// The caller set an ACL but is not in the file's group.
    fn clear_set_gid(&self, ino: Ino) -> Result<(), Errno> {
        let attr = self.volume.getattr(ino).map_err(|error| errno(&error))?;
        let mode = u32::from(attr.mode);
        if mode & libc::S_ISGID == 0 {
            return Ok(());
        }
        let change = SetAttr { mode: Some(mode & !libc::S_ISGID), ..SetAttr::default() };
        self.volume.setattr(&Caller::root(), ino, &change).map_err(|error| errno(&error))?;
        Ok(())
    }

    pub(super) fn getxattr(&self, ino: Ino, name: &[u8], size: u32) -> Answer {
        sized(self.volume.getxattr(ino, name).map_err(|error| errno(&error))?, size)
    }

    /// Names in `trusted.` are shown to administrators only; the kernel leaves that to us.
    pub(super) fn listxattr(&self, header: &InHeader, size: u32) -> Answer {
        let mut list = self.volume.listxattr(Ino(header.nodeid)).map_err(|error| errno(&error))?;
        let names = || list.split_inclusive(|&byte| byte == 0);
        let is_trusted = |name: &[u8]| name.starts_with(b"trusted.");
        if names().any(is_trusted) && !has_capability(header.pid, header.uid, Capability::SysAdmin)
        {
            list = names().filter(|name| !is_trusted(name)).flatten().copied().collect();
        }
        sized(list, size)
    }

    pub(super) fn removexattr(&self, ino: Ino, name: &[u8]) -> Answer {
        self.volume.removexattr(&Caller::root(), ino, name).map_err(|error| errno(&error))?;
        self.attributes_changed()
    }

    fn attributes_changed(&self) -> Answer {
        if self.policy.sync_attributes {
            self.sync_volume()?;
        }
        Ok(Reply::Done)
    }
}

/// The bytes if they fit into `size`, or their number if that is what was asked for.
fn sized(bytes: Vec<u8>, size: u32) -> Answer {
    // A value has at most 64 KiB, a list of names not much more.
    let length = u32::try_from(bytes.len()).map_err(|_| Errno::ERANGE)?;
    if size == 0 {
        return Ok(Reply::XattrSize(GetxattrOut { size: length, padding: 0 }));
    }
    if length > size { Err(Errno::ERANGE) } else { Ok(Reply::Bytes(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_zero_asks_for_the_size_and_too_small_is_an_error() {
        assert!(matches!(sized(vec![1, 2], 0), Ok(Reply::XattrSize(out)) if out.size == 2));
        assert!(matches!(sized(vec![1, 2], 2), Ok(Reply::Bytes(_))));
        assert_eq!(sized(vec![1, 2], 1).unwrap_err(), Errno::ERANGE);
    }
}
