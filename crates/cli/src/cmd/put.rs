//! `ashlar put`: copies into a volume without a mount.

use std::path::PathBuf;

use crate::copy::put::{Put, bytes_in};
use crate::copy::{Attributes, Job, target_of};
use crate::failure::{Failure, Result};
use crate::image::{self, Purpose};
use crate::location::Location;
use crate::progress::{Progress, When};

/// Copy files and directories into a volume, without mounting it.
///
/// Works like cp -r: into the target if it is a directory, else under the target's name. Symbolic
/// links are copied as links, holes stay holes. Everything is durable when the command succeeds.
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
    #[arg(required = true)]
    sources: Vec<PathBuf>,
    /// Where to
    #[arg(value_name = "IMAGE:/PATH")]
    target: Location,
}

const EXAMPLES: &str = "\
Examples:
  ashlar put notes.txt disk.img:/
  ashlar put -a /etc /home disk.img:/backup
  ashlar put -a site/. disk.img:/www         what is inside of site, not site itself";

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Location { image, path: target } = &arguments.target;
    let volume = image::open(image, Purpose::Change)?;
    let target_is_dir = volume.metadata(target).is_ok_and(|found| found.is_dir());
    if !target_is_dir && arguments.sources.len() > 1 {
        let problem = format!("{} is no directory", arguments.target.display());
        return Err(Failure::new(problem).advise("make it with `ashlar mkdir`"));
    }
    let mut total = 0;
    if Progress::is_wanted(arguments.progress) {
        total = arguments.sources.iter().map(|path| bytes_in(path)).sum();
    }
    let attributes = if arguments.archive { Attributes::Archive } else { Attributes::Plain };
    let progress = Progress::start(arguments.progress, total);
    let mut put = Put::new(&volume, image, Job::new(attributes, image::umask(), progress));
    let mut copied = Ok(());
    for source in &arguments.sources {
        copied =
            target_of(source, target, target_is_dir).and_then(|target| put.tree(source, &target));
        if copied.is_err() {
            break;
        }
    }
    let finished = put.finish();
    let closed = volume.close().map_err(Failure::from);
    copied.and(finished).and(closed)
}
