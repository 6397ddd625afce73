//! A transaction: edits collected without any lock, applied and logged together at commit.
//!
//! ```text
//! begin ── put, delete, take, free, wrote, attach ──> commit ──> visible, in the log buffer
//!                                       └── drop ──> nothing happened; grants give back
//! ```
//!
//! All edits of one transaction travel in one log record: after a crash all or none are there.

use crate::error::Result;
use crate::space::Grant;
use crate::store::Store;
use ashlar_device::AlignedBuf;
use ashlar_format::key::TreeId;
use ashlar_format::limits::BLOCK_SIZE;
use ashlar_format::log::{DataSums, Edit};
use std::ops::Range;
use std::sync::Arc;

/// Journaled data is cut into pieces of this many bytes, so that a commit can be spread over records.
const JOURNAL_PIECE_BYTES: usize = 64 << 10;
/// Bytes of the edit that names a piece's place.
const JOURNAL_EDIT_BYTES: usize = 13;

/// Log sequence number: names a record. [`Store::sync`] makes everything up to one durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Lsn(pub u64);

/// Bytes that stay as they are while they are written: part of a shared buffer that nobody
/// changes in place.
#[derive(Debug, Clone)]
pub struct SharedBytes {
    buf: Arc<AlignedBuf>,
    range: Range<usize>,
}

impl SharedBytes {
    /// Shares `range` of `buf`.
    ///
    /// # Panics
    /// When the range passes the buffer's end.
    #[must_use]
    pub fn new(buf: Arc<AlignedBuf>, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= buf.len(), "range outside the buffer");
        Self { buf, range }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.buf[self.range.clone()]
    }

    /// A copy of `bytes`, which holds on to nothing else.
    #[must_use]
    pub fn copy(bytes: &[u8]) -> Self {
        Self::new(Arc::new(AlignedBuf::from_slice(bytes)), 0..bytes.len())
    }

    /// A part of them.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        let start = self.range.start;
        Self::new(Arc::clone(&self.buf), start + range.start..start + range.end)
    }
}

/// Data for a run of blocks: a write that goes out in the same device batch as the record, or bytes
/// that travel in the record itself.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) block: u64,
    pub(crate) bytes: SharedBytes,
}

impl Placed {
    /// Bytes in the record of one that is journaled.
    pub(crate) fn log_bytes(&self) -> usize {
        JOURNAL_EDIT_BYTES + self.bytes.as_slice().len()
    }

    /// The edit that says where the bytes belong.
    pub(crate) fn journal_edit(&self) -> Edit<'static> {
        // Pieces are short.
        let count = (self.bytes.as_slice().len() / BLOCK_SIZE) as u32;
        Edit::Journal { block: self.block, count }
    }
}

/// Edits that take effect together. Made by [`Store::begin`].
#[must_use = "a transaction does nothing until it is committed"]
pub struct Txn<'a> {
    store: &'a Store,
    pub(crate) edits: Vec<u8>,
    pub(crate) sums: Vec<DataSums>,
    pub(crate) attached: Vec<Placed>,
    pub(crate) journaled: Vec<Placed>,
    pub(crate) grants: Vec<Grant>,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self {
            store,
            // A create fits: inode, name, directory.
            edits: Vec::with_capacity(512),
            sums: Vec::new(),
            attached: Vec::new(),
            journaled: Vec::new(),
            grants: Vec::new(),
        }
    }

    /// Inserts or replaces an entry of a tree. Keys and values keep the format's limits.
    pub fn put(&mut self, tree: TreeId, key: &[u8], value: &[u8]) {
        Edit::Put { tree, key, value }.encode(&mut self.edits);
    }

    /// Removes an entry of a tree, if it is there.
    pub fn delete(&mut self, tree: TreeId, key: &[u8]) {
        Edit::Delete { tree, key }.encode(&mut self.edits);
    }

    /// The granted blocks become allocated with this transaction.
    pub fn take(&mut self, grant: Grant) {
        let count = u32::try_from(grant.count()).expect("a grant is at most one extent long");
        Edit::Alloc { block: grant.block(), count }.encode(&mut self.edits);
        self.grants.push(grant);
    }

    /// The blocks become free with this transaction, and reusable once a durable record proves
    /// it flushed. The run may cross group borders.
    pub fn free(&mut self, block: u64, count: u64) {
        self.store.for_each_group_part(block, count, |block, count| {
            Edit::Free { block, count }.encode(&mut self.edits);
        });
    }

    /// States the checksums of bytes that this transaction makes reachable and that may not be
    /// flushed yet: written to the device already, or [attached](Self::attach).
    pub fn wrote(&mut self, sums: DataSums) {
        self.sums.push(sums);
    }

    /// Adds a data write to the batch that carries this transaction's record. `bytes` must be a
    /// whole number of blocks.
    ///
    /// # Panics
    /// When it is not.
    pub fn attach(&mut self, block: u64, bytes: SharedBytes) {
        assert!(bytes.as_slice().len().is_multiple_of(BLOCK_SIZE), "attached bytes not in blocks");
        self.attached.push(Placed { block, bytes });
    }

    /// Puts data into the record itself, to be written home, from `block` on, later: until then
    /// [`Store::journaled`] has it. The blocks are allocated, and reachable by a record in front of
    /// this transaction. `bytes` must be a whole number of blocks.
    ///
    /// # Panics
    /// When it is not.
    pub fn journal(&mut self, block: u64, bytes: &SharedBytes) {
        let length = bytes.as_slice().len();
        assert!(length.is_multiple_of(BLOCK_SIZE), "journaled bytes not in blocks");
        for start in (0..length).step_by(JOURNAL_PIECE_BYTES) {
            let part = bytes.part(start..length.min(start + JOURNAL_PIECE_BYTES));
            let block = block + (start / BLOCK_SIZE) as u64;
            self.journaled.push(Placed { block, bytes: part });
        }
    }

    /// Bytes of log that the transaction needs. A caller with much to do, and no need of doing it at
    /// once, commits before this passes [`Store::TXN_BYTES_MAX`]; beyond [`Store::commit_bytes_max`]
    /// nothing can be committed.
    #[must_use]
    pub fn log_bytes(&self) -> usize {
        let journaled: usize = self.journaled.iter().map(Placed::log_bytes).sum();
        self.edits.len() + self.sums.iter().map(DataSums::encoded_bytes).sum::<usize>() + journaled
    }

    /// True when nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
            && self.sums.is_empty()
            && self.attached.is_empty()
            && self.journaled.is_empty()
    }

    /// Applies the edits and puts them into the log buffer. Readers see them at once; they are
    /// durable after [`Store::sync`] with the returned number. All or none survive a crash.
    ///
    /// # Errors
    /// [`crate::Error::ReadOnly`], [`crate::Error::Shutdown`]; a tree that cannot be read or does
    /// not fit its edits shuts the volume down. In each case nothing of it becomes durable.
    pub fn commit(self) -> Result<Lsn> {
        self.store.commit(self)
    }
}
