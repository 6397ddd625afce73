//! The one gate through which the committed block maps of files change.
//!
//! Called by writeback, truncate, fallocate and removal, with the map locked → calls the store.
//! Nothing else puts to or deletes from the extents tree.
//!
//! Edits gather in memory, on top of the tree, so that one transaction can hold many that touch
//! each other:
//!
//! ```text
//!   tree       |====A====|   |==B==|
//!   changes        A: shorter, B: deleted, C: new          floor(), next() see both
//!   floor      |==A==|  |=======C=======|
//! ```
//!
//! Rulers of [`MapEdit::remove`] and [`MapEdit::insert`]:
//!
//! ```text
//!   remove       |------------)             insert           |++++++|
//!   before  |=========|   |=======|         before  |=======|        |======|
//!   after   |====|             |==|         after   |=======================|   where contiguous
//! ```

use crate::error::{ErrorKind, Result};
use crate::extent::Extent;
use crate::inode::State;
use crate::types::{Ino, InodeFlags};
use crate::volume::Volume;
use ashlar_format::key::{self, TreeId};
use ashlar_format::limits::EXTENT_BLOCKS_MAX;
use ashlar_store::Txn;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::ops::Range;

/// What becomes of the blocks of an extent that leaves the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// They are free.
    Free,
    /// They stay allocated: the caller puts them back elsewhere or in another state.
    Keep,
}

/// Changes of one file's extents that will be committed together.
pub(crate) struct MapEdit<'a> {
    volume: &'a Volume,
    ino: Ino,
    /// By start; `None`: deleted.
    changes: BTreeMap<u64, Option<Extent>>,
    freed: SmallVec<[(u64, u64); 4]>,
    blocks_added: u64,
    blocks_removed: u64,
}

impl<'a> MapEdit<'a> {
    /// Starts editing. The map is locked until the transaction is committed.
    ///
    /// # Errors
    /// [`ErrorKind::Sealed`] when the file's block map is sealed.
    pub(crate) fn begin(volume: &'a Volume, ino: Ino, state: &State) -> Result<Self> {
        if state.record.flags.contains(InodeFlags::SEALED) {
            return Err(crate::Error::from(ErrorKind::Sealed).at(ino));
        }
        Ok(Self {
            volume,
            ino,
            changes: BTreeMap::new(),
            freed: SmallVec::new(),
            blocks_added: 0,
            blocks_removed: 0,
        })
    }

    /// True when nothing changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Changes gathered.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// The extent of greatest start that is not above `block`.
    ///
    /// # Errors
    /// What reading the tree returns.
    pub(crate) fn floor(&self, block: u64) -> Result<Option<Extent>> {
        let changed = self.changes.range(..=block).rev().find_map(|(_, extent)| *extent);
        let mut at = block;
        let stored = loop {
            match self.volume.extent_floor(self.ino, at)? {
                Some(extent) if self.changes.contains_key(&extent.start) => {
                    let Some(before) = extent.start.checked_sub(1) else { break None };
                    at = before;
                }
                other => break other,
            }
        };
        Ok([changed, stored].into_iter().flatten().max_by_key(|extent| extent.start))
    }

    /// The extent of smallest start that is not below `block`.
    ///
    /// # Errors
    /// What reading the tree returns.
    pub(crate) fn next(&self, block: u64) -> Result<Option<Extent>> {
        let changed = self.changes.range(block..).find_map(|(_, extent)| *extent);
        let mut at = block;
        let stored = loop {
            match self.volume.extent_ceiling(self.ino, at)? {
                Some(extent) if self.changes.contains_key(&extent.start) => at = extent.start + 1,
                other => break other,
            }
        };
        Ok([changed, stored].into_iter().flatten().min_by_key(|extent| extent.start))
    }

    /// The extent that holds `block`, or the first one behind it.
    ///
    /// # Errors
    /// What reading the tree returns.
    pub(crate) fn at_or_behind(&self, block: u64) -> Result<Option<Extent>> {
        match self.floor(block)? {
            Some(extent) if block < extent.end() => Ok(Some(extent)),
            _ => self.next(block),
        }
    }

    /// Takes what the range holds out of the map, at most `pieces_max` extents of it; returns
    /// whether the range is empty now.
    ///
    /// # Errors
    /// What reading the tree returns.
    pub(crate) fn remove(
        &mut self,
        range: Range<u64>,
        blocks: Blocks,
        pieces_max: usize,
    ) -> Result<bool> {
        for _ in 0..pieces_max {
            let Some(extent) = self.at_or_behind(range.start)?.filter(|e| e.start < range.end)
            else {
                return Ok(true);
            };
            self.cut_out(&extent, &extent.cut(&range), blocks);
        }
        Ok(self.at_or_behind(range.start)?.is_none_or(|extent| extent.start >= range.end))
    }

