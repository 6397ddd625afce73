//! A disk, a volume on it, and what its user was told: one state of the model.
//!
//! Power may go at any moment. Between two flushes a cut may leave whatever an earlier cut could
//! have left, so it is enough to cut in front of each flush, and behind each operation: the
//! *moments*.

use super::disk::{CELLS, Disk, Stamp};
use super::promise::{Content, Promise, State};
use super::record::{BlockSet, FileMap, Snapshot, Superblock};
use super::volume::{Target, Volume};
use super::{Rules, Violation};
use std::sync::Arc;

/// What a program does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// New bytes for blocks, all or nothing.
    Commit {
        /// Blocks that move.
        remapped: Vec<Target>,
        /// Blocks whose bytes travel in the record.
        journaled: Vec<Target>,
        /// New blocks from the upper end.
        highest: bool,
        /// A record for each block.
        split: bool,
    },
    /// A cell more.
    Append(u8, bool),
    /// A cell less.
    Truncate(u8),
    /// The map is pinned.
    Seal(u8),
    /// A block is overwritten in place.
    Overwrite(Target),
    /// A journaled block is written home, and nobody waits for it.
    StartHome(Target),
    /// Everything journaled goes home.
    GoHome,
    /// fsync.
    Sync,
    /// An empty record.
    Empty,
    /// An empty record and a flush.
    Prove,
    /// A checkpoint begins.
    Begin(bool),
    /// Its data goes home.
    Home,
    /// Its superblock is written.
    Flip,
    /// It is in force.
    End,
    /// A checkpoint from beginning to end.
    Checkpoint(bool),
    /// The process is killed, the machine lives, and the volume is opened again.
    Kill,
}

/// One state.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The disk.
    pub disk: Disk,
    /// The volume.
    pub volume: Volume,
    /// The promise.
    pub promise: Promise,
    /// The rules in force.
    pub rules: Rules,
    /// Disks in front of flushes since this was last emptied, and what was promised then.
    pub moments: Vec<(Disk, Promise)>,
    next: Stamp,
    recovering: bool,
}

impl Machine {
    /// A volume of `blocks` blocks, the first of which is no one's, with files of these cells.
    ///
    /// # Panics
    /// They do not fit.
    #[must_use]
    pub fn new(rules: Rules, blocks: u8, sizes: &[u8]) -> Self {
        let mut free = BlockSet::first(blocks);
        let mut files = Vec::new();
        let mut disk = Disk::default();
        let mut next = 0;
        for size in sizes {
            let mut map = FileMap { size: *size, ..FileMap::default() };
            for index in 0..map.block_count() {
                let block = free.iter().next().expect("the files fit");
                free.remove(block);
                map.blocks[index] = block;
                let mut bytes = [0; CELLS];
                for cell in &mut bytes[..map.covered(index)] {
                    next += 1;
                    *cell = next;
                }
                disk.write_block(block, bytes);
            }
            files.push(map);
        }
        let node = free.iter().next().expect("the node fits");
        free.remove(node);
        let trees = Snapshot { files, free };
        disk.write_node(node, &Arc::new(trees.clone()));
        for copy in 0..2 {
            let generation = u32::from(copy);
            let superblock = Superblock { generation, node, tail: 0, tail_sum: 0, flushed: 0 };
            disk.write(super::disk::Addr::Super(copy), super::disk::Cell::Super(superblock));
        }
        disk.flush();
        let volume = Volume::new(trees, node);
        let promise = Promise::of(Vec::new());
        let moments = Vec::new();
        let mut machine = Self { disk, volume, promise, rules, moments, next, recovering: false };
        machine.promise = Promise::of(machine.view());
        machine
    }

    /// A machine without power, over what a cut left: [`reopen`](Self::reopen) it.
    #[must_use]
    pub fn after_cut(&self, disk: Disk, promise: Promise) -> Self {
        Self { disk, promise, moments: Vec::new(), recovering: false, ..self.clone() }
    }

    /// A stamp that was never used.
    pub(super) fn fresh(&mut self) -> Stamp {
        self.next += 1;
        self.next
    }

    /// What the files read as.
    #[must_use]
    pub fn view(&self) -> State {
        self.volume.trees.files.iter().map(|map| self.content(map, true)).collect()
    }

    fn content(&self, map: &FileMap, overlaid: bool) -> Content {
        let mut cells = Vec::new();
        for (index, block) in map.used().enumerate() {
            let overlay = self.volume.overlay.get(&block).filter(|_| overlaid);
            let bytes = overlay.map_or_else(|| self.disk.read_block(block), |(_, bytes)| *bytes);
            cells.extend_from_slice(&bytes[..map.covered(index)]);
        }
        Content { cells, sealed: map.sealed }
    }

