//! `ashlar get`: copies out of a volume without a mount.

use std::path::PathBuf;

use crate::copy::get::{Get, bytes_in};
use crate::copy::{Attributes, Job, target_of};
use crate::failure::{Failure, Result};
use crate::image::{self, Purpose, Volumes};
use crate::location::Location;
use crate::progress::{Progress, When};

/// Copy files and directories out of a volume, without mounting it.
///
/// Works like cp -r: into the target if it is a directory, else under the target's name. Symbolic
/// links are copied as links, holes stay holes. The volume is not changed, and may be damaged:
/// what can be read is copied.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Keep owners, modes, times, hard links, extended attributes and ACLs
    #[arg(short, long)]
    archive: bool,
    /// When to show progress
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    progress: When,
    /// What to copy
    #[arg(required = true, value_name = "IMAGE:/PATH")]
    sources: Vec<Location>,
    /// Where to
    target: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  ashlar get disk.img:/notes.txt .
  ashlar get -a disk.img:/ rescued           the whole volume";

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let target_is_dir = arguments.target.is_dir();
    if !target_is_dir && arguments.sources.len() > 1 {
        let problem = format!("{} is no directory", arguments.target.display());
        return Err(Failure::new(problem).advise("make it with mkdir"));
    }
    let mut volumes = Volumes::new(Purpose::Read);
    let mut total = 0;
    if Progress::is_wanted(arguments.progress) {
        for source in &arguments.sources {
            total += bytes_in(volumes.get(&source.image)?, &source.path);
        }
    }
    let attributes = if arguments.archive { Attributes::Archive } else { Attributes::Plain };
    let progress = Progress::start(arguments.progress, total);
    let mut job = Job::new(attributes, image::umask(), progress);
    for source in &arguments.sources {
        let target = target_of(&source.path, &arguments.target, target_is_dir)?;
        let mut get = Get::new(volumes.get(&source.image)?, job);
        get.tree(&source.path, &target)?;
        job = get.into_job();
    }
    job.finish()?;
    volumes.close()
}
