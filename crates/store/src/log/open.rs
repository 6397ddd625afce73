//! The open record: where transactions gather until the log is written.

use crate::txn::{Placed, Txn};
use ashlar_format::limits::{BLOCK_BYTES, RECORD_BYTES_MAX};
use ashlar_format::log::{Edits, HEADER_BYTES, RecordParts};

/// A record is closed when the next transaction would take it past this: half the format's limit,
/// so that the largest transaction still fits behind almost this much.
pub(crate) const RECORD_BYTES_CLOSE: usize = RECORD_BYTES_MAX as usize / 2;

/// Sums of one run of blocks that go into one record when a transaction is spread over several.
const SUMS_PER_PART: usize = 8192;

/// Edits, sums and data writes of one record, in memory.
#[derive(Debug, Default)]
pub(crate) struct OpenRecord {
    pub(crate) lsn: u64,
    pub(crate) edits: Vec<u8>,
    pub(crate) sums: Vec<u8>,
    pub(crate) attached: Vec<Placed>,
    /// Data in the record itself, in the order of the edits that say where it belongs.
    pub(crate) journaled: Vec<Placed>,
    /// The commit goes on in the next record.
    pub(crate) unfinished: bool,
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
        (HEADER_BYTES + self.body_bytes()).next_multiple_of(sector as usize) as u64
    }

    pub(crate) fn body_bytes(&self) -> usize {
        self.edits.len() + self.sums.len() + self.data_bytes()
    }

    fn data_bytes(&self) -> usize {
        self.journaled.iter().map(|placed| placed.bytes.as_slice().len()).sum()
    }

    /// What the record holds.
    pub(crate) fn parts(&self) -> RecordParts<'_> {
        let data = self.journaled.iter().map(|placed| placed.bytes.as_slice()).collect();
        RecordParts { edits: &self.edits, sums: &self.sums, data }
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
        for placed in std::mem::take(&mut txn.journaled) {
            self.add_journaled(placed);
        }
    }

    fn add_journaled(&mut self, placed: Placed) {
        placed.journal_edit().encode(&mut self.edits);
        self.journaled.push(placed);
    }

    /// Spreads a transaction that is too large for one record over several, all but the last
    /// unfinished. The first of them has LSN `lsn`.
    pub(crate) fn spread(lsn: u64, txn: &mut Txn<'_>) -> Vec<Self> {
        let mut full = Vec::new();
        let mut last = Self::new(lsn);
        for edit in split_edits(&txn.edits) {
            last.make_room(edit.len(), &mut full);
            last.edits.extend_from_slice(edit);
        }
        for sums in txn.sums.iter().flat_map(|sums| sums.split(SUMS_PER_PART)) {
            last.make_room(sums.encoded_bytes(), &mut full);
            sums.encode(&mut last.sums);
            last.summed_bytes += sums.sums.len() as u64 * BLOCK_BYTES;
        }
        for placed in std::mem::take(&mut txn.journaled) {
            last.make_room(placed.log_bytes(), &mut full);
            last.add_journaled(placed);
        }
        last.attached.append(&mut txn.attached);
        full.push(last);
        full
    }

    /// Goes on in a next record where `bytes` more are too many for this one.
    fn make_room(&mut self, bytes: usize, full: &mut Vec<Self>) {
        if self.body_bytes() + bytes > RECORD_BYTES_CLOSE {
            self.unfinished = true;
            let next = Self::new(self.lsn + 1);
            full.push(std::mem::replace(self, next));
        }
    }
}

/// The bytes of each edit.
fn split_edits(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut edits = Edits::new(bytes);
    let mut rest = bytes;
    std::iter::from_fn(move || {
        // The transaction encoded them itself.
        edits.next()?.ok()?;
        let (edit, behind) = rest.split_at(rest.len() - edits.rest_bytes());
        rest = behind;
        Some(edit)
    })
}
