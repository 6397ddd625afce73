//! Only after a conflict: who owns the blocks that were claimed twice.
//!
//! Maps of owned blocks remember no owners, so nodes and extents are read once more.

use crate::context::Context;
use crate::finding::{Finding, FindingKind, Location, Owner};
use crate::passes::nodes::NodePass;
use crate::report::Reporter;
use crate::stream::Stream;
use ashlar_format::NODE_BLOCKS;
use ashlar_format::extent::ExtentRecord;
use ashlar_format::key::{self, TreeId};

/// Owners remembered of one run.
const OWNERS_MAX: usize = 8;

/// A run that was claimed twice, and its owners.
#[derive(Debug)]
struct Conflict {
    start: u64,
    end: u64,
    owners: Vec<(u64, u64, Owner)>,
}

/// Finds the owners of `runs` and reports each pair that meets.
pub(crate) fn run(context: &mut Context<'_, '_>, runs: &[(u64, u64)]) {
    let mut conflicts: Vec<Conflict> = Vec::new();
    let mut sorted = runs.to_vec();
    sorted.sort_unstable();
    for (block, count) in sorted {
        let end = block + count;
        match conflicts.last_mut() {
            Some(last) if block < last.end => last.end = last.end.max(end),
            _ => conflicts.push(Conflict { start: block, end, owners: Vec::new() }),
        }
    }
    claim_fixed(context, &mut conflicts);
    claim_nodes(context, &mut conflicts);
    claim_extents(context, &mut conflicts);
    for conflict in &mut conflicts {
        report(context, conflict);
    }
}

fn claim(conflicts: &mut [Conflict], block: u64, count: u64, owner: Owner) {
    let end = block.saturating_add(count);
    let first = conflicts.partition_point(|conflict| conflict.end <= block);
    for conflict in conflicts[first..].iter_mut().take_while(|conflict| conflict.start < end) {
        if conflict.owners.len() < OWNERS_MAX {
            conflict.owners.push((block, end, owner));
        }
    }
}

fn claim_fixed(context: &Context<'_, '_>, conflicts: &mut [Conflict]) {
    claim(conflicts, 0, context.volume.superblock.data_start(), Owner::Fixed);
}

fn claim_nodes(context: &Context<'_, '_>, conflicts: &mut [Conflict]) {
    // What is wrong with nodes was said the first time.
    let mut silence = |_: &Finding| {};
    let mut reporter = Reporter::new(&mut silence);
    NodePass::run_with(context.volume, &mut reporter, &mut |tree, block| {
        claim(conflicts, block, NODE_BLOCKS, Owner::Node { tree, block });
    });
}

fn claim_extents(context: &Context<'_, '_>, conflicts: &mut [Conflict]) {
    let mut silence = |_: &Finding| {};
    let mut reporter = Reporter::new(&mut silence);
    let overlay = &context.replay.overlays[TreeId::Extents as usize];
    let mut extents =
        Stream::new(context.volume, TreeId::Extents, context.refused, overlay, &mut reporter);
    while let Some((key, value)) = extents.current() {
        if let (Ok((ino, file_block)), Ok(extent)) =
            (key::decode_extent(key), ExtentRecord::decode(value))
            && context.volume.holds(extent.block, u64::from(extent.count))
        {
            let owner = Owner::Extent { ino, file_block };
            claim(conflicts, extent.block, u64::from(extent.count), owner);
        }
        extents.advance(&mut reporter);
    }
}

/// Reports neighbours, by first block, that overlap.
fn report(context: &mut Context<'_, '_>, conflict: &mut Conflict) {
    conflict.owners.sort_unstable();
    for (index, (_, end, first)) in conflict.owners.iter().enumerate() {
        for (start, other_end, second) in &conflict.owners[index + 1..] {
            if start >= end {
                break;
            }
            let at = Location::blocks(*start, end.min(other_end) - start);
            let (first, second) = (*first, *second);
            context.reporter.add(at, FindingKind::OwnedTwice { first, second });
        }
    }
}
