//! Volumes to start from, and operations that go together: what is explored.

use super::explore::Bounds;
use super::machine::{Machine, Op};
use super::volume::Target;
use super::{Rule, Rules};

/// Unflushed cells of the programs that are tried.
const PENDING_CELLS: usize = 8;
/// States to stop at, for the sake of memory.
const STATES: usize = 2_000_000;

/// A start and the operations that follow.
#[derive(Debug, Clone)]
pub struct Program {
    /// What it is about.
    pub name: &'static str,
    /// Where it starts.
    pub start: Machine,
    /// Operations.
    pub ops: Vec<Op>,
}

impl Program {
    /// All its operations, up to so many steps.
    #[must_use]
    pub fn bounds(&self, steps: usize) -> Bounds {
        Bounds { ops: self.ops.clone(), steps, pending_cells: PENDING_CELLS, states: STATES }
    }
}

/// First block of the first file.
const A: Target = (0, 0);
/// First block of the second file.
const B: Target = (1, 0);

fn remap(blocks: &[Target]) -> Op {
    commit(blocks, &[], false)
}

fn journal(blocks: &[Target]) -> Op {
    commit(&[], blocks, false)
}

fn commit(remapped: &[Target], journaled: &[Target], split: bool) -> Op {
    let (remapped, journaled) = (remapped.to_vec(), journaled.to_vec());
    Op::Commit { remapped, journaled, highest: false, split }
}

/// What the exhaustive runs try.
#[must_use]
pub fn all(rules: Rules) -> Vec<Program> {
    let program = |name, blocks, sizes: &[u8], ops| {
        let start = Machine::new(rules, blocks, sizes);
        Program { name, start, ops }
    };
    vec![
        program("space", 6, &[2, 2], {
            let plain = [Op::Overwrite(A), Op::Truncate(1), Op::Append(1, false)];
            [vec![remap(&[A]), remap(&[B]), Op::Sync, Op::Prove], plain.to_vec()].concat()
        }),
        program("checkpoint", 6, &[2], {
            let steps = [Op::Begin(false), Op::Home, Op::Flip, Op::End, Op::Sync];
            let edits = [remap(&[A]), journal(&[A]), Op::Truncate(0), Op::Append(0, true)];
            [edits.to_vec(), steps.to_vec()].concat()
        }),
        program("journal", 6, &[2], {
            let home = [Op::StartHome(A), Op::GoHome, Op::Sync, Op::Checkpoint(false)];
            [vec![journal(&[A]), remap(&[A]), Op::Overwrite(A)], home.to_vec()].concat()
        }),
        program("several", 8, &[4, 2], {
            let mixed = [commit(&[A], &[B], false), commit(&[(0, 1)], &[A], true)];
            let split = [remap(&[A, B]), commit(&[], &[A, B], true), Op::Sync];
            [mixed.to_vec(), split.to_vec(), vec![Op::Checkpoint(false)]].concat()
        }),
        program("append", 6, &[1], {
            let edits = [Op::Append(0, false), Op::Truncate(0), Op::Overwrite(A), journal(&[A])];
            [edits.to_vec(), vec![Op::Sync, Op::Prove, Op::Checkpoint(true)]].concat()
        }),
        program("seal", 6, &[2], {
            let edits = [remap(&[A]), Op::Seal(0), journal(&[A]), Op::Overwrite(A)];
            [edits.to_vec(), vec![Op::Sync, Op::Checkpoint(true)]].concat()
        }),
        program("kill", 6, &[2], {
            let edits = [remap(&[A]), journal(&[A]), Op::Append(0, false), Op::Overwrite(A)];
            [edits.to_vec(), vec![Op::Sync, Op::Prove, Op::Empty, Op::Kill]].concat()
        }),
    ]
}

/// A program that goes wrong, within the steps given, where `rule` is not kept.
///
/// # Panics
/// The steps that lead to its start cannot be taken.
#[must_use]
pub fn without(rule: Rule) -> (Program, usize) {
    let rules = Rules::without(rule);
    let program = |blocks, sizes: &[u8], before: &[Op], ops: &[Op], steps| {
        let mut start = Machine::new(rules, blocks, sizes);
        for op in before {
            assert_eq!(start.step(op), Ok(true), "{op:?}");
        }
        (Program { name: "sabotage", start, ops: ops.to_vec() }, steps)
    };
    match rule {
        Rule::ProofOverwrite | Rule::ProofReuse | Rule::RecoveryProof | Rule::Sums => {
            program(6, &[2], &[], &[remap(&[A]), Op::Overwrite(A), Op::Sync], 4)
        }
        Rule::Conditional | Rule::NodeHold => {
            program(6, &[2], &[], &[Op::Begin(false), remap(&[A])], 3)
        }
        Rule::HomeDurable | Rule::RevokeHome => {
            program(5, &[2], &[], &[journal(&[A]), Op::StartHome(A), Op::Overwrite(A)], 3)
        }
        Rule::HomeCheckpoint => program(5, &[2], &[], &[journal(&[A]), Op::Checkpoint(false)], 3),
        Rule::RevokeRecord => {
            program(5, &[2], &[], &[journal(&[A]), Op::Overwrite(A), Op::Sync], 4)
        }
        Rule::HomeLast => {
            let ops = [remap(&[A]), journal(&[A]), Op::Begin(false), Op::Home, Op::Sync];
            program(6, &[2], &[], &ops, 5)
        }
        Rule::RecoveryFlush => program(5, &[2], &[], &[remap(&[A]), Op::Kill], 3),
        Rule::ProofDistinct => program(5, &[2], &[], &[Op::Empty, remap(&[A])], 4),
        Rule::Whole => program(7, &[2, 2], &[], &[commit(&[A, B], &[], true)], 2),
        Rule::FreeRevokes => {
            program(5, &[2], &[journal(&[A])], &[remap(&[A]), Op::Sync, Op::Prove], 5)
        }
        Rule::HomeHold => {
            let before = [journal(&[A]), Op::Begin(true), remap(&[A])];
            program(5, &[2], &before, &[remap(&[A]), Op::Prove, Op::Home], 5)
        }
        Rule::TailReuse => {
            program(7, &[4], &[], &[remap(&[A]), Op::Truncate(0), Op::Append(0, false)], 3)
        }
    }
}
