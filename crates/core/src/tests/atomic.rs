//! Atomic files: a crash, an abort and the last close leave exactly the last commit.

use super::*;
use crate::{AtomicClose, FallocateMode, InodeFlags, SetAttr};

const ROOT: Ino = Ino::ROOT;

fn open_atomic(volume: &Arc<Volume>, ino: Ino) -> Arc<File> {
    volume.open(ino, OpenFlags { atomic: true, ..OpenFlags::read_write() }).unwrap()
}

/// What a power cut leaves when everything that was written survives.
fn cut(volume: &Arc<Volume>, options: &MountOptions) -> Arc<Volume> {
    let device = Arc::clone(volume.store.device());
    fsck(&device);
    Volume::mount(device, options).unwrap()
}

/// A file that holds `bytes`, synced.
fn filled(volume: &Arc<Volume>, name: &str, bytes: &[u8]) -> Ino {
    let ino = make(volume, ROOT, name);
    let file = open(volume, ino);
    write(&file, 0, bytes);
    file.fsync(false).unwrap();
    ino
}

#[test]
fn only_commits_survive_a_cut() {
    for length in [500, 6000, 100_000, 3 << 20] {
        let volume = volume();
        let old = pattern(1, length);
        let ino = filled(&volume, "file", &old);
        let file = open_atomic(&volume, ino);
        let mut new = old.clone();
        new[10..300].fill(7);
        new.extend(pattern(2, length / 2));
        write(&file, 10, &new[10..300]);
        write(&file, length as u64, &new[length..]);
        assert_eq!(read_all(&file), new, "own writes are read at once");
        // Others are synced; this file is not.
        let other = filled(&volume, "other", b"x");
        assert_eq!(read_all(&open(&cut(&volume, &options()), ino)), old);
        file.fsync(true).unwrap();
        let after = cut(&volume, &options());
        assert_eq!(read_all(&open(&after, ino)), new);
        assert_eq!(read_all(&open(&after, other)), b"x");
    }
}

#[test]
fn the_last_close_discards_or_commits_as_asked() {
    let volume = volume();
    let ino = filled(&volume, "file", &pattern(1, 9000));
    let (first, second) = (open_atomic(&volume, ino), open_atomic(&volume, ino));
    write(&first, 0, b"gone");
    drop(first);
    assert_eq!(&read_all(&second)[..4], b"gone", "another handle holds the image");
    drop(second);
    assert_eq!(read_all(&open(&volume, ino)), pattern(1, 9000));

    let commit = MountOptions { atomic: Some(AtomicClose::Commit), ..options() };
    let volume = remount(&volume, &commit);
    let file = open(&volume, ino);
    write(&file, 0, b"kept");
    assert!(file.is_atomic());
    assert_eq!(read_all(&open(&cut(&volume, &options()), ino)), pattern(1, 9000));
    drop(file);
    volume.sync().unwrap();
    assert_eq!(&read_all(&open(&cut(&volume, &options()), ino))[..4], b"kept");
}

#[test]
fn the_attribute_makes_a_file_atomic_for_everyone() {
    let volume = volume();
    let ino = filled(&volume, "file", &pattern(1, 5000));
    volume.set_flags(&Caller::root(), ino, InodeFlags::ATOMIC).unwrap();
    let file = open(&volume, ino);
    write(&file, 0, &[9; 5000]);
    file.set_len(100).unwrap();
    assert_eq!(read_all(&file), [9; 100]);
    drop(file);
    assert_eq!(read_all(&open(&volume, ino)), pattern(1, 5000));
    let keep = InodeFlags::ATOMIC | InodeFlags::ATOMIC_COMMIT_ON_CLOSE;
    volume.set_flags(&Caller::root(), ino, keep).unwrap();
    write(&open(&volume, ino), 0, &[9; 5000]);
    assert_eq!(read_all(&open(&volume, ino)), [9; 5000]);
}

