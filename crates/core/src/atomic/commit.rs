//! The working images of files become the committed ones: one transaction, whatever its size.
//!
//! ```text
//!   1 take      all dirty blocks, and a place for each:
//!                 journaled   its place in the committed image; the bytes travel in the record
//!                 remapped    a place of its own
//!   2 stage     what has a place of its own joins what was staged before
//!   3 write     a large batch now; a small one goes out with the record
//!   4 commit    extents, blocks taken and freed, sums, journaled bytes, size: one transaction
//!   5 finish    the cache is clean; whoever called syncs the log: one flush
//! ```
//!
//! Journaled commits leave the block map as it is: a database that updates pages at random does not
//! fragment, and a sealed file can be updated. Their bytes are written twice, the second time by a
//! checkpoint, many commits at once and in order; so from some size on remapping is cheaper. Runs of up
//! to 16 KiB are journaled, in commits of up to 256 KiB; by measurement a run of 64 KiB costs three
//! times as much journaled as remapped.
//!
//! Failure: up to step 4 nothing has happened that a reader or the next try would notice. What was
//! taken is dirty again. An image of which staging lost a part is not committed at all.
//!
//! Locking: inode locks of all files exclusively, so a write(2) is in one commit or in another; then
//! all writeback locks, all map locks, all state locks, each in the order of inode numbers.

use crate::atomic::staged::Place;
use crate::error::{ErrorKind, Result};
use crate::extent::edit::{Blocks, MapEdit};
use crate::extent::{MapGuard, MapState, blocks_touched};
use crate::inode::{Inode, State, Unlogged};
use crate::mapping::{FileRef, ReadOps, Writer};
use crate::types::InodeFlags;
use crate::volume::{Journaling, Volume, WritebackMode};
use ashlar_device::{Device, Finish, Write};
use ashlar_format::limits::{BLOCK_BYTES, BLOCK_SIZE};
use ashlar_format::log::DataSums;
use ashlar_store::{Lsn, SharedBytes, Txn};
use iomap::{Gathered, Ioend, IoendFlags, Piece};
use parking_lot::MutexGuard;
use std::ops::Range;
use std::sync::Arc;

/// In commits of up to so many dirty bytes short runs are journaled.
const JOURNAL_BYTES_MAX: u64 = 256 << 10;
/// Commits of sealed files are always journaled; more cannot be.
pub(super) const JOURNAL_BYTES_SEALED: u64 = 256 << 10;
/// Data up to this goes out with its record; beyond, one batch more does not matter.
const ATTACH_BYTES_MAX: u64 = 1 << 20;
/// Bytes of log for taking or freeing a run of blocks.
const SPACE_EDIT_BYTES: usize = 13;

/// Step 1 for one file.
struct Taken<'a> {
    file: &'a FileRef<'a>,
    gathered: Option<Gathered<'a>>,
    /// The dirty blocks, cut where their fates differ.
    parts: Vec<Part>,
    /// Content that is to be kept in the inode.
    inline: Option<Vec<u8>>,
}

/// What becomes of a run of dirty blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It has a place that no record speaks of yet.
    Staged,
    /// Its place is the file's already, unwritten.
    Convert,
    /// Its place is the file's already, and holds committed bytes.
    Journal,
}

/// A run of dirty blocks with one fate.
struct Part {
    blocks: Range<u64>,
    block: u64,
    bytes: SharedBytes,
    way: Way,
}

impl Volume {
    /// Commits the working images of files, sorted and each once, whose inode locks are held
    /// exclusively. Returns the record that must be durable.
    ///
    /// # Errors
    /// `TooLarge`, a device that cannot read or write, damage: nothing is committed, and the working
    /// images are as before.
    pub(crate) fn commit_locked(&self, inodes: &[&Arc<Inode>]) -> Result<Lsn> {
        let files: Vec<FileRef<'_>> =
            inodes.iter().map(|inode| FileRef::new(self, inode)).collect();
        let _writebacks: Vec<_> = files.iter().map(|file| file.data.writeback.lock()).collect();
        if let Some(file) = files.iter().find(|file| file.data.map.lock().holders.lost) {
            // What is left of it is a mix of what was written and what was there before.
            return Err(crate::Error::from(ErrorKind::Io).at(file.inode.ino));
        }
        let committed = self.take(&files).and_then(|taken| {
            let own_place = |part: &&Part| part.way != Way::Journal;
            let parts = taken.iter().flat_map(|taken| &taken.parts).filter(own_place);
            let large = parts.clone().map(Part::bytes).sum::<u64>() > ATTACH_BYTES_MAX;
            if large {
                self.write_now(&parts.collect::<Vec<_>>())?;
            }
            self.commit_taken(&taken, !large)?;
            Ok(taken)
        });
        let taken = committed.inspect_err(|_| files.iter().for_each(revert))?;
        for taken in taken {
            taken.finish();
        }
        for inode in inodes {
            self.uncommitted.0.lock().remove(&inode.ino);
        }
        let newest = inodes.iter().map(|inode| inode.lsn()).max();
        Ok(newest.unwrap_or_default())
    }

