//! `ashlar rm`: removes files of a volume without a mount.

use ashlar::{ErrorKind, Volume};

use crate::failure::{Failure, Result};
use crate::image::{Purpose, Volumes};
use crate::location::Location;

/// Remove files, and with -r directories, of a volume, without mounting it.
///
/// Nothing is asked: the volume has no wastebasket. What was removed before an error stays
/// removed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Remove directories with everything inside
    #[arg(short, long)]
    recursive: bool,
    /// Say nothing about what is not there
    #[arg(short, long)]
    force: bool,
    /// Places in volumes
    #[arg(required = true, value_name = "IMAGE:/PATH")]
    places: Vec<Location>,
}

const EXAMPLES: &str = "\
Examples:
  ashlar rm disk.img:/core
  ashlar rm -r disk.img:/var/cache disk.img:/tmp/build";

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut volumes = Volumes::new(Purpose::Change);
    let mut result = Ok(());
    for place in &arguments.places {
        result = volumes.get(&place.image).and_then(|volume| remove(arguments, volume, place));
        if result.is_err() {
            break;
        }
    }
    result.and(volumes.close())
}

fn remove(arguments: &Arguments, volume: &Volume, place: &Location) -> Result<()> {
    let removed = match volume.symlink_metadata(&place.path) {
        Ok(metadata) if metadata.is_dir() && arguments.recursive => {
            volume.remove_dir_all(&place.path)
        }
        Ok(_) => volume.remove_file(&place.path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound && arguments.force => Ok(()),
        Err(error) if error.kind() == ErrorKind::IsADirectory => {
            Err(Failure::from(error).advise("use -r to remove it with everything inside"))
        }
        other => Ok(other?),
    }
}
