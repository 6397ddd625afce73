//! Damage of all sorts, at random: a check ends with findings or without, a repair ends, and what
//! it calls repaired is sound. Nothing panics, nothing hangs.
//!
//! | test | what is damaged | checksums |
//! |---|---|---|
//! | bytes anywhere | the device | do not fit |
//! | bytes of entries | keys and values, before nodes are built | fit |
//! | bytes of root nodes | headers, slots, cells, pointers | fit |
//! | bytes of the superblock | geometry, roots, tail | fit |
//! | bytes of records | edits and sums | fit |

use super::image::{Built, DATA_START, FILES_START, Image, LogRecord, SMALL, regular};
use super::{run, text};
use crate::Error;
use ashlar_device::Device;
use ashlar_format::checksum::crc32c_without;
use ashlar_format::extent::{ExtentFlags, ExtentRecord};
use ashlar_format::inode::InodeRecord;
use ashlar_format::key::{self, TreeId};
use ashlar_format::limits::BLOCK_BYTES;
use ashlar_format::log::Edit;
use ashlar_format::node::{Stamp, seal};
use ashlar_format::superblock::SUPERBLOCK_BYTES;
use ashlar_format::{NODE_SIZE, superblock};

/// Rounds of a test: a few, or as many times more as `ASHLAR_ROUNDS` says.
fn rounds(few: u64) -> std::ops::Range<u64> {
    let factor = std::env::var("ASHLAR_ROUNDS").ok().and_then(|value| value.parse().ok());
    0..few * factor.unwrap_or(1)
}

/// Checks, repairs, and checks again.
fn survive(device: &dyn Device, story: &str) {
    let before = match run(device, false) {
        Ok((_, report)) => report,
        Err(error) => {
            let expected = matches!(
                error,
                Error::NoSuperblock { .. }
                    | Error::Unsupported { .. }
                    | Error::Truncated { .. }
                    | Error::TooLarge { .. }
            );
            assert!(expected, "{story}: {error}");
            return;
        }
    };
    match run(device, true) {
        Ok((findings, report)) => {
            let (after, again) = run(device, false).unwrap();
            if report.exit_code() != 4 {
                assert_eq!(again.exit_code(), 0, "{story}: {findings:#?} left {:#?}", text(&after));
            }
            if report.repair_refused.is_some() {
                assert_eq!(again.errors, before.errors, "{story}: refused, yet changed");
            }
        }
        // Damage may leave no room.
        Err(Error::NoSpace | Error::LogFull) => {}
        Err(error) => panic!("{story}: {error}"),
    }
}

/// The sample with a log that has something of everything.
fn sample_with_log() -> Image {
    let mut image = Image::sample(SMALL);
    let inode = InodeRecord { nlink: 1, size: 10, blocks: 1, ..regular() };
    let block = FILES_START + 1000;
    let extent = ExtentRecord { block, count: 1, flags: ExtentFlags::empty() };
    image.log = vec![
        LogRecord { flushed: 40, ..LogRecord::default() }
            .put(TreeId::Inodes, &key::inode(70), &inode.encode())
            .put(TreeId::Extents, &key::extent(70, 0), &extent.encode())
            .edit(Edit::Alloc { block, count: 1 })
            .sums_of(block, &[0; 10]),
        LogRecord { flushed: 40, checkpoint: 12, ..LogRecord::default() }
            .edit(Edit::Free { block: DATA_START, count: 4 }),
        LogRecord { flushed: 41, ..LogRecord::default() }
            .edit(Edit::Delete { tree: TreeId::Inodes, key: &key::inode(70) })
            .edit(Edit::Delete { tree: TreeId::Extents, key: &key::extent(70, 0) })
            .edit(Edit::Free { block, count: 1 }),
    ];
    image
}

fn bytes_of(built: &Built) -> Box<[u8]> {
    built.device.to_bytes()
}

fn restore(built: &Built, bytes: &[u8]) {
    // Only metadata is ever written: files start behind it, and repair writes before them.
    let end = ((FILES_START + 2400) * BLOCK_BYTES) as usize;
    built.device.write_at(0, &bytes[..end.min(bytes.len())]).unwrap();
}

