//! The live protocol: commits, the log, what may be overwritten and reused. Most rules are kept
//! here, each where its name stands.
//!
//! Definitions as in the store: *flushed* records are durable, *proven* ones are said to be so by
//! a durable record. *Window*: blocks for which replay would find journaled bytes. *Overlay*:
//! those whose bytes are not known to be home.

use super::checkpoint::Checkpoint;
use super::disk::{Addr, Bytes, CELLS, Cell, Stamp};
use super::machine::Machine;
use super::record::{BlockSet, Edit, FILE_BLOCKS, FileMap, Record, Snapshot, Sum};
use super::{Rule, Rules};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An open volume.
#[derive(Debug, Clone)]
pub struct Volume {
    /// The trees now.
    pub trees: Snapshot,
    /// Node of the checkpoint in force.
    pub node: u8,
    /// Its generation.
    pub generation: u32,
    /// The last record.
    pub lsn: u32,
    /// Its checksum.
    pub previous: u64,
    /// Known durable.
    pub flushed: u32,
    /// Known to be known durable after a cut.
    pub proof: u32,
    /// Records not flushed yet, and what they say is flushed.
    pub waiting: Vec<(u32, u32)>,
    /// Journaled bytes that are not known to be home.
    pub overlay: BTreeMap<u8, (u32, Bytes)>,
    /// Blocks with a journaled record that replay would see: its LSN.
    pub window: BTreeMap<u8, u32>,
    /// Sums of records that are not proven.
    pub recent: Vec<(u32, Sum)>,
    /// Freed blocks, and the record that freed them.
    pub deferred: Vec<(u32, u8)>,
    /// Blocks whose last cell was cut off, and the record that says so, until it is flushed.
    pub cut_tails: Vec<(u32, u8)>,
    /// A checkpoint on its way.
    pub checkpoint: Option<Checkpoint>,
}

/// A block of a file.
pub type Target = (u8, u8);

/// Edits and sums of one transaction.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Edits.
    pub edits: Vec<Edit>,
    /// Sums.
    pub sums: Vec<Sum>,
}

impl Volume {
    /// A volume of these files, all of it in a checkpoint.
    #[must_use]
    pub fn new(trees: Snapshot, node: u8) -> Self {
        Self {
            trees,
            node,
            generation: 1,
            lsn: 0,
            previous: 0,
            flushed: 0,
            proof: 0,
            waiting: Vec::new(),
            overlay: BTreeMap::new(),
            window: BTreeMap::new(),
            recent: Vec::new(),
            deferred: Vec::new(),
            cut_tails: Vec::new(),
            checkpoint: None,
        }
    }

    /// Blocks that may be handed out.
    #[must_use]
    pub fn reusable(&self, rules: Rules) -> BlockSet {
        let mut blocks = self.trees.free;
        let held = self.checkpoint.as_ref().filter(|_| rules.has(Rule::HomeHold));
        // Frees behind a freeze wait for the data that is being written home: rule 16.
        let limit = held.and_then(Checkpoint::release_limit).unwrap_or(u32::MAX);
        for (lsn, block) in &self.deferred {
            let unproven = rules.has(Rule::ProofReuse) && *lsn > self.proof;
            if unproven || *lsn > limit {
                blocks.remove(*block);
            }
        }
        if let Some(checkpoint) = &self.checkpoint {
            blocks.remove(checkpoint.node);
        }
        blocks
    }

    /// True when bytes may not be written to a block yet, since recovery may look at what is
    /// there: rule 1.
    #[must_use]
    pub fn conflicts(&self, rules: Rules, block: u8, bytes: Bytes) -> bool {
        rules.has(Rule::ProofOverwrite)
            && self
                .recent
                .iter()
                .any(|(lsn, sum)| *lsn > self.proof && sum.block == block && !sum.matches(bytes))
    }