#[test]
fn abort_restores_content_and_size() {
    let volume = volume();
    for length in [100, 5000, 1 << 20] {
        let ino = filled(&volume, &length.to_string(), &pattern(1, length));
        let file = open(&volume, ino);
        file.begin_atomic().unwrap();
        file.begin_atomic().unwrap();
        write(&file, 50, &vec![3; 2 * length]);
        file.set_len(10).unwrap();
        write(&file, 9000, b"end");
        file.abort_atomic().unwrap();
        assert!(!file.is_atomic());
        assert_eq!(read_all(&file), pattern(1, length));
        // A plain file again.
        write(&file, 0, b"plain");
        volume.sync().unwrap();
        assert_eq!(&read_all(&open(&cut(&volume, &options()), ino))[..5], b"plain");
    }
}

#[test]
fn files_are_committed_together_or_not_at_all() {
    let volume = volume();
    let inodes: Vec<Ino> =
        (0..5).map(|n| filled(&volume, &format!("f{n}"), &pattern(n, 20_000))).collect();
    let files: Vec<_> = inodes.iter().map(|ino| open_atomic(&volume, *ino)).collect();
    for file in &files {
        write(file, 5000, &[0xaa; 10_000]);
    }
    let twice: Vec<&File> = files.iter().chain(&files).map(|file| &**file).collect();
    volume.sync_files(&twice).unwrap();
    let after = cut(&volume, &options());
    for ino in &inodes {
        assert_eq!(read_all(&open(&after, *ino))[5000..15_000], [0xaa; 10_000]);
    }
    assert_eq!(errno(volume.sync_files(&[])), libc::EINVAL);
    let plain = open(&volume, make(&volume, ROOT, "plain"));
    assert_eq!(errno(volume.sync_files(&[&files[0], &plain])), libc::EINVAL);
    let many = vec![&*files[0]; 1025];
    assert_eq!(errno(volume.sync_files(&many)), libc::E2BIG);
    let elsewhere = super::volume();
    assert_eq!(errno(elsewhere.sync_files(&[&files[0]])), libc::EXDEV);
}

#[test]
fn journaled_commits_leave_the_block_map_alone() {
    let volume = volume();
    let mut expected = pattern(1, 1 << 20);
    let ino = filled(&volume, "file", &expected);
    let file = open_atomic(&volume, ino);
    let before = file.extents(0..u64::MAX).unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..300 {
        let at = random.usize(..255) * 4096;
        expected[at..at + 4096].fill(round as u8);
        write(&file, at as u64, &expected[at..at + 4096]);
        file.fsync(true).unwrap();
        if round % 100 == 50 {
            volume.store.checkpoint().unwrap();
        }
    }
    assert_eq!(file.extents(0..u64::MAX).unwrap(), before);
    assert_eq!(read_all(&file), expected);
    assert_eq!(read_all(&open(&cut(&volume, &options()), ino)), expected);
    drop(file);
    assert_eq!(read_all(&open(&remount(&volume, &options()), ino)), expected);
}

#[test]
fn a_plain_overwrite_after_a_journaled_commit_stays() {
    let volume = volume();
    let ino = filled(&volume, "file", &pattern(1, 40_000));
    let atomic = open_atomic(&volume, ino);
    write(&atomic, 4096, &[5; 8192]);
    atomic.fsync(false).unwrap();
    drop(atomic);
    let plain = volume.open(ino, OpenFlags { direct: true, ..OpenFlags::read_write() }).unwrap();
    write(&plain, 4096, &[6; 4096]);
    plain.fsync(false).unwrap();
    for volume in [&volume, &cut(&volume, &options())] {
        let bytes = read_all(&open(volume, ino));
        assert_eq!((bytes[4096], bytes[8192]), (6, 5));
    }
}

