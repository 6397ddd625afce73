//! `ashlar mkfs`: makes a volume, and refuses to destroy anything by accident.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use ashlar::Volume;

use crate::failure::{Failure, Result};
use crate::in_use;
use crate::output::say;
use crate::probe;
use crate::size::Size;

/// Make a volume in an image file or on a block device.
///
/// Whatever the file or device holds is lost. So mkfs looks first: it refuses a file that is not
/// empty, and a device that holds a file system, a partition table, swap, RAID or LVM, unless
/// --force is given. A device or image in use is refused in any case.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Size of the volume; needed for a new image file. Default: what the file or device has
    #[arg(long, value_name = "SIZE")]
    pub(crate) size: Option<Size>,
    /// Name of the volume, at most 64 bytes
    #[arg(short = 'L', long, default_value = "")]
    pub(crate) label: String,
    /// Identity of the volume. Default: random
    #[arg(short = 'U', long, value_parser = parse_uuid)]
    pub(crate) uuid: Option<Uuid>,
    /// Write the whole image once: slower to make, faster and certain of its space later
    #[arg(long)]
    pub(crate) prealloc: bool,
    /// Overwrite what is there
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Check everything, then do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Say nothing unless something is wrong
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Image file or block device
    pub(crate) image: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  ashlar mkfs --size 10G disk.img            a new image file, sparse: it grows as it fills
  ashlar mkfs --size 10G --prealloc disk.img the same with its space taken at once
  ashlar mkfs -L backup /dev/vdb             a whole block device
  ashlar mkfs --force /dev/vdb               …even if something is on it";

/// Identity of a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Uuid(pub(crate) [u8; 16]);

/// `8-4-4-4-12` hexadecimal digits; hyphens may be left out.
pub(crate) fn parse_uuid(text: &str) -> Result<Uuid, String> {
    let malformed = || {
        "a UUID has 32 hexadecimal digits, as in 6ba7b810-9dad-11d1-80b4-00c04fd430c8".to_owned()
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let digits = std::str::from_utf8(&digits).map_err(|_| malformed())?;
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    let number = u128::from_str_radix(digits, 16).map_err(|_| malformed())?;
    Ok(Uuid(number.to_be_bytes()))
}

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let image = &arguments.image;
    check_target(arguments)?;
    if arguments.dry_run {
        if !arguments.quiet {
            say(format_args!("{}: a volume could be made; nothing was changed", image.display()));
        }
        return Ok(());
    }
    let mut options =
        Volume::options().label(&arguments.label).prealloc(arguments.prealloc).overwrite(true);
    if let Some(Size(bytes)) = arguments.size {
        options = options.size(bytes);
    }
    if let Some(Uuid(uuid)) = arguments.uuid {
        options = options.uuid(uuid);
    }
    let volume = options.create(image).map_err(|error| Failure::new(error.to_string()))?;
    let (size, uuid) = (Size(volume.stat().total_bytes), Uuid(volume.uuid()));
    volume.close()?;
    if !arguments.quiet {
        let label = match arguments.label.as_str() {
            "" => String::new(),
            label => format!(", label \"{label}\""),
        };
        let image = image.display();
        say(format_args!("{image}: Ashlar volume, {size} to use{label}, UUID {uuid}"));
    }
    Ok(())
}

/// Refuses what must not be overwritten.
fn check_target(arguments: &Arguments) -> Result<()> {
    let image = arguments.image.as_path();
    let host = |action: &'static str| move |error: io::Error| Failure::host(action, image, &error);
    let metadata = match image.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if arguments.size.is_some() { Ok(()) } else { Err(missing(image)) };
        }
        Err(error) => return Err(host("examine")(error)),
    };
    let block_device = metadata.file_type().is_block_device();
    if !block_device && !metadata.is_file() {
        let what = if metadata.is_dir() { "a directory" } else { "no file or block device" };
        return Err(Failure::new(format!("{} is {what}", image.display()))
            .advise("name an image file or a block device"));
    }
    if let Some(how) = in_use::in_use(image).map_err(host("examine"))? {
        return Err(Failure::new(format!("{} is {how}", image.display()))
            .advise("unmount it or stop using it first; --force does not override this"));
    }
    if metadata.len() == 0 && !block_device && arguments.size.is_none() {
        return Err(missing(image));
    }
    if arguments.force {
        return Ok(());
    }
    let file = File::open(image).map_err(host("open"))?;
    match contents(&file, &metadata).map_err(host("read"))? {
        None => Ok(()),
        Some(what) => Err(Failure::new(format!("{} holds {what}", image.display()))
            .advise("choose another place, or destroy it for good with --force")),
    }
}

fn missing(image: &Path) -> Failure {
    Failure::usage(format!("{} is missing or empty, and no size is given", image.display()))
        .advise(format!("ashlar mkfs --size 1G {}", image.display()))
}

/// What would be destroyed, in words.
fn contents(file: &File, metadata: &Metadata) -> io::Result<Option<&'static str>> {
    let block_device = metadata.file_type().is_block_device();
    // A block device's length is where its end can be sought.
    let size = if block_device {
        io::Seek::seek(&mut &*file, io::SeekFrom::End(0))?
    } else {
        metadata.len()
    };
    if let Some(what) = probe::probe(file, size)? {
        return Ok(Some(what));
    }
    // A blank disk often holds old bytes that mean nothing; a file is there for a purpose.
    if !block_device && probe::has_data(file)? {
        return Ok(Some("data"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_is_read_and_written_alike() {
        let text = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        assert_eq!(parse_uuid(text).unwrap().to_string(), text);
        assert_eq!(parse_uuid(&text.replace('-', "")).unwrap().to_string(), text);
        assert!(parse_uuid("6ba7b810").is_err());
        assert!(parse_uuid(&text.replace('6', "g")).is_err());
        assert!(parse_uuid("+ba7b8109dad11d180b400c04fd430c8").is_err());
    }
}
