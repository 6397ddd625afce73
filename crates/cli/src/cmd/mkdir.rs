//! `ashlar mkdir`: makes directories in a volume without a mount.

use crate::failure::{Failure, Result};
use crate::image::{Purpose, Volumes};
use crate::location::Location;

/// Make directories in a volume, without mounting it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Make missing directories on the way too; one that is there already is fine
    #[arg(short, long)]
    parents: bool,
    /// Places in volumes
    #[arg(required = true, value_name = "IMAGE:/PATH")]
    places: Vec<Location>,
}

const EXAMPLES: &str = "\
Examples:
  ashlar mkdir disk.img:/home
  ashlar mkdir -p disk.img:/var/lib/app";

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut volumes = Volumes::new(Purpose::Change);
    let mut result = Ok(());
    for place in &arguments.places {
        result = volumes.get(&place.image).and_then(|volume| {
            let made = match arguments.parents {
                true => volume.create_dir_all(&place.path),
                false => volume.create_dir(&place.path),
            };
            made.map_err(Failure::from)
        });
        if result.is_err() {
            break;
        }
    }
    result.and(volumes.close())
}
