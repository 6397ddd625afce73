//! `ashlar fsck`: checks a volume, and repairs what can be repaired without guessing.

use std::fs::File;
use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};

use ashlar::Volume;
use ashlar_check::{CheckOptions, Finding, Phase, Progress, Report, Severity};
use ashlar_device::{FileDevice, OpenMode};

use crate::failure::{Failure, Result};
use crate::image::patiently;
use crate::in_use;
use crate::output::say;
use crate::size::Size;

/// Check a volume, and repair it with -y.
///
/// Reads all metadata, compares everything that must agree, and says what is wrong and where. The
/// check knows the format by itself and shares no code with the file system, so that a mistake in
/// one does not hide in the other. A volume that was merely not unmounted is not damaged: its log
/// is taken into account, and the next mount recovers it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Change nothing; this is the default
    #[arg(short = 'n', conflicts_with_all = ["yes", "preen"])]
    no: bool,
    /// Recover the volume, and repair whatever needs no guessing
    #[arg(short = 'y')]
    yes: bool,
    /// At boot: recover the volume if it was not unmounted; check and repair only with -f
    #[arg(short = 'a', visible_short_alias = 'p', conflicts_with = "yes")]
    preen: bool,
    /// With -a: check even if the volume seems clean
    #[arg(short)]
    force: bool,
    /// Also print notes and what was counted
    #[arg(short, long)]
    verbose: bool,
    /// Show progress
    #[arg(short = 'C')]
    progress: bool,
    /// Write progress lines to an open descriptor, as fsck(8) asks with -C<FD>
    #[arg(long, value_name = "FD", hide = true)]
    progress_descriptor: Option<u32>,
    /// Image file or block device
    image: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  ashlar fsck disk.img                what is wrong?
  ashlar fsck -y disk.img             put it right
  ashlar fsck -a /dev/vdb             what happens at boot

Exit codes, added up: 0 nothing wrong, 1 errors were corrected, 4 errors are left, 8 the check
could not be done, 16 wrong command line.";

/// The check could not be done.
pub(crate) const EXIT_OPERATIONAL: u8 = 8;
/// Wrong command line.
pub(crate) const EXIT_USAGE: u8 = 16;

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let image = arguments.image.as_path();
    check(arguments, image).map_err(|failure| failure.with_code(EXIT_OPERATIONAL))
}

fn check(arguments: &Arguments, image: &Path) -> Result<u8> {
    if (arguments.preen || arguments.yes)
        && let Some(outcome) = recover(arguments, image)?
    {
        return Ok(outcome);
    }
    let repair = arguments.yes || arguments.preen;
    let mode = OpenMode { read_only: !repair, ..OpenMode::default() };
    let open = || FileDevice::open(image, mode);
    let device = patiently(image, ashlar_device::DeviceError::errno, open)
        .map_err(|error| busy(image, &error))?;
    let mut progress = Show::new(arguments, image)?;
    let mut on_finding = |finding: &Finding| {
        if finding.severity > Severity::Note || arguments.verbose {
            say(format_args!("{}: {finding}", image.display()));
        }
    };
    let report = ashlar_check::check(
        &device,
        CheckOptions {
            repair,
            on_finding: &mut on_finding,
            on_progress: &mut |step| progress.step(step),
        },
    )
    .map_err(|error| Failure::new(format!("{}: {error}", image.display())))?;
    progress.finish();
    Ok(conclude(arguments, image, &report))
}

/// Mounts and unmounts a volume that was not closed, so that its log is replayed by the code that
/// wrote it. Returns the exit code if that is all there is to do.
fn recover(arguments: &Arguments, image: &Path) -> Result<Option<u8>> {
    let enough = arguments.preen && !arguments.force;
    let open = || Volume::options().open(image);
    let opened = patiently(image, ashlar::Error::errno, open);
    match opened.and_then(Volume::close) {
        Ok(()) if enough => {
            say(format_args!("{}: clean", image.display()));
            Ok(Some(0))
        }
        Ok(()) => Ok(None),
        Err(error) if matches!(error.errno(), libc::EBUSY | libc::EAGAIN) => {
            Err(in_use_failure(image))
        }
        // What no mount accepts may still be repaired.
        Err(error) => {
            say(format_args!("{}: it cannot be mounted: {error}", image.display()));
            Ok(None)
        }
    }
}

fn busy(image: &Path, error: &ashlar_device::DeviceError) -> Failure {
    match error.errno() {
        libc::EBUSY | libc::EAGAIN => in_use_failure(image),
        _ => Failure::new(error.to_string()),
    }
}

