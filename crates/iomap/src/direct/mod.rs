//! Reads and writes past the page cache.
//!
//! | file | idea |
//! |---|---|
//! | `read.rs` | [`direct_read`]: all mappings of a request in one batch |
//! | `write.rs` | [`direct_write`]: all ioends of a request in one `submit` |
//! | `edges.rs` | blocks that a write covers in part |
//!
//! Both first write back what the cache has dirty in the range, and a write drops what is cached
//! there, before and after. The kernel's rules for races with memory mappings apply: who mixes
//! direct I/O and mappings of the same bytes gets one of the two.

mod edges;
mod read;
mod write;

use std::ops::Range;

use crate::error::Result;
use crate::host::Host;
use crate::writeback::{DirectOps, WritebackControl, writepages};

pub use read::direct_read;
pub use write::{DirectWritten, direct_write};

/// Writes back what is dirty or under writeback in the range, if anything is.
fn write_back(ops: &dyn DirectOps, host: &dyn Host, range: &Range<u64>) -> Result<()> {
    if host.cache().needs_writeback(range) {
        writepages(ops, host, range.clone(), &WritebackControl::default())?;
    }
    Ok(())
}
