//! Finds the records that chain on from the log's tail.
//!
//! A record belongs to the chain when it is whole, of this volume, has the next LSN, says the
//! position where it was found, and names the checksum of the record before. Anything else is
//! what an older turn of the ring or a write that never finished left: the log ends there.

use crate::error::Result;
use crate::geometry::Geometry;
use crate::sabotage::{self, Rule};
use ashlar_device::{AlignedBuf, Device};
use ashlar_format::limits::{BLOCK_BYTES, RECORD_BYTES_MAX};
use ashlar_format::log::{HEADER_BYTES, Record};
use ashlar_format::superblock::LogTail;
use std::ops::Range;

/// Bytes read at first: most volumes were unmounted cleanly and have next to nothing to replay.
const FIRST_WINDOW_BYTES: u64 = 64 << 10;
/// Bytes read ahead of the record being looked at.
const WINDOW_BYTES: u64 = 1 << 20;
const _: () = assert!(WINDOW_BYTES >= RECORD_BYTES_MAX as u64);

/// The chain, kept in memory: at most the log's size.
pub(super) struct Scan {
    uuid: [u8; 16],
    bytes: Vec<u8>,
    records: Vec<(Range<usize>, LogTail)>,
    proven: u64,
}

impl Scan {
    /// Reads the chain behind `tail`.
    pub(super) fn run(device: &dyn Device, geometry: &Geometry, tail: LogTail) -> Result<Self> {
        let mut scan =
            Self { uuid: geometry.uuid, bytes: Vec::new(), records: Vec::new(), proven: 0 };
        let mut ring = Ring { device, geometry, window: 0..0, buf: AlignedBuf::new_zeroed(0) };
        let mut end = tail;
        while scan.take_next(&mut ring, &mut end, tail.position)? {}
        Ok(scan)
    }

    fn take_next(&mut self, ring: &mut Ring<'_>, end: &mut LogTail, start: u64) -> Result<bool> {
        let size = ring.geometry.log_bytes();
        let aligned = end.position.next_multiple_of(BLOCK_BYTES);
        // A record of larger sectors may follow one of smaller: see `padded_tail`.
        for position in [end.position, aligned] {
            let head = ring.read(position, HEADER_BYTES as u64)?;
            let Some(length) = Record::padded_length(head) else { continue };
            if position + length - start > size {
                continue;
            }
            let bytes = ring.read(position, length)?;
            let Ok(record) = Record::decode(&self.uuid, bytes) else { continue };
            let header = record.header;
            if header.lsn != end.lsn + 1
                || header.position != position
                || header.previous_checksum != end.checksum
            {
                continue;
            }
            self.proven = self.proven.max(header.flushed_lsn);
            let next =
                LogTail { position: position + length, lsn: header.lsn, checksum: record.checksum };
            let at = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            self.records.push((at..self.bytes.len(), next));
            *end = next;
            return Ok(true);
        }
        Ok(false)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The highest LSN that a record of the chain says was flushed.
    pub(super) fn proven(&self) -> u64 {
        self.proven
    }

    pub(super) fn record(&self, index: usize) -> Result<Record<'_>> {
        Ok(Record::decode(&self.uuid, &self.bytes[self.records[index].0.clone()])?)
    }

    /// The records of the commit that starts with record `index`; `None` where its end is missing.
    pub(super) fn commit_at(&self, index: usize) -> Result<Option<Range<usize>>> {
        let mut end = index;
        while end < self.len() {
            end += 1;
            if !self.record(end - 1)?.header.unfinished || !sabotage::kept(Rule::Whole) {
                return Ok(Some(index..end));
            }
        }
        Ok(None)
    }

    /// Where record `index` ends.
    pub(super) fn end(&self, index: usize) -> LogTail {
        self.records[index].1
    }
}

/// Reads the ring through a window.
struct Ring<'a> {
    device: &'a dyn Device,
    geometry: &'a Geometry,
    window: Range<u64>,
    buf: AlignedBuf,
}

impl Ring<'_> {
    /// Bytes at a position of the ring; `length` is at most the window's.
    fn read(&mut self, position: u64, length: u64) -> Result<&[u8]> {
        if position < self.window.start || position + length > self.window.end {
            let first = self.window.is_empty() && length <= FIRST_WINDOW_BYTES;
            self.fill(position, if first { FIRST_WINDOW_BYTES } else { WINDOW_BYTES })?;
        }
        let at = (position - self.window.start) as usize;
        Ok(&self.buf[at..at + length as usize])
    }

    fn fill(&mut self, position: u64, ahead: u64) -> Result<()> {
        let size = self.geometry.log_bytes();
        // Down to a block, so that any sector size can be read, and a block more at the end.
        let start = position / BLOCK_BYTES * BLOCK_BYTES;
        let length = (ahead + 2 * BLOCK_BYTES).min(size);
        self.buf = AlignedBuf::new_zeroed(length as usize);
        let mut done = 0;
        while done < length {
            let offset = (start + done) % size;
            let part = (size - offset).min(length - done);
            let addr = self.geometry.log_start * BLOCK_BYTES + offset;
            self.device.read_at(addr, &mut self.buf[done as usize..(done + part) as usize])?;
            done += part;
        }
        self.window = start..start + length;
        Ok(())
    }
}
