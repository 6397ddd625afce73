//! Goal: after a power cut at any moment the volume holds a prefix of its transactions, at least
//! up to the last sync, and the data that they made reachable.
//! Method: a device that remembers its writes; random programs of transactions, data writes,
//! overwrites in place, syncs and checkpoints; images that hold any subset of the sectors written
//! since the last flush; recovery of each, cut short as well, and a comparison with the model.
//! The same with a rule broken on purpose must fail.

use crate::sabotage::{Rule, breaking};
use crate::{AllocHint, Error, FormatOptions, OpenOptions, SharedBytes, Store, Txn};
use ashlar_device::{AlignedBuf, Device, Finish, MemoryDevice, Topology, Write};
use ashlar_format::BLOCK_SIZE;
use ashlar_format::key::TreeId;
use ashlar_format::limits::BLOCK_BYTES;
use ashlar_format::log::DataSums;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

const VOLUME_BYTES: u64 = 16 << 20;
const SECTOR: usize = 512;
/// Programs within which a broken rule must show.
const SABOTAGE_SEEDS: u64 = 40;

#[derive(Debug)]
enum Event {
    Write(u64, Vec<u8>),
    Flush,
}

/// Remembers every write since it was made.
#[derive(Debug)]
struct Recorder {
    base: Vec<u8>,
    inner: MemoryDevice,
    events: Mutex<Vec<Event>>,
}

impl Recorder {
    fn new(base: Vec<u8>) -> Self {
        let inner = MemoryDevice::new(base.len() as u64);
        inner.write_at(0, &base).unwrap();
        Self { base, inner, events: Mutex::default() }
    }

    fn len(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    /// Where to cut: anywhere, or in front of a flush, where most is pending.
    fn draw_cut(&self, random: &mut Rng) -> usize {
        let events = self.events.lock().unwrap();
        let any = random.usize(..=events.len());
        let flush = events[any..].iter().position(|event| matches!(event, Event::Flush));
        any + flush.filter(|_| random.bool()).unwrap_or(0)
    }

    /// A cut in the middle of the longest write, and how many events had happened: all before it
    /// survives, and so does its beginning.
    fn image_in_longest(&self, random: &mut Rng) -> (usize, Vec<u8>) {
        let events = self.events.lock().unwrap();
        let length = |event: &Event| match event {
            Event::Write(_, bytes) => bytes.len(),
            Event::Flush => 0,
        };
        let longest = (0..events.len()).max_by_key(|at| length(&events[*at])).unwrap_or(0);
        let mut image = self.base.clone();
        for (index, event) in events.iter().enumerate().take(longest + 1) {
            let Event::Write(addr, bytes) = event else { continue };
            let sectors = bytes.len() / SECTOR;
            let kept = if index < longest { sectors } else { random.usize(..sectors) } * SECTOR;
            image[*addr as usize..*addr as usize + kept].copy_from_slice(&bytes[..kept]);
        }
        (longest, image)
    }

    /// What a cut after `cut` events may leave.
    fn image(&self, cut: usize, random: &mut Rng) -> Vec<u8> {
        let events = self.events.lock().unwrap();
        let flushed = events[..cut].iter().rposition(|e| matches!(e, Event::Flush)).unwrap_or(0);
        let mut image = self.base.clone();
        let odds = [0, 20, 50, 80, 100][random.usize(..5)];
        // Whole writes, any sectors, or the beginning of each write.
        let tear = random.u8(..3);
        for (index, event) in events[..cut].iter().enumerate() {
            let Event::Write(addr, bytes) = event else { continue };
            let whole = random.u8(..100) < odds;
            let begun = random.usize(..=bytes.len() / SECTOR);
            for (at, sector) in bytes.chunks(SECTOR).enumerate() {
                let kept = match tear {
                    0 => random.u8(..100) < odds,
                    1 => whole || at < begun,
                    _ => whole,
                };
                if index < flushed || kept {
                    let start = *addr as usize + at * SECTOR;
                    image[start..start + sector.len()].copy_from_slice(sector);
                }
            }
        }
        image
    }
}

impl Device for Recorder {
    fn topology(&self) -> &Topology {
        self.inner.topology()
    }
    fn read_at(&self, addr: u64, buf: &mut [u8]) -> ashlar_device::Result<()> {
        self.inner.read_at(addr, buf)
    }
    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> ashlar_device::Result<()> {
        self.inner.submit(writes, finish)?;
        let mut events = self.events.lock().unwrap();
        events.extend(writes.iter().map(|w| Event::Write(w.addr, w.bytes.to_vec())));
        if finish == Finish::Flush {
            events.push(Event::Flush);
        }
        Ok(())
    }
    fn discard(&self, _addr: u64, _length: u64) -> ashlar_device::Result<()> {
        Ok(())
    }
    fn write_zeroes(&self, addr: u64, length: u64) -> ashlar_device::Result<()> {
        self.write_at(addr, &vec![0; length as usize])
    }
}

/// A file of the model: where it is, and what each of its blocks may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stone {
    block: u64,
    count: u64,
    stamp: u64,
    /// Later overwrites in place, not synced: block index and stamp.
    soft: Vec<(u64, u64)>,
}

