//! Reads the log: the records that chain on from the tail, and what lies behind them.
//!
//! Definitions
//! * *chain*: records that are whole, of this volume, with the next LSN each, at the position they
//!   name, each naming the checksum of the one before.
//! * *proven*: a record at or below the highest flushed LSN that superblock or chain speak of.
//!
//! A record starts where the one before ends, or at the next block border: an image may have moved
//! to a device with larger sectors.

use crate::error::Result;
use crate::volume::Volume;
use ashlar_device::AlignedBuf;
use ashlar_format::checksum::crc32c;
use ashlar_format::limits::{BLOCK_BYTES, BLOCK_SIZE, LOG_BYTES_MAX};
use ashlar_format::log::{DataSums, HEADER_BYTES, MAGIC, Record};
use ashlar_format::superblock::LogTail;
use std::ops::Range;

/// Bytes read ahead of the record being looked at.
const WINDOW_BYTES: u64 = 64 << 10;
/// Records start at multiples of this, the smallest sector.
const RECORD_ALIGN: usize = 512;
/// Blocks of data read at once to verify sums.
const VERIFY_BLOCKS: usize = 256;

/// The chain behind the tail.
#[derive(Debug)]
pub(crate) struct Chain {
    uuid: [u8; 16],
    bytes: Vec<u8>,
    records: Vec<(Range<usize>, LogTail)>,
    /// Highest LSN that superblock or chain say was flushed.
    pub(crate) proven: u64,
}

impl Chain {
    /// Reads the chain behind the superblock's tail.
    ///
    /// # Errors
    /// The device cannot read the log.
    pub(crate) fn read(volume: &Volume<'_>) -> Result<Self> {
        let superblock = &volume.superblock;
        let mut chain = Self {
            uuid: superblock.uuid,
            bytes: Vec::new(),
            records: Vec::new(),
            proven: superblock.flushed_lsn,
        };
        let mut ring = Ring { volume, window: 0..0, buf: AlignedBuf::new_zeroed(0) };
        let start = superblock.tail.position;
        let mut end = superblock.tail;
        while let Some(next) = chain.take_next(&mut ring, end, start)? {
            end = next;
        }
        Ok(chain)
    }

