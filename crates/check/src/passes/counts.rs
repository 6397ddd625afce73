//! Fourth pass: link counts, directory sizes and parents, against what the names say.
//!
//! | inode | link count |
//! |---|---|
//! | file | its names |
//! | directory with a name, and the root | 2 + its subdirectories |
//! | anything without a name | 0, and it is listed as an orphan |

use crate::context::Context;
use crate::finding::{FindingKind, Location};
use crate::table::{Directory, Inode, ROOT_INO, Table};
use ashlar_format::key::{self, TreeId};

/// Runs the pass. Where names are missing nothing can be said.
pub(crate) fn run(context: &mut Context<'_, '_>, table: &Table) {
    if context.reporter.is_complete(TreeId::Inodes) && table.inode(ROOT_INO).is_none() {
        context.reporter.add(Location::volume(), FindingKind::RootMissing);
    }
    if !context.reporter.is_complete(TreeId::Names) {
        return;
    }
    for inode in &table.inodes {
        let directory = table.directory(inode.ino).and_then(|index| table.directories.get(index));
        check_links(context, inode, directory);
        if let Some(directory) = directory {
            check_directory(context, inode, directory);
        }
    }
    check_cycles(context, table);
}

/// Link count that an inode with a name should have.
pub(crate) fn links_due(inode: &Inode, directory: Option<&Directory>) -> u64 {
    match directory {
        Some(directory) => 2 + directory.subdirectories,
        None => u64::from(inode.names),
    }
}

/// True for an inode that something in the tree of directories leads to.
pub(crate) fn is_named(inode: &Inode) -> bool {
    inode.names > 0 || inode.ino == ROOT_INO
}

fn check_links(context: &mut Context<'_, '_>, inode: &Inode, directory: Option<&Directory>) {
    if inode.kind.is_none() {
        return;
    }
    let at = || Location::inode(inode.ino);
    let recorded = u64::from(inode.nlink);
    if is_named(inode) {
        let counted = links_due(inode, directory);
        if recorded != counted {
            context.reporter.add(at(), FindingKind::LinkCountWrong { recorded, counted });
        }
    } else if recorded > 0 {
        context.reporter.add(at(), FindingKind::Nameless { recorded });
    } else if !inode.orphan && context.reporter.is_complete(TreeId::Orphans) {
        context.reporter.add(at(), FindingKind::OrphanMissing);
        context.fixes.put(TreeId::Orphans, &key::inode(inode.ino), &[]);
    }
}

fn check_directory(context: &mut Context<'_, '_>, inode: &Inode, directory: &Directory) {
    let at = || Location::inode(directory.ino);
    let (counted, recorded) = (directory.entries, directory.size);
    if counted != recorded {
        context.reporter.add(at(), FindingKind::DirectorySizeWrong { counted, recorded });
    }
    let is_root = directory.ino == ROOT_INO;
    let (counted, expected) = (u64::from(inode.names), u64::from(!is_root));
    if counted > expected {
        context.reporter.add(at(), FindingKind::DirectoryNamesWrong { counted, expected });
        return;
    }
    let actual = if is_root { ROOT_INO } else { directory.found_parent };
    let recorded = directory.parent;
    if actual != 0 && recorded != actual {
        context.reporter.add(at(), FindingKind::DirectoryParentWrong { recorded, actual });
    }
}

/// Finds directories from which going up never ends.
fn check_cycles(context: &mut Context<'_, '_>, table: &Table) {
    // 0: not looked at; otherwise the directory whose walk came by.
    let mut seen = vec![0u64; table.directories.len()];
    for start in &table.directories {
        let mut ino = start.ino;
        while let Some(index) = table.directory(ino) {
            if seen[index] == start.ino {
                context.reporter.add(Location::inode(ino), FindingKind::DirectoryCycle);
                break;
            }
            if seen[index] != 0 || ino == ROOT_INO {
                break;
            }
            seen[index] = start.ino;
            // A nameless one was reported; the walk ends, since there is no directory 0.
            ino = table.directories[index].found_parent;
        }
    }
}
