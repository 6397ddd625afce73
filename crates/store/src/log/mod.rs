//! The log: records in a ring on the device, group commit, proof of flush.
//!
//! ```text
//!   open ── close ──> queued ── write ──> written ── flush ──> flushed ── a later record
//!   (transactions     (lsn is            (on the               that names it is
//!    gather)           fixed)             device)               flushed ──> proven
//! ```
//!
//! Definitions
//! * *flushed LSN*: every record up to it is on stable media.
//! * *proof LSN*: a record on stable media says so of every record up to it; recovery trusts
//!   these without verifying their data sums.
//!
//! Invariants
//! * (I1) records are written in LSN order, each names the checksum of the one before.
//! * (I2) the flushed LSN that a record carries was true before the record was handed to the
//!   device.
//! * (I3) data attached to a record is in the same batch as the record, in front of one flush.
//! * (I4) the ring never overwrites a record at or behind the tail: room is asked for before a
//!   transaction is applied, and two records' worth is kept back for a checkpoint.
//!
//! Group commit: one committer leads, holding the writer lock over the device batch. Who waits
//! meanwhile finds on waking either that its record is flushed, or that all that gathered is now its
//! to write; see `turn.rs`.
//!
//! Locking: turn → writer → transaction lock (to close the open record) → queue. Progress is atomic.

mod open;
mod recent;
mod turn;

pub(crate) use open::{OpenRecord, RECORD_BYTES_CLOSE};
pub(crate) use recent::Recent;
use turn::{Leader, Turn};

use crate::error::Result;
use crate::geometry::Geometry;
use ashlar_device::{AlignedBuf, Device, Finish, Write};
use ashlar_format::limits::{BLOCK_BYTES, RECORD_BYTES_MAX};
use ashlar_format::log::{HEADER_BYTES, RecordHeader, write_record};
use ashlar_format::superblock::LogTail;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// Room kept back for the checkpoint's own records.
const CHECKPOINT_ROOM: u64 = 2 * RECORD_BYTES_MAX as u64;

/// Closed records that are not written yet.
#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<OpenRecord>,
    /// Bytes that they take in the ring.
    bytes: u64,
    /// Where the first of them goes.
    position: u64,
}

/// What the next record continues.
#[derive(Debug)]
pub(crate) struct Writer {
    previous_checksum: u32,
    /// Bytes of data whose sums are in records written since the last flush.
    summed_bytes: u64,
    /// Ends of the records written since the last checkpoint, for the next one to choose from.
    tails: VecDeque<LogTail>,
}

/// The log of a volume.
pub(crate) struct Log {
    geometry: Geometry,
    queue: Mutex<Queue>,
    turn: Turn,
    writer: Mutex<Writer>,
    recent: Mutex<Recent>,
    tail_position: AtomicU64,
    written_lsn: AtomicU64,
    flushed_lsn: AtomicU64,
    proof_lsn: AtomicU64,
    /// Bytes whose sums are not flushed yet: recovery would have to verify them.
    summed_bytes: AtomicU64,
}

impl Log {
    /// Continues a log whose last record is `tail`; replay starts at `start`.
    pub(crate) fn new(geometry: Geometry, start: u64, tail: LogTail, proof: u64) -> Self {
        Self {
            geometry,
            queue: Mutex::new(Queue { position: tail.position, ..Queue::default() }),
            turn: Turn::default(),
            writer: Mutex::new(Writer {
                previous_checksum: tail.checksum,
                summed_bytes: 0,
                tails: VecDeque::from([tail]),
            }),
            recent: Mutex::default(),
            tail_position: AtomicU64::new(start),
            written_lsn: AtomicU64::new(tail.lsn),
            flushed_lsn: AtomicU64::new(tail.lsn),
            proof_lsn: AtomicU64::new(proof),
            summed_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn flushed(&self) -> u64 {
        self.flushed_lsn.load(Ordering::Acquire)
    }

    pub(crate) fn proof(&self) -> u64 {
        self.proof_lsn.load(Ordering::Acquire)
    }

    pub(crate) fn written(&self) -> u64 {
        self.written_lsn.load(Ordering::Acquire)
    }

    pub(crate) fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock()
    }

    /// Waits until record `lsn` is flushed, or this thread is the one to write the log; `stopped`
    /// ends the waiting, too.
    pub(crate) fn wait_turn(&self, lsn: u64, stopped: impl Fn() -> bool) -> Option<Leader<'_>> {
        self.turn.wait(|| self.flushed() >= lsn || stopped())
    }

