//! Reading and writing: cached, direct, synchronous; space; holes; copying.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use rustix::fs::{FallocateFlags, SeekFrom as Whence, copy_file_range, fallocate, seek};

use crate::harness::{Mount, errno};

/// Bytes that say where they belong.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at / 512) as u8 ^ at as u8 ^ seed).collect()
}

fn read_write(mount: &Mount, name: &str) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(mount.at(name)).expect("open")
}

#[test]
fn random_writes_and_truncations_read_back_as_a_vector_would() {
    let Some(mut mount) = Mount::new() else { return };
    let seed = 0xda7a_5eed;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model: Vec<u8> = Vec::new();
    for round in 0..3 {
        let file = read_write(&mount, "file");
        for step in 0..300 {
            let at = random.usize(..3 << 20);
            match random.u8(..10) {
                0 => {
                    model.resize(at, 0);
                    file.set_len(at as u64).unwrap();
                }
                1 => file.sync_data().unwrap(),
                _ => {
                    let bytes = pattern(random.usize(1..40_000), random.u8(..));
                    let end = at + bytes.len();
                    model.resize(model.len().max(end), 0);
                    model[at..end].copy_from_slice(&bytes);
                    file.write_all_at(&bytes, at as u64).unwrap();
                }
            }
            let length = file.metadata().unwrap().len();
            assert_eq!(length, model.len() as u64, "seed {seed} round {round} step {step}");
        }
        assert!(fs::read(mount.at("file")).unwrap() == model, "seed {seed} round {round}");
        drop(file);
        mount.again("");
        assert!(fs::read(mount.at("file")).unwrap() == model, "seed {seed} after round {round}");
    }
}

#[test]
fn direct_and_cached_access_see_each_other() {
    let Some(mount) = Mount::new() else { return };
    let cached = read_write(&mount, "file");
    let bytes = pattern(1 << 20, 1);
    cached.write_all_at(&bytes, 0).unwrap();
    let direct = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(mount.at("file"))
        .unwrap();
    let mut buffer = aligned(1 << 20);
    direct.read_exact_at(buffer.bytes(), 0).unwrap();
    assert!(buffer.bytes() == bytes);
    buffer.bytes().fill(7);
    direct.write_all_at(&buffer.bytes()[..8192], 4096).unwrap();
    let mut back = vec![0; 16384];
    cached.read_exact_at(&mut back, 0).unwrap();
    assert_eq!(back[..4096], bytes[..4096]);
    assert_eq!(back[4096..12288], [7; 8192]);
    assert_eq!(back[12288..], bytes[12288..16384]);
}

/// Memory at a page boundary, as direct I/O wants it.
struct Aligned(Vec<u8>, usize);

fn aligned(length: usize) -> Aligned {
    let memory = vec![0; length + 4096];
    let start = memory.as_ptr().align_offset(4096);
    Aligned(memory, start)
}

impl Aligned {
    fn bytes(&mut self) -> &mut [u8] {
        let end = self.0.len() - 4096 + self.1;
        &mut self.0[self.1..end]
    }
}

#[test]
fn synchronous_writes_of_every_kind_arrive() {
    let Some(mut mount) = Mount::new() else { return };
    for (name, flags) in [("sync", libc::O_SYNC), ("dsync", libc::O_DSYNC)] {
        let open = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(flags)
            .open(mount.at(name));
        let mut file = open.unwrap();
        for piece in pattern(10_000, 3).chunks(777) {
            file.write_all(piece).unwrap();
        }
    }
    mount.again("");
    for name in ["sync", "dsync"] {
        assert_eq!(fs::read(mount.at(name)).unwrap(), pattern(10_000, 3));
    }
}

#[test]
fn appending_from_two_handles_keeps_every_line() {
    let Some(mut mount) = Mount::new() else { return };
    let open = || OpenOptions::new().append(true).create(true).open(mount.at("log")).unwrap();
    let (mut one, mut two) = (open(), open());
    for number in 0..500 {
        writeln!(one, "one {number}").unwrap();
        writeln!(two, "two {number}").unwrap();
    }
    drop((one, two));
    mount.again("");
    assert_eq!(fs::read_to_string(mount.at("log")).unwrap().lines().count(), 1000);
}

#[test]
fn truncating_open_empties_the_file_for_all() {
    let Some(mount) = Mount::new() else { return };
    fs::write(mount.at("file"), pattern(100_000, 4)).unwrap();
    let mut old = File::open(mount.at("file")).unwrap();
    let mut new = File::create(mount.at("file")).unwrap();
    let mut rest = Vec::new();
    assert_eq!(old.read_to_end(&mut rest).unwrap(), 0);
    new.write_all(b"new").unwrap();
    assert_eq!(fs::read(mount.at("file")).unwrap(), b"new");
}

#[test]
fn data_in_the_cache_is_not_taken_for_a_hole() {
    let Some(mount) = Mount::new() else { return };
    let file = read_write(&mount, "sparse");
    file.set_len(1 << 20).unwrap();
    file.write_all_at(&[1; 4096], 512 << 10).unwrap();
    // Not synced: the server does not know the data yet, and another handle asks.
    let other = File::open(mount.at("sparse")).unwrap();
    assert_eq!(seek(&other, Whence::Data(0)).unwrap(), 512 << 10);
    assert_eq!(seek(&other, Whence::Hole(512 << 10)).unwrap(), (512 << 10) + 4096);
    let mut byte = [0];
    other.read_exact_at(&mut byte, 512 << 10).unwrap();
    assert_eq!(byte, [1]);
    assert_eq!(errno(seek(&other, Whence::Data((512 << 10) + 4096))), libc::ENXIO);
    assert_eq!(errno(seek(&other, Whence::Data(1 << 20))), libc::ENXIO);
}

