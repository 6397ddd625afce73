//! What trees look like after loads, deletions, checkpoints: fill, depth, what stays in memory.

use crate::simulated::Disk;
use ashlar_btree::{Error, NodeCache, Obsolete, Tree, TreeShape};
use ashlar_format::NODE_SIZE;
use ashlar_format::key::TreeId;
use ashlar_format::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use ashlar_format::node::{HEADER_BYTES, LEVEL_MAX, NodePointer};
use ashlar_format::superblock::TreeRoot;
use fastrand::Rng;
use std::ops::ControlFlow;

struct Fixture {
    disk: Disk,
    obsolete: Obsolete,
    tree: Tree,
    generation: u64,
}

impl Fixture {
    fn new() -> Self {
        Self {
            disk: Disk::new(1 << 20),
            obsolete: Obsolete::new(),
            tree: Tree::empty(TreeId::Inodes),
            generation: 0,
        }
    }

    fn with_entries(count: u64) -> Self {
        let mut fixture = Self::new();
        (0..count).for_each(|number| fixture.put(number));
        fixture
    }

    fn put(&mut self, number: u64) {
        let key = number.to_be_bytes();
        self.tree.put(&self.disk, &mut self.obsolete, &key, &[1; 136]).unwrap();
    }

    fn delete(&mut self, number: u64) -> bool {
        self.tree.delete(&self.disk, &mut self.obsolete, &number.to_be_bytes()).unwrap()
    }

    fn write_home(&mut self) -> Option<TreeRoot> {
        self.generation += 1;
        let snapshot = self.tree.clone();
        snapshot
            .write_home(&mut |_, page| Ok(self.disk.write(page, self.generation, false)))
            .unwrap()
    }

    fn shape(&self) -> TreeShape {
        self.tree.verify(&self.disk).unwrap()
    }
}

fn fill(shape: &TreeShape) -> f64 {
    shape.leaf_bytes as f64 / (shape.leaves * (NODE_SIZE - HEADER_BYTES) as u64) as f64
}

#[test]
fn ascending_load_leaves_full_nodes() {
    let shape = Fixture::with_entries(20_000).shape();
    assert!(fill(&shape) > 0.97, "{shape:?}");
}

#[test]
fn ascending_load_between_other_keys_leaves_full_nodes() {
    let mut fixture = Fixture::new();
    for file in [1_u64, 2, 3, 4] {
        fixture.put(file << 32);
    }
    for block in 1..20_000 {
        fixture.put((2 << 32) + block);
        fixture.put((3 << 32) + block);
    }
    let shape = fixture.shape();
    assert!(fill(&shape) > 0.9, "{shape:?}");
}

#[test]
fn random_load_fills_two_thirds() {
    let mut rng = Rng::with_seed(1);
    let mut fixture = Fixture::new();
    (0..20_000).for_each(|_| fixture.put(rng.u64(..)));
    assert!(fill(&fixture.shape()) > 0.6);
}

#[test]
fn deleting_most_entries_merges_nodes() {
    let mut fixture = Fixture::with_entries(20_000);
    let before = fixture.shape();
    for number in (0..20_000).filter(|number| number % 50 != 0) {
        assert!(fixture.delete(number));
    }
    let after = fixture.shape();
    assert!(after.leaves * 12 < before.leaves, "{before:?} {after:?}");
    for number in 0..20_000 {
        assert_eq!(fixture.delete(number), number % 50 == 0);
    }
    assert_eq!(fixture.shape(), TreeShape::default());
    assert_eq!(fixture.write_home(), None);
    assert_eq!(fixture.tree.dirty_nodes(), 0);
}

