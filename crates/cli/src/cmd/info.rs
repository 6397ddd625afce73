//! `ashlar info`: what a volume is, how full it is, and what state it is in.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ashlar::{ErrorKind, Volume};
use ashlar_format::BLOCK_SIZE;
use ashlar_format::superblock::{self, COPY_COUNT, Superblock};
use serde::Serialize;

use super::mkfs::Uuid;
use crate::failure::{Failure, Result};
use crate::in_use::{self, Mount};
use crate::mode;
use crate::output::Output;
use crate::size::Size;

/// Show what a volume is: label, UUID, size, space, state.
///
/// Works on an image file or block device, and on the directory where a volume is mounted. Nothing
/// is changed; a volume that is in use elsewhere is described as far as that can be seen.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Image file, block device, or directory of a mounted volume
    #[arg(value_name = "IMAGE|DIR")]
    subject: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  ashlar info disk.img
  ashlar info --json /mnt | jq .available_bytes";

#[derive(Serialize)]
struct Info {
    image: PathBuf,
    label: String,
    uuid: String,
    created: String,
    created_seconds: i64,
    /// `clean`, `needs-recovery`, `mounted` or `in-use`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mounted_on: Option<PathBuf>,
    size_bytes: u64,
    block_bytes: u64,
    log_bytes: u64,
    /// Checkpoints written so far.
    generation: u64,
    #[serde(flatten)]
    space: Option<Space>,
}

#[derive(Serialize)]
struct Space {
    used_bytes: u64,
    free_bytes: u64,
    available_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (image, mount) = find(&arguments.subject)?;
    let superblock = read_superblock(&image)?;
    let mut state = if superblock.clean { "clean" } else { "needs-recovery" };
    let space = match &mount {
        Some(mount) => {
            state = "mounted";
            mounted_space(&mount.target)?
        }
        None => match Volume::options().read_only(true).open(&image) {
            Ok(volume) => Some(volume_space(volume)?),
            Err(error) if error.kind() == ErrorKind::InUse => {
                state = "in-use";
                None
            }
            Err(error) => return Err(damaged(&image, &error.to_string())),
        },
    };
    let info = Info {
        label: superblock.label.clone(),
        uuid: Uuid(superblock.uuid).to_string(),
        created: format!("{}Z", mode::utc(superblock.created).replace(' ', "T")),
        created_seconds: superblock.created,
        state,
        mounted_on: mount.map(|mount| mount.target),
        size_bytes: superblock.block_count.saturating_mul(BLOCK_SIZE as u64),
        block_bytes: BLOCK_SIZE as u64,
        log_bytes: superblock.log_blocks.saturating_mul(BLOCK_SIZE as u64),
        generation: superblock.generation,
        space,
        image,
    };
    let mut output = Output::new();
    if arguments.json {
        output.json(&info)?;
    } else {
        print(&mut output, &info)?;
    }
    Ok(output.finish()?)
}

/// The image behind what the user named, and where it is mounted.
fn find(subject: &Path) -> Result<(PathBuf, Option<Mount>)> {
    let table =
        |error: std::io::Error| Failure::host("read", Path::new("/proc/self/mountinfo"), &error);
    let absolute =
        subject.canonicalize().map_err(|error| Failure::host("examine", subject, &error))?;
    if absolute.is_dir() {
        return match in_use::mount_at(&absolute).map_err(table)? {
            Some(mount) if mount.is_ashlar() => Ok((mount.source.clone(), Some(mount))),
            _ => Err(Failure::new(format!("no volume is mounted on {}", subject.display()))
                .advise("name an image file, a block device, or the directory of a mount")),
        };
    }
    let mounts = in_use::mounts().map_err(table)?;
    let mount = mounts.into_iter().find(|mount| mount.is_ashlar() && mount.source == absolute);
    Ok((subject.to_owned(), mount))
}

/// The newest superblock, read without asking whoever has the volume open.
fn read_superblock(image: &Path) -> Result<Superblock> {
    let host = |error: std::io::Error| Failure::host("read", image, &error);
    let file = File::open(image).map_err(host)?;
    let mut copies = Vec::new();
    for copy in 0..COPY_COUNT {
        let mut bytes = [0; superblock::SUPERBLOCK_BYTES];
        let count = file.read_at(&mut bytes, copy * BLOCK_SIZE as u64).map_err(host)?;
        copies.push(Superblock::decode(copy, &bytes[..count]));
    }
    let copies: [_; 2] =
        copies.try_into().map_err(|_| Failure::new("a volume has two superblock copies"))?;
    superblock::newest(copies).map_err(|damage| damaged(image, &damage.to_string()))
}

fn damaged(image: &Path, reason: &str) -> Failure {
    Failure::new(format!("{}: {reason}", image.display()))
        .advise(format!("if it should be a volume, try `ashlar fsck -n {}`", image.display()))
}

fn volume_space(volume: Volume) -> Result<Space> {
    let stat = volume.stat();
    volume.close()?;
    Ok(Space {
        used_bytes: stat.total_bytes.saturating_sub(stat.free_bytes),
        free_bytes: stat.free_bytes,
        available_bytes: stat.available_bytes,
        files: Some(stat.files),
    })
}

fn mounted_space(target: &Path) -> Result<Option<Space>> {
    let stat = rustix::fs::statvfs(target)
        .map_err(|error| Failure::host("examine", target, &error.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Some(Space {
        used_bytes: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
        free_bytes: bytes(stat.f_bfree),
        available_bytes: bytes(stat.f_bavail),
        files: Some(stat.f_files.saturating_sub(stat.f_ffree)),
    }))
}

fn print(output: &mut Output, info: &Info) -> Result<()> {
    let state = match info.state {
        "needs-recovery" => "was not unmounted; the next mount recovers it",
        other => other,
    };
    let mut line = |name: &str, value: &str| writeln!(output, "{name:<11}{value}");
    line("Image", &info.image.display().to_string())?;
    line("Label", if info.label.is_empty() { "none" } else { &info.label })?;
    line("UUID", &info.uuid)?;
    line("Made", &info.created)?;
    match &info.mounted_on {
        Some(directory) => line("State", &format!("mounted on {}", directory.display()))?,
        None => line("State", state)?,
    }
    line("Size", &format!("{} ({} bytes)", Size(info.size_bytes), info.size_bytes))?;
    if let Some(space) = &info.space {
        line("Used", &Size(space.used_bytes).to_string())?;
        line("Available", &Size(space.available_bytes).to_string())?;
        if let Some(files) = space.files {
            line("Files", &files.to_string())?;
        }
    }
    line("Log", &Size(info.log_bytes).to_string())?;
    Ok(())
}
