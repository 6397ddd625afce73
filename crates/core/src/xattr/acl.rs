//! POSIX access control lists: stored as the kernel's attribute values, in step with the mode.
//!
//! ```text
//!   value      version 2 (4 bytes), then entries of 8 bytes: tag 2, permissions 2, id 4
//!   mode       owner = USER_OBJ, group = MASK if there is one, else GROUP_OBJ, others = OTHER
//! ```
//! * Setting an access ACL sets the mode; one of just three entries is the mode, and is not kept.
//! * Changing the mode changes those entries.
//! * A directory's default ACL becomes the access ACL of what is made in it, cut down by the mode
//!   asked for (the umask plays no part then), and the default ACL of new directories.
//!
//! Source: acl(5), and the kernel's `posix_acl.c`, which gives the same results.

use crate::error::{ErrorKind, Result};
use crate::inode::{Inode, Known, State};
use crate::types::{Caller, FileKind, Ino};
use crate::volume::Volume;
use crate::xattr::put_value;
use ashlar_format::key::TreeId;
use ashlar_store::Txn;

/// Attribute that holds the access ACL.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// Attribute that holds a directory's default ACL.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const SET_GROUP_ID: u16 = 0o2000;
/// In the id field of entries that have none.
const NO_ID: u32 = u32::MAX;

/// What an entry speaks of. Values and order as in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
enum Tag {
    UserObj = 0x01,
    User = 0x02,
    GroupObj = 0x04,
    Group = 0x08,
    Mask = 0x10,
    Other = 0x20,
}

impl Tag {
    fn from_code(code: u16) -> Option<Self> {
        let all = [Self::UserObj, Self::User, Self::GroupObj, Self::Group, Self::Mask, Self::Other];
        all.into_iter().find(|tag| *tag as u16 == code)
    }

    fn has_id(self) -> bool {
        matches!(self, Self::User | Self::Group)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AclEntry {
    tag: Tag,
    permissions: u16,
    id: u32,
}

/// A list of entries in the kernel's order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Acl(Vec<AclEntry>);

impl Acl {
    /// Decodes an attribute's value; `None` for an empty one.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for another version, [`ErrorKind::Invalid`].
    fn decode(value: &[u8]) -> Result<Option<Self>> {
        let invalid = || crate::Error::from(ErrorKind::Invalid);
        let (version, rest) = value.split_first_chunk::<4>().ok_or_else(invalid)?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(ErrorKind::Unsupported.into());
        }
        let (entries, behind) = rest.as_chunks::<8>();
        if !behind.is_empty() {
            return Err(invalid());
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let entries = entries.iter().map(|&[t0, t1, p0, p1, i0, i1, i2, i3]| {
            let tag = Tag::from_code(u16::from_le_bytes([t0, t1])).ok_or_else(invalid)?;
            let permissions = u16::from_le_bytes([p0, p1]);
            let id = u32::from_le_bytes([i0, i1, i2, i3]);
            if permissions > 7 || (tag.has_id() && id == NO_ID) {
                return Err(invalid());
            }
            Ok(AclEntry { tag, permissions, id: if tag.has_id() { id } else { NO_ID } })
        });
        let acl = Self(entries.collect::<Result<_>>()?);
        if acl.is_valid() { Ok(Some(acl)) } else { Err(invalid()) }
    }

    /// Each of the three classes exactly once, users and groups in between, a mask if there are any.
    fn is_valid(&self) -> bool {
        let count = |tag| self.0.iter().filter(|entry| entry.tag == tag).count();
        let named = count(Tag::User) + count(Tag::Group);
        self.0.is_sorted_by_key(|entry| entry.tag)
            && count(Tag::UserObj) == 1
            && count(Tag::GroupObj) == 1
            && count(Tag::Other) == 1
            && count(Tag::Mask) <= 1
            && (named == 0 || count(Tag::Mask) == 1)
    }

    fn encode(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            value.extend_from_slice(&(entry.tag as u16).to_le_bytes());
            value.extend_from_slice(&entry.permissions.to_le_bytes());
            value.extend_from_slice(&entry.id.to_le_bytes());
        }
        value
    }

    /// Says no more than a mode.
    fn is_minimal(&self) -> bool {
        self.0.len() == 3
    }

    fn entry(&mut self, tag: Tag) -> Option<&mut AclEntry> {
        self.0.iter_mut().find(|entry| entry.tag == tag)
    }

    /// The three entries that stand for the mode's nine bits.
    fn classes(&mut self) -> [Option<&mut AclEntry>; 3] {
        let group = if self.entry(Tag::Mask).is_some() { Tag::Mask } else { Tag::GroupObj };
        let mut classes = [None, None, None];
        for entry in &mut self.0 {
            let place = match entry.tag {
                Tag::UserObj => 0,
                tag if tag == group => 1,
                Tag::Other => 2,
                _ => continue,
            };
            classes[place] = Some(entry);
        }
        classes
    }

    /// The nine permission bits.
    fn mode(&mut self) -> u16 {
        let classes = self.classes();
        classes
            .iter()
            .fold(0, |mode, entry| mode << 3 | entry.as_ref().map_or(0, |entry| entry.permissions))
    }

    /// Takes over nine permission bits.
    fn set_mode(&mut self, mode: u16) {
        for (entry, shift) in self.classes().into_iter().zip([6, 3, 0]) {
            if let Some(entry) = entry {
                entry.permissions = mode >> shift & 7;
            }
        }
    }

    /// Takes away what the mode asked for does not have.
    fn restrict(&mut self, mode: u16) {
        for (entry, shift) in self.classes().into_iter().zip([6, 3, 0]) {
            if let Some(entry) = entry {
                entry.permissions &= mode >> shift;
            }
        }
    }
}

/// What a new inode gets from its directory.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Permission, set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) access: Option<Vec<u8>>,
    pub(crate) default: Option<Vec<u8>>,
}

