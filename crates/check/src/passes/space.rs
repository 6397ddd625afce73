//! Last pass: every block of the data area has one owner or is free, and the counts agree.
//!
//! The free tree is read as the checkpoint left it; the log's edits of free space follow in their
//! order, each checked against the state it met.

use crate::blocks::{BlockSet, for_each_run};
use crate::context::Context;
use crate::finding::{FindingKind, FreeExtentProblem, Location, SpaceEditProblem};
use crate::replay::SpaceEdit;
use ashlar_format::key::{self, FreeKey, TreeId};
use std::collections::BTreeMap;

/// Free space as the volume says it is.
#[derive(Debug, Default)]
struct Space {
    free: BlockSet,
    /// Count of each group.
    groups: BTreeMap<u32, u64>,
    /// End of the free extent before.
    previous_end: Option<u64>,
}

/// Runs the pass with the blocks that superblock, log, nodes and extents own; returns how many
/// blocks the volume says are free.
pub(crate) fn run(context: &mut Context<'_, '_>, owned: &BlockSet) -> u64 {
    let mut space = Space::default();
    let mut entries = context.stream(TreeId::Free);
    while let Some((key, value)) = entries.current() {
        let decoded =
            key::decode_free(key).and_then(|decoded| Ok((decoded, key::decode_free_value(value)?)));
        match decoded {
            Ok((FreeKey::Group(group), count)) => space.add_group(context, group, count),
            Ok((FreeKey::Extent(block), count)) => space.add_extent(context, block, count),
            Err(damage) => {
                let at = Location::entry(TreeId::Free, key);
                context.damaged_entry(TreeId::Free, at, damage.problem);
            }
        }
        entries.advance(context.reporter);
    }
    context.check_count(&entries);
    for edit in &context.replay.space {
        space.apply(context, *edit);
    }
    space.compare(context, owned);
    if context.reporter.is_complete(TreeId::Free) {
        space.check_groups(context);
    }
    space.free.count()
}

impl Space {
    fn add_group(&mut self, context: &mut Context<'_, '_>, group: u32, count: u64) {
        let groups = context.volume.superblock.group_count();
        if u64::from(group) >= groups {
            let kind = FindingKind::GroupUnknown { group, groups };
            context.reporter.add(Location::tree(TreeId::Free), kind);
            return;
        }
        self.groups.insert(group, count);
    }

    fn add_extent(&mut self, context: &mut Context<'_, '_>, block: u64, count: u64) {
        if let Some(problem) = self.extent_problem(context, block, count) {
            let kind = FindingKind::FreeExtentWrong { problem };
            context.reporter.add(Location::blocks(block, count), kind);
        }
        if context.volume.holds(block, count) {
            self.free.insert(block, count);
            self.previous_end = self.previous_end.max(Some(block + count));
        }
    }

    fn extent_problem(
        &self,
        context: &Context<'_, '_>,
        block: u64,
        count: u64,
    ) -> Option<FreeExtentProblem> {
        let volume = context.volume;
        if count == 0 {
            return Some(FreeExtentProblem::Empty);
        }
        if !volume.holds(block, count) {
            return Some(FreeExtentProblem::Outside);
        }
        if volume.group_of(block) != volume.group_of(block + count - 1) {
            return Some(FreeExtentProblem::CrossesGroups);
        }
        let before = self.previous_end?;
        if before > block {
            return Some(FreeExtentProblem::Overlaps);
        }
        let touches = before == block && volume.group_of(before - 1) == volume.group_of(block);
        touches.then_some(FreeExtentProblem::NotMerged)
    }

    /// Applies an edit of the log as replay will.
    fn apply(&mut self, context: &mut Context<'_, '_>, edit: SpaceEdit) {
        let (lsn, block, count, problem) = match edit {
            SpaceEdit::Alloc { lsn, block, count } => {
                let present = self.free.remove(block, count);
                let problem = (present != count).then_some(SpaceEditProblem::AllocOfUsed);
                (lsn, block, count, problem)
            }
            SpaceEdit::Free { lsn, block, count } => {
                let present = self.free.insert(block, count);
                (lsn, block, count, (present != 0).then_some(SpaceEditProblem::FreeOfFree))
            }
        };
        // Each group's count follows its edits; `Replay` lets none pass that leaves the volume.
        let mut at = block;
        while at < block + count {
            let group = context.volume.group_of(at);
            let end = context.volume.group_range(group).end.min(block + count);
            let recorded = self.groups.entry(group as u32).or_default();
            *recorded = match edit {
                SpaceEdit::Alloc { .. } => recorded.wrapping_sub(end - at),
                SpaceEdit::Free { .. } => recorded.wrapping_add(end - at),
            };
            at = end;
        }
        if let Some(problem) = problem.filter(|_| context.reporter.is_complete(TreeId::Free)) {
            let kind = FindingKind::SpaceEditWrong { block, count, problem };
            context.reporter.add(Location::record(lsn), kind);
        }
    }

    fn compare(&self, context: &mut Context<'_, '_>, owned: &BlockSet) {
        let reporter = &mut *context.reporter;
        let data = context.volume.data_range();
        let both = |owned, free| owned & free;
        for_each_run(owned, &self.free, data.clone(), both, &mut |block, count| {
            reporter.add(Location::blocks(block, count), FindingKind::FreeButOwned);
        });
        let sees_owners = TreeId::ALL.iter().all(|tree| reporter.is_complete(*tree));
        if sees_owners {
            let neither = |owned: u64, free: u64| !(owned | free);
            for_each_run(owned, &self.free, data, neither, &mut |block, count| {
                reporter.add(Location::blocks(block, count), FindingKind::Leaked);
            });
        }
    }

    fn check_groups(&self, context: &mut Context<'_, '_>) {
        for group in 0..context.volume.superblock.group_count() {
            let counted = self.free.count_in(context.volume.group_range(group));
            let group = group as u32;
            let recorded = self.groups.get(&group).copied().unwrap_or(0);
            if counted != recorded {
                let kind = FindingKind::GroupCountWrong { group, counted, recorded };
                context.reporter.add(Location::tree(TreeId::Free), kind);
            }
        }
    }
}
