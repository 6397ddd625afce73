//! Log records: everything committed between two writes of the log, whole or not at all.
//!
//! ```text
//! OFFSET  SIZE  FIELD
//!      0     4  magic              "ALOG"
//!      4     4  checksum           CRC-32C of `length` bytes with this field zero
//!      8    16  uuid               of the volume
//!     24     8  lsn                one more than the record before
//!     32     8  flushed_lsn        records up to here were known flushed when this was written
//!     40     8  position           bytes appended to the log before this record, ever
//!     48     4  length             bytes, without the padding to the device's sector
//!     52     4  previous_checksum  of the record before
//!     56     8  checkpoint         0, or: counts only if the superblock reached this generation
//!     64     4  edit_bytes
//!     68     4  sum_bytes
//!     72     4  data_bytes         bytes of journaled data
//!     76     4  sector             records are padded to multiples of this
//!     80     4  flags              1 unfinished: counts only together with the next record
//!     84    12  reserved           zero
//!     96     -  edits, sums, data
//! ```
//!
//! The record at `position` starts at byte `position` modulo the log's size and may wrap.
//!
//! An edit starts with its kind:
//!
//! ```text
//! 1 put     tree 1, key length 2, value length 2, key, value
//! 2 delete  tree 1, key length 2, key
//! 3 alloc   first block 8, count 4          the blocks leave the free tree
//! 4 free    first block 8, count 4          the blocks return to it
//! 5 journal first block 8, count 4          the next `count` blocks of data belong there
//! ```
//!
//! A commit that is too large for one record takes several, all but the last of them *unfinished*.
//! They go out in one device batch, and count all or not at all.
//!
//! Journaled data is whole blocks, in the order of the edits that name their places. It is written
//! home later, and the log is not cut in front of the record before that is durable. A free edit of
//! a later record takes the block out of what is still to be written home.
//!
//! Data sums are described in `sums.rs`.

use crate::checksum::crc32c_without;
use crate::key::TreeId;
use crate::limits::{BLOCK_SIZE, KEY_BYTES_MAX, RECORD_BYTES_MAX, VALUE_BYTES_MAX};
use crate::{Corruption, Result};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use crate::sums::DataSums;

/// First bytes of a record.
pub const MAGIC: [u8; 4] = *b"ALOG";
/// Bytes of a record's header.
pub const HEADER_BYTES: usize = size_of::<RawRecordHeader>();

const CHECKSUM_AT: usize = 4;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const ALLOC: u8 = 3;
const FREE: u8 = 4;
const JOURNAL: u8 = 5;
/// Flag of a record whose commit goes on in the next one.
const UNFINISHED: u32 = 1;

/// On-disk record header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawRecordHeader {
    magic: [u8; 4],
    checksum: U32,
    uuid: [u8; 16],
    lsn: U64,
    flushed_lsn: U64,
    position: U64,
    length: U32,
    previous_checksum: U32,
    checkpoint: U64,
    edit_bytes: U32,
    sum_bytes: U32,
    data_bytes: U32,
    sector: U32,
    flags: U32,
    reserved: [u8; 12],
}
const _: () = assert!(HEADER_BYTES == 96);

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Log sequence number.
    pub lsn: u64,
    /// Records up to here were known flushed.
    pub flushed_lsn: u64,
    /// Bytes appended before this record.
    pub position: u64,
    /// Checksum of the record before.
    pub previous_checksum: u32,
    /// Counts only if the superblock reached this generation; 0: always.
    pub checkpoint: u64,
    /// Padding unit, bytes.
    pub sector: u32,
    /// The commit goes on in the next record, and counts only with it.
    pub unfinished: bool,
}

/// One change of the trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Inserts or replaces.
    Put {
        /// Tree.
        tree: TreeId,
        /// Key.
        key: &'a [u8],
        /// Value.
        value: &'a [u8],
    },
    /// Removes, if there.
    Delete {
        /// Tree.
        tree: TreeId,
        /// Key.
        key: &'a [u8],
    },
    /// Blocks leave the free tree.
    Alloc {
        /// First block.
        block: u64,
        /// Blocks.
        count: u32,
    },
    /// Blocks return to the free tree.
    Free {
        /// First block.
        block: u64,
        /// Blocks.
        count: u32,
    },
    /// The next blocks of the record's data belong here.
    Journal {
        /// First block.
        block: u64,
        /// Blocks.
        count: u32,
    },
}