#[test]
fn blocks_freed_after_a_journaled_commit_are_not_written_home() {
    let volume = volume();
    let ino = filled(&volume, "file", &pattern(1, 400_000));
    let file = open_atomic(&volume, ino);
    write(&file, 0, &[5; 100_000]);
    file.fsync(false).unwrap();
    drop(file);
    volume.unlink(ROOT, b"file").unwrap();
    volume.sync().unwrap();
    volume.sync().unwrap();
    // Takes the blocks over.
    let next: Vec<u8> = pattern(9, 50 << 20);
    let other = filled(&volume, "other", &next);
    volume.store.checkpoint().unwrap();
    assert!(read_all(&open(&cut(&volume, &options()), other)) == next);
}

#[test]
fn what_memory_cannot_hold_is_staged_and_not_committed() {
    let small = MountOptions { cache_bytes: 2 << 20, ..options() };
    let volume = Volume::mount(device(128), &small).unwrap();
    let old = pattern(1, 5 << 20);
    let ino = filled(&volume, "file", &old);
    let free = volume.statfs().free;
    let file = open_atomic(&volume, ino);
    let new = pattern(2, 24 << 20);
    for (index, part) in new.chunks(300_000).enumerate() {
        write(&file, index as u64 * 300_000, part);
        volume.background_step().unwrap();
    }
    assert!(read_all(&file) == new);
    assert!(read_all(&open(&cut(&volume, &options()), ino)) == old);
    file.abort_atomic().unwrap();
    assert!(read_all(&file) == old);
    assert_eq!(volume.statfs().free, free, "staged blocks are free again");
    for (index, part) in new.chunks(300_000).enumerate() {
        write(&file, index as u64 * 300_000, part);
        // Written again where it is staged already.
        write(&file, index as u64 * 150_000, &new[index * 150_000..][..300_000]);
    }
    file.fsync(false).unwrap();
    assert!(read_all(&file) == new);
    assert!(read_all(&open(&cut(&volume, &options()), ino)) == new);
}

#[test]
fn what_was_passed_over_by_age_is_staged_when_memory_gets_short() {
    let small = MountOptions { cache_bytes: 8 << 20, ..options() };
    let volume = Volume::mount(device(128), &small).unwrap();
    let ino = filled(&volume, "file", &pattern(1, 1 << 20));
    let file = open_atomic(&volume, ino);
    write(&file, 0, &[7; 100_000]);
    for _ in 0..10 {
        volume.background_step().unwrap();
    }
    assert!(file.inode().data(&volume.pool).cache.is_dirty(), "memory is not short");
    // So much that writers are slowed down until nothing old is dirty.
    let other = open(&volume, make(&volume, ROOT, "other"));
    for at in 0..24 {
        write(&other, at << 20, &[9; 1 << 20]);
        volume.background_step().unwrap();
    }
    assert!(!file.inode().data(&volume.pool).cache.is_dirty(), "it is staged");
    assert_eq!(read_all(&file)[..100_000], [7; 100_000]);
    file.abort_atomic().unwrap();
    assert_eq!(read_all(&file), pattern(1, 1 << 20));
}

#[test]
fn a_commit_of_very_many_pieces_takes_several_records() {
    let volume = Volume::mount(device(128), &options()).unwrap();
    let mut expected = pattern(1, 40 << 20);
    let ino = filled(&volume, "file", &expected);
    let file = open_atomic(&volume, ino);
    let records = volume.store.last_lsn();
    for block in (0..10_000).step_by(4) {
        expected[block * 4096..][..4096].fill(block as u8);
        write(&file, block as u64 * 4096, &expected[block * 4096..][..4096]);
    }
    file.fsync(false).unwrap();
    assert!(volume.store.last_lsn().0 > records.0 + 1);
    assert!(read_all(&open(&cut(&volume, &options()), ino)) == expected);
    assert!(read_all(&file) == expected);
}

