//! Writing: into the cache, or past it.
//!
//! | write | goes |
//! |---|---|
//! | by default | into the cache |
//! | whole blocks through a direct handle | to the device |
//! | whole blocks, 64 KiB and more, of a caller with its own cache | to the device |
//! | whole blocks that are written already, or holes, either of these | to the device, side by side |
//!
//! What direct writing cannot do goes through the cache, the rest of a block at the end for example.
//!
//! Writes side by side hold the inode lock shared. One that meets blocks which another has on their
//! way is told so by the map (they are granted), and goes the exclusive way, which waits.
//!
//! Growing over an end that is not on a block border, with a gap: the rest of that block is zeroed
//! first, and no writeback comes between that and the new size (invariant I4 of `inode/mod.rs`).

use crate::error::{ErrorKind, Result};
use crate::extent::Found;
use crate::file::File;
use crate::inode::Unlogged;
use crate::inode::attr::without_set_ids;
use crate::mapping::{DirectWriteOps, FileRef, ReadOps, WriteOps, ZeroOps};
use crate::types::{InodeFlags, WriteFlags};
use crate::volume::Volume;
use ashlar_format::limits::{BLOCK_BYTES, FILE_BYTES_MAX, INLINE_BYTES_MAX};
use std::ops::Range;

/// Writes of a caller with its own cache bypass ours from this size on.
const DIRECT_BYTES_MIN: usize = 64 << 10;

/// A write, and how it is to be done.
#[derive(Clone, Copy)]
struct Request<'a> {
    offset: u64,
    bytes: &'a [u8],
    flags: WriteFlags,
    append: bool,
    direct: bool,
}

impl Request<'_> {
    /// What is left of it after its first `done` bytes.
    fn behind(self, done: usize) -> Self {
        Self { offset: self.offset + done as u64, bytes: &self.bytes[done..], ..self }
    }
}

impl File {
    /// Writes `bytes` at `offset`, or at the end of the file for appending handles and writes;
    /// returns how many bytes, fewer than given only when space ends in between.
    ///
    /// # Errors
    /// `BadHandle` (EBADF), `IsDirectory`, `NotPermitted` (EPERM), `NoSpace` (ENOSPC) when nothing
    /// could be written, `TooLarge` (EFBIG) from 2^63 - 1 on, `ReadOnly`, `Shutdown`, `Corrupt`, `Io`.
    /// What was accepted does not fail for space later.
    ///
    /// # Durability
    /// After [`File::fsync`] or [`Volume::sync`]; on return with `sync` or `dsync` of the handle, the
    /// write or the inode. An error after the data was accepted tells of the sync.
    ///
    /// # Blocking
    /// Waits for other writers and readers of the file; for writeback when too much is dirty.
    #[doc(alias = "pwrite")]
    pub fn write_at(&self, offset: u64, bytes: &[u8], flags: WriteFlags) -> Result<usize> {
        self.write_checked(offset, bytes, flags)
            .map_err(|error| error.in_op("write").at(self.inode.ino))
    }

    fn write_checked(&self, offset: u64, bytes: &[u8], flags: WriteFlags) -> Result<usize> {
        self.check_writing()?;
        self.check_content()?;
        if bytes.is_empty() {
            return Ok(0);
        }
        // A caller with its own cache has placed what it appends itself.
        let append = flags.append || (self.flags.append && !self.volume.kernel_cache);
        let atomic = self.is_atomic();
        let direct = self.flags.direct
            || flags.direct
            || (self.volume.kernel_cache && bytes.len() >= DIRECT_BYTES_MIN);
        // A working image is in the cache, or staged from there.
        let direct = direct && !atomic;
        let request = Request { offset, bytes, flags, append, direct };
        let file = self.file();
        let mut written = if direct && !append { self.write_beside(&file, &request)? } else { 0 };
        if written < bytes.len() {
            match self.write_exclusively(&file, &request.behind(written)) {
                Ok(more) => written += more,
                Err(error) if written == 0 => return Err(error),
                // What is written is written; the next call meets the error again.
                Err(_) => {}
            }
        }
        self.volume.note_dirty(&self.inode);
        if atomic {
            self.volume.note_uncommitted(&self.inode);
        }
        self.sync_write(flags)?;
        self.volume.throttle();
        Ok(written)
    }

