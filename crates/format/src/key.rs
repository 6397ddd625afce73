//! The trees, and the byte-comparable keys in each: big-endian numbers, so that keys sort as
//! numbers do.
//!
//! ```text
//! TREE      KEY                                        VALUE
//! inodes    ino 8                                      inode record, inline content
//! extents   ino 8, file block 8                        extent record
//! names     directory ino 8, hash 8, name              ino 8, kind 1
//! xattrs    ino 8, name, 0, piece 2                    up to 4096 bytes of the value
//! refs      block 8                                    count of blocks 4, owners 4
//! free      0, group 4                                 free blocks of the group 8
//! free      1, first block 8                           blocks 8
//! orphans   ino 8                                      nothing
//! ```
//!
//! All numbers in keys are big-endian, in values little-endian.

use crate::{Corruption, Result};

/// The trees of a volume, in the order of their roots in the superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TreeId {
    /// Inode number → inode record.
    Inodes = 0,
    /// File block → extent.
    Extents = 1,
    /// Directory and name → inode number.
    Names = 2,
    /// Inode and attribute name → value.
    Xattrs = 3,
    /// Shared blocks → owners.
    Refs = 4,
    /// Free space.
    Free = 5,
    /// Inodes without a name that still live.
    Orphans = 6,
}

/// Number of trees.
pub const TREE_COUNT: usize = 7;

impl TreeId {
    /// All trees in root order.
    pub const ALL: [Self; TREE_COUNT] = [
        Self::Inodes,
        Self::Extents,
        Self::Names,
        Self::Xattrs,
        Self::Refs,
        Self::Free,
        Self::Orphans,
    ];

    /// The tree with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Name as used by `ashlar dump` and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inodes => "inodes",
            Self::Extents => "extents",
            Self::Names => "names",
            Self::Xattrs => "xattrs",
            Self::Refs => "refs",
            Self::Free => "free",
            Self::Orphans => "orphans",
        }
    }

    /// What a damaged node of this tree is called in messages.
    #[must_use]
    pub fn node_structure(self) -> &'static str {
        match self {
            Self::Inodes => "inodes tree node",
            Self::Extents => "extents tree node",
            Self::Names => "names tree node",
            Self::Xattrs => "xattrs tree node",
            Self::Refs => "refs tree node",
            Self::Free => "free tree node",
            Self::Orphans => "orphans tree node",
        }
    }
}

/// Key of the inodes and orphans trees.
#[must_use]
pub fn inode(ino: u64) -> [u8; 8] {
    ino.to_be_bytes()
}

/// Key of the extents tree.
#[must_use]
pub fn extent(ino: u64, file_block: u64) -> [u8; 16] {
    pair(ino, file_block)
}

/// First bytes of all keys of a directory's entries at or behind `hash`.
#[must_use]
pub fn name_prefix(dir: u64, hash: u64) -> [u8; 16] {
    pair(dir, hash)
}

/// Key of the names tree.
#[must_use]
pub fn name(dir: u64, hash: u64, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(16 + name.len());
    key.extend_from_slice(&pair(dir, hash));
    key.extend_from_slice(name);
    key
}

/// Key of piece `piece` of an attribute. The name must not contain a zero byte.
#[must_use]
pub fn xattr(ino: u64, name: &[u8], piece: u16) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + name.len() + 3);
    key.extend_from_slice(&ino.to_be_bytes());
    key.extend_from_slice(name);
    key.push(0);
    key.extend_from_slice(&piece.to_be_bytes());
    key
}

/// Key of the refs tree.
#[must_use]
pub fn shared(block: u64) -> [u8; 8] {
    block.to_be_bytes()
}

/// Key of a group's count of free blocks.
#[must_use]
pub fn group(group: u32) -> [u8; 5] {
    let mut key = [0; 5];
    key[1..].copy_from_slice(&group.to_be_bytes());
    key
}

/// Key of a free extent.
#[must_use]
pub fn free(block: u64) -> [u8; 9] {
    let mut key = [1; 9];
    key[1..].copy_from_slice(&block.to_be_bytes());
    key
}

fn pair(first: u64, second: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&second.to_be_bytes());
    key
}

fn bad(tree: TreeId, key: &[u8]) -> Corruption {
    Corruption::new(tree.node_structure(), 0, format!("key {key:02x?} has the wrong shape"))
}