impl Inherited {
    /// Puts the ACLs of a new inode into a transaction; whether there are any.
    pub(crate) fn put(&self, txn: &mut Txn<'_>, ino: Ino) -> bool {
        for (name, value) in [(ACCESS, &self.access), (DEFAULT, &self.default)] {
            if let Some(value) = value {
                put_value(txn, ino, name, None, Some(value));
            }
        }
        self.access.is_some() || self.default.is_some()
    }
}

impl Volume {
    /// What an inode made in `dir` with `mode` inherits. `parent` is the directory's state, locked.
    ///
    /// # Errors
    /// Damage; what reading the tree returns.
    pub(crate) fn inherit_acl(
        &self,
        dir: Ino,
        parent: &mut State,
        kind: FileKind,
        mode: u32,
        umask: u32,
    ) -> Result<Inherited> {
        let masked = Inherited { mode: mode & !umask, ..Inherited::default() };
        if kind == FileKind::Symlink {
            return Ok(masked);
        }
        let Some(value) = self.default_acl(dir, parent)? else { return Ok(masked) };
        let Some(mut acl) = Acl::decode(&value)? else { return Ok(masked) };
        // Nine bits.
        acl.restrict((mode & 0o777) as u16);
        let mode = mode & !0o777 | u32::from(acl.mode());
        Ok(Inherited {
            mode,
            access: (!acl.is_minimal()).then(|| acl.encode()),
            default: (kind == FileKind::Directory).then_some(value),
        })
    }

    /// A directory's default ACL. That there is none is remembered.
    fn default_acl(&self, dir: Ino, state: &mut State) -> Result<Option<Vec<u8>>> {
        if state.default_acl == Known::None || self.store.entry_count(TreeId::Xattrs) == 0 {
            return Ok(None);
        }
        let value = self.read_value(dir, DEFAULT)?;
        state.default_acl = if value.is_some() { Known::Some } else { Known::None };
        Ok(value)
    }

