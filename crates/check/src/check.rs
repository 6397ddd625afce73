//! The whole check: passes in order, then repair if asked for, then the passes again.

use crate::blocks::BlockSet;
use crate::context::{Context, Phase, Progress};
use crate::error::Result;
use crate::finding::{Finding, FindingKind, Location};
use crate::fixes::Fixes;
use crate::passes::inodes::InodePass;
use crate::passes::nodes::NodePass;
use crate::passes::{counts, names, owners, space};
use crate::paths;
use crate::repair;
use crate::replay::Replay;
use crate::report::{Report, Reporter};
use crate::table::Table;
use crate::volume::Volume;
use crate::walk::RefusedEdges;
use ashlar_device::Device;
use ashlar_format::superblock::COPY_COUNT;
use std::fmt;

/// What a check is to do.
pub struct CheckOptions<'a> {
    /// Correct what needs no guess. Nobody may have the volume open.
    pub repair: bool,
    /// Called with each finding, at most [`crate::FINDINGS_PER_KIND_MAX`] times for each kind, when
    /// all are known, in the order of the passes.
    pub on_finding: &'a mut dyn FnMut(&Finding),
    /// Called now and then.
    pub on_progress: &'a mut dyn FnMut(Progress),
}

impl Default for CheckOptions<'_> {
    /// Reads only, says nothing on the way.
    fn default() -> Self {
        // Closures without captures take no memory: these boxes allocate nothing.
        Self {
            repair: false,
            on_finding: Box::leak(Box::new(|_: &Finding| {})),
            on_progress: Box::leak(Box::new(|_: Progress| {})),
        }
    }
}

impl fmt::Debug for CheckOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckOptions").field("repair", &self.repair).finish_non_exhaustive()
    }
}

/// What the passes found out, for repair to build on.
pub(crate) struct Passes {
    pub(crate) replay: Replay,
    pub(crate) table: Table,
    pub(crate) fixes: Fixes,
    /// Blocks of superblock, log, nodes and extents.
    pub(crate) owned: BlockSet,
    pub(crate) refused: RefusedEdges,
}

/// Checks the volume on `device` and, if asked to, repairs it.
///
/// # Errors
/// What keeps the check from running: no valid superblock, unknown features, a device that cannot
/// read the log or write corrections. Everything else is a [`Finding`].
///
/// # Durability
/// When it returns from a repair the corrections are durable. A power cut during repair leaves the
/// volume as it was, or repaired.
pub fn check(device: &dyn Device, options: CheckOptions<'_>) -> Result<Report> {
    let CheckOptions { repair: wanted, on_finding, on_progress } = options;
    let volume = Volume::open(device)?;
    let mut findings = Vec::new();
    let mut keep = |finding: &Finding| findings.push(finding.clone());
    let mut reporter = Reporter::new(&mut keep);
    let passes = run_passes(&volume, &mut reporter, wanted, on_progress);
    let Reporter { report, obstacle, .. } = reporter;
    if let Ok(passes) = &passes {
        paths::add(&volume, passes, &mut findings);
    }
    findings.iter().for_each(on_finding);
    let passes = passes?;
    let something_wrong = report.errors + report.fatal > 0 || volume.damaged_copy.is_some();
    if !wanted || !something_wrong {
        return Ok(report);
    }
    let mut report = report;
    if let Some(obstacle) = obstacle {
        report.repair_refused = Some(format!("{obstacle}: corrections would be guesses"));
        return Ok(report);
    }
    on_progress(Progress { phase: Phase::Repair, done: 0, total: 0 });
    repair::run(&volume, passes)?;
    let left = verify(device, on_progress)?;
    report.repaired = (report.errors + report.fatal).saturating_sub(left);
    report.needs_recovery = false;
    Ok(report)
}

/// Checks what repair wrote; returns how many errors are left.
fn verify(device: &dyn Device, on_progress: &mut dyn FnMut(Progress)) -> Result<u64> {
    on_progress(Progress { phase: Phase::Verify, done: 0, total: 0 });
    let volume = Volume::open(device)?;
    let mut silence = |_: &Finding| {};
    let mut reporter = Reporter::new(&mut silence);
    run_passes(&volume, &mut reporter, false, &mut |_| {})?;
    Ok(reporter.report.errors + reporter.report.fatal)
}

fn run_passes(
    volume: &Volume<'_>,
    reporter: &mut Reporter<'_>,
    wanted: bool,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Passes> {
    check_superblock(volume, reporter);
    on_progress(Progress { phase: Phase::Log, done: 0, total: 0 });
    let replay = Replay::run(volume, reporter)?;
    on_progress(Progress { phase: Phase::Nodes, done: 0, total: 0 });
    let NodePass { mut owned, refused } = NodePass::run(volume, reporter);
    let mut fixes = Fixes::new(wanted);
    let progress = Progress { phase: Phase::Nodes, done: 0, total: 0 };
    let mut context = Context {
        volume,
        replay: &replay,
        refused: &refused,
        reporter,
        fixes: &mut fixes,
        on_progress,
        progress,
    };
    context.begin(Phase::Inodes, Some(ashlar_format::key::TreeId::Inodes));
    let InodePass { mut table, conflicts, more_conflicts } =
        InodePass::run(&mut context, &mut owned);
    if !conflicts.is_empty() {
        owners::run(&mut context, &conflicts);
        context.reporter.report.suppressed += more_conflicts;
    }
    context.begin(Phase::Names, Some(ashlar_format::key::TreeId::Names));
    names::run(&mut context, &mut table);
    counts::run(&mut context, &table);
    context.begin(Phase::Space, None);
    let free = space::run(&mut context, &owned);
    let report = &mut reporter.report;
    report.blocks = volume.superblock.block_count;
    report.blocks_used = owned.count() - volume.superblock.data_start();
    report.blocks_free = free;
    report.replayed_records = replay.replayed;
    report.discarded_records = replay.discarded;
    report.needs_recovery = !volume.superblock.clean;
    Ok(Passes { replay, table, fixes, owned, refused })
}

fn check_superblock(volume: &Volume<'_>, reporter: &mut Reporter<'_>) {
    if let Some(damage) = &volume.damaged_copy {
        let copy = damage.block % COPY_COUNT;
        let problem = damage.problem.clone();
        let kind = FindingKind::SuperblockCopyDamaged { copy, problem };
        reporter.add(Location::volume(), kind);
    }
    let (_, ro_compat, _) = volume.superblock.unknown_features();
    if ro_compat != 0 {
        reporter.add(Location::volume(), FindingKind::UnknownFeatures { ro_compat });
    }
}
