//! Contents of files: what was written is read back, now, after a sync, after a remount.

use super::*;
use crate::{ExtentState, FallocateMode, SetAttr};

fn check(file: &File, expected: &[u8]) {
    let found = read_all(file);
    assert_eq!(found.len(), expected.len());
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "first byte that differs");
}

/// Runs `act` on a new file and compares it with the same on bytes in memory, at each stage.
fn compare(act: &dyn Fn(&File), expected: &[u8]) {
    for sync_first in [false, true] {
        let volume = volume();
        let ino = make(&volume, Ino::ROOT, "file");
        let file = open(&volume, ino);
        if sync_first {
            file.fsync(false).unwrap();
        }
        act(&file);
        check(&file, expected);
        file.fsync(false).unwrap();
        check(&file, expected);
        drop(file);
        let volume = remount(&volume, &options());
        check(&open(&volume, ino), expected);
    }
}

#[test]
fn content_of_every_size_comes_back() {
    for size in [1, 100, 2048, 2049, 4095, 4096, 4097, 100_000, 3 << 20] {
        let bytes = pattern(3, size);
        compare(&|file| write(file, 0, &bytes), &bytes);
    }
}

#[test]
fn small_content_lives_in_the_inode_until_it_grows() {
    let volume = volume();
    let ino = make(&volume, Ino::ROOT, "small");
    let file = open(&volume, ino);
    write(&file, 0, &pattern(1, 2000));
    volume.sync().unwrap();
    assert_eq!(file.attr().unwrap().blocks, 0, "no block of its own");
    assert_eq!(file.extents(0..u64::MAX).unwrap()[0].addr, None);
    write(&file, 2000, &pattern(2, 3000));
    let expected = [pattern(1, 2000), pattern(2, 3000)].concat();
    check(&file, &expected);
    volume.sync().unwrap();
    assert_eq!(file.attr().unwrap().blocks, 16);
    check(&file, &expected);
    drop(file);
    let volume = remount(&volume, &options());
    check(&open(&volume, ino), &expected);
}

#[test]
fn a_write_behind_inline_content_leaves_it_in_place() {
    let mut expected = pattern(1, 500);
    expected.resize(20_000, 0);
    expected.extend(pattern(9, 5000));
    compare(
        &|file| {
            write(file, 0, &pattern(1, 500));
            file.fsync(false).unwrap();
            write(file, 20_000, &pattern(9, 5000));
        },
        &expected,
    );
}

#[test]
fn gaps_and_grown_ends_read_as_zeros() {
    // The old last block held other bytes once, on the device and in the cache.
    let mut expected = pattern(5, 1000);
    expected.resize(9000, 0);
    expected.extend([7; 100]);
    expected.resize(12_000, 0);
    compare(
        &|file| {
            write(file, 0, &pattern(5, 8192));
            file.fsync(false).unwrap();
            file.set_len(1000).unwrap();
            file.fsync(false).unwrap();
            write(file, 9000, &[7; 100]);
            file.set_len(12_000).unwrap();
        },
        &expected,
    );
}

#[test]
fn growing_an_inline_file_by_set_len_works_at_both_sides_of_the_limit() {
    for size in [600, 2048, 2049, 50_000] {
        let mut expected = pattern(5, 500);
        expected.resize(size, 0);
        compare(
            &|file| {
                write(file, 0, &pattern(5, 500));
                file.fsync(false).unwrap();
                file.set_len(size as u64).unwrap();
            },
            &expected,
        );
    }
}

#[test]
fn append_streams_stay_in_one_extent() {
    let volume = volume();
    let ino = make(&volume, Ino::ROOT, "log");
    let file = open(&volume, ino);
    let flags = WriteFlags { append: true, ..WriteFlags::default() };
    for round in 0..50u8 {
        file.write_at(0, &pattern(round, 5000), flags).unwrap();
        file.fsync(true).unwrap();
    }
    let extents = file.extents(0..u64::MAX).unwrap();
    assert_eq!(extents.len(), 1, "{extents:?}");
    let expected: Vec<u8> = (0..50).flat_map(|round| pattern(round, 5000)).collect();
    check(&file, &expected);
}

