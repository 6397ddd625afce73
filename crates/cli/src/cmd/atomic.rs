//! `ashlar atomic`: which files are failure-atomic for whoever opens them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ashlar::{AtomicClose, Volume};
use ashlar_fuse::ioctl;

use crate::failure::{Failure, Result};
use crate::image::{Purpose, Volumes};
use crate::location::Location;
use crate::output::Output;

/// Make files failure-atomic, or show which ones are.
///
/// After a crash an atomic file holds exactly what its last fsync committed, whatever was written
/// since, size included. That goes for all programs that open it for writing from now on. What was
/// not committed when the last of them closes the file is discarded, unless --close commit.
///
/// New files and directories inherit this from the directory in which they are made.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// What the last close does with changes that were not committed
    #[arg(long, value_enum, default_value = "discard", value_name = "WHAT")]
    close: Close,
    /// `on` or `off`, to change something; files and directories, on a mount or as IMAGE:/PATH
    #[arg(required = true, value_name = "on|off|PATH")]
    words: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  ashlar atomic on /mnt/app.db                     for a database
  ashlar atomic on --close commit /mnt/documents   for programs that never call fsync
  ashlar atomic off disk.img:/app.db               without a mount
  ashlar atomic /mnt/*                             show

A file that is called `on` or `off` is named as `./on`. The mount options atomic=discard and
atomic=commit make all files atomic.";

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Close {
    Discard,
    Commit,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let close = match arguments.close {
        Close::Discard => AtomicClose::Discard,
        Close::Commit => AtomicClose::Commit,
    };
    let (change, paths) = match arguments.words.split_first() {
        Some((first, rest)) if first == "on" => (Some(Some(close)), rest),
        Some((first, rest)) if first == "off" => (Some(None), rest),
        _ => (None, &arguments.words[..]),
    };
    if paths.is_empty() {
        return Err(Failure::usage("name at least one file or directory"));
    }
    let purpose = if change.is_some() { Purpose::Change } else { Purpose::Read };
    let mut volumes = Volumes::new(purpose);
    let mut output = Output::new();
    let mut result = Ok(());
    for path in paths {
        result = one(&mut volumes, &mut output, path, change);
        if result.is_err() {
            break;
        }
    }
    result.and(volumes.close())?;
    Ok(output.finish()?)
}

/// Changes or shows one file.
fn one(
    volumes: &mut Volumes,
    output: &mut Output,
    path: &OsStr,
    change: Option<Option<AtomicClose>>,
) -> Result<()> {
    let state = match Location::parse(path).filter(|place| is_image(&place.image)) {
        Some(place) => inside(volumes.get(&place.image)?, &place.path, change)?,
        None => mounted(Path::new(path), change)?,
    };
    if change.is_some() {
        return Ok(());
    }
    let word = match state {
        None => "off",
        Some(AtomicClose::Discard) => "on, close discards",
        Some(AtomicClose::Commit) => "on, close commits",
    };
    write!(output, "{word:<20}")?;
    output.name(path)?;
    Ok(writeln!(output)?)
}

/// Directories and missing files before the colon are part of a path like any other.
fn is_image(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_dir())
}

fn inside(
    volume: &Volume,
    path: &Path,
    change: Option<Option<AtomicClose>>,
) -> Result<Option<AtomicClose>> {
    if let Some(close) = change {
        volume.set_atomic(path, close)?;
    }
    Ok(volume.atomic(path)?)
}

fn mounted(path: &Path, change: Option<Option<AtomicClose>>) -> Result<Option<AtomicClose>> {
    let file = File::open(path).map_err(|error| Failure::host("open", path, &error))?;
    if let Some(close) = change {
        ioctl::set_atomic(&file, close).map_err(|error| on_mount("change", path, &error))?;
    }
    ioctl::atomic(&file).map_err(|error| on_mount("examine", path, &error))
}

/// An ioctl of ours that failed.
pub(super) fn on_mount(action: &str, path: &Path, error: &io::Error) -> Failure {
    if error.raw_os_error() == Some(rustix::io::Errno::NOTTY.raw_os_error()) {
        let path = PathBuf::from(path);
        return Failure::new(format!("{} is not on a mounted volume", path.display()))
            .advise("name a file below the directory where a volume is mounted, or IMAGE:/PATH");
    }
    Failure::host(action, path, error)
}
