//! Sound volumes are sound: with one level or many, with a log to replay, with records that do
//! not count.

use super::image::{Built, DATA_START, FILES_START, Image, LogRecord, SMALL, TWO_GROUPS, regular};
use super::{run, text};
use crate::FindingKind;
use ashlar_device::Device;
use ashlar_format::extent::{ExtentFlags, ExtentRecord};
use ashlar_format::inode::InodeRecord;
use ashlar_format::key::{self, TreeId};
use ashlar_format::limits::{BLOCK_BYTES, GROUP_BLOCKS_MIN};
use ashlar_format::log::Edit;
use ashlar_format::name::NameRecord;

fn assert_clean(built: &Built) -> crate::Report {
    let (findings, report) = run(&built.device, false).unwrap();
    assert_eq!(text(&findings), [""; 0]);
    assert_eq!(report.exit_code(), 0);
    report
}

#[test]
fn sample_is_sound_and_counted() {
    let built = Image::sample(TWO_GROUPS).build();
    let report = assert_clean(&built);
    assert_eq!((report.files, report.directories, report.others), (43, 4, 1));
    assert_eq!(report.orphans, 2);
    assert_eq!(report.blocks, TWO_GROUPS);
    assert_eq!(report.blocks_used + report.blocks_free + DATA_START, TWO_GROUPS);
    assert!(!report.needs_recovery);
}

#[test]
fn trees_of_one_leaf_and_of_many_levels_are_read_alike() {
    for (leaf_entries, inner_children) in [(100, 100), (2, 2), (1, 2), (3, 300)] {
        let mut image = Image::sample(SMALL);
        image.leaf_entries = leaf_entries;
        image.inner_children = inner_children;
        // Nodes keep below the files only while they are few.
        if leaf_entries < 3 {
            image.trees[TreeId::Extents as usize].retain(|key, _| key[7] < 20);
            image.trees[TreeId::Inodes as usize].retain(|key, _| key[7] < 20);
            image.trees[TreeId::Names as usize].retain(|key, _| key[7] < 8);
            image.trees[TreeId::Orphans as usize].retain(|key, _| key[7] < 20);
            image.settle();
        }
        assert_clean(&image.build());
    }
}

#[test]
fn first_key_of_an_inner_node_may_be_lower_than_its_parent_says() {
    let mut image = Image::sample(SMALL);
    image.low_edges = true;
    assert_clean(&image.build());
}

#[test]
fn empty_volume_is_sound() {
    assert_clean(&Image::empty(SMALL).build());
}

#[test]
fn free_extents_that_touch_at_a_group_border_stay_apart() {
    // The builder cuts at the border; without the cut it is a finding, which `plant` shows.
    let built = Image::empty(TWO_GROUPS).build();
    let report = assert_clean(&built);
    assert!(report.blocks_free > GROUP_BLOCKS_MIN);
}

/// A record that makes file 70 with one block at `block`.
fn new_file(block: u64, bytes: &[u8]) -> LogRecord {
    let inode = InodeRecord { nlink: 1, size: bytes.len() as u64, blocks: 1, ..regular() };
    let extent = ExtentRecord { block, count: 1, flags: ExtentFlags::empty() };
    let name = NameRecord { ino: 70, kind: inode.kind };
    LogRecord { flushed: 40, ..LogRecord::default() }
        .put(TreeId::Inodes, &key::inode(70), &inode.encode())
        .put(TreeId::Extents, &key::extent(70, 0), &extent.encode())
        .put(TreeId::Names, &super::image::name_key(1, b"new"), &name.encode())
        .edit(Edit::Alloc { block, count: 1 })
        .sums_of(block, bytes)
}

/// The root with one more entry.
fn grown_root(image: &Image) -> LogRecord {
    let root = image.record(1);
    let root = InodeRecord { size: root.size + 1, ..root };
    LogRecord { flushed: 40, ..LogRecord::default() }.put(
        TreeId::Inodes,
        &key::inode(1),
        &root.encode(),
    )
}

