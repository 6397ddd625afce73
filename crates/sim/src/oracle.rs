//! What the promises allow after a power cut: an oracle in plain maps.
//!
//! Definitions. An operation *returned* before the cut or was *in flight* at it. *d* is the last
//! operation that had returned and made everything before it durable; *k* is the one in flight.
//!
//! What must hold of the volume found after the cut:
//! * (P1) there is one *j* with d ≤ j ≤ k such that all names, kinds and hard links are as after
//!   operation j: name changes are never half, never out of order, and what was synced is there.
//! * (P2) every sector of a file holds what some version of the file held there, not older than
//!   the file's last sync, nor than what cleared that sector (truncate, punch) up to j.
//! * (P3) the size is that of such a version, not older than the last cut up to j.
//!
//! Sectors, since a power cut may tear an unsynced overwrite; versions, since later writes need
//! not wait for a sync to reach the device. What P2 leaves out is what must never show: older
//! contents, other files' bytes, garbage.

use crate::workload::{NAMES, Op, stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// Bytes that the device writes whole.
const SECTOR: usize = 512;
/// Unit of allocation.
const BLOCK: usize = 4096;

/// What a name refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A regular file by its number in the oracle, or by its inode number where found.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link to "target".
    Symlink,
}

/// All names at one moment.
pub type Names = BTreeMap<String, Node>;

#[derive(Debug, Clone)]
struct Version {
    op: usize,
    content: Arc<Vec<u8>>,
    /// Bytes that lost their contents: older ones must not come back where this is in force.
    cleared: Range<usize>,
}

#[derive(Debug, Default, Clone)]
struct File {
    versions: Vec<Version>,
    /// Operations that made it durable, ascending.
    synced: Vec<usize>,
    /// The last operation that gave it a name or took one away.
    named: usize,
}

/// The history of a program, and what follows from it.
#[derive(Debug, Clone)]
pub struct Oracle {
    names: Vec<Arc<Names>>,
    files: Vec<File>,
    durable: Vec<usize>,
}

impl Default for Oracle {
    fn default() -> Self {
        Self { names: vec![Arc::new(Names::new())], files: Vec::new(), durable: vec![0] }
    }
}

/// What was found on a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Names; files by inode number.
    pub names: Names,
    /// Content by inode number.
    pub contents: BTreeMap<u64, Vec<u8>>,
}

