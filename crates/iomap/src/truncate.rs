//! [`truncate_page`]: zeroes the rest of the block that holds the end of the file.
//!
//! ```text
//!            new end
//!   |-----------#000000|      the rest of the block on the device: must not come back when the
//!    kept        zeroed        file grows again
//! ```

use crate::cache::check_host;
use crate::error::Result;
use crate::host::Host;
use crate::ops::MappingOps;
use crate::zero::zero;

/// Zeroes from `offset` to the end of its block in the cache and makes the block dirty; does
/// nothing on a block border, or where the block reads as zeros anyway.
///
/// For a shrinking file it is called with the new size, before the size changes; for a file that
/// grows past its last block, with the old size, unless the file system knows that those bytes are
/// zero. Locks and errors as [`zero_range`](crate::zero_range).
///
/// # Errors
/// As [`zero_range`](crate::zero_range).
#[doc(alias = "iomap_truncate_page")]
pub fn truncate_page(ops: &dyn MappingOps, host: &dyn Host, offset: u64) -> Result<()> {
    let block_size = check_host("truncate_page", host)?;
    match offset % block_size {
        0 => Ok(()),
        used => zero("truncate_page", ops, host, offset, block_size - used),
    }
}
