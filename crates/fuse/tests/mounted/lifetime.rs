//! Files that outlive their names, or never had one.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};

use crate::harness::{Mount, errno, names};

#[test]
fn unlinked_open_file_lives_until_it_is_closed() {
    let Some(mut mount) = Mount::new() else { return };
    let free = |mount: &Mount| rustix::fs::statfs(mount.path()).unwrap().f_bfree;
    let mut file =
        File::options().read(true).write(true).create_new(true).open(mount.at("file")).unwrap();
    file.write_all(&[5; 100_000]).unwrap();
    fs::remove_file(mount.at("file")).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    file.write_all(&[6; 4 << 20]).unwrap();
    file.sync_all().unwrap();
    file.seek(SeekFrom::Start(99_999)).unwrap();
    let mut two = [0; 2];
    file.read_exact(&mut two).unwrap();
    assert_eq!(two, [5, 6]);
    let while_open = free(&mount);
    drop(file);
    mount.again("");
    assert!(free(&mount) >= while_open + 1000, "{} {while_open}", free(&mount));
    assert_eq!(names(&mount.path()), [""; 0]);
}

#[test]
fn removed_directory_that_is_somebodys_working_directory_is_empty() {
    let Some(mount) = Mount::new() else { return };
    fs::create_dir(mount.at("dir")).unwrap();
    let held = File::open(mount.at("dir")).unwrap();
    fs::remove_dir(mount.at("dir")).unwrap();
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let created = rustix::fs::openat(&held, "file", flags, Mode::from_raw_mode(0o600));
    assert_eq!(errno(created), libc::ENOENT);
    assert_eq!(held.metadata().unwrap().nlink(), 0);
}

#[test]
fn unnamed_file_gets_a_name_by_linkat_or_vanishes() {
    let Some(mut mount) = Mount::new() else { return };
    let flags = OFlags::TMPFILE | OFlags::RDWR;
    let unnamed = || File::from(open(mount.path(), flags, Mode::from_raw_mode(0o640)).unwrap());
    let mut lost = unnamed();
    lost.write_all(&[1; 10_000]).unwrap();
    let mut kept = unnamed();
    kept.write_all(b"kept").unwrap();
    assert_eq!(kept.metadata().unwrap().nlink(), 0);
    let link = format!("/proc/self/fd/{}", kept.as_raw_fd());
    linkat(CWD, link, CWD, mount.at("kept"), AtFlags::SYMLINK_FOLLOW).unwrap();
    assert_eq!(kept.metadata().unwrap().nlink(), 1);
    // Opened exclusively it can never have one.
    let fixed = open(mount.path(), flags | OFlags::EXCL, Mode::from_raw_mode(0o600)).unwrap();
    let link = format!("/proc/self/fd/{}", fixed.as_raw_fd());
    let linked = linkat(CWD, link, CWD, mount.at("fixed"), AtFlags::SYMLINK_FOLLOW);
    assert_eq!(errno(linked), libc::ENOENT);
    drop((lost, kept, fixed));
    mount.again("");
    assert_eq!(names(&mount.path()), ["kept"]);
    assert_eq!(fs::read(mount.at("kept")).unwrap(), b"kept");
}

#[test]
fn replaced_file_stays_readable_for_who_has_it_open() {
    let Some(mount) = Mount::new() else { return };
    fs::write(mount.at("file"), "old").unwrap();
    let mut old = File::open(mount.at("file")).unwrap();
    fs::write(mount.at("new"), "new").unwrap();
    fs::rename(mount.at("new"), mount.at("file")).unwrap();
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old");
    assert_eq!(fs::read(mount.at("file")).unwrap(), b"new");
}

#[test]
fn inodes_dropped_from_the_kernels_cache_are_found_again() {
    let Some(mount) = Mount::new() else { return };
    for number in 0..2000 {
        fs::write(mount.at(&format!("file-{number}")), number.to_string()).unwrap();
    }
    // Forgets everything that is not in use: FORGET and BATCH_FORGET for each.
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    for number in 0..2000 {
        let text = fs::read_to_string(mount.at(&format!("file-{number}"))).unwrap();
        assert_eq!(text, number.to_string());
    }
}