impl Oracle {
    /// Operations recorded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len() - 1
    }

    /// True before the first operation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn current(&self) -> &Names {
        self.names.last().expect("the first state is always there")
    }

    /// All names now.
    #[must_use]
    pub fn names_now(&self) -> &Names {
        self.current()
    }

    /// Where a path stands now.
    #[must_use]
    pub fn node(&self, path: usize) -> Option<Node> {
        self.current().get(NAMES[path]).copied()
    }

    /// Content of a file now.
    #[must_use]
    pub fn content(&self, file: u64) -> Arc<Vec<u8>> {
        let versions = &self.files[file as usize].versions;
        Arc::clone(&versions.last().expect("a file starts with a version").content)
    }

    /// Records that operation number `len()` ran and returned success.
    pub fn record(&mut self, op: &Op) {
        let number = self.names.len();
        let mut names = (**self.names.last().expect("never empty")).clone();
        let mut durable = *self.durable.last().expect("never empty");
        self.note_renamed(number, op);
        match *op {
            Op::Create(path) => {
                let version = Version { op: number, content: Arc::default(), cleared: 0..0 };
                let synced = Vec::new();
                self.files.push(File { versions: vec![version], synced, named: number });
                names.insert(NAMES[path].into(), Node::File(self.files.len() as u64 - 1));
            }
            Op::Mkdir(path) => {
                names.insert(NAMES[path].into(), Node::Directory);
            }
            Op::Symlink(path) => {
                names.insert(NAMES[path].into(), Node::Symlink);
            }
            Op::Write { path, offset, length } => self.change(number, path, 0..0, |content| {
                let (start, end) = (offset as usize, (offset + length) as usize);
                content.resize(content.len().max(end), 0);
                stamp(number as u64, offset, &mut content[start..end]);
            }),
            Op::Truncate { path, size } => {
                // Growing is like writing zeros: it may reach the log with the next writeback.
                let size = size as usize;
                let old = match self.node(path) {
                    Some(Node::File(file)) => self.content(file).len(),
                    _ => 0,
                };
                self.change(number, path, size..old.max(size), |content| content.resize(size, 0));
            }
            Op::Punch { path, offset, length } => {
                let hole = offset as usize..(offset + length) as usize;
                // Blocks punched in part are overwritten with zeros there, like any overwrite.
                let whole = hole.start.next_multiple_of(BLOCK)..hole.end / BLOCK * BLOCK;
                self.change(number, path, whole, |content| {
                    let end = hole.end.min(content.len());
                    if let Some(hole) = content.get_mut(hole.start..end) {
                        hole.fill(0);
                    }
                });
            }
            Op::Allocate { path, offset, length } => self.change(number, path, 0..0, |content| {
                content.resize(content.len().max((offset + length) as usize), 0);
            }),
            Op::Rename(from, to) => rename(&mut names, NAMES[from], NAMES[to]),
            Op::Exchange(from, to) => exchange(&mut names, NAMES[from], NAMES[to]),
            Op::Link(from, to) => {
                if let Some(node) = names.get(NAMES[from]).copied() {
                    names.insert(NAMES[to].into(), node);
                }
            }
            Op::Unlink(path) | Op::Rmdir(path) => {
                names.remove(NAMES[path]);
            }
            Op::Fsync(path) | Op::Fdatasync(path) => {
                if let Some(Node::File(file)) = names.get(NAMES[path]) {
                    let file = &mut self.files[*file as usize];
                    file.synced.push(number);
                    durable = durable.max(file.named);
                }
            }
            Op::SyncAll => {
                self.files.iter_mut().for_each(|file| file.synced.push(number));
                durable = number;
            }
            Op::Background => {}
        }
        self.names.push(Arc::new(names));
        self.durable.push(durable);
    }

    /// The files whose names the operation changes.
    fn note_renamed(&mut self, number: usize, op: &Op) {
        let paths = match *op {
            // Renaming a file to itself, or swapping it with itself, changes nothing.
            Op::Rename(from, to) | Op::Exchange(from, to) if self.node(from) == self.node(to) => {
                return;
            }
            Op::Rename(from, to) | Op::Exchange(from, to) | Op::Link(from, to) => vec![from, to],
            Op::Unlink(path) => vec![path],
            _ => return,
        };
        for path in paths {
            if let Some(Node::File(file)) = self.node(path) {
                self.files[file as usize].named = number;
            }
        }
    }

    /// Takes back the last [`record`](Self::record) of an operation that changed nothing.
    pub fn forget_last(&mut self) {
        self.names.pop();
        self.durable.pop();
    }

    fn change(
        &mut self,
        op: usize,
        path: usize,
        cleared: Range<usize>,
        act: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(Node::File(file)) = self.node(path) else { return };
        let mut content = (*self.content(file)).clone();
        act(&mut content);
        let version = Version { op, content: Arc::new(content), cleared };
        self.files[file as usize].versions.push(version);
    }

    /// Judges what was found after a cut while operation `in_flight` (counted from 1) ran;
    /// `returned` operations had returned.
    ///
    /// # Errors
    /// A sentence that says which promise is broken, and how.
    pub fn judge(&self, found: &Found, returned: usize, in_flight: usize) -> Result<(), String> {
        let durable = self.durable[returned.min(self.len())];
        let last = in_flight.min(self.len());
        let mut reasons = BTreeSet::new();
        for candidate in (durable..=last).rev() {
            match self.judge_as(found, candidate, returned, last) {
                Ok(()) => return Ok(()),
                Err(reason) => reasons.insert(reason),
            };
        }
        let reasons: Vec<_> = reasons.into_iter().rev().take(12).collect();
        Err(format!(
            "no state between operations {durable} and {last} fits:\n  {}\n  found {:?}",
            reasons.join("\n  "),
            found.names
        ))
    }

    fn judge_as(
        &self,
        found: &Found,
        candidate: usize,
        returned: usize,
        last: usize,
    ) -> Result<(), String> {
        let names = &self.names[candidate];
        let mut by_ino = BTreeMap::new();
        if !names.keys().eq(found.names.keys()) {
            let expected: Vec<_> = names.keys().collect();
            return Err(format!("P1 as of {candidate}: expected names {expected:?}"));
        }
        for ((path, expected), actual) in names.iter().zip(found.names.values()) {
            match (expected, actual) {
                (Node::File(file), Node::File(ino)) => {
                    if *by_ino.entry(*ino).or_insert(*file) != *file {
                        return Err(format!("P1 as of {candidate}: {path} is linked elsewhere"));
                    }
                }
                _ if expected == actual => {}
                _ => return Err(format!("P1 as of {candidate}: {path} is a {actual:?}")),
            }
        }
        for (ino, file) in by_ino {
            let content = found.contents.get(&ino).ok_or("content was not read")?;
            self.judge_content(file, content, candidate, returned, last)
                .map_err(|reason| format!("{reason} (file {file} as of {candidate})"))?;
        }
        Ok(())
    }

    fn judge_content(
        &self,
        file: u64,
        content: &[u8],
        candidate: usize,
        returned: usize,
        last: usize,
    ) -> Result<(), String> {
        let file = &self.files[file as usize];
        let synced = file.synced.iter().rfind(|op| **op <= returned).copied().unwrap_or(0);
        let first = file.versions.iter().rposition(|version| version.op <= synced).unwrap_or(0);
        let window: Vec<_> = file.versions[first..].iter().filter(|v| v.op <= last).collect();
        let in_force = |v: &&Version| v.op <= candidate && !v.cleared.is_empty();
        let cut = window.iter().copied().rfind(|v| in_force(v) && v.cleared.end > v.content.len());
        // A cut leaves alone what was shorter on the device.
        let allowed = |v: &&&Version| {
            cut.is_none_or(|cut| v.op >= cut.op || v.content.len() <= cut.content.len())
        };
        let sizes: Vec<_> = window.iter().filter(allowed).map(|v| v.content.len()).collect();
        if !sizes.contains(&content.len()) {
            return Err(format!("P3: size {} is none of {sizes:?}", content.len()));
        }
        for (index, sector) in content.chunks(SECTOR).enumerate() {
            let range = index * SECTOR..index * SECTOR + sector.len();
            let clears = |v: &&Version| v.cleared.start < range.end && range.start < v.cleared.end;
            let clearing = window.iter().copied().rfind(|v| in_force(v) && clears(v));
            let whole = clearing
                .filter(|v| v.cleared.start <= range.start && range.end <= v.cleared.end)
                .map_or(0, |version| version.op);
            let allowed: Vec<_> = window.iter().copied().filter(|v| v.op >= whole).collect();
            let fits = allowed.iter().any(|v| sector_fits(&v.content, range.start, sector));
            // Where a cleared range ends inside the sector, both sides have their own history.
            let pieced = || clearing.is_some() && bytes_fit(&allowed, range.start, sector);
            if !fits && !pieced() {
                let ops: Vec<_> = allowed.iter().map(|version| version.op).collect();
                let older =
                    file.versions.iter().find(|v| sector_fits(&v.content, range.start, sector));
                let origin = match older {
                    Some(version) => format!("it is of operation {}", version.op),
                    None => "no version ever held it".into(),
                };
                return Err(format!(
                    "P2: sector at {} fits none of {ops:?}; {origin}",
                    range.start
                ));
            }
        }
        Ok(())
    }
}