    /// Steps 1 and 2.
    fn take<'a>(&self, files: &'a [FileRef<'a>]) -> Result<Vec<Taken<'a>>> {
        let dirty: u64 = files.iter().map(|file| file.data.cache.dirty_bytes()).sum();
        let sealed =
            |file: &FileRef<'_>| file.inode.any_state().record.flags.contains(InodeFlags::SEALED);
        let sealed = files.iter().any(sealed);
        if sealed && dirty > JOURNAL_BYTES_SEALED {
            return Err(ErrorKind::TooLarge.into());
        }
        let journal = if sealed {
            Journaling::Everything
        } else if dirty <= JOURNAL_BYTES_MAX {
            Journaling::ShortRuns
        } else {
            Journaling::Nothing
        };
        files.iter().map(|file| Taken::take(file, journal)).collect()
    }

    /// Step 3 for what is too much to travel with the record.
    fn write_now(&self, parts: &[&Part]) -> Result<()> {
        for part in parts {
            self.data_device.wait_for(&self.store, part.block, part.bytes() / BLOCK_BYTES)?;
        }
        let mut writes = Vec::with_capacity(parts.len());
        for part in parts {
            writes.push(Write { addr: part.block * BLOCK_BYTES, bytes: part.bytes.as_slice() });
        }
        self.data_device
            .submit(&writes, Finish::Nothing)
            .map_err(|error| crate::Error::from(ErrorKind::Io).because(error))
    }

    /// Step 4. `attached`: what has a place of its own goes out with the record.
    fn commit_taken(&self, taken: &[Taken<'_>], attached: bool) -> Result<()> {
        let mut maps: Vec<MapGuard<'_>> = taken.iter().map(|t| t.file.data.map.lock()).collect();
        let mut states: Vec<MutexGuard<'_, State>> =
            taken.iter().map(|t| t.file.inode.state()).collect::<Result<_>>()?;
        let mut txn = self.store.begin();
        for (index, taken) in taken.iter().enumerate() {
            let image = Image { taken, map: &maps[index] };
            image.put(&mut txn, &mut states[index])?;
        }
        let grants: usize = maps.iter().map(|map| map.staged.grant_count()).sum();
        let needed = txn.log_bytes() + grants * SPACE_EDIT_BYTES;
        if needed > self.store.commit_bytes_max() {
            return Err(ErrorKind::TooLarge.into());
        }
        if txn.is_empty() {
            return Ok(());
        }
        let travelling = if attached { attach(&mut txn, taken) } else { Vec::new() };
        for map in &mut maps {
            let unused = map.staged.unused();
            map.staged.take_grants().into_iter().for_each(|grant| txn.take(grant));
            unused.into_iter().for_each(|(block, count)| txn.free(block, count));
        }
        let lsn = txn.commit()?;
        for (block, bytes) in travelling {
            self.data_device.add(lsn, block, bytes);
        }
        for (taken, map) in taken.iter().zip(&mut maps) {
            taken.file.inode.note_lsn(lsn);
            for part in &taken.parts {
                map.unpromise(part.blocks.clone());
            }
            map.invalidate();
        }
        Ok(())
    }
}

/// What was granted for a commit that failed is promised again.
fn revert(file: &FileRef<'_>) {
    let mut map = file.data.map.lock();
    map.revert(&file.volume.store, &(0..u64::MAX));
    map.invalidate();
}

/// Attaches what goes out with the record; returns it with its blocks.
fn attach(txn: &mut Txn<'_>, taken: &[Taken<'_>]) -> Vec<(u64, SharedBytes)> {
    let mut travelling = Vec::new();
    let parts = taken.iter().flat_map(|taken| &taken.parts);
    for part in parts.filter(|part| part.way != Way::Journal) {
        txn.attach(part.block, part.bytes.clone());
        travelling.push((part.block, part.bytes.clone()));
    }
    travelling
}

impl Part {
    fn bytes(&self) -> u64 {
        self.bytes.as_slice().len() as u64
    }
}

impl<'a> Taken<'a> {
    fn take(file: &'a FileRef<'a>, journal: Journaling) -> Result<Self> {
        let size = file.inode.size();
        if file.belongs_inline(size) && file.data.map.lock().staged.blocks() == 0 {
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            let count = iomap::buffered_read(&ReadOps(*file), file, 0, &mut bytes)?;
            bytes.truncate(count);
            return Ok(Self { file, gathered: None, parts: Vec::new(), inline: Some(bytes) });
        }
        let writer = Writer::new(*file, WritebackMode::Commit { journal });
        let gathered = iomap::gather(&writer, file, &(0..u64::MAX))?;
        let mut parts = Vec::new();
        if let Some(gathered) = &gathered {
            let mut map = file.data.map.lock();
            gathered.ioends().iter().for_each(|ioend| map.stage(ioend));
            gathered.ioends().iter().for_each(|ioend| cut(&map, ioend, &mut parts));
        }
        Ok(Self { file, gathered, parts, inline: None })
    }

