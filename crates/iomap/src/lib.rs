//! File operations for file systems that answer with mappings.

mod buffered;
mod cache;
mod direct;
mod error;
mod fiemap;
mod host;
mod iter;
mod mapping;
mod ops;
mod seek;
mod truncate;
mod writeback;
mod zero;

pub use buffered::{buffered_read, buffered_write, release_unwritten};
pub use cache::{CachePool, ErrorCursor, PageCache, PoolOptions};
pub use direct::{DirectWritten, direct_read, direct_write};
pub use error::{DeviceError, Error, ErrorKind, Result};
pub use fiemap::{Fiemap, ReportFlags, ReportedExtent, fiemap};
pub use host::Host;
pub use iter::{MappingIter, OFFSET_MAX, STALE_ROUNDS_MAX};
pub use mapping::{Mapping, MappingFlags, MappingKind};
pub use ops::{MapMods, MapReply, MapRequest, MappingOps, Outcome, Purpose};
pub use seek::{seek_data, seek_hole};
pub use truncate::truncate_page;
pub use writeback::{
    DirectOps, Ioend, IoendFlags, Piece, WritebackControl, WritebackOps, WritebackReport,
    take_inline, writepages,
};
pub use zero::zero_range;
