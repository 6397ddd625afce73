//! Collects findings on their way to the caller, and what a check counted.

use crate::finding::{Finding, FindingKind, Location, Severity};
use ashlar_format::key::{TREE_COUNT, TreeId};
use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

/// Findings of one kind that are handed to the caller; more are only counted.
pub const FINDINGS_PER_KIND_MAX: u64 = 1000;

/// What a check counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Findings that are only worth knowing.
    pub notes: u64,
    /// Unusual but harmless.
    pub warnings: u64,
    /// Violated invariants.
    pub errors: u64,
    /// Parts of the volume that could not be read.
    pub fatal: u64,
    /// Findings beyond [`FINDINGS_PER_KIND_MAX`] of their kind, not handed to the caller.
    pub suppressed: u64,
    /// Errors and fatal findings that are gone after repair.
    pub repaired: u64,
    /// Why nothing was written although repair was asked for and something is wrong.
    pub repair_refused: Option<String>,
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Other inodes: symbolic links, devices, pipes, sockets.
    pub others: u64,
    /// Inodes without a name, or with a truncate to finish: the next mount deals with them.
    pub orphans: u64,
    /// Blocks of the volume, superblock and log included.
    pub blocks: u64,
    /// Blocks in use by files and nodes.
    pub blocks_used: u64,
    /// Blocks free.
    pub blocks_free: u64,
    /// Log records that a mount replays.
    pub replayed_records: u64,
    /// Whole log records that never finished and are left out.
    pub discarded_records: u64,
    /// The volume was not unmounted cleanly: the next mount replays the log. Everything was
    /// checked as it will be then.
    pub needs_recovery: bool,
}

impl Report {
    /// Errors that are still there.
    #[must_use]
    pub fn uncorrected(&self) -> u64 {
        (self.errors + self.fatal).saturating_sub(self.repaired)
    }

    /// Exit status as fsck(8) defines it: 0 nothing wrong, 1 corrected, 4 errors left. The value
    /// for a check that ended with an [`crate::Error`] is [`Self::EXIT_OPERATIONAL`].
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match (self.uncorrected(), self.repaired) {
            (0, 0) => 0,
            (0, _) => 1,
            _ => 4,
        }
    }

    /// Exit status when the check itself failed.
    pub const EXIT_OPERATIONAL: i32 = 8;
}

/// Takes findings from the passes.
pub(crate) struct Reporter<'a> {
    sink: &'a mut dyn FnMut(&Finding),
    per_kind: HashMap<Discriminant<FindingKind>, u64>,
    pub(crate) report: Report,
    /// What makes every correction a guess, if anything.
    pub(crate) obstacle: Option<&'static str>,
    /// Trees of which some part was not seen: what is missing there may not be missing.
    incomplete: [bool; TREE_COUNT],
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(sink: &'a mut dyn FnMut(&Finding)) -> Self {
        Self {
            sink,
            per_kind: HashMap::new(),
            report: Report::default(),
            obstacle: None,
            incomplete: [false; TREE_COUNT],
        }
    }

    pub(crate) fn add(&mut self, at: Location, kind: FindingKind) {
        let finding = Finding::new(at, kind);
        let report = &mut self.report;
        match finding.severity {
            Severity::Note => report.notes += 1,
            Severity::Warning => report.warnings += 1,
            Severity::Error => report.errors += 1,
            Severity::Fatal => report.fatal += 1,
        }
        self.obstacle = self.obstacle.or(finding.obstacle());
        let seen = self.per_kind.entry(discriminant(&finding.kind)).or_default();
        *seen += 1;
        if *seen <= FINDINGS_PER_KIND_MAX {
            (self.sink)(&finding);
        } else {
            report.suppressed += 1;
        }
    }

    pub(crate) fn set_incomplete(&mut self, tree: TreeId) {
        self.incomplete[tree as usize] = true;
    }

    pub(crate) fn is_complete(&self, tree: TreeId) -> bool {
        !self.incomplete[tree as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_of_one_kind_is_counted_but_not_handed_on() {
        let mut handed = 0;
        let mut sink = |_: &Finding| handed += 1;
        let mut reporter = Reporter::new(&mut sink);
        for block in 0..FINDINGS_PER_KIND_MAX + 7 {
            reporter.add(Location::blocks(block, 1), FindingKind::Leaked);
        }
        reporter.add(Location::inode(1), FindingKind::RootMissing);
        let report = reporter.report.clone();
        assert_eq!((report.errors, report.suppressed), (FINDINGS_PER_KIND_MAX + 8, 7));
        assert!(reporter.obstacle.is_some());
        assert_eq!(handed, FINDINGS_PER_KIND_MAX + 1);
    }

    #[test]
    fn exit_code_follows_fsck() {
        let clean = Report { warnings: 3, ..Report::default() };
        let corrected = Report { errors: 2, repaired: 2, ..Report::default() };
        let left = Report { errors: 2, fatal: 1, repaired: 2, ..Report::default() };
        assert_eq!([clean, corrected, left].map(|r| r.exit_code()), [0, 1, 4]);
    }
}
