//! fallocate(2): space without content, content without space, and files that change in the middle.
//!
//! | mode | whole blocks | parts of blocks at the ends |
//! |---|---|---|
//! | allocate | holes become unwritten extents | belong to the range |
//! | punch hole | freed | zeroed in the cache |
//! | zero range | freed, then unwritten extents | zeroed in the cache |
//! | collapse, insert | freed or made room for; the rest moves | not allowed |
//!
//! Rules and errors are those of XFS. Space for all of an allocation is promised before anything is
//! changed, so it fails as a whole.

use crate::error::{ErrorKind, Result};
use crate::extent::edit::{Blocks, MapEdit};
use crate::extent::{Extent, Found, blocks_inside, blocks_touched};
use crate::file::File;
use crate::inode::Unlogged;
use crate::inode::orphan::EXTENTS_PER_TXN;
use crate::mapping::{FileRef, ZeroOps};
use crate::types::{Caller, FallocateMode, InodeFlags};
use crate::volume::Volume;
use ashlar_format::extent::ExtentFlags;
use ashlar_format::limits::{BLOCK_BYTES, FILE_BYTES_MAX};
use ashlar_store::{AllocHint, Reservation};
use std::ops::Range;

/// Allocations in one transaction.
const GRANTS_PER_TXN: usize = 64;

impl File {
    /// Does to `length` bytes from `offset` what `mode` says.
    ///
    /// # Errors
    /// `Invalid` (EINVAL) for no length, and for collapse and insert where the range is not made of
    /// whole blocks, reaches the end of the file (collapse) or begins there (insert); `TooLarge`
    /// (EFBIG); `NotPermitted` (EPERM) for immutable files, and all but allocating in append-only
    /// ones; `BadHandle`, `IsDirectory`, `NoSpace`, `ReadOnly`, `Shutdown`, `Corrupt`, `Io`.
    ///
    /// # Durability
    /// After [`File::fsync`]. Very fragmented files take several steps; a crash may leave it halfway.
    #[doc(alias = "fallocate")]
    pub fn allocate(
        &self,
        caller: &Caller,
        mode: FallocateMode,
        offset: u64,
        length: u64,
    ) -> Result<()> {
        // Nothing here depends on who asks yet; seals and quotas will.
        let _ = caller;
        self.allocate_checked(mode, offset, length)
            .map_err(|error| error.in_op("allocate").at(self.inode.ino))
    }

    fn allocate_checked(&self, mode: FallocateMode, offset: u64, length: u64) -> Result<()> {
        self.check_writing()?;
        self.check_content()?;
        if length == 0 {
            return Err(ErrorKind::Invalid.into());
        }
        let end = offset.checked_add(length).filter(|end| *end <= FILE_BYTES_MAX);
        let end = end.ok_or(ErrorKind::TooLarge)?;
        let file = self.file();
        let _lock = self.inode.lock.write();
        let flags = self.inode.state()?.record.flags;
        let only_adds = matches!(mode, FallocateMode::Allocate { .. });
        if flags.contains(InodeFlags::IMMUTABLE)
            || (flags.contains(InodeFlags::APPEND) && !only_adds)
        {
            return Err(Volume::not_permitted(self.inode.ino));
        }
        let atomic = file.is_atomic();
        match mode {
            // Several transactions, which the working image is not made for.
            FallocateMode::CollapseRange | FallocateMode::InsertRange if atomic => {
                return Err(ErrorKind::Unsupported.into());
            }
            FallocateMode::Allocate { keep_size } => {
                self.volume.write_back_to_blocks_if_inline(&file)?;
                self.volume.fill_holes(&file, &blocks_touched(&(offset..end)))?;
                self.grow_to(&file, end, keep_size)?;
            }
            FallocateMode::PunchHole => self.volume.punch(&file, &(offset..end))?,
            FallocateMode::ZeroRange { keep_size } => {
                self.volume.write_back_to_blocks_if_inline(&file)?;
                self.volume.punch(&file, &(offset..end))?;
                self.volume.fill_holes(&file, &blocks_touched(&(offset..end)))?;
                self.grow_to(&file, end, keep_size)?;
            }
            FallocateMode::CollapseRange => self.collapse(&file, offset, end)?,
            FallocateMode::InsertRange => self.insert(&file, offset, length)?,
        }
        let mut state = self.inode.state()?;
        state.touch_content(self.volume.now());
        state.unlogged |= Unlogged::ATTRIBUTES;
        drop(state);
        self.volume.note_dirty(&self.inode);
        if atomic {
            self.volume.note_uncommitted(&self.inode);
        }
        Ok(())
    }

