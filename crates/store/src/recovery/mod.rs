//! Opening a volume: the newest checkpoint, the log replayed, a proof of where it ends.
//!
//! ```text
//!   superblock ── newest valid copy ──> roots, tail
//!   scan    records that chain on from the tail                        (scan.rs)
//!   verify  data sums of those that nothing on stable media proves     (verify.rs)
//!   replay  edits, in order, through the same code as live             (this file)
//!   proof   flush, then an empty record in the place of the first discarded one, then flush
//! ```
//!
//! Rule *recovery-proof*: the record written last says "flushed up to here" before any block is
//! reused. What was judged never to have finished cannot come back after a second cut: its place
//! in the chain is taken.
//!
//! The flush in front matters where the process died but the machine did not: what was read back
//! may not have been on stable media yet.
//!
//! A read-only open replays in memory and writes nothing.

mod scan;
mod verify;

use crate::checkpoint::CheckpointState;
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::journal::Journal;
use crate::log::{Log, OpenRecord};
use crate::nodes::Nodes;
use crate::sabotage::{self, Rule};
use crate::space::Space;
use crate::store::{Live, Parts, Store, dirty_nodes};
use crate::trees::{Trees, inode_number_of};
use ashlar_btree::Obsolete;
use ashlar_device::{AlignedBuf, Device};
use ashlar_format::BLOCK_SIZE;
use ashlar_format::key::{self, FreeKey, TreeId};
use ashlar_format::limits::BLOCK_BYTES;
use ashlar_format::log::{DataSums, Edit, Record};
use ashlar_format::superblock::{self, COPY_COUNT, LogTail, Superblock};
use scan::Scan;
use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// How to open a volume.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Write nothing at all; replay in memory.
    pub read_only: bool,
    /// Clean tree nodes kept in memory, bytes.
    pub node_cache_bytes: usize,
    /// Run the store's own thread. Without it checkpoints happen inside commits, and everything
    /// is determined by the calls made: what the simulator needs.
    pub background: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { read_only: false, node_cache_bytes: 64 << 20, background: true }
    }
}

/// What recovery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// The volume had not been unmounted cleanly.
    pub was_dirty: bool,
    /// Records replayed.
    pub replayed_records: u64,
    /// Records found whole but not counted, since the data they speak of is not there.
    pub discarded_records: u64,
    /// Bytes of data read to verify sums.
    pub verified_bytes: u64,
}

/// Reads the superblock that counts.
///
/// # Errors
/// Neither copy is valid, the volume is larger than its device, or it needs unknown features.
pub fn read_superblock(device: &dyn Device, read_only: bool) -> Result<Superblock> {
    let capacity = device.topology().capacity;
    let copies_bytes = BLOCK_SIZE * COPY_COUNT as usize;
    if capacity < copies_bytes as u64 {
        return Err(Error::Size { bytes: capacity });
    }
    let mut buf = AlignedBuf::new_zeroed(copies_bytes);
    device.read_at(0, &mut buf)?;
    let (first, second) = buf.split_at(BLOCK_SIZE);
    let copies = [Superblock::decode(0, first), Superblock::decode(1, second)];
    let superblock = superblock::newest(copies)?;
    let (_, ro_compat, incompat) = superblock.unknown_features();
    if incompat != 0 {
        return Err(Error::Unsupported { kind: "incompat", bits: incompat });
    }
    if ro_compat != 0 && !read_only {
        return Err(Error::Unsupported { kind: "ro_compat", bits: ro_compat });
    }
    let blocks = capacity / BLOCK_BYTES;
    if superblock.block_count > blocks {
        return Err(Error::Truncated { blocks: superblock.block_count, device: blocks });
    }
    Ok(superblock)
}

impl Store {
    /// Opens a volume, recovering it where it was not unmounted cleanly.
    ///
    /// # Errors
    /// Not an Ashlar volume, damaged, unknown features, device failures.
    pub fn open(
        device: Arc<dyn Device>,
        options: &OpenOptions,
    ) -> Result<(Arc<Self>, RecoveryReport)> {
        let superblock = read_superblock(&*device, options.read_only)?;
        let sector = device.topology().sector;
        let geometry = Geometry::of(&superblock, sector);
        let nodes = Nodes::new(
            Arc::clone(&device),
            superblock.uuid,
            superblock.block_count,
            options.node_cache_bytes,
        );
        let was_clean = superblock.clean;
        let mut replay = Replay::new(&superblock);
        let report = replay.run(&*device, &nodes, &geometry, &superblock)?;
        let store = replay.finish(device, nodes, geometry, superblock, options)?;
        let store = Arc::new(store);
        if !options.read_only {
            store.settle(&report, was_clean)?;
            if options.background {
                store.start_background().map_err(|error| {
                    store.fail(Error::Shutdown { cause: error.to_string().into() })
                })?;
            }
        }
        Ok((store, report))
    }

