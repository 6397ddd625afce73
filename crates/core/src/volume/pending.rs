//! Data on its way: committed, attached to a record of the log, and perhaps not on the device yet.
//!
//! Small writes of new data travel with the record that makes them reachable, many files in one
//! device batch. Until the record is written, the device holds old bytes there, while the cache may
//! drop the blocks as clean. So reads of file data look here first:
//!
//! ```text
//!   submit ── attach + commit ──> pending ── Store::sync ──> on the device
//!                                    ▲
//!   cache miss, direct read ─────────┘ bytes of pending blocks laid over those of the device
//! ```
//!
//! Invariants
//! * (P1) blocks that are attached and not known written are here.
//! * (P2) nothing else writes a block that is here: [`DataDevice::wait_for`] syncs first. A batch
//!   of the log could otherwise bring the older bytes back.
//! * (P3) blocks handed out by the allocator are not here: a freed block is reused only after its
//!   records are proven, and the entry of its former life is dropped then.
//!
//! Locking: one leaf lock; no I/O under it.

use crate::error::Result;
use ashlar_device::{Device, Finish, Read, Topology, Write};
use ashlar_format::limits::{BLOCK_BYTES, BLOCK_SIZE};
use ashlar_store::{Lsn, SharedBytes, Store};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
struct Entry {
    lsn: Lsn,
    bytes: SharedBytes,
}

impl Entry {
    fn blocks(&self) -> u64 {
        (self.bytes.as_slice().len() / BLOCK_SIZE) as u64
    }
}

/// The device as file data sees it: reads include what is on its way.
#[derive(Debug)]
pub(crate) struct DataDevice {
    device: Arc<dyn Device>,
    /// Has what travels in records and is not home yet; always newer than an entry here.
    store: Arc<Store>,
    /// By first block; disjoint.
    entries: Mutex<BTreeMap<u64, Entry>>,
    /// Bytes in the entries: nobody takes the lock while there are none.
    bytes: AtomicU64,
}

impl DataDevice {
    pub(crate) fn new(device: Arc<dyn Device>, store: Arc<Store>) -> Self {
        Self { device, store, entries: Mutex::default(), bytes: AtomicU64::new(0) }
    }

    /// Bytes on their way.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Record `lsn` carries these blocks: P1. None of them is here yet.
    pub(crate) fn add(&self, lsn: Lsn, block: u64, bytes: SharedBytes) {
        let entry = Entry { lsn, bytes };
        self.bytes.fetch_add(entry.blocks() * BLOCK_BYTES, Ordering::AcqRel);
        self.entries.lock().insert(block, entry);
    }

    /// The newest record that carries a block of the run, if one is on its way.
    fn newest_in(&self, block: u64, count: u64) -> Option<Lsn> {
        if self.pending_bytes() == 0 {
            return None;
        }
        let entries = self.entries.lock();
        overlapping(&entries, &(block..block + count)).map(|(_, entry)| entry.lsn).max()
    }

    /// Returns when the run may be written: P2.
    ///
    /// # Errors
    /// The volume has shut down.
    pub(crate) fn wait_for(&self, store: &Store, block: u64, count: u64) -> Result<()> {
        while let Some(lsn) = self.newest_in(block, count) {
            store.sync(lsn)?;
            self.written_up_to(lsn);
        }
        store.ensure_home(block, count)?;
        Ok(())
    }

    /// Everything up to record `lsn` is on the device.
    pub(crate) fn written_up_to(&self, lsn: Lsn) {
        if self.pending_bytes() == 0 {
            return;
        }
        let mut gone = 0;
        self.entries.lock().retain(|_, entry| {
            let stays = entry.lsn > lsn;
            if !stays {
                gone += entry.blocks() * BLOCK_BYTES;
            }
            stays
        });
        self.bytes.fetch_sub(gone, Ordering::AcqRel);
    }