/// Three levels, the right inner node with a single leaf, all at home; then everything else goes,
/// and the nodes above that leaf with it.
fn delete_up_to_a_clean_right_edge(unpin: bool) {
    let mut fixture = Fixture::new();
    let mut keys = Vec::new();
    while fixture.shape().inner_nodes < 3 {
        let key = [&[7; 250][..], &(keys.len() as u64).to_be_bytes()].concat();
        fixture.tree.put(&fixture.disk, &mut fixture.obsolete, &key, &[1; 4000]).unwrap();
        keys.push(key);
    }
    fixture.write_home();
    if unpin {
        fixture.tree.unpin(&fixture.disk.cache, &mut fixture.obsolete);
    }
    keys.pop();
    for key in &keys {
        assert!(fixture.tree.delete(&fixture.disk, &mut fixture.obsolete, key).unwrap());
        fixture.shape();
    }
    let list = fixture.obsolete.take();
    let root = fixture.write_home();
    list.pointers().for_each(|pointer| fixture.disk.free(pointer.block));
    assert_eq!(fixture.disk.allocated(), fixture.disk.reached(TreeId::Inodes, root));
    assert_eq!(fixture.shape().entries, 1);
}

#[test]
fn clean_right_edge_in_memory_is_merged_and_freed() {
    delete_up_to_a_clean_right_edge(false);
}

#[test]
fn clean_right_edge_on_disk_is_merged_and_freed() {
    delete_up_to_a_clean_right_edge(true);
}

#[test]
fn unpin_drops_what_is_at_home_though_a_snapshot_shares_it() {
    let mut fixture = Fixture::with_entries(20_000);
    fixture.write_home();
    fixture.put(7);
    let snapshot = fixture.tree.clone();
    let (dirty, before) = (fixture.tree.dirty_nodes(), fixture.shape());
    assert!(before.pinned_nodes > 100);
    fixture.tree.unpin(&fixture.disk.cache, &mut fixture.obsolete);
    let after = fixture.shape();
    assert_eq!(after, TreeShape { pinned_nodes: 0, ..before });
    assert!(before.dirty_nodes > 0);
    drop(snapshot.clone());
    // The root is copied, since the snapshot's must keep its children.
    assert_eq!(snapshot.verify(&fixture.disk).unwrap(), before);
    drop(snapshot);
    assert_eq!(fixture.tree.dirty_nodes(), dirty);
}

#[test]
fn nodes_written_home_are_clean_and_reloaded_from_the_root_alone() {
    let mut fixture = Fixture::with_entries(5_000);
    assert_eq!(fixture.tree.dirty_nodes() as u64, fixture.shape().dirty_nodes);
    let root = fixture.write_home();
    assert_eq!(fixture.tree.dirty_nodes(), 0);
    let reloaded = Tree::from_root(TreeId::Inodes, root);
    assert_eq!(reloaded.count(), 5_000);
    assert_eq!(reloaded.verify(&fixture.disk).unwrap().entries, 5_000);
    // Nothing changed: nothing is written again, and the root stays.
    let none = &mut |_, _: &mut [u8; NODE_SIZE]| panic!("nothing is dirty");
    assert_eq!(fixture.tree.write_home(none).unwrap(), root);
    assert_eq!(reloaded.write_home(none).unwrap(), root);
}

#[test]
fn failed_write_leaves_every_node_dirty() {
    let mut fixture = Fixture::with_entries(5_000);
    let dirty = fixture.tree.dirty_nodes();
    let mut calls = 0;
    let result = fixture.tree.write_home(&mut |_, _| {
        calls += 1;
        if calls == 20 { Err(Error::Io("full".into())) } else { Ok(pointer(calls)) }
    });
    assert!(matches!(result, Err(Error::Io(_))));
    assert_eq!(fixture.tree.dirty_nodes(), dirty);
    fixture.write_home();
    assert_eq!(fixture.tree.dirty_nodes(), 0);
}

fn pointer(block: u64) -> NodePointer {
    NodePointer { block, generation: 1, checksum: 0 }
}

#[test]
fn deleting_what_is_not_there_makes_nothing_dirty() {
    let mut fixture = Fixture::with_entries(5_000);
    fixture.write_home();
    assert!(!fixture.delete(5_000));
    assert_eq!((fixture.tree.dirty_nodes(), fixture.obsolete.len()), (0, 0));
}

