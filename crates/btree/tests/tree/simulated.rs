//! A store made of a map: nodes are read back only from what was written, a freed address is
//! poisoned, and reads fail on demand.

use ashlar_btree::{Error, Node, NodeCache, NodeSource, Result};
use ashlar_format::NODE_SIZE;
use ashlar_format::key::TreeId;
use ashlar_format::node::{Expected, NodePointer, NodeRef, Stamp, seal};
use ashlar_format::superblock::TreeRoot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) const UUID: [u8; 16] = *b"simulated store!";

/// Blocks, an allocator, and a small cache in front.
pub(crate) struct Disk {
    state: Mutex<State>,
    pub(crate) cache: NodeCache,
}

#[derive(Default)]
struct State {
    pages: BTreeMap<u64, Box<[u8; NODE_SIZE]>>,
    freed: BTreeSet<u64>,
    next_block: u64,
    /// Reads until one fails.
    fail_in: Option<u32>,
}

impl Disk {
    pub(crate) fn new(cache_bytes: usize) -> Self {
        let state = State { next_block: 4, ..State::default() };
        Self { state: Mutex::new(state), cache: NodeCache::new(cache_bytes) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Allocates an address, freed ones first when `reuse` says so, and writes the page there.
    pub(crate) fn write(
        &self,
        page: &mut [u8; NODE_SIZE],
        generation: u64,
        reuse: bool,
    ) -> NodePointer {
        let mut state = self.state();
        let reused = if reuse { state.freed.pop_first() } else { None };
        let block = match reused {
            Some(block) => block,
            None => {
                state.next_block += 4;
                state.next_block
            }
        };
        let pointer = seal(page, &Stamp { uuid: &UUID, block, generation });
        let old = state.pages.insert(block, Box::new(*page));
        assert!(old.is_none(), "block {block} is in use");
        pointer
    }

    /// Frees an address; from now on nobody may read it.
    pub(crate) fn free(&self, block: u64) {
        self.cache.forget(block);
        let mut state = self.state();
        assert!(state.pages.remove(&block).is_some(), "block {block} is freed twice");
        state.freed.insert(block);
    }

    /// The next read but `count` fails, once; `None`: no more failures.
    pub(crate) fn fail_in(&self, count: Option<u32>) {
        self.state().fail_in = count;
    }

    pub(crate) fn allocated(&self) -> BTreeSet<u64> {
        self.state().pages.keys().copied().collect()
    }

    /// Addresses of all nodes below `root`, from what is on disk alone.
    pub(crate) fn reached(&self, tree: TreeId, root: Option<TreeRoot>) -> BTreeSet<u64> {
        let mut reached = BTreeSet::new();
        let mut todo = Vec::from_iter(root.map(|root| (root.pointer, root.level)));
        while let Some((pointer, level)) = todo.pop() {
            assert!(reached.insert(pointer.block), "block {} has two parents", pointer.block);
            let state = self.state();
            let expected = Expected { uuid: &UUID, tree, level, pointer };
            let node = NodeRef::verify(&state.pages[&pointer.block], &expected).unwrap();
            if level > 0 {
                let children = (0..node.count()).map(|index| node.value(index));
                todo.extend(children.map(|bytes| (NodePointer::decode(bytes).unwrap(), level - 1)));
            }
        }
        reached
    }

    fn load(&self, tree: TreeId, level: u8, pointer: NodePointer) -> Result<Arc<Node>> {
        let bytes = {
            let state = self.state();
            let page = state.pages.get(&pointer.block);
            page.unwrap_or_else(|| panic!("block {} is read but free", pointer.block)).clone()
        };
        let expected = Expected { uuid: &UUID, tree, level, pointer };
        let node = Arc::new(Node::verified(bytes, &expected)?);
        self.cache.insert(Arc::clone(&node));
        Ok(node)
    }
}

impl NodeSource for Disk {
    fn read(&self, tree: TreeId, level: u8, pointer: NodePointer) -> Result<Arc<Node>> {
        if let Some(count) = &mut self.state().fail_in {
            if *count == 0 {
                return Err(Error::Io("injected".into()));
            }
            *count -= 1;
        }
        match self.cache.get(&pointer) {
            Some(node) => {
                let freed = self.state().freed.contains(&pointer.block);
                assert!(!freed, "block {} is read from the cache but free", pointer.block);
                Ok(node)
            }
            None => self.load(tree, level, pointer),
        }
    }
}