    /// Makes a write durable that is to be durable on return.
    fn sync_write(&self, flags: WriteFlags) -> Result<()> {
        let inode_sync = self.inode.any_state().record.flags.contains(InodeFlags::SYNC);
        let all = flags.sync || self.flags.sync || inode_sync;
        if all || flags.dsync || self.flags.dsync {
            self.sync_file(!all)?;
        }
        Ok(())
    }

    /// Writes whole blocks past the cache and beside others who do, where they are written already
    /// or holes; returns how many bytes, 0 where that cannot be.
    fn write_beside(&self, file: &FileRef<'_>, request: &Request<'_>) -> Result<usize> {
        let &Request { offset, bytes, flags, .. } = request;
        let end = offset.saturating_add(bytes.len() as u64);
        if !offset.is_multiple_of(BLOCK_BYTES) || !end.is_multiple_of(BLOCK_BYTES) {
            return Ok(0);
        }
        let _lock = self.inode.lock.read();
        if !self.can_be_beside(file, offset, end)? {
            return Ok(0);
        }
        self.begin_write(flags, offset >= self.inode.size())?;
        match iomap::direct_write(&DirectWriteOps::new(*file, end), file, offset, bytes) {
            Ok(done) => Ok(done.written),
            Err(error) if error.needs_buffered() => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a write of whole blocks needs nothing that another could disturb. Inode lock held.
    fn can_be_beside(&self, file: &FileRef<'_>, offset: u64, end: u64) -> Result<bool> {
        let cache = &file.data.cache;
        if cache.is_dirty() || cache.writeback_bytes() > 0 {
            return Ok(false);
        }
        let found = look(file, offset / BLOCK_BYTES..end / BLOCK_BYTES)?;
        if found == Blocks::Written && end <= self.inode.size() {
            return Ok(true);
        }
        let state = self.inode.any_state();
        // I4 asks for nothing while no end lies inside a block.
        let ends = [self.inode.size(), state.record.size];
        let whole = ends.iter().all(|end| end.is_multiple_of(BLOCK_BYTES));
        let fits = state.record.inline.is_none() && end <= FILE_BYTES_MAX;
        Ok(found != Blocks::SomeUnwritten && whole && fits)
    }

    fn write_exclusively(&self, file: &FileRef<'_>, request: &Request<'_>) -> Result<usize> {
        let &Request { offset, bytes, flags, append, direct } = request;
        let _lock = self.inode.lock.write();
        let size = self.inode.size();
        let offset = if append { size } else { offset };
        let room = FILE_BYTES_MAX.saturating_sub(offset);
        if room == 0 {
            return Err(ErrorKind::TooLarge.into());
        }
        let bytes = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        self.begin_write(flags, offset >= size)?;
        let end = offset + bytes.len() as u64;
        if offset >= BLOCK_BYTES && end > INLINE_BYTES_MAX as u64 {
            self.volume.leave_inode(file)?;
        }
        let mut done = 0;
        if direct {
            done = self.write_directly(file, offset, bytes)?;
        }
        if done < bytes.len() {
            match self.write_cached(file, offset + done as u64, &bytes[done..]) {
                Ok(cached) => done += cached,
                Err(error) if done == 0 => return Err(error),
                // What is written is written; the next call meets the error again.
                Err(_) => {}
            }
        }
        Ok(done)
    }

    /// Checks flags, and does what every write does to the inode.
    fn begin_write(&self, flags: WriteFlags, at_end: bool) -> Result<()> {
        let mut state = self.inode.state()?;
        let persistent = state.record.flags;
        // What a caller's cache sends was accepted when it was written there, and dated then.
        let forbidden = persistent.contains(InodeFlags::IMMUTABLE)
            || (persistent.contains(InodeFlags::APPEND) && !at_end);
        if forbidden && !self.volume.kernel_cache && !flags.cached {
            return Err(Volume::not_permitted(self.inode.ino));
        }
        let now = self.volume.now();
        // The clock ticks every few milliseconds: most writes find nothing new to log.
        if !flags.cached && (state.record.mtime != now || state.record.ctime != now) {
            state.touch_content(now);
            state.unlogged |= Unlogged::TIMES;
        }
        if flags.kill_suid_gid {
            let mode = without_set_ids(state.record.permissions);
            if mode != state.record.permissions {
                state.record.permissions = mode;
                state.unlogged |= Unlogged::ATTRIBUTES;
            }
        }
        Ok(())
    }

    /// Writes as much of the beginning of `bytes` as can go past the cache; returns how many bytes.
    /// Inode lock held exclusively.
    fn write_directly(&self, file: &FileRef<'_>, offset: u64, bytes: &[u8]) -> Result<usize> {
        let size = self.inode.size();
        // A gap behind an end inside a block is zeroed through the cache.
        let gap = offset > size && !size.is_multiple_of(BLOCK_BYTES);
        if !offset.is_multiple_of(BLOCK_BYTES) || gap {
            return Ok(0);
        }
        let whole = bytes.len() - bytes.len() % BLOCK_BYTES as usize;
        let reaches_end = offset + bytes.len() as u64 >= size;
        let bytes = if reaches_end { bytes } else { &bytes[..whole] };
        if bytes.is_empty() {
            return Ok(0);
        }
        let end = offset + bytes.len() as u64;
        self.volume.write_back_before_direct(file, offset, end)?;
        match iomap::direct_write(&DirectWriteOps::new(*file, end), file, offset, bytes) {
            Ok(done) => Ok(done.written),
            Err(error) if error.needs_buffered() => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes into the cache. Inode lock held exclusively.
    fn write_cached(&self, file: &FileRef<'_>, offset: u64, bytes: &[u8]) -> Result<usize> {
        let size = self.inode.size();
        if offset <= size || size.is_multiple_of(BLOCK_BYTES) {
            return Ok(iomap::buffered_write(&WriteOps(*file), file, offset, bytes)?);
        }
        // I4: no writeback between the zeroing and the new size.
        let _writeback = file.data.writeback.lock();
        iomap::truncate_page(&ZeroOps(*file), file, size)?;
        Ok(iomap::buffered_write(&WriteOps(*file), file, offset, bytes)?)
    }
}

/// What there is in a range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blocks {
    Written,
    SomeHoles,
    /// Two who convert the same unwritten block would be in each other's way.
    SomeUnwritten,
}

fn look(file: &FileRef<'_>, blocks: Range<u64>) -> Result<Blocks> {
    let mut found = Blocks::Written;
    let mut block = blocks.start;
    while block < blocks.end {
        block = match file.found_at(block)? {
            Found::Extent(extent) if extent.is_unwritten() => return Ok(Blocks::SomeUnwritten),
            Found::Extent(extent) => extent.end(),
            Found::Hole { end } => {
                found = Blocks::SomeHoles;
                end
            }
        };
    }
    Ok(found)
}

impl Volume {
    /// Content that is kept in the inode goes into the cache, from where it will be written to
    /// blocks: the file is about to grow past what an inode can hold. Inode lock held exclusively.
    ///
    /// # Errors
    /// `NoSpace`.
    pub(crate) fn leave_inode(&self, file: &FileRef<'_>) -> Result<()> {
        if file.inode.any_state().record.inline.is_none() {
            return Ok(());
        }
        // At most a block; the cache may have newer bytes than the inode.
        let mut bytes = vec![0; file.inode.size().min(BLOCK_BYTES) as usize];
        let count = iomap::buffered_read(&ReadOps(*file), file, 0, &mut bytes)?;
        iomap::buffered_write(&WriteOps(*file), file, 0, &bytes[..count])?;
        Ok(())
    }
}
