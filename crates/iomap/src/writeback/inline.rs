//! [`take_inline`]: the writeback of files that live in their inode.

use std::ops::Range;

use crate::buffered::buffered_read;
use crate::cache::check_host;
use crate::cache::take::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::ops::MappingOps;

/// Inline files are small by nature; larger ones have blocks.
const INLINE_SIZE_MAX: u64 = 64 * 1024;

/// Gives the bytes `[0, size)` of a file to `store`, which puts them into the file system's
/// metadata. If that succeeds, the blocks are clean, except where they were written to meanwhile.
///
/// `size` is at most 64 KiB and usually the file's size, read under the file system's own lock; if
/// the file grows meanwhile, what was appended stays dirty. Bytes that are not cached are read
/// through `ops` ([`Purpose::Read`](crate::Purpose::Read)). `store` runs with no lock of the cache
/// held, but with the file's writeback lock, so it obeys the rules of
/// [`WritebackOps::submit`](crate::WritebackOps::submit).
///
/// # Errors
/// What reading returns; what `store` returns, unchanged. The blocks are dirty as before then, and
/// nothing is recorded: the file system decides whether that is a failed writeback
/// ([`PageCache::record_error`](crate::PageCache::record_error)) or whether it gives the file
/// blocks and calls [`writepages`](crate::writepages).
pub fn take_inline(
    host: &dyn Host,
    ops: &dyn MappingOps,
    size: u64,
    store: impl FnOnce(&[u8]) -> Result<()>,
) -> Result<()> {
    check_host("take_inline", host)?;
    if size > INLINE_SIZE_MAX {
        let kind = ErrorKind::InvalidArgument("more than 64 KiB cannot be inline");
        return Err(Error::new("take_inline", kind));
    }
    let _only_one = host.cache().shared().writeback.lock();
    let batch = Batch::take(host, &(0..size), u64::MAX);
    // At most INLINE_SIZE_MAX.
    let length = size as usize;
    match one_folio(&batch, length) {
        Some(bytes) => store(bytes)?,
        None => {
            let bytes = gather(host, ops, &batch, length)?;
            store(&bytes)?;
        }
    }
    batch.finish(&[], &|_: Range<u64>| {});
    host.cache().pool().maintain();
    Ok(())
}

/// The usual case needs no copy: everything is dirty and in one folio.
fn one_folio<'a>(batch: &'a Batch<'_>, length: usize) -> Option<&'a [u8]> {
    let first = batch.taken.first().filter(|taken| taken.offset == 0)?;
    first.buffer[first.bytes.clone()].get(..length)
}

/// What was taken, over what is read for the rest.
fn gather(
    host: &dyn Host,
    ops: &dyn MappingOps,
    batch: &Batch<'_>,
    length: usize,
) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        match buffered_read(ops, host, done as u64, &mut bytes[done..])? {
            // Past the end of the file: zeros.
            0 => break,
            read => done += read,
        }
    }
    // A write may have come after the blocks were taken. Its bytes stay dirty; these are older, and
    // of one moment.
    for taken in &batch.taken {
        // Below `length` after the check.
        let from = (taken.offset as usize).min(length);
        let source = &taken.buffer[taken.bytes.clone()];
        let copied = source.len().min(length - from);
        bytes[from..from + copied].copy_from_slice(&source[..copied]);
    }
    Ok(bytes)
}
