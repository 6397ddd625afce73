//! Figures of one durable commit: 16 KiB overwritten in place and a record, one batch, one flush;
//! in turn with pwrite + fdatasync of a plain file on the same host file system.

use ashlar_device::{AlignedBuf, Device, FileDevice, OpenMode};
use ashlar_format::key::{self, TreeId};
use ashlar_store::{AllocHint, FormatOptions, OpenOptions, SharedBytes, Store};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 10;
const COMMITS: usize = 200;
const BLOCKS: u64 = 16 << 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let (image, plain) = (format!("{dir}/commit.img"), format!("{dir}/commit.plain"));
    let mode = OpenMode { create_size: Some(256 << 20), ..OpenMode::default() };
    let device: Arc<dyn Device> = Arc::new(FileDevice::open(&image, mode)?);
    Store::format(&device, &FormatOptions { prealloc: true, ..Default::default() }, |_| {})?;
    let (store, _) = Store::open(device, &OpenOptions::default())?;
    let mut promise = store.reserve(BLOCKS)?;
    let grant = store.allocate(&mut promise, BLOCKS, AllocHint::default())?;
    let (block, count) = (grant.block(), grant.count());
    let file = std::fs::File::create(&plain)?;
    file.write_all_at(&vec![1; 64 << 20], 0)?;
    file.sync_all()?;
    let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..COMMITS {
            let at = block + fastrand::u64(..count / 4) * 4;
            let buf = Arc::new(AlignedBuf::from_slice(&[7; 16384]));
            store.ensure_overwritable(at, &buf)?;
            let mut txn = store.begin();
            txn.attach(at, SharedBytes::new(buf, 0..16384));
            txn.put(TreeId::Inodes, &key::inode(9), &[1; 128]);
            store.sync(txn.commit()?)?;
        }
        ours += start.elapsed();
        let start = Instant::now();
        for _ in 0..COMMITS {
            file.write_all_at(&[7; 16384], fastrand::u64(..4096) * 16384)?;
            file.sync_data()?;
        }
        theirs += start.elapsed();
    }
    drop(grant);
    store.close()?;
    let each = |total: Duration| total.as_secs_f64() * 1e6 / (ROUNDS * COMMITS) as f64;
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("ours {:.0} µs, plain {:.0} µs, ratio {ratio:.2}", each(ours), each(theirs));
    std::fs::remove_file(image)?;
    std::fs::remove_file(plain)?;
    Ok(())
}