    fn grow_to(&self, file: &FileRef<'_>, end: u64, keep_size: bool) -> Result<()> {
        if !keep_size && end > self.inode.size() {
            self.volume.grow(file, end)?;
        }
        Ok(())
    }

    /// Takes `offset..end` out of the file.
    fn collapse(&self, file: &FileRef<'_>, offset: u64, end: u64) -> Result<()> {
        let size = self.inode.size();
        if !(offset | end).is_multiple_of(BLOCK_BYTES) || end >= size {
            return Err(ErrorKind::Invalid.into());
        }
        self.volume.write_back_to_blocks(file)?;
        let _writeback = file.data.writeback.lock();
        file.data.cache.invalidate(offset..u64::MAX);
        let blocks = offset / BLOCK_BYTES..end / BLOCK_BYTES;
        file.remove_blocks(&blocks)?;
        file.shift_down(blocks.end, blocks.end - blocks.start)?;
        let new_size = size - (end - offset);
        self.inode.set_size(new_size);
        self.inode.state()?.record.size = new_size;
        self.volume.remove_past_end(&self.inode)
    }

    /// Makes room of `length` bytes at `offset`.
    fn insert(&self, file: &FileRef<'_>, offset: u64, length: u64) -> Result<()> {
        let size = self.inode.size();
        if !(offset | length).is_multiple_of(BLOCK_BYTES) || offset >= size {
            return Err(ErrorKind::Invalid.into());
        }
        let new_size = size.checked_add(length).filter(|size| *size <= FILE_BYTES_MAX);
        let new_size = new_size.ok_or(ErrorKind::TooLarge)?;
        self.volume.write_back_to_blocks(file)?;
        let _writeback = file.data.writeback.lock();
        file.data.cache.invalidate(offset..u64::MAX);
        // What is allocated past the end does not move along.
        self.volume.remove_past_end(&self.inode)?;
        // The size first: data moved past the disk size would be lost in a crash.
        self.inode.set_size(new_size);
        self.inode.state()?.record.size = new_size;
        file.shift_up(offset / BLOCK_BYTES, length / BLOCK_BYTES)
    }
}

impl FileRef<'_> {
    /// Frees blocks and forgets their promises. Nothing of them is cached.
    fn remove_blocks(&self, blocks: &Range<u64>) -> Result<()> {
        self.data.map.lock().unpromise(blocks.clone());
        self.data.map.lock().invalidate();
        self.edit_in_parts(&mut |edit| edit.remove(blocks.clone(), Blocks::Free, EXTENTS_PER_TXN))
    }
}

impl Volume {
    /// Content moves out of the inode: an inode with content has no blocks.
    fn write_back_to_blocks_if_inline(&self, file: &FileRef<'_>) -> Result<()> {
        if file.is_atomic() {
            return self.leave_inode(file);
        }
        let is_inline = file.inode.any_state().record.inline.is_some();
        if is_inline { self.write_back_to_blocks(file) } else { Ok(()) }
    }

