//! Names: directories are ranges of the names tree, ordered by the hash of the name.
//!
//! Called by the crates above → calls the store; inodes through the inode cache.
//!
//! Invariants
//! * (D1) a directory's `size` is the number of its entries; its `nlink` is 2 and one for each
//!   subdirectory; its `parent` is the directory that names it, the root's is the root.
//! * (D2) each change of names is one transaction, with the records of all inodes that it changes.
//! * (D3) at most 16 names of a directory have equal hashes, so that cookies can tell them apart:
//!   the 17th is refused with `NoSpace`. Hashes are seeded with a random number, so nobody meets
//!   this by accident or by choice.
//!
//! Locking: names change under the directory's inode lock, exclusively; lookups take no lock, since
//! a name and its inode change in one transaction. Whoever changes a name tells the name cache
//! before the commit: `cache.rs`.

pub(crate) mod cache;
mod create;
mod link;
mod lookup;
mod readdir;
mod rename;
mod unlink;

use crate::dir::cache::{Cached, Name, Ticket};
use crate::error::{ErrorKind, Result};
use crate::inode::{Inode, State};
use crate::types::{FileKind, Ino, InodeFlags};
use crate::volume::Volume;
use ashlar_format::checksum::{NAME_HASH_SPARE_BITS, name_hash};
use ashlar_format::key::{self, TreeId};
use ashlar_format::limits::NAME_BYTES_MAX;
use ashlar_format::name::NameRecord;
use std::ops::ControlFlow;

/// Names of a directory whose hashes are equal, at most: D3.
const EQUAL_HASHES_MAX: usize = 1 << NAME_HASH_SPARE_BITS;

/// Key of a name, without allocation.
pub(crate) struct NameKey {
    bytes: [u8; 16 + NAME_BYTES_MAX],
    length: usize,
    hash: u64,
}

impl NameKey {
    /// The name has at most [`NAME_BYTES_MAX`] bytes.
    fn new(name: &Name<'_>) -> Self {
        let mut bytes = [0; 16 + NAME_BYTES_MAX];
        bytes[..16].copy_from_slice(&key::name_prefix(name.dir.0, name.hash));
        bytes[16..16 + name.bytes.len()].copy_from_slice(name.bytes);
        Self { bytes, length: 16 + name.bytes.len(), hash: name.hash }
    }

    /// The name that this is the key of, in `dir`.
    fn name(&self, dir: Ino) -> Name<'_> {
        Name { dir, hash: self.hash, bytes: &self[16..] }
    }
}

impl std::ops::Deref for NameKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Checks a name that is looked up; "." and ".." are the caller's business.
///
/// # Errors
/// [`ErrorKind::NameTooLong`]; [`ErrorKind::NotFound`] for what can be no name.
fn check_wanted(name: &[u8]) -> Result<()> {
    if name.len() > NAME_BYTES_MAX {
        Err(ErrorKind::NameTooLong.into())
    } else if name.is_empty() || name.contains(&0) || name.contains(&b'/') {
        Err(ErrorKind::NotFound.into())
    } else {
        Ok(())
    }
}

/// Checks a name that is to be made.
///
/// # Errors
/// [`ErrorKind::NameTooLong`]; [`ErrorKind::Exists`] for "." and ".."; [`ErrorKind::Invalid`].
fn check_new(name: &[u8]) -> Result<()> {
    if name.len() > NAME_BYTES_MAX {
        Err(ErrorKind::NameTooLong.into())
    } else if name.is_empty() || name.contains(&0) || name.contains(&b'/') {
        Err(ErrorKind::Invalid.into())
    } else if is_dots(name) {
        Err(ErrorKind::Exists.into())
    } else {
        Ok(())
    }
}

