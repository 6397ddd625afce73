//! Trees that somebody forged, with every checksum right: nothing may panic, loop or visit keys
//! out of order; an error is as good as an answer.

use crate::simulated::UUID;
use ashlar_btree::{Error, Node, NodeSource, Obsolete, Result, Tree};
use ashlar_format::NODE_SIZE;
use ashlar_format::key::TreeId;
use ashlar_format::node::{
    CELL_HEADER_BYTES, Expected, HEADER_BYTES, NodePointer, NodeRef, POINTER_BYTES, Stamp, seal,
};
use ashlar_format::superblock::TreeRoot;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

const TREE: TreeId = TreeId::Refs;

/// Pages that are sealed anew when they are read, whatever is in them.
#[derive(Clone, Default)]
struct Forgery {
    pages: BTreeMap<u64, Box<[u8; NODE_SIZE]>>,
}

impl NodeSource for Forgery {
    fn read(&self, tree: TreeId, level: u8, pointer: NodePointer) -> Result<Arc<Node>> {
        let NodePointer { block, generation, .. } = pointer;
        let page = self.pages.get(&block).ok_or_else(|| Error::Io("outside".into()))?;
        let mut page = page.clone();
        let pointer = seal(&mut page, &Stamp { uuid: &UUID, block, generation });
        // As a cache would: half of the blocks are not checked against where they are asked for.
        let level = if block.is_multiple_of(8) { level } else { page[41] };
        Ok(Arc::new(Node::verified(page, &Expected { uuid: &UUID, tree, level, pointer })?))
    }
}

fn forged(rng: &mut Rng) -> (Forgery, TreeRoot) {
    let mut forgery = Forgery::default();
    let mut tree = Tree::empty(TREE);
    for _ in 0..400 {
        let mut key = vec![rng.u8(..3); 120 + rng.usize(..100)];
        key[100..108].copy_from_slice(&rng.u64(..).to_be_bytes());
        let value = vec![rng.u8(..4); rng.usize(..1500)];
        tree.put(&forgery, &mut Obsolete::new(), &key, &value).unwrap();
    }
    let write = &mut |_, page: &mut [u8; NODE_SIZE]| {
        let block = 4 * (forgery.pages.len() as u64 + 1);
        let pointer = seal(page, &Stamp { uuid: &UUID, block, generation: 1 });
        forgery.pages.insert(block, Box::new(*page));
        Ok(pointer)
    };
    let root = tree.write_home(write).unwrap().unwrap();
    for _ in 0..1 + rng.usize(..6) {
        forge(&mut forgery, rng);
    }
    (forgery, root)
}

fn forge(forgery: &mut Forgery, rng: &mut Rng) {
    let blocks: Vec<u64> = forgery.pages.keys().copied().collect();
    let other =
        NodePointer { block: blocks[rng.usize(..blocks.len())], generation: 1, checksum: 0 };
    // Inner nodes are few and come last.
    let from = if rng.bool() { blocks.len().saturating_sub(8) } else { 0 };
    let block = blocks[from + rng.usize(..blocks.len() - from)];
    let page = forgery.pages.get_mut(&block).unwrap();
    let view = NodeRef::new(page);
    if view.count() == 0 {
        return;
    }
    let index = rng.usize(..view.count());
    let at = view.slot(index).min(NODE_SIZE - CELL_HEADER_BYTES - POINTER_BYTES);
    let key_bytes = usize::from(u16::from_le_bytes([page[at], page[at + 1]]));
    let value = (at + CELL_HEADER_BYTES + key_bytes).min(NODE_SIZE - POINTER_BYTES);
    match rng.u8(..8) {
        // Another child, perhaps an ancestor.
        0..3 => page[value..value + POINTER_BYTES].copy_from_slice(&other.encode()),
        // Part of a key.
        3 | 4 => page[at + CELL_HEADER_BYTES + rng.usize(..16)] = rng.u8(..),
        // A slot that leads elsewhere, perhaps into another cell.
        5 => {
            let slot = (at + rng.usize(..64)).min(NODE_SIZE - 8) as u16;
            let at = HEADER_BYTES + 2 * index;
            page[at..at + 2].copy_from_slice(&slot.to_le_bytes());
        }
        // Lengths.
        6 => page[at + rng.usize(..4)] = rng.u8(..),
        // Level, count, heap.
        _ => page[41 + rng.usize(..5)] = rng.u8(..6),
    }
}

/// Runs everything against a forged tree.
fn attack(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let (source, root) = forged(&mut rng);
    let mut tree = Tree::from_root(TREE, Some(root));
    check_order(&tree, &source);
    let mut obsolete = Obsolete::new();
    for _ in 0..150 {
        let mut key = vec![rng.u8(..3); 100];
        key.extend_from_slice(&rng.u64(..).to_be_bytes());
        // Any of these may be refused.
        drop(tree.get(&source, &key));
        drop(tree.floor(&source, &key));
        if let Ok(Some((near, _))) = tree.floor(&source, &key) {
            drop(tree.delete(&source, &mut obsolete, &near));
        }
        drop(tree.put(&source, &mut obsolete, &key, &vec![0; rng.usize(..4000)]));
    }
    drop(tree.last(&source));
    drop(tree.verify(&source));
    check_order(&tree, &source);
    let mut next = 1 << 20;
    let root = tree.write_home(&mut |level, page| {
        next += 4;
        let pointer = seal(page, &Stamp { uuid: &UUID, block: next, generation: 2 });
        // What is written verifies, whatever was read.
        NodeRef::verify(page, &Expected { uuid: &UUID, tree: TREE, level, pointer })?;
        Ok(pointer)
    });
    root.unwrap();
}

fn check_order(tree: &Tree, source: &Forgery) {
    let mut last: Option<Vec<u8>> = None;
    let _stopped_by_damage = tree.for_each_from(source, &[], &mut |key, _| {
        assert!(last.as_deref().is_none_or(|last| last < key), "keys do not ascend");
        last = Some(key.to_vec());
        ControlFlow::Continue(())
    });
    let Ok(mut range) = tree.range(source, &[]) else { return };
    let mut last: Option<Vec<u8>> = None;
    while let Ok(Some((key, _))) = range.next_entry() {
        assert!(last.as_deref().is_none_or(|last| last < key), "keys do not ascend");
        last = Some(key.to_vec());
    }
}

#[test]
fn forged_trees_neither_panic_nor_loop() {
    let seeds = match std::env::var("ASHLAR_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => Vec::from_iter(0..400),
    };
    for seed in seeds {
        println!("ASHLAR_SEED={seed}");
        attack(seed);
    }
}
