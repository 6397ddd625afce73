//! The `ashlar` command: makes, mounts, checks and looks into volumes.
//!
//! One file per command in [`cmd`]; what several of them need is beside it. Called by another
//! name (`mount.fuse.ashlar`, `mkfs.ashlar`, `fsck.ashlar`, …) the same program speaks the
//! dialect of mount(8), mkfs(8) and fsck(8): see [`multicall`].
//!
//! Exit codes: 0 done, 1 failed, 2 wrong command line; mount(8) and fsck(8) have their own.

mod cmd;
mod copy;
mod daemon;
mod failure;
mod image;
mod in_use;
mod location;
mod logging;
mod mode;
mod multicall;
mod output;
mod probe;
mod progress;
mod size;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::failure::Result;

/// Makes, mounts, checks and looks into Ashlar volumes: crash-safe file systems that live in an
/// image file or on a block device.
#[derive(Debug, Parser)]
#[command(
    name = "ashlar",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = OVERVIEW
)]
struct Arguments {
    #[command(subcommand)]
    command: cmd::Command,
}

const OVERVIEW: &str = "\
First steps:
  ashlar mkfs --size 1G disk.img        make a volume
  ashlar put -a ~/photos disk.img:/     copy into it, without a mount
  ashlar ls -l disk.img:/photos
  ashlar mount disk.img /mnt            or use it like any other file system
  ashlar umount /mnt
  ashlar fsck disk.img                  is everything as it should be?

A place inside a volume is written IMAGE:/PATH. Sizes are numbers with K, M, G, T
(powers of 1024) or KB, MB, GB, TB (powers of 1000). `ashlar help COMMAND` explains a
command. ASHLAR_LOG=debug says more on standard error; NO_COLOR is respected.";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let (program, code) = match multicall::dialect(&arguments) {
        Some(dialect) => (dialect.program(), dialect.run(&arguments[1..])),
        None => ("ashlar".to_owned(), run(&arguments)),
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print(&program);
            ExitCode::from(failure.code())
        }
    }
}

/// Runs one command and returns its exit code.
fn run(arguments: &[OsString]) -> Result<u8> {
    let arguments = multicall::split_progress_descriptor(arguments);
    // A wrong command line, `--help` and `--version` end the process here, with 2 or 0.
    cmd::run(Arguments::parse_from(arguments).command)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
