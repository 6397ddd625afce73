//! What is remembered of every inode between the passes: as little as possible.
//!
//! Memory: 32 bytes an inode, 64 more a directory.

use ashlar_format::inode::FileKind;

/// Inode number of the root directory.
pub(crate) const ROOT_INO: u64 = 1;

/// An inode, its link count and its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inode {
    pub(crate) ino: u64,
    /// By the record.
    pub(crate) nlink: u32,
    /// Names found.
    pub(crate) names: u32,
    /// `None` where the record does not decode.
    pub(crate) kind: Option<FileKind>,
    /// Listed in the orphans tree.
    pub(crate) orphan: bool,
}

/// A directory, its record and its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) ino: u64,
    /// By the record.
    pub(crate) size: u64,
    /// By the record.
    pub(crate) parent: u64,
    /// Names found in it.
    pub(crate) entries: u64,
    /// Of these, those of directories.
    pub(crate) subdirectories: u64,
    /// Of the entries, those that repair removes.
    pub(crate) removed: u64,
    /// The directory that holds its first name; 0 while none was found.
    pub(crate) found_parent: u64,
}

/// All inodes, in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) inodes: Vec<Inode>,
    pub(crate) directories: Vec<Directory>,
}

impl Table {
    /// Position of an inode.
    pub(crate) fn inode(&self, ino: u64) -> Option<usize> {
        // Numbers are mostly dense, so the guess is mostly right or close.
        let first = self.inodes.first()?.ino;
        let guess = usize::try_from(ino.checked_sub(first)?).unwrap_or(usize::MAX);
        if self.inodes.get(guess).is_some_and(|inode| inode.ino == ino) {
            return Some(guess);
        }
        // Numbers ascend strictly, so an inode never stands behind its guess.
        let upper = self.inodes.len().min(guess);
        self.inodes[..upper].binary_search_by_key(&ino, |inode| inode.ino).ok()
    }

    /// Position of a directory.
    pub(crate) fn directory(&self, ino: u64) -> Option<usize> {
        self.directories.binary_search_by_key(&ino, |directory| directory.ino).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inode_is_found_among_gaps() {
        let inode = |ino| Inode { ino, nlink: 1, names: 0, kind: None, orphan: false };
        let numbers = [1, 2, 3, 7, 8, 20, 1 << 60];
        let table = Table { inodes: numbers.map(inode).to_vec(), directories: Vec::new() };
        for (index, ino) in numbers.into_iter().enumerate() {
            assert_eq!(table.inode(ino), Some(index));
        }
        for ino in [0, 4, 6, 9, 21, u64::MAX] {
            assert_eq!(table.inode(ino), None);
        }
    }
}
