//! What a power cut may leave: everything flushed, and any of the sectors written since.
//!
//! Few pending writes are enumerated, every subset of them; many are sampled: none, all, each one
//! missing, each one alone, random subsets, random sectors, random order where writes overlap.

use crate::device::Event;
use crate::image::Image;
use fastrand::Rng;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The unit that a cut cannot tear.
const SECTOR: usize = 512;
/// Up to this many pending writes all subsets are tried.
const ENUMERATED_MAX: usize = 4;

/// Walks a history and makes the states that cuts may leave.
pub struct CrashStates<'a> {
    history: &'a [Event],
    /// Everything flushed before `flushed`.
    durable: Image,
    flushed: usize,
    seen: HashSet<u64>,
}

impl<'a> CrashStates<'a> {
    /// States of a device that held `base` before `history`.
    #[must_use]
    pub fn new(base: &Image, history: &'a [Event]) -> Self {
        Self { history, durable: base.clone(), flushed: 0, seen: HashSet::new() }
    }

    /// Distinct states made so far.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.seen.len()
    }

    /// Calls `visit` with distinct states that a cut after `cut` events may leave, about `samples`
    /// of them. Cuts must not go back.
    pub fn visit(
        &mut self,
        cut: usize,
        samples: usize,
        random: &mut Rng,
        mut visit: impl FnMut(Image),
    ) {
        self.advance(cut);
        let pending: Vec<_> = self.history[self.flushed..cut]
            .iter()
            .filter_map(|event| match event {
                Event::Write { addr, bytes } => Some((*addr, Arc::clone(bytes))),
                Event::Flush => None,
            })
            .collect();
        for keep in subsets(pending.len(), samples, random) {
            let mut overlay = Overlay::default();
            for index in keep.order {
                let (addr, bytes) = &pending[index];
                for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                    if !keep.torn || random.bool() {
                        overlay.put(addr + (number * SECTOR) as u64, sector);
                    }
                }
            }
            if self.seen.insert(overlay.fingerprint(self.flushed, &self.durable)) {
                let mut image = self.durable.clone();
                overlay.sectors.iter().for_each(|(addr, sector)| image.write(*addr, sector));
                visit(image);
            }
        }
    }

    /// Makes durable what the flushes before `cut` did.
    fn advance(&mut self, cut: usize) {
        let events = &self.history[..cut];
        let Some(last) = events.iter().rposition(|event| matches!(event, Event::Flush)) else {
            return;
        };
        for event in self.history.get(self.flushed..=last).unwrap_or_default() {
            if let Event::Write { addr, bytes } = event {
                self.durable.write(*addr, bytes);
            }
        }
        self.flushed = self.flushed.max(last + 1);
    }
}

struct Subset {
    order: Vec<usize>,
    torn: bool,
}

fn subsets(count: usize, samples: usize, random: &mut Rng) -> Vec<Subset> {
    let whole = |order: Vec<usize>| Subset { order, torn: false };
    let mut subsets = vec![whole(Vec::new()), whole((0..count).collect())];
    if count <= ENUMERATED_MAX {
        for bits in 1..(1usize << count).saturating_sub(1) {
            subsets.push(whole((0..count).filter(|index| bits >> index & 1 == 1).collect()));
        }
    } else {
        for _ in 0..samples / 3 {
            let one = random.usize(..count);
            subsets.push(whole((0..count).filter(|index| *index != one).collect()));
            subsets.push(whole(vec![one]));
        }
    }
    while subsets.len() < samples && count > 0 {
        let odds = random.u8(10..100);
        let mut order: Vec<_> = (0..count).filter(|_| random.u8(..100) < odds).collect();
        if random.bool() {
            random.shuffle(&mut order);
        }
        subsets.push(Subset { order, torn: random.bool() });
    }
    subsets
}

/// Sectors that arrived; later ones replace earlier ones.
#[derive(Default)]
struct Overlay<'a> {
    sectors: std::collections::BTreeMap<u64, &'a [u8]>,
}

impl<'a> Overlay<'a> {
    fn put(&mut self, addr: u64, sector: &'a [u8]) {
        self.sectors.insert(addr, sector);
    }

    /// Two states are the same when they differ from the same durable image in the same way.
    fn fingerprint(&self, flushed: usize, durable: &Image) -> u64 {
        let mut hasher = DefaultHasher::new();
        flushed.hash(&mut hasher);
        let mut old = [0; SECTOR];
        for (addr, sector) in &self.sectors {
            durable.read(*addr, &mut old[..sector.len()]);
            if old[..sector.len()] != **sector {
                addr.hash(&mut hasher);
                sector.hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(addr: u64, value: u8) -> Event {
        Event::Write { addr, bytes: Arc::from([value; SECTOR]) }
    }

    fn states(history: &[Event], cut: usize) -> HashSet<Vec<u8>> {
        let mut states = HashSet::new();
        let mut random = Rng::with_seed(4);
        CrashStates::new(&Image::default(), history).visit(cut, 60, &mut random, |image| {
            let mut bytes = vec![0; 4 * SECTOR];
            image.read(0, &mut bytes);
            states.insert(bytes.chunks(SECTOR).map(|sector| sector[0]).collect());
        });
        states
    }

    #[test]
    fn flushed_writes_are_there_and_later_ones_may_be() {
        let history = [write(0, 1), write(512, 2), Event::Flush, write(1024, 3), write(1536, 4)];
        let expected: HashSet<Vec<u8>> =
            [[1, 2, 0, 0], [1, 2, 3, 0], [1, 2, 0, 4], [1, 2, 3, 4]].map(Vec::from).into();
        assert_eq!(states(&history, 5), expected);
    }

    #[test]
    fn unflushed_overwrites_may_arrive_in_any_order() {
        let history = [write(0, 1), write(0, 2)];
        let expected: HashSet<Vec<u8>> =
            [[0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0]].map(Vec::from).into();
        assert_eq!(states(&history, 2), expected);
        assert_eq!(states(&history, 0).len(), 1);
    }

    #[test]
    fn large_writes_are_torn_at_sectors() {
        let history = [Event::Write { addr: 0, bytes: Arc::from([7; 2 * SECTOR]) }];
        assert!(states(&history, 1).contains(&vec![0, 7, 0, 0]));
        assert!(states(&history, 1).contains(&vec![7, 0, 0, 0]));
    }
}
