//! Journaled data that is not home yet: newer than what the device holds at its place.
//!
//! ```text
//!   Txn::journal + commit ──> here, and in the record      reads look here first
//!   checkpoint:  freeze ── write home ── flush ── flip ──> gone from here, the log is cut behind it
//!   recovery:    records of the log ──> here               nothing is written home by recovery
//!   Free of the block ──> gone from here
//! ```
//!
//! Rules (see `docs/CRASH.md`)
//! * *home-durable*: [`Store::write_home`] runs behind a sync of the records that carry the data.
//! * *home-checkpoint*: the flip that moves the log's tail over a record comes behind the flush of
//!   what it carries.
//! * *home-last*: recovery only fills this table; a checkpoint of the recovered volume, behind the
//!   proof record, writes home.
//! * *revoke-home*, *revoke-record*: [`Store::ensure_home`] lets a checkpoint take the record out of
//!   the log before its place may be overwritten; so no record is left to be revoked. A freed
//!   block's data is revoked by the free edit: at replay, too, it takes the data out of here.
//!
//! Locking: a leaf lock; no I/O under it.

use crate::error::Result;
use crate::sabotage::{self, Rule};
use crate::store::Store;
use crate::txn::SharedBytes;
use ashlar_device::{AlignedBuf, Finish, Write};
use ashlar_format::limits::{BLOCK_BYTES, BLOCK_SIZE};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes written home in one device batch: committers' batches go between them.
const BATCH_BYTES: u64 = 512 << 10;

#[derive(Debug, Clone)]
struct Entry {
    lsn: u64,
    /// One block.
    bytes: SharedBytes,
}

/// The table of journaled blocks.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    blocks: Mutex<BTreeMap<u64, Entry>>,
    /// Blocks in the table: nobody takes the lock while there are none.
    count: AtomicU64,
}

/// Blocks to be written home, as they were when the checkpoint froze.
#[derive(Debug, Default)]
pub(crate) struct Homeward(Vec<(u64, SharedBytes)>);

impl Journal {
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn change<R>(&self, act: impl FnOnce(&mut BTreeMap<u64, Entry>) -> R) -> R {
        let mut blocks = self.blocks.lock();
        let result = act(&mut blocks);
        self.count.store(blocks.len() as u64, Ordering::Release);
        result
    }

    /// Record `lsn` carries these bytes for `block` and those behind it.
    pub(crate) fn add(&self, lsn: u64, block: u64, bytes: &SharedBytes) {
        self.change(|blocks| {
            for (index, part) in bytes.split_blocks().enumerate() {
                blocks.insert(block + index as u64, Entry { lsn, bytes: part });
            }
        });
    }

    /// As [`Self::add`], from bytes read back by recovery.
    pub(crate) fn add_copy(&self, lsn: u64, block: u64, bytes: &[u8]) {
        let copy = Arc::new(AlignedBuf::from_slice(bytes));
        self.add(lsn, block, &SharedBytes::new(copy, 0..bytes.len()));
    }

    /// The blocks were freed.
    pub(crate) fn forget(&self, block: u64, count: u64) {
        if self.is_empty() || !sabotage::kept(Rule::FreeRevokes) {
            return;
        }
        self.change(|blocks| {
            let gone: Vec<u64> =
                blocks.range(block..block + count).map(|(block, _)| *block).collect();
            for block in gone {
                blocks.remove(&block);
            }
        });
    }

    fn holds_any(&self, range: &Range<u64>) -> bool {
        !self.is_empty() && self.blocks.lock().range(range.clone()).next().is_some()
    }

    /// Everything that is here. Called with the transaction lock held: all of it is in records that
    /// the snapshot contains.
    pub(crate) fn freeze(&self) -> Homeward {
        if self.is_empty() {
            return Homeward::default();
        }
        let blocks = self.blocks.lock();
        Homeward(blocks.iter().map(|(block, entry)| (*block, entry.bytes.clone())).collect())
    }

    /// What records up to `lsn` carried is home, and the log is cut behind them.
    pub(crate) fn retire(&self, lsn: u64) {
        if !self.is_empty() {
            self.change(|blocks| blocks.retain(|_, entry| entry.lsn > lsn));
        }
    }

