//! Writeback of one file, and fsync: data, record and one flush.
//!
//! ```text
//!   fsync ── writeback lock ── dirty data ──> submit (sums, extents, inode: one transaction)
//!                           └─ or, small: content into the inode
//!                           └─ inode, if the log does not say all of it
//!         ── Store::sync: what is attached, the record, one flush, in one device batch
//! ```
//! A file of at most 2 KiB without blocks is kept in its inode: the decision falls here, not when it
//! is written, so that a file that grows quickly never goes there.
//!
//! Crash behaviour: after fsync, everything is there up to the size that the file had when the call
//! began. Before, the size on the device never runs ahead of the data.

use crate::error::{Result, through};
use crate::file::File;
use crate::inode::{Inode, Unlogged};
use crate::mapping::{FileRef, ReadOps, Writer, release_promises};
use crate::types::FileKind;
use crate::volume::{Volume, WritebackMode};
use ashlar_format::limits::{BLOCK_BYTES, INLINE_BYTES_MAX};
use iomap::{
    MapMods, MapRequest, Mapping, MappingFlags, MappingKind, Outcome, Purpose, WritebackControl,
};
use std::ops::Range;

/// What of an inode is to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Everything,
    /// What is needed to read the data back.
    ForData,
}

impl File {
    /// Makes the file durable: its data, and its attributes or, with `data_only`, those of them that
    /// are needed to read the data. A name that was given to it before is durable with it.
    ///
    /// # Errors
    /// A writeback that failed since the file was opened or last synced through this handle, once;
    /// `Shutdown`, `Io`.
    ///
    /// # Blocking
    /// Waits for the device: one flush, or none where nothing is pending.
    #[doc(alias = "fdatasync")]
    pub fn fsync(&self, data_only: bool) -> Result<()> {
        let sync = || {
            self.volume.check_open()?;
            if self.volume.check_writable().is_err() && self.volume.is_read_only() {
                return Ok(());
            }
            self.volume.check_writable()?;
            self.sync_file(data_only)
        };
        sync().map_err(|error: crate::Error| error.in_op("fsync").at(self.inode.ino))
    }

    pub(super) fn sync_file(&self, data_only: bool) -> Result<()> {
        let wanted = if data_only { Wanted::ForData } else { Wanted::Everything };
        let (volume, inode) = (&self.volume, &self.inode);
        if self.is_atomic() {
            // Told before the commit: an error after it would deny what is durable.
            if let Some(data) = inode.data_if_any() {
                data.cache.check_error(&mut self.errors.lock())?;
            }
            volume.commit_files(&[inode])?;
        }
        let written = volume.write_back_wanted(inode, WritebackMode::Durable, wanted);
        let Some(data) = inode.data_if_any() else {
            written?;
            return volume.sync_lsn(inode.lsn());
        };
        // Failures of this writeback and of earlier ones; each is told once.
        data.cache.check_error(&mut self.errors.lock())?;
        written?;
        match data.overwrites.due() {
            Some(due) => {
                volume.sync_flush()?;
                data.overwrites.settle(due);
                Ok(())
            }
            None => volume.sync_lsn(inode.lsn()),
        }
    }
}

impl Volume {
    /// Writes back what is dirty of an inode.
    ///
    /// # Errors
    /// The first failure, which is also told to those who sync the file.
    pub(crate) fn write_back(&self, inode: &Inode, mode: WritebackMode) -> Result<()> {
        self.write_back_wanted(inode, mode, Wanted::Everything)
    }

    fn write_back_wanted(&self, inode: &Inode, mode: WritebackMode, wanted: Wanted) -> Result<()> {
        let data = inode.data_if_any().filter(|_| inode.kind == FileKind::Regular);
        let Some(data) = data else { return self.log_inode(inode, None, wanted) };
        let _writeback = data.writeback.lock();
        if inode.any_state().dead {
            return Ok(());
        }
        let file = FileRef::new(self, inode);
        if file.is_atomic() {
            let staged = self.stage_if_memory_is_short(&file);
            self.log_inode(inode, None, wanted)?;
            return staged;
        }
        let size = match mode {
            // Nobody asked for it now: the disk size waits for direct writes under way below it.
            WritebackMode::Background => data.map.lock().settled_up_to(inode.size()),
            _ => inode.size(),
        };
        let written = if file.belongs_inline(size) {
            self.write_inline(&file, size)
        } else if data.cache.is_dirty() || data.cache.writeback_bytes() > 0 {
            write_pages(&file, 0..u64::MAX, mode)
        } else {
            Ok(())
        };
        // What could not be written must not come to lie below the disk size.
        self.log_inode(inode, written.is_ok().then_some(size), wanted)?;
        if self.kernel_cache {
            data.cache.drop_clean();
        }
        written
    }