    /// Applies an edit to trees and tables.
    pub fn apply(&mut self, rules: Rules, lsn: u32, edit: &Edit) {
        self.trees.apply(edit);
        match *edit {
            Edit::Put(..) | Edit::Alloc(_) => {}
            Edit::Free(block) => {
                self.deferred.push((lsn, block));
                if rules.has(Rule::FreeRevokes) {
                    self.overlay.remove(&block);
                    self.window.remove(&block);
                }
            }
            Edit::Journal(block, bytes) => {
                self.overlay.insert(block, (lsn, bytes));
                self.window.insert(block, lsn);
            }
            Edit::Revoke(block) => {
                self.overlay.remove(&block);
            }
        }
    }

    /// Records are flushed, and what they say is proven.
    pub fn note_flush(&mut self) {
        for (lsn, said) in std::mem::take(&mut self.waiting) {
            self.flushed = self.flushed.max(lsn);
            self.proof = self.proof.max(said);
        }
        let flushed = self.flushed;
        self.cut_tails.retain(|(lsn, _)| *lsn > flushed);
        self.forget_proven();
    }

    /// What is proven needs no protection any more.
    pub fn forget_proven(&mut self) {
        let proof = self.proof;
        self.recent.retain(|(lsn, _)| *lsn > proof);
        let limit = self.checkpoint.as_ref().and_then(Checkpoint::release_limit);
        let keep = proof.min(limit.unwrap_or(u32::MAX));
        self.deferred.retain(|(lsn, _)| *lsn > keep);
    }
}

/// The cells of a file that a block's bytes are.
fn cells_of(
    file: u8,
    index: u8,
    covered: usize,
    bytes: Bytes,
) -> impl Iterator<Item = (u8, usize, Stamp)> {
    let first = usize::from(index) * CELLS;
    bytes.into_iter().take(covered).enumerate().map(move |(at, stamp)| (file, first + at, stamp))
}

impl Machine {
    /// Writes a record that holds `changes`.
    pub fn append(&mut self, changes: Changes, checkpoint: Option<u32>) -> u32 {
        self.append_record(changes, &Record { checkpoint, ..Record::default() })
    }

    pub(super) fn append_record(&mut self, changes: Changes, head: &Record) -> u32 {
        let volume = &mut self.volume;
        volume.lsn += 1;
        let (lsn, previous, flushed) = (volume.lsn, volume.previous, volume.flushed);
        if head.checkpoint.is_none() {
            for edit in &changes.edits {
                volume.apply(self.rules, lsn, edit);
            }
        }
        volume.recent.extend(changes.sums.iter().map(|sum| (lsn, *sum)));
        let Changes { edits, sums } = changes;
        let record = Record { lsn, previous, flushed, edits, sums, ..head.clone() };
        volume.previous = record.checksum();
        volume.waiting.push((lsn, flushed));
        self.disk.write(Addr::Log(lsn), Cell::Record(Arc::new(record)));
        lsn
    }

    /// Puts a block where new bytes go: the lowest or the highest one that may be handed out.
    fn allocate(&self, taken: &[u8], highest: bool) -> Option<u8> {
        let blocks = self.volume.reusable(self.rules);
        let mut fit = blocks.iter().filter(|block| !taken.contains(block));
        if highest { fit.next_back() } else { fit.next() }
    }

