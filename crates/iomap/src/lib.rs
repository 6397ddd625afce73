//! File operations for file systems that answer with mappings.
//!
//! A file system that can say *where* a range of a file lives gets reads, writes, writeback, direct
//! I/O, zeroing, seeking and reporting from this library, with a page cache that all its files
//! share. It is the user-space counterpart of Linux's `fs/iomap`, and keeps its file names, so that
//! who knows one knows the other.
//!
//! ```text
//!   the file system's calls:  read  write  fsync  truncate  lseek  fiemap
//!                               │     │      │       │        │      │
//!   ┌───────────────────────────▼─────▼──────▼───────▼────────▼──────▼────────────┐
//!   │ iomap   buffered_*  direct_*  writepages  truncate_page  seek_*  fiemap     │
//!   │         PageCache (one per file)    CachePool (one per file system)         │
//!   └──────┬─────────────────────┬───────────────────────────┬────────────────────┘
//!          │ "where is it?"      │ "write these"             │ bytes
//!   ┌──────▼──────────┐  ┌───────▼─────────┐         ┌───────▼───────┐
//!   │ MappingOps      │  │ WritebackOps    │────────►│ Device        │
//!   │ begin/end       │  │ map_blocks      │  bytes  │ read, submit  │
//!   │ the file system │  │ submit          │         └───────────────┘
//!   └─────────────────┘  └─────────────────┘
//! ```
//!
//! # What a file system provides
//! - [`Host`]: the inode as the library sees it: size, block size, [`PageCache`], device.
//! - [`MappingOps`]: `begin` answers a [`MapRequest`] with a [`Mapping`]; `end` hears what was
//!   done. One small type per purpose reads better than one `begin` for all.
//! - [`WritebackOps`]: where dirty blocks go, and writing them. For direct writes, too.
//!
//! A good order to adopt it: [`fiemap`] and [`seek_data`] need only mappings for reports; reads
//! come next; buffered writes and writeback after; direct writes last. `examples/toyfs` is a whole
//! file system in one file.
//!
//! # Kernel names
//!
//! | Linux | here |
//! |---|---|
//! | `struct iomap`, `iomap_ops` | [`Mapping`], [`MappingOps`] |
//! | `IOMAP_WRITE`, `_ZERO`, `_REPORT`, ... | [`Purpose`]; `_NOWAIT`, `_DIRECT`, ...: [`MapMods`] |
//! | `srcmap` | [`MapReply::source`] |
//! | `IOMAP_F_*` set by the file system | [`MappingFlags`] |
//! | `IOMAP_F_STALE`, `_SIZE_CHANGED` | [`Outcome`] |
//! | `iomap_iter` | [`MappingIter`] |
//! | `address_space`, its `host` | [`PageCache`], [`Host`] |
//! | `iomap_read_folio`, `iomap_readahead` | [`buffered_read`] |
//! | `iomap_file_buffered_write` | [`buffered_write`] |
//! | `iomap_write_delalloc_release` | [`release_unwritten`] |
//! | `iomap_writepages`, `iomap_writeback_ops` | [`writepages`], [`WritebackOps`] |
//! | `iomap_ioend` | [`Ioend`] |
//! | `iomap_dio_rw` | [`direct_read`], [`direct_write`]; `-ENOTBLK`: [`ErrorKind::NeedsBuffered`] |
//! | `iomap_zero_range`, `iomap_truncate_page` | [`zero_range`], [`truncate_page`] |
//! | `iomap_seek_data`, `iomap_seek_hole` | [`seek_data`], [`seek_hole`] |
//! | `iomap_fiemap` | [`fiemap`] |
//! | `errseq_t`, `file_check_and_advance_wb_err` | [`ErrorCursor`], [`PageCache::check_error`] |
//! | `truncate_pagecache` | [`PageCache::truncate`] |
//! | `invalidate_inode_pages2_range` | [`PageCache::invalidate_clean`] |
//! | `balance_dirty_pages` | [`CachePool::over_hard_limit`], by the file system |
//!
//! Two things differ on purpose. Sentinels and shared flag words are gone: only kinds of mappings
//! that have an address carry one, and what the file system says and what the library says are two
//! types. And nothing waits for writeback except who takes blocks away: a writer copies a folio
//! that is being written back.
//!
//! # Locks
//! Outermost first:
//! 1. the inode lock: the file system's; each operation says what it expects;
//! 2. [`PageCache::invalidate_lock`]: blocks of the file do not go away while it is held shared;
//! 3. the file's writeback lock: one writeback at a time, held across its I/O;
//! 4. the cache's lock: never held across I/O, `begin`, `end`, `map_blocks` or `submit`; held while
//!    `is_valid`, `set_size`, `discard_range` and the closure of [`release_unwritten`] run;
//! 5. the file system's map lock: taken inside its callbacks and let go before they return.
//!
//! # Failures
//! A breach of the contract by the file system is an error ([`ErrorKind::Contract`]), never a
//! panic. A failed writeback is reported once to every opener. An operation that failed after some
//! progress reports the progress; the next call meets the error.

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
    DirectOps, Gathered, Ioend, IoendFlags, Piece, WritebackControl, WritebackOps, WritebackReport,
    gather, take_inline, writepages,
};
pub use zero::zero_range;