#[test]
fn log_is_replayed_over_the_checkpoint() {
    let block = FILES_START + 2000;
    let bytes = [3; 700];
    for log_position in [0, 2 * 1024 * 1024 - 512, 7 * 1024 * 1024 + 1536] {
        let mut image = Image::sample(SMALL);
        image.log_position = log_position;
        image.log = vec![new_file(block, &bytes), grown_root(&image)];
        let built = image.build();
        let mut data = [9; 4096];
        data[..700].copy_from_slice(&bytes);
        built.device.write_at(block * BLOCK_BYTES, &data).unwrap();
        let report = assert_clean(&built);
        assert_eq!((report.replayed_records, report.files), (2, 44));
        assert!(report.needs_recovery);
    }
}

#[test]
fn record_whose_data_is_missing_ends_the_log() {
    let mut image = Image::sample(SMALL);
    image.log = vec![new_file(FILES_START + 2000, &[3; 700]), grown_root(&image)];
    let built = image.build();
    let (findings, report) = run(&built.device, false).unwrap();
    assert_eq!(findings.len(), 1, "{:?}", text(&findings));
    assert_eq!(findings[0].kind, FindingKind::RecordDiscarded { behind: 1 });
    assert_eq!((report.exit_code(), report.replayed_records, report.discarded_records), (0, 0, 2));
    assert_eq!(report.files, 43);
}

#[test]
fn record_proven_flushed_counts_without_looking_at_its_data() {
    // A later record says that record 41 was flushed: its block may have been overwritten since.
    let mut image = Image::sample(SMALL);
    let later = LogRecord { flushed: 41, ..grown_root(&image) };
    image.log = vec![new_file(FILES_START + 2000, &[3; 700]), later];
    let report = assert_clean(&image.build());
    assert_eq!((report.replayed_records, report.files), (2, 44));
}

#[test]
fn record_of_a_checkpoint_counts_only_when_it_was_reached() {
    // The record says that a node moved; the superblock is still the one before.
    let mut image = Image::sample(SMALL);
    let moved = |checkpoint| {
        LogRecord { checkpoint, flushed: 40, ..LogRecord::default() }
            .edit(Edit::Alloc { block: FILES_START + 2000, count: 4 })
    };
    image.log = vec![moved(10)];
    let report = assert_clean(&image.build());
    assert_eq!(report.replayed_records, 1);
    // Reached: the blocks are taken, and since no node is there they are leaked.
    image.log = vec![moved(9)];
    let (findings, _) = run(&image.build().device, false).unwrap();
    assert_eq!(findings[0].kind, FindingKind::Leaked, "{:?}", text(&findings));
}

#[test]
fn alloc_and_free_in_the_log_may_undo_each_other() {
    let mut image = Image::sample(SMALL);
    let block = FILES_START + 2000;
    image.log = vec![
        LogRecord { flushed: 40, ..LogRecord::default() }
            .edit(Edit::Alloc { block, count: 10 })
            .edit(Edit::Free { block: block + 2, count: 3 }),
        LogRecord { flushed: 40, ..LogRecord::default() }
            .edit(Edit::Free { block, count: 2 })
            .edit(Edit::Free { block: block + 5, count: 5 }),
    ];
    assert_clean(&image.build());
}

#[test]
fn stale_records_of_an_older_turn_are_not_looked_at() {
    let mut image = Image::sample(SMALL);
    image.log = vec![grown_root(&image), grown_root(&image)];
    let built = image.build();
    // The tail moves behind both: they are history now.
    let mut superblock = built.superblock.clone();
    superblock.generation += 1;
    superblock.tail = built.chain_end;
    superblock.flushed_lsn = built.chain_end.lsn;
    let addr = superblock.copy_block() * BLOCK_BYTES;
    built.device.write_at(addr, &superblock.encode()).unwrap();
    let report = assert_clean(&built);
    assert_eq!(report.replayed_records, 0);
}