    /// As [`Self::remove`], from the end of the range towards its start.
    ///
    /// # Errors
    /// What reading the tree returns.
    pub(crate) fn remove_backwards(
        &mut self,
        range: Range<u64>,
        blocks: Blocks,
        pieces_max: usize,
    ) -> Result<bool> {
        let last = |edit: &Self| -> Result<Option<Extent>> {
            let found = edit.floor(range.end - 1)?;
            Ok(found.filter(|extent| extent.end() > range.start))
        };
        if range.is_empty() {
            return Ok(true);
        }
        for _ in 0..pieces_max {
            let Some(extent) = last(self)? else { return Ok(true) };
            self.cut_out(&extent, &extent.cut(&range), blocks);
            if extent.start <= range.start {
                return Ok(true);
            }
        }
        Ok(last(self)?.is_none())
    }

    /// Removes `piece` of `extent`.
    fn cut_out(&mut self, extent: &Extent, piece: &Extent, blocks: Blocks) {
        self.changes.insert(extent.start, None);
        if extent.start < piece.start {
            let head = extent.cut(&(extent.start..piece.start));
            self.changes.insert(head.start, Some(head));
        }
        if piece.end() < extent.end() {
            let tail = extent.cut(&(piece.end()..extent.end()));
            self.changes.insert(tail.start, Some(tail));
        }
        if blocks == Blocks::Free {
            self.freed.push((piece.block, piece.count));
        }
        self.blocks_removed += piece.count;
    }

    /// Puts an extent where nothing is, joined with its neighbours where they are contiguous.
    ///
    /// # Errors
    /// What reading the tree returns.
    pub(crate) fn insert(&mut self, extent: Extent) -> Result<()> {
        self.blocks_added += extent.count;
        let mut joined = extent;
        let left = match extent.start.checked_sub(1) {
            Some(before) => self.floor(before)?,
            None => None,
        };
        if let Some(left) = left {
            assert!(left.end() <= extent.start, "two extents for one block of a file");
            if left.continues_in(&joined) && left.count + joined.count <= EXTENT_BLOCKS_MAX {
                joined = Extent { count: left.count + joined.count, ..left };
            }
        }
        if let Some(right) = self.next(extent.start)? {
            assert!(right.start >= extent.end(), "two extents for one block of a file");
            if joined.continues_in(&right) && joined.count + right.count <= EXTENT_BLOCKS_MAX {
                self.changes.insert(right.start, None);
                joined.count += right.count;
            }
        }
        self.changes.insert(joined.start, Some(joined));
        Ok(())
    }

    /// Unwritten blocks of the range become written.
    ///
    /// # Errors
    /// What reading the tree returns.
    pub(crate) fn convert(&mut self, range: Range<u64>) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let next = self.at_or_behind(at)?.filter(|extent| extent.start < range.end);
            let Some(extent) = next else { break };
            let piece = extent.cut(&(at..range.end));
            at = piece.end();
            if piece.is_unwritten() {
                self.cut_out(&extent, &piece, Blocks::Keep);
                self.insert(Extent::written(piece.start, piece.block, piece.count))?;
            }
        }
        Ok(())
    }

    /// Moves an extent, which is in the map, to another place in the file where nothing is.
    ///
    /// # Errors
    /// What reading the tree returns.
    pub(crate) fn relocate(&mut self, extent: &Extent, start: u64) -> Result<()> {
        self.cut_out(extent, extent, Blocks::Keep);
        self.insert(Extent { start, ..*extent })
    }

    /// Puts the edits into a transaction, and the count of blocks into the record, which the
    /// caller logs.
    pub(crate) fn write_to(self, txn: &mut Txn<'_>, state: &mut State) {
        for (start, extent) in &self.changes {
            let key = key::extent(self.ino.0, *start);
            match extent {
                Some(extent) => txn.put(TreeId::Extents, &key, &extent.record().encode()),
                None => txn.delete(TreeId::Extents, &key),
            }
        }
        for (block, count) in &self.freed {
            txn.free(*block, *count);
        }
        let blocks = state.record.blocks + self.blocks_added;
        state.record.blocks = blocks.saturating_sub(self.blocks_removed);
    }
}