    /// Commits new bytes for blocks of files, all or nothing: `remapped` to new blocks, `journaled`
    /// in the record. With `split` each block has a record of its own.
    pub(super) fn commit(
        &mut self,
        remapped: &[Target],
        journaled: &[Target],
        (highest, split): (bool, bool),
    ) -> bool {
        let mut parts = Vec::new();
        let mut maps = self.volume.trees.files.clone();
        let mut taken = Vec::new();
        let mut writes = Vec::new();
        let mut written = Vec::new();
        for (file, index) in remapped.iter().copied() {
            let map = &mut maps[usize::from(file)];
            let Some(block) = self.allocate(&taken, highest) else { return false };
            let Some((old, bytes)) = self.renew(map, usize::from(index), Some(block)) else {
                return false;
            };
            taken.push(block);
            let mut edits = vec![Edit::Alloc(block)];
            edits.extend(old.map(Edit::Free));
            edits.push(Edit::Put(file, *map));
            let sum = Sum { block, covered: map.covered(usize::from(index)), bytes };
            parts.push(Changes { edits, sums: vec![sum] });
            writes.push((block, bytes));
            written.extend(cells_of(file, index, sum.covered, bytes));
        }
        for (file, index) in journaled.iter().copied() {
            let map = &mut maps[usize::from(file)];
            let Some((Some(block), bytes)) = self.renew(map, usize::from(index), None) else {
                return false;
            };
            parts.push(Changes { edits: vec![Edit::Journal(block, bytes)], sums: Vec::new() });
            written.extend(cells_of(file, index, map.covered(usize::from(index)), bytes));
        }
        writes.into_iter().for_each(|(block, bytes)| self.disk.write_block(block, bytes));
        self.log_parts(parts, split);
        self.commit_promise(&written);
        true
    }

    /// New bytes for block `index` of a file, up to its end; and its place before.
    fn renew(
        &mut self,
        map: &mut FileMap,
        index: usize,
        place: Option<u8>,
    ) -> Option<(Option<u8>, Bytes)> {
        let count = map.block_count();
        if index >= FILE_BLOCKS || index > count || (place.is_some() && map.sealed) {
            return None;
        }
        let old = (index < count).then(|| map.blocks[index]);
        if let Some(block) = place {
            map.blocks[index] = block;
            if old.is_none() {
                map.size = ((index + 1) * CELLS) as u8;
            }
        }
        let mut bytes = [0; CELLS];
        for cell in &mut bytes[..map.covered(index)] {
            *cell = self.fresh();
        }
        Some((old, bytes))
    }

    fn log_parts(&mut self, mut parts: Vec<Changes>, split: bool) {
        if split {
            let last = parts.pop().unwrap_or_default();
            for part in parts {
                self.append_record(part, &Record { unfinished: true, ..Record::default() });
            }
            self.append(last, None);
        } else {
            let edits = parts.iter().flat_map(|part| part.edits.clone()).collect();
            let sums = parts.iter().flat_map(|part| part.sums.clone()).collect();
            self.append(Changes { edits, sums }, None);
        }
    }

    /// Appends a cell: into the last block, which is rewritten with the bytes it has, or to a new
    /// one. The sum covers what is in front of the new end.
    pub(super) fn append_cell(&mut self, file: u8, highest: bool) -> bool {
        let mut map = self.volume.trees.files[usize::from(file)];
        let (index, within) = (usize::from(map.size) / CELLS, usize::from(map.size) % CELLS);
        if map.sealed || index >= FILE_BLOCKS {
            return false;
        }
        let mut edits = Vec::new();
        let mut bytes = [0; CELLS];
        if within > 0 {
            let block = map.blocks[index];
            let cut = self.volume.cut_tails.iter().any(|(_, tail)| *tail == block);
            if cut && self.rules.has(Rule::TailReuse) {
                return false;
            }
            edits.extend(self.leave_window(block));
            bytes = self.disk.read_block(block);
        } else {
            let Some(block) = self.allocate(&[], highest) else { return false };
            map.blocks[index] = block;
            edits.push(Edit::Alloc(block));
        }
        let block = map.blocks[index];
        bytes[within] = self.fresh();
        bytes[within + 1..].fill(0);
        if self.volume.conflicts(self.rules, block, bytes) {
            return false;
        }
        map.size += 1;
        edits.push(Edit::Put(file, map));
        self.disk.write_block(block, bytes);
        let sums = vec![Sum { block, covered: within + 1, bytes }];
        self.append(Changes { edits, sums }, None);
        self.commit_promise(&[(file, index * CELLS + within, bytes[within])]);
        true
    }

