//! Tests of whole volumes on a memory device.

mod atomic;
mod attributes;
mod beside;
mod concurrency;
mod data;
mod faults;
mod name_cache;
mod names;
mod orphans;
mod random;
mod space;

use crate::{
    Caller, Clock, File, FormatOptions, Ino, MountOptions, NewInode, OpenFlags, Timestamp, Volume,
    WriteFlags,
};
use ashlar_device::{Device, MemoryDevice};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A clock that goes on by a second each time it is asked.
#[derive(Debug, Default)]
pub(crate) struct TickingClock(AtomicI64);

impl Clock for TickingClock {
    fn now(&self) -> Timestamp {
        let seconds = 1_000_000 + self.0.fetch_add(1, Ordering::Relaxed);
        Timestamp { seconds, nanoseconds: 5 }
    }
}

pub(crate) fn options() -> MountOptions {
    MountOptions {
        background: false,
        clock: Arc::new(TickingClock::default()),
        cache_bytes: 64 << 20,
        ..MountOptions::default()
    }
}

pub(crate) fn device(megabytes: u64) -> Arc<dyn Device> {
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(megabytes << 20));
    let format =
        FormatOptions { uuid: Some([7; 16]), hash_seed: Some(42), ..FormatOptions::default() };
    Volume::format(&device, &format).unwrap();
    device
}

pub(crate) fn volume() -> Arc<Volume> {
    Volume::mount(device(64), &options()).unwrap()
}

/// Unmounts, checks everything on the device, and mounts again.
pub(crate) fn remount(volume: &Arc<Volume>, options: &MountOptions) -> Arc<Volume> {
    let device = Arc::clone(volume.store.device());
    volume.unmount().unwrap();
    fsck(&device);
    Volume::mount(device, options).unwrap()
}

/// The checker, which shares no code with this crate, finds nothing wrong.
#[track_caller]
pub(crate) fn fsck(device: &Arc<dyn Device>) {
    let mut findings = Vec::new();
    let mut note = |finding: &ashlar_check::Finding| findings.push(finding.to_string());
    let options = ashlar_check::CheckOptions { on_finding: &mut note, ..Default::default() };
    let report = ashlar_check::check(&**device, options).unwrap();
    assert_eq!((report.exit_code(), report.warnings), (0, 0), "{findings:#?}");
}

pub(crate) fn make(volume: &Volume, dir: Ino, name: &str) -> Ino {
    let new = NewInode::file(0o644);
    volume.create(&Caller::root(), dir, name.as_bytes(), &new).unwrap().ino
}

pub(crate) fn make_dir(volume: &Volume, dir: Ino, name: &str) -> Ino {
    let new = NewInode::directory(0o755);
    volume.create(&Caller::root(), dir, name.as_bytes(), &new).unwrap().ino
}

pub(crate) fn open(volume: &Arc<Volume>, ino: Ino) -> Arc<File> {
    volume.open(ino, OpenFlags::read_write()).unwrap()
}

pub(crate) fn write(file: &File, offset: u64, bytes: &[u8]) {
    assert_eq!(file.write_at(offset, bytes, WriteFlags::default()).unwrap(), bytes.len());
}

pub(crate) fn read_all(file: &File) -> Vec<u8> {
    let mut bytes = vec![0xee; file.attr().unwrap().size as usize + 10];
    let count = file.read_at(0, &mut bytes).unwrap();
    bytes.truncate(count);
    bytes
}

pub(crate) fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ seed).collect()
}

#[track_caller]
pub(crate) fn errno<T: std::fmt::Debug>(result: crate::Result<T>) -> i32 {
    result.unwrap_err().errno()
}
