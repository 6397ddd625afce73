//! Sets of blocks: a bit for each, in chunks that are left out while empty and collapse when full.
//!
//! Memory: 4 KiB for a chunk of 32768 blocks (128 MiB of device) that is partly in the set; a
//! full or empty one costs next to nothing. A volume of 16 TiB with every group in part use takes
//! 512 MiB a set.

use std::collections::BTreeMap;
use std::ops::Range;

const CHUNK_BLOCKS: u64 = 1 << 15;
const CHUNK_WORDS: usize = (CHUNK_BLOCKS / 64) as usize;

#[derive(Debug, Clone)]
enum Chunk {
    Full,
    Part { words: Box<[u64; CHUNK_WORDS]>, count: u64 },
}

/// A set of blocks.
#[derive(Debug, Clone, Default)]
pub(crate) struct BlockSet {
    chunks: BTreeMap<u64, Chunk>,
    count: u64,
}

impl BlockSet {
    /// Blocks in the set.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Adds `[block, block + count)`; returns how many of them were in the set before.
    pub(crate) fn insert(&mut self, block: u64, count: u64) -> u64 {
        let mut present = 0;
        for (number, part) in pieces(block, count) {
            let length = part.end - part.start;
            let chunk = self.chunks.entry(number).or_insert_with(Chunk::empty);
            let before = chunk.count_in(part.clone());
            chunk.fill(part);
            present += before;
            self.count += length - before;
        }
        present
    }

    /// Takes `[block, block + count)` out; returns how many of them were in the set.
    pub(crate) fn remove(&mut self, block: u64, count: u64) -> u64 {
        let mut present = 0;
        for (number, part) in pieces(block, count) {
            let Some(chunk) = self.chunks.get_mut(&number) else { continue };
            present += chunk.count_in(part.clone());
            if chunk.clear(part) == 0 {
                self.chunks.remove(&number);
            }
        }
        self.count -= present;
        present
    }

    /// How many blocks of `range` are in the set.
    pub(crate) fn count_in(&self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let chunks = range.start / CHUNK_BLOCKS..=(range.end - 1) / CHUNK_BLOCKS;
        self.chunks
            .range(chunks)
            .map(|(number, chunk)| {
                let start = number * CHUNK_BLOCKS;
                let from = range.start.max(start) - start;
                let to = range.end.min(start + CHUNK_BLOCKS) - start;
                chunk.count_in(from..to)
            })
            .sum()
    }

    fn word(&self, number: u64, index: usize) -> u64 {
        self.chunks.get(&number).map_or(0, |chunk| chunk.word(index))
    }
}

impl Chunk {
    fn empty() -> Self {
        Self::Part { words: Box::new([0; CHUNK_WORDS]), count: 0 }
    }

    fn word(&self, index: usize) -> u64 {
        match self {
            Self::Full => u64::MAX,
            Self::Part { words, .. } => words[index],
        }
    }

    fn count_in(&self, range: Range<u64>) -> u64 {
        match self {
            Self::Full => range.end - range.start,
            Self::Part { words, .. } => {
                masks(range).map(|(at, mask)| u64::from((words[at] & mask).count_ones())).sum()
            }
        }
    }

    fn fill(&mut self, range: Range<u64>) {
        let Self::Part { words, count } = self else { return };
        for (at, mask) in masks(range) {
            *count += u64::from((mask & !words[at]).count_ones());
            words[at] |= mask;
        }
        if *count == CHUNK_BLOCKS {
            *self = Self::Full;
        }
    }

    /// Returns how many blocks are left.
    fn clear(&mut self, range: Range<u64>) -> u64 {
        if matches!(self, Self::Full) {
            *self = Self::Part { words: Box::new([u64::MAX; CHUNK_WORDS]), count: CHUNK_BLOCKS };
        }
        let Self::Part { words, count } = self else { return 0 };
        for (at, mask) in masks(range) {
            *count -= u64::from((mask & words[at]).count_ones());
            words[at] &= !mask;
        }
        *count
    }
}

/// Cuts a run at chunk borders: chunk number and range inside the chunk.
fn pieces(block: u64, count: u64) -> impl Iterator<Item = (u64, Range<u64>)> {
    let end = block.saturating_add(count);
    let mut at = block;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let number = at / CHUNK_BLOCKS;
        let start = number * CHUNK_BLOCKS;
        let piece_end = end.min(start.saturating_add(CHUNK_BLOCKS));
        let piece = (number, at - start..piece_end - start);
        at = piece_end;
        Some(piece)
    })
}

/// Words that a range of a chunk touches, with the bits in it.
fn masks(range: Range<u64>) -> impl Iterator<Item = (usize, u64)> {
    let words = range.start / 64..range.end.div_ceil(64);
    words.map(move |word| {
        let from = range.start.saturating_sub(word * 64);
        let to = (range.end - word * 64).min(64);
        let upper = if to == 64 { u64::MAX } else { (1 << to) - 1 };
        (word as usize, upper & (u64::MAX << from))
    })
}

/// Which blocks of two sets are meant: takes a word of each, returns the bits that qualify.
pub(crate) type Choose = fn(u64, u64) -> u64;

