//! What the next mount will do with the log, as an overlay over the checkpoint's trees.
//!
//! Called once by a check, before the passes; reads the log and the data that unproven records
//! speak of. Nothing is written.
//!
//! A record that is not proven counts only if the data that it makes reachable is there: the first
//! one that fails ends the log. A record of a checkpoint counts only if the superblock reached
//! that checkpoint; the chain goes on behind it either way.

use crate::error::Result;
use crate::finding::{FindingKind, Location, SpaceEditProblem};
use crate::log::{Chain, Strays, data_matches, strays};
use crate::report::Reporter;
use crate::volume::Volume;
use ashlar_format::BLOCK_SIZE;
use ashlar_format::inode;
use ashlar_format::key::{self, TREE_COUNT, TreeId};
use ashlar_format::log::{Edit, Record};
use ashlar_format::superblock::LogTail;
use std::collections::BTreeMap;
use std::ops::Range;

/// What replay changes in one tree: the new value of a key, `None` where it is gone.
pub(crate) type Overlay = BTreeMap<Box<[u8]>, Option<Box<[u8]>>>;

/// A change of free space, in the order of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpaceEdit {
    Alloc { lsn: u64, block: u64, count: u64 },
    Free { lsn: u64, block: u64, count: u64 },
}

/// The log, replayed in memory.
#[derive(Debug)]
pub(crate) struct Replay {
    /// By tree; the free tree's stays empty.
    pub(crate) overlays: [Overlay; TREE_COUNT],
    pub(crate) space: Vec<SpaceEdit>,
    /// Records that count or were skipped as another checkpoint's.
    pub(crate) replayed: u64,
    /// Whole records that are left out.
    pub(crate) discarded: u64,
    /// Behind the last record that counts.
    pub(crate) end: LogTail,
    /// As raised by the log.
    pub(crate) next_ino: u64,
    /// Records that are there but out of reach.
    pub(crate) strays: Strays,
    /// Data of records that is not home yet: block and bytes.
    pub(crate) journaled: BTreeMap<u64, Box<[u8]>>,
}

impl Replay {
    /// Reads and replays the log.
    ///
    /// # Errors
    /// The device cannot read the log or the data of unproven records.
    pub(crate) fn run(volume: &Volume<'_>, reporter: &mut Reporter<'_>) -> Result<Self> {
        let chain = Chain::read(volume)?;
        let mut replay = Self {
            overlays: Default::default(),
            space: Vec::new(),
            replayed: 0,
            discarded: 0,
            end: volume.superblock.tail,
            next_ino: volume.superblock.next_ino,
            strays: Strays::default(),
            journaled: BTreeMap::new(),
        };
        let mut next = 0;
        while next < chain.len() {
            let Some(commit) = chain.commit_at(next)? else {
                replay.discarded = (chain.len() - next) as u64;
                break;
            };
            if !replay.take_commit(volume, &chain, commit.clone(), reporter)? {
                break;
            }
            replay.replayed += commit.len() as u64;
            replay.end = chain.record(commit.end - 1)?.1;
            next = commit.end;
        }
        replay.look_for_cut(volume, reporter)?;
        Ok(replay)
    }

    /// Applies the records of a commit; false when the log ends in front of it.
    fn take_commit(
        &mut self,
        volume: &Volume<'_>,
        chain: &Chain,
        commit: Range<usize>,
        reporter: &mut Reporter<'_>,
    ) -> Result<bool> {
        for index in commit.clone() {
            let (record, _) = chain.record(index)?;
            let lsn = record.header.lsn;
            let decoded = record.edits().try_for_each(|edit| edit.map(drop));
            let sums = match decoded.and_then(|()| record.journaled()).and(record.sums()) {
                Ok(sums) => sums,
                Err(damage) => {
                    let problem = damage.problem;
                    reporter.add(Location::record(lsn), FindingKind::RecordUndecodable { problem });
                    return Ok(false);
                }
            };
            if lsn > chain.proven && !data_matches(volume, &sums)? {
                self.discarded = (chain.len() - commit.start) as u64;
                let behind = (chain.len() - index - 1) as u64;
                reporter.add(Location::record(lsn), FindingKind::RecordDiscarded { behind });
                return Ok(false);
            }
        }
        for index in commit {
            let (record, _) = chain.record(index)?;
            if record.header.checkpoint <= volume.superblock.generation {
                self.take(volume, &record, reporter)?;
            }
        }
        Ok(true)
    }

    /// Applies a record that decodes.
    fn take(
        &mut self,
        volume: &Volume<'_>,
        record: &Record<'_>,
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        let lsn = record.header.lsn;
        let mut journaled = record.journaled()?.into_iter();
        for edit in record.edits() {
            let edit = edit?;
            self.apply(volume, lsn, edit, reporter);
            // In the place of the edit: a later one of the same record may free the block.
            let Edit::Journal { .. } = edit else { continue };
            let Some((block, bytes)) = journaled.next() else { continue };
            for (index, bytes) in bytes.chunks(BLOCK_SIZE).enumerate() {
                self.journaled.insert(block + index as u64, bytes.into());
            }
        }
        Ok(())
    }

    fn apply(
        &mut self,
        volume: &Volume<'_>,
        lsn: u64,
        edit: Edit<'_>,
        reporter: &mut Reporter<'_>,
    ) {
        let mut wrong = |block: u64, count: u64, problem| {
            let kind = FindingKind::SpaceEditWrong { block, count, problem };
            reporter.add(Location::record(lsn), kind);
        };
        match edit {
            Edit::Put { tree: TreeId::Free, .. } | Edit::Delete { tree: TreeId::Free, .. } => {
                wrong(0, 0, SpaceEditProblem::Direct);
            }
            Edit::Put { tree, key, value } => {
                if tree == TreeId::Inodes
                    && value.len() >= inode::RECORD_BYTES
                    && let Ok(ino) = key::decode_number(tree, key)
                {
                    self.next_ino = self.next_ino.max(ino.saturating_add(1));
                }
                self.overlays[tree as usize].insert(key.into(), Some(value.into()));
            }
            Edit::Delete { tree, key } => {
                self.overlays[tree as usize].insert(key.into(), None);
            }
            Edit::Alloc { block, count } | Edit::Free { block, count } => {
                let count = u64::from(count);
                let one_group = volume.holds(block, count)
                    && volume.group_of(block) == volume.group_of(block + count - 1);
                if !one_group {
                    wrong(block, count, SpaceEditProblem::Outside);
                }
                if volume.holds(block, count) {
                    if let Edit::Free { .. } = edit {
                        self.journaled.retain(|at, _| !(block..block + count).contains(at));
                    }
                    self.space.push(match edit {
                        Edit::Alloc { .. } => SpaceEdit::Alloc { lsn, block, count },
                        _ => SpaceEdit::Free { lsn, block, count },
                    });
                }
            }
            Edit::Journal { block, count } => {
                if !volume.holds(block, u64::from(count)) {
                    wrong(block, u64::from(count), SpaceEditProblem::Outside);
                }
            }
        }
    }

    /// Says so when records are missing that were flushed once.
    fn look_for_cut(&mut self, volume: &Volume<'_>, reporter: &mut Reporter<'_>) -> Result<()> {
        let last = self.end.lsn;
        self.strays = strays(volume, last)?;
        let flushed = self.strays.flushed.max(volume.superblock.flushed_lsn);
        if flushed > last {
            reporter.add(Location::volume(), FindingKind::LogCut { flushed, last });
        }
        Ok(())
    }
}