#[test]
fn many_seeks_on_dirty_files_at_once_do_not_block_the_workers() {
    let Some(mount) = Mount::new() else { return };
    let mount = &mount;
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                let file = read_write(mount, &format!("sparse-{thread}"));
                file.set_len(1 << 20).unwrap();
                for number in 0..20u64 {
                    file.write_all_at(&[1; 4096], number * 32768).unwrap();
                    let found = seek(&file, Whence::Data(number * 32768)).unwrap();
                    assert_eq!(found, number * 32768);
                }
            });
        }
    });
}

#[test]
fn fallocate_modes_do_what_they_say() {
    let Some(mount) = Mount::new() else { return };
    let file = read_write(&mount, "file");
    file.write_all_at(&pattern(65536, 5), 0).unwrap();
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 1 << 20).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 65536);
    assert!(file.metadata().unwrap().blocks() * 512 >= 1 << 20);
    fallocate(&file, FallocateFlags::empty(), 0, 131_072).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 131_072);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, punch, 5000, 10_000).unwrap();
    fallocate(&file, FallocateFlags::ZERO_RANGE, 20_000, 5000).unwrap();
    let mut expected = pattern(65536, 5);
    expected.resize(131_072, 0);
    expected[5000..15_000].fill(0);
    expected[20_000..25_000].fill(0);
    assert!(fs::read(mount.at("file")).unwrap() == expected);
    let collapse = fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096);
    assert_eq!(errno(collapse), libc::EOPNOTSUPP);
}

#[test]
fn copy_file_range_copies_between_and_within_files() {
    let Some(mount) = Mount::new() else { return };
    let bytes = pattern(3 << 20, 6);
    fs::write(mount.at("from"), &bytes).unwrap();
    let from = File::open(mount.at("from")).unwrap();
    let to = read_write(&mount, "to");
    let (mut here, mut there) = (4096, 8192);
    while here < bytes.len() as u64 {
        let left = bytes.len() - here as usize;
        let copied = copy_file_range(&from, Some(&mut here), &to, Some(&mut there), left);
        assert!(copied.unwrap() > 0);
    }
    let copy = fs::read(mount.at("to")).unwrap();
    assert!(copy[..8192] == [0; 8192] && copy[8192..] == bytes[4096..]);
    // The copies are independent.
    to.write_all_at(b"changed", 8192).unwrap();
    assert!(fs::read(mount.at("from")).unwrap() == bytes);
}

#[test]
fn offsets_at_the_edge_of_what_a_file_can_be() {
    let Some(mount) = Mount::new() else { return };
    let mut file = read_write(&mount, "file");
    let largest = i64::MAX as u64;
    file.set_len(largest).unwrap();
    assert_eq!(file.metadata().unwrap().len(), largest);
    file.write_all_at(b"end", largest - 4096).unwrap();
    assert_eq!(file.seek(SeekFrom::End(-4096)).unwrap(), largest - 4096);
    let mut back = [0; 3];
    file.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"end");
    assert_eq!(errno(file.write_at(b"xx", largest - 1)), libc::EINVAL);
    file.set_len(0).unwrap();
}

#[test]
fn write_into_a_full_volume_fails_although_it_is_cached() {
    let Some(mount) = Mount::new() else { return };
    let root = File::open(mount.path()).unwrap();
    let file = File::create(mount.at("big")).unwrap();
    let chunk = pattern(1 << 20, 8);
    let at_once = (0..300).find_map(|_| (&file).write_all(&chunk).err());
    // Write-back, as the kernel does it by itself some time; the file's own fsync would tell.
    let _ = rustix::fs::syncfs(&root);
    let later = || {
        (0..50).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            (&file).write_all(b"more").err()
        })
    };
    let error = at_once.or_else(later).expect("a write that is told");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    // The kernel tells it once more, then the file can be used on when there is space.
    assert_eq!(errno(file.sync_all()), libc::ENOSPC);
    file.set_len(0).unwrap();
    file.write_all_at(b"again", 0).unwrap();
    file.sync_all().unwrap();
    drop(file);
    assert_eq!(fs::read(mount.at("big")).unwrap(), b"again");
}

#[test]
fn full_volume_says_so_and_space_comes_back() {
    let Some(mount) = Mount::new() else { return };
    let free = || rustix::fs::statfs(mount.path()).unwrap().f_bavail;
    let before = free();
    let mut file = File::create(mount.at("big")).unwrap();
    let chunk = pattern(1 << 20, 7);
    let error = (0..1000)
        .find_map(|_| file.write_all(&chunk).and_then(|()| file.sync_data()).err())
        .expect("the volume has only 256 MiB");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    drop(file);
    fs::remove_file(mount.at("big")).unwrap();
    // Freed space may take a moment to be proven free.
    for _ in 0..100 {
        if free() + 64 >= before {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(free() + 64 >= before, "{} of {before} blocks came back", free());
    fs::write(mount.at("again"), &chunk).unwrap();
    assert!(fs::read(mount.at("again")).unwrap() == chunk);
}
