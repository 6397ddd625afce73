//! Several threads at once, with background writeback.

use super::*;
use crate::{Atime, RenameFlags};
use std::sync::atomic::AtomicBool;
use std::thread;

const ROOT: Ino = Ino::ROOT;

fn busy_volume() -> Arc<Volume> {
    let options = MountOptions {
        background: true,
        cache_bytes: 8 << 20,
        atime: Atime::Strict,
        ..MountOptions::default()
    };
    Volume::mount(device(128), &options).unwrap()
}

#[test]
fn threads_make_write_read_and_remove_their_own_files() {
    let volume = busy_volume();
    thread::scope(|scope| {
        for id in 0..4u8 {
            let volume = &volume;
            scope.spawn(move || {
                let dir = make_dir(volume, ROOT, &format!("dir{id}"));
                for round in 0..150u32 {
                    let name = format!("file{round}");
                    let file = open(volume, make(volume, dir, &name));
                    let bytes = pattern(id ^ round as u8, 1000 + round as usize * 500);
                    write(&file, 0, &bytes);
                    if round % 7 == 0 {
                        file.fsync(round % 2 == 0).unwrap();
                    }
                    assert!(read_all(&file) == bytes);
                    if round % 3 == 0 {
                        volume.unlink(dir, name.as_bytes()).unwrap();
                    }
                    if round % 50 == 0 {
                        volume.sync().unwrap();
                    }
                }
            });
        }
    });
    let device = Arc::clone(volume.store.device());
    volume.unmount().unwrap();
    fsck(&device);
    let volume = Volume::mount(device, &options()).unwrap();
    for id in 0..4u8 {
        let dir = volume.lookup(ROOT, format!("dir{id}").as_bytes()).unwrap();
        assert_eq!(dir.size, 100);
        for round in (0..150u32).filter(|round| round % 3 > 0) {
            let attr = volume.lookup(dir.ino, format!("file{round}").as_bytes()).unwrap();
            let bytes = pattern(id ^ round as u8, 1000 + round as usize * 500);
            assert!(read_all(&open(&volume, attr.ino)) == bytes);
        }
    }
}

#[test]
fn names_move_between_directories_without_deadlock_or_loss() {
    let volume = busy_volume();
    let dirs: Vec<Ino> = (0..3).map(|n| make_dir(&volume, ROOT, &format!("d{n}"))).collect();
    for n in 0..30 {
        make(&volume, dirs[n % 3], &format!("f{n}"));
        make_dir(&volume, dirs[n % 3], &format!("s{n}"));
    }
    let attempts = |seed: u64, volume: &Volume, dirs: &[Ino]| {
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..1500 {
            let mut place = || {
                let kind = if rng.bool() { 'f' } else { 's' };
                let name = format!("{kind}{}", rng.u8(0..30)).into_bytes();
                let top = dirs[rng.usize(..dirs.len())];
                // Sometimes inside one of the directories that move.
                let inner = volume.lookup(top, format!("s{}", rng.u8(0..30)).as_bytes());
                let dir = inner.ok().filter(|_| rng.u8(0..3) == 0).map_or(top, |attr| attr.ino);
                (dir, name)
            };
            let (from, to) = (place(), place());
            let flags = if rng.bool() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
            let root = Caller::root();
            // Any outcome but damage and a stuck thread will do.
            if let Err(error) = volume.rename(&root, from.0, &from.1, to.0, &to.1, flags) {
                let harmless =
                    [libc::ENOENT, libc::EEXIST, libc::EINVAL, libc::ENOTDIR, libc::ESTALE];
                assert!(harmless.contains(&error.errno()), "{error}");
            }
        }
    };
    thread::scope(|scope| {
        for id in 0..4 {
            let (volume, dirs) = (&volume, &dirs);
            scope.spawn(move || attempts(id, volume, dirs));
        }
    });
    assert_eq!(volume.statfs().files, 1 + 3 + 60);
    let device = Arc::clone(volume.store.device());
    volume.unmount().unwrap();
    fsck(&device);
}

#[test]
fn readers_never_see_half_of_a_write() {
    for direct in [false, true] {
        let volume = busy_volume();
        let ino = make(&volume, ROOT, "file");
        let flags = OpenFlags { direct, ..OpenFlags::read_write() };
        let file = volume.open(ino, flags).unwrap();
        write(&file, 0, &[0; 65_536]);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                let (volume, stop) = (&volume, &stop);
                scope.spawn(move || {
                    let reader = open(volume, ino);
                    let mut buf = vec![0; 65_536];
                    while !stop.load(Ordering::Relaxed) {
                        reader.read_at(0, &mut buf).unwrap();
                        // Direct overwrites run beside each other and beside reads of the device.
                        if !direct {
                            assert!(buf.iter().all(|byte| *byte == buf[0]));
                        }
                    }
                });
            }
            let (file, stop) = (&file, &stop);
            scope.spawn(move || {
                for round in 0..300u32 {
                    write(file, 0, &[round as u8; 65_536]);
                    if round % 20 == 0 {
                        file.fsync(true).unwrap();
                    }
                }
                stop.store(true, Ordering::Relaxed);
            });
        });
        assert!(read_all(&file) == [299u32 as u8; 65_536]);
    }
}

#[test]
fn truncation_races_with_writeback_and_readers() {
    let volume = busy_volume();
    let ino = make(&volume, ROOT, "file");
    thread::scope(|scope| {
        for id in 0..4u64 {
            let volume = &volume;
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(id);
                let file = open(volume, ino);
                for _ in 0..300 {
                    let at = rng.u64(0..300_000);
                    match rng.u8(0..6) {
                        0 => file.set_len(at).unwrap(),
                        1 => file.fsync(rng.bool()).unwrap(),
                        2 => {
                            let mut buf = vec![0; 50_000];
                            let count = file.read_at(at, &mut buf).unwrap();
                            // Threads write their own number only, and gaps are zeros.
                            assert!(buf[..count].iter().all(|byte| *byte <= 4));
                        }
                        3 => {
                            let mode = crate::FallocateMode::PunchHole;
                            file.allocate(&Caller::root(), mode, at, 30_000).unwrap();
                        }
                        _ => write(&file, at, &vec![id as u8 + 1; rng.usize(1..40_000)]),
                    }
                }
            });
        }
    });
    let device = Arc::clone(volume.store.device());
    volume.unmount().unwrap();
    fsck(&device);
}

#[test]
fn opening_races_with_removing() {
    let volume = busy_volume();
    thread::scope(|scope| {
        for id in 0..4u64 {
            let volume = &volume;
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(id);
                for _ in 0..2000 {
                    let name = format!("f{}", rng.u8(0..5)).into_bytes();
                    if rng.bool() {
                        let new = NewInode::file(0o644);
                        let _ = volume.create(&Caller::root(), ROOT, &name, &new);
                        let _ = volume.unlink(ROOT, format!("f{}", rng.u8(0..5)).as_bytes());
                    } else if let Ok(attr) = volume.lookup(ROOT, &name)
                        && let Ok(file) = volume.open(attr.ino, OpenFlags::read_write())
                    {
                        write(&file, 0, &[id as u8; 3000]);
                        assert_eq!(read_all(&file).len(), 3000);
                    }
                }
            });
        }
    });
    let device = Arc::clone(volume.store.device());
    volume.unmount().unwrap();
    fsck(&device);
}
