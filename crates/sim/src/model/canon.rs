//! States that differ only by names are the same.
//!
//! Stamps and checksums are named in the order in which they are met, LSNs and generations by
//! their distance from the oldest superblock's. All that the protocol asks of these is whether two
//! are equal, or which is greater, so states with equal keys behave alike.

use super::disk::{Addr, Cell, Disk, Stamp};
use super::machine::Machine;
use super::promise::{Promise, State};
use super::record::{Edit, Record, Snapshot, Sum, Superblock};
use super::volume::Volume;
use std::hash::Hash;
use xxhash_rust::xxh3::Xxh3;

/// Collects a key.
struct Canon {
    hasher: Xxh3,
    stamps: Vec<Stamp>,
    sums: Vec<u64>,
    first_lsn: u32,
    first_generation: u32,
}

/// Key of a state in which a program can go on.
#[must_use]
pub fn of_machine(machine: &Machine) -> u128 {
    let mut canon = Canon::over(&machine.disk);
    canon.disk(&machine.disk);
    canon.promise(&machine.promise);
    canon.volume(&machine.volume);
    canon.hasher.digest128()
}

/// Key of what a cut left, and what was promised.
#[must_use]
pub fn of_image(disk: &Disk, promise: &Promise) -> u128 {
    let mut canon = Canon::over(disk);
    canon.disk(disk);
    canon.promise(promise);
    canon.hasher.digest128()
}

impl Canon {
    fn over(disk: &Disk) -> Self {
        let first = |of: fn(&Superblock) -> u32| disk.supers().map(of).min().unwrap_or(0);
        Self {
            hasher: Xxh3::new(),
            stamps: vec![0, Stamp::MAX],
            sums: vec![0],
            first_lsn: first(|copy| copy.tail),
            first_generation: first(|copy| copy.generation),
        }
    }

    fn add(&mut self, what: impl Hash) {
        what.hash(&mut self.hasher);
    }

    fn stamp(&mut self, stamp: Stamp) {
        let name = name_of(&mut self.stamps, stamp);
        self.add(name);
    }

    fn sum(&mut self, sum: u64) {
        let name = name_of(&mut self.sums, sum);
        self.add(name);
    }

    fn lsn(&mut self, lsn: u32) {
        self.add(lsn.saturating_sub(self.first_lsn));
    }

    fn generation(&mut self, generation: u32) {
        self.add(generation.saturating_sub(self.first_generation));
    }

    fn disk(&mut self, disk: &Disk) {
        for (addr, cell) in &disk.durable {
            self.cell(*addr, cell);
        }
        self.add(usize::MAX);
        for (addr, cell) in &disk.pending {
            self.cell(*addr, cell);
        }
    }

    fn cell(&mut self, addr: Addr, cell: &Cell) {
        match addr {
            Addr::Log(lsn) => self.lsn(lsn),
            Addr::Half(..) | Addr::Super(_) => self.add(addr),
        }
        match cell {
            Cell::Data(stamp) => self.stamp(*stamp),
            Cell::Node(node) => self.node(node),
            Cell::Record(record) => self.record(record),
            Cell::Super(copy) => {
                self.generation(copy.generation);
                self.add(copy.node);
                self.lsn(copy.tail);
                self.sum(copy.tail_sum);
                self.lsn(copy.flushed);
            }
        }
    }

    fn node(&mut self, node: &Snapshot) {
        self.add(b'n');
        self.add(node);
    }

    fn record(&mut self, record: &Record) {
        self.add(b'r');
        self.sum(record.checksum());
        self.lsn(record.lsn);
        self.sum(record.previous);
        self.lsn(record.flushed);
        for edit in &record.edits {
            match *edit {
                Edit::Journal(block, bytes) => {
                    self.add(block);
                    bytes.into_iter().for_each(|stamp| self.stamp(stamp));
                }
                _ => self.add(edit),
            }
        }
        record.sums.iter().for_each(|sum| self.data_sum(sum));
        self.add(record.checkpoint.is_some());
        self.generation(record.checkpoint.unwrap_or(0));
        self.add((record.unfinished, record.mark));
    }

    fn data_sum(&mut self, sum: &Sum) {
        self.add((sum.block, sum.covered));
        sum.bytes.into_iter().take(sum.covered).for_each(|stamp| self.stamp(stamp));
    }

    fn state(&mut self, state: &State) {
        for content in state {
            self.add((content.cells.len(), content.sealed));
            content.cells.iter().for_each(|stamp| self.stamp(*stamp));
        }
    }

    fn promise(&mut self, promise: &Promise) {
        self.add(promise.states.len());
        promise.states.iter().for_each(|state| self.state(state));
        self.state(&promise.latest);
        for soft in &promise.soft {
            self.add((soft.file, soft.position));
            self.stamp(soft.old);
            self.stamp(soft.new);
        }
    }

    fn volume(&mut self, volume: &Volume) {
        self.add(&volume.trees);
        self.add(volume.node);
        self.generation(volume.generation);
        self.sum(volume.previous);
        for lsn in [volume.lsn, volume.flushed, volume.proof] {
            self.lsn(lsn);
        }
        for (lsn, said) in &volume.waiting {
            self.lsn(*lsn);
            self.lsn(*said);
        }
        for (block, (lsn, bytes)) in &volume.overlay {
            self.add(block);
            self.lsn(*lsn);
            bytes.iter().for_each(|stamp| self.stamp(*stamp));
        }
        for (block, lsn) in &volume.window {
            self.add(block);
            self.lsn(*lsn);
        }
        for (lsn, sum) in &volume.recent {
            self.lsn(*lsn);
            self.data_sum(sum);
        }
        for (lsn, block) in volume.deferred.iter().chain(&volume.cut_tails) {
            self.lsn(*lsn);
            self.add(block);
        }
        self.add((volume.deferred.len(), volume.checkpoint.is_some()));
        if let Some(checkpoint) = &volume.checkpoint {
            self.add((checkpoint.node, checkpoint.is_home, checkpoint.flipped));
            self.lsn(checkpoint.tail);
            self.sum(checkpoint.tail_sum);
            self.lsn(checkpoint.record);
            for (block, (lsn, bytes)) in &checkpoint.homeward {
                self.add(block);
                self.lsn(*lsn);
                bytes.iter().for_each(|stamp| self.stamp(*stamp));
            }
        }
    }
}

fn name_of<T: PartialEq>(names: &mut Vec<T>, what: T) -> usize {
    names.iter().position(|name| *name == what).unwrap_or_else(|| {
        names.push(what);
        names.len() - 1
    })
}
