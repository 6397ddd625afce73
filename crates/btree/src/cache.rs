//! Bounded cache of nodes at home.
//!
//! Filled by the source of nodes with what it reads and by [`crate::Tree::unpin`] with what a
//! checkpoint has just written.
//!
//! Each shard is a clock: a hit raises a node's credit, the hand lowers it and evicts a node
//! without. New leaves start without credit, so that one long scan displaces only what nobody
//! asked for twice; inner nodes start with some, since many lookups pass them.
//!
//! Locking: one mutex a shard, held for a map lookup or one turn of the hand, never across I/O
//! and never with another lock.

use crate::node::Node;
use ashlar_format::NODE_SIZE;
use ashlar_format::node::NodePointer;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

const SHARD_COUNT: usize = 16;
const CREDIT_MAX: u8 = 3;
const CREDIT_INNER: u8 = 2;
/// What a cached leaf takes, with its share of the tables around it.
const NODE_BYTES: usize = NODE_SIZE + 256;

/// Bounded cache of nodes at home, by address.
#[derive(Debug)]
pub struct NodeCache {
    shards: [Mutex<Shard>; SHARD_COUNT],
    shard_nodes_max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    by_block: HashMap<u64, usize, BuildHasherDefault<BlockHasher>>,
    slots: Vec<Option<Cached>>,
    vacant: Vec<usize>,
    hand: usize,
}

#[derive(Debug)]
struct Cached {
    pointer: NodePointer,
    node: Arc<Node>,
    credit: u8,
}

impl NodeCache {
    /// A cache for `bytes` of nodes, but for at least one node a shard.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            shards: Default::default(),
            shard_nodes_max: (bytes / NODE_BYTES / SHARD_COUNT).max(1),
        }
    }

    /// The node at `pointer`, if it is cached.
    #[must_use]
    pub fn get(&self, pointer: &NodePointer) -> Option<Arc<Node>> {
        let mut shard = self.shard(pointer.block).lock();
        let slot = *shard.by_block.get(&pointer.block)?;
        let cached = shard.slots[slot].as_mut().filter(|cached| cached.pointer == *pointer)?;
        cached.credit = (cached.credit + 1).min(CREDIT_MAX);
        Some(Arc::clone(&cached.node))
    }

    /// Adds a node that is at home and holds no children; others are ignored.
    pub fn insert(&self, node: Arc<Node>) {
        let Some(pointer) = node.home() else { return };
        if node.holds_any() {
            return;
        }
        let credit = if node.level() > 0 { CREDIT_INNER } else { 0 };
        let cached = Cached { pointer, node, credit };
        // Dropped behind the lock: freeing pages takes a while.
        let evicted = self.shard(pointer.block).lock().insert(cached, self.shard_nodes_max);
        drop(evicted);
    }

    /// Drops what is cached for `block`, because the address becomes free.
    pub fn forget(&self, block: u64) {
        let forgotten = self.shard(block).lock().remove(block);
        drop(forgotten);
    }

    /// Bytes held now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().by_block.len() * NODE_BYTES).sum()
    }

    fn shard(&self, block: u64) -> &Mutex<Shard> {
        // The upper bits of the hash; the maps inside use the lower ones.
        let hash = hash_block(block) >> 48;
        &self.shards[usize::from(hash as u16) % SHARD_COUNT]
    }
}

impl Shard {
    /// Puts a node in; returns the one that it displaced.
    fn insert(&mut self, cached: Cached, nodes_max: usize) -> Option<Cached> {
        let block = cached.pointer.block;
        if let Some(&slot) = self.by_block.get(&block) {
            return self.slots[slot].replace(cached);
        }
        let evicted = if self.by_block.len() >= nodes_max { self.evict() } else { None };
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(cached);
        self.by_block.insert(block, slot);
        evicted
    }

