//! Measures the tree in memory and reports: `cargo run --release -p ashlar-btree --example speed`.
//!
//! Nothing is asserted. Times are the mean of one pass over all operations.

use ashlar_btree::{Error, Node, NodeCache, NodeSource, Obsolete, Result, Tree};
use ashlar_format::NODE_SIZE;
use ashlar_format::key::TreeId;
use ashlar_format::node::{Expected, NodePointer, Stamp, seal};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Instant;

const UUID: [u8; 16] = [0; 16];
const ENTRIES: u64 = 1_000_000;

/// Pages in memory behind a node cache.
struct Pages {
    pages: Mutex<HashMap<u64, Box<[u8; NODE_SIZE]>>>,
    cache: NodeCache,
}

impl Pages {
    fn new(cache_bytes: usize) -> Self {
        Self { pages: Mutex::default(), cache: NodeCache::new(cache_bytes) }
    }

    fn write(&self, page: &mut [u8; NODE_SIZE], generation: u64) -> NodePointer {
        let mut pages = self.pages.lock().unwrap_or_else(|_| unreachable!("nobody panics"));
        let block = 4 * (pages.len() as u64 + 1);
        let pointer = seal(page, &Stamp { uuid: &UUID, block, generation });
        pages.insert(block, Box::new(*page));
        pointer
    }
}

impl NodeSource for Pages {
    fn read(&self, tree: TreeId, level: u8, pointer: NodePointer) -> Result<Arc<Node>> {
        if let Some(node) = self.cache.get(&pointer) {
            return Ok(node);
        }
        let pages = self.pages.lock().map_err(|error| Error::Io(error.to_string().into()))?;
        let bytes = pages.get(&pointer.block).ok_or_else(|| Error::Io("no page".into()))?.clone();
        let expected = Expected { uuid: &UUID, tree, level, pointer };
        let node = Arc::new(Node::verified(bytes, &expected)?);
        self.cache.insert(Arc::clone(&node));
        Ok(node)
    }
}

fn measure<R>(what: &str, count: u64, act: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = act();
    let nanos = start.elapsed().as_nanos() as f64 / count as f64;
    println!("{what:<60} {nanos:>8.0} ns");
    result
}

/// 40 bytes: directory, hash, name.
fn name_key(number: u64) -> [u8; 40] {
    let mut key = *b"directry--hash--a file name of 24 bytes.";
    key[8..16].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key
}

fn main() -> Result<()> {
    ascending()?;
    random()
}

fn ascending() -> Result<()> {
    let source = Pages::new(1 << 30);
    let mut obsolete = Obsolete::new();
    let mut tree = Tree::empty(TreeId::Inodes);
    measure("put, ascending 8-byte keys, 136-byte values", ENTRIES, || {
        (0..ENTRIES).try_for_each(|ino| {
            tree.put(&source, &mut obsolete, &ino.to_be_bytes(), &[7; 136]).map(|_| ())
        })
    })?;
    let shape = tree.verify(&source)?;
    let fill = shape.leaf_bytes as f64 / (shape.leaves * NODE_SIZE as u64) as f64;
    println!("leaves {:.1} % full, {} inner nodes", fill * 100.0, shape.inner_nodes);
    measure("replace, ascending", ENTRIES, || {
        (0..ENTRIES).try_for_each(|ino| {
            tree.put(&source, &mut obsolete, &ino.to_be_bytes(), &[8; 136]).map(|_| ())
        })
    })?;
    Ok(())
}

fn random() -> Result<()> {
    let source = Pages::new(1 << 30);
    let mut obsolete = Obsolete::new();
    let mut tree = Tree::empty(TreeId::Names);
    measure("put, random 40-byte keys, 9-byte values, from empty", ENTRIES, || {
        (0..ENTRIES).try_for_each(|number| {
            tree.put(&source, &mut obsolete, &name_key(number), &[7; 9]).map(|_| ())
        })
    })?;
    let mut order: Vec<u64> = (0..ENTRIES).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut order);
    lookups("dirty", &tree, &source, &order)?;
    measure("put again, random, dirty", ENTRIES, || {
        order.iter().try_for_each(|number| {
            tree.put(&source, &mut obsolete, &name_key(*number), &[9; 9]).map(|_| ())
        })
    })?;
    let dirty = tree.dirty_nodes() as u64;
    measure("write_home, a node", dirty, || {
        tree.clone().write_home(&mut |_, page| Ok(source.write(page, 1)))
    })?;
    measure("unpin, a node", dirty, || tree.unpin(&source.cache, &mut obsolete));
    lookups("at home, cached", &tree, &source, &order)?;
    let few = &order[..2000];
    measure("put, random, first change of most nodes", ENTRIES / 50, || {
        order[..ENTRIES as usize / 50].iter().try_for_each(|number| {
            tree.put(&source, &mut obsolete, &name_key(*number), &[1; 9]).map(|_| ())
        })
    })?;
    measure("put, random, each with a snapshot held", few.len() as u64, || {
        few.iter().try_for_each(|number| {
            let _snapshot = tree.clone();
            tree.put(&source, &mut obsolete, &name_key(*number), &[1; 9]).map(|_| ())
        })
    })?;
    measure("delete, random, until empty", ENTRIES, || {
        order.iter().try_for_each(|number| {
            tree.delete(&source, &mut obsolete, &name_key(*number)).map(|_| ())
        })
    })?;
    Ok(())
}

fn lookups(state: &str, tree: &Tree, source: &Pages, order: &[u64]) -> Result<()> {
    let count = order.len() as u64;
    let mut found = 0;
    measure(&format!("get_with, random, {state}"), count, || {
        order.iter().try_for_each(|number| {
            let value = tree.get_with(source, &name_key(*number), |value| value[0])?;
            found += u64::from(value.is_some());
            Ok::<_, Error>(())
        })
    })?;
    measure(&format!("get_with, one path again and again, {state}"), count, || {
        order.iter().try_for_each(|number| {
            tree.get_with(source, &name_key(number % 8), |value| value[0]).map(|_| ())
        })
    })?;
    measure(&format!("floor_with, random, {state}"), count, || {
        order.iter().try_for_each(|number| {
            tree.floor_with(source, &name_key(*number), |_, value| value[0]).map(|_| ())
        })
    })?;
    let mut sum = 0;
    measure(&format!("for_each_from, an entry, {state}"), count, || {
        tree.for_each_from(source, &[], &mut |key, _| {
            sum += u64::from(key[8]);
            ControlFlow::Continue(())
        })
    })?;
    measure(&format!("range, an entry, {state}"), count, || {
        let mut range = tree.range(source, &[])?;
        while let Some((key, _)) = range.next_entry()? {
            sum += u64::from(key[8]);
        }
        Ok::<_, Error>(())
    })?;
    println!("found {found}, sum {sum}");
    Ok(())
}