#[test]
fn more_than_a_commit_can_hold_is_refused_at_the_write() {
    let volume = Volume::mount(device(256), &options()).unwrap();
    let ino = filled(&volume, "file", &vec![1; 100 << 20]);
    let file = open_atomic(&volume, ino);
    let limit = file.io_info().unwrap().max_bytes;
    let mut refused = None;
    for block in (0..25_000).step_by(2) {
        match file.write_at(block * 4096, &[2; 4096], WriteFlags::default()) {
            Ok(_) => {}
            Err(error) => {
                refused = Some((error.errno(), block / 2 * 4096));
                break;
            }
        }
    }
    let (errno, accepted) = refused.expect("there is a limit");
    assert_eq!(errno, libc::EFBIG);
    assert!(accepted + 8192 >= limit / 2, "{accepted} of {limit}");
    file.fsync(false).unwrap();
    assert_eq!(read_all(&file)[0], 2);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let volume = volume();
    let ino = make(&volume, ROOT, "file");
    let dir = make_dir(&volume, ROOT, "dir");
    let atomic = OpenFlags { atomic: true, ..OpenFlags::read_only() };
    assert_eq!(errno(volume.open(ino, atomic)), libc::EINVAL);
    assert_eq!(errno(volume.open(dir, atomic)), libc::EINVAL);
    let reader = volume.open(ino, OpenFlags::read_only()).unwrap();
    assert_eq!(errno(reader.begin_atomic()), libc::EBADF);
    let direct = OpenFlags { direct: true, ..OpenFlags::read_write() };
    assert_eq!(errno(volume.open(ino, direct).unwrap().begin_atomic()), libc::EINVAL);
    let file = open_atomic(&volume, ino);
    write(&file, 0, &[1; 20_000]);
    let caller = Caller::root();
    let collapse = file.allocate(&caller, FallocateMode::CollapseRange, 0, 4096);
    assert_eq!(errno(collapse), libc::EOPNOTSUPP);
}

/// One file in memory: what is committed, what is written.
#[derive(Clone, Default)]
struct Model {
    committed: Vec<u8>,
    working: Vec<u8>,
}

