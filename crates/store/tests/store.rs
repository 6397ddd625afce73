//! Goal: what transactions commit is what readers, later opens and replays see.
//! Method: random transactions against plain maps, with reopen at random moments, clean and not.

#![allow(clippy::unwrap_used)]
use ashlar_device::{AlignedBuf, Device, MemoryDevice};
use ashlar_format::BLOCK_SIZE;
use ashlar_format::key::TreeId;
use ashlar_format::limits::BLOCK_BYTES;
use ashlar_format::log::DataSums;
use ashlar_store::{AllocHint, Error, FormatOptions, OpenOptions, SharedBytes, Store};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

fn device(bytes: u64) -> Arc<dyn Device> {
    Arc::new(MemoryDevice::new(bytes))
}

fn format(device: &Arc<dyn Device>) {
    let options = FormatOptions { label: "test".into(), ..Default::default() };
    Store::format(device, &options, |txn| txn.put(TreeId::Names, b"first", b"entry")).unwrap();
}

fn open(device: &Arc<dyn Device>) -> Arc<Store> {
    let options = OpenOptions { background: false, node_cache_bytes: 1 << 20, read_only: false };
    Store::open(Arc::clone(device), &options).unwrap().0
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

#[test]
fn formatted_volume_holds_its_first_entries() {
    let device = device(16 << 20);
    format(&device);
    let store = open(&device);
    assert_eq!(store.label(), "test");
    assert_eq!(store.get(TreeId::Names, b"first").unwrap().as_deref(), Some(&b"entry"[..]));
    store.close().unwrap();
    assert!(matches!(store.begin().commit(), Err(Error::Shutdown { .. })));
}

#[test]
fn label_survives_reopen() {
    let device = device(16 << 20);
    format(&device);
    open(&device).set_label("new name").unwrap();
    assert_eq!(open(&device).label(), "new name");
}

#[test]
fn committed_and_synced_transactions_survive_reopen() {
    let device = device(32 << 20);
    format(&device);
    let mut random = fastrand::Rng::with_seed(3);
    let mut model = contents(&open(&device), TreeId::Names);
    for round in 0..30 {
        let store = open(&device);
        assert_eq!(contents(&store, TreeId::Names), model, "round {round}");
        for _ in 0..random.usize(1..400) {
            let mut txn = store.begin();
            for _ in 0..random.usize(1..8) {
                let key = random.u32(..3000).to_be_bytes().repeat(random.usize(1..5));
                if random.u8(..3) == 0 {
                    txn.delete(TreeId::Names, &key);
                    model.remove(&key);
                } else {
                    let value = vec![random.u8(..); random.usize(..900)];
                    txn.put(TreeId::Names, &key, &value);
                    model.insert(key, value);
                }
            }
            txn.commit().unwrap();
            if random.u8(..20) == 0 {
                store.sync_all().unwrap();
            }
            if random.u8(..60) == 0 {
                store.checkpoint().unwrap();
            }
        }
        if random.bool() {
            store.close().unwrap();
        } else {
            // A process that just dies after its last sync.
            store.sync_all().unwrap();
        }
    }
}

/// Every block is free or held by exactly one owner, over reopens, and none is given out twice.
#[test]
fn allocations_never_overlap_and_frees_come_back() {
    let device = device(64 << 20);
    format(&device);
    let mut random = fastrand::Rng::with_seed(5);
    let mut owned: Vec<(u64, u64)> = Vec::new();
    for _ in 0..20 {
        let store = open(&device);
        for _ in 0..random.usize(1..200) {
            let mut txn = store.begin();
            if random.u8(..5) < 3 {
                let want = random.u64(1..300);
                let Ok(mut promise) = store.reserve(want) else { continue };
                while promise.blocks() > 0 {
                    let left = promise.blocks();
                    let grant = store.allocate(&mut promise, left, AllocHint::default()).unwrap();
                    owned.push((grant.block(), grant.count()));
                    txn.take(grant);
                }
            } else if !owned.is_empty() {
                let (block, count) = owned.swap_remove(random.usize(..owned.len()));
                txn.free(block, count);
            }
            txn.commit().unwrap();
        }
        let mut sorted = owned.clone();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
        if random.bool() { store.close().unwrap() } else { store.sync_all().unwrap() }
    }
    let store = open(&device);
    for (block, count) in owned.drain(..) {
        let mut txn = store.begin();
        txn.free(block, count);
        txn.commit().unwrap();
    }
    store.close().unwrap();
    let store = open(&device);
    let space = store.space();
    assert!(space.total - space.free < 64, "{space:?}");
}

/// Space promised can be had, however the free space is cut up; what is set aside lets the
/// volume free again.
#[test]
fn full_volume_keeps_promises_and_can_free() {
    let device = device(16 << 20);
    format(&device);
    let store = open(&device);
    let mut random = fastrand::Rng::with_seed(9);
    let mut owned = Vec::new();
    for round in 0..6 {
        loop {
            let mut promise = match store.reserve(random.u64(1..6)) {
                Ok(promise) => promise,
                Err(Error::NoSpace { .. }) => break,
                Err(error) => panic!("{error}"),
            };
            let mut txn = store.begin();
            while promise.blocks() > 0 {
                let left = promise.blocks();
                let grant = store.allocate(&mut promise, left, AllocHint::default()).unwrap();
                owned.push((grant.block(), grant.count()));
                let key = grant.block().to_be_bytes();
                txn.put(TreeId::Extents, &key, &grant.count().to_le_bytes());
                txn.take(grant);
            }
            txn.commit().unwrap();
        }
        assert!(owned.len() > 300, "round {round}: only {} extents fit", owned.len());
        random.shuffle(&mut owned);
        let keep = random.usize(..owned.len() / 2);
        for (block, count) in owned.drain(keep..) {
            let mut txn = store.begin();
            txn.delete(TreeId::Extents, &block.to_be_bytes());
            txn.free(block, count);
            txn.commit().unwrap();
        }
    }
    store.close().unwrap();
    open(&device).close().unwrap();
}

#[test]
fn attached_data_is_on_the_device_after_sync() {
    let device = device(16 << 20);
    format(&device);
    let store = open(&device);
    let mut promise = store.reserve(2).unwrap();
    let grant = store.allocate(&mut promise, 2, AllocHint::default()).unwrap();
    let block = grant.block();
    let buf = Arc::new(AlignedBuf::from_slice(&[7; 2 * BLOCK_SIZE]));
    let mut txn = store.begin();
    txn.wrote(DataSums::of(block, &buf));
    txn.attach(block, SharedBytes::new(buf, 0..2 * BLOCK_SIZE));
    txn.take(grant);
    let lsn = txn.commit().unwrap();
    store.sync(lsn).unwrap();
    let mut read = vec![0; 2 * BLOCK_SIZE];
    device.read_at(block * BLOCK_BYTES, &mut read).unwrap();
    assert!(read.iter().all(|byte| *byte == 7));
}

/// A record whose data is not there never finished: recovery ends the log in front of it.
#[test]
fn record_without_its_data_is_discarded() {
    let device = device(16 << 20);
    format(&device);
    let store = open(&device);
    store.prove_all().unwrap();
    let mut promise = store.reserve(1).unwrap();
    let grant = store.allocate(&mut promise, 1, AllocHint::default()).unwrap();
    let block = grant.block();
    let mut txn = store.begin();
    // The sums speak of bytes that nobody wrote.
    txn.wrote(DataSums::of(block, &[7; BLOCK_SIZE]));
    txn.put(TreeId::Names, b"half", b"");
    txn.take(grant);
    let lsn = txn.commit().unwrap();
    store.sync(lsn).unwrap();
    let options = OpenOptions { background: false, ..Default::default() };
    let (store, report) = Store::open(Arc::clone(&device), &options).unwrap();
    assert_eq!(report.discarded_records, 1);
    assert_eq!(store.get(TreeId::Names, b"half").unwrap(), None);
}

#[test]
fn readers_see_a_snapshot_while_the_trees_change() {
    let device = device(32 << 20);
    format(&device);
    let store = open(&device);
    for i in 0..3000u32 {
        let mut txn = store.begin();
        txn.put(TreeId::Names, &i.to_be_bytes(), &[1; 100]);
        txn.commit().unwrap();
    }
    let view = store.view();
    let mut seen = 0;
    view.scan(TreeId::Names, b"", &mut |_, value| {
        if seen % 100 == 0 {
            for i in 0..30u32 {
                let mut txn = store.begin();
                txn.put(TreeId::Names, &(seen as u32 + i).to_be_bytes(), &[2; 120]);
                txn.commit().unwrap();
            }
            store.checkpoint().unwrap();
        }
        seen += 1;
        assert!(value == b"entry" || value == [1; 100]);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(seen, 3001);
}

#[test]
fn threads_commit_and_sync_together() {
    let device = device(64 << 20);
    format(&device);
    let options = OpenOptions { background: true, ..Default::default() };
    let (store, _) = Store::open(Arc::clone(&device), &options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..2000u32 {
                    let mut txn = store.begin();
                    let key = [thread.to_be_bytes(), i.to_be_bytes()].concat();
                    txn.put(TreeId::Xattrs, &key, &[thread as u8; 200]);
                    let lsn = txn.commit().unwrap();
                    if i % 50 == 0 {
                        store.sync(lsn).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(store.entry_count(TreeId::Xattrs), 8000);
    store.close().unwrap();
    assert_eq!(open(&device).entry_count(TreeId::Xattrs), 8000);
}

#[test]
fn damaged_superblocks_are_refused_and_one_copy_is_enough() {
    let device = device(16 << 20);
    format(&device);
    device.write_at(0, &[0; BLOCK_SIZE]).unwrap();
    assert_eq!(open(&device).label(), "test");
    format(&device);
    device.write_at(BLOCK_BYTES, &[0; BLOCK_SIZE]).unwrap();
    assert_eq!(open(&device).label(), "test");
    device.write_at(0, &[0; BLOCK_SIZE]).unwrap();
    device.write_at(BLOCK_BYTES, &[0; BLOCK_SIZE]).unwrap();
    assert!(Store::open(Arc::clone(&device), &OpenOptions::default()).is_err());
}

#[test]
fn read_only_open_replays_but_writes_nothing() {
    let device = device(16 << 20);
    format(&device);
    let store = open(&device);
    let mut txn = store.begin();
    txn.put(TreeId::Names, b"later", b"x");
    let lsn = txn.commit().unwrap();
    store.sync(lsn).unwrap();
    drop(store);
    let mut before = vec![0; 16 << 20];
    device.read_at(0, &mut before).unwrap();
    let options = OpenOptions { read_only: true, ..Default::default() };
    let (store, _) = Store::open(Arc::clone(&device), &options).unwrap();
    assert!(store.get(TreeId::Names, b"later").unwrap().is_some());
    assert!(matches!(store.begin().commit(), Err(Error::ReadOnly)));
    store.close().unwrap();
    let mut after = vec![0; 16 << 20];
    device.read_at(0, &mut after).unwrap();
    assert!(before == after);
}

#[test]
fn sizes_from_smallest_to_sparse_large_format() {
    assert!(Store::format(&device(15 << 20), &FormatOptions::default(), |_| {}).is_err());
    for bytes in [16 << 20, (16 << 20) + 4096, (128 << 20) + 4096, 300 << 20] {
        let device = device(bytes);
        format(&device);
        open(&device).close().unwrap();
    }
}

/// What recovery has once judged absent stays absent, also where the record that was lost was an
/// empty one: the proof in its place must not continue to the record behind it.
#[test]
fn record_behind_a_lost_one_never_comes_back() {
    let device = device(16 << 20);
    format(&device);
    let store = open(&device);
    store.sync_now().unwrap();
    let lost = store.last_lsn().0;
    let mut txn = store.begin();
    txn.put(TreeId::Names, b"77", b"");
    let lsn = txn.commit().unwrap();
    assert_eq!(lsn.0, lost + 1);
    store.sync(lsn).unwrap();
    drop(store);
    let mut sector = vec![0; 512];
    let log = 2 * BLOCK_BYTES..(2 + 512) * BLOCK_BYTES;
    for addr in log.step_by(512) {
        device.read_at(addr, &mut sector).unwrap();
        if sector.starts_with(b"ALOG") && sector[24..32] == lost.to_le_bytes() {
            device.write_at(addr, &[0; 512]).unwrap();
        }
    }
    assert_eq!(open(&device).get(TreeId::Names, b"77").unwrap(), None);
    assert_eq!(open(&device).get(TreeId::Names, b"77").unwrap(), None);
}

/// Freed behind the journaling transaction and in the same record: what the log holds for the block
/// is void after a crash, too, or it would cover the block's next owner.
#[test]
fn journaled_block_freed_in_the_same_record_is_forgotten_at_replay() {
    let device = device(16 << 20);
    format(&device);
    let store = open(&device);
    let mut promise = store.reserve(1).unwrap();
    let grant = store.allocate(&mut promise, 1, AllocHint::default()).unwrap();
    let block = grant.block();
    let mut txn = store.begin();
    txn.take(grant);
    txn.put(TreeId::Extents, b"owner", b"");
    let lsn = txn.commit().unwrap();
    store.sync(lsn).unwrap();
    let bytes = SharedBytes::new(Arc::new(AlignedBuf::from_slice(&[7; BLOCK_SIZE])), 0..BLOCK_SIZE);
    let mut txn = store.begin();
    txn.journal(block, &bytes);
    let journaled = txn.commit().unwrap();
    let mut txn = store.begin();
    txn.delete(TreeId::Extents, b"owner");
    txn.free(block, 1);
    let freed = txn.commit().unwrap();
    assert_eq!(journaled, freed, "one record carries both");
    store.sync(freed).unwrap();
    assert!(store.journaled(block..block + 1).is_empty());
    drop(store);
    assert!(open(&device).journaled(block..block + 1).is_empty());
}
