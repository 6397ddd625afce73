//! What repair writes: nothing but corrections, whatever the size, and a cut in its middle leaves
//! the volume as it was or repaired.

use super::image::{FILES_START, Image, LogRecord, SMALL, TWO_GROUPS, name_key, regular};
use super::{run, text};
use crate::{DumpTarget, FindingKind, dump};
use ashlar_device::{Device, Finish, MemoryDevice, Topology, Write};
use ashlar_format::extent::ExtentFlags;
use ashlar_format::inode::InodeRecord;
use ashlar_format::key::{self, TreeId};
use ashlar_format::log::Edit;
use std::sync::Mutex;

/// All entries of a tree as text, as the next mount sees them.
fn tree(device: &dyn Device, tree: TreeId) -> String {
    let mut text = Vec::new();
    dump(device, &DumpTarget::Tree(tree), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

fn file_trees(device: &dyn Device) -> Vec<String> {
    [TreeId::Inodes, TreeId::Extents, TreeId::Names, TreeId::Xattrs, TreeId::Orphans]
        .map(|id| tree(device, id))
        .to_vec()
}

/// A log of `count` new files in the root, many in one leaf of each tree.
fn many_new_files(image: &Image, count: u64) -> Vec<LogRecord> {
    let root = image.record(1);
    let root = InodeRecord { size: root.size + count, ..root };
    let first = LogRecord { flushed: 40, ..LogRecord::default() };
    let mut records = vec![first.put(TreeId::Inodes, &key::inode(1), &root.encode())];
    for ino in 100..100 + count {
        let content = vec![7; (ino % 900) as usize];
        let inode = InodeRecord {
            nlink: 1,
            size: content.len() as u64,
            inline: Some(content.into()),
            ..regular()
        };
        let name = ashlar_format::name::NameRecord { ino, kind: inode.kind };
        let record = LogRecord { flushed: 40, ..LogRecord::default() }
            .put(TreeId::Inodes, &key::inode(ino), &inode.encode())
            .put(TreeId::Names, &name_key(1, format!("n{ino}").as_bytes()), &name.encode());
        records.push(record);
    }
    records
}

#[test]
fn replayed_log_and_untouched_entries_survive_repair() {
    for (leaf_entries, files) in [(4, 1), (100, 300), (40, 900)] {
        let mut image = Image::sample(TWO_GROUPS);
        image.leaf_entries = leaf_entries;
        image.inner_children = leaf_entries.min(50);
        image.low_edges = files == 1;
        image.log = many_new_files(&image, files);
        image.used.push((FILES_START + 2000, 3));
        let device = image.build().device;
        let before = file_trees(&device);
        let (findings, report) = run(&device, true).unwrap();
        assert_eq!(findings.len(), 1, "{:?}", text(&findings));
        assert_eq!((report.exit_code(), report.needs_recovery), (1, false));
        assert_eq!(file_trees(&device), before);
        let (_, report) = run(&device, false).unwrap();
        assert_eq!((report.replayed_records, report.files), (0, 43 + files));
    }
}

#[test]
fn repair_of_a_sound_volume_writes_nothing() {
    let mut image = Image::sample(SMALL);
    image.log = many_new_files(&image, 3);
    let device = image.build().device;
    let before = device.to_bytes();
    let (_, report) = run(&device, true).unwrap();
    assert_eq!((report.exit_code(), report.needs_recovery), (0, true));
    assert!(device.to_bytes() == before);
}

#[test]
fn refused_repair_writes_nothing_and_says_why() {
    let mut image = Image::sample(SMALL);
    image.used.push((FILES_START + 2000, 3));
    let built = image.build();
    let leaf = built.level(TreeId::Inodes, 0)[3].block;
    built.flip_byte(leaf * 4096 + 16000);
    let before = built.device.to_bytes();
    let (_, report) = run(&built.device, true).unwrap();
    assert_eq!(report.exit_code(), 4);
    assert!(report.repair_refused.unwrap().contains("a tree is damaged"));
    assert!(built.device.to_bytes() == before);
}

#[test]
fn nameless_go_to_lost_and_found_made_or_there() {
    for exists in [false, true] {
        let mut image = Image::sample(SMALL);
        if exists {
            image.inode(9, &super::image::directory(1));
            image.name(1, b"lost+found", 9);
            // The name that the first one would get is taken.
            image.inode(10, &regular());
            image.name(9, b"#3", 10);
            image.settle();
        }
        for (dir, name) in [(1, &b"dir"[..]), (1, b"link"), (8, b"f20"), (8, b"f21")] {
            image.delete(TreeId::Names, &name_key(dir, name));
        }
        image.change(1, |root| {
            root.size -= 2;
            root.nlink -= 1;
        });
        image.change(8, |many| many.size -= 2);
        let device = image.build().device;
        let (findings, report) = run(&device, true).unwrap();
        let nameless = |it: &&crate::Finding| matches!(it.kind, FindingKind::Nameless { .. });
        assert_eq!(findings.iter().filter(nameless).count(), 4);
        assert_eq!((findings.len(), report.exit_code()), (4, 1), "{:?}", text(&findings));
        assert_eq!(text(&run(&device, false).unwrap().0), [""; 0]);
        let first = if exists { "/lost+found/#3.1/small" } else { "/lost+found/#3/small" };
        let mut shown = Vec::new();
        dump(&device, &DumpTarget::Path(first.into()), &mut shown).unwrap();
        assert!(String::from_utf8(shown).unwrap().starts_with("inode 4: file"));
        for path in ["/lost+found/#5", "/lost+found/#20", "/lost+found/#21"] {
            dump(&device, &DumpTarget::Path(path.into()), &mut Vec::new()).unwrap();
        }
    }
}

#[test]
fn lost_and_found_that_is_no_directory_is_left_alone() {
    let mut image = Image::sample(SMALL);
    image.name(1, b"lost+found", 2);
    image.settle();
    image.delete(TreeId::Names, &name_key(3, b"small"));
    image.change(3, |directory| directory.size -= 1);
    let device = image.build().device;
    let before = file_trees(&device);
    let (_, report) = run(&device, true).unwrap();
    assert_eq!(report.exit_code(), 4);
    assert_eq!(file_trees(&device), before);
}

#[test]
fn random_defects_of_all_sorts_are_gone_after_one_repair() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut image = Image::sample(TWO_GROUPS);
        image.leaf_entries = random.usize(3..60);
        image.inner_children = random.usize(4..40);
        image.low_edges = random.bool();
        for ino in 100..100 + random.u64(..200) {
            image.inode(ino, &regular());
            image.name(8, format!("r{ino}").as_bytes(), ino);
        }
        image.settle();
        image.log = many_new_files(&image, 0);
        let inos: Vec<u64> = (20..60).chain([2, 3, 4, 5, 7, 8]).collect();
        for _ in 0..random.u32(1..30) {
            let ino = inos[random.usize(..inos.len())];
            match random.u8(..9) {
                0 => image.change(ino, |inode| inode.nlink += 3),
                1 => image.change(ino, |inode| inode.blocks += 1),
                2 => image.change(8, |many| many.size += 1),
                3 => image.change(7, |sub| sub.parent = ino),
                4 => {
                    let name = name_key(8, format!("f{ino}").as_bytes());
                    image.trees[TreeId::Names as usize].remove(&name);
                }
                5 => image.used.push((FILES_START + random.u64(300..2000), random.u64(1..9))),
                6 => image.xattr(9, b"user.lost", random.u16(..3), b"x"),
                7 => image.put(TreeId::Orphans, &key::inode(random.u64(9..19)), &[]),
                _ => {
                    // What is left of an extent: its blocks are free again.
                    let key = key::extent(ino, 0);
                    image.trees[TreeId::Extents as usize].remove(&key[..]);
                }
            }
        }
        let device = image.build().device;
        let (findings, report) = run(&device, true).unwrap();
        assert!(report.exit_code() < 2, "seed {seed}: {:#?}", text(&findings));
        let (after, _) = run(&device, false).unwrap();
        assert_eq!(text(&after), [""; 0], "seed {seed}: {:#?}", text(&findings));
    }
}

