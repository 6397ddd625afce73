//! Writes what the passes found wrong, corrected, as a new checkpoint.
//!
//! Called by [`crate::check`] after the passes; nothing else in this crate writes.
//!
//! ```text
//!   1 plan      edits: the log's, and the corrections                          (plan.rs)
//!   2 proof     flush; a record of its own behind the log's last one; flush    (log_end.rs)
//!   3 trees     leaves with edits and the nodes above them, into free blocks   (rewrite.rs)
//!   4 free tree from who owns what in the new trees, into free blocks          (free_tree.rs)
//!     journaled data to its place: what it replaces counts no more after step 2
//!   5 flip      flush; superblock of the next generation, clean, tail at the log's end; flush
//! ```
//!
//! Crash behaviour: up to step 5 the old superblock counts. Steps 3 and 4 write only blocks that
//! are free in the state that recovery makes of it, after step 2 has fixed that state for good: by
//! the rules that recovery itself keeps. The flip is one sector.
//!
//! Why a checkpoint, and not corrections appended to the log: a mount would have to replay them
//! over trees that may be too wrong to apply an edit, and the log may lack the room.

mod free_tree;
mod loader;
mod log_end;
mod lost;
mod plan;
mod rewrite;
mod writer;

use crate::blocks::BlockSet;
use crate::check::Passes;
use crate::error::Result;
use crate::finding::Finding;
use crate::passes::nodes::NodePass;
use crate::report::Reporter;
use crate::stream::Stream;
use crate::volume::Volume;
use ashlar_device::{AlignedBuf, Finish, Write};
use ashlar_format::BLOCK_SIZE;
use ashlar_format::extent::ExtentRecord;
use ashlar_format::key::TreeId;
use ashlar_format::limits::BLOCK_BYTES;
use ashlar_format::superblock::Superblock;
use plan::Plan;
use std::collections::BTreeMap;
use writer::NodeWriter;

/// Writes the corrections; durable on return.
///
/// # Errors
/// The device fails, or there is no room for the new nodes: nothing has changed then.
pub(crate) fn run(volume: &Volume<'_>, passes: Passes) -> Result<()> {
    let Passes { mut replay, table, fixes, owned, refused } = passes;
    let end = (replay.end, replay.strays);
    let journaled = std::mem::take(&mut replay.journaled);
    let plan = Plan::new(volume, &refused, replay, &table, fixes);
    let tail = log_end::fix(volume, end.0, end.1)?;
    let mut writer = NodeWriter::new(volume, &owned);
    let mut superblock = Superblock {
        generation: writer.generation(),
        tail,
        clean: true,
        flushed_lsn: tail.lsn,
        next_ino: plan.next_ino,
        ..volume.superblock.clone()
    };
    for tree in [TreeId::Inodes, TreeId::Extents, TreeId::Names, TreeId::Xattrs] {
        let overlay = &plan.overlays[tree as usize];
        superblock.roots[tree as usize] =
            rewrite::tree(volume, &refused, tree, overlay, &mut writer)?;
    }
    superblock.roots[TreeId::Refs as usize] = None;
    superblock.roots[TreeId::Orphans as usize] = rewrite::orphans(&plan.orphans, &mut writer)?;
    superblock.roots[TreeId::Free as usize] = None;
    writer.submit()?;
    let owners = owners(volume, &superblock);
    superblock.roots[TreeId::Free as usize] = free_tree::build(volume, owners, &mut writer)?;
    writer.submit()?;
    write_home(volume, &journaled)?;
    volume.device.flush()?;
    flip(volume, &superblock)
}

/// Blocks that superblock, log, nodes and extents of the new trees own.
fn owners(volume: &Volume<'_>, superblock: &Superblock) -> BlockSet {
    let new = Volume { device: volume.device, superblock: superblock.clone(), damaged_copy: None };
    // What is wrong here shows when the result is checked.
    let mut silence = |_: &Finding| {};
    let mut reporter = Reporter::new(&mut silence);
    let NodePass { mut owned, refused } = NodePass::run(&new, &mut reporter);
    let nothing = Default::default();
    let mut extents = Stream::new(&new, TreeId::Extents, &refused, &nothing, &mut reporter);
    while let Some((_, value)) = extents.current() {
        if let Ok(extent) = ExtentRecord::decode(value)
            && new.holds(extent.block, u64::from(extent.count))
        {
            owned.insert(extent.block, u64::from(extent.count));
        }
        extents.advance(&mut reporter);
    }
    owned
}

/// Data that the log carries goes to its place: the log is cut behind it.
fn write_home(volume: &Volume<'_>, journaled: &BTreeMap<u64, Box<[u8]>>) -> Result<()> {
    for (block, bytes) in journaled {
        if volume.holds(*block, 1) {
            let buf = AlignedBuf::from_slice(bytes);
            let write = Write { addr: *block * BLOCK_BYTES, bytes: &buf };
            volume.device.submit(&[write], Finish::Nothing)?;
        }
    }
    Ok(())
}

/// Step 5.
fn flip(volume: &Volume<'_>, superblock: &Superblock) -> Result<()> {
    let mut block = AlignedBuf::new_zeroed(BLOCK_SIZE);
    let bytes = superblock.encode();
    block[..bytes.len()].copy_from_slice(&bytes);
    let addr = superblock.copy_block() * BLOCK_BYTES;
    volume.device.submit(&[Write { addr, bytes: &block }], Finish::Flush)?;
    Ok(())
}