#[test]
fn overwrites_stay_in_place_and_flush() {
    let volume = volume();
    let ino = make(&volume, Ino::ROOT, "db");
    let file = open(&volume, ino);
    write(&file, 0, &pattern(0, 1 << 20));
    file.fsync(false).unwrap();
    let before = file.extents(0..u64::MAX).unwrap();
    for round in 0..20u64 {
        write(&file, round * 8192, &pattern(round as u8, 4096));
        file.fsync(true).unwrap();
    }
    assert_eq!(file.extents(0..u64::MAX).unwrap(), before);
}

#[test]
fn direct_handles_and_cached_ones_see_the_same_bytes() {
    let volume = volume();
    let ino = make(&volume, Ino::ROOT, "both");
    let cached = open(&volume, ino);
    let direct = volume.open(ino, OpenFlags { direct: true, ..OpenFlags::read_write() }).unwrap();
    let mut expected = vec![0; 300_000];
    let mut put = |file: &File, offset: usize, bytes: &[u8]| {
        write(file, offset as u64, bytes);
        expected[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(&cached, 0, &pattern(1, 10_000));
    put(&direct, 8192, &pattern(2, 65_536));
    put(&cached, 9000, &pattern(3, 100));
    put(&direct, 4096, &pattern(4, 8192));
    put(&direct, 73_728, &pattern(5, 100_000));
    put(&cached, 173_728, &pattern(6, 300_000 - 173_728));
    check(&cached, &expected);
    check(&direct, &expected);
    drop((cached, direct));
    let volume = remount(&volume, &options());
    check(&open(&volume, ino), &expected);
}

#[test]
fn a_caller_with_its_own_cache_leaves_nothing_in_ours() {
    let options = MountOptions { kernel_cache: true, ..options() };
    let volume = Volume::mount(device(64), &options).unwrap();
    let ino = make(&volume, Ino::ROOT, "file");
    let file = open(&volume, ino);
    let bytes = pattern(8, 1_000_100);
    write(&file, 0, &bytes[..1 << 19]);
    write(&file, 1 << 19, &bytes[1 << 19..]);
    assert_eq!(volume.pool.cached_bytes(), 0, "large writes went past the cache");
    check(&file, &bytes);
    write(&file, 100, &[9; 50]);
    let mut expected = bytes;
    expected[100..150].fill(9);
    check(&file, &expected);
    volume.sync().unwrap();
    assert_eq!(volume.pool.cached_bytes(), 0, "small ones left it when they were clean");
    check(&file, &expected);
    drop(file);
    let volume = remount(&volume, &options);
    check(&open(&volume, ino), &expected);
}

#[test]
fn allocated_space_reads_as_zeros_and_is_written_in_place() {
    let volume = volume();
    let ino = make(&volume, Ino::ROOT, "file");
    let file = open(&volume, ino);
    let mode = FallocateMode::Allocate { keep_size: false };
    file.allocate(&Caller::root(), mode, 0, 1 << 20).unwrap();
    assert_eq!(file.attr().unwrap().size, 1 << 20);
    let extents = file.extents(0..u64::MAX).unwrap();
    assert!(extents.iter().all(|extent| extent.state == ExtentState::Unwritten));
    check(&file, &vec![0; 1 << 20]);
    write(&file, 500_000, &pattern(1, 10_000));
    let mut expected = vec![0; 1 << 20];
    expected[500_000..510_000].copy_from_slice(&pattern(1, 10_000));
    file.fsync(false).unwrap();
    let after = file.extents(0..u64::MAX).unwrap();
    assert_eq!(after.len(), 3, "{after:?}");
    assert_eq!(after[0].addr, extents[0].addr);
    drop(file);
    let volume = remount(&volume, &options());
    check(&open(&volume, ino), &expected);
}

#[test]
fn keep_size_allocates_past_the_end_and_truncation_frees_it() {
    let volume = volume();
    let ino = make(&volume, Ino::ROOT, "file");
    let file = open(&volume, ino);
    write(&file, 0, b"hello");
    let mode = FallocateMode::Allocate { keep_size: true };
    file.allocate(&Caller::root(), mode, 0, 100_000).unwrap();
    volume.sync().unwrap();
    assert_eq!(file.attr().unwrap().size, 5);
    assert_eq!(file.attr().unwrap().blocks, 25 * 8);
    check(&file, b"hello");
    file.set_len(5).unwrap();
    assert_eq!(file.attr().unwrap().blocks, 8);
}

#[test]
fn punched_and_zeroed_ranges_read_as_zeros() {
    for (offset, length) in [(100, 50), (4000, 200), (5000, 20_000), (4096, 8192), (0, 40_000)] {
        for mode in [FallocateMode::PunchHole, FallocateMode::ZeroRange { keep_size: true }] {
            for size in [1500, 40_000] {
                let mut expected = pattern(4, size);
                let end = (offset + length).min(size);
                if offset < end {
                    expected[offset..end].fill(0);
                }
                compare(
                    &|file| {
                        write(file, 0, &pattern(4, size));
                        file.fsync(false).unwrap();
                        let (offset, length) = (offset as u64, length as u64);
                        file.allocate(&Caller::root(), mode, offset, length).unwrap();
                    },
                    &expected,
                );
            }
        }
    }
}

#[test]
fn punching_frees_whole_blocks() {
    let volume = volume();
    let file = open(&volume, make(&volume, Ino::ROOT, "file"));
    write(&file, 0, &pattern(1, 100 * 4096));
    file.fsync(false).unwrap();
    let free = volume.statfs().free;
    file.allocate(&Caller::root(), FallocateMode::PunchHole, 4000, 50 * 4096).unwrap();
    assert_eq!(file.attr().unwrap().blocks, 51 * 8);
    assert_eq!(volume.statfs().free, free + 49);
    assert_eq!(file.seek_hole(0).unwrap(), 4096);
    assert_eq!(file.seek_data(4096).unwrap(), 50 * 4096);
}

#[test]
fn collapse_and_insert_move_the_rest() {
    let bytes = pattern(2, 10 * 4096 + 700);
    let mut collapsed = bytes.clone();
    collapsed.drain(8192..16_384);
    let collapse = |file: &File| {
        write(file, 0, &bytes);
        file.allocate(&Caller::root(), FallocateMode::CollapseRange, 8192, 8192).unwrap();
    };
    compare(&collapse, &collapsed);
    let mut inserted = bytes.clone();
    inserted.splice(4096..4096, vec![0; 3 * 4096]);
    let insert = |file: &File| {
        write(file, 0, &bytes);
        file.allocate(&Caller::root(), FallocateMode::InsertRange, 4096, 3 * 4096).unwrap();
    };
    compare(&insert, &inserted);
}

#[test]
fn fallocate_refuses_what_xfs_refuses() {
    let volume = volume();
    let file = open(&volume, make(&volume, Ino::ROOT, "file"));
    write(&file, 0, &pattern(2, 40_000));
    let run = |mode, offset, length| errno(file.allocate(&Caller::root(), mode, offset, length));
    assert_eq!(run(FallocateMode::PunchHole, 0, 0), libc::EINVAL);
    assert_eq!(run(FallocateMode::CollapseRange, 100, 4096), libc::EINVAL);
    assert_eq!(run(FallocateMode::CollapseRange, 4096, 40_960), libc::EINVAL, "reaches the end");
    assert_eq!(run(FallocateMode::InsertRange, 40_960, 4096), libc::EINVAL, "past the end");
    let mode = FallocateMode::Allocate { keep_size: true };
    assert_eq!(run(mode, i64::MAX as u64, 1), libc::EFBIG);
    let reader = volume.open(file.ino(), OpenFlags::read_only()).unwrap();
    assert_eq!(errno(reader.allocate(&Caller::root(), mode, 0, 1)), libc::EBADF);
}

#[test]
fn copies_between_files_and_within_one() {
    let volume = volume();
    let from = open(&volume, make(&volume, Ino::ROOT, "from"));
    let to = open(&volume, make(&volume, Ino::ROOT, "to"));
    let bytes = pattern(6, 2_500_000);
    write(&from, 0, &bytes);
    assert_eq!(from.copy_range(1000, &to, 10, u64::MAX >> 2).unwrap(), 2_499_000);
    let mut expected = vec![0; 10];
    expected.extend(&bytes[1000..]);
    check(&to, &expected);
    assert_eq!(errno(from.copy_range(0, &from, 10, 100)), libc::EINVAL);
    assert_eq!(from.copy_range(0, &from, 2_500_000, 100).unwrap(), 100);
}

#[test]
fn the_largest_offset_is_respected() {
    let volume = volume();
    let file = open(&volume, make(&volume, Ino::ROOT, "file"));
    let most = i64::MAX as u64;
    assert_eq!(errno(file.write_at(most, b"x", WriteFlags::default())), libc::EFBIG);
    assert_eq!(file.write_at(most - 2, b"abc", WriteFlags::default()).unwrap(), 2);
    assert_eq!(file.attr().unwrap().size, most);
    assert_eq!(errno(file.set_len(most + 1)), libc::EFBIG);
    assert_eq!(file.seek_data(0).unwrap(), most - most % 4096);
    volume.sync().unwrap();
    let volume = remount(&volume, &options());
    let file = open(&volume, file.ino());
    let mut buf = [0; 10];
    assert_eq!(file.read_at(most - 2, &mut buf).unwrap(), 2);
    assert_eq!(&buf[..2], b"ab");
}

#[test]
fn synced_data_survives_when_the_volume_is_dropped() {
    let device = device(64);
    let ino = {
        let volume = Volume::mount(Arc::clone(&device), &options()).unwrap();
        let ino = make(&volume, Ino::ROOT, "file");
        let file = open(&volume, ino);
        write(&file, 0, &pattern(1, 50_000));
        file.fsync(true).unwrap();
        write(&file, 50_000, &pattern(2, 50_000));
        ino
    };
    let volume = Volume::mount(device, &options()).unwrap();
    assert!(volume.info().recovery.was_dirty);
    check(&open(&volume, ino), &pattern(1, 50_000));
}

#[test]
fn truncation_to_nothing_at_open() {
    let volume = volume();
    let ino = make(&volume, Ino::ROOT, "file");
    write(&open(&volume, ino), 0, &pattern(1, 50_000));
    volume.sync().unwrap();
    let file = volume.open(ino, OpenFlags { truncate: true, ..OpenFlags::read_write() }).unwrap();
    assert_eq!((file.attr().unwrap().size, file.attr().unwrap().blocks), (0, 0));
    let change = SetAttr { size: Some(10), ..SetAttr::default() };
    assert_eq!(volume.setattr(&Caller::root(), ino, &change).unwrap().size, 10);
    check(&file, &[0; 10]);
}

#[test]
fn unwritten_blocks_are_converted_beside_written_ones() {
    let volume = volume();
    let file = open(&volume, make(&volume, Ino::ROOT, "file"));
    let mode = FallocateMode::Allocate { keep_size: false };
    file.allocate(&Caller::root(), mode, 0, 3 * 4096).unwrap();
    for block in [1, 0, 2] {
        write(&file, block * 4096, &pattern(block as u8, 4096));
        file.fsync(false).unwrap();
    }
    let extents = file.extents(0..u64::MAX).unwrap();
    assert_eq!((extents.len(), extents[0].state), (1, ExtentState::Written));
    check(&file, &[pattern(0, 4096), pattern(1, 4096), pattern(2, 4096)].concat());
}