#[test]
fn random_bytes_on_the_device() {
    let built = sample_with_log().build();
    let original = bytes_of(&built);
    let places: Vec<u64> = built
        .nodes
        .iter()
        .map(|(_, _, pointer)| pointer.block * BLOCK_BYTES)
        .chain([0, BLOCK_BYTES, 2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 512])
        .collect();
    for seed in rounds(200) {
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..random.u32(1..4) {
            let place = places[random.usize(..places.len())];
            let offset = if random.bool() { random.u64(..600) } else { random.u64(..16384) };
            built.flip_byte(place + offset);
        }
        survive(&built.device, &format!("seed {seed}"));
        restore(&built, &original);
    }
}

#[test]
fn random_bytes_in_entries() {
    for seed in rounds(120) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut image = sample_with_log();
        image.leaf_entries = [4, 100][random.usize(..2)];
        for _ in 0..random.u32(1..6) {
            let tree = &mut image.trees[random.usize(..7)];
            let keys: Vec<Vec<u8>> = tree.keys().cloned().collect();
            let Some(key) = random.choice(&keys) else { continue };
            let mut value = tree.remove(key).unwrap();
            let mut key = key.clone();
            if random.bool() && !value.is_empty() {
                let at = random.usize(..value.len());
                value[at] = interesting(&mut random, value[at]);
            } else {
                let at = random.usize(..key.len());
                key[at] = interesting(&mut random, key[at]);
            }
            match random.u8(..20) {
                0 => value.truncate(random.usize(..=value.len())),
                1 => key.truncate(random.usize(..=key.len())),
                2 => {}
                _ => drop(tree.insert(key, value)),
            }
        }
        survive(&image.build().device, &format!("seed {seed}"));
    }
}

fn interesting(random: &mut fastrand::Rng, byte: u8) -> u8 {
    match random.u8(..5) {
        0 => 0,
        1 => 0xff,
        2 => byte ^ 1 << random.u8(..8),
        3 => byte.wrapping_add(1),
        _ => random.u8(..),
    }
}

#[test]
fn random_bytes_in_root_nodes_with_right_checksums() {
    for leaf_entries in [4, 100] {
        let mut image = sample_with_log();
        image.leaf_entries = leaf_entries;
        let built = image.build();
        let original = bytes_of(&built);
        for seed in rounds(120) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut superblock = built.superblock.clone();
            let tree = TreeId::ALL[random.usize(..7)];
            let Some(root) = &mut superblock.roots[tree as usize] else { continue };
            let block = root.pointer.block;
            let at = (block * BLOCK_BYTES) as usize;
            let mut page: Box<[u8; NODE_SIZE]> =
                Box::new(original[at..at + NODE_SIZE].try_into().unwrap());
            for _ in 0..random.u32(1..4) {
                let place = match random.u8(..3) {
                    0 => random.usize(40..64),
                    1 => random.usize(64..120),
                    _ => random.usize(NODE_SIZE - 2000..NODE_SIZE),
                };
                page[place] = interesting(&mut random, page[place]);
            }
            let generation = root.pointer.generation;
            root.pointer = seal(&mut page, &Stamp { uuid: &superblock.uuid, block, generation });
            built.device.write_at(block * BLOCK_BYTES, &page[..]).unwrap();
            let addr = superblock.copy_block() * BLOCK_BYTES;
            built.device.write_at(addr, &superblock.encode()).unwrap();
            survive(&built.device, &format!("seed {seed}, {leaf_entries} entries a leaf"));
            restore(&built, &original);
        }
    }
}

#[test]
fn random_bytes_in_the_superblock_with_right_checksum() {
    let built = sample_with_log().build();
    let original = bytes_of(&built);
    for seed in rounds(400) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = built.superblock.encode();
        for _ in 0..random.u32(1..4) {
            let at = random.usize(96..SUPERBLOCK_BYTES - 32);
            bytes[at] = interesting(&mut random, bytes[at]);
        }
        let checksum = crc32c_without(&bytes, 8);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        for copy in 0..superblock::COPY_COUNT {
            built.device.write_at(copy * BLOCK_BYTES, &bytes).unwrap();
        }
        survive(&built.device, &format!("seed {seed}"));
        restore(&built, &original);
    }
}

#[test]
fn random_bytes_in_records_with_right_checksums() {
    for seed in rounds(120) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut image = sample_with_log();
        for _ in 0..random.u32(1..6) {
            let record = &mut image.log[random.usize(..3)];
            let bytes = if random.bool() { &mut record.edits } else { &mut record.sums };
            if bytes.is_empty() {
                continue;
            }
            let at = random.usize(..bytes.len());
            bytes[at] = interesting(&mut random, bytes[at]);
        }
        survive(&image.build().device, &format!("seed {seed}"));
    }
}