    /// Takes the last cell off a file.
    pub(super) fn truncate_cell(&mut self, file: u8) -> bool {
        let mut map = self.volume.trees.files[usize::from(file)];
        if map.sealed || map.size == 0 {
            return false;
        }
        let count = map.block_count();
        let last = map.blocks[count - 1];
        map.size -= 1;
        let freed = map.block_count() < count;
        let mut edits = Vec::new();
        if freed {
            map.blocks[count - 1] = 0;
            edits.push(Edit::Free(last));
        }
        edits.push(Edit::Put(file, map));
        let lsn = self.append(Changes { edits, sums: Vec::new() }, None);
        if !freed {
            self.volume.cut_tails.push((lsn, last));
        }
        self.commit_promise(&[]);
        true
    }

    /// From now on the map of a complete file stays.
    pub(super) fn seal(&mut self, file: u8) -> bool {
        let mut map = self.volume.trees.files[usize::from(file)];
        if map.sealed || map.size == 0 {
            return false;
        }
        map.sealed = true;
        self.append(Changes { edits: vec![Edit::Put(file, map)], sums: Vec::new() }, None);
        self.commit_promise(&[]);
        true
    }

    /// Overwrites a block in place, as a plain write does.
    pub(super) fn overwrite(&mut self, (file, index): Target) -> bool {
        let map = self.volume.trees.files[usize::from(file)];
        let index = usize::from(index);
        if index >= map.block_count() {
            return false;
        }
        let block = map.blocks[index];
        let covered = map.covered(index);
        let revoke = self.leave_window(block);
        let mut bytes = self.disk.read_block(block);
        for cell in &mut bytes[..covered] {
            *cell = self.fresh();
        }
        if self.volume.conflicts(self.rules, block, bytes) {
            return false;
        }
        if !revoke.is_empty() {
            self.append(Changes { edits: revoke, sums: Vec::new() }, None);
        }
        for (half, stamp) in (0..).zip(bytes).take(covered) {
            let position = index * CELLS + usize::from(half);
            self.promise.overwrite(usize::from(file), position, stamp);
            self.disk.write(Addr::Half(block, half), Cell::Data(stamp));
        }
        true
    }

    /// Before a block is written in place: rules 9 and 10.
    fn leave_window(&mut self, block: u8) -> Vec<Edit> {
        if !self.volume.window.contains_key(&block) {
            return Vec::new();
        }
        if self.rules.has(Rule::RevokeHome) {
            self.go_home();
        }
        self.volume.overlay.remove(&block);
        let revoke = self.rules.has(Rule::RevokeRecord);
        if revoke { vec![Edit::Revoke(block)] } else { Vec::new() }
    }

    /// Starts a block's way home: written, not known to be there.
    pub(super) fn start_home(&mut self, (file, index): Target) -> bool {
        let map = self.volume.trees.files[usize::from(file)];
        if usize::from(index) >= map.block_count() || self.volume.checkpoint.is_some() {
            return false;
        }
        let block = map.blocks[usize::from(index)];
        let Some((lsn, bytes)) = self.volume.overlay.get(&block).copied() else { return false };
        if self.rules.has(Rule::HomeDurable) && lsn > self.volume.flushed {
            return false;
        }
        if self.volume.conflicts(self.rules, block, bytes) {
            return false;
        }
        self.disk.write_block(block, bytes);
        true
    }

    /// Everything journaled goes home: durable first, proven where a sum is in the way, flushed.
    pub(super) fn go_home(&mut self) {
        // One at a time, or older bytes would follow newer ones.
        self.checkpoint_home();
        if self.volume.overlay.is_empty() {
            return;
        }
        let overlay = self.volume.overlay.clone();
        self.write_home(&overlay);
        self.volume.overlay.clear();
    }

    /// Writes journaled bytes home and flushes them.
    pub(super) fn write_home(&mut self, blocks: &BTreeMap<u8, (u32, Bytes)>) {
        self.flush();
        let stuck = blocks
            .iter()
            .any(|(block, (_, bytes))| self.volume.conflicts(self.rules, *block, *bytes));
        if stuck {
            self.append(Changes::default(), None);
            self.flush();
        }
        for (block, (_, bytes)) in blocks {
            self.disk.write_block(*block, *bytes);
        }
        self.flush();
    }
}