    /// Writes back what a direct write to `offset..end` must not leave dirty: the range, and where
    /// the write moves the end of the file, everything behind the disk size, so that the record of
    /// the direct write may move the disk size over it. Inode lock held.
    ///
    /// # Errors
    /// The first failure.
    pub(super) fn write_back_before_direct(
        &self,
        file: &FileRef<'_>,
        offset: u64,
        end: u64,
    ) -> Result<()> {
        if !file.data.cache.is_dirty() && file.data.cache.writeback_bytes() == 0 {
            return Ok(());
        }
        let _writeback = file.data.writeback.lock();
        let disk_size = file.inode.any_state().record.size;
        let range = if end > disk_size {
            (disk_size - disk_size % BLOCK_BYTES).min(offset)..u64::MAX
        } else {
            offset..end
        };
        write_pages(file, range, WritebackMode::Background)
    }

    /// Writes everything dirty of a file to blocks, also what would fit into the inode, and logs the
    /// inode: what follows changes the map. Inode lock held exclusively.
    ///
    /// # Errors
    /// The first failure.
    pub(super) fn write_back_to_blocks(&self, file: &FileRef<'_>) -> Result<()> {
        self.leave_inode(file)?;
        let _writeback = file.data.writeback.lock();
        let size = file.inode.size();
        write_pages(file, 0..u64::MAX, WritebackMode::Background)?;
        self.log_inode(file.inode, Some(size), Wanted::Everything)
    }

    /// Writes what is dirty of an atomic file to places of its own, where memory is short: only a
    /// commit makes it the file's.
    fn stage_if_memory_is_short(&self, file: &FileRef<'_>) -> Result<()> {
        if !self.pool.over_background_limit() || !file.data.cache.is_dirty() {
            return Ok(());
        }
        write_pages(file, 0..u64::MAX, WritebackMode::Background)?;
        if self.kernel_cache {
            file.data.cache.drop_clean();
        }
        Ok(())
    }

    /// Puts a small file's content into its inode.
    fn write_inline(&self, file: &FileRef<'_>, size: u64) -> Result<()> {
        let stored = iomap::take_inline(file, &ReadOps(*file), size, |bytes| {
            self.store_inline(file, bytes).map_err(through)
        });
        if let Err(error) = stored {
            let error = crate::Error::from(error);
            file.data.cache.record_error(through(error.clone()));
            return Err(error);
        }
        // The block that was promised is not needed, unless the content changed again.
        let request = MapRequest {
            offset: 0,
            length: BLOCK_BYTES,
            purpose: Purpose::Write,
            mods: MapMods::empty(),
        };
        let promise = Mapping::new(0, BLOCK_BYTES, MappingKind::Delalloc);
        let promise = promise.with_flags(MappingFlags::NEW);
        release_promises(file, &request, &promise, Outcome::default());
        Ok(())
    }

    fn store_inline(&self, file: &FileRef<'_>, bytes: &[u8]) -> Result<()> {
        let mut map = file.data.map.lock();
        let mut state = file.inode.state()?;
        let mut txn = self.store.begin();
        state.record.inline = Some(bytes.into());
        state.record.size = bytes.len() as u64;
        state.log(file.inode.ino, &mut txn);
        self.commit(txn, &[file.inode])?;
        map.invalidate();
        Ok(())
    }

    /// Logs what the log does not say of an inode yet. `size` is the size of a regular file before
    /// its data was written back: all of that is on its way now, so the disk size follows.
    fn log_inode(&self, inode: &Inode, size: Option<u64>, wanted: Wanted) -> Result<()> {
        let mut state = inode.any_state();
        if state.dead {
            return Ok(());
        }
        let size = size.map_or(0, |size| size.min(inode.size()));
        // What is kept in the inode is as long as the record says.
        let grows = size > state.record.size && state.record.inline.is_none();
        if grows {
            state.record.size = size;
        }
        let skipped = match wanted {
            Wanted::Everything => Unlogged::empty(),
            Wanted::ForData => Unlogged::TIMES,
        };
        if !grows && (state.unlogged - skipped).is_empty() {
            return Ok(());
        }
        let mut txn = self.store.begin();
        state.log(inode.ino, &mut txn);
        self.commit(txn, &[inode])
    }
}

/// Writes the dirty blocks of a range. Writeback lock held.
fn write_pages(file: &FileRef<'_>, range: Range<u64>, mode: WritebackMode) -> Result<()> {
    let writer = Writer::new(*file, mode);
    iomap::writepages(&writer, file, range, &WritebackControl::default())?;
    Ok(())
}

impl FileRef<'_> {
    /// Whether the content, up to `size`, is to be put into the inode now.
    pub(crate) fn belongs_inline(&self, size: u64) -> bool {
        let state = self.inode.any_state();
        let record = &state.record;
        let fits = 0 < size && size <= INLINE_BYTES_MAX as u64 && record.blocks == 0;
        let stale = record.inline.is_some() && record.size != size;
        fits && (stale || self.data.cache.is_dirty())
    }
}