// ---- power cuts ---------------------------------------------------------------------------

/// Remembers every write, and where the flushes were.
#[derive(Debug)]
struct Recorder {
    device: MemoryDevice,
    events: Mutex<Vec<Event>>,
}

#[derive(Debug, Clone)]
enum Event {
    Write(u64, Vec<u8>),
    Flush,
}

impl Device for Recorder {
    fn topology(&self) -> &Topology {
        self.device.topology()
    }

    fn read_at(&self, addr: u64, buf: &mut [u8]) -> ashlar_device::Result<()> {
        self.device.read_at(addr, buf)
    }

    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> ashlar_device::Result<()> {
        let mut events = self.events.lock().unwrap();
        for write in writes {
            // Torn at sectors: each is an event of its own.
            for (index, sector) in write.bytes.chunks(512).enumerate() {
                events.push(Event::Write(write.addr + index as u64 * 512, sector.to_vec()));
            }
        }
        if finish == Finish::Flush {
            events.push(Event::Flush);
        }
        self.device.submit(writes, finish)
    }

    fn discard(&self, addr: u64, length: u64) -> ashlar_device::Result<()> {
        self.device.discard(addr, length)
    }

    fn write_zeroes(&self, addr: u64, length: u64) -> ashlar_device::Result<()> {
        self.device.write_zeroes(addr, length)
    }
}

