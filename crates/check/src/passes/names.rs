//! Third pass: names, in the order of their directories.
//!
//! Counts into the [`Table`] what [`super::counts`] compares afterwards.

use crate::context::Context;
use crate::finding::{FindingKind, Location, NameProblem};
use crate::lookup;
use crate::table::Table;
use ashlar_format::checksum::name_hash;
use ashlar_format::inode::FileKind;
use ashlar_format::key::{self, TreeId};
use ashlar_format::limits::NAME_BYTES_MAX;
use ashlar_format::name::NameRecord;

/// What the directory part of a key leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// Position among the directories.
    Directory(usize),
    /// Not there, or not a directory.
    Nothing,
    /// The inodes tree does not say for sure.
    Unknown,
}

/// An entry, decoded.
struct Name<'k> {
    dir: u64,
    hash: u64,
    name: &'k [u8],
    record: NameRecord,
}

/// Runs the pass.
pub(crate) fn run(context: &mut Context<'_, '_>, table: &mut Table) {
    let mut names = context.stream(TreeId::Names);
    let mut holder: Option<(u64, Holder)> = None;
    while let Some((key, value)) = names.current() {
        match decode(key, value) {
            Ok(name) => {
                let known = holder.filter(|(dir, _)| *dir == name.dir);
                let (_, found) = *holder
                    .insert(known.unwrap_or_else(|| (name.dir, find(context, table, name.dir))));
                check(context, table, found, key, &name);
            }
            Err(problem) => {
                let at = Location::entry(TreeId::Names, key);
                context.damaged_entry(TreeId::Names, at, problem);
            }
        }
        names.advance(context.reporter);
        context.tick();
    }
    context.check_count(&names);
}

fn decode<'k>(key: &'k [u8], value: &[u8]) -> Result<Name<'k>, String> {
    let (dir, hash, name) = key::decode_name(key).map_err(|damage| damage.problem)?;
    let record = NameRecord::decode(value).map_err(|damage| damage.problem)?;
    Ok(Name { dir, hash, name, record })
}

fn find(context: &Context<'_, '_>, table: &Table, dir: u64) -> Holder {
    if let Some(index) = table.directory(dir) {
        return Holder::Directory(index);
    }
    let inode = table.inode(dir).and_then(|index| table.inodes.get(index));
    match inode {
        Some(inode) if inode.kind.is_none() => Holder::Unknown,
        Some(_) => Holder::Nothing,
        None if context.reporter.is_complete(TreeId::Inodes) => Holder::Nothing,
        None => Holder::Unknown,
    }
}

fn check(
    context: &mut Context<'_, '_>,
    table: &mut Table,
    holder: Holder,
    key: &[u8],
    name: &Name<'_>,
) {
    let at = || Location::name(name.dir, name.name);
    if let Some(problem) = name_problem(name.name) {
        context.reporter.add(at(), FindingKind::NameWrong { problem });
    }
    if holder == Holder::Nothing {
        let kind = FindingKind::NameOutsideDirectory { ino: name.record.ino };
        context.reporter.add(at(), kind);
        context.fixes.delete(TreeId::Names, key);
        return;
    }
    if let Holder::Directory(index) = holder
        && let Some(directory) = table.directories.get_mut(index)
    {
        directory.entries += 1;
    }
    let Some(target) = table.inode(name.record.ino) else {
        if context.reporter.is_complete(TreeId::Inodes) {
            let kind = FindingKind::NameDangling { ino: name.record.ino };
            context.reporter.add(at(), kind);
            context.fixes.delete(TreeId::Names, key);
            if let Holder::Directory(index) = holder
                && let Some(directory) = table.directories.get_mut(index)
            {
                directory.removed += 1;
            }
        }
        return;
    };
    let kind = count_link(table, holder, target, name);
    check_entry(context, key, name, kind);
}

/// Counts the link; returns what the inode is.
fn count_link(
    table: &mut Table,
    holder: Holder,
    target: usize,
    name: &Name<'_>,
) -> Option<FileKind> {
    let inode = table.inodes.get_mut(target)?;
    inode.names = inode.names.saturating_add(1);
    let kind = inode.kind?;
    if kind == FileKind::Directory {
        if let Holder::Directory(index) = holder
            && let Some(directory) = table.directories.get_mut(index)
        {
            directory.subdirectories += 1;
        }
        if let Some(own) = table.directory(name.record.ino)
            && let Some(directory) = table.directories.get_mut(own)
            && directory.found_parent == 0
        {
            directory.found_parent = name.dir;
        }
    }
    Some(kind)
}

/// Checks where the entry stands and what it says of its inode.
fn check_entry(
    context: &mut Context<'_, '_>,
    key: &[u8],
    name: &Name<'_>,
    actual: Option<FileKind>,
) {
    let at = || Location::name(name.dir, name.name);
    let mut record = name.record;
    if let Some(actual) = actual.filter(|actual| *actual != name.record.kind) {
        let (ino, recorded) = (name.record.ino, name.record.kind);
        context.reporter.add(at(), FindingKind::NameKindWrong { ino, recorded, actual });
        record.kind = actual;
    }
    let recorded = name.hash;
    let expected = name_hash(context.volume.superblock.hash_seed, name.name);
    if recorded != expected {
        let right = key::name(name.dir, expected, name.name);
        let overlay = &context.replay.overlays[TreeId::Names as usize];
        // A second entry of this name at the right place would be overwritten: a guess.
        let is_free =
            matches!(lookup::get(context.volume, overlay, TreeId::Names, &right), Ok(None));
        context.reporter.add(at(), FindingKind::NameHashWrong { recorded, expected });
        if is_free {
            context.fixes.delete(TreeId::Names, key);
            context.fixes.put(TreeId::Names, &right, &record.encode());
            return;
        }
    }
    if record != name.record {
        context.fixes.put(TreeId::Names, key, &record.encode());
    }
}

fn name_problem(name: &[u8]) -> Option<NameProblem> {
    if name.len() > NAME_BYTES_MAX {
        Some(NameProblem::TooLong)
    } else if name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        Some(NameProblem::Byte)
    } else if matches!(name, b"." | b"..") {
        Some(NameProblem::Reserved)
    } else {
        None
    }
}
