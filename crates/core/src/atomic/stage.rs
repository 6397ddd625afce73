//! Dirty blocks of an atomic file take places of their own; parts of it become holes.
//!
//! ```text
//!   promised ──map_blocks──> granted ──written──> staged          no transaction
//!   staged   ──map_blocks──> the same place, written again
//! ```
//! Called by writeback when memory is short, and by a commit for what it is about to commit.

use crate::error::{ErrorKind, Result};
use crate::extent::{Found, MapState, blocks_touched};
use crate::mapping::{FileRef, Writer};
use ashlar_device::{Device, Finish, Write};
use ashlar_format::checksum::crc32c;
use ashlar_format::limits::{BLOCK_BYTES, BLOCK_SIZE};
use ashlar_store::AllocHint;
use iomap::{Ioend, IoendFlags};
use std::ops::Range;

impl Writer<'_> {
    /// Writes dirty blocks to their own places, and keeps that in memory.
    pub(crate) fn write_and_stage(&self, ioends: &[Ioend<'_>]) -> Result<()> {
        let volume = self.file.volume;
        let mut writes = Vec::with_capacity(ioends.len());
        for ioend in ioends {
            let (block, count) = (ioend.addr / BLOCK_BYTES, ioend.length / BLOCK_BYTES);
            volume.data_device.wait_for(&volume.store, block, count)?;
            let mut addr = ioend.addr;
            for piece in ioend.pieces() {
                writes.push(Write { addr, bytes: piece.bytes() });
                addr += piece.bytes().len() as u64;
            }
        }
        volume
            .data_device
            .submit(&writes, Finish::Nothing)
            .map_err(|error| crate::Error::from(ErrorKind::Io).because(error))?;
        let mut map = self.file.data.map.lock();
        ioends.iter().for_each(|ioend| map.stage(ioend));
        map.invalidate();
        Ok(())
    }
}

impl MapState {
    /// The blocks of an ioend are staged, with the sums of its bytes. Blocks that are neither granted
    /// nor staged stay as they are.
    pub(crate) fn stage(&mut self, ioend: &Ioend<'_>) {
        let blocks = blocks_touched(&ioend.range());
        let chunks = ioend.pieces().flat_map(|piece| piece.bytes().chunks(BLOCK_SIZE));
        let sums: Vec<u32> = chunks.map(crc32c).collect();
        let sums_of = |part: &Range<u64>| {
            // Parts of the ioend, whose blocks were just counted.
            let skip = (part.start - blocks.start) as usize;
            &sums[skip..skip + (part.end - part.start) as usize]
        };
        if ioend.flags.contains(IoendFlags::NEW) {
            for granted in self.take_granted(&blocks) {
                let part = granted.start..granted.end();
                self.staged.insert(part.start, granted.grant, Some(sums_of(&part).to_vec()));
            }
            return;
        }
        let mut at = blocks.start;
        while at < blocks.end {
            let run = self.staged.at(at).map(|run| (run.end(), run.extent().is_some()));
            let end = run.map_or_else(|| self.staged.next_start(at), |(end, _)| end);
            let part = at..end.min(blocks.end);
            at = part.end;
            if let Some((_, true)) = run {
                self.staged.rewrite(part.start, sums_of(&part));
            }
        }
    }
}

impl FileRef<'_> {
    /// The blocks are holes of the working image. Nothing of them is cached.
    pub(crate) fn stage_hole(&self, blocks: &Range<u64>) {
        let has_blocks = self.inode.any_state().record.blocks > 0;
        let mut map = self.data.map.lock();
        map.unpromise(blocks.clone());
        if has_blocks {
            map.staged.insert_hole(blocks);
        } else {
            map.staged.remove(blocks);
        }
        map.invalidate();
    }

    /// Holes of the working image in the range become unwritten blocks of its own.
    ///
    /// # Errors
    /// `NoSpace`; `TooLarge` for more than a commit can take; what reading the tree returns.
    pub(crate) fn stage_unwritten(&self, blocks: &Range<u64>) -> Result<()> {
        let store = &self.volume.store;
        let mut map = self.data.map.lock();
        let mut at = blocks.start;
        while at < blocks.end {
            if let Some(end) = map.promised_until(at) {
                at = end;
                continue;
            }
            let hole = match self.find(&mut map, at)? {
                Found::Extent(extent) => {
                    at = extent.end();
                    continue;
                }
                Found::Hole { end } => at..end.min(map.next_promise(at)).min(blocks.end),
            };
            let count = hole.end - hole.start;
            self.volume.check_image_size(&map, count)?;
            let mut reservation = store.reserve(count)?;
            let goal = self.volume.extent_floor(self.inode.ino, at)?;
            let hint = AllocHint { goal: goal.map(|extent| extent.block + extent.count) };
            let grant = store.allocate(&mut reservation, count, hint)?;
            self.volume.data_device.reused(grant.block(), grant.count());
            at += grant.count();
            map.staged.insert(hole.start, grant, None);
        }
        map.invalidate();
        Ok(())
    }
}