    pub(crate) fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock()
    }

    pub(crate) fn try_lock_writer(&self) -> Option<MutexGuard<'_, Writer>> {
        self.writer.try_lock()
    }

    /// Bytes between the tail and the end of what is queued.
    pub(crate) fn used(&self) -> u64 {
        let queue = self.queue.lock();
        queue.position + queue.bytes - self.tail_position.load(Ordering::Acquire)
    }

    /// True when a transaction of `bytes` finds room behind the open record: I4.
    pub(crate) fn has_room(&self, open: &OpenRecord, bytes: usize) -> bool {
        // The transaction may close the open record and start records of its own, which are all
        // but full where it needs several.
        let sector = u64::from(self.geometry.sector);
        let records = 2 + 2 * (bytes / RECORD_BYTES_CLOSE) as u64;
        let around = records * (HEADER_BYTES as u64 + sector);
        let own = open.padded_bytes(self.geometry.sector) + bytes as u64 + around;
        self.used() + own + CHECKPOINT_ROOM <= self.geometry.log_bytes()
    }

    /// Bytes of the largest transaction: it finds room in an empty log, beside half as much that
    /// others write meanwhile.
    pub(crate) fn commit_bytes_max(&self) -> usize {
        let room = (self.geometry.log_bytes() - CHECKPOINT_ROOM) / 2;
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    /// Half the ring, or so, is in use: time for a checkpoint.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.used() > (self.geometry.log_bytes() - CHECKPOINT_ROOM) / 2
    }

    /// Sums of flushed records are not proven: an overwrite would have to wait.
    pub(crate) fn has_unproven_sums(&self) -> bool {
        !self.recent.lock().is_empty()
    }

    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.lock().records.is_empty()
    }

    pub(crate) fn count_summed(&self, bytes: u64) {
        self.summed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of data that recovery would have to read after a power cut now.
    pub(crate) fn summed_bytes(&self) -> u64 {
        self.summed_bytes.load(Ordering::Relaxed)
    }

    /// Closes `open`: its LSN and its place in the order are fixed. Transaction lock held.
    pub(crate) fn close(&self, open: &mut OpenRecord) {
        let next = OpenRecord::new(open.lsn + 1);
        let record = std::mem::replace(open, next);
        let mut queue = self.queue.lock();
        queue.bytes += record.padded_bytes(self.geometry.sector);
        queue.records.push_back(record);
    }

    /// Queues the records of one commit, in one step: they go out in one batch, and the proof that
    /// they carry is older than all of them. `open` continues behind. Transaction lock held.
    pub(crate) fn close_all(&self, records: Vec<OpenRecord>, open: &mut OpenRecord) {
        *open = OpenRecord::new(open.lsn + records.len() as u64);
        let mut queue = self.queue.lock();
        let sector = self.geometry.sector;
        queue.bytes += records.iter().map(|record| record.padded_bytes(sector)).sum::<u64>();
        queue.records.extend(records);
    }

    /// Writes everything queued, in one device batch, with one flush at its end if asked for.
    /// With nothing queued that is a flush alone, and no proof comes of it.
    pub(crate) fn write_queued(
        &self,
        writer: &mut Writer,
        device: &dyn Device,
        finish: Finish,
    ) -> Result<()> {
        let (records, mut position) = {
            let mut queue = self.queue.lock();
            let records = std::mem::take(&mut queue.records);
            let start = queue.position;
            queue.position += std::mem::take(&mut queue.bytes);
            (records, start)
        };
        let flushed = self.flushed();
        let sector = self.geometry.sector;
        let bytes: u64 = records.iter().map(|record| record.padded_bytes(sector)).sum();
        // What was queued fits the ring, and so memory.
        let mut ring = AlignedBuf::new_zeroed(bytes as usize);
        let mut rest = &mut ring[..];
        let mut ring_at = position;
        let mut last = None;
        for record in &records {
            let header = RecordHeader {
                lsn: record.lsn,
                flushed_lsn: flushed,
                position,
                previous_checksum: writer.previous_checksum,
                checkpoint: record.checkpoint,
                sector: self.geometry.sector,
                unfinished: record.unfinished,
            };
            let length = record.padded_bytes(sector);
            let (bytes, behind) = std::mem::take(&mut rest).split_at_mut(length as usize);
            rest = behind;
            let checksum = write_record(&header, &self.geometry.uuid, &record.parts(), bytes);
            writer.previous_checksum = checksum;
            position += length;
            writer.tails.push_back(LogTail { position, lsn: record.lsn, checksum });
            writer.summed_bytes += record.summed_bytes;
            last = Some(record.lsn);
        }
        let mut writes = Vec::with_capacity(2 + records.len());
        for attached in records.iter().flat_map(|record| &record.attached) {
            let addr = attached.block * BLOCK_BYTES;
            writes.push(Write { addr, bytes: attached.bytes.as_slice() });
        }
        self.ring_writes(&mut ring_at, &ring, &mut writes);
        device.submit(&writes, finish)?;
        if let Some(lsn) = last {
            self.written_lsn.store(lsn, Ordering::Release);
        }
        if let Finish::Flush = finish {
            let verified = std::mem::take(&mut writer.summed_bytes);
            self.summed_bytes.fetch_sub(verified, Ordering::Relaxed);
            self.flush_done(flushed, last);
        }
        Ok(())
    }

    /// Cuts the bytes where the ring ends.
    fn ring_writes<'a>(&self, position: &mut u64, mut bytes: &'a [u8], out: &mut Vec<Write<'a>>) {
        let size = self.geometry.log_bytes();
        while !bytes.is_empty() {
            let offset = *position % size;
            let room = usize::try_from(size - offset).unwrap_or(usize::MAX).min(bytes.len());
            let (now, rest) = bytes.split_at(room);
            let addr = self.geometry.log_start * BLOCK_BYTES + offset;
            out.push(Write { addr, bytes: now });
            *position += room as u64;
            bytes = rest;
        }
    }

    /// A flush behind all written records succeeded; the newest of them carries `said` as flushed.
    fn flush_done(&self, said: u64, last: Option<u64>) {
        self.flushed_lsn.store(self.written(), Ordering::Release);
        if last.is_some() {
            self.prove(said);
        }
    }

    /// Everything up to `lsn` is proven flushed by something on stable media.
    pub(crate) fn prove(&self, lsn: u64) {
        self.proof_lsn.fetch_max(lsn, Ordering::AcqRel);
        self.recent.lock().prune(self.proof());
    }

    /// End of record `lsn`, which must be written; older ends are forgotten.
    pub(crate) fn tail_at(&self, writer: &mut Writer, lsn: u64) -> LogTail {
        while writer.tails.len() > 1 && writer.tails[0].lsn < lsn {
            writer.tails.pop_front();
        }
        assert!(writer.tails[0].lsn == lsn, "end of record {lsn} is not known");
        writer.tails[0]
    }

    /// The checkpoint that ends at `tail` is in force: what is in front of it is free.
    pub(crate) fn move_tail(&self, tail: LogTail) {
        self.tail_position.store(tail.position, Ordering::Release);
    }
}
