//! `ashlar cat`: prints files of a volume without a mount.

use std::io::Write;

use ashlar::OpenOptions;

use crate::failure::Result;
use crate::image::{Purpose, Volumes};
use crate::location::Location;
use crate::output::Output;

/// Print files of a volume to standard output, without mounting it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Files in volumes
    #[arg(required = true, value_name = "IMAGE:/PATH")]
    places: Vec<Location>,
}

const EXAMPLES: &str = "\
Examples:
  ashlar cat disk.img:/etc/hosts
  ashlar cat disk.img:/backup.tar | tar t";

const BUFFER_BYTES: usize = 1 << 20;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut volumes = Volumes::new(Purpose::Read);
    let mut output = Output::new();
    let mut buf = vec![0; BUFFER_BYTES];
    for place in &arguments.places {
        let volume = volumes.get(&place.image)?;
        let file = volume.open(&place.path, OpenOptions::new().read(true))?;
        let mut offset = 0;
        loop {
            let count = file.read_at(offset, &mut buf)?;
            if count == 0 {
                break;
            }
            output.write_all(&buf[..count])?;
            offset += count as u64;
        }
    }
    output.finish()?;
    volumes.close()
}