#[test]
fn snapshots_between_checkpoints_do_not_grow_the_obsolete_list() {
    let mut fixture = Fixture::with_entries(5_000);
    for number in 0..50_000 {
        let snapshot = fixture.tree.clone();
        fixture.put(number % 5_000);
        drop(snapshot);
    }
    assert!(fixture.obsolete.len() <= 100, "{}", fixture.obsolete.len());
}

#[test]
fn one_change_after_a_checkpoint_obsoletes_one_path() {
    let mut fixture = Fixture::with_entries(20_000);
    fixture.write_home();
    fixture.put(7);
    fixture.put(8);
    let depth = 2;
    assert_eq!(fixture.obsolete.pointers().count(), depth);
    assert_eq!(fixture.tree.dirty_nodes(), depth);
    let list = fixture.obsolete.take();
    assert!(fixture.obsolete.is_empty());
    assert_eq!(list.pointers().count(), depth);
}

#[test]
fn entries_beyond_the_limits_are_refused() {
    let mut fixture = Fixture::new();
    let (key, value) = (vec![1; KEY_BYTES_MAX], vec![2; VALUE_BYTES_MAX]);
    fixture.tree.put(&fixture.disk, &mut fixture.obsolete, &key, &value).unwrap();
    let long = [&key[..], &[0]].concat();
    let result = fixture.tree.put(&fixture.disk, &mut fixture.obsolete, &long, &[]);
    assert!(matches!(result, Err(Error::Corrupt(_))));
    let long = [&value[..], &[0]].concat();
    let result = fixture.tree.put(&fixture.disk, &mut fixture.obsolete, &[], &long);
    assert!(matches!(result, Err(Error::Corrupt(_))));
    assert_eq!(fixture.tree.count(), 1);
}

#[test]
fn root_of_impossible_level_is_corrupt() {
    let fixture = Fixture::new();
    let root = TreeRoot { pointer: pointer(8), level: LEVEL_MAX + 1, count: 1 };
    let tree = Tree::from_root(TreeId::Inodes, Some(root));
    assert!(matches!(tree.get(&fixture.disk, b"key"), Err(Error::Corrupt(_))));
    assert!(matches!(tree.verify(&fixture.disk), Err(Error::Corrupt(_))));
}

#[test]
fn range_goes_on_over_the_tree_it_began_with() {
    let mut fixture = Fixture::with_entries(1_000);
    let mut range = fixture.tree.range(&fixture.disk, &500_u64.to_be_bytes()).unwrap();
    for number in 0..1_000_u64 {
        let key = number.to_be_bytes();
        fixture.tree.delete(&fixture.disk, &mut fixture.obsolete, &key).unwrap();
    }
    for number in 500..1_000_u64 {
        assert_eq!(range.next_entry().unwrap(), Some((&number.to_be_bytes()[..], &[1; 136][..])));
    }
    assert_eq!(range.next_entry().unwrap(), None);
    assert_eq!(range.next_entry().unwrap(), None);
}

#[test]
fn visiting_stops_where_the_visitor_says() {
    let fixture = Fixture::with_entries(1_000);
    let mut seen = Vec::new();
    fixture
        .tree
        .for_each_from(&fixture.disk, &990_u64.to_be_bytes(), &mut |key, _| {
            seen.push(key[7]);
            if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(seen, [990, 991, 992].map(|number| (number % 256) as u8));
}

#[test]
fn cache_smaller_than_the_tree_serves_all_of_it() {
    let mut fixture = Fixture::with_entries(20_000);
    fixture.disk.cache = NodeCache::new(0);
    let root = fixture.write_home();
    fixture.tree.unpin(&fixture.disk.cache, &mut fixture.obsolete);
    let reloaded = Tree::from_root(TreeId::Inodes, root);
    for tree in [&fixture.tree, &reloaded] {
        for number in (0..20_000_u64).step_by(97) {
            assert!(tree.get(&fixture.disk, &number.to_be_bytes()).unwrap().is_some());
        }
    }
}
