//! Free extents of one allocation group in memory, by address and by size.

use std::collections::{BTreeMap, BTreeSet};

/// A run of blocks: first block and count.
pub(crate) type Run = (u64, u64);

/// Free runs that may be handed out now. Invariant: both indexes hold the same runs, none touch.
#[derive(Debug, Default)]
pub(crate) struct FreeSpace {
    by_block: BTreeMap<u64, u64>,
    by_size: BTreeSet<(u64, u64)>,
    blocks: u64,
}

impl FreeSpace {
    /// Blocks free.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    fn add(&mut self, start: u64, length: u64) {
        self.by_block.insert(start, length);
        self.by_size.insert((length, start));
        self.blocks += length;
    }

    fn drop_run(&mut self, start: u64, length: u64) {
        self.by_block.remove(&start);
        self.by_size.remove(&(length, start));
        self.blocks -= length;
    }

    /// Returns a run, joined with its neighbours.
    pub(crate) fn give(&mut self, block: u64, count: u64) {
        let (mut start, mut length) = (block, count);
        if let Some((&before, &before_length)) = self.by_block.range(..block).next_back() {
            assert!(before + before_length <= block, "blocks {block}+{count} given back twice");
            if before + before_length == block {
                self.drop_run(before, before_length);
                start = before;
                length += before_length;
            }
        }
        if let Some((&after, &after_length)) = self.by_block.range(block..).next() {
            assert!(block + count <= after, "blocks {block}+{count} given back twice");
            if block + count == after {
                self.drop_run(after, after_length);
                length += after_length;
            }
        }
        self.add(start, length);
    }

    /// Takes up to `want` blocks starting exactly at `goal`, if that is free.
    pub(crate) fn take_at(&mut self, goal: u64, want: u64) -> Option<Run> {
        let (&start, &length) = self.by_block.range(..=goal).next_back()?;
        let left = (start + length).checked_sub(goal).filter(|left| *left > 0)?;
        let count = left.min(want);
        self.drop_run(start, length);
        if start < goal {
            self.add(start, goal - start);
        }
        if left > count {
            self.add(goal + count, left - count);
        }
        Some((goal, count))
    }

    /// Takes `want` blocks from the shortest run that holds them, lowest address first.
    pub(crate) fn take_best(&mut self, want: u64) -> Option<Run> {
        let &(length, start) = self.by_size.range((want, 0)..).next()?;
        self.take_front(start, length, want)
    }

    /// Takes up to `want` blocks from the longest run, if it has at least `least`.
    pub(crate) fn take_longest(&mut self, want: u64, least: u64) -> Option<Run> {
        let &(length, start) = self.by_size.last().filter(|(length, _)| *length >= least)?;
        self.take_front(start, length, want.min(length))
    }

    fn take_front(&mut self, start: u64, length: u64, count: u64) -> Option<Run> {
        self.drop_run(start, length);
        if length > count {
            self.add(start + count, length - count);
        }
        Some((start, count))
    }

    /// Removes every free block inside a run: it is not to be handed out.
    pub(crate) fn exclude(&mut self, block: u64, count: u64) {
        let end = block + count;
        while let Some((&start, &length)) = self.by_block.range(..end).next_back() {
            if start + length <= block {
                return;
            }
            self.drop_run(start, length);
            if start + length > end {
                self.add(end, start + length - end);
            }
            if start < block {
                self.add(start, block - start);
            }
        }
    }

    /// Runs of at least `least` blocks, in address order.
    pub(crate) fn runs(&self, least: u64) -> Vec<Run> {
        self.by_block
            .iter()
            .filter(|(_, length)| **length >= least)
            .map(|(start, length)| (*start, *length))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random takes and gives against a plain array of bits.
    #[test]
    fn free_space_agrees_with_bitmap() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut space = FreeSpace::default();
        let mut bitmap = vec![true; 500];
        space.give(0, 500);
        let mut held: Vec<Run> = Vec::new();
        for _ in 0..20_000 {
            if random.bool() && !held.is_empty() {
                let (block, count) = held.swap_remove(random.usize(..held.len()));
                space.give(block, count);
                bitmap[block as usize..(block + count) as usize].fill(true);
            } else {
                let want = random.u64(1..20);
                let run = match random.u8(..4) {
                    0 => space.take_at(random.u64(..500), want),
                    1 => space.take_best(want),
                    2 => space.take_longest(want, 1),
                    _ => {
                        let run = (random.u64(..480), want);
                        let free = (run.0..run.0 + want).all(|b| bitmap[b as usize]);
                        if free {
                            space.exclude(run.0, run.1);
                        }
                        free.then_some(run)
                    }
                };
                if let Some((block, count)) = run {
                    for b in block..block + count {
                        assert!(std::mem::take(&mut bitmap[b as usize]), "block {b} taken twice");
                    }
                    held.push((block, count));
                }
            }
            assert_eq!(space.blocks() as usize, bitmap.iter().filter(|free| **free).count());
        }
    }
}
