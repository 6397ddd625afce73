//! Opening a disk after a cut, or after the process was killed and what it wrote is pending still.

use super::disk::{Addr, Cell, Disk};
use super::machine::Machine;
use super::record::{Edit, Record, Superblock};
use super::volume::{Changes, Volume};
use super::{Rule, Violation};
use std::sync::Arc;

/// The superblock that counts.
fn newest(disk: &Disk) -> Option<Superblock> {
    let copies = [0, 1].into_iter().filter_map(|copy| match disk.read(Addr::Super(copy)) {
        Some(Cell::Super(superblock)) => Some(*superblock),
        _ => None,
    });
    copies.max_by_key(|copy| copy.generation)
}

/// Records that chain on from the tail.
fn chain(disk: &Disk, superblock: &Superblock) -> Vec<Arc<Record>> {
    let (mut lsn, mut previous) = (superblock.tail, superblock.tail_sum);
    let mut records = Vec::new();
    while let Some(Cell::Record(record)) = disk.read(Addr::Log(lsn + 1)) {
        if record.lsn != lsn + 1 || record.previous != previous {
            break;
        }
        (lsn, previous) = (record.lsn, record.checksum());
        records.push(Arc::clone(record));
    }
    records
}

impl Machine {
    /// Recovers; the disk is as the cut left it, everything in memory is gone.
    ///
    /// # Errors
    /// The checkpoint is gone.
    pub fn recover(&mut self) -> Result<(), Violation> {
        let lost = |what: &str| Violation(what.to_owned());
        let superblock = newest(&self.disk).ok_or_else(|| lost("no superblock"))?;
        let node = self.disk.read_node(superblock.node);
        let trees = node.ok_or_else(|| lost("the checkpoint's node was overwritten"))?;
        self.volume = Volume::new((*trees).clone(), superblock.node);
        let volume = &mut self.volume;
        volume.trees.free.remove(superblock.node);
        volume.generation = superblock.generation;
        (volume.lsn, volume.previous) = (superblock.tail, superblock.tail_sum);
        let records = chain(&self.disk, &superblock);
        let said = records.iter().map(|record| record.flushed).max().unwrap_or(0);
        volume.proof = said.max(superblock.flushed);
        let counted = self.count_sound(&records);
        for record in &records[..counted] {
            self.replay(record, superblock.generation);
        }
        self.volume.forget_proven();
        self.volume.flushed = self.volume.lsn;
        self.settle();
        Ok(())
    }

    /// How many records count: rules 6 and 14.
    fn count_sound(&self, records: &[Arc<Record>]) -> usize {
        let mut counted = 0;
        for (index, record) in records.iter().enumerate() {
            let verify = self.rules.has(Rule::Sums) && record.lsn > self.volume.proof;
            let matches = |sum: &super::record::Sum| sum.matches(self.disk.read_block(sum.block));
            if verify && !record.sums.iter().all(matches) {
                break;
            }
            if !record.unfinished || !self.rules.has(Rule::Whole) {
                counted = index + 1;
            }
        }
        counted
    }

    fn replay(&mut self, record: &Record, generation: u32) {
        let volume = &mut self.volume;
        (volume.lsn, volume.previous) = (record.lsn, record.checksum());
        // Rule 3.
        let early = record.checkpoint.is_some_and(|wanted| wanted > generation);
        if early && self.rules.has(Rule::Conditional) {
            return;
        }
        for edit in &record.edits {
            volume.apply(self.rules, record.lsn, edit);
            // Rule 11.
            if let Edit::Journal(block, bytes) = *edit
                && !self.rules.has(Rule::HomeLast)
            {
                self.disk.write_block(block, bytes);
            }
        }
        volume.recent.extend(record.sums.iter().map(|sum| (record.lsn, *sum)));
    }

    /// Rules 5, 12 and 13: what was read is durable, and its end is taken.
    fn settle(&mut self) {
        if self.rules.has(Rule::RecoveryFlush) {
            self.flush();
        }
        if self.rules.has(Rule::RecoveryProof) {
            let mark = self.rules.has(Rule::ProofDistinct);
            self.append_record(Changes::default(), &Record { mark, ..Record::default() });
            self.flush();
        } else {
            self.volume.proof = self.volume.lsn;
            self.volume.forget_proven();
        }
        if self.volume.trees.files.iter().any(|map| map.sealed) {
            self.go_home();
        }
    }
}