/// Decodes a key that is one number: inodes, orphans, refs.
///
/// # Errors
/// [`Corruption`] when it is not eight bytes long.
pub fn decode_number(tree: TreeId, key: &[u8]) -> Result<u64> {
    Ok(u64::from_be_bytes(key.try_into().map_err(|_| bad(tree, key))?))
}

/// Decodes an extents key into inode number and file block.
///
/// # Errors
/// [`Corruption`] when it is not sixteen bytes long.
pub fn decode_extent(key: &[u8]) -> Result<(u64, u64)> {
    let bytes: [u8; 16] = key.try_into().map_err(|_| bad(TreeId::Extents, key))?;
    Ok(split_pair(bytes))
}

/// Decodes a names key into directory, hash and name.
///
/// # Errors
/// [`Corruption`] when it is shorter than a one-byte name's key.
pub fn decode_name(key: &[u8]) -> Result<(u64, u64, &[u8])> {
    let Some((pair, name)) = key.split_first_chunk::<16>().filter(|(_, name)| !name.is_empty())
    else {
        return Err(bad(TreeId::Names, key));
    };
    let (dir, hash) = split_pair(*pair);
    Ok((dir, hash, name))
}

/// Decodes an xattrs key into inode, attribute name and piece.
///
/// # Errors
/// [`Corruption`] when the parts are not there.
pub fn decode_xattr(key: &[u8]) -> Result<(u64, &[u8], u16)> {
    let parts = || {
        let (ino, rest) = key.split_first_chunk::<8>()?;
        let (rest, piece) = rest.split_last_chunk::<2>()?;
        let (zero, name) = rest.split_last()?;
        (*zero == 0 && !name.is_empty() && !name.contains(&0))
            .then(|| (u64::from_be_bytes(*ino), name, u16::from_be_bytes(*piece)))
    };
    parts().ok_or_else(|| bad(TreeId::Xattrs, key))
}

/// A decoded key of the free tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreeKey {
    /// Count of free blocks of a group.
    Group(u32),
    /// A free extent, by its first block.
    Extent(u64),
}

/// Decodes a free key.
///
/// # Errors
/// [`Corruption`] when it is neither kind.
pub fn decode_free(key: &[u8]) -> Result<FreeKey> {
    match key.split_first() {
        Some((0, rest)) => {
            let bytes = rest.try_into().map_err(|_| bad(TreeId::Free, key))?;
            Ok(FreeKey::Group(u32::from_be_bytes(bytes)))
        }
        Some((1, rest)) => {
            let bytes = rest.try_into().map_err(|_| bad(TreeId::Free, key))?;
            Ok(FreeKey::Extent(u64::from_be_bytes(bytes)))
        }
        _ => Err(bad(TreeId::Free, key)),
    }
}

/// Decodes a value of the free tree.
///
/// # Errors
/// [`Corruption`] when it is not eight bytes long.
pub fn decode_free_value(value: &[u8]) -> Result<u64> {
    Ok(u64::from_le_bytes(value.try_into().map_err(|_| bad(TreeId::Free, value))?))
}

fn split_pair(bytes: [u8; 16]) -> (u64, u64) {
    let value = u128::from_be_bytes(bytes);
    ((value >> 64) as u64, value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_encoding() {
        assert_eq!(decode_number(TreeId::Inodes, &inode(7)), Ok(7));
        assert_eq!(decode_extent(&extent(7, u64::MAX)), Ok((7, u64::MAX)));
        assert_eq!(decode_name(&name(1, 32, b"x")), Ok((1, 32, &b"x"[..])));
        assert_eq!(decode_xattr(&xattr(3, b"user.a", 9)), Ok((3, &b"user.a"[..], 9)));
        assert_eq!(decode_free(&group(3)), Ok(FreeKey::Group(3)));
        assert_eq!(decode_free(&free(300)), Ok(FreeKey::Extent(300)));
    }

    #[test]
    fn keys_sort_as_numbers() {
        assert!(extent(1, 256) > extent(1, 255) && extent(2, 0) > extent(1, u64::MAX));
        assert!(group(u32::MAX)[..] < free(0)[..]);
    }

    #[test]
    fn xattr_pieces_follow_their_name() {
        // "user.a" must not mix with "user.ab".
        assert!(xattr(1, b"user.a", u16::MAX) < xattr(1, b"user.ab", 0));
    }
}