#[test]
fn cut_during_repair_leaves_the_volume_as_it_was_or_repaired() {
    let mut image = Image::sample(SMALL);
    image.log = many_new_files(&image, 2);
    // A record that never finished: its place is taken by the proof record.
    let unfinished = LogRecord { flushed: 40, ..LogRecord::default() }
        .edit(Edit::Alloc { block: FILES_START + 1500, count: 1 })
        .sums_of(FILES_START + 1500, &[9; 100]);
    image.log.push(unfinished);
    image.used.push((FILES_START + 2000, 3));
    image.change(2, |file| file.nlink = 9);
    image.extent(10, 0, FILES_START + 1700, 2, ExtentFlags::empty());
    let recorder = Recorder { device: image.build().device, events: Mutex::new(Vec::new()) };
    let original = recorder.device.to_bytes();
    let errors = |device: &dyn Device| {
        let (findings, _) = run(device, false).unwrap();
        let mut errors = text(&findings);
        errors.retain(|line| line.starts_with("error") || line.starts_with("fatal"));
        errors
    };
    let before = errors(&recorder.device);
    let before_trees = file_trees(&recorder.device);
    run(&recorder, true).unwrap();
    let after_trees = file_trees(&recorder.device);
    let events = recorder.events.into_inner().unwrap();
    let mut outcomes = [0, 0];
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..200 {
        let device = MemoryDevice::from_bytes(original.clone());
        // The flip is at the very end.
        let last = events.len();
        let cut = if random.bool() { random.usize(..=last) } else { last - random.usize(..3) };
        let flushed = events[..cut].iter().rposition(|event| matches!(event, Event::Flush));
        for (index, event) in events[..cut].iter().enumerate() {
            let Event::Write(addr, bytes) = event else { continue };
            if flushed.is_some_and(|flushed| index < flushed) || random.bool() {
                device.write_at(*addr, bytes).unwrap();
            }
        }
        let now = errors(&device);
        if now.is_empty() {
            assert_eq!(file_trees(&device), after_trees);
            outcomes[1] += 1;
        } else {
            assert_eq!(now, before);
            assert_eq!(file_trees(&device), before_trees);
            outcomes[0] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 5), "one-sided: {outcomes:?}");
}

/// An empty record 41 was lost and record 42 is there. An empty record in the place of 41 would be
/// the same, byte for byte, and 42 would chain on to it: a transaction that was judged never to
/// have finished comes back, over blocks that repair has used.
#[test]
fn record_behind_the_end_does_not_come_back_with_the_proof_record() {
    let mut image = Image::sample(SMALL);
    image.used.push((FILES_START + 2000, 3));
    let root = InodeRecord { size: 77, ..image.record(1) };
    let empty = || LogRecord { flushed: 40, ..LogRecord::default() };
    let change = empty().put(TreeId::Inodes, &key::inode(1), &root.encode());
    image.log = vec![empty(), change];
    let built = image.build();
    super::image::write_ring(&built.device, 0, &[0; 512]);
    let before = file_trees(&built.device);
    assert_eq!(run(&built.device, true).unwrap().1.exit_code(), 1);
    assert_eq!(file_trees(&built.device), before);
    assert_eq!(text(&run(&built.device, false).unwrap().0), [""; 0]);
}

#[test]
fn full_log_is_reported_before_anything_is_written() {
    let mut image = Image::sample(SMALL);
    image.used.push((FILES_START + 2000, 3));
    let content = Some(vec![7; 2000].into());
    image.change(4, |small| {
        small.inline = content;
        small.size = 2000;
    });
    let value = image.record(4).encode();
    // Records that say again what is there already.
    let empty = || LogRecord { flushed: 40, ..LogRecord::default() };
    let filler = || (0..230).fold(empty(), |it, _| it.put(TreeId::Inodes, &key::inode(4), &value));
    let log_bytes = 2 << 20;
    image.log = vec![filler(), filler(), filler(), filler()];
    while image.build().chain_end.position < log_bytes {
        let left = log_bytes - image.build().chain_end.position;
        image.log.extend(vec![empty(); (left / 512) as usize]);
    }
    let built = image.build();
    assert_eq!(built.chain_end.position, log_bytes);
    let before = built.device.to_bytes();
    assert!(matches!(run(&built.device, true), Err(crate::Error::LogFull)));
    assert!(built.device.to_bytes() == before);
    image.log.pop();
    let (_, report) = run(&image.build().device, true).unwrap();
    assert_eq!(report.exit_code(), 1);
}
