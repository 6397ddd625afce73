//! `ashlar ioinfo`: what atomic updates of a file are bound to.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use ashlar_fuse::ioctl::{abi, io_info};
use serde::Serialize;

use super::atomic::on_mount;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::size::Size;

/// Show what failure-atomic updates of a file are bound to.
///
/// Every file of a mounted volume can be atomic; `ashlar atomic` says which ones are.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// A file on a mounted volume
    file: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  ashlar ioinfo /mnt/app.db
  ashlar ioinfo --json /mnt/app.db | jq .max_bytes";

#[derive(Serialize)]
struct Info {
    /// A write with O_SYNC or O_DSYNC is a commit.
    per_write: bool,
    /// fsync, fdatasync and msync commit what was written before.
    on_sync: bool,
    /// Several files can be committed together.
    syncv: bool,
    alignment_bytes: u16,
    max_bytes: u64,
    journaled_bytes: u64,
    max_files: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let path = &arguments.file;
    let file = File::open(path).map_err(|error| Failure::host("open", path, &error))?;
    let found = io_info(&file).map_err(|error| on_mount("examine", path, &error))?;
    let info = Info {
        per_write: found.flags & abi::IO_PER_WRITE != 0,
        on_sync: found.flags & abi::IO_ON_SYNC != 0,
        syncv: found.flags & abi::IO_SYNCV != 0,
        alignment_bytes: found.alignment,
        max_bytes: found.max_bytes,
        journaled_bytes: found.journaled_bytes,
        max_files: found.max_files,
    };
    let mut output = Output::new();
    if arguments.json {
        output.json(&info)?;
    } else {
        print(&mut output, &info)?;
    }
    Ok(output.finish()?)
}

fn print(output: &mut Output, info: &Info) -> Result<()> {
    let mut line = |name: &str, value: &str| writeln!(output, "{name:<11}{value}");
    let commits: Vec<&str> = [
        (info.on_sync, "fsync, fdatasync, msync"),
        (info.per_write, "each O_SYNC or O_DSYNC write"),
        (info.syncv, "several files together"),
    ]
    .into_iter()
    .filter_map(|(can, name)| can.then_some(name))
    .collect();
    line("Commits by", &commits.join("; "))?;
    line("Alignment", &format!("any; {} bytes are best", info.alignment_bytes))?;
    line("At most", &format!("{} in one commit, if scattered", Size(info.max_bytes)))?;
    line("Journaled", &format!("up to {}: blocks stay in place", Size(info.journaled_bytes)))?;
    line("Together", &format!("{} files", info.max_files))?;
    Ok(())
}