impl Model {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if self.working.len() < offset + bytes.len() {
            self.working.resize(offset + bytes.len(), 0);
        }
        self.working[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

fn step(random: &mut fastrand::Rng, volume: &Arc<Volume>, file: &Arc<File>, model: &mut Model) {
    let at = random.usize(..300_000) >> random.u32(..9);
    let length = 1 + (random.usize(..100_000) >> random.u32(..12));
    match random.u32(..20) {
        0..=8 => {
            let bytes = vec![random.u8(1..); length];
            write(file, at as u64, &bytes);
            model.write(at, &bytes);
        }
        9..=10 => {
            file.set_len(at as u64).unwrap();
            model.working.resize(at, 0);
        }
        11 => {
            let attr = SetAttr { size: Some(at as u64), ..SetAttr::default() };
            volume.setattr(&Caller::root(), file.ino(), &attr).unwrap();
            model.working.resize(at, 0);
        }
        12..=13 => {
            let mode = FallocateMode::PunchHole;
            file.allocate(&Caller::root(), mode, at as u64, length as u64).unwrap();
            let end = (at + length).min(model.working.len());
            model.working[at.min(end)..end].fill(0);
        }
        14 => {
            let keep_size = random.bool();
            let mode = if random.bool() {
                FallocateMode::Allocate { keep_size }
            } else {
                let end = (at + length).min(model.working.len());
                model.working[at.min(end)..end].fill(0);
                FallocateMode::ZeroRange { keep_size }
            };
            file.allocate(&Caller::root(), mode, at as u64, length as u64).unwrap();
            if !keep_size && at + length > model.working.len() {
                model.working.resize(at + length, 0);
            }
        }
        15 => {
            let mode = Some(random.u32(..0o1000));
            let attr = SetAttr { mode, ..SetAttr::default() };
            volume.setattr(&Caller::root(), file.ino(), &attr).unwrap();
        }
        16 => volume.background_step().unwrap(),
        17 => volume.store.checkpoint().unwrap(),
        18 => {
            let _lock = file.inode().lock.write();
            volume.discard_locked(file.inode());
            model.working.clone_from(&model.committed);
        }
        _ => {
            file.fsync(random.bool()).unwrap();
            model.committed.clone_from(&model.working);
        }
    }
}

#[test]
fn random_histories_leave_the_last_commit() {
    let base = fastrand::u64(..1 << 40);
    for seed in base..base + 60 {
        let mut random = fastrand::Rng::with_seed(seed);
        // So small that much is staged.
        let cache_bytes = [256 << 10, 64 << 20][random.usize(..2)];
        let options = MountOptions { cache_bytes, ..options() };
        let mut volume = Volume::mount(device(64), &options).unwrap();
        let ino = make(&volume, ROOT, "file");
        volume.sync().unwrap();
        let mut model = Model::default();
        for round in 0..4 {
            let file = open_atomic(&volume, ino);
            for at in 0..random.usize(..40) {
                step(&mut random, &volume, &file, &mut model);
                assert!(read_all(&file) == model.working, "seed {seed} round {round} step {at}");
            }
            if random.bool() {
                drop(file);
                volume.sync().unwrap();
                assert!(read_all(&open(&volume, ino)) == model.committed, "seed {seed}");
                volume = remount(&volume, &options);
            } else {
                volume.store.sync_all().unwrap();
                volume = cut(&volume, &options);
                std::mem::forget(file);
            }
            model.working.clone_from(&model.committed);
            let found = read_all(&open(&volume, ino));
            assert!(found == model.committed, "seed {seed} after round {round}");
        }
    }
}

#[test]
fn a_sync_of_what_is_committed_leaves_the_working_image_alone() {
    let volume = volume();
    let ino = filled(&volume, "file", &pattern(1, 9000));
    let file = open_atomic(&volume, ino);
    write(&file, 0, b"half");
    volume.sync_committed().unwrap();
    volume.shutdown(crate::ShutdownMode::FlushLogAndData).unwrap();
    assert_eq!(read_all(&open(&cut(&volume, &options()), ino)), pattern(1, 9000));
}

#[test]
fn a_spoiled_image_is_never_committed_by_a_close() {
    let commit = MountOptions { atomic: Some(AtomicClose::Commit), ..options() };
    let volume = remount(&volume(), &commit);
    let ino = filled(&volume, "file", &pattern(1, 9000));
    let file = open(&volume, ino);
    write(&file, 0, b"lost");
    assert!(!volume.discards_at_close(ino));
    assert!(file.close_atomic(true), "discarded");
    assert_eq!(read_all(&open(&volume, ino)), pattern(1, 9000));
    let file = open(&volume, ino);
    write(&file, 0, b"kept");
    assert!(!file.close_atomic(false), "committed");
    assert_eq!(&read_all(&open(&volume, ino))[..4], b"kept");
}

#[test]
fn an_update_that_was_begun_ends_alone() {
    // The file is atomic by itself, and would be committed by its last close.
    let commit = MountOptions { atomic: Some(AtomicClose::Commit), ..options() };
    let volume = remount(&volume(), &commit);
    let ino = filled(&volume, "file", &pattern(1, 9000));
    let file = open(&volume, ino);
    file.begin_atomic().unwrap();
    write(&file, 0, b"done");
    file.commit_atomic().unwrap();
    assert!(file.is_atomic(), "as it was opened");
    write(&file, 4, b"kept");
    drop(file);
    assert_eq!(&read_all(&open(&volume, ino))[..8], b"donekept");
    let (file, other) = (open(&volume, ino), open(&volume, ino));
    file.begin_atomic().unwrap();
    write(&file, 0, b"half");
    assert!(volume.discards_at_close(ino));
    drop(file);
    assert_eq!(&read_all(&other)[..8], b"donekept", "given up with the handle that began it");
    write(&other, 0, b"more");
    drop(other);
    assert_eq!(&read_all(&open(&volume, ino))[..8], b"morekept");
}
