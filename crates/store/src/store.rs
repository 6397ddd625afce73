//! An open volume: the trees as they are now, and the transaction lock.
//!
//! ```text
//!   Txn::commit ──> transaction lock: trees changed, edits in the open record ──> readers see it
//!   Store::sync ──> log: data, record and one flush in one batch              ──> durable
//!   checkpoint  ──> snapshot of the trees written, superblock flipped         ──> log shortened
//! ```
//!
//! Locking, outermost first: checkpoint → log writer → transaction lock (`live`) → deferred →
//! group → counters. Readers hold the transaction lock shared for one lookup; a [`View`] is a
//! snapshot and holds nothing.

use crate::checkpoint::CheckpointState;
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::journal::Journal;
use crate::log::{Log, OpenRecord, RECORD_BYTES_CLOSE};
use crate::nodes::Nodes;
use crate::sabotage::{self, Rule};
use crate::space::{Space, SpaceUsage};
use crate::trees::{Trees, inode_number_of};
use crate::txn::{Lsn, Txn};
use ashlar_btree::Obsolete;
use ashlar_device::{Device, Finish};
use ashlar_format::key::{TREE_COUNT, TreeId};
use ashlar_format::limits::{BLOCK_BYTES, RECORD_BYTES_MAX};
use ashlar_format::log::{Edit, Edits, HEADER_BYTES};
use parking_lot::{Condvar, Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Data that recovery may have to read: a flush is forced when more has been written without one.
const SUMMED_BYTES_MAX: u64 = 64 << 20;
/// Dirty nodes that may gather between checkpoints (64 MiB of memory).
const DIRTY_NODES_MAX: usize = 4096;

/// What the transaction lock protects.
pub(crate) struct Live {
    pub(crate) trees: Trees,
    pub(crate) obsolete: Obsolete,
    pub(crate) open: OpenRecord,
}

/// Why a background thread is woken.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) checkpoint: bool,
    pub(crate) proof: bool,
    pub(crate) stop: bool,
}

/// An open volume.
pub struct Store {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) geometry: Geometry,
    pub(crate) nodes: Nodes,
    pub(crate) live: RwLock<Live>,
    pub(crate) log: Log,
    pub(crate) journal: Journal,
    pub(crate) space: Arc<Space>,
    pub(crate) checkpoint: Mutex<CheckpointState>,
    pub(crate) next_ino: AtomicU64,
    pub(crate) read_only: bool,
    pub(crate) background: bool,
    pub(crate) wishes: Mutex<Wishes>,
    pub(crate) wake: Condvar,
    /// Held by every view; a new one for each checkpoint.
    pub(crate) epoch: Mutex<Arc<()>>,
    pub(crate) checkpoints_done: AtomicU64,
    shut_down: AtomicBool,
    cause: Mutex<Option<Arc<str>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

/// What [`Store::assemble`] puts together.
pub(crate) struct Parts {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) geometry: Geometry,
    pub(crate) nodes: Nodes,
    pub(crate) live: Live,
    pub(crate) log: Log,
    pub(crate) journal: Journal,
    pub(crate) space: Arc<Space>,
    pub(crate) checkpoint: CheckpointState,
    pub(crate) next_ino: u64,
    pub(crate) read_only: bool,
    pub(crate) background: bool,
}

impl Store {
    /// A transaction's edits and sums stay below this many bytes of log.
    pub const TXN_BYTES_MAX: usize = 128 << 10;

    pub(crate) fn assemble(parts: Parts) -> Self {
        Self {
            device: parts.device,
            geometry: parts.geometry,
            nodes: parts.nodes,
            live: RwLock::new(parts.live),
            log: parts.log,
            journal: parts.journal,
            space: parts.space,
            checkpoint: Mutex::new(parts.checkpoint),
            next_ino: AtomicU64::new(parts.next_ino),
            read_only: parts.read_only,
            background: parts.background,
            wishes: Mutex::default(),
            wake: Condvar::new(),
            epoch: Mutex::default(),
            checkpoints_done: AtomicU64::new(0),
            shut_down: AtomicBool::new(false),
            cause: Mutex::new(None),
        }
    }

