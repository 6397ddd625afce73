//! Full volumes: errors come when data is accepted, and removing always works.

use super::*;
use crate::FallocateMode;

const ROOT: Ino = Ino::ROOT;

fn small() -> Arc<Volume> {
    Volume::mount(device(16), &options()).unwrap()
}

/// Writes to a file until there is no more space; returns its bytes.
fn fill(file: &File, chunk: usize) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let bytes = pattern(content.len() as u8, chunk);
        match file.write_at(content.len() as u64, &bytes, WriteFlags::default()) {
            Ok(written) => content.extend_from_slice(&bytes[..written]),
            Err(error) => {
                assert_eq!(error.errno(), libc::ENOSPC);
                return content;
            }
        }
    }
}

#[test]
fn writeback_never_fails_for_space() {
    for chunk in [1000, 4096, 100_000] {
        let volume = small();
        let file = open(&volume, make(&volume, ROOT, "file"));
        let content = fill(&file, chunk);
        assert!(content.len() > 6 << 20, "{} bytes", content.len());
        file.fsync(false).unwrap();
        volume.sync().unwrap();
        assert!(read_all(&file) == content);
        let ino = file.ino();
        drop(file);
        let volume = remount(&volume, &options());
        assert!(read_all(&open(&volume, ino)) == content);
    }
}

#[test]
fn a_full_volume_can_be_emptied_and_filled_again() {
    let volume = small();
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let file = open(&volume, make(&volume, ROOT, "file"));
        sizes.push(fill(&file, 50_000).len());
        volume.sync().unwrap();
        drop(file);
        volume.unlink(ROOT, b"file").unwrap();
    }
    assert!(sizes.iter().all(|size| *size + (1 << 20) > sizes[0]), "{sizes:?}");
}

#[test]
fn many_small_files_until_the_volume_is_full() {
    let volume = small();
    let mut count = 0;
    loop {
        let name = format!("file{count}");
        let created = volume.create(&Caller::root(), ROOT, name.as_bytes(), &NewInode::file(0o644));
        let Ok(attr) = created else {
            assert_eq!(errno(created), libc::ENOSPC);
            break;
        };
        let file = open(&volume, attr.ino);
        match file.write_at(0, &pattern(count as u8, 3000), WriteFlags::default()) {
            Ok(3000) => count += 1,
            other => {
                assert_eq!(errno(other), libc::ENOSPC);
                break;
            }
        }
    }
    volume.sync().unwrap();
    assert!(count > 1000, "{count}");
    for n in 0..count {
        let attr = volume.lookup(ROOT, format!("file{n}").as_bytes()).unwrap();
        assert_eq!(read_all(&open(&volume, attr.ino)), pattern(n as u8, 3000));
        volume.unlink(ROOT, format!("file{n}").as_bytes()).unwrap();
    }
    let volume = remount(&volume, &options());
    assert!(volume.statfs().files <= 2);
}

#[test]
fn tiny_files_kept_in_inodes_until_the_volume_is_full() {
    let volume = small();
    let mut count = 0;
    let full = loop {
        let name = format!("file{count}");
        let created = volume.create(&Caller::root(), ROOT, name.as_bytes(), &NewInode::file(0o644));
        let Ok(attr) = created else { break errno(created) };
        let file = open(&volume, attr.ino);
        if let Err(error) = file.write_at(0, &pattern(count as u8, 1500), WriteFlags::default()) {
            break error.errno();
        }
        count += 1;
        if count % 100 == 0 {
            volume.sync().unwrap();
        }
    };
    assert_eq!(full, libc::ENOSPC);
    volume.sync().unwrap();
    assert!(count > 1000, "{count}");
    let volume = remount(&volume, &options());
    let attr = volume.lookup(ROOT, b"file500").unwrap();
    assert_eq!(read_all(&open(&volume, attr.ino)), pattern(500u32 as u8, 1500));
}

#[test]
fn an_allocation_that_does_not_fit_changes_nothing() {
    let volume = small();
    let file = open(&volume, make(&volume, ROOT, "file"));
    write(&file, 0, &pattern(1, 5000));
    let before = file.attr().unwrap();
    let mode = FallocateMode::Allocate { keep_size: false };
    assert_eq!(errno(file.allocate(&Caller::root(), mode, 0, 1 << 30)), libc::ENOSPC);
    assert_eq!(file.attr().unwrap(), before);
    // Promised space is not given away twice.
    let half = volume.statfs().available / 2 * 4096;
    file.allocate(&Caller::root(), mode, 0, half).unwrap();
    let other = open(&volume, make(&volume, ROOT, "other"));
    assert_eq!(errno(other.allocate(&Caller::root(), mode, 0, half + (1 << 20))), libc::ENOSPC);
    write(&file, 0, &pattern(2, 100_000));
    file.fsync(false).unwrap();
}

#[test]
fn direct_writes_fail_for_space_without_losing_any() {
    let volume = small();
    let flags = OpenFlags { direct: true, ..OpenFlags::read_write() };
    let file = volume.open(make(&volume, ROOT, "file"), flags).unwrap();
    let content = fill(&file, 1 << 16);
    let available = volume.statfs().available;
    assert!(available < 64, "{available}");
    assert!(read_all(&file) == content);
    file.set_len(0).unwrap();
    volume.sync().unwrap();
    volume.sync().unwrap();
    assert!(volume.statfs().available > 1000);
}

#[test]
fn abandoned_promises_are_given_back() {
    let volume = small();
    let before = volume.statfs().available;
    let file = open(&volume, make(&volume, ROOT, "file"));
    write(&file, 0, &pattern(1, 1 << 20));
    assert!(volume.statfs().available <= before - 256);
    assert_eq!(file.attr().unwrap().blocks, 256 * 8, "promised blocks count");
    drop(file);
    volume.unlink(ROOT, b"file").unwrap();
    assert!(volume.statfs().available + 32 >= before);
    let file = open(&volume, make(&volume, ROOT, "file"));
    write(&file, 0, &pattern(1, 1 << 20));
    file.set_len(1).unwrap();
    file.allocate(&Caller::root(), FallocateMode::PunchHole, 0, 4096).unwrap();
    assert!(volume.statfs().available + 32 >= before);
}