impl Edit<'_> {
    /// Appends the edit's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Edit::Put { tree, key, value } => {
                out.extend_from_slice(&[PUT, tree as u8]);
                out.extend_from_slice(&(key.len() as u16).to_le_bytes());
                out.extend_from_slice(&(value.len() as u16).to_le_bytes());
                out.extend_from_slice(key);
                out.extend_from_slice(value);
            }
            Edit::Delete { tree, key } => {
                out.extend_from_slice(&[DELETE, tree as u8]);
                out.extend_from_slice(&(key.len() as u16).to_le_bytes());
                out.extend_from_slice(key);
            }
            Edit::Alloc { block, count } => encode_blocks(ALLOC, block, count, out),
            Edit::Free { block, count } => encode_blocks(FREE, block, count, out),
            Edit::Journal { block, count } => encode_blocks(JOURNAL, block, count, out),
        }
    }
}

fn encode_blocks(kind: u8, block: u64, count: u32, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&block.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
}

/// Decodes the edits of a record, in order; ends after the first error.
#[derive(Debug, Clone)]
pub struct Edits<'a> {
    rest: &'a [u8],
}

impl<'a> Edits<'a> {
    /// Decodes `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes behind the edit that came last.
    #[must_use]
    pub fn rest_bytes(&self) -> usize {
        self.rest.len()
    }

    fn decode(&mut self) -> Option<Edit<'a>> {
        let kind = self.byte()?;
        Some(match kind {
            PUT => {
                let tree = TreeId::from_code(self.byte()?)?;
                let key = self.length(KEY_BYTES_MAX)?;
                let value = self.length(VALUE_BYTES_MAX)?;
                Edit::Put { tree, key: self.take(key)?, value: self.take(value)? }
            }
            DELETE => {
                let tree = TreeId::from_code(self.byte()?)?;
                let key = self.length(KEY_BYTES_MAX)?;
                Edit::Delete { tree, key: self.take(key)? }
            }
            ALLOC | FREE | JOURNAL => {
                let block = u64::from_le_bytes(*self.chunk()?);
                let count = u32::from_le_bytes(*self.chunk()?);
                block.checked_add(u64::from(count)).filter(|_| count > 0)?;
                match kind {
                    ALLOC => Edit::Alloc { block, count },
                    FREE => Edit::Free { block, count },
                    _ => Edit::Journal { block, count },
                }
            }
            _ => return None,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(chunk)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    fn length(&mut self, limit: usize) -> Option<usize> {
        Some(usize::from(u16::from_le_bytes(*self.chunk()?))).filter(|length| *length <= limit)
    }
}

impl<'a> Iterator for Edits<'a> {
    type Item = Result<Edit<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let left = self.rest.len();
        Some(self.decode().ok_or_else(|| {
            self.rest = &[];
            Corruption::new("log record", 0, format!("bad edit {left} bytes before the end"))
        }))
    }
}

/// What a record holds behind its header.
#[derive(Debug, Clone, Default)]
pub struct RecordParts<'a> {
    /// Encoded edits.
    pub edits: &'a [u8],
    /// Encoded sums.
    pub sums: &'a [u8],
    /// Journaled data, in the order of the edits that name its places.
    pub data: Vec<&'a [u8]>,
}

impl RecordParts<'_> {
    /// Bytes of the record with its header, before padding.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        HEADER_BYTES + self.edits.len() + self.sums.len() + self.data_bytes()
    }

    fn data_bytes(&self) -> usize {
        self.data.iter().map(|data| data.len()).sum()
    }
}

