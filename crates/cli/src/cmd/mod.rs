//! One command a file: its arguments, its help, and what it does.

pub(crate) mod atomic;
pub(crate) mod cat;
pub(crate) mod dump;
pub(crate) mod fsck;
pub(crate) mod get;
pub(crate) mod info;
pub(crate) mod ioinfo;
pub(crate) mod ls;
pub(crate) mod mkdir;
pub(crate) mod mkfs;
pub(crate) mod mount;
pub(crate) mod put;
pub(crate) mod rm;
pub(crate) mod umount;

use crate::failure::Result;
use crate::logging;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Mkfs(mkfs::Arguments),
    Mount(mount::Arguments),
    Umount(umount::Arguments),
    Fsck(fsck::Arguments),
    Info(info::Arguments),
    Ls(ls::Arguments),
    Cat(cat::Arguments),
    Put(put::Arguments),
    Get(get::Arguments),
    Rm(rm::Arguments),
    Mkdir(mkdir::Arguments),
    Dump(dump::Arguments),
    Atomic(atomic::Arguments),
    Ioinfo(ioinfo::Arguments),
}

/// Runs a command and returns its exit code.
pub(crate) fn run(command: Command) -> Result<u8> {
    // Mounting decides about its log by itself.
    if !matches!(command, Command::Mount(_)) {
        logging::start("warn");
    }
    let done = |result: Result<()>| result.map(|()| 0);
    match command {
        Command::Mkfs(arguments) => done(mkfs::run(&arguments)),
        Command::Mount(arguments) => done(mount::run(&arguments)),
        Command::Umount(arguments) => done(umount::run(&arguments)),
        Command::Fsck(arguments) => fsck::run(&arguments),
        Command::Info(arguments) => done(info::run(&arguments)),
        Command::Ls(arguments) => done(ls::run(&arguments)),
        Command::Cat(arguments) => done(cat::run(&arguments)),
        Command::Put(arguments) => done(put::run(&arguments)),
        Command::Get(arguments) => done(get::run(&arguments)),
        Command::Rm(arguments) => done(rm::run(&arguments)),
        Command::Mkdir(arguments) => done(mkdir::run(&arguments)),
        Command::Dump(arguments) => done(dump::run(&arguments)),
        Command::Atomic(arguments) => done(atomic::run(&arguments)),
        Command::Ioinfo(arguments) => done(ioinfo::run(&arguments)),
    }
}