fn in_use_failure(image: &Path) -> Failure {
    let how = in_use::in_use(image).ok().flatten();
    let how = how.unwrap_or_else(|| "open in another program".to_owned());
    Failure::new(format!("{} is {how}", image.display()))
        .advise("unmount it first: what changes meanwhile would look like damage")
}

/// Says how it ended and returns the exit code.
fn conclude(arguments: &Arguments, image: &Path, report: &Report) -> u8 {
    let name = image.display();
    if let Some(reason) = &report.repair_refused {
        say(format_args!("{name}: nothing was repaired: {reason}"));
    }
    if report.suppressed > 0 {
        say(format_args!("{name}: {} more findings of these kinds", report.suppressed));
    }
    if arguments.verbose {
        print_counts(image, report);
    }
    let wrong = report.errors + report.fatal;
    let left = wrong.saturating_sub(report.repaired);
    match (wrong, left) {
        (0, _) if report.needs_recovery => {
            say(format_args!("{name}: sound; was not unmounted, the next mount recovers it"));
        }
        (0, _) => say(format_args!("{name}: clean")),
        (wrong, 0) => say(format_args!("{name}: {wrong} errors, all repaired")),
        (wrong, left) if report.repaired > 0 => {
            say(format_args!("{name}: {left} of {wrong} errors left"));
        }
        _ if arguments.yes || arguments.preen => say(format_args!("{name}: {wrong} errors")),
        _ => {
            say(format_args!(
                "{name}: {wrong} errors; `ashlar fsck -y {name}` repairs what it can"
            ));
        }
    }
    u8::try_from(report.exit_code()).unwrap_or(EXIT_OPERATIONAL)
}

fn print_counts(image: &Path, report: &Report) {
    let name = image.display();
    say(format_args!(
        "{name}: {} files, {} directories, {} others, {} orphans",
        report.files, report.directories, report.others, report.orphans
    ));
    let bytes = |blocks: u64| Size(blocks.saturating_mul(ashlar_format::BLOCK_SIZE as u64));
    say(format_args!(
        "{name}: {} of {} in use, {} free",
        bytes(report.blocks_used),
        bytes(report.blocks),
        bytes(report.blocks_free)
    ));
    say(format_args!(
        "{name}: {} log records to replay, {} left out as unfinished",
        report.replayed_records, report.discarded_records
    ));
}

/// How progress is shown.
enum Show {
    Nothing,
    /// One line on the terminal, overwritten.
    Terminal,
    /// `pass done total device` lines for fsck(8).
    Lines {
        file: File,
        device: String,
    },
}

impl Show {
    fn new(arguments: &Arguments, image: &Path) -> Result<Show> {
        match arguments.progress_descriptor {
            // fsck(8) says 0 for "as you like".
            Some(0) => {}
            Some(descriptor) => {
                let path = PathBuf::from(format!("/proc/self/fd/{descriptor}"));
                let file = File::options().append(true).open(&path);
                let file = file.map_err(|error| Failure::host("open", &path, &error))?;
                return Ok(Show::Lines { file, device: image.display().to_string() });
            }
            None if !arguments.progress => return Ok(Show::Nothing),
            None => {}
        }
        Ok(if stderr().is_terminal() { Show::Terminal } else { Show::Nothing })
    }

    fn step(&mut self, step: Progress) {
        let (pass, name) = pass(step.phase);
        let Progress { done, total, .. } = step;
        match self {
            Show::Nothing => {}
            Show::Terminal if total > 0 => {
                let percent = done.saturating_mul(100) / total;
                overwrite(format_args!("{name}: {percent} %"));
            }
            Show::Terminal => overwrite(format_args!("{name}")),
            Show::Lines { file, device } => {
                // Whoever reads it may have gone; the check goes on.
                let _ = writeln!(file, "{pass} {done} {total} {device}");
            }
        }
    }

    fn finish(&self) {
        if matches!(self, Show::Terminal) {
            overwrite(format_args!(""));
        }
    }
}

/// Replaces the line on the terminal; that it went away is no reason to stop.
fn overwrite(line: std::fmt::Arguments<'_>) {
    let _ = write!(stderr(), "\r{line}\x1b[K");
}

/// Number and name of a part of the check.
fn pass(phase: Phase) -> (u32, &'static str) {
    match phase {
        Phase::Log => (1, "reading the log"),
        Phase::Nodes => (2, "checking trees"),
        Phase::Inodes => (3, "checking files"),
        Phase::Names => (4, "checking names"),
        Phase::Space => (5, "checking free space"),
        Phase::Repair => (6, "repairing"),
        Phase::Verify => (7, "checking repairs"),
        _ => (8, "working"),
    }
}
