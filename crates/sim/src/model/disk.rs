//! The disk of the model: cells that are durable, and writes that are not yet.
//!
//! Invariants
//! * (I1) a cell is written whole (assumption A1), and nothing larger is;
//! * (I2) between two flushes each cell may end up with any of the values written to it, or the
//!   one before (A2).

use super::record::{Record, Snapshot, Superblock};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names who wrote a cell; 0 is nobody.
pub type Stamp = u16;
/// Cells of a block.
pub const CELLS: usize = 2;
/// What a block holds.
pub type Bytes = [Stamp; CELLS];

/// Where a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Addr {
    /// Half of a block that files and nodes use.
    Half(u8, u8),
    /// A record of the log, by LSN.
    Log(u32),
    /// A superblock copy.
    Super(u8),
}

/// What a cell holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Data of a file.
    Data(Stamp),
    /// Part of a checkpoint's node.
    Node(Arc<Snapshot>),
    /// A record.
    Record(Arc<Record>),
    /// A superblock.
    Super(Superblock),
}

/// Durable cells and pending writes, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// What survives a cut for certain, unless a pending write replaces it.
    pub durable: BTreeMap<Addr, Cell>,
    /// Writes since the last flush.
    pub pending: Vec<(Addr, Cell)>,
}

impl Disk {
    /// Writes a cell.
    pub fn write(&mut self, addr: Addr, cell: Cell) {
        self.pending.push((addr, cell));
    }

    /// Writes a block of data.
    pub fn write_block(&mut self, block: u8, bytes: Bytes) {
        for (half, stamp) in (0..).zip(bytes) {
            self.write(Addr::Half(block, half), Cell::Data(stamp));
        }
    }

    /// Writes a node.
    pub fn write_node(&mut self, block: u8, node: &Arc<Snapshot>) {
        for half in 0..CELLS as u8 {
            self.write(Addr::Half(block, half), Cell::Node(Arc::clone(node)));
        }
    }

    /// Everything written is durable.
    pub fn flush(&mut self) {
        self.durable.extend(self.pending.drain(..));
    }

    /// What a cell reads as: the last write, flushed or not.
    #[must_use]
    pub fn read(&self, addr: Addr) -> Option<&Cell> {
        let pending = self.pending.iter().rev().find(|(at, _)| *at == addr);
        pending.map(|(_, cell)| cell).or_else(|| self.durable.get(&addr))
    }

    /// Data of a block; what is no data reads as a stamp that nobody writes.
    #[must_use]
    pub fn read_block(&self, block: u8) -> Bytes {
        std::array::from_fn(|half| match self.read(Addr::Half(block, half as u8)) {
            Some(Cell::Data(stamp)) => *stamp,
            None => 0,
            _ => Stamp::MAX,
        })
    }

    /// A node that is there whole.
    #[must_use]
    pub fn read_node(&self, block: u8) -> Option<Arc<Snapshot>> {
        let mut halves = (0..CELLS as u8).map(|half| match self.read(Addr::Half(block, half)) {
            Some(Cell::Node(node)) => Some(node),
            _ => None,
        });
        let first = halves.next()??;
        halves.all(|half| half == Some(first)).then(|| Arc::clone(first))
    }

    /// Cells with writes that a cut may lose.
    #[must_use]
    pub fn pending_cells(&self) -> usize {
        self.choices().len()
    }

    /// For each pending cell, what it may hold after a cut: first what it held before.
    #[must_use]
    pub fn choices(&self) -> Vec<(Addr, Vec<Option<&Cell>>)> {
        let mut choices: BTreeMap<Addr, Vec<Option<&Cell>>> = BTreeMap::new();
        for (addr, cell) in &self.pending {
            let cells = choices.entry(*addr).or_insert_with(|| vec![self.durable.get(addr)]);
            if !cells.contains(&Some(cell)) {
                cells.push(Some(cell));
            }
        }
        choices.retain(|_, cells| cells.len() > 1);
        choices.into_iter().collect()
    }

    /// Calls `visit` with everything that a cut may leave: I2.
    pub fn for_each_image(&self, mut visit: impl FnMut(Self)) {
        let choices = self.choices();
        let mut picked = vec![0; choices.len()];
        loop {
            visit(self.image(&choices, &picked));
            // Counts up, each digit in its own base.
            let carry = picked.iter_mut().zip(&choices).find_map(|(digit, (_, cells))| {
                *digit = (*digit + 1) % cells.len();
                (*digit > 0).then_some(())
            });
            if carry.is_none() {
                return;
            }
        }
    }

    /// The disk after a cut that left the picked choices.
    #[must_use]
    pub fn image(&self, choices: &[(Addr, Vec<Option<&Cell>>)], picked: &[usize]) -> Self {
        let mut durable = self.durable.clone();
        for ((addr, cells), digit) in choices.iter().zip(picked) {
            if let Some(cell) = cells[*digit] {
                durable.insert(*addr, cell.clone());
            }
        }
        Self { durable, pending: Vec::new() }
    }

    /// Forgets records that no superblock leads to any more.
    pub fn prune_log(&mut self) {
        let tail = self.supers().map(|copy| copy.tail).min().unwrap_or(0);
        self.durable.retain(|addr, _| !matches!(addr, Addr::Log(lsn) if *lsn <= tail));
    }

    /// All superblocks that a cut may leave.
    pub fn supers(&self) -> impl Iterator<Item = &Superblock> {
        let pending = self.pending.iter().map(|(_, cell)| cell);
        self.durable.values().chain(pending).filter_map(|cell| match cell {
            Cell::Super(copy) => Some(copy),
            _ => None,
        })
    }
}
