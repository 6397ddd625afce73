//! Paths of the inodes that findings speak of, found by one more walk over the names.
//!
//! Only where something was found that speaks of inodes, and only for the first
//! [`crate::FINDINGS_PER_KIND_MAX`] findings of each kind. Memory: the names of all directories.

use crate::check::Passes;
use crate::finding::Finding;
use crate::replay::Overlay;
use crate::report::Reporter;
use crate::stream::Stream;
use crate::table::ROOT_INO;
use crate::volume::Volume;
use ashlar_format::inode::FileKind;
use ashlar_format::key::{self, TreeId};
use ashlar_format::name::NameRecord;
use std::collections::{BTreeMap, BTreeSet};

/// Components of a path at most: a cycle of directories has no end.
const DEPTH_MAX: usize = 1000;

/// A name: its directory and itself.
type Name = (u64, Box<[u8]>);

/// Adds to each finding the paths of the inodes that it speaks of, as far as they have any.
pub(crate) fn add(volume: &Volume<'_>, passes: &Passes, findings: &mut [Finding]) {
    let mentioned: BTreeSet<u64> = findings.iter().flat_map(Finding::inodes).collect();
    if mentioned.is_empty() {
        return;
    }
    let names = names_of(volume, passes, &mentioned);
    for finding in findings {
        for ino in finding.inodes() {
            if let Some(path) = path(&names, ino) {
                finding.paths.push((ino, path));
            }
        }
    }
}

/// First names of the wanted inodes, and of all directories, since any may be above one of them.
fn names_of(volume: &Volume<'_>, passes: &Passes, wanted: &BTreeSet<u64>) -> BTreeMap<u64, Name> {
    let mut silence = |_: &Finding| {};
    let mut reporter = Reporter::new(&mut silence);
    let overlay: &Overlay = &passes.replay.overlays[TreeId::Names as usize];
    let mut entries = Stream::new(volume, TreeId::Names, &passes.refused, overlay, &mut reporter);
    let mut names = BTreeMap::new();
    while let Some((key, value)) = entries.current() {
        if let (Ok((dir, _, name)), Ok(record)) = (key::decode_name(key), NameRecord::decode(value))
            && (record.kind == FileKind::Directory || wanted.contains(&record.ino))
        {
            names.entry(record.ino).or_insert_with(|| (dir, name.into()));
        }
        entries.advance(&mut reporter);
    }
    names
}

/// Puts names together from the root down; `None` for an inode that nothing leads to.
fn path(names: &BTreeMap<u64, Name>, ino: u64) -> Option<Box<[u8]>> {
    if ino == ROOT_INO {
        return Some(Box::from(&b"/"[..]));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut at = ino;
    while at != ROOT_INO {
        let (dir, name) = names.get(&at).filter(|_| parts.len() < DEPTH_MAX)?;
        parts.push(name);
        at = *dir;
    }
    let joined = parts.iter().rev().flat_map(|part| [&b"/"[..], *part].concat());
    Some(joined.collect())
}
