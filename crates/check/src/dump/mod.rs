//! `ashlar dump`: every object of a volume as text.
//!
//! Trees, inodes and paths are shown as the next mount will see them; nodes and the superblock as
//! they lie on the device. Damage is shown where it is met, and the dump goes on behind it.

mod inode;
mod log;
mod node;
mod superblock;

use crate::error::Result;
use crate::finding::Finding;
use crate::passes::nodes::NodePass;
use crate::print::{Key, Value};
use crate::replay::Replay;
use crate::report::Reporter;
use crate::stream::Stream;
use crate::volume::Volume;
use crate::walk::RefusedEdges;
use ashlar_device::Device;
use ashlar_format::key::TreeId;
use std::io::Write;

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DumpTarget {
    /// Both superblock copies.
    Superblock,
    /// The records of the log that a mount would look at.
    Log,
    /// All entries of a tree.
    Tree(TreeId),
    /// An inode with its names, extents and attributes.
    Inode(u64),
    /// The inode that an absolute path leads to; symbolic links are not followed.
    Path(Vec<u8>),
    /// The node at a block.
    Node(u64),
}

/// Writes `target` to `out` as text.
///
/// # Errors
/// No valid superblock (but [`DumpTarget::Superblock`] shows what is there), an inode or path that
/// does not exist, device failures, a failing output.
pub fn dump(device: &dyn Device, target: &DumpTarget, out: &mut dyn Write) -> Result<()> {
    if *target == DumpTarget::Superblock {
        return superblock::dump(device, out);
    }
    let volume = Volume::open(device)?;
    match target {
        DumpTarget::Superblock => Ok(()),
        DumpTarget::Log => log::dump(&volume, out),
        DumpTarget::Node(block) => node::dump(&volume, *block, out),
        DumpTarget::Tree(tree) => View::with(&volume, out, |view, out| view.tree(*tree, out)),
        DumpTarget::Inode(ino) => {
            View::with(&volume, out, |view, out| inode::dump(view, *ino, out))
        }
        DumpTarget::Path(path) => View::with(&volume, out, |view, out| {
            let ino = inode::resolve(view, path)?;
            inode::dump(view, ino, out)
        }),
    }
}

/// The trees with the log replayed over them.
struct View<'a> {
    volume: &'a Volume<'a>,
    replay: &'a Replay,
    refused: &'a RefusedEdges,
}

impl View<'_> {
    /// Replays the log; what is wrong on the way is written as comments.
    fn with(
        volume: &Volume<'_>,
        out: &mut dyn Write,
        show: impl FnOnce(&View<'_>, &mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let mut comments = Vec::new();
        let mut comment = |finding: &Finding| comments.push(finding.to_string());
        let mut reporter = Reporter::new(&mut comment);
        let replay = Replay::run(volume, &mut reporter)?;
        let pass = NodePass::run(volume, &mut reporter);
        for line in comments {
            writeln!(out, "# {line}")?;
        }
        show(&View { volume, replay: &replay, refused: &pass.refused }, out)
    }

    fn tree(&self, tree: TreeId, out: &mut dyn Write) -> Result<()> {
        self.for_each(tree, out, &mut |key, value, out| {
            Ok(writeln!(out, "{}: {}", Key(tree, key), Value(tree, value))?)
        })
    }

    /// Calls `visit` with every entry of a tree; damage met on the way becomes a comment.
    fn for_each(
        &self,
        tree: TreeId,
        out: &mut dyn Write,
        visit: &mut dyn FnMut(&[u8], &[u8], &mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let comments = std::cell::RefCell::new(Vec::new());
        let mut comment = |finding: &Finding| comments.borrow_mut().push(finding.to_string());
        let mut reporter = Reporter::new(&mut comment);
        let overlay = &self.replay.overlays[tree as usize];
        let mut stream = Stream::new(self.volume, tree, self.refused, overlay, &mut reporter);
        loop {
            for line in comments.take() {
                writeln!(out, "# {line}")?;
            }
            let Some((key, value)) = stream.current() else { return Ok(()) };
            visit(key, value, out)?;
            stream.advance(&mut reporter);
        }
    }
}
