//! Writing a batch of a file's data, and the transaction that makes it reachable.
//!
//! ```text
//!   1 wait       blocks written in place are proven (rule proof-overwrite) and not on their way
//!   2 sum        what becomes reachable by this: fresh blocks, and what lies past the disk size
//!   3 write      large batches and overwrites now; small fresh data goes with the record
//!   4 commit     extents, blocks allocated, sums, the inode with its new disk size: one
//!                transaction, or a few for large batches, each complete in itself
//! ```
//!
//! Crash behaviour. A record that makes data reachable carries the sums of exactly the bytes that it
//! makes reachable, so recovery knows whether they arrived:
//!
//! ```text
//!   disk size D          new disk size N
//!   |####|##D0000|NNNNNNNN|NNN.....|          # on the device before   N written now
//!         bd ^^^^ ^^^^^^^^ ^^^                ^ summed: fresh blocks up to N, and the rest of bd
//!                                               if the record moves the size over it
//! ```
//! Block `bd`, which holds D, is in the batch whenever bytes behind D become reachable: invariant I4
//! of `inode/mod.rs`. Data overwritten below D is not summed; neither old nor new bytes are promised
//! before an fsync. The sum of the last block ends at N: appending to it later changes no summed
//! byte, and so needs no proof.

use crate::error::{ErrorKind, Result};
use crate::extent::edit::MapEdit;
use crate::extent::{Extent, MapGuard, blocks_touched};
use crate::inode::{State, Unlogged};
use crate::mapping::Writer;
use crate::mapping::writeback::GRANT_BLOCKS_MAX;
use crate::volume::WritebackMode;
use ashlar_device::{Device, Finish, Write};
use ashlar_format::checksum::crc32c;
use ashlar_format::limits::{BLOCK_BYTES, BLOCK_SIZE};
use ashlar_format::log::DataSums;
use ashlar_store::SharedBytes;
use iomap::{Host, Ioend, IoendFlags, Piece};
use std::ops::Range;

/// Data up to this goes out with its record; beyond, one batch more does not matter.
const ATTACH_BYTES_MAX: u64 = 1 << 20;
/// A transaction with more log than this is committed, and another one begun.
const PART_LOG_BYTES: usize = 64 << 10;
/// Edits of the map after which the same happens.
const PART_EDITS: usize = 512;

/// How the blocks of a segment become the file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Granted for this.
    New,
    /// Allocated before, unwritten.
    Unwritten,
    /// The file's already.
    InPlace,
}

/// A run of blocks that one transaction can take.
struct Segment {
    /// In the file.
    blocks: Range<u64>,
    /// On the device.
    block: u64,
    origin: Origin,
    sums: Option<DataSums>,
}

