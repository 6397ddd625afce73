//! Random histories against `BTreeMap`: changes, snapshots that must keep what they saw,
//! checkpoints with changes in their middle, read errors, failed checkpoints, crashes.
//!
//! The disk is simulated. It frees an address as soon as the protocol allows and fails the test
//! when a freed one is read, freed again, or when anything stays allocated that no root reaches.
//! A failing history prints its seed; `ASHLAR_SEED=n` runs that one alone.

use crate::simulated::Disk;
use ashlar_btree::{Error, Obsolete, Tree};
use ashlar_format::key::TreeId;
use ashlar_format::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use ashlar_format::superblock::TreeRoot;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::rc::Rc;

type Model = BTreeMap<Vec<u8>, Rc<[u8]>>;

const TREE: TreeId = TreeId::Names;

struct Snapshot {
    tree: Tree,
    model: Rc<Model>,
    /// Checkpoints begun before it was taken.
    taken_at: u64,
}

/// Addresses that wait for snapshots taken before `until` to go.
struct Held {
    until: u64,
    blocks: Vec<u64>,
}

struct History {
    rng: Rng,
    keys: KeyKind,
    /// Share of puts among changes, of 16; drawn anew now and then, so that trees grow and shrink.
    puts: u8,
    /// Half of the histories never crash: a crash frees what may have leaked before.
    crashes: bool,
    disk: Disk,
    live: Tree,
    model: Rc<Model>,
    obsolete: Obsolete,
    snapshots: Vec<Snapshot>,
    held: Vec<Held>,
    durable: (Option<TreeRoot>, Rc<Model>),
    checkpoints: u64,
    /// Lists of checkpoints that failed: the next one frees what is in them.
    carried: Vec<Obsolete>,
}

#[derive(Debug, Clone, Copy)]
enum KeyKind {
    /// Few and short: many collisions, shared beginnings.
    Tiny,
    /// Up to the limit.
    Long,
    /// Ascending numbers, mostly.
    Ascending,
    /// Sixteen bytes with few first halves.
    Pairs,
}

impl KeyKind {
    const ALL: [Self; 4] = [Self::Tiny, Self::Long, Self::Ascending, Self::Pairs];