type State = (BTreeMap<Vec<u8>, Vec<u8>>, BTreeMap<u64, Stone>);

struct Program {
    store: Arc<Store>,
    device: Arc<Recorder>,
    random: Rng,
    stamp: u64,
    states: Vec<State>,
    /// For each state, how many events had happened when it was committed.
    committed_at: Vec<usize>,
    /// For each stamp of an overwrite that a sync followed, how many events had happened then.
    firm: BTreeMap<u64, usize>,
    /// Stamps of overwrites since the last sync.
    soft: Vec<u64>,
    /// Events after which the state of this index was durable.
    synced: Vec<(usize, usize)>,
}

fn stamped(stamp: u64, count: u64) -> Vec<u8> {
    let mut bytes = vec![0; count as usize * BLOCK_SIZE];
    for (index, word) in bytes.chunks_exact_mut(8).enumerate() {
        let value = stamp.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (index as u64 % 512);
        word.copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

impl Program {
    fn new(device: Arc<Recorder>, seed: u64, state: State) -> Self {
        let options = OpenOptions { background: false, ..Default::default() };
        let (store, _) = Store::open(Arc::clone(&device) as Arc<dyn Device>, &options).unwrap();
        Self {
            store,
            device,
            random: Rng::with_seed(seed),
            stamp: seed << 20,
            states: vec![state],
            committed_at: vec![0],
            firm: BTreeMap::new(),
            soft: Vec::new(),
            synced: vec![(0, 0)],
        }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.random.u8(..20) {
                0..6 => self.transact(),
                6..9 => self.journal(),
                9..13 => self.overwrite(),
                13..17 => self.sync(),
                17 => self.store.prove_all().unwrap(),
                18 => {
                    self.store.checkpoint().unwrap();
                    self.note_synced();
                }
                _ => self.transact_many(),
            }
        }
    }

    fn transact_many(&mut self) {
        for _ in 0..self.random.usize(..30) {
            self.transact();
        }
    }

    fn transact(&mut self) {
        let (mut names, mut stones) = self.states.last().unwrap().clone();
        let store = Arc::clone(&self.store);
        let mut txn = store.begin();
        for _ in 0..self.random.usize(..4) {
            let key = vec![self.random.u8(..40); 3];
            if self.random.bool() {
                let value = vec![self.random.u8(..); self.random.usize(..3000)];
                txn.put(TreeId::Names, &key, &value);
                names.insert(key, value);
            } else {
                txn.delete(TreeId::Names, &key);
                names.remove(&key);
            }
        }
        let id = self.random.u64(..12);
        if self.random.u8(..3) > 0 {
            if let Some(old) = stones.remove(&id) {
                txn.free(old.block, old.count);
                txn.delete(TreeId::Extents, &id.to_be_bytes());
            }
            if self.random.u8(..4) > 0
                && let Some(stone) = self.lay(&mut txn)
            {
                let value = [stone.block, stone.count, stone.stamp].map(u64::to_le_bytes).concat();
                txn.put(TreeId::Extents, &id.to_be_bytes(), &value);
                stones.insert(id, stone);
            }
        }
        txn.commit().unwrap();
        self.states.push((names, stones));
        self.committed_at.push(self.device.len());
    }

    /// Writes a stone's data: attached to the record, or straight to the device before it.
    fn lay(&mut self, txn: &mut Txn<'_>) -> Option<Stone> {
        let want = self.random.u64(1..6);
        let mut promise = match self.store.reserve(want) {
            Ok(promise) => promise,
            Err(Error::NoSpace { .. }) => return None,
            Err(error) => panic!("{error}"),
        };
        let grant = self.store.allocate(&mut promise, want, AllocHint::default()).unwrap();
        let (block, count) = (grant.block(), grant.count());
        self.stamp += 1;
        let bytes = stamped(self.stamp, count);
        txn.wrote(DataSums::of(block, &bytes));
        let buf = Arc::new(AlignedBuf::from_slice(&bytes));
        if self.random.bool() {
            txn.attach(block, SharedBytes::new(buf, 0..bytes.len()));
        } else {
            self.device.write_at(block * BLOCK_BYTES, &buf).unwrap();
        }
        txn.take(grant);
        Some(Stone { block, count, stamp: self.stamp, soft: Vec::new() })
    }

    /// New bytes for a few whole stones, in the record: all of them, or none.
    fn journal(&mut self) {
        let (names, mut stones) = self.states.last().unwrap().clone();
        let store = Arc::clone(&self.store);
        let mut txn = store.begin();
        let many = if self.random.u8(..4) == 0 { 40 } else { 3 };
        for (id, stone) in &mut stones {
            if self.random.usize(..12) < many {
                self.stamp += 1;
                let bytes = stamped(self.stamp, stone.count);
                let buf = Arc::new(AlignedBuf::from_slice(&bytes));
                txn.journal(stone.block, &SharedBytes::new(buf, 0..bytes.len()));
                let value = [stone.block, stone.count, self.stamp].map(u64::to_le_bytes).concat();
                txn.put(TreeId::Extents, &id.to_be_bytes(), &value);
                stone.stamp = self.stamp;
                stone.soft.clear();
            }
        }
        // Enough to need several records: edits go in front, data comes last.
        for index in 0..if many > 12 { 88u8 } else { 0 } {
            txn.put(TreeId::Xattrs, &[index, 1], &[self.stamp as u8; 3000]);
        }
        txn.commit().unwrap();
        self.states.push((names, stones));
        self.committed_at.push(self.device.len());
    }

    fn overwrite(&mut self) {
        let (_, stones) = self.states.last().unwrap();
        let Some(id) = self.random.choice(stones.keys().copied().collect::<Vec<_>>()) else {
            return;
        };
        let stone = &stones[&id];
        let index = self.random.u64(..stone.count);
        let block = stone.block + index;
        self.stamp += 1;
        let stamp = self.stamp;
        let bytes = stamped(stamp, 1);
        // What is attached to a record must be on the device before the block changes again.
        self.sync();
        self.store.ensure_home(block, 1).unwrap();
        self.store.ensure_overwritable(block, &bytes).unwrap();
        // The cut may come before the write is recorded as done: the model goes first.
        for (_, stones) in self.states.iter_mut().rev() {
            match stones.get_mut(&id) {
                Some(stone) if (stone.block..stone.block + stone.count).contains(&block) => {
                    stone.soft.push((index, stamp));
                }
                _ => break,
            }
        }
        self.device.write_at(block * BLOCK_BYTES, &bytes).unwrap();
        self.soft.push(stamp);
    }

    fn sync(&mut self) {
        self.store.sync_now().unwrap();
        self.note_synced();
    }

    fn note_synced(&mut self) {
        let events = self.device.len();
        self.firm.extend(std::mem::take(&mut self.soft).into_iter().map(|stamp| (stamp, events)));
        self.synced.push((events, self.states.len() - 1));
    }

    /// Judges a recovered volume; returns the state it is in.
    fn judge(&self, device: &Arc<dyn Device>, store: &Store, cut: usize) -> State {
        let durable = self.synced.iter().rfind(|(events, _)| *events <= cut).unwrap().1;
        // The state after the last one committed in time may have been on its way, too.
        let last = self.committed_at.iter().rposition(|events| *events <= cut).unwrap() + 1;
        let last = last.min(self.states.len() - 1);
        let names = contents(store, TreeId::Names);
        let extents: BTreeMap<u64, (u64, u64, u64)> = contents(store, TreeId::Extents)
            .into_iter()
            .map(|(key, value)| {
                let word = |at: usize| u64::from_le_bytes(value[at..at + 8].try_into().unwrap());
                (u64::from_be_bytes(key.try_into().unwrap()), (word(0), word(8), word(16)))
            })
            .collect();
        for state in self.states[durable..=last].iter().rev() {
            let places =
                state.1.iter().map(|(id, stone)| (*id, (stone.block, stone.count, stone.stamp)));
            if state.0 == names && places.eq(extents.iter().map(|(id, place)| (*id, *place))) {
                for stone in state.1.values() {
                    let firm = |stamp: u64| self.firm.get(&stamp).is_some_and(|at| *at <= cut);
                    check_stone(device, store, stone, &firm);
                }
                return state.clone();
            }
        }
        panic!("no state between {durable} and {last} fits: {} names, {extents:?}", names.len());
    }
}

/// `firm` says of an overwrite whether it was synced: nothing older may show then.
fn check_stone(device: &Arc<dyn Device>, store: &Store, stone: &Stone, firm: &dyn Fn(u64) -> bool) {
    let mut bytes = vec![0; stone.count as usize * BLOCK_SIZE];
    device.read_at(stone.block * BLOCK_BYTES, &mut bytes).unwrap();
    for (block, newer) in store.journaled(stone.block..stone.block + stone.count) {
        let at = (block - stone.block) as usize * BLOCK_SIZE;
        bytes[at..at + BLOCK_SIZE].copy_from_slice(newer.as_slice());
    }
    for (at, sector) in bytes.chunks(SECTOR).enumerate() {
        let (index, inside) = (at / 8, at % 8 * SECTOR);
        let soft = stone.soft.iter().filter(|(i, _)| *i == index as u64).map(|(_, s)| *s);
        let mut stamps: Vec<u64> = std::iter::once(stone.stamp).chain(soft).collect();
        let newest = stamps.iter().rposition(|stamp| firm(*stamp)).unwrap_or(0);
        stamps.drain(..newest);
        let fits = stamps.iter().any(|s| stamped(*s, 1)[inside..inside + SECTOR] == *sector);
        assert!(fits, "block {} sector {at} holds none of {:?}", stone.block, stamps);
    }
}

fn contents(store: &Store, tree: TreeId) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut map = BTreeMap::new();
    store
        .scan(tree, b"", &mut |key, value| {
            map.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    map
}

/// Every block has one owner: what is not in an extent, a node or the log is free.
fn check_space(store: &Store, state: &State) {
    let held: u64 = state.1.values().map(|stone| stone.count).sum();
    let space = store.space();
    assert!(space.total - space.free >= held, "{space:?}, {held} held by files");
    let free = contents(store, TreeId::Free);
    let mut end = 0;
    let mut runs = Vec::new();
    for (key, value) in free.range(vec![1]..) {
        let block = u64::from_be_bytes(key[1..].try_into().unwrap());
        let count = u64::from_le_bytes(value[..].try_into().unwrap());
        assert!(block > end || end == 0, "free extents touch at {block}");
        end = block + count;
        runs.push((block, end));
    }
    for stone in state.1.values() {
        let clash =
            runs.iter().find(|run| run.0 < stone.block + stone.count && stone.block < run.1);
        assert!(clash.is_none(), "{stone:?} is free in {clash:?}");
    }
}

fn formatted() -> Vec<u8> {
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(VOLUME_BYTES));
    Store::format(&device, &FormatOptions::default(), |_| {}).unwrap();
    let mut base = vec![0; VOLUME_BYTES as usize];
    device.read_at(0, &mut base).unwrap();
    base
}

fn sweep(seeds: std::ops::Range<u64>, cuts_each: usize) {
    let base = formatted();
    for seed in seeds {
        let result = std::panic::catch_unwind(|| sweep_one(seed, base.clone(), cuts_each));
        assert!(result.is_ok(), "power cut sweep fails with seed {seed}");
    }
}

/// Breaks a rule; some program and cut must show it.
fn must_be_missed(rule: Rule) {
    let base = formatted();
    breaking(Some(rule));
    let found = (0..SABOTAGE_SEEDS)
        .find(|seed| std::panic::catch_unwind(|| sweep_one(*seed, base.clone(), 12)).is_err());
    breaking(None);
    println!("without {rule:?}: seed {found:?}");
    assert!(found.is_some(), "{rule:?} is broken, and nobody noticed");
}

fn sweep_one(seed: u64, base: Vec<u8>, cuts_each: usize) {
    let mut program = Program::new(Arc::new(Recorder::new(base)), seed, State::default());
    program.run(60);
    let mut random = Rng::with_seed(seed ^ 0xc07);
    for round in 0..cuts_each {
        let (cut, image) = if round % 4 == 3 {
            program.device.image_in_longest(&mut random)
        } else {
            let cut = program.device.draw_cut(&mut random);
            (cut, program.device.image(cut, &mut random))
        };
        let mut device = Arc::new(Recorder::new(image));
        let options = OpenOptions { background: false, ..Default::default() };
        let open = |device: &Arc<Recorder>| {
            Store::open(Arc::clone(device) as Arc<dyn Device>, &options).unwrap().0
        };
        let mut store = open(&device);
        // Recovery is cut short, twice, before what it leaves is judged.
        for _ in 0..random.usize(..3) {
            let inner = random.usize(..=device.len());
            device = Arc::new(Recorder::new(device.image(inner, &mut random)));
            store = open(&device);
        }
        let shared = Arc::clone(&device) as Arc<dyn Device>;
        let state = program.judge(&shared, &store, cut);
        check_space(&store, &state);
        drop(store);
        // Life goes on, blocks are reused, and a second cut is no worse than the first.
        let mut next = Program::new(Arc::clone(&device), seed + 7777, state);
        next.run(15);
        let cut = next.device.draw_cut(&mut random);
        let again = Arc::new(Recorder::new(next.device.image(cut, &mut random)));
        let store = open(&again);
        let shared = Arc::clone(&again) as Arc<dyn Device>;
        let state = next.judge(&shared, &store, cut);
        check_space(&store, &state);
    }
}

#[test]
fn volume_is_a_prefix_of_its_transactions_after_any_power_cut() {
    sweep(0..12, 12);
}

/// The long form: `cargo test -p ashlar-store --profile sweep -- --ignored`.
#[test]
#[ignore = "minutes; run by command"]
fn volume_is_a_prefix_of_its_transactions_after_any_power_cut_long() {
    sweep(100..1000, 60);
}

#[test]
fn proof_overwrite_is_missed() {
    must_be_missed(Rule::ProofOverwrite);
}

#[test]
fn proof_reuse_is_missed() {
    must_be_missed(Rule::ProofReuse);
}

#[test]
fn conditional_is_missed() {
    must_be_missed(Rule::Conditional);
}

#[test]
fn recovery_proof_is_missed() {
    must_be_missed(Rule::RecoveryProof);
}

#[test]
fn sums_is_missed() {
    must_be_missed(Rule::Sums);
}

#[test]
fn home_checkpoint_is_missed() {
    must_be_missed(Rule::HomeCheckpoint);
}

#[test]
fn revoke_home_is_missed() {
    must_be_missed(Rule::RevokeHome);
}

#[test]
fn free_revokes_is_missed() {
    must_be_missed(Rule::FreeRevokes);
}

#[test]
fn whole_is_missed() {
    must_be_missed(Rule::Whole);
}
