//! Goal: a volume of 16 TiB is made, opened and used with no more work than a small one.
//! Method: a sparse device in memory that counts its requests.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use ashlar_core::{
    Caller, FileKind, FormatOptions, Ino, MountOptions, NewInode, OpenFlags, Volume, WriteFlags,
};
use ashlar_device::Device;
use ashlar_sim::device::SimDevice;
use ashlar_sim::image::Image;
use std::sync::Arc;

const VOLUME_BYTES: u64 = 16 << 40;
/// Requests that formatting may take: the log in pieces, a few nodes, superblocks.
const FORMAT_EVENTS: usize = 100;
/// Requests that opening, one small file and unmounting may take.
const USE_EVENTS: usize = 100;

#[test]
fn sixteen_tebibytes_cost_no_more_than_a_small_volume() {
    let device = Arc::new(SimDevice::new(VOLUME_BYTES, Image::default()));
    let shared = Arc::clone(&device) as Arc<dyn Device>;
    Volume::format(&shared, &FormatOptions::default()).unwrap();
    let formatted = device.event_count();
    assert!(formatted <= FORMAT_EVENTS, "formatting took {formatted} requests");

    let options = MountOptions { background: false, ..MountOptions::default() };
    let volume = Volume::mount(Arc::clone(&shared), &options).unwrap();
    let new = NewInode { kind: FileKind::Regular, mode: 0o644, rdev: 0, symlink_target: b"" };
    let ino = volume.create(&Caller::root(), Ino::ROOT, b"file", &new).unwrap().ino;
    let flags = OpenFlags { read: true, write: true, ..OpenFlags::default() };
    let file = volume.open(ino, flags).unwrap();
    file.write_at(0, &[7; 100_000], WriteFlags::default()).unwrap();
    file.fsync(false).unwrap();
    drop(file);
    volume.unmount().unwrap();
    let used = device.event_count() - formatted;
    assert!(used <= USE_EVENTS, "using it took {used} requests");

    let volume = Volume::mount(shared, &options).unwrap();
    let file = volume.open(ino, OpenFlags { read: true, ..OpenFlags::default() }).unwrap();
    let mut bytes = vec![0; 100_000];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    assert!(bytes.iter().all(|byte| *byte == 7));
}
