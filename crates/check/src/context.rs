//! What every pass works with.

use crate::finding::{FindingKind, Location};
use crate::fixes::Fixes;
use crate::replay::Replay;
use crate::report::Reporter;
use crate::stream::Stream;
use crate::volume::Volume;
use crate::walk::RefusedEdges;
use ashlar_format::key::TreeId;

/// Entries between two calls of the progress function.
const TICK_ENTRIES: u64 = 4096;

/// Part of a check, for showing progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Reading the log.
    Log,
    /// Inner nodes of the trees.
    Nodes,
    /// Inodes, extents, attributes, orphans; counted in inodes.
    Inodes,
    /// Names; counted in names.
    Names,
    /// Free space.
    Space,
    /// Writing corrections.
    Repair,
    /// Checking again what was written.
    Verify,
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Part of the check.
    pub phase: Phase,
    /// Things done of this part.
    pub done: u64,
    /// Things to do, as far as the superblock tells; 0 where that is not known.
    pub total: u64,
}

/// Borrowed by the passes in turn.
pub(crate) struct Context<'a, 'r> {
    pub(crate) volume: &'a Volume<'a>,
    pub(crate) replay: &'a Replay,
    pub(crate) refused: &'a RefusedEdges,
    pub(crate) reporter: &'a mut Reporter<'r>,
    pub(crate) fixes: &'a mut Fixes,
    pub(crate) on_progress: &'a mut dyn FnMut(Progress),
    pub(crate) progress: Progress,
}

impl<'a> Context<'a, '_> {
    /// Entries of a tree as they are after replay.
    pub(crate) fn stream(&mut self, tree: TreeId) -> Stream<'a> {
        let overlay = &self.replay.overlays[tree as usize];
        Stream::new(self.volume, tree, self.refused, overlay, self.reporter)
    }

    /// Begins a phase that visits a tree's entries.
    pub(crate) fn begin(&mut self, phase: Phase, tree: Option<TreeId>) {
        let root = tree.and_then(|tree| self.volume.superblock.roots[tree as usize]);
        self.progress = Progress { phase, done: 0, total: root.map_or(0, |root| root.count) };
        (self.on_progress)(self.progress);
    }

    /// One more entry is done.
    pub(crate) fn tick(&mut self) {
        self.progress.done += 1;
        if self.progress.done.is_multiple_of(TICK_ENTRIES) {
            (self.on_progress)(self.progress);
        }
    }

    /// Reports an entry that does not decode: what it said is missing from now on.
    pub(crate) fn damaged_entry(&mut self, tree: TreeId, at: Location, problem: String) {
        self.reporter.set_incomplete(tree);
        self.reporter.add(at, FindingKind::EntryDamaged { problem });
    }

    /// Compares a tree's count of entries with what a whole walk found.
    pub(crate) fn check_count(&mut self, stream: &Stream<'_>) {
        let tree = stream.tree();
        let recorded = self.volume.superblock.roots[tree as usize].map_or(0, |root| root.count);
        let counted = stream.leaf_entries();
        if counted != recorded && self.reporter.is_complete(tree) {
            let kind = FindingKind::TreeCountWrong { counted, recorded };
            self.reporter.add(Location::tree(tree), kind);
        }
    }
}