    /// The allocator handed these blocks out: P3.
    pub(crate) fn reused(&self, block: u64, count: u64) {
        if self.pending_bytes() == 0 {
            return;
        }
        let mut entries = self.entries.lock();
        let range = block..block + count;
        let stale: Vec<u64> = overlapping(&entries, &range).map(|(first, _)| first).collect();
        let mut gone = 0;
        for first in stale {
            let Some(entry) = entries.remove(&first) else { continue };
            gone += entry.blocks() * BLOCK_BYTES;
            // A part of it may have been reused by now, another not: all of it is written.
        }
        self.bytes.fetch_sub(gone, Ordering::AcqRel);
    }

    /// What is on its way for a range, held while the device is read: an entry that leaves in
    /// between was on the device only at some moment during the read.
    fn snapshot(&self, addr: u64, length: usize) -> Overlay {
        let blocks = addr / BLOCK_BYTES..(addr + length as u64).div_ceil(BLOCK_BYTES);
        let mut found = Vec::new();
        if self.pending_bytes() > 0 {
            let entries = self.entries.lock();
            let on_the_way = overlapping(&entries, &blocks);
            found.extend(on_the_way.map(|(block, entry)| (block, entry.bytes.clone())));
        }
        found.extend(self.store.journaled(blocks));
        Overlay(found)
    }

    /// Whether what the device holds is all there is.
    fn is_plain(&self) -> bool {
        self.pending_bytes() == 0 && !self.store.has_journaled()
    }
}

/// Blocks on their way.
struct Overlay(Vec<(u64, SharedBytes)>);

impl Overlay {
    /// Replaces what was read from `addr` where something newer is on its way.
    fn lay_over(&self, addr: u64, buf: &mut [u8]) {
        let end = addr + buf.len() as u64;
        for (block, bytes) in &self.0 {
            let bytes = bytes.as_slice();
            let start = block * BLOCK_BYTES;
            let from = start.max(addr);
            let to = (start + bytes.len() as u64).min(end);
            if from < to {
                // Both inside the two buffers.
                let length = (to - from) as usize;
                let (target, source) = ((from - addr) as usize, (from - start) as usize);
                buf[target..target + length].copy_from_slice(&bytes[source..source + length]);
            }
        }
    }
}

fn overlapping<'a>(
    entries: &'a BTreeMap<u64, Entry>,
    range: &Range<u64>,
) -> impl Iterator<Item = (u64, &'a Entry)> + use<'a> {
    let start = range.start;
    let before =
        entries.range(..start).next_back().filter(|(first, e)| *first + e.blocks() > start);
    before.into_iter().chain(entries.range(range.clone())).map(|(first, entry)| (*first, entry))
}

impl Device for DataDevice {
    fn topology(&self) -> &Topology {
        self.device.topology()
    }

    fn read_at(&self, addr: u64, buf: &mut [u8]) -> ashlar_device::Result<()> {
        if self.is_plain() {
            return self.device.read_at(addr, buf);
        }
        let held = self.snapshot(addr, buf.len());
        self.device.read_at(addr, buf)?;
        held.lay_over(addr, buf);
        Ok(())
    }

    fn read_batch(&self, reads: &mut [Read<'_>]) -> ashlar_device::Result<()> {
        if self.is_plain() {
            return self.device.read_batch(reads);
        }
        reads.iter_mut().try_for_each(|read| self.read_at(read.addr, read.buf))
    }

    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> ashlar_device::Result<()> {
        self.device.submit(writes, finish)
    }

    fn discard(&self, addr: u64, length: u64) -> ashlar_device::Result<()> {
        self.device.discard(addr, length)
    }

    fn write_zeroes(&self, addr: u64, length: u64) -> ashlar_device::Result<()> {
        self.device.write_zeroes(addr, length)
    }

    fn block_device_path(&self) -> Option<&Path> {
        self.device.block_device_path()
    }
}