/// Calls `visit` with every maximal run of blocks of `range` that `choose` picks, ascending.
pub(crate) fn for_each_run(
    a: &BlockSet,
    b: &BlockSet,
    range: Range<u64>,
    choose: Choose,
    visit: &mut dyn FnMut(u64, u64),
) {
    let mut runs = Runs { open: None, visit };
    let mut at = range.start;
    while at < range.end {
        let number = at / CHUNK_BLOCKS;
        let next = (number + 1).saturating_mul(CHUNK_BLOCKS).min(range.end);
        let in_neither = !a.chunks.contains_key(&number) && !b.chunks.contains_key(&number);
        if in_neither {
            // A stretch without chunks is decided at once, however long it is.
            let stretch = next_chunk(a, number).min(next_chunk(b, number)).min(range.end);
            if choose(0, 0) != 0 {
                runs.add(at, stretch);
            }
            at = stretch;
            continue;
        }
        let start = number * CHUNK_BLOCKS;
        for (index, mask) in masks(at - start..next - start) {
            let bits = choose(a.word(number, index), b.word(number, index)) & mask;
            runs.add_word(start + index as u64 * 64, bits);
        }
        at = next;
    }
    runs.finish();
}

/// First block of the next chunk that the set has behind `number`.
fn next_chunk(set: &BlockSet, number: u64) -> u64 {
    set.chunks.range(number + 1..).next().map_or(u64::MAX, |(next, _)| next * CHUNK_BLOCKS)
}

struct Runs<'a> {
    open: Option<Range<u64>>,
    visit: &'a mut dyn FnMut(u64, u64),
}

impl Runs<'_> {
    fn add(&mut self, start: u64, end: u64) {
        match &mut self.open {
            Some(open) if open.end == start => open.end = end,
            _ => {
                self.finish();
                self.open = Some(start..end);
            }
        }
    }

    fn add_word(&mut self, base: u64, bits: u64) {
        if bits == u64::MAX {
            return self.add(base, base + 64);
        }
        let mut rest = bits;
        let mut at = 0;
        while rest != 0 {
            let skip = rest.trailing_zeros();
            at += skip;
            rest >>= skip;
            let length = rest.trailing_ones();
            self.add(base + u64::from(at), base + u64::from(at + length));
            at += length;
            // `length` is below 64: the word is not all ones.
            rest >>= length;
        }
    }

    fn finish(&mut self) {
        if let Some(open) = self.open.take() {
            (self.visit)(open.start, open.end - open.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn runs(a: &BlockSet, b: &BlockSet, range: Range<u64>, choose: Choose) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        for_each_run(a, b, range, choose, &mut |block, count| found.push((block, count)));
        found
    }

    #[test]
    fn set_equals_model_under_random_changes() {
        for seed in 0..40 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut set = BlockSet::default();
            let mut model = BTreeSet::new();
            let limit = 3 * CHUNK_BLOCKS;
            for _ in 0..60 {
                let block = random.u64(..limit);
                let limit = [3, 200, CHUNK_BLOCKS][random.usize(..3)];
                let count = random.u64(..limit);
                let range = block..block + count;
                if random.bool() {
                    let present = model.range(range.clone()).count() as u64;
                    assert_eq!(set.insert(block, count), present, "seed {seed}");
                    model.extend(range);
                } else {
                    let present: Vec<u64> = model.range(range).copied().collect();
                    assert_eq!(set.remove(block, count), present.len() as u64, "seed {seed}");
                    present.iter().for_each(|block| assert!(model.remove(block)));
                }
            }
            assert_eq!(set.count(), model.len() as u64, "seed {seed}");
            let from = random.u64(..limit);
            let to = from + random.u64(..limit);
            assert_eq!(set.count_in(from..to), model.range(from..to).count() as u64);
            let mut expected: Vec<(u64, u64)> = Vec::new();
            for block in model.range(from..to) {
                match expected.last_mut() {
                    Some((start, count)) if *start + *count == *block => *count += 1,
                    _ => expected.push((*block, 1)),
                }
            }
            let empty = BlockSet::default();
            assert_eq!(runs(&set, &empty, from..to, |a, b| a | b), expected, "seed {seed}");
        }
    }

    #[test]
    fn full_chunks_cost_no_bitmap_and_can_be_opened_again() {
        let mut set = BlockSet::default();
        set.insert(0, 10 * CHUNK_BLOCKS);
        assert!(set.chunks.values().all(|chunk| matches!(chunk, Chunk::Full)));
        assert_eq!(set.remove(CHUNK_BLOCKS + 5, 1), 1);
        assert_eq!(set.count(), 10 * CHUNK_BLOCKS - 1);
        assert_eq!(set.count_in(CHUNK_BLOCKS..2 * CHUNK_BLOCKS), CHUNK_BLOCKS - 1);
    }

    #[test]
    fn blocks_in_neither_set_are_one_run_however_many() {
        let mut owned = BlockSet::default();
        owned.insert(10, 5);
        owned.insert(1 << 36, 1);
        let empty = BlockSet::default();
        let neither = runs(&owned, &empty, 0..1 << 37, |a, b| !(a | b));
        assert_eq!(
            neither,
            [(0, 10), (15, (1 << 36) - 15), ((1 << 36) + 1, (1 << 37) - (1 << 36) - 1)]
        );
    }
}
