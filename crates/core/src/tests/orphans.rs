//! Files without a name, and large removals in steps.

use super::*;
use ashlar_format::key::TreeId;

const ROOT: Ino = Ino::ROOT;

fn orphans(volume: &Volume) -> u64 {
    volume.store.entry_count(TreeId::Orphans)
}

#[test]
fn an_open_file_outlives_its_name() {
    let volume = volume();
    let free = volume.statfs().free;
    let ino = make(&volume, ROOT, "file");
    let file = open(&volume, ino);
    write(&file, 0, &pattern(1, 100_000));
    volume.sync().unwrap();
    volume.unlink(ROOT, b"file").unwrap();
    assert_eq!(orphans(&volume), 1);
    write(&file, 100_000, &pattern(2, 50_000));
    file.fsync(false).unwrap();
    assert_eq!(read_all(&file).len(), 150_000);
    assert_eq!(file.attr().unwrap().nlink, 0);
    assert_eq!(errno(volume.link(ino, ROOT, b"again")), libc::ENOENT);
    file.set_len(10).unwrap();
    assert_eq!(orphans(&volume), 1, "truncation does not take it off the list");
    let second = open(&volume, ino);
    drop(file);
    assert!(volume.getattr(ino).is_ok());
    drop(second);
    assert_eq!(errno(volume.getattr(ino)), libc::ESTALE);
    assert_eq!(orphans(&volume), 0);
    volume.sync().unwrap();
    assert_eq!(volume.statfs().free, free);
}

#[test]
fn a_remembered_inode_outlives_its_name_until_it_is_forgotten() {
    let volume = volume();
    let ino = make(&volume, ROOT, "file");
    volume.remember(ino);
    volume.remember(ino);
    volume.unlink(ROOT, b"file").unwrap();
    volume.forget(ino, 1);
    assert!(volume.getattr(ino).is_ok());
    let hold = volume.hold(ino).unwrap();
    volume.forget(ino, 1);
    assert!(volume.getattr(ino).is_ok());
    drop(hold);
    assert_eq!(errno(volume.getattr(ino)), libc::ESTALE);
    assert_eq!(errno(volume.hold(ino).map(drop)), libc::ESTALE);
}

#[test]
fn a_file_left_without_a_name_by_a_crash_is_removed_at_mount() {
    let device = device(64);
    let (ino, free) = {
        let volume = Volume::mount(Arc::clone(&device), &options()).unwrap();
        let free = volume.statfs().free;
        let ino = make(&volume, ROOT, "file");
        let file = open(&volume, ino);
        write(&file, 0, &pattern(1, 500_000));
        volume.sync().unwrap();
        volume.unlink(ROOT, b"file").unwrap();
        volume.sync().unwrap();
        std::mem::forget(file);
        (ino, free)
    };
    let volume = Volume::mount(Arc::clone(&device), &options()).unwrap();
    assert_eq!(orphans(&volume), 1);
    assert_eq!(errno(volume.open(ino, OpenFlags::read_only())), libc::ESTALE);
    volume.sync().unwrap();
    assert_eq!(orphans(&volume), 0);
    let volume = remount(&volume, &options());
    assert_eq!(volume.statfs().free, free);
    assert_eq!(volume.statfs().files, 1);
}

#[test]
fn unnamed_files_get_a_name_or_vanish() {
    let volume = volume();
    let attr = volume.create_unnamed(&Caller::root(), ROOT, 0o600).unwrap();
    assert_eq!((attr.nlink, attr.mode), (0, 0o600));
    let file = open(&volume, attr.ino);
    write(&file, 0, b"content");
    volume.link(attr.ino, ROOT, b"named").unwrap();
    drop(file);
    assert_eq!(orphans(&volume), 0);
    let lost = volume.create_unnamed(&Caller::root(), ROOT, 0o600).unwrap();
    drop(open(&volume, lost.ino));
    assert_eq!(errno(volume.getattr(lost.ino)), libc::ESTALE);
    volume.create_unnamed(&Caller::root(), ROOT, 0o600).unwrap();
    let volume = remount(&volume, &options());
    assert_eq!(volume.statfs().files, 2);
    assert_eq!(orphans(&volume), 0);
    assert_eq!(read_all(&open(&volume, attr.ino)), b"content");
}

/// A file of many extents: every second block.
fn fragmented(volume: &Arc<Volume>, name: &str, blocks: u64) -> Arc<File> {
    let file = open(volume, make(volume, ROOT, name));
    for block in 0..blocks {
        write(&file, block * 8192, &pattern(block as u8, 4096));
    }
    file.fsync(false).unwrap();
    file
}

#[test]
fn files_of_many_extents_go_in_steps() {
    let volume = volume();
    let free = volume.statfs().free;
    let file = fragmented(&volume, "file", 1000);
    assert_eq!(file.extents(0..u64::MAX).unwrap().len(), 1000);
    file.set_len(8192 * 100 + 10).unwrap();
    assert_eq!(file.extents(0..u64::MAX).unwrap().len(), 101);
    assert_eq!(orphans(&volume), 0);
    drop(file);
    drop(fragmented(&volume, "other", 1000));
    volume.unlink(ROOT, b"other").unwrap();
    volume.unlink(ROOT, b"file").unwrap();
    assert_eq!(orphans(&volume), 0);
    let volume = remount(&volume, &options());
    assert_eq!(volume.statfs().free, free);
}

#[test]
fn a_truncation_that_a_crash_cut_short_is_finished_at_mount() {
    let device = device(64);
    let ino = {
        let volume = Volume::mount(Arc::clone(&device), &options()).unwrap();
        let file = fragmented(&volume, "file", 1000);
        // What the first transaction of a large truncation leaves.
        let inode = volume.inode(file.ino()).unwrap();
        let mut state = inode.state().unwrap();
        state.record.size = 100;
        let mut txn = volume.store.begin();
        state.log(file.ino(), &mut txn);
        txn.put(TreeId::Orphans, &ashlar_format::key::inode(file.ino().0), &[]);
        txn.commit().unwrap();
        drop(state);
        volume.sync_log().unwrap();
        std::mem::forget(Arc::clone(&file));
        file.ino()
    };
    let volume = Volume::mount(device, &options()).unwrap();
    assert_eq!(orphans(&volume), 0);
    let file = open(&volume, ino);
    assert_eq!(file.attr().unwrap().blocks, 8);
    file.set_len(1 << 20).unwrap();
    let mut expected = pattern(0, 100);
    expected.resize(1 << 20, 0);
    assert_eq!(read_all(&file), expected);
}

#[test]
fn renaming_over_an_open_file_keeps_it() {
    let volume = volume();
    let old = make(&volume, ROOT, "old");
    let file = open(&volume, old);
    write(&file, 0, b"old content");
    let new = make(&volume, ROOT, "new");
    let flags = crate::RenameFlags::empty();
    volume.rename(&Caller::root(), ROOT, b"new", ROOT, b"old", flags).unwrap();
    assert_eq!(volume.lookup(ROOT, b"old").unwrap().ino, new);
    assert_eq!(read_all(&file), b"old content");
    drop(file);
    assert_eq!(errno(volume.getattr(old)), libc::ESTALE);
}