    /// The device's cache is flushed; what was done is acknowledged.
    pub(super) fn flush(&mut self) {
        if !self.disk.pending.is_empty() {
            self.moments.push((self.disk.clone(), self.promise.clone()));
        }
        self.disk.flush();
        self.volume.note_flush();
        if !self.recovering {
            self.promise.acknowledge();
        }
    }

    /// A transaction was committed that wrote these cells; its effect may survive from now on.
    pub(super) fn commit_promise(&mut self, written: &[(u8, usize, Stamp)]) {
        let mut state = self.promise.latest.clone();
        for (content, map) in state.iter_mut().zip(&self.volume.trees.files) {
            content.cells.resize(usize::from(map.size), 0);
            content.sealed = map.sealed;
        }
        for (file, position, stamp) in written {
            state[usize::from(*file)].cells[*position] = *stamp;
        }
        self.promise.commit(state);
    }

    /// Does one operation; false where it cannot be done now, and the state means nothing then.
    ///
    /// # Errors
    /// A promise is broken.
    pub fn step(&mut self, op: &Op) -> Result<bool, Violation> {
        let done = match op {
            Op::Commit { remapped, journaled, highest, split } => {
                self.commit(remapped, journaled, (*highest, *split))
            }
            Op::Append(file, highest) => self.append_cell(*file, *highest),
            Op::Truncate(file) => self.truncate_cell(*file),
            Op::Seal(file) => self.seal(*file),
            Op::Overwrite(target) => self.overwrite(*target),
            Op::StartHome(target) => self.start_home(*target),
            Op::GoHome => !self.volume.overlay.is_empty() && self.home_now(),
            Op::Sync => !self.disk.pending.is_empty() && self.sync()?,
            Op::Empty => {
                self.append(super::volume::Changes::default(), None);
                true
            }
            Op::Prove => self.volume.proof < self.volume.lsn && self.prove(),
            Op::Begin(highest) => self.checkpoint_begin(*highest),
            Op::Home => self.checkpoint_home(),
            Op::Flip => self.checkpoint_flip(),
            Op::End => self.checkpoint_end(),
            Op::Checkpoint(highest) => self.checkpoint_whole(*highest),
            Op::Kill => self.restart()?,
        };
        if done {
            self.check_reading()?;
        }
        Ok(done)
    }

    fn home_now(&mut self) -> bool {
        self.go_home();
        true
    }

    fn prove(&mut self) -> bool {
        self.append(super::volume::Changes::default(), None);
        self.flush();
        true
    }

    /// fsync; what is sealed is home at once, since others read its blocks without asking.
    fn sync(&mut self) -> Result<bool, Violation> {
        self.flush();
        if self.volume.trees.files.iter().any(|map| map.sealed) {
            self.go_home();
        }
        self.check_sealed()?;
        Ok(true)
    }

    fn restart(&mut self) -> Result<bool, Violation> {
        self.reopen()?;
        Ok(true)
    }

    /// Recovers, judges, and goes on from what was found.
    ///
    /// # Errors
    /// A promise is broken.
    pub fn reopen(&mut self) -> Result<(), Violation> {
        self.recovering = true;
        self.recover()?;
        self.recovering = false;
        self.disk.prune_log();
        let found = self.view();
        if !self.promise.allows(&found) {
            let Promise { states, soft, .. } = &self.promise;
            let text = format!("found {found:?}, allowed {states:?}, overwrites {soft:?}");
            return Err(Violation(text));
        }
        self.check_owners()?;
        self.check_sealed()?;
        self.promise = Promise::of(found);
        Ok(())
    }

    /// Live, reads show the last write.
    fn check_reading(&self) -> Result<(), Violation> {
        let view = self.view();
        if view == self.promise.latest {
            return Ok(());
        }
        Err(Violation(format!("read {view:?}, written {:?}", self.promise.latest)))
    }

    /// Each block has one owner, or is free.
    fn check_owners(&self) -> Result<(), Violation> {
        let mut seen = self.volume.trees.free;
        let used = self.volume.trees.files.iter().flat_map(FileMap::used);
        for block in used.chain([self.volume.node]) {
            if seen.has(block) {
                return Err(Violation(format!("block {block} is owned twice, or free")));
            }
            seen.insert(block);
        }
        Ok(())
    }

    /// Whoever knows the addresses of a sealed file reads what the file reads.
    fn check_sealed(&self) -> Result<(), Violation> {
        for map in self.volume.trees.files.iter().filter(|map| map.sealed) {
            if self.content(map, true) != self.content(map, false) {
                return Err(Violation("a sealed file's bytes are not in its blocks".into()));
            }
        }
        Ok(())
    }
}