fn is_dots(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

impl Volume {
    pub(crate) fn name_key(&self, dir: Ino, name: &[u8]) -> NameKey {
        NameKey::new(&self.name(dir, name))
    }

    fn name<'a>(&self, dir: Ino, bytes: &'a [u8]) -> Name<'a> {
        Name { dir, hash: name_hash(self.store.hash_seed(), bytes), bytes }
    }

    /// What a name refers to; it has at most [`NAME_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; what reading the tree returns.
    fn find_name(&self, name: &Name<'_>) -> Result<NameRecord> {
        match self.names.get(name) {
            Cached::Known(record) => Ok(record),
            Cached::Unknown(ticket) => self.read_name(name, ticket),
        }
    }

    /// What a name that is not in the name cache refers to.
    ///
    /// # Errors
    /// As [`Self::find_name`].
    fn read_name(&self, name: &Name<'_>, ticket: Ticket) -> Result<NameRecord> {
        match self.store.get_with(TreeId::Names, &NameKey::new(name), NameRecord::decode)? {
            Some(record) => {
                let record = record?;
                self.names.remember(name, ticket, record);
                Ok(record)
            }
            None => Err(crate::Error::from(ErrorKind::NotFound).at(name.dir)),
        }
    }

    /// Checks that a name can be made in a directory.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`]; [`ErrorKind::NoSpace`] by D3; what reading the tree returns.
    fn check_free(&self, dir: Ino, key: &NameKey) -> Result<()> {
        // One look settles the usual case: the greatest key with this hash, or below, has another.
        let prefix = &key[..16];
        let mut greatest = [0xff; 16 + NAME_BYTES_MAX + 1];
        greatest[..16].copy_from_slice(prefix);
        let collides = self
            .store
            .floor_with(TreeId::Names, &greatest, |found, _| found.starts_with(prefix))?;
        if collides != Some(true) {
            return Ok(());
        }
        let mut count = 0;
        let mut exists = false;
        self.store.scan(TreeId::Names, prefix, &mut |found, _| {
            if !found.starts_with(prefix) {
                return ControlFlow::Break(());
            }
            count += 1;
            exists |= found == &key[..];
            ControlFlow::Continue(())
        })?;
        if exists {
            Err(crate::Error::from(ErrorKind::Exists).at(dir))
        } else if count >= EQUAL_HASHES_MAX {
            Err(crate::Error::from(ErrorKind::NoSpace).at(dir))
        } else {
            Ok(())
        }
    }
}

/// Checks that names may be added to a directory. State locked.
///
/// # Errors
/// [`ErrorKind::NotFound`] when it was removed; [`ErrorKind::NotPermitted`].
fn check_may_add(dir: &Inode, state: &State) -> Result<()> {
    if state.record.nlink == 0 {
        return Err(crate::Error::from(ErrorKind::NotFound).at(dir.ino));
    }
    if state.record.flags.contains(InodeFlags::IMMUTABLE) {
        return Err(Volume::not_permitted(dir.ino));
    }
    Ok(())
}

/// Checks that names may be removed from a directory. State locked.
///
/// # Errors
/// As [`check_may_add`], and for append-only directories.
fn check_may_remove(dir: &Inode, state: &State) -> Result<()> {
    if state.record.flags.contains(InodeFlags::APPEND) {
        return Err(Volume::not_permitted(dir.ino));
    }
    check_may_add(dir, state)
}

/// Checks that an inode's names may change. State locked.
///
/// # Errors
/// [`ErrorKind::NotPermitted`].
fn check_may_unname(inode: &Inode, state: &State) -> Result<()> {
    if state.record.flags.intersects(InodeFlags::IMMUTABLE | InodeFlags::APPEND) {
        return Err(Volume::not_permitted(inode.ino));
    }
    Ok(())
}

/// A directory gained or lost entries.
fn count_entries(state: &mut State, before: u64, after: u64) {
    state.record.size = (state.record.size + after).saturating_sub(before);
}

/// A directory gained or lost subdirectories.
fn count_subdirectories(state: &mut State, before: bool, after: bool) {
    state.record.nlink = (state.record.nlink + u32::from(after)).saturating_sub(u32::from(before));
}

/// Whether the kind is that of a directory.
fn is_dir(kind: FileKind) -> bool {
    kind == FileKind::Directory
}
