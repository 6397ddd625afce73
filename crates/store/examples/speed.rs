//! Figures of the hot paths: transactions like a create, like an unlink, and lookups.

use ashlar_device::{Device, MemoryDevice};
use ashlar_format::key::{self, TreeId};
use ashlar_store::{FormatOptions, OpenOptions, Store};
use std::sync::Arc;
use std::time::Instant;

const COUNT: u64 = 200_000;

fn main() {
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(1 << 30));
    Store::format(&device, &FormatOptions::default(), |_| {}).expect("memory does not fail");
    let (store, _) = Store::open(device, &OpenOptions::default()).expect("just formatted");
    let name = |i: u64| {
        let name = format!("file{i:08}");
        key::name(1, ashlar_format::checksum::name_hash(5, name.as_bytes()), name.as_bytes())
    };
    time("create", || {
        for i in 0..COUNT {
            let mut txn = store.begin();
            txn.put(TreeId::Inodes, &key::inode(i + 2), &[3; 128]);
            txn.put(TreeId::Inodes, &key::inode(1), &[3; 128]);
            txn.put(TreeId::Names, &name(i), &[1; 9]);
            txn.commit().expect("memory does not fail");
        }
    });
    time("lookup", || {
        for i in 0..COUNT {
            store.get_with(TreeId::Names, &name(i), <[u8]>::len).expect("memory does not fail");
        }
    });
    time("unlink", || {
        for i in 0..COUNT {
            let mut txn = store.begin();
            txn.delete(TreeId::Inodes, &key::inode(i + 2));
            txn.put(TreeId::Inodes, &key::inode(1), &[3; 128]);
            txn.delete(TreeId::Names, &name(i));
            txn.commit().expect("memory does not fail");
        }
    });
    time("close", || store.close().expect("memory does not fail"));
}

fn time(what: &str, act: impl FnOnce()) {
    let start = Instant::now();
    act();
    let each = start.elapsed().as_secs_f64() / COUNT as f64;
    println!("{what}: {:.2} µs, {:.0}/s", each * 1e6, 1.0 / each);
}
