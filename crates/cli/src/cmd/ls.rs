//! `ashlar ls`: lists directories of a volume without a mount.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ashlar::{Metadata, Volume};
use serde::Serialize;

use crate::failure::Result;
use crate::image::{Purpose, Volumes};
use crate::location::Location;
use crate::mode;
use crate::output::Output;

/// List directories and files of a volume, without mounting it.
///
/// Every entry is listed, also those that start with a dot, sorted by name. Owners are numbers
/// and times are UTC, since the volume may come from another machine.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Show mode, links, owner, group, size and time of each entry
    #[arg(short)]
    long: bool,
    /// List directories inside too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Print a JSON array of entries with all attributes
    #[arg(long)]
    json: bool,
    /// Places in volumes
    #[arg(required = true, value_name = "IMAGE:/PATH")]
    places: Vec<Location>,
}

const EXAMPLES: &str = "\
Examples:
  ashlar ls disk.img:/
  ashlar ls -l disk.img:/etc/hosts
  ashlar ls -R --json disk.img:/ | jq -r '.[] | select(.size > 1e6) | .path'";

/// One entry as JSON shows it.
#[derive(Serialize)]
struct Entry {
    path: String,
    /// The path's bytes in hexadecimal where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    kind: &'static str,
    ino: u64,
    mode: String,
    nlink: u32,
    uid: u32,
    gid: u32,
    size: u64,
    /// In units of 512 bytes.
    blocks: u64,
    modified: String,
    modified_seconds: i64,
    modified_nanoseconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut volumes = Volumes::new(Purpose::Read);
    let mut list = List { arguments, output: Output::new(), entries: Vec::new(), headed: false };
    let heads = arguments.recursive || arguments.places.len() > 1;
    for place in &arguments.places {
        let volume = volumes.get(&place.image)?;
        let metadata = volume.symlink_metadata(&place.path)?;
        // Without -l, or with a trailing slash, a link to a directory shows the directory.
        let metadata = match metadata.is_symlink() && !arguments.long {
            true => volume.metadata(&place.path).unwrap_or(metadata),
            false => metadata,
        };
        if metadata.is_dir() {
            list.directory(volume, place, &place.path, heads)?;
        } else {
            list.entry(volume, &place.path, place.path.as_os_str(), &metadata)?;
        }
    }
    if arguments.json {
        list.output.json(&list.entries)?;
    }
    list.output.finish()?;
    volumes.close()
}

struct List<'a> {
    arguments: &'a Arguments,
    output: Output,
    /// For JSON only.
    entries: Vec<Entry>,
    /// Something was printed before: the next heading needs a blank line.
    headed: bool,
}

impl List<'_> {
    /// Lists a directory, and those inside if asked for; depth costs memory, not stack.
    fn directory(
        &mut self,
        volume: &Volume,
        place: &Location,
        path: &Path,
        heads: bool,
    ) -> Result<()> {
        let mut waiting = vec![path.to_owned()];
        while let Some(dir) = waiting.pop() {
            if heads && !self.arguments.json {
                self.heading(place, &dir)?;
            }
            let below = self.one_directory(volume, &dir)?;
            if self.arguments.recursive {
                waiting.extend(below.into_iter().rev());
            }
        }
        Ok(())
    }

    /// Lists one directory and returns the directories in it, in order.
    fn one_directory(&mut self, volume: &Volume, dir: &Path) -> Result<Vec<PathBuf>> {
        let mut names: Vec<OsString> = Vec::new();
        for entry in volume.read_dir(dir)? {
            names.push(entry?.file_name().to_owned());
        }
        names.sort();
        let mut below = Vec::new();
        for name in names {
            let path = dir.join(&name);
            let metadata = volume.symlink_metadata(&path)?;
            self.entry(volume, &path, &name, &metadata)?;
            if metadata.is_dir() {
                below.push(path);
            }
        }
        Ok(below)
    }

    fn heading(&mut self, place: &Location, dir: &Path) -> Result<()> {
        if self.headed {
            writeln!(self.output)?;
        }
        self.headed = true;
        write!(self.output, "{}:", place.image.display())?;
        self.output.name(dir.as_os_str())?;
        writeln!(self.output, ":")?;
        Ok(())
    }

    fn entry(
        &mut self,
        volume: &Volume,
        path: &Path,
        name: &OsStr,
        metadata: &Metadata,
    ) -> Result<()> {
        self.headed = true;
        let wants_target = metadata.is_symlink() && (self.arguments.long || self.arguments.json);
        let target = if wants_target { Some(volume.read_link(path)?) } else { None };
        if self.arguments.json {
            self.entries.push(entry(path, metadata, target.as_deref()));
            return Ok(());
        }
        if self.arguments.long {
            write!(self.output, "{}", details(metadata))?;
        }
        self.output.name(name)?;
        if let Some(target) = target {
            write!(self.output, " -> ")?;
            self.output.name(target.as_os_str())?;
        }
        writeln!(self.output)?;
        Ok(())
    }
}

/// The columns in front of the name, with a space behind each.
fn details(metadata: &Metadata) -> String {
    let size = match metadata.device() {
        Some((major, minor)) => format!("{major}, {minor}"),
        None => metadata.len().to_string(),
    };
    let (seconds, _) = mode::since_1970(metadata.modified());
    format!(
        "{} {:>3} {:>5} {:>5} {size:>12} {} ",
        mode::letters(metadata.kind(), metadata.mode()),
        metadata.nlink(),
        metadata.uid(),
        metadata.gid(),
        mode::utc(seconds),
    )
}

fn entry(path: &Path, metadata: &Metadata, target: Option<&Path>) -> Entry {
    let (modified_seconds, modified_nanoseconds) = mode::since_1970(metadata.modified());
    let bytes = path.as_os_str().as_bytes();
    let hex = || bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Entry {
        path: path.to_string_lossy().into_owned(),
        path_hex: path.to_str().is_none().then(hex),
        kind: mode::kind_name(metadata.kind()),
        ino: metadata.ino(),
        mode: format!("{:04o}", metadata.mode()),
        nlink: metadata.nlink(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: metadata.len(),
        blocks: metadata.blocks(),
        modified: format!("{}Z", mode::utc(modified_seconds).replace(' ', "T")),
        modified_seconds,
        modified_nanoseconds,
        target: target.map(|target| target.to_string_lossy().into_owned()),
    }
}