    /// The newer bytes of a range of blocks.
    fn overlay(&self, range: &Range<u64>) -> Vec<(u64, SharedBytes)> {
        if self.is_empty() {
            return Vec::new();
        }
        let blocks = self.blocks.lock();
        let found = blocks.range(range.clone());
        found.map(|(block, entry)| (*block, entry.bytes.clone())).collect()
    }
}

impl Homeward {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs of neighbours, in order.
    fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0
            .chunk_by(|(a, _), (b, _)| a + 1 == *b)
            .filter_map(|run| Some((run.first()?.0, run.len() as u64)))
    }
}

impl Store {
    /// Whether the log has bytes that are not home.
    #[must_use]
    pub fn has_journaled(&self) -> bool {
        !self.journal.is_empty()
    }

    /// Blocks of the range whose newest bytes are in the log and not home yet, with those bytes.
    /// Ask before the device is read: what is home a moment later was home during the read.
    #[must_use]
    pub fn journaled(&self, blocks: Range<u64>) -> Vec<(u64, SharedBytes)> {
        self.journal.overlay(&blocks)
    }

    /// Returns when the blocks may be written in place, or by whoever knows their address: nothing
    /// that is in the log will be written there any more. A checkpoint, where there is something.
    ///
    /// # Errors
    /// As [`Store::checkpoint`].
    pub fn ensure_home(&self, block: u64, count: u64) -> Result<()> {
        if !sabotage::kept(Rule::RevokeHome) {
            self.journal.forget(block, count);
        }
        while self.journal.holds_any(&(block..block + count)) {
            self.run_checkpoint()?;
        }
        Ok(())
    }

    /// Writes journaled data to its place and flushes. Its records are durable, and nothing that
    /// was freed since the freeze has been handed out again (see `Space::pause_release`).
    pub(crate) fn write_home(&self, homeward: &Homeward) -> Result<()> {
        if !sabotage::kept(Rule::HomeCheckpoint) {
            return Ok(());
        }
        for (block, count) in homeward.runs() {
            self.ensure_proven(block, count)?;
        }
        let batch = (BATCH_BYTES / BLOCK_BYTES) as usize;
        let mut batches = homeward.0.chunks(batch).peekable();
        while let Some(blocks) = batches.next() {
            let write = |(block, bytes): &(u64, SharedBytes)| (*block * BLOCK_BYTES, bytes.clone());
            let blocks: Vec<(u64, SharedBytes)> = blocks.iter().map(write).collect();
            let writes: Vec<Write<'_>> = blocks
                .iter()
                .map(|(addr, bytes)| Write { addr: *addr, bytes: bytes.as_slice() })
                .collect();
            let last = batches.peek().is_none();
            let finish = if last { Finish::Flush } else { Finish::Nothing };
            self.device.submit(&writes, finish)?;
        }
        Ok(())
    }
}

impl SharedBytes {
    /// Its blocks, one by one.
    fn split_blocks(&self) -> impl Iterator<Item = Self> + '_ {
        let blocks = self.as_slice().len() / BLOCK_SIZE;
        (0..blocks).map(|index| self.part(index * BLOCK_SIZE..(index + 1) * BLOCK_SIZE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(fill: u8, blocks: usize) -> SharedBytes {
        let length = blocks * BLOCK_SIZE;
        SharedBytes::new(Arc::new(AlignedBuf::from_slice(&vec![fill; length])), 0..length)
    }

    #[test]
    fn newer_bytes_stay_when_older_ones_are_home() {
        let journal = Journal::default();
        journal.add(5, 40, &bytes(1, 3));
        journal.add(7, 41, &bytes(2, 1));
        let frozen = journal.freeze();
        assert_eq!(frozen.runs().collect::<Vec<_>>(), [(40, 3)]);
        journal.retire(5);
        let left = journal.overlay(&(0..100));
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].0, left[0].1.as_slice()[0]), (41, 2));
        journal.retire(7);
        assert!(journal.is_empty());
    }

    #[test]
    fn freed_blocks_are_not_written_home() {
        let journal = Journal::default();
        journal.add(5, 40, &bytes(1, 4));
        journal.forget(41, 2);
        assert_eq!(journal.freeze().runs().collect::<Vec<_>>(), [(40, 1), (43, 1)]);
        assert!(!journal.holds_any(&(41..43)));
    }
}
