//! Speed of names and small files on a memory device: `cargo run --release --example speed`.

use ashlar_core::{
    Caller, FormatOptions, Ino, MountOptions, NewInode, OpenFlags, Volume, WriteFlags,
};
use ashlar_device::{Device, MemoryDevice};
use std::sync::Arc;
use std::time::Instant;

fn main() {
    let count: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(2 << 30));
    Volume::format(&device, &FormatOptions::default()).expect("format");
    let options = MountOptions { cache_bytes: 1 << 30, ..MountOptions::default() };
    let volume = Volume::mount(device, &options).expect("mount");
    let names: Vec<Vec<u8>> = (0..count).map(|n| format!("file{n:08}").into_bytes()).collect();
    let bytes = vec![7; 4096];
    let caller = Caller::root();
    // On a machine that does other things, too, the time on the processor says more.
    let mut on_cpu = cpu_seconds();
    let mut report = |what: &str, start: Instant| {
        let seconds = start.elapsed().as_secs_f64();
        let cpu = cpu_seconds();
        let rate = f64::from(count) / seconds;
        println!("{what:24} {rate:9.0}/s {:9.0}/s of CPU", f64::from(count) / (cpu - on_cpu));
        on_cpu = cpu;
    };

    let start = Instant::now();
    for name in &names {
        let attr = volume.create(&caller, Ino::ROOT, name, &NewInode::file(0o644)).expect("create");
        let file = volume.open(attr.ino, OpenFlags::read_write()).expect("open");
        file.write_at(0, &bytes, WriteFlags::default()).expect("write");
    }
    report("create, write 4 KiB", start);
    let start = Instant::now();
    volume.sync().expect("sync");
    report("sync", start);
    let start = Instant::now();
    for name in &names {
        volume.lookup(Ino::ROOT, name).expect("lookup");
    }
    report("stat", start);
    let start = Instant::now();
    let mut buf = vec![0; 4096];
    for name in &names {
        let attr = volume.lookup(Ino::ROOT, name).expect("lookup");
        let file = volume.open(attr.ino, OpenFlags::read_only()).expect("open");
        file.read_at(0, &mut buf).expect("read");
    }
    report("lookup, open, read", start);
    let start = Instant::now();
    let mut found = 0;
    volume
        .read_dir(Ino::ROOT, 0, &mut |_| {
            found += 1;
            std::ops::ControlFlow::Continue(())
        })
        .expect("list");
    report("list", start);
    assert_eq!(found, count + 2);
    let start = Instant::now();
    for name in &names {
        volume.unlink(Ino::ROOT, name).expect("unlink");
    }
    report("unlink", start);
    let start = Instant::now();
    for name in &names {
        volume.create(&caller, Ino::ROOT, name, &NewInode::file(0o644)).expect("create");
    }
    report("create only", start);
    volume.unmount().expect("unmount");
}

/// Time that this thread has spent on a processor.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|first| first.parse::<f64>().ok());
    nanoseconds.unwrap_or_default() / 1e9
}