    /// Recovery-proof, or for a volume that was unmounted cleanly: the mark that it is in use.
    fn settle(&self, report: &RecoveryReport, was_clean: bool) -> Result<()> {
        if was_clean && report.discarded_records == 0 {
            let mut state = self.checkpoint.lock();
            let mut superblock = state.superblock.clone();
            superblock.generation += 1;
            superblock.clean = false;
            self.flip(&superblock)?;
            state.superblock = superblock;
        } else if !sabotage::kept(Rule::RecoveryProof) {
            self.log.prove(self.log.flushed());
        } else {
            self.device.flush()?;
            self.mark_proof();
            self.sync_now()?;
        }
        self.space.release(self.log.proof());
        Ok(())
    }
}

impl Store {
    /// Gives the proof record an edit that no other record carries, and that changes nothing.
    /// Without it the proof could equal an empty record that it replaces, bit for bit, and what
    /// stands behind that one would chain on again.
    fn mark_proof(&self) {
        let key = key::inode(0);
        let edit = Edit::Delete { tree: TreeId::Orphans, key: &key };
        edit.encode(&mut self.live.write().open.edits);
    }
}

/// The state built up while the log is replayed.
struct Replay {
    trees: Trees,
    obsolete: Obsolete,
    next_ino: u64,
    tail: LogTail,
    proof: u64,
    frees: Vec<(u64, u64, u64)>,
    sums: Vec<(u64, DataSums)>,
    journal: Journal,
}

impl Replay {
    fn new(superblock: &Superblock) -> Self {
        Self {
            trees: Trees::from_roots(&superblock.roots),
            obsolete: Obsolete::new(),
            next_ino: superblock.next_ino,
            tail: superblock.tail,
            proof: superblock.flushed_lsn,
            frees: Vec::new(),
            sums: Vec::new(),
            journal: Journal::default(),
        }
    }

    fn run(
        &mut self,
        device: &dyn Device,
        nodes: &Nodes,
        geometry: &Geometry,
        superblock: &Superblock,
    ) -> Result<RecoveryReport> {
        let mut report = RecoveryReport { was_dirty: !superblock.clean, ..Default::default() };
        let scan = Scan::run(device, geometry, superblock.tail)?;
        self.proof = self.proof.max(scan.proven());
        let mut next = 0;
        while next < scan.len() {
            let Some(commit) = scan.commit_at(next)? else {
                report.discarded_records = (scan.len() - next) as u64;
                break;
            };
            let last = scan.record(commit.end - 1)?.header.lsn;
            if !self.data_is_there(device, geometry, &scan, &commit, &mut report)? {
                report.discarded_records = (scan.len() - next) as u64;
                break;
            }
            for index in commit.clone() {
                let record = scan.record(index)?;
                let reached = record.header.checkpoint <= superblock.generation;
                if reached || !sabotage::kept(Rule::Conditional) {
                    self.take(nodes, geometry, last, &record)?;
                }
            }
            report.replayed_records += commit.len() as u64;
            self.tail = scan.end(commit.end - 1);
            next = commit.end;
        }
        Ok(report)
    }

    /// Rule *sums*, for the records of one commit that nothing proves.
    fn data_is_there(
        &mut self,
        device: &dyn Device,
        geometry: &Geometry,
        scan: &Scan,
        commit: &Range<usize>,
        report: &mut RecoveryReport,
    ) -> Result<bool> {
        let mut unproven = Vec::new();
        for index in commit.clone() {
            let record = scan.record(index)?;
            let lsn = record.header.lsn;
            if lsn > self.proof {
                let sums = record.sums()?;
                let there =
                    verify::data_matches(device, geometry, &sums, &mut report.verified_bytes)?;
                if !there && sabotage::kept(Rule::Sums) {
                    return Ok(false);
                }
                unproven.extend(sums.into_iter().map(|sums| (lsn, sums)));
            }
        }
        self.sums.append(&mut unproven);
        Ok(true)
    }

