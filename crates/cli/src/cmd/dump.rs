//! `ashlar dump`: prints what lies on the device, structure by structure.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use ashlar_check::{DumpTarget, Error, dump};
use ashlar_device::{FileDevice, OpenMode};
use ashlar_format::key::TreeId;

use crate::failure::{Failure, Result};
use crate::output::Output;

/// Print the structures of a volume as text: for learning, debugging and bug reports.
///
/// Trees, inodes and paths are shown as the next mount will see them, superblocks and blocks as
/// they lie on the device. Nothing is changed. File contents are not shown.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Image file or block device
    image: PathBuf,
    /// What to print
    #[arg(value_enum, default_value = "superblock")]
    what: What,
    /// Which one: name of a tree, number of an inode, path, number of a block
    which: Option<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  ashlar dump disk.img                       both superblock copies
  ashlar dump disk.img log                   the records that a mount would look at
  ashlar dump disk.img tree names            every entry of a tree: inodes, extents, names,
                                             xattrs, refs, free, orphans
  ashlar dump disk.img inode 1               an inode with its names, extents and attributes
  ashlar dump disk.img path /etc/hosts       the inode that a path leads to
  ashlar dump disk.img block 12345           the tree node at a block";

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// Both superblock copies
    Superblock,
    /// The log
    Log,
    /// All entries of a tree
    Tree,
    /// One inode by number
    Inode,
    /// One inode by path
    Path,
    /// The tree node at a block
    Block,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let image = arguments.image.display();
    let target = target(arguments)?;
    let mode = OpenMode { read_only: true, ..OpenMode::default() };
    let device = FileDevice::open(&arguments.image, mode).map_err(|error| {
        let failure = Failure::new(error.to_string());
        match error.errno() {
            libc::EBUSY | libc::EAGAIN => failure.advise("unmount it, or dump a copy"),
            _ => failure,
        }
    })?;
    let mut output = Output::new();
    match dump(&device, &target, &mut output) {
        Ok(()) => {}
        Err(Error::Output(error)) => return Err(error.into()),
        Err(error) => {
            // What was printed before is worth seeing.
            output.flush()?;
            return Err(Failure::new(format!("{image}: {error}")));
        }
    }
    Ok(output.finish()?)
}

fn target(arguments: &Arguments) -> Result<DumpTarget> {
    let which = arguments.which.as_ref();
    let needs = |what: &str| Failure::usage(format!("say which {what}"));
    let number = |what: &str| {
        let text = which.ok_or_else(|| needs(what))?.to_string_lossy();
        text.parse::<u64>().map_err(|_| Failure::usage(format!("`{text}` is no number")))
    };
    match arguments.what {
        What::Superblock | What::Log if which.is_some() => {
            Err(Failure::usage("there is only one of these; leave out the last word"))
        }
        What::Superblock => Ok(DumpTarget::Superblock),
        What::Log => Ok(DumpTarget::Log),
        What::Tree => tree(&which.ok_or_else(|| needs("tree"))?.to_string_lossy()),
        What::Inode => {
            Ok(DumpTarget::Inode(number("inode: a number as `ashlar ls --json` shows")?))
        }
        What::Block => Ok(DumpTarget::Node(number("block: a number of 4 KiB blocks")?)),
        What::Path => {
            let path = which.ok_or_else(|| needs("path"))?;
            let mut bytes = path.clone().into_vec();
            if !path.as_bytes().starts_with(b"/") {
                bytes.insert(0, b'/');
            }
            Ok(DumpTarget::Path(bytes))
        }
    }
}

fn tree(name: &str) -> Result<DumpTarget> {
    match TreeId::ALL.into_iter().find(|id| id.name() == name) {
        Some(id) => Ok(DumpTarget::Tree(id)),
        None => {
            let names = TreeId::ALL.map(TreeId::name).join(", ");
            Err(Failure::usage(format!("no tree `{name}`; there are {names}")))
        }
    }
}