fn bytes_fit(versions: &[&Version], at: usize, sector: &[u8]) -> bool {
    let byte = |version: &Version, at: usize| version.content.get(at).copied().unwrap_or(0);
    sector
        .iter()
        .enumerate()
        .all(|(index, found)| versions.iter().any(|version| byte(version, at + index) == *found))
}

/// A version that ends inside the sector, or before it, is followed by zeros.
fn sector_fits(version: &[u8], at: usize, sector: &[u8]) -> bool {
    let there = version.get(at..).unwrap_or_default();
    let common = there.len().min(sector.len());
    sector[..common] == there[..common] && sector[common..].iter().all(|byte| *byte == 0)
}

fn rename(names: &mut Names, from: &str, to: &str) {
    if names.get(from) == names.get(to) && matches!(names.get(from), Some(Node::File(_))) {
        return;
    }
    move_tree(names, from, to);
}

fn exchange(names: &mut Names, from: &str, to: &str) {
    if from == to {
        return;
    }
    move_tree(names, from, "\u{1}");
    move_tree(names, to, from);
    move_tree(names, "\u{1}", to);
}

fn move_tree(names: &mut Names, from: &str, to: &str) {
    if from == to {
        return;
    }
    names.remove(to);
    let inside = format!("{from}/");
    let moved: Vec<_> = names
        .iter()
        .filter(|(path, _)| *path == from || path.starts_with(&inside))
        .map(|(path, node)| (path.clone(), *node))
        .collect();
    for (path, node) in moved {
        names.remove(&path);
        names.insert(format!("{to}{}", &path[from.len()..]), node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[(&str, Node)], contents: &[(u64, Vec<u8>)]) -> Found {
        Found {
            names: names.iter().map(|(path, node)| ((*path).to_owned(), *node)).collect(),
            contents: contents.iter().cloned().collect(),
        }
    }

    #[test]
    fn lost_synced_file_is_caught() {
        let mut oracle = Oracle::default();
        oracle.record(&Op::Create(0));
        assert!(oracle.judge(&found(&[], &[]), 1, 1).is_ok());
        oracle.record(&Op::Fsync(0));
        assert!(oracle.judge(&found(&[], &[]), 2, 2).is_err());
        let there = found(&[("a", Node::File(9))], &[(9, vec![])]);
        assert!(oracle.judge(&there, 2, 2).is_ok());
    }

    #[test]
    fn stale_and_foreign_bytes_are_caught() {
        let mut oracle = Oracle::default();
        oracle.record(&Op::Create(0));
        oracle.record(&Op::Write { path: 0, offset: 0, length: 1024 });
        oracle.record(&Op::Fsync(0));
        let content = oracle.content(0).to_vec();
        let there = |content: Vec<u8>| found(&[("a", Node::File(9))], &[(9, content)]);
        assert!(oracle.judge(&there(content.clone()), 3, 3).is_ok());
        assert!(oracle.judge(&there(content[..512].to_vec()), 3, 3).is_err());
        let mut foreign = content;
        foreign[700] ^= 8;
        assert!(oracle.judge(&there(foreign), 3, 3).is_err());
    }

    #[test]
    fn bytes_from_before_a_truncate_are_caught() {
        let mut oracle = Oracle::default();
        oracle.record(&Op::Create(0));
        oracle.record(&Op::Write { path: 0, offset: 0, length: 1024 });
        let old = oracle.content(0).to_vec();
        oracle.record(&Op::Truncate { path: 0, size: 0 });
        oracle.record(&Op::Truncate { path: 0, size: 1024 });
        oracle.record(&Op::Fsync(0));
        let there = |content: Vec<u8>| found(&[("a", Node::File(9))], &[(9, content)]);
        assert!(oracle.judge(&there(vec![0; 1024]), 5, 5).is_ok());
        assert!(oracle.judge(&there(old), 5, 5).is_err());
    }

    #[test]
    fn file_swapped_with_itself_has_nothing_to_sync() {
        let mut oracle = Oracle::default();
        oracle.record(&Op::Create(0));
        oracle.record(&Op::Fsync(0));
        oracle.record(&Op::Create(1));
        oracle.record(&Op::Exchange(0, 0));
        oracle.record(&Op::Fsync(0));
        let there = found(&[("a", Node::File(9))], &[(9, vec![])]);
        assert!(oracle.judge(&there, 5, 5).is_ok());
    }

    #[test]
    fn directories_move_with_what_is_inside() {
        let mut names = Names::new();
        for (path, node) in [("dir", Node::Directory), ("dir/a", Node::File(1))] {
            names.insert(path.into(), node);
        }
        rename(&mut names, "dir", "other");
        assert!(names.keys().eq(["other", "other/a"]));
        exchange(&mut names, "other", "other");
        assert_eq!(names.len(), 2);
    }
}
