//! Devices that fail: nothing is lost silently, and each failure is told to everyone once.

use super::*;
use ashlar_device::{DeviceError, DeviceOp, Finish, Read, Topology, Write};
use std::sync::atomic::AtomicBool;

const ROOT: Ino = Ino::ROOT;
/// Behind the log of a volume of 64 MiB: file data and nodes.
const DATA_ADDR: u64 = (2 << 20) + 8192;

/// A memory device that can be told to fail.
#[derive(Debug)]
struct FaultyDevice {
    memory: MemoryDevice,
    fail_data: AtomicBool,
    fail_reads: AtomicBool,
    fail_all: AtomicBool,
}

impl FaultyDevice {
    fn check(&self, fails: bool, op: DeviceOp, addr: u64) -> ashlar_device::Result<()> {
        if !fails {
            return Ok(());
        }
        let source = std::io::Error::from_raw_os_error(libc::EIO);
        Err(DeviceError { op, addr, length: 0, device: "faulty".into(), source })
    }
}

impl Device for FaultyDevice {
    fn topology(&self) -> &Topology {
        self.memory.topology()
    }
    fn read_at(&self, addr: u64, buf: &mut [u8]) -> ashlar_device::Result<()> {
        let fails = self.fail_reads.load(Ordering::Relaxed) && addr >= DATA_ADDR;
        self.check(fails, DeviceOp::Read, addr)?;
        self.memory.read_at(addr, buf)
    }
    fn read_batch(&self, reads: &mut [Read<'_>]) -> ashlar_device::Result<()> {
        reads.iter_mut().try_for_each(|read| self.read_at(read.addr, read.buf))
    }
    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> ashlar_device::Result<()> {
        for write in writes {
            let fails = self.fail_all.load(Ordering::Relaxed)
                || self.fail_data.load(Ordering::Relaxed) && write.addr >= DATA_ADDR;
            self.check(fails, DeviceOp::Write, write.addr)?;
        }
        self.memory.submit(writes, finish)
    }
    fn discard(&self, addr: u64, length: u64) -> ashlar_device::Result<()> {
        self.memory.discard(addr, length)
    }
    fn write_zeroes(&self, addr: u64, length: u64) -> ashlar_device::Result<()> {
        self.memory.write_zeroes(addr, length)
    }
}

fn faulty() -> (Arc<FaultyDevice>, Arc<Volume>) {
    let faulty = Arc::new(FaultyDevice {
        memory: MemoryDevice::new(64 << 20),
        fail_data: AtomicBool::new(false),
        fail_reads: AtomicBool::new(false),
        fail_all: AtomicBool::new(false),
    });
    let device: Arc<dyn Device> = Arc::<FaultyDevice>::clone(&faulty);
    Volume::format(&device, &FormatOptions::default()).unwrap();
    (faulty, Volume::mount(device, &options()).unwrap())
}

#[test]
fn an_image_that_lost_data_on_its_way_is_not_committed() {
    let (device, volume) = faulty();
    let ino = make(&volume, ROOT, "file");
    let old = pattern(1, 1 << 20);
    write(&open(&volume, ino), 0, &old);
    volume.unmount().unwrap();
    let small = MountOptions { cache_bytes: 2 << 20, ..options() };
    let volume = Volume::mount(Arc::<FaultyDevice>::clone(&device) as _, &small).unwrap();
    let file = volume.open(ino, OpenFlags { atomic: true, ..OpenFlags::read_write() }).unwrap();
    device.fail_data.store(true, Ordering::Relaxed);
    write(&file, 0, &pattern(2, 900_000));
    write(&file, 900_000, &pattern(3, 1_500_000));
    // Each write was slowed down until it had been tried to stage what was dirty.
    device.fail_data.store(false, Ordering::Relaxed);
    assert_eq!(errno(file.fsync(false)), libc::EIO);
    assert_eq!(errno(file.fsync(false)), libc::EIO, "it is not whole the second time either");
    file.abort_atomic().unwrap();
    assert!(read_all(&file) == old);
    write(&file, 5, b"new");
    file.fsync(false).unwrap();
    drop(file);
    let found = read_all(&open(&remount(&volume, &options()), ino));
    assert!(&found[5..8] == b"new" && found[8..] == old[8..]);
}

#[test]
fn a_failed_writeback_is_told_once_to_each_handle_and_the_volume_lives() {
    let (device, volume) = faulty();
    let ino = make(&volume, ROOT, "file");
    let (first, second) = (open(&volume, ino), open(&volume, ino));
    write(&first, 0, &pattern(1, 3 << 20));
    volume.store.sync_all().unwrap();
    let available = volume.statfs().available;
    device.fail_data.store(true, Ordering::Relaxed);
    assert_eq!(errno(first.fsync(false)), libc::EIO);
    device.fail_data.store(false, Ordering::Relaxed);
    first.fsync(false).unwrap();
    assert_eq!(errno(second.fsync(true)), libc::EIO);
    second.fsync(true).unwrap();
    open(&volume, ino).fsync(false).unwrap();
    assert!(volume.statfs().available >= available + 700, "promises were given back");
    // The file works again.
    write(&first, 0, &pattern(2, 3 << 20));
    first.fsync(false).unwrap();
    assert!(read_all(&first) == pattern(2, 3 << 20));
    drop((first, second));
    let volume = remount(&volume, &options());
    assert!(read_all(&open(&volume, ino)) == pattern(2, 3 << 20));
}

#[test]
fn a_sync_of_the_volume_tells_of_failed_writeback() {
    let (device, volume) = faulty();
    let file = open(&volume, make(&volume, ROOT, "file"));
    write(&file, 0, &pattern(1, 3 << 20));
    device.fail_data.store(true, Ordering::Relaxed);
    assert_eq!(errno(volume.sync()), libc::EIO);
    device.fail_data.store(false, Ordering::Relaxed);
    assert_eq!(errno(file.fsync(false)), libc::EIO);
    volume.sync().unwrap();
}

#[test]
fn a_failed_direct_write_changes_nothing_but_the_range() {
    let (device, volume) = faulty();
    let ino = make(&volume, ROOT, "file");
    let file = volume.open(ino, OpenFlags { direct: true, ..OpenFlags::read_write() }).unwrap();
    write(&file, 0, &pattern(1, 1 << 20));
    let available = volume.statfs().available;
    device.fail_data.store(true, Ordering::Relaxed);
    let failed = file.write_at(1 << 20, &pattern(2, 1 << 20), WriteFlags::default());
    assert_eq!(errno(failed), libc::EIO);
    device.fail_data.store(false, Ordering::Relaxed);
    assert!(read_all(&file) == pattern(1, 1 << 20));
    assert!(volume.statfs().available + 8 >= available);
    drop(file);
    let volume = remount(&volume, &options());
    assert!(read_all(&open(&volume, ino)) == pattern(1, 1 << 20));
}

#[test]
fn a_device_that_cannot_read_fails_reads_only() {
    let (device, volume) = faulty();
    let ino = make(&volume, ROOT, "file");
    let file = volume.open(ino, OpenFlags { direct: true, ..OpenFlags::read_write() }).unwrap();
    write(&file, 0, &pattern(1, 1 << 20));
    device.fail_reads.store(true, Ordering::Relaxed);
    assert_eq!(errno(file.read_at(0, &mut [0; 4096])), libc::EIO);
    assert_eq!(errno(open(&volume, ino).read_at(0, &mut [0; 4096])), libc::EIO);
    device.fail_reads.store(false, Ordering::Relaxed);
    assert!(read_all(&file) == pattern(1, 1 << 20));
}

#[test]
fn a_log_that_cannot_be_written_stops_the_volume() {
    let (device, volume) = faulty();
    let ino = make(&volume, ROOT, "file");
    write(&open(&volume, ino), 0, b"synced");
    volume.sync().unwrap();
    make(&volume, ROOT, "later");
    device.fail_all.store(true, Ordering::Relaxed);
    assert_eq!(errno(volume.sync()), libc::EIO);
    device.fail_all.store(false, Ordering::Relaxed);
    let create = volume.create(&Caller::root(), ROOT, b"x", &NewInode::file(0));
    assert_eq!(errno(create), libc::EIO);
    assert!(volume.lookup(ROOT, b"later").is_ok(), "reading goes on");
    assert!(volume.unmount().is_err());
    let device: Arc<dyn Device> = device;
    let volume = Volume::mount(device, &options()).unwrap();
    assert_eq!(read_all(&open(&volume, ino)), b"synced");
    assert_eq!(errno(volume.lookup(ROOT, b"later")), libc::ENOENT);
}

#[test]
fn shutdown_keeps_what_its_mode_says() {
    use crate::ShutdownMode;
    for (mode, name_kept, data_kept) in [
        (ShutdownMode::FlushLogAndData, true, true),
        (ShutdownMode::FlushLog, true, false),
        (ShutdownMode::NoFlush, false, false),
    ] {
        let device = device(64);
        let volume = Volume::mount(Arc::clone(&device), &options()).unwrap();
        let file = open(&volume, make(&volume, ROOT, "file"));
        write(&file, 0, b"data");
        volume.shutdown(mode).unwrap();
        assert_eq!(errno(volume.getattr(ROOT)), libc::EIO);
        assert_eq!(errno(file.fsync(false)), libc::EIO);
        assert_eq!(errno(file.write_at(0, b"x", WriteFlags::default())), libc::EIO);
        drop((file, volume));
        let volume = Volume::mount(device, &options()).unwrap();
        let found = volume.lookup(ROOT, b"file");
        assert_eq!(found.is_ok(), name_kept, "{mode:?}");
        if let Ok(attr) = found {
            assert_eq!(attr.size > 0, data_kept, "{mode:?}");
        }
    }
}