    fn key(self, rng: &mut Rng, entries: usize) -> Vec<u8> {
        match self {
            Self::Tiny => (0..rng.usize(..6)).map(|_| rng.u8(..3)).collect(),
            Self::Long => {
                let length = if rng.bool() { rng.usize(..=KEY_BYTES_MAX) } else { KEY_BYTES_MAX };
                let mut key = vec![rng.u8(..4); length];
                let from = length.saturating_sub(1 + rng.usize(..4));
                key[from..].fill_with(|| rng.u8(..));
                key
            }
            Self::Ascending if rng.u8(..8) > 0 => (entries as u64 + 1).to_be_bytes().to_vec(),
            Self::Ascending => rng.u64(..=entries as u64).to_be_bytes().to_vec(),
            Self::Pairs => [rng.u64(..3).to_be_bytes(), rng.u64(..5000).to_be_bytes()].concat(),
        }
    }
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        Self {
            keys: KeyKind::ALL[rng.usize(..4)],
            puts: 12,
            crashes: rng.bool(),
            disk: Disk::new(rng.usize(..40) * 16640),
            rng,
            live: Tree::empty(TREE),
            model: Rc::default(),
            obsolete: Obsolete::new(),
            snapshots: Vec::new(),
            held: Vec::new(),
            durable: (None, Rc::default()),
            checkpoints: 0,
            carried: Vec::new(),
        }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.rng.u32(..1000) {
                0..10 => self.checkpoint(),
                10..12 if self.crashes => self.crash(),
                12..20 => self.take_snapshot(),
                20..28 => self.drop_snapshot(),
                28..34 => self.live.unpin(&self.disk.cache, &mut self.obsolete),
                34..35 => self.delete_a_range(),
                35..36 => self.puts = self.rng.u8(2..16),
                36..120 => self.read(),
                120..160 => self.change_with_a_read_error(),
                _ => self.change(),
            }
        }
        if self.rng.bool() {
            self.drain();
        }
        self.settle();
    }

    /// Deletes most entries of a tree that is at home, so that nodes of all levels merge, clean
    /// ones too.
    fn drain(&mut self) {
        let mut keys: Vec<Vec<u8>> = self.model.keys().cloned().collect();
        match self.rng.u8(..4) {
            0 => {}
            1 => keys.reverse(),
            _ => self.rng.shuffle(&mut keys),
        }
        keys.truncate(keys.len() - self.rng.usize(..=keys.len() / 8));
        let period = 1 + keys.len() / (1 + self.rng.usize(..4));
        for (index, key) in keys.iter().enumerate() {
            if index % period == 0 {
                self.settle();
            }
            assert!(self.live.delete(&self.disk, &mut self.obsolete, key).unwrap());
            Rc::make_mut(&mut self.model).remove(key);
        }
    }

    /// Grows a tree of large entries, so that it is deep, and makes it durable.
    fn grow(&mut self, count: usize) {
        self.keys = KeyKind::Long;
        while self.durable.0.is_none() {
            self.fill(count);
            self.checkpoint();
        }
    }

    fn fill(&mut self, count: usize) {
        while self.model.len() < count {
            let key = self.keys.key(&mut self.rng, 0);
            let value = vec![self.rng.u8(..); VALUE_BYTES_MAX - self.rng.usize(..1000)];
            self.live.put(&self.disk, &mut self.obsolete, &key, &value).unwrap();
            Rc::make_mut(&mut self.model).insert(key, value.into());
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let length = match self.rng.u8(..10) {
            0..6 => self.rng.usize(..64),
            6..9 => self.rng.usize(..600),
            _ => self.rng.usize(..=VALUE_BYTES_MAX),
        };
        vec![self.rng.u8(..); length]
    }

    fn key(&mut self) -> Vec<u8> {
        if self.rng.u8(..4) == 0 && !self.model.is_empty() {
            let index = self.rng.usize(..self.model.len());
            return self.model.keys().nth(index).unwrap().clone();
        }
        self.keys.key(&mut self.rng, self.model.len())
    }

    fn change(&mut self) {
        self.try_change().unwrap();
    }

    fn try_change(&mut self) -> Result<(), Error> {
        let key = self.key();
        if self.rng.u8(..16) < self.puts {
            let value = self.value();
            let replaced = self.live.put(&self.disk, &mut self.obsolete, &key, &value)?;
            let old = Rc::make_mut(&mut self.model).insert(key, value.into());
            assert_eq!(replaced, old.is_some());
        } else {
            let deleted = self.live.delete(&self.disk, &mut self.obsolete, &key)?;
            let old = Rc::make_mut(&mut self.model).remove(&key);
            assert_eq!(deleted, old.is_some());
        }
        assert_eq!(self.live.count(), self.model.len() as u64);
        Ok(())
    }

    /// Whatever cannot be read, either the change happens as a whole or not at all.
    fn change_with_a_read_error(&mut self) {
        self.disk.fail_in(Some(self.rng.u32(..6)));
        let result = self.try_change();
        self.disk.fail_in(None);
        assert!(!matches!(result, Err(Error::Corrupt(_))), "{result:?}");
        if self.rng.u8(..8) == 0 {
            check_contents(&self.live, &self.disk, &self.model);
        }
    }

    fn delete_a_range(&mut self) {
        let from = self.key();
        let count = self.rng.usize(..200);
        let range = self.model.range(from..).take(count);
        let keys: Vec<Vec<u8>> = range.map(|(key, _)| key.clone()).collect();
        for key in keys {
            assert!(self.live.delete(&self.disk, &mut self.obsolete, &key).unwrap());
            Rc::make_mut(&mut self.model).remove(&key);
        }
    }

    fn read(&mut self) {
        let key = self.key();
        let (tree, model) = match self.rng.usize(..=self.snapshots.len()) {
            0 => (&self.live, &self.model),
            index => (&self.snapshots[index - 1].tree, &self.snapshots[index - 1].model),
        };
        assert_eq!(
            tree.get(&self.disk, &key).unwrap().as_deref(),
            model.get(&key).map(|value| &**value)
        );
        let floor = model.range(..=key.clone()).next_back();
        let floor = floor.map(|(key, value)| (key.clone(), value.to_vec()));
        assert_eq!(tree.floor(&self.disk, &key).unwrap(), floor);
        assert_eq!(tree.last_key(&self.disk).unwrap().as_ref(), model.keys().next_back());
        let mut range = tree.range(&self.disk, &key).unwrap();
        for (key, value) in model.range(key..).take(20) {
            assert_eq!(range.next_entry().unwrap(), Some((&key[..], &value[..])));
        }
    }

    fn take_snapshot(&mut self) {
        self.snapshots.push(Snapshot {
            tree: self.live.clone(),
            model: Rc::clone(&self.model),
            taken_at: self.checkpoints,
        });
    }

    fn drop_snapshot(&mut self) {
        if self.snapshots.is_empty() {
            return;
        }
        let index = self.rng.usize(..self.snapshots.len());
        let snapshot = self.snapshots.swap_remove(index);
        check_contents(&snapshot.tree, &self.disk, &snapshot.model);
        drop(snapshot);
        self.free_held();
    }

    /// Frees what no snapshot can reach any more.
    fn free_held(&mut self) {
        let oldest = self.snapshots.iter().map(|snapshot| snapshot.taken_at).min();
        let (free, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| oldest.is_none_or(|oldest| oldest >= held.until));
        self.held = held;
        let free: Vec<Held> = free;
        free.iter().flat_map(|held| &held.blocks).for_each(|block| self.disk.free(*block));
    }

    fn checkpoint(&mut self) {
        self.checkpoints += 1;
        let generation = self.checkpoints;
        let (snapshot, model) = (self.live.clone(), Rc::clone(&self.model));
        let list = self.obsolete.take();
        let fail_at = if self.rng.u8(..6) == 0 { self.rng.usize(..20) } else { usize::MAX };
        let mut written = Vec::new();
        let root = snapshot.write_home(&mut |_, page| {
            while self.rng.u8(..3) == 0 {
                self.change();
            }
            if written.len() == fail_at {
                return Err(Error::Io("the device is gone".into()));
            }
            let pointer = self.disk.write(page, generation, self.rng.bool());
            written.push(pointer.block);
            Ok(pointer)
        });
        drop(snapshot);
        self.carried.push(list);
        let Ok(root) = root else {
            written.iter().for_each(|block| self.disk.free(*block));
            return;
        };
        for _ in 0..self.rng.usize(..30) {
            self.change();
        }
        if self.crashes && self.rng.u8(..8) == 0 {
            // Written, but the superblock still names the older root.
            self.crash();
            return;
        }
        self.durable = (root, model);
        let pointers = self.carried.iter().flat_map(Obsolete::pointers);
        let blocks = pointers.map(|pointer| pointer.block).collect();
        self.carried.clear();
        self.held.push(Held { until: generation, blocks });
        self.free_held();
        if self.rng.u8(..4) > 0 {
            self.live.unpin(&self.disk.cache, &mut self.obsolete);
            let shape = self.live.verify(&self.disk).unwrap();
            assert_eq!(shape.pinned_nodes, 0);
        }
    }

    /// All memory is lost; what the durable root does not reach is free.
    fn crash(&mut self) {
        self.live = Tree::empty(TREE);
        self.snapshots.clear();
        self.held.clear();
        self.carried.clear();
        self.obsolete = Obsolete::new();
        self.live = Tree::from_root(TREE, self.durable.0);
        self.model = Rc::clone(&self.durable.1);
        check_contents(&self.live, &self.disk, &self.model);
        let reached = self.disk.reached(TREE, self.durable.0);
        for block in self.disk.allocated().difference(&reached) {
            self.disk.free(*block);
        }
    }

    /// Ends in a checkpoint with nothing else alive: what is allocated is what is reachable.
    fn settle(&mut self) {
        while !self.snapshots.is_empty() {
            self.drop_snapshot();
        }
        check_contents(&self.live, &self.disk, &self.model);
        let shape = self.live.verify(&self.disk).unwrap();
        assert_eq!(shape.dirty_nodes, self.live.dirty_nodes() as u64);
        self.checkpoints += 1;
        let list = self.obsolete.take();
        let generation = self.checkpoints;
        let root = self
            .live
            .clone()
            .write_home(&mut |_, page| Ok(self.disk.write(page, generation, true)))
            .unwrap();
        self.carried.push(list);
        for pointer in self.carried.iter().flat_map(Obsolete::pointers) {
            self.disk.free(pointer.block);
        }
        self.carried.clear();
        self.durable = (root, Rc::clone(&self.model));
        self.live.unpin(&self.disk.cache, &mut self.obsolete);
        assert_eq!((self.live.dirty_nodes(), self.obsolete.len()), (0, 0));
        let reached: BTreeSet<u64> = self.disk.reached(TREE, root);
        assert_eq!(self.disk.allocated(), reached, "an address leaked");
        let reloaded = Tree::from_root(TREE, root);
        check_contents(&reloaded, &self.disk, &self.model);
        check_contents(&self.live, &self.disk, &self.model);
    }
}

fn check_contents(tree: &Tree, disk: &Disk, model: &Model) {
    tree.verify(disk).unwrap();
    let mut expected = model.iter();
    tree.for_each_from(disk, &[], &mut |key, value| {
        let entry = expected.next().map(|(key, value)| (&key[..], &value[..]));
        assert_eq!(Some((key, value)), entry);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(expected.next(), None);
}

fn run_histories(count: u64, entries: usize, steps: usize) {
    let seeds = match std::env::var("ASHLAR_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..count).collect(),
    };
    for seed in seeds {
        println!("ASHLAR_SEED={seed}");
        let mut history = History::new(seed);
        if entries > 0 {
            history.grow(entries);
        }
        history.run(steps);
    }
}

#[test]
fn tree_equals_map_over_short_histories() {
    run_histories(200, 0, 400);
}

#[test]
fn tree_equals_map_over_long_histories() {
    run_histories(8, 0, 12_000);
}

#[test]
fn tree_equals_map_when_it_is_deep() {
    run_histories(3, 9_000, 2_000);
}