    // ---- identity -------------------------------------------------------------------------

    /// Identity of the volume.
    #[must_use]
    pub fn uuid(&self) -> [u8; 16] {
        self.geometry.uuid
    }

    /// Seed of name hashes.
    #[must_use]
    pub fn hash_seed(&self) -> u64 {
        self.geometry.hash_seed
    }

    /// Blocks of the volume.
    #[must_use]
    pub fn block_count(&self) -> u64 {
        self.geometry.block_count
    }

    /// When the volume was made, seconds since 1970.
    #[must_use]
    pub fn created(&self) -> i64 {
        self.geometry.created
    }

    /// The device underneath.
    #[must_use]
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// True when nothing may be changed.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// A number no inode ever had.
    pub fn allocate_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }

    /// Space by the counters, blocks.
    #[must_use]
    pub fn space(&self) -> SpaceUsage {
        self.space.usage()
    }

    // ---- changing -------------------------------------------------------------------------

    /// Starts a transaction.
    pub fn begin(&self) -> Txn<'_> {
        Txn::new(self)
    }

    /// Bytes of log of the largest transaction that can be committed at once.
    #[must_use]
    pub fn commit_bytes_max(&self) -> usize {
        self.log.commit_bytes_max()
    }

    pub(crate) fn commit(&self, mut txn: Txn<'_>) -> Result<Lsn> {
        self.check_writable()?;
        if txn.log_bytes() > self.commit_bytes_max() {
            return Err(Error::TooLarge { bytes: txn.log_bytes(), max: self.commit_bytes_max() });
        }
        let lsn = loop {
            let mut live = self.live.write();
            if self.log.has_room(&live.open, txn.log_bytes()) {
                let lsn = self.apply(&mut live, &mut txn)?;
                self.space.set_dirty_nodes(dirty_nodes(&live.trees) as u64);
                break lsn;
            }
            drop(live);
            self.run_checkpoint()?;
        };
        for grant in std::mem::take(&mut txn.grants) {
            grant.keep();
        }
        self.after_commit()?;
        Ok(Lsn(lsn))
    }

    /// Applies and logs a transaction under the transaction lock. A failure here leaves trees
    /// and log apart, so it ends the volume's life.
    fn apply(&self, live: &mut Live, txn: &mut Txn<'_>) -> Result<u64> {
        let crowded = live.open.body_bytes() + txn.log_bytes() > RECORD_BYTES_CLOSE;
        if (crowded && !live.open.is_empty()) || live.open.summed_bytes > SUMMED_BYTES_MAX / 4 {
            self.log.close(&mut live.open);
        }
        let first = live.open.lsn;
        // A transaction that one record cannot hold is spread over several, and named by the last.
        let spread = txn.log_bytes() > RECORD_BYTES_CLOSE;
        let mut records = if spread { OpenRecord::spread(first, txn) } else { Vec::new() };
        let lsn = first + records.len().saturating_sub(1) as u64;
        let journaled = records.iter().flat_map(|record| &record.journaled);
        for placed in journaled.chain(&txn.journaled) {
            self.journal.add(lsn, placed.block, &placed.bytes);
        }
        for edit in Edits::new(&txn.edits) {
            let edit = edit.map_err(|error| self.fail(error.into()))?;
            let Live { trees, obsolete, .. } = live;
            trees
                .apply(&self.nodes, obsolete, &self.geometry, &edit)
                .map_err(|error| self.fail(error))?;
            self.note_edit(lsn, &edit);
        }
        if !txn.sums.is_empty() {
            let mut recent = self.log.recent();
            for sums in &txn.sums {
                recent.add(lsn, sums);
                self.log.count_summed(sums.sums.len() as u64 * BLOCK_BYTES);
            }
        }
        if spread {
            self.log.close_all(std::mem::take(&mut records), &mut live.open);
        } else {
            live.open.add(txn);
        }
        Ok(lsn)
    }

    /// What an edit means outside the trees.
    pub(crate) fn note_edit(&self, lsn: u64, edit: &Edit<'_>) {
        if let Edit::Free { block, count } = *edit {
            self.space.defer(lsn, block, u64::from(count));
            self.journal.forget(block, u64::from(count));
        }
        if let Some(ino) = inode_number_of(edit) {
            self.next_ino.fetch_max(ino + 1, Ordering::Relaxed);
        }
    }

    fn after_commit(&self) -> Result<()> {
        if self.log.summed_bytes() > SUMMED_BYTES_MAX {
            self.sync_now()?;
        } else if self.log.has_queued()
            && let Some(mut writer) = self.log.try_lock_writer()
        {
            self.write_queued(&mut writer, Finish::Nothing)?;
        }
        if self.wants_checkpoint() {
            if self.background && !self.space.checkpoint_urgent() {
                self.wishes.lock().checkpoint = true;
                self.wake.notify_one();
            } else {
                self.run_checkpoint()?;
            }
        }
        Ok(())
    }

    fn wants_checkpoint(&self) -> bool {
        self.log.wants_checkpoint()
            || self.space.dirty_nodes() as usize > DIRTY_NODES_MAX
            || self.space.checkpoint_urgent()
    }

    // ---- durability -----------------------------------------------------------------------

    /// Makes everything up to record `lsn` durable, with what was attached to it: one device
    /// batch, one flush; callers that wait meanwhile share the next one.
    ///
    /// # Errors
    /// A device failure shuts the volume down: what was on the way may or may not be durable.
    pub fn sync(&self, lsn: Lsn) -> Result<()> {
        if self.log.flushed() >= lsn.0 {
            return Ok(());
        }
        self.check_writable()?;
        let Some(_leader) = self.log.wait_turn(lsn.0, || self.is_shut_down()) else {
            // Flushed by another one, or that one failed.
            return if self.log.flushed() >= lsn.0 { Ok(()) } else { self.check_writable() };
        };
        let mut writer = self.log.lock_writer();
        if self.log.flushed() >= lsn.0 {
            return Ok(());
        }
        // The writer before may have failed while this one waited.
        self.check_writable()?;
        {
            let mut live = self.live.write();
            if live.open.lsn <= lsn.0 {
                self.log.close(&mut live.open);
            }
        }
        self.write_queued(&mut writer, Finish::Flush)?;
        drop(writer);
        self.after_flush();
        Ok(())
    }

    /// Makes everything committed, and everything written to the device, durable: also data that
    /// was overwritten in place and of which no record speaks. Where none is waiting, none is
    /// written, and this costs a flush and nothing else.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub fn flush(&self) -> Result<()> {
        self.check_writable()?;
        let mut writer = self.log.lock_writer();
        {
            let mut live = self.live.write();
            if !live.open.is_empty() {
                self.log.close(&mut live.open);
            }
        }
        self.write_queued(&mut writer, Finish::Flush)?;
        drop(writer);
        self.after_flush();
        Ok(())
    }

    /// What a flush sets free.
    fn after_flush(&self) {
        self.space.release(self.log.proof());
        if self.background && (self.log.has_unproven_sums() || self.space.has_deferred()) {
            self.wishes.lock().proof = true;
            self.wake.notify_one();
        }
    }

    /// As [`Self::flush`], and a record is written in any case: it proves what was flushed before.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub fn sync_now(&self) -> Result<()> {
        let lsn = {
            let mut live = self.live.write();
            live.open.wanted = true;
            live.open.lsn
        };
        self.sync(Lsn(lsn))
    }

    /// Makes everything committed durable; does nothing where nothing is pending.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub fn sync_all(&self) -> Result<()> {
        self.sync(self.last_lsn())
    }

    /// The record that holds the last committed transaction.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        let live = self.live.read();
        Lsn(if live.open.is_empty() { live.open.lsn - 1 } else { live.open.lsn })
    }

    pub(crate) fn write_queued(
        &self,
        writer: &mut crate::log::Writer,
        finish: Finish,
    ) -> Result<()> {
        self.check_writable()?;
        self.log.write_queued(writer, &*self.device, finish).map_err(|error| self.fail(error))
    }

    /// Returns when `bytes` may be written in place from `block` on: rule proof-overwrite. Takes
    /// up to two flushes where a block's record is not proven flushed and its summed bytes change.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub fn ensure_overwritable(&self, block: u64, bytes: &[u8]) -> Result<()> {
        let conflict = self.log.recent().conflict(block, bytes);
        let conflict = conflict.filter(|_| sabotage::kept(Rule::ProofOverwrite));
        conflict.map_or(Ok(()), |lsn| self.prove(lsn))
    }

    /// Returns when blocks may be overwritten with anything.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub fn ensure_proven(&self, block: u64, count: u64) -> Result<()> {
        let newest = self.log.recent().newest_in(block, count);
        newest.map_or(Ok(()), |lsn| self.prove(lsn))
    }

    /// Writes records until a durable one proves `lsn` flushed.
    pub(crate) fn prove(&self, lsn: u64) -> Result<()> {
        self.sync(Lsn(lsn))?;
        while self.log.proof() < lsn {
            self.sync_now()?;
        }
        Ok(())
    }

    /// Everything flushed is proven: a power cut now costs recovery no verification, and no
    /// overwrite has to wait. Worth doing in an idle moment.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub fn prove_all(&self) -> Result<()> {
        let flushed = self.log.flushed();
        if !self.log.has_unproven_sums() && !self.space.has_deferred() {
            return Ok(());
        }
        self.prove(flushed)?;
        self.space.release(self.log.proof());
        Ok(())
    }

    // ---- life and death -------------------------------------------------------------------

    /// True when the volume takes no more changes.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::Acquire)
    }

    /// Stops all changes, now. The first cause is kept.
    pub fn shut_down(&self, cause: &str) {
        let mut kept = self.cause.lock();
        if kept.is_none() {
            tracing::error!("volume shut down: {cause}");
            *kept = Some(Arc::from(cause));
        }
        self.shut_down.store(true, Ordering::Release);
    }

    /// The volume was closed in good order.
    pub(crate) fn mark_closed(&self) {
        self.cause.lock().get_or_insert_with(|| Arc::from("it was closed"));
        self.shut_down.store(true, Ordering::Release);
    }

    pub(crate) fn fail(&self, error: Error) -> Error {
        self.shut_down(&error.to_string());
        error
    }

    /// The error of a volume that takes no changes.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] or [`Error::Shutdown`] with the first cause.
    pub fn check_writable(&self) -> Result<()> {
        if self.is_shut_down() {
            let cause = self.cause.lock().clone().unwrap_or_else(|| Arc::from("closed"));
            return Err(Error::Shutdown { cause });
        }
        if self.read_only { Err(Error::ReadOnly) } else { Ok(()) }
    }

    /// Calls `part` for each piece of a run of blocks that lies in one allocation group.
    pub(crate) fn for_each_group_part(
        &self,
        mut block: u64,
        mut count: u64,
        mut part: impl FnMut(u64, u32),
    ) {
        while count > 0 {
            let end = self.geometry.group_range(self.geometry.group_of(block)).end;
            let here = count.min(end.saturating_sub(block)).clamp(1, u64::from(u32::MAX));
            part(block, here as u32);
            block += here;
            count -= here;
        }
    }
}

pub(crate) fn dirty_nodes(trees: &Trees) -> usize {
    TreeId::ALL.iter().map(|id| trees.get(*id).dirty_nodes()).sum()
}

const _: () = assert!(TreeId::ALL.len() == TREE_COUNT);
const _: () = assert!(Store::TXN_BYTES_MAX <= RECORD_BYTES_CLOSE);
const _: () = assert!(HEADER_BYTES + RECORD_BYTES_CLOSE + 4096 <= RECORD_BYTES_MAX as usize);
