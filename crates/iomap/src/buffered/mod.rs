//! Reads and writes through the page cache.
//!
//! `read.rs` and `write.rs` are the operations; `store.rs` puts bytes or zeros into one folio and
//! is shared with [`zero_range`](crate::zero_range).

mod read;
mod store;
mod write;

pub use read::buffered_read;
pub(crate) use read::copy_padded;
pub(crate) use store::{Content, Stored, store};
pub use write::{buffered_write, release_unwritten};