    /// The range reads as zeros, and its whole blocks are free. Inode lock held exclusively.
    fn punch(&self, file: &FileRef<'_>, range: &Range<u64>) -> Result<()> {
        let whole = blocks_inside(range);
        let bytes = whole.start * BLOCK_BYTES..whole.end * BLOCK_BYTES;
        let size = file.inode.size();
        let edges = if whole.is_empty() {
            [range.clone(), range.end..range.end]
        } else {
            [range.start..bytes.start, bytes.end..range.end]
        };
        for edge in edges {
            let length = edge.end.min(size).saturating_sub(edge.start);
            if length > 0 {
                iomap::zero_range(&ZeroOps(*file), file, edge.start, length)?;
            }
        }
        if whole.is_empty() {
            return Ok(());
        }
        let _writeback = file.data.writeback.lock();
        let state = file.inode.any_state();
        let inline = state.record.inline.is_some() && whole.start == 0;
        drop(state);
        if inline {
            // All of the content goes; the zeros are written like any others.
            let length = size.min(BLOCK_BYTES);
            return Ok(iomap::zero_range(&ZeroOps(*file), file, 0, length)?);
        }
        file.data.cache.invalidate(bytes);
        if file.is_atomic() {
            file.stage_hole(&whole);
            return Ok(());
        }
        file.remove_blocks(&whole)
    }

    /// Holes in the range become unwritten extents. Inode lock held exclusively.
    fn fill_holes(&self, file: &FileRef<'_>, blocks: &Range<u64>) -> Result<()> {
        if file.is_atomic() {
            return file.stage_unwritten(blocks);
        }
        let mut reservation = self.store.reserve(file.count_holes(blocks)?)?;
        let mut at = blocks.start;
        file.edit_and_grant_in_parts(&mut |edit, txn, map| {
            for _ in 0..GRANTS_PER_TXN {
                let Some(hole) = file.next_hole(map, edit, at..blocks.end)? else {
                    return Ok(true);
                };
                let extent = self.grant_unwritten(file, &mut reservation, &hole, txn)?;
                edit.insert(extent)?;
                at = extent.end();
            }
            Ok(false)
        })
    }

    fn grant_unwritten(
        &self,
        file: &FileRef<'_>,
        reservation: &mut Reservation,
        hole: &Range<u64>,
        txn: &mut ashlar_store::Txn<'_>,
    ) -> Result<Extent> {
        let before = self.extent_floor(file.inode.ino, hole.start)?;
        let hint = AllocHint { goal: before.map(|extent| extent.block + extent.count) };
        let grant = self.store.allocate(reservation, hole.end - hole.start, hint)?;
        self.data_device.reused(grant.block(), grant.count());
        let extent = Extent {
            flags: ExtentFlags::UNWRITTEN,
            ..Extent::written(hole.start, grant.block(), grant.count())
        };
        txn.take(grant);
        Ok(extent)
    }
}

impl FileRef<'_> {
    /// Blocks of the range that are neither allocated nor promised.
    fn count_holes(&self, blocks: &Range<u64>) -> Result<u64> {
        let mut map = self.data.map.lock();
        let (mut at, mut count) = (blocks.start, 0);
        while at < blocks.end {
            if let Some(end) = map.promised_until(at) {
                at = end;
                continue;
            }
            match self.volume.find_block(self.inode.ino, &mut map, at)? {
                Found::Extent(extent) => at = extent.end(),
                Found::Hole { end } => {
                    let end = end.min(map.next_promise(at)).min(blocks.end);
                    count += end - at;
                    at = end;
                }
            }
        }
        Ok(count)
    }

    /// The first hole of the range, by the edits so far.
    fn next_hole(
        &self,
        map: &crate::extent::MapState,
        edit: &MapEdit<'_>,
        range: Range<u64>,
    ) -> Result<Option<Range<u64>>> {
        let mut at = range.start;
        while at < range.end {
            if let Some(end) = map.promised_until(at) {
                at = end;
                continue;
            }
            let next = edit.at_or_behind(at)?;
            match next.filter(|extent| extent.start <= at) {
                Some(extent) => at = extent.end(),
                None => {
                    let end = next.map_or(range.end, |extent| extent.start);
                    return Ok(Some(at..end.min(range.end).min(map.next_promise(at))));
                }
            }
        }
        Ok(None)
    }
}