    /// Step 5.
    fn finish(self) {
        let cache = &self.file.data.cache;
        if let Some(gathered) = self.gathered {
            gathered.finish();
        }
        if self.inline.is_some() {
            // The inode has it, and nobody wrote meanwhile.
            cache.invalidate(0..BLOCK_BYTES);
            let mut map = self.file.data.map.lock();
            map.unpromise(0..1);
            map.invalidate();
        }
        if self.file.volume.kernel_cache {
            cache.drop_clean();
        }
    }
}

/// Cuts an ioend where the fates of its blocks differ.
fn cut(map: &MapState, ioend: &Ioend<'_>, parts: &mut Vec<Part>) {
    let mut at = blocks_touched(&ioend.range()).start;
    let mut block = ioend.addr / BLOCK_BYTES;
    for piece in ioend.pieces() {
        let Piece::Cached(buffer, range) = piece.to_owned_piece() else { continue };
        let end = at + (range.len() / BLOCK_SIZE) as u64;
        let mut from = range.start;
        while at < end {
            let (way, until) = way_of(map, ioend, at);
            let count = until.min(end) - at;
            let length = count as usize * BLOCK_SIZE;
            let bytes = if way == Way::Journal {
                // Kept until it is home: the cache's buffer, which is larger, must not be held so
                // long, or each later write to it would have to copy it.
                SharedBytes::copy(&buffer[from..from + length])
            } else {
                SharedBytes::new(Arc::clone(&buffer), from..from + length)
            };
            parts.push(Part { blocks: at..at + count, block, bytes, way });
            (at, block, from) = (at + count, block + count, from + length);
        }
    }
}

/// What becomes of a dirty block, and up to where that holds.
fn way_of(map: &MapState, ioend: &Ioend<'_>, block: u64) -> (Way, u64) {
    match map.staged.at(block) {
        Some(run) => (Way::Staged, run.end()),
        None => {
            let unwritten = ioend.flags.contains(IoendFlags::UNWRITTEN);
            let way = if unwritten { Way::Convert } else { Way::Journal };
            (way, map.staged.next_start(block))
        }
    }
}

/// One file's part of the transaction.
struct Image<'a> {
    taken: &'a Taken<'a>,
    map: &'a MapState,
}

impl Image<'_> {
    fn put(&self, txn: &mut Txn<'_>, state: &mut State) -> Result<()> {
        let file = self.taken.file;
        let parts = &self.taken.parts;
        let converts = parts.iter().any(|part| part.way == Way::Convert);
        let map_changes = converts || !self.map.staged.is_empty();
        if map_changes {
            let mut edit = MapEdit::begin(file.volume, file.inode.ino, state)?;
            self.edit_map(&mut edit, txn)?;
            edit.write_to(txn, state);
        }
        for part in parts.iter().filter(|part| part.way == Way::Journal) {
            txn.journal(part.block, &part.bytes);
        }
        let size = file.inode.size();
        let mut changed = map_changes || state.record.size != size;
        state.record.size = size;
        if let Some(bytes) = &self.taken.inline {
            state.record.inline = Some(bytes.as_slice().into());
            changed = true;
        } else if map_changes || size == 0 {
            state.record.inline = None;
        }
        if changed || state.unlogged != Unlogged::empty() {
            state.log(file.inode.ino, txn);
        }
        Ok(())
    }

    /// The staged runs replace what the tree has; unwritten blocks become written.
    fn edit_map(&self, edit: &mut MapEdit<'_>, txn: &mut Txn<'_>) -> Result<()> {
        for run in self.map.staged.runs() {
            edit.remove(run.start..run.end(), Blocks::Free, usize::MAX)?;
            let Some(extent) = run.extent() else { continue };
            edit.insert(extent)?;
            if let Place::Blocks { block, sums: Some(sums) } = &run.place {
                let sums = sums.clone();
                txn.wrote(DataSums { block: *block, last_bytes: BLOCK_SIZE as u32, sums });
            }
        }
        for part in self.taken.parts.iter().filter(|part| part.way == Way::Convert) {
            edit.convert(part.blocks.clone())?;
            txn.wrote(DataSums::of(part.block, part.bytes.as_slice()));
        }
        Ok(())
    }
}