    /// Turns the hand until a node has no credit left: at most `CREDIT_MAX` rounds and a bit.
    fn evict(&mut self) -> Option<Cached> {
        for _ in 0..=self.slots.len() * (usize::from(CREDIT_MAX) + 1) {
            self.hand = (self.hand + 1) % self.slots.len();
            let Some(cached) = &mut self.slots[self.hand] else { continue };
            if cached.credit == 0 {
                let block = cached.pointer.block;
                return self.remove(block);
            }
            cached.credit -= 1;
        }
        None
    }

    fn remove(&mut self, block: u64) -> Option<Cached> {
        let slot = self.by_block.remove(&block)?;
        self.vacant.push(slot);
        self.slots[slot].take()
    }
}

fn hash_block(block: u64) -> u64 {
    // Fibonacci hashing: consecutive addresses spread evenly over the upper bits.
    let product = block.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

/// Hash of block numbers. Not keyed: the cache's bound limits what chosen addresses can cost.
#[derive(Debug, Default)]
struct BlockHasher(u64);

impl Hasher for BlockHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = hash_block(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, block: u64) {
        self.0 = hash_block(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_format::key::TreeId;
    use ashlar_format::node::{Expected, Stamp, format_empty, seal};

    /// A leaf with one cell, at home at `block`.
    fn leaf(block: u64, generation: u64) -> Arc<Node> {
        let mut bytes = crate::page::zeroed();
        format_empty(&mut bytes, TreeId::Inodes, 0);
        let mut page = crate::page::Page::empty(TreeId::Inodes, 0);
        assert!(page.insert(0, b"key", b"value"));
        page.pack_into(&mut bytes);
        let uuid = [1; 16];
        let pointer = seal(&mut bytes, &Stamp { uuid: &uuid, block, generation });
        let expected = Expected { uuid: &uuid, tree: TreeId::Inodes, level: 0, pointer };
        Arc::new(Node::verified(bytes, &expected).unwrap())
    }

    #[test]
    fn node_is_found_by_its_whole_address_only() {
        let cache = NodeCache::new(1 << 20);
        let node = leaf(40, 3);
        let pointer = node.home().unwrap();
        cache.insert(node);
        assert!(cache.get(&pointer).is_some());
        assert!(cache.get(&NodePointer { generation: 4, ..pointer }).is_none());
        assert!(cache.get(&NodePointer { checksum: !pointer.checksum, ..pointer }).is_none());
        cache.forget(40);
        assert!(cache.get(&pointer).is_none());
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn newer_node_takes_the_place_of_an_older_one() {
        let cache = NodeCache::new(1 << 20);
        cache.insert(leaf(40, 3));
        let newer = leaf(40, 4);
        cache.insert(Arc::clone(&newer));
        assert!(Arc::ptr_eq(&cache.get(&newer.home().unwrap()).unwrap(), &newer));
    }

    #[test]
    fn bytes_stay_bounded_and_reused_nodes_survive_a_scan() {
        let bytes = 64 * NODE_BYTES;
        let cache = NodeCache::new(bytes);
        let hot: Vec<Arc<Node>> = (0..8).map(|index| leaf(index * 4, 1)).collect();
        hot.iter().for_each(|node| cache.insert(Arc::clone(node)));
        for index in 100..1000 {
            hot.iter().for_each(|node| drop(cache.get(&node.home().unwrap())));
            cache.insert(leaf(index * 4, 1));
            assert!(cache.bytes() <= bytes);
        }
        for node in &hot {
            assert!(cache.get(&node.home().unwrap()).is_some());
        }
    }

    #[test]
    fn forgetting_and_inserting_again_and_again_takes_no_more_memory() {
        let cache = NodeCache::new(1 << 20);
        for round in 0..10_000 {
            cache.insert(leaf(round % 50, round));
            cache.forget((round + 7) % 50);
        }
        let slots: usize = cache.shards.iter().map(|shard| shard.lock().slots.len()).sum();
        assert!(slots <= 50 + SHARD_COUNT);
    }
}
