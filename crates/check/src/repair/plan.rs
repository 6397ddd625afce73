//! The edits that repair makes: the log's, the corrections of the passes, and what follows from
//! the counts.

use super::lost;
use crate::finding::Finding;
use crate::fixes::{Fixes, InodePatch};
use crate::lookup;
use crate::passes::counts::{is_named, links_due};
use crate::replay::{Overlay, Replay};
use crate::report::Reporter;
use crate::stream::Stream;
use crate::table::{Directory, Inode, ROOT_INO, Table};
use crate::volume::Volume;
use crate::walk::RefusedEdges;
use ashlar_format::extent::{ExtentFlags, ExtentRecord};
use ashlar_format::inode::InodeRecord;
use ashlar_format::key::{self, TREE_COUNT, TreeId};
use std::collections::BTreeMap;

/// What is to be written.
#[derive(Debug)]
pub(super) struct Plan {
    /// By tree; free, refs and orphans are made anew and need none.
    pub(super) overlays: [Overlay; TREE_COUNT],
    /// Inodes to be listed as orphans, ascending.
    pub(super) orphans: Vec<u64>,
    pub(super) next_ino: u64,
}

impl Plan {
    pub(super) fn new(
        volume: &Volume<'_>,
        refused: &RefusedEdges,
        replay: Replay,
        table: &Table,
        fixes: Fixes,
    ) -> Self {
        let Replay { mut overlays, next_ino, .. } = replay;
        let Fixes { edits, mut inodes, unshare, .. } = fixes;
        for (overlay, edits) in overlays.iter_mut().zip(edits) {
            overlay.extend(edits);
        }
        let highest = table.inodes.last().map_or(0, |inode| inode.ino);
        let next_ino = next_ino.max(highest.saturating_add(1));
        let mut plan = Self { overlays, orphans: orphans(table), next_ino };
        plan.unshare(volume, &unshare);
        let nameless: Vec<&Inode> = table.inodes.iter().filter(|inode| is_lost(inode)).collect();
        let found = lost::plan(volume, table, &nameless, &mut plan);
        patch_counts(table, &mut inodes);
        if let Some(found) = found {
            found.patch(table, &nameless, &mut inodes);
        }
        plan.patch_inodes(volume, refused, inodes);
        plan
    }

    /// Puts an entry.
    pub(super) fn put(&mut self, tree: TreeId, key: &[u8], value: &[u8]) {
        self.overlays[tree as usize].insert(key.into(), Some(value.into()));
    }

    /// The value of a key with what is planned so far.
    pub(super) fn get(&self, volume: &Volume<'_>, tree: TreeId, key: &[u8]) -> Option<Box<[u8]>> {
        // Trees that repair accepts are readable; one that is not any more fails when written.
        lookup::get(volume, &self.overlays[tree as usize], tree, key).ok().flatten()
    }

    /// Takes the shared flag off extents: nothing is shared.
    fn unshare(&mut self, volume: &Volume<'_>, keys: &[[u8; 16]]) {
        for key in keys {
            let extent = self.get(volume, TreeId::Extents, key);
            if let Some(Ok(mut extent)) = extent.map(|value| ExtentRecord::decode(&value)) {
                extent.flags.remove(ExtentFlags::SHARED);
                self.put(TreeId::Extents, key, &extent.encode());
            }
        }
    }

    /// Reads the records to be changed, in order, and plans them changed.
    fn patch_inodes(
        &mut self,
        volume: &Volume<'_>,
        refused: &RefusedEdges,
        patches: BTreeMap<u64, InodePatch>,
    ) {
        let mut silence = |_: &Finding| {};
        let mut reporter = Reporter::new(&mut silence);
        let mut patched = Vec::new();
        {
            let overlay = &self.overlays[TreeId::Inodes as usize];
            let mut inodes = Stream::new(volume, TreeId::Inodes, refused, overlay, &mut reporter);
            let mut patches = patches.into_iter().peekable();
            while let (Some((key, value)), Some((ino, patch))) = (inodes.current(), patches.peek())
            {
                let order = key.cmp(&key::inode(*ino)[..]);
                if order.is_eq()
                    && let Ok(record) = InodeRecord::decode(value)
                {
                    patched.push((*ino, apply(*patch, record)));
                }
                if order.is_ge() {
                    patches.next();
                }
                if order.is_le() {
                    inodes.advance(&mut reporter);
                }
            }
        }
        for (ino, record) in patched {
            self.put(TreeId::Inodes, &key::inode(ino), &record.encode());
        }
    }
}

fn apply(patch: InodePatch, mut record: InodeRecord) -> InodeRecord {
    record.nlink = patch.nlink.unwrap_or(record.nlink);
    record.size = patch.size.unwrap_or(record.size);
    record.blocks = patch.blocks.unwrap_or(record.blocks);
    record.parent = patch.parent.unwrap_or(record.parent);
    record
}

/// An inode that has links by its record, but no name.
fn is_lost(inode: &Inode) -> bool {
    inode.kind.is_some() && !is_named(inode) && inode.nlink > 0
}

/// Inodes that are listed as orphans and exist, and those that should be listed.
fn orphans(table: &Table) -> Vec<u64> {
    let due = |inode: &&Inode| {
        inode.orphan || (inode.kind.is_some() && !is_named(inode) && inode.nlink == 0)
    };
    table.inodes.iter().filter(due).map(|inode| inode.ino).collect()
}

/// Link counts, and sizes and parents of directories.
fn patch_counts(table: &Table, patches: &mut BTreeMap<u64, InodePatch>) {
    for inode in table.inodes.iter().filter(|inode| inode.kind.is_some()) {
        let directory = table.directory(inode.ino).map(|index| &table.directories[index]);
        let links = links_due(inode, directory);
        if is_named(inode) && links != u64::from(inode.nlink) {
            let nlink = u32::try_from(links).unwrap_or(u32::MAX);
            patches.entry(inode.ino).or_default().nlink = Some(nlink);
        }
        if let Some(directory) = directory {
            patch_directory(inode, directory, patches);
        }
    }
}

fn patch_directory(inode: &Inode, directory: &Directory, patches: &mut BTreeMap<u64, InodePatch>) {
    let size = directory.entries - directory.removed;
    if size != directory.size {
        patches.entry(inode.ino).or_default().size = Some(size);
    }
    let parent = match (inode.ino, inode.names) {
        (ROOT_INO, _) => ROOT_INO,
        (_, 1) => directory.found_parent,
        _ => return,
    };
    if parent != directory.parent {
        patches.entry(inode.ino).or_default().parent = Some(parent);
    }
}
