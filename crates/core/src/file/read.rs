//! Reading: from the inode, the cache, or past it.
//!
//! ```text
//!   kept in the inode, nothing cached      copied from there
//!   direct handle, or a caller with its    read past the cache, unless the range is cached
//!   own cache (kernel_cache)
//!   otherwise                              through the cache, with readahead
//! ```

use crate::error::Result;
use crate::file::File;
use crate::mapping::{DirectReadOps, FileRef, ReadOps};
use ashlar_format::limits::{BLOCK_BYTES, INLINE_BYTES_MAX};

impl File {
    /// Reads from `offset` into `buf`; returns how many bytes, fewer only at the end of the file.
    ///
    /// # Errors
    /// `BadHandle` (EBADF), `IsDirectory`, `Shutdown`, `Corrupt`, `Io`.
    ///
    /// # Blocking
    /// Waits for writers of the file, and for the device.
    #[doc(alias = "pread")]
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.read_checked(offset, buf).map_err(|error| error.in_op("read").at(self.inode.ino))
    }

    pub(super) fn read_checked(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.check_reading()?;
        let file = self.file();
        let count = {
            let _lock = self.inode.lock.read();
            self.read_locked(&file, offset, buf)?
        };
        self.volume.note_access(&self.inode);
        Ok(count)
    }

    /// Reads with the inode lock held.
    pub(super) fn read_locked(
        &self,
        file: &FileRef<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        let size = self.inode.size();
        if offset >= size || buf.is_empty() {
            return Ok(0);
        }
        if size <= INLINE_BYTES_MAX as u64
            && let Some(count) = read_inline(file, size, offset, buf)
        {
            return Ok(count);
        }
        let end = offset.saturating_add(buf.len() as u64);
        let last_block = end > (1 << 63) - BLOCK_BYTES && size > (1 << 63) - BLOCK_BYTES;
        // The cache cannot speak of the block that ends where signed offsets do.
        let direct = self.flags.direct || self.volume.kernel_cache || last_block;
        if direct && (last_block || !file.data.cache.has_cached_data(offset..end)) {
            match iomap::direct_read(&DirectReadOps::new(*file), file, offset, buf) {
                Err(error) if error.needs_buffered() => {}
                other => return Ok(other?),
            }
        }
        Ok(iomap::buffered_read(&ReadOps(*file), file, offset, buf)?)
    }
}

/// Copies what is kept in the inode, unless the cache has something newer.
fn read_inline(file: &FileRef<'_>, size: u64, offset: u64, buf: &mut [u8]) -> Option<usize> {
    if file.data.cache.has_cached_data(0..BLOCK_BYTES) {
        return None;
    }
    let state = file.inode.any_state();
    let inline = state.record.inline.as_deref()?;
    // Below INLINE_BYTES_MAX.
    let (size, offset) = (size as usize, offset as usize);
    let count = buf.len().min(size - offset);
    let content = inline.get(offset..).unwrap_or_default();
    let copied = content.len().min(count);
    buf[..copied].copy_from_slice(&content[..copied]);
    buf[copied..count].fill(0);
    Some(count)
}