    /// Applies a record of the commit that ends with record `lsn`.
    fn take(
        &mut self,
        nodes: &Nodes,
        geometry: &Geometry,
        lsn: u64,
        record: &Record<'_>,
    ) -> Result<()> {
        let mut journaled = record.journaled()?.into_iter();
        for edit in record.edits() {
            let edit = edit?;
            self.apply(nodes, geometry, lsn, &edit)?;
            // In the place of the edit: a later one of the same record may free the block. Rule
            // *home-last*: not written home here.
            let Edit::Journal { .. } = edit else { continue };
            let Some((block, bytes)) = journaled.next() else { continue };
            if !geometry.holds(block, (bytes.len() / BLOCK_SIZE) as u64) {
                let problem = format!("journaled data for block {block}, outside the volume");
                return Err(ashlar_format::Corruption::new("log record", lsn, problem).into());
            }
            self.journal.add_copy(lsn, block, bytes);
        }
        Ok(())
    }

    fn apply(
        &mut self,
        nodes: &Nodes,
        geometry: &Geometry,
        lsn: u64,
        edit: &Edit<'_>,
    ) -> Result<()> {
        self.trees.apply(nodes, &mut self.obsolete, geometry, edit)?;
        if let Edit::Free { block, count } = *edit {
            self.frees.push((lsn, block, u64::from(count)));
            self.journal.forget(block, u64::from(count));
        }
        if let Some(ino) = inode_number_of(edit) {
            self.next_ino = self.next_ino.max(ino.saturating_add(1));
        }
        Ok(())
    }

    fn finish(
        self,
        device: Arc<dyn Device>,
        nodes: Nodes,
        geometry: Geometry,
        superblock: Superblock,
        options: &OpenOptions,
    ) -> Result<Store> {
        let group_free = read_group_counts(&self.trees, &nodes, &geometry)?;
        let space = Arc::new(Space::new(geometry, group_free));
        space.set_dirty_nodes(dirty_nodes(&self.trees) as u64);
        let tail = padded_tail(self.tail, geometry.sector);
        let log = Log::new(geometry, superblock.tail.position, tail, self.proof);
        for (lsn, block, count) in self.frees {
            space.defer_replayed(lsn, block, count);
        }
        for (lsn, sums) in &self.sums {
            log.recent().add(*lsn, sums);
        }
        let open = OpenRecord::new(tail.lsn + 1);
        Ok(Store::assemble(Parts {
            device,
            geometry,
            nodes,
            live: Live { trees: self.trees, obsolete: self.obsolete, open },
            log,
            journal: self.journal,
            space,
            checkpoint: CheckpointState { superblock, epochs: VecDeque::new() },
            next_ino: self.next_ino,
            read_only: options.read_only,
            background: options.background && !options.read_only,
        }))
    }
}

/// A record starts where the one before ends, rounded up to its own sector: an image may move to
/// a device with larger sectors.
fn padded_tail(tail: LogTail, sector: u32) -> LogTail {
    LogTail { position: tail.position.next_multiple_of(u64::from(sector)), ..tail }
}

/// Free blocks of each group, from the counts that the free tree keeps.
fn read_group_counts(trees: &Trees, nodes: &Nodes, geometry: &Geometry) -> Result<Vec<u64>> {
    let mut counts = vec![0; geometry.group_count() as usize];
    let mut broken = None;
    let tree = trees.get(TreeId::Free);
    tree.for_each_from(nodes, &key::group(0), &mut |key, value| {
        match (key::decode_free(key), key::decode_free_value(value)) {
            (Ok(FreeKey::Group(group)), Ok(free)) => {
                if let Some(count) = counts.get_mut(group as usize)
                    && free <= geometry.group_blocks
                {
                    *count = free;
                    return ControlFlow::Continue(());
                }
                let problem = format!("group {group} with {free} free blocks");
                broken = Some(ashlar_format::Corruption::new("free tree", 0, problem));
            }
            (Ok(FreeKey::Extent(_)), _) => {}
            (Err(error), _) | (_, Err(error)) => broken = Some(error),
        }
        ControlFlow::Break(())
    })?;
    broken.map_or(Ok(counts), |error| Err(error.into()))
}
