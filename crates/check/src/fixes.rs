//! Corrections that need no guess, gathered by the passes for repair.

use crate::replay::Overlay;
use ashlar_format::key::{TREE_COUNT, TreeId};
use std::collections::BTreeMap;

/// Corrections kept at most; what is beyond is left to another run, which bounds memory.
const FIXES_MAX: usize = 4 << 20;

/// Fields of an inode record to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct InodePatch {
    pub(crate) nlink: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) blocks: Option<u64>,
    pub(crate) parent: Option<u64>,
}

/// Corrections of entries and records.
#[derive(Debug, Default)]
pub(crate) struct Fixes {
    /// False: nobody will repair, so nothing is kept.
    wanted: bool,
    count: usize,
    pub(crate) edits: [Overlay; TREE_COUNT],
    pub(crate) inodes: BTreeMap<u64, InodePatch>,
    /// Extents whose shared flag is to go: by key, so that the record is read when it is written.
    pub(crate) unshare: Vec<[u8; 16]>,
}

impl Fixes {
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted, ..Self::default() }
    }

    fn take_one(&mut self) -> bool {
        self.count += 1;
        self.wanted && self.count <= FIXES_MAX
    }

    pub(crate) fn put(&mut self, tree: TreeId, key: &[u8], value: &[u8]) {
        if self.take_one() {
            self.edits[tree as usize].insert(key.into(), Some(value.into()));
        }
    }

    pub(crate) fn delete(&mut self, tree: TreeId, key: &[u8]) {
        if self.take_one() {
            self.edits[tree as usize].insert(key.into(), None);
        }
    }

    pub(crate) fn patch(&mut self, ino: u64, change: impl FnOnce(&mut InodePatch)) {
        if self.take_one() {
            change(self.inodes.entry(ino).or_default());
        }
    }

    pub(crate) fn unshare(&mut self, key: [u8; 16]) {
        if self.take_one() {
            self.unshare.push(key);
        }
    }
}
