//! Where things live on an Ashlar volume: trees, log, transactions, checkpoint, allocator,
//! recovery. No files and no names: those are the business of the crate above.
//!
//! ```text
//!   begin · put · delete · take · free · wrote · commit · sync        view · get · scan
//!        │                                                                  │
//!   transaction lock ── trees (copy-on-write) ─────────────────────── snapshots
//!        │                     │
//!   log buffer            checkpoint ── nodes home, superblock flip, log tail moves
//!        │                     │
//!   device: data + record + one flush, in one batch
//! ```
//!
//! | module | idea |
//! |---|---|
//! | `store` | the open volume and its transaction lock |
//! | `txn` | a transaction, from begin to commit |
//! | `trees` | the one function that changes the trees, live and at replay |
//! | `log` | open record, ring, group commit, proof of flush |
//! | `journal` | data that travels in records and goes home with a checkpoint |
//! | `checkpoint` | trees home, superblock flip |
//! | `recovery` | scan, verify, replay, proof record |
//! | `space`, `allocate` | free space by address and size, promises, deferred reuse |
//! | `format` | mkfs |
//! | `read`, `view`, `nodes` | one entry; snapshots; nodes read through the cache |
//!
//! The ordering rules that make one flush enough are named where they are kept:
//! *proof-overwrite* ([`Store::ensure_overwritable`]), *proof-reuse* and *node-hold* (`space`),
//! *conditional* (`checkpoint`, `recovery`), *sums* (`recovery::verify`), *recovery-proof*
//! (`recovery`), *home-durable*, *home-checkpoint*, *home-last* and the two of revoking
//! (`journal`).

mod allocate;
mod background;
mod checkpoint;
mod error;
mod format;
mod geometry;
mod journal;
mod log;
mod nodes;
mod read;
mod recovery;
mod sabotage;
mod space;
mod store;
mod trees;
mod txn;
mod view;

#[cfg(test)]
mod tests;

pub use error::{Error, Result};
pub use format::FormatOptions;
pub use recovery::{OpenOptions, RecoveryReport, read_superblock};
pub use space::{AllocHint, Grant, Reservation, SpaceUsage};
pub use store::Store;
pub use txn::{Lsn, SharedBytes, Txn};
pub use view::View;