/// Writes a record into `out`, which is zeroed and as long as the record padded to `header.sector`.
///
/// Returns the record's checksum, which the next record names.
///
/// # Panics
/// When the record passes [`RECORD_BYTES_MAX`], or `out` is not as long: the log closes records long
/// before, and counts their bytes.
pub fn write_record(
    header: &RecordHeader,
    uuid: &[u8; 16],
    parts: &RecordParts<'_>,
    out: &mut [u8],
) -> u32 {
    let length = parts.record_bytes();
    assert!(out.len() <= RECORD_BYTES_MAX as usize, "log record of {length} bytes");
    assert!(out.len() == length.next_multiple_of(header.sector as usize), "padded otherwise");
    let raw = RawRecordHeader {
        magic: MAGIC,
        checksum: 0.into(),
        uuid: *uuid,
        lsn: header.lsn.into(),
        flushed_lsn: header.flushed_lsn.into(),
        position: header.position.into(),
        length: (length as u32).into(),
        previous_checksum: header.previous_checksum.into(),
        checkpoint: header.checkpoint.into(),
        edit_bytes: (parts.edits.len() as u32).into(),
        sum_bytes: (parts.sums.len() as u32).into(),
        data_bytes: (parts.data_bytes() as u32).into(),
        sector: header.sector.into(),
        flags: (if header.unfinished { UNFINISHED } else { 0 }).into(),
        reserved: [0; 12],
    };
    let mut at = 0;
    let pieces = [raw.as_bytes(), parts.edits, parts.sums];
    for piece in pieces.into_iter().chain(parts.data.iter().copied()) {
        out[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    let checksum = crc32c_without(&out[..length], CHECKSUM_AT);
    out[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// A record's bytes, padded, and its checksum: see [`write_record`].
///
/// # Panics
/// As [`write_record`].
#[must_use]
pub fn encode_record(
    header: &RecordHeader,
    uuid: &[u8; 16],
    edits: &[u8],
    sums: &[u8],
    data: &[u8],
) -> (Vec<u8>, u32) {
    let parts = RecordParts { edits, sums, data: vec![data] };
    let mut bytes = vec![0; parts.record_bytes().next_multiple_of(header.sector as usize)];
    let checksum = write_record(header, uuid, &parts, &mut bytes);
    (bytes, checksum)
}

/// A verified record, borrowed from the bytes read.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// Header.
    pub header: RecordHeader,
    /// Own checksum.
    pub checksum: u32,
    /// Bytes up to the next record.
    pub padded_length: u64,
    edits: &'a [u8],
    sums: &'a [u8],
    data: &'a [u8],
}

impl<'a> Record<'a> {
    /// Length of the record that starts with these [`HEADER_BYTES`], padding included, if they
    /// look like a header at all; nothing is verified yet.
    #[must_use]
    pub fn padded_length(header: &[u8]) -> Option<u64> {
        let (raw, _) = RawRecordHeader::read_from_prefix(header).ok()?;
        let (length, sector) = (raw.length.get(), raw.sector.get());
        let sane = raw.magic == MAGIC
            && length as usize >= HEADER_BYTES
            && length <= RECORD_BYTES_MAX
            && sector.is_power_of_two()
            && (512..=BLOCK_SIZE as u32).contains(&sector);
        sane.then(|| u64::from(length.next_multiple_of(sector)))
    }

    /// Verifies a record: checksum, volume, and that its parts fill it.
    ///
    /// # Errors
    /// [`Corruption`]; during replay that means "the log ends here".
    pub fn decode(uuid: &[u8; 16], bytes: &'a [u8]) -> Result<Self> {
        let bad = |problem: String| Corruption::new("log record", 0, problem);
        let padded_length =
            Self::padded_length(bytes).ok_or_else(|| bad("no record header".into()))?;
        let (raw, _) = RawRecordHeader::read_from_prefix(bytes)
            .map_err(|_| bad(format!("{} bytes long", bytes.len())))?;
        let length = raw.length.get() as usize;
        let whole = bytes.get(..length).ok_or_else(|| bad(format!("cut at {}", bytes.len())))?;
        let checksum = crc32c_without(whole, CHECKSUM_AT);
        if checksum != raw.checksum.get() {
            return Err(bad(format!("checksum {checksum:#010x}, expected {:#x}", raw.checksum)));
        }
        if raw.uuid != *uuid {
            return Err(bad("it belongs to another volume".into()));
        }
        let parts = [raw.edit_bytes, raw.sum_bytes, raw.data_bytes].map(|part| part.get() as usize);
        let body = &whole[HEADER_BYTES..];
        let split = || {
            let (edits, rest) = body.split_at_checked(parts[0])?;
            let (sums, data) = rest.split_at_checked(parts[1])?;
            (data.len() == parts[2]).then_some((edits, sums, data))
        };
        let (edits, sums, data) = split().ok_or_else(|| bad(format!("parts {parts:?}")))?;
        let flags = raw.flags.get();
        if flags & !UNFINISHED != 0 {
            return Err(bad(format!("unknown flags {flags:#x}")));
        }
        Ok(Self {
            header: RecordHeader {
                lsn: raw.lsn.get(),
                flushed_lsn: raw.flushed_lsn.get(),
                position: raw.position.get(),
                previous_checksum: raw.previous_checksum.get(),
                checkpoint: raw.checkpoint.get(),
                sector: raw.sector.get(),
                unfinished: flags & UNFINISHED != 0,
            },
            checksum,
            padded_length,
            edits,
            sums,
            data,
        })
    }

    /// The record's edits, in order.
    #[must_use]
    pub fn edits(&self) -> Edits<'a> {
        Edits::new(self.edits)
    }

    /// The record's data sums.
    ///
    /// # Errors
    /// [`Corruption`] when they do not decode.
    pub fn sums(&self) -> Result<Vec<DataSums>> {
        DataSums::decode_all(self.sums)
    }

    /// Places of journaled data and the bytes that belong there, in order.
    ///
    /// # Errors
    /// [`Corruption`] when the data is not as long as the edits say, or they do not decode.
    pub fn journaled(&self) -> Result<Vec<(u64, &'a [u8])>> {
        let bad = || {
            let length = self.data.len();
            Corruption::new("log record", 0, format!("journaled data of {length} bytes"))
        };
        let mut rest = self.data;
        let mut placed = Vec::new();
        if rest.is_empty() {
            return Ok(placed);
        }
        for edit in self.edits() {
            if let Edit::Journal { block, count } = edit? {
                let bytes = (count as usize).checked_mul(BLOCK_SIZE).ok_or_else(bad)?;
                let (here, behind) = rest.split_at_checked(bytes).ok_or_else(bad)?;
                placed.push((block, here));
                rest = behind;
            }
        }
        if rest.is_empty() { Ok(placed) } else { Err(bad()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] = [9; 16];

    fn sample() -> (Vec<u8>, u32) {
        let mut edits = Vec::new();
        for edit in sample_edits() {
            edit.encode(&mut edits);
        }
        let mut sums = Vec::new();
        DataSums::of(40, &[5; BLOCK_SIZE + 10]).encode(&mut sums);
        let header = RecordHeader {
            lsn: 8,
            flushed_lsn: 6,
            position: 1024,
            previous_checksum: 3,
            checkpoint: 0,
            sector: 512,
            unfinished: true,
        };
        encode_record(&header, &UUID, &edits, &sums, &[3; BLOCK_SIZE])
    }

    fn sample_edits() -> [Edit<'static>; 5] {
        [
            Edit::Put { tree: TreeId::Names, key: b"key", value: b"value" },
            Edit::Delete { tree: TreeId::Inodes, key: b"gone" },
            Edit::Alloc { block: 40, count: 2 },
            Edit::Free { block: 80, count: 1 },
            Edit::Journal { block: 90, count: 1 },
        ]
    }

    #[test]
    fn record_survives_encoding() {
        let (bytes, checksum) = sample();
        assert_eq!(bytes.len() % 512, 0);
        let record = Record::decode(&UUID, &bytes).unwrap();
        assert_eq!(record.checksum, checksum);
        assert_eq!(record.header.lsn, 8);
        assert_eq!(record.padded_length, bytes.len() as u64);
        let edits: Vec<_> = record.edits().map(|edit| edit.unwrap()).collect();
        assert_eq!(edits, sample_edits());
        let sums = record.sums().unwrap();
        assert_eq!((sums[0].block, sums[0].last_bytes, sums[0].sums.len()), (40, 10, 2));
        assert!(record.header.unfinished);
        assert_eq!(record.journaled().unwrap(), [(90, &[3; BLOCK_SIZE][..])]);
    }

    #[test]
    fn torn_or_flipped_record_is_refused() {
        let (bytes, _) = sample();
        let length =
            usize::try_from(u32::from_le_bytes(bytes[48..52].try_into().unwrap())).unwrap();
        for bit in 0..length * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&UUID, &damaged).is_err(), "bit {bit}");
        }
        for cut in 0..length {
            assert!(Record::decode(&UUID, &bytes[..cut]).is_err());
        }
    }

    #[test]
    fn hostile_edits_and_sums_end_with_an_error() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.usize(..60)).map(|_| random.u8(..6)).collect();
            let edits: Vec<_> = Edits::new(&bytes).collect();
            assert!(edits.iter().rev().skip(1).all(Result::is_ok));
            let _ = DataSums::decode_all(&bytes);
        }
    }
}
