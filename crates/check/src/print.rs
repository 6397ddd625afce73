//! Text for every object on disk: the same in messages and in `ashlar dump`.

use ashlar_format::extent::{ExtentFlags, ExtentRecord};
use ashlar_format::inode::{FileKind, InodeRecord, Timestamp};
use ashlar_format::key::{self, FreeKey, TreeId};
use ashlar_format::log::Edit;
use ashlar_format::name::NameRecord;
use ashlar_format::node::NodePointer;
use std::fmt;

/// Bytes shown of a value that is only bytes.
const SHOWN_BYTES: usize = 48;

/// A name in quotes, with what is not printable escaped.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character == '"' || character == '\\' || character.is_control() {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str("\"")
    }
}

/// Bytes in hexadecimal, the first few of many.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.len().min(SHOWN_BYTES);
        for byte in &self.0[..shown] {
            write!(f, "{byte:02x}")?;
        }
        if shown < self.0.len() { write!(f, "... ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

/// A key of a tree, decoded.
pub(crate) struct Key<'a>(pub(crate) TreeId, pub(crate) &'a [u8]);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(tree, bytes) = self;
        let shown = match tree {
            TreeId::Inodes | TreeId::Orphans => {
                key::decode_number(*tree, bytes).map(|ino| write!(f, "inode {ino}"))
            }
            TreeId::Refs => {
                key::decode_number(*tree, bytes).map(|block| write!(f, "block {block}"))
            }
            TreeId::Extents => key::decode_extent(bytes)
                .map(|(ino, file_block)| write!(f, "inode {ino} file block {file_block}")),
            TreeId::Names => key::decode_name(bytes).map(|(dir, hash, name)| {
                write!(f, "directory {dir} hash {hash:#018x} {}", Escaped(name))
            }),
            TreeId::Xattrs => key::decode_xattr(bytes)
                .map(|(ino, name, piece)| write!(f, "inode {ino} {} piece {piece}", Escaped(name))),
            TreeId::Free => key::decode_free(bytes).map(|decoded| match decoded {
                FreeKey::Group(group) => write!(f, "group {group}"),
                FreeKey::Extent(block) => write!(f, "block {block}"),
            }),
        };
        shown.unwrap_or_else(|_| write!(f, "{}", Bytes(bytes)))
    }
}

/// A value of a tree, decoded, on one line.
pub(crate) struct Value<'a>(pub(crate) TreeId, pub(crate) &'a [u8]);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(tree, bytes) = *self;
        let shown = match tree {
            TreeId::Inodes => {
                InodeRecord::decode(bytes).map(|inode| write!(f, "{}", InodeLine(&inode)))
            }
            TreeId::Extents => ExtentRecord::decode(bytes).map(|extent| {
                write!(
                    f,
                    "{} blocks at {}{}",
                    extent.count,
                    extent.block,
                    ExtentState(extent.flags)
                )
            }),
            TreeId::Names => NameRecord::decode(bytes)
                .map(|name| write!(f, "{} inode {}", kind_name(name.kind), name.ino)),
            TreeId::Free => key::decode_free_value(bytes).map(|count| write!(f, "{count} blocks")),
            TreeId::Xattrs | TreeId::Refs | TreeId::Orphans => Ok(write!(f, "{}", Bytes(bytes))),
        };
        shown.unwrap_or_else(|damage| write!(f, "DAMAGED ({}): {}", damage.problem, Bytes(bytes)))
    }
}

/// State of an extent, with a space in front where there is something to say.
pub(crate) struct ExtentState(pub(crate) ExtentFlags);

impl fmt::Display for ExtentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(ExtentFlags::UNWRITTEN) {
            f.write_str(" unwritten")?;
        }
        if self.0.contains(ExtentFlags::SHARED) {
            f.write_str(" shared")?;
        }
        Ok(())
    }
}

/// An inode record on one line.
struct InodeLine<'a>(&'a InodeRecord);

impl fmt::Display for InodeLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inode = self.0;
        write!(
            f,
            "{} mode {:04o} links {} owner {}:{} size {} blocks {}",
            kind_name(inode.kind),
            inode.permissions,
            inode.nlink,
            inode.uid,
            inode.gid,
            inode.size,
            inode.blocks
        )?;
        if inode.kind == FileKind::Directory {
            write!(f, " parent {}", inode.parent)?;
        }
        if let Some(content) = &inode.inline {
            write!(f, " inline {}", content.len())?;
        }
        if !inode.flags.is_empty() {
            write!(f, " flags {:?}", inode.flags)?;
        }
        Ok(())
    }
}

/// Short name of a kind of file.
pub(crate) fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Fifo => "pipe",
        FileKind::CharDevice => "character device",
        FileKind::Directory => "directory",
        FileKind::BlockDevice => "block device",
        FileKind::Regular => "file",
        FileKind::Symlink => "symlink",
        FileKind::Socket => "socket",
    }
}

/// Seconds since 1970 with nanoseconds.
pub(crate) struct Time(pub(crate) Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.seconds, self.0.nanoseconds)
    }
}

/// A pointer to a node.
pub(crate) struct Pointer(pub(crate) NodePointer);

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NodePointer { block, generation, checksum } = self.0;
        write!(f, "block {block} generation {generation} checksum {checksum:#010x}")
    }
}

/// An edit of a log record.
pub(crate) struct EditLine<'a>(pub(crate) Edit<'a>);

impl fmt::Display for EditLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Edit::Put { tree, key, value } => {
                write!(f, "put {} {}: {}", tree.name(), Key(tree, key), Value(tree, value))
            }
            Edit::Delete { tree, key } => write!(f, "delete {} {}", tree.name(), Key(tree, key)),
            Edit::Alloc { block, count } => write!(f, "alloc {count} blocks at {block}"),
            Edit::Free { block, count } => write!(f, "free {count} blocks at {block}"),
            Edit::Journal { block, count } => write!(f, "data of {count} blocks for {block}"),
        }
    }
}

/// A volume identifier in its usual form.
pub(crate) struct Uuid<'a>(pub(crate) &'a [u8; 16]);

impl fmt::Display for Uuid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_without_harm_to_the_terminal() {
        assert_eq!(Escaped(b"a\x1b[2J\"\xff\xc3\xa9").to_string(), "\"a\\u{1b}[2J\\\"\\xffé\"");
    }

    #[test]
    fn keys_and_values_that_do_not_decode_are_shown_as_bytes() {
        assert_eq!(Key(TreeId::Inodes, &[1, 2]).to_string(), "0102");
        assert!(Value(TreeId::Names, &[1]).to_string().starts_with("DAMAGED"));
        assert!(Bytes(&[0; 100]).to_string().ends_with("... (100 bytes)"));
    }

    #[test]
    fn uuid_has_its_usual_form() {
        let uuid = [1; 16];
        assert_eq!(Uuid(&uuid).to_string(), "01010101-0101-0101-0101-010101010101");
    }
}
