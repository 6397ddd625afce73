//! `/lost+found`: a place for inodes that lost their names.

use super::plan::Plan;
use crate::fixes::InodePatch;
use crate::table::{Inode, ROOT_INO, Table};
use crate::volume::Volume;
use ashlar_format::checksum::name_hash;
use ashlar_format::inode::{FileKind, InodeFlags, InodeRecord, Timestamp};
use ashlar_format::key::{self, TreeId};
use ashlar_format::name::NameRecord;
use std::collections::BTreeMap;

const LOST_AND_FOUND: &[u8] = b"lost+found";
/// Names tried for one inode: `#7`, `#7.1`, ...
const NAMES_TRIED: u32 = 100;

/// Where the nameless go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    ino: u64,
    /// Made now, not there before.
    is_new: bool,
}

/// Plans names for the nameless; `None` where there are none, or something that is not a directory
/// has the name.
pub(super) fn plan(
    volume: &Volume<'_>,
    table: &Table,
    nameless: &[&Inode],
    plan: &mut Plan,
) -> Option<Found> {
    if nameless.is_empty() {
        return None;
    }
    let found = find_or_make(volume, table, nameless, plan)?;
    for inode in nameless {
        // The filter lets only inodes pass whose record decodes.
        let record = NameRecord { ino: inode.ino, kind: inode.kind? };
        let key = free_name(volume, plan, found.ino, inode.ino)?;
        plan.put(TreeId::Names, &key, &record.encode());
    }
    Some(found)
}

fn name_key(volume: &Volume<'_>, dir: u64, name: &[u8]) -> Vec<u8> {
    key::name(dir, name_hash(volume.superblock.hash_seed, name), name)
}

fn find_or_make(
    volume: &Volume<'_>,
    table: &Table,
    nameless: &[&Inode],
    plan: &mut Plan,
) -> Option<Found> {
    let key = name_key(volume, ROOT_INO, LOST_AND_FOUND);
    if let Some(value) = plan.get(volume, TreeId::Names, &key) {
        let ino = NameRecord::decode(&value).ok()?.ino;
        table.directory(ino)?;
        return Some(Found { ino, is_new: false });
    }
    let ino = plan.next_ino;
    plan.next_ino = plan.next_ino.checked_add(1)?;
    let record = NameRecord { ino, kind: FileKind::Directory };
    plan.put(TreeId::Names, &key, &record.encode());
    let directory = new_directory(volume, nameless);
    plan.put(TreeId::Inodes, &key::inode(ino), &directory.encode());
    Some(Found { ino, is_new: true })
}

fn new_directory(volume: &Volume<'_>, nameless: &[&Inode]) -> InodeRecord {
    // The volume's own time: a check asks no clock.
    let time = Timestamp { seconds: volume.superblock.created, nanoseconds: 0 };
    InodeRecord {
        kind: FileKind::Directory,
        permissions: 0o700,
        nlink: u32::try_from(2 + directories(nameless)).unwrap_or(u32::MAX),
        uid: 0,
        gid: 0,
        rdev: 0,
        generation: 1,
        size: nameless.len() as u64,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
        flags: InodeFlags::empty(),
        project: 0,
        parent: ROOT_INO,
        map_generation: 0,
        inline: None,
    }
}

fn directories(nameless: &[&Inode]) -> u64 {
    nameless.iter().filter(|inode| inode.kind == Some(FileKind::Directory)).count() as u64
}

/// A name that nothing in the directory has.
fn free_name(volume: &Volume<'_>, plan: &Plan, dir: u64, ino: u64) -> Option<Vec<u8>> {
    (0..NAMES_TRIED).find_map(|attempt| {
        let name = if attempt == 0 { format!("#{ino}") } else { format!("#{ino}.{attempt}") };
        let key = name_key(volume, dir, name.as_bytes());
        plan.get(volume, TreeId::Names, &key).is_none().then_some(key)
    })
}

impl Found {
    /// Plans what the new names change in the records of the nameless, of `/lost+found` and of
    /// the root.
    pub(super) fn patch(
        self,
        table: &Table,
        nameless: &[&Inode],
        patches: &mut BTreeMap<u64, InodePatch>,
    ) {
        for inode in nameless {
            let patch = patches.entry(inode.ino).or_default();
            let directory = table.directory(inode.ino).map(|index| table.directories[index]);
            let links = directory.map_or(1, |directory| 2 + directory.subdirectories);
            patch.nlink = Some(u32::try_from(links).unwrap_or(u32::MAX));
            if directory.is_some() {
                patch.parent = Some(self.ino);
            }
        }
        if self.is_new {
            add_entries(table, ROOT_INO, 1, 1, patches);
        } else {
            let entries = nameless.len() as u64;
            add_entries(table, self.ino, entries, directories(nameless), patches);
        }
    }
}

/// A directory gets entries, some of them directories.
fn add_entries(
    table: &Table,
    dir: u64,
    entries: u64,
    subdirectories: u64,
    patches: &mut BTreeMap<u64, InodePatch>,
) {
    let Some(directory) = table.directory(dir).map(|index| table.directories[index]) else {
        return;
    };
    let patch = patches.entry(dir).or_default();
    patch.size = Some(directory.entries - directory.removed + entries);
    let links = 2 + directory.subdirectories + subdirectories;
    patch.nlink = Some(u32::try_from(links).unwrap_or(u32::MAX));
}