impl Writer<'_> {
    /// Steps 1 to 4.
    pub(super) fn write_and_commit(&self, ioends: &[Ioend<'_>]) -> Result<()> {
        let disk_size = self.file.inode.state()?.record.size;
        self.wait_until_writable(ioends)?;
        // Looked at once: what is summed ends where the new disk size does.
        let end = self.end_of_file();
        let mut segments = self.segments(ioends, disk_size, end);
        let total: u64 = ioends.iter().map(|ioend| ioend.length).sum();
        let small = total <= ATTACH_BYTES_MAX;
        // Overwrites that no record follows go straight to the device: a flush is all they need.
        let logged = end > disk_size
            || ioends.iter().any(is_fresh)
            || self.file.inode.state()?.unlogged != Unlogged::empty();
        let travels = |ioend: &Ioend<'_>| {
            small
                && !ioend.flags.contains(IoendFlags::DIRECT)
                && (is_fresh(ioend) || (logged && self.mode == WritebackMode::Durable))
        };
        let (attached, written): (Vec<&Ioend<'_>>, Vec<&Ioend<'_>>) =
            ioends.iter().partition(|ioend| travels(ioend));
        self.write_now(&written)?;
        self.commit(&mut segments, &attached, end)
    }

    /// Step 1.
    fn wait_until_writable(&self, ioends: &[Ioend<'_>]) -> Result<()> {
        let volume = self.file.volume;
        for ioend in ioends {
            let mut block = ioend.addr / BLOCK_BYTES;
            volume.data_device.wait_for(&volume.store, block, ioend.length / BLOCK_BYTES)?;
            if is_fresh(ioend) {
                continue;
            }
            for piece in ioend.pieces() {
                volume.store.ensure_overwritable(block, piece.bytes())?;
                block += (piece.bytes().len() / BLOCK_SIZE) as u64;
            }
        }
        Ok(())
    }

    /// End of the file as this write leaves it.
    fn end_of_file(&self) -> u64 {
        self.file.inode.size().max(self.direct_end.unwrap_or(0))
    }

    /// Step 2.
    fn segments(&self, ioends: &[Ioend<'_>], disk_size: u64, end: u64) -> Vec<Segment> {
        let map = self.file.data.map.lock();
        let mut segments = Vec::with_capacity(ioends.len());
        for ioend in ioends {
            let blocks = blocks_touched(&ioend.range());
            let device_block = ioend.addr / BLOCK_BYTES;
            let sums = sums_of(ioend, disk_size, end);
            let segment = |part: Range<u64>, origin| Segment {
                block: device_block + (part.start - blocks.start),
                sums: sums.as_ref().and_then(|sums| sums.cut(device_block, &blocks, &part, end)),
                blocks: part,
                origin,
            };
            if ioend.flags.contains(IoendFlags::NEW) {
                // One grant, one segment: a transaction takes a grant as a whole.
                let grants = map.granted_in(&blocks);
                segments.extend(grants.into_iter().map(|part| segment(part, Origin::New)));
                continue;
            }
            let mut start = blocks.start;
            while start < blocks.end {
                let part = start..blocks.end.min(start + GRANT_BLOCKS_MAX);
                start = part.end;
                let unwritten = ioend.flags.contains(IoendFlags::UNWRITTEN);
                let origin = if unwritten { Origin::Unwritten } else { Origin::InPlace };
                segments.push(segment(part, origin));
            }
        }
        segments
    }

    /// Step 3: what does not travel with the record.
    fn write_now(&self, ioends: &[&Ioend<'_>]) -> Result<()> {
        if ioends.is_empty() {
            return Ok(());
        }
        let mut writes = Vec::with_capacity(ioends.len());
        for ioend in ioends {
            let mut addr = ioend.addr;
            for piece in ioend.pieces() {
                writes.push(Write { addr, bytes: piece.bytes() });
                addr += piece.bytes().len() as u64;
            }
        }
        let volume = self.file.volume;
        volume
            .data_device
            .submit(&writes, Finish::Nothing)
            .map_err(|error| crate::Error::from(ErrorKind::Io).because(error))?;
        if ioends.iter().any(|ioend| !is_fresh(ioend)) {
            // No record may ever speak of these: only a flush makes them durable.
            self.file.data.overwrites.add();
            volume.overwrites.add();
        }
        Ok(())
    }

    /// Step 4.
    fn commit(&self, segments: &mut [Segment], attached: &[&Ioend<'_>], end: u64) -> Result<()> {
        // What was dirty below the end that was read before is in this batch. Asked here, since the
        // cache's lock comes before the map's.
        let whole = !self.file.cache().is_dirty();
        let mut map = self.file.data.map.lock();
        let mut rest = segments;
        let mut attached = attached;
        while !rest.is_empty() {
            let done = self.commit_part(&mut map, rest, attached, end, whole)?;
            attached = &[];
            rest = &mut std::mem::take(&mut rest)[done..];
        }
        Ok(())
    }

    /// Commits as many segments as fit one transaction; returns how many. `whole`: the batch holds
    /// all that is dirty.
    fn commit_part(
        &self,
        map: &mut MapGuard<'_>,
        segments: &mut [Segment],
        attached: &[&Ioend<'_>],
        end: u64,
        whole: bool,
    ) -> Result<usize> {
        let (volume, inode) = (self.file.volume, self.file.inode);
        let mut state = inode.state()?;
        let mut txn = volume.store.begin();
        let mut edit = None;
        let mut done = 0;
        for segment in segments.iter_mut() {
            let edits = edit.as_ref().map_or(0, MapEdit::len);
            if done > 0 && (txn.log_bytes() > PART_LOG_BYTES || edits > PART_EDITS) {
                break;
            }
            if segment.origin != Origin::InPlace {
                let edit = match &mut edit {
                    Some(edit) => edit,
                    none => none.insert(MapEdit::begin(volume, inode.ino, &state)?),
                };
                apply(edit, &mut txn, map, segment)?;
            }
            if let Some(sums) = segment.sums.take() {
                txn.wrote(sums);
            }
            done += 1;
        }
        let last = done == segments.len();
        let part = &segments[..done];
        let map_changed = edit.is_some();
        if let Some(edit) = edit {
            edit.write_to(&mut txn, &mut state);
            if part.first().is_some_and(|segment| segment.blocks.start == 0) {
                state.record.inline = None;
            }
        }
        // What other direct writes have on its way before this one keeps the end back.
        let limit = if self.direct_end.is_some() { map.settled_up_to(end) } else { end };
        let new_size = self.new_disk_size(&state, part, last && whole, limit)?;
        let grows = new_size > state.record.size;
        state.record.size = new_size;
        let travelling = attach(&mut txn, attached);
        if map_changed || grows || (!txn.is_empty() && state.unlogged != Unlogged::empty()) {
            state.log(inode.ino, &mut txn);
        }
        if txn.is_empty() {
            return Ok(done);
        }
        let lsn = txn.commit()?;
        inode.note_lsn(lsn);
        for (block, bytes) in travelling {
            volume.data_device.add(lsn, block, bytes);
        }
        if map_changed {
            map.invalidate();
        }
        Ok(done)
    }

    /// The disk size after a part of the batch was committed; `end` is the end of the file, read
    /// before the batch; `all` is true when nothing dirty below it is left.
    fn new_disk_size(&self, state: &State, part: &[Segment], all: bool, end: u64) -> Result<u64> {
        let old = state.record.size;
        let written = part.last().map_or(0, |segment| segment.blocks.end * BLOCK_BYTES);
        let limit = match self.direct_end {
            Some(direct_end) => written.min(direct_end).min(end),
            None if all => end,
            None => written.min(end),
        };
        // What is kept in the inode is as long as the record says.
        if limit <= old || state.record.inline.is_some() {
            return Ok(old);
        }
        let boundary = old / BLOCK_BYTES;
        let covered = part.iter().any(|segment| segment.blocks.contains(&boundary));
        if old.is_multiple_of(BLOCK_BYTES) || covered {
            return Ok(limit);
        }
        // By I4 the block of the old end reads as zeros then.
        let found = self.file.volume.extent_floor(self.file.inode.ino, boundary)?;
        match found.filter(|extent| boundary < extent.end() && !extent.is_unwritten()) {
            None => Ok(limit),
            Some(_) => {
                tracing::debug!(ino = self.file.inode.ino.0, old, "the end's block comes later");
                Ok(old)
            }
        }
    }
}

fn is_fresh(ioend: &Ioend<'_>) -> bool {
    ioend.flags.intersects(IoendFlags::NEW | IoendFlags::UNWRITTEN)
}

/// Puts a segment into the map.
fn apply(
    edit: &mut MapEdit<'_>,
    txn: &mut ashlar_store::Txn<'_>,
    map: &mut MapGuard<'_>,
    segment: &Segment,
) -> Result<()> {
    match segment.origin {
        Origin::New => {
            let count = segment.blocks.end - segment.blocks.start;
            edit.insert(Extent::written(segment.blocks.start, segment.block, count))?;
            for granted in map.take_granted(&segment.blocks) {
                txn.take(granted.grant);
            }
            Ok(())
        }
        Origin::Unwritten => edit.convert(segment.blocks.clone()),
        Origin::InPlace => Ok(()),
    }
}

/// Attaches the bytes of ioends; returns them with their blocks.
fn attach(txn: &mut ashlar_store::Txn<'_>, ioends: &[&Ioend<'_>]) -> Vec<(u64, SharedBytes)> {
    let mut travelling = Vec::with_capacity(ioends.len());
    for ioend in ioends {
        let mut block = ioend.addr / BLOCK_BYTES;
        for piece in ioend.pieces() {
            // Only what comes from the cache travels, and that shares its buffer.
            let Piece::Cached(buffer, range) = piece.to_owned_piece() else { continue };
            let count = (range.len() / BLOCK_SIZE) as u64;
            let bytes = SharedBytes::new(buffer, range);
            txn.attach(block, bytes.clone());
            travelling.push((block, bytes));
            block += count;
        }
    }
    travelling
}

/// Sums of an ioend's blocks, from file block `first` on.
struct Sums {
    first: u64,
    sums: Vec<u32>,
}

/// The sums that a record must carry for an ioend; `end` is the end of the file.
fn sums_of(ioend: &Ioend<'_>, disk_size: u64, end: u64) -> Option<Sums> {
    let blocks = blocks_touched(&ioend.range());
    let first = if is_fresh(ioend) {
        blocks.start
    } else if end > disk_size && blocks.end * BLOCK_BYTES > disk_size {
        blocks.start.max(disk_size / BLOCK_BYTES)
    } else {
        return None;
    };
    let chunks = ioend.pieces().flat_map(|piece| piece.bytes().chunks(BLOCK_SIZE));
    let sums = chunks
        .zip(blocks)
        .filter(|(_, block)| *block >= first)
        .map(|(bytes, block)| crc32c(&bytes[..summed_bytes(block, end)]))
        .collect();
    Some(Sums { first, sums })
}

/// How many bytes of a file block are summed: those below the end of the file.
fn summed_bytes(block: u64, end: u64) -> usize {
    match end.checked_sub(block * BLOCK_BYTES) {
        // At most a block.
        Some(below) if below > 0 => below.min(BLOCK_BYTES) as usize,
        _ => BLOCK_SIZE,
    }
}

impl Sums {
    /// The sums for `part` of an ioend that writes `blocks` from `device_block` on.
    fn cut(
        &self,
        device_block: u64,
        blocks: &Range<u64>,
        part: &Range<u64>,
        end: u64,
    ) -> Option<DataSums> {
        let start = part.start.max(self.first);
        let skip = usize::try_from(start - self.first).ok()?;
        let count = usize::try_from(part.end.checked_sub(start)?).ok()?;
        let sums = self.sums.get(skip..skip + count)?.to_vec();
        if sums.is_empty() {
            return None;
        }
        Some(DataSums {
            block: device_block + (start - blocks.start),
            last_bytes: summed_bytes(part.end - 1, end) as u32,
            sums,
        })
    }
}