    /// Sets or removes an ACL and what it says about the mode. Inode lock held, state locked.
    pub(super) fn set_acl(
        &self,
        txn: &mut Txn<'_>,
        caller: &Caller,
        inode: &Inode,
        state: &mut State,
        (name, value): (&[u8], Option<&[u8]>),
    ) -> Result<()> {
        let is_directory = inode.kind == FileKind::Directory;
        let old = self.read_value(inode.ino, name)?;
        // The kernel writes an empty value to remove one.
        let acl = match value {
            Some(value) if !value.is_empty() => Acl::decode(value)?,
            _ => None,
        };
        // Unlike other attributes, an ACL that is not there can be removed.
        if name == DEFAULT && !is_directory && acl.is_some() {
            return Err(ErrorKind::AccessDenied.into());
        }
        let mut kept = acl;
        if name == ACCESS
            && let Some(acl) = &mut kept
        {
            state.record.permissions = state.record.permissions & !0o777 | acl.mode();
            if !caller.may_keep_sgid(state.record.gid) {
                state.record.permissions &= !SET_GROUP_ID;
            }
            if acl.is_minimal() {
                kept = None;
            }
        }
        if name == DEFAULT {
            state.default_acl = if kept.is_some() { Known::Some } else { Known::None };
        }
        let encoded = kept.map(|acl| acl.encode());
        put_value(txn, inode.ino, name, old.as_deref(), encoded.as_deref());
        Ok(())
    }

    /// The mode was changed: the access ACL follows. State locked.
    ///
    /// # Errors
    /// Damage; what reading the tree returns.
    pub(crate) fn chmod_acl(&self, txn: &mut Txn<'_>, ino: Ino, state: &mut State) -> Result<()> {
        if !self.may_have_xattrs(ino, state)? {
            return Ok(());
        }
        let Some(old) = self.read_value(ino, ACCESS)? else { return Ok(()) };
        if let Some(mut acl) = Acl::decode(&old)? {
            acl.set_mode(state.record.permissions);
            put_value(txn, ino, ACCESS, Some(&old), Some(&acl.encode()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(Tag, u16, u32)]) -> Acl {
        let entry = |&(tag, permissions, id)| AclEntry { tag, permissions, id };
        Acl(entries.iter().map(entry).collect())
    }

    fn extended() -> Acl {
        acl(&[
            (Tag::UserObj, 7, NO_ID),
            (Tag::User, 7, 1000),
            (Tag::GroupObj, 5, NO_ID),
            (Tag::Mask, 6, NO_ID),
            (Tag::Other, 4, NO_ID),
        ])
    }

    #[test]
    fn value_survives_encoding() {
        let list = extended();
        assert_eq!(Acl::decode(&list.encode()).unwrap(), Some(list));
        assert_eq!(Acl::decode(&VERSION.to_le_bytes()).unwrap(), None);
    }

    #[test]
    fn mask_stands_for_the_group_where_there_is_one() {
        let mut list = extended();
        assert_eq!(list.mode(), 0o764);
        list.set_mode(0o640);
        assert_eq!(list.entry(Tag::Mask).unwrap().permissions, 4);
        assert_eq!(list.entry(Tag::GroupObj).unwrap().permissions, 5, "stays");
        let mut three =
            acl(&[(Tag::UserObj, 6, NO_ID), (Tag::GroupObj, 4, NO_ID), (Tag::Other, 0, NO_ID)]);
        assert_eq!((three.mode(), three.is_minimal()), (0o640, true));
    }

    #[test]
    fn lists_that_cannot_be_are_refused() {
        let mut unsorted = extended();
        unsorted.0.swap(0, 1);
        let mut no_mask = extended();
        no_mask.0.remove(3);
        let mut twice = extended();
        twice.0.insert(0, twice.0[0]);
        for bad in [unsorted, no_mask, twice] {
            assert_eq!(Acl::decode(&bad.encode()).unwrap_err().kind, ErrorKind::Invalid);
        }
        assert_eq!(Acl::decode(&[1, 0, 0, 0]).unwrap_err().kind, ErrorKind::Unsupported);
        assert_eq!(Acl::decode(&[2, 0, 0, 0, 1]).unwrap_err().kind, ErrorKind::Invalid);
        let mut eight = extended();
        eight.0[0].permissions = 8;
        assert!(Acl::decode(&eight.encode()).is_err());
    }
}
