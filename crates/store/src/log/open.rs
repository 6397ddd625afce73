//! The open record: where transactions gather until the log is written.

use crate::txn::{Attached, Txn};
use ashlar_format::limits::{BLOCK_BYTES, RECORD_BYTES_MAX};
use ashlar_format::log::HEADER_BYTES;

/// A record is closed when the next transaction would take it past this: half the format's limit,
/// so that the largest transaction still fits behind almost this much.
pub(crate) const RECORD_BYTES_CLOSE: usize = RECORD_BYTES_MAX as usize / 2;

/// Edits, sums and data writes of one record, in memory.
#[derive(Debug, Default)]
pub(crate) struct OpenRecord {
    pub(crate) lsn: u64,
    pub(crate) edits: Vec<u8>,
    pub(crate) sums: Vec<u8>,
    pub(crate) attached: Vec<Attached>,
    /// Counts only if the superblock reached this generation; 0: always.
    pub(crate) checkpoint: u64,
    /// To be written even if it is empty, for the flush or the proof that it carries.
    pub(crate) wanted: bool,
    /// Bytes of data whose sums the record carries: recovery may have to read as many.
    pub(crate) summed_bytes: u64,
}

impl OpenRecord {
    pub(crate) fn new(lsn: u64) -> Self {
        Self { lsn, ..Self::default() }
    }

    /// Bytes in the log, padded.
    pub(crate) fn padded_bytes(&self, sector: u32) -> u64 {
        (HEADER_BYTES + self.edits.len() + self.sums.len()).next_multiple_of(sector as usize) as u64
    }

    pub(crate) fn body_bytes(&self) -> usize {
        self.edits.len() + self.sums.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.wanted && self.edits.is_empty() && self.sums.is_empty() && self.attached.is_empty()
    }

    /// Adds a transaction's edits, sums and data writes.
    pub(crate) fn add(&mut self, txn: &mut Txn<'_>) {
        self.edits.extend_from_slice(&txn.edits);
        for sums in &txn.sums {
            sums.encode(&mut self.sums);
            self.summed_bytes += sums.sums.len() as u64 * BLOCK_BYTES;
        }
        self.attached.append(&mut txn.attached);
    }
}