    fn take_next(
        &mut self,
        ring: &mut Ring<'_>,
        end: LogTail,
        start: u64,
    ) -> Result<Option<LogTail>> {
        let aligned = end.position.checked_next_multiple_of(BLOCK_BYTES);
        for position in [Some(end.position), aligned].into_iter().flatten() {
            let Some(head) = ring.read(position, HEADER_BYTES as u64)? else { continue };
            let Some(length) = Record::padded_length(head) else { continue };
            let Some(behind) = position.checked_add(length) else { continue };
            if behind - start > ring.volume.log_bytes() {
                continue;
            }
            let Some(bytes) = ring.read(position, length)? else { continue };
            let Ok(record) = Record::decode(&self.uuid, bytes) else { continue };
            let header = record.header;
            if Some(header.lsn) != end.lsn.checked_add(1)
                || header.position != position
                || header.previous_checksum != end.checksum
            {
                continue;
            }
            self.proven = self.proven.max(header.flushed_lsn);
            let next = LogTail { position: behind, lsn: header.lsn, checksum: record.checksum };
            let at = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            self.records.push((at..self.bytes.len(), next));
            return Ok(Some(next));
        }
        Ok(None)
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// The records of the commit that starts with record `index`; `None` where its end is missing.
    pub(crate) fn commit_at(&self, index: usize) -> Result<Option<Range<usize>>> {
        let mut end = index;
        while end < self.len() {
            end += 1;
            if !self.record(end - 1)?.0.header.unfinished {
                return Ok(Some(index..end));
            }
        }
        Ok(None)
    }

    /// Record `index`, which must be below [`Self::len`], and where it ends.
    pub(crate) fn record(&self, index: usize) -> Result<(Record<'_>, LogTail)> {
        let (range, end) = &self.records[index];
        Ok((Record::decode(&self.uuid, &self.bytes[range.clone()])?, *end))
    }
}

/// True when the device holds the bytes that the sums were taken of.
///
/// # Errors
/// Reading fails.
pub(crate) fn data_matches(volume: &Volume<'_>, groups: &[DataSums]) -> Result<bool> {
    for group in groups {
        if !volume.holds(group.block, group.sums.len() as u64) {
            return Ok(false);
        }
        let last = group.sums.len() - 1;
        for (piece, sums) in group.sums.chunks(VERIFY_BLOCKS).enumerate() {
            let first = piece * VERIFY_BLOCKS;
            let mut buf = AlignedBuf::new_zeroed(sums.len() * BLOCK_SIZE);
            let addr = (group.block + first as u64) * BLOCK_BYTES;
            volume.device.read_at(addr, &mut buf)?;
            for (index, (sum, block)) in sums.iter().zip(buf.chunks(BLOCK_SIZE)).enumerate() {
                let is_last = first + index == last;
                let covered = if is_last { group.last_bytes as usize } else { BLOCK_SIZE };
                if block.get(..covered).map(crc32c) != Some(*sum) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// A record behind the log's end that proves records missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Strays {
    /// Highest LSN that such a record says was flushed.
    pub(crate) flushed: u64,
    /// Highest LSN of such a record.
    pub(crate) lsn: u64,
}

/// Looks through the log area for whole records, chained or not, that say of an LSN above `last`
/// that it was flushed.
///
/// Without damage there is none: a record names only LSNs that were on stable media before it was
/// written, and what is on stable media chains.
///
/// # Errors
/// Reading fails.
pub(crate) fn strays(volume: &Volume<'_>, last: u64) -> Result<Strays> {
    let size = volume.log_bytes();
    let mut strays = Strays::default();
    if size > LOG_BYTES_MAX {
        return Ok(strays);
    }
    let mut ring = Ring { volume, window: 0..0, buf: AlignedBuf::new_zeroed(0) };
    for at in (0..size).step_by(RECORD_ALIGN) {
        let Some(head) = ring.read(at, RECORD_ALIGN as u64)? else { break };
        if !head.starts_with(&MAGIC) {
            continue;
        }
        let Some(length) = Record::padded_length(head) else { continue };
        let Some(bytes) = ring.read(at, length.min(size))? else { continue };
        if let Ok(record) = Record::decode(&volume.superblock.uuid, bytes)
            && record.header.lsn > last
            && record.header.flushed_lsn > last
        {
            strays.flushed = strays.flushed.max(record.header.flushed_lsn);
            strays.lsn = strays.lsn.max(record.header.lsn);
        }
    }
    Ok(strays)
}

/// Reads the ring through a window.
struct Ring<'a> {
    volume: &'a Volume<'a>,
    window: Range<u64>,
    buf: AlignedBuf,
}

impl Ring<'_> {
    /// Bytes at a position of the ring, at most its size; `None` for a position that no
    /// log ever reaches.
    fn read(&mut self, position: u64, length: u64) -> Result<Option<&[u8]>> {
        let Some(end) = position.checked_add(length) else { return Ok(None) };
        if position < self.window.start || end > self.window.end {
            self.fill(position, length.max(WINDOW_BYTES))?;
        }
        let at = (position - self.window.start) as usize;
        Ok(self.buf.get(at..at + length as usize))
    }

    fn fill(&mut self, position: u64, ahead: u64) -> Result<()> {
        let size = self.volume.log_bytes();
        // Down to a block, so that any sector size can be read, and a block more at the end.
        let start = position / BLOCK_BYTES * BLOCK_BYTES;
        let length = ahead + 2 * BLOCK_BYTES;
        self.buf = AlignedBuf::new_zeroed(length as usize);
        let mut done = 0;
        while done < length {
            let offset = (start % size + done) % size;
            let part = (size - offset).min(length - done);
            let addr = self.volume.superblock.log_start * BLOCK_BYTES + offset;
            let piece = &mut self.buf[done as usize..(done + part) as usize];
            self.volume.device.read_at(addr, piece)?;
            done += part;
        }
        self.window = start..start.saturating_add(length);
        Ok(())
    }
}
