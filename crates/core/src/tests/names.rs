//! Names: lookups, links, removal, renaming, listing.

use super::*;
use crate::{FileKind, InodeFlags, RenameFlags, SetAttr};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

const ROOT: Ino = Ino::ROOT;

fn list(volume: &Volume, dir: Ino) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    volume
        .read_dir(dir, 0, &mut |entry| {
            found.push((String::from_utf8(entry.name.clone()).unwrap(), entry.cookie));
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

fn names(volume: &Volume, dir: Ino) -> BTreeSet<String> {
    list(volume, dir)
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with('.'))
        .collect()
}

fn rename(volume: &Volume, from: (Ino, &str), to: (Ino, &str), flags: RenameFlags) -> i32 {
    let (from, to) = ((from.0, from.1.as_bytes()), (to.0, to.1.as_bytes()));
    match volume.rename(&Caller::root(), from.0, from.1, to.0, to.1, flags) {
        Ok(()) => 0,
        Err(error) => error.errno(),
    }
}

fn plain(volume: &Volume, from: (Ino, &str), to: (Ino, &str)) -> i32 {
    rename(volume, from, to, RenameFlags::empty())
}

#[test]
fn names_are_found_until_they_are_removed() {
    let volume = volume();
    let dir = make_dir(&volume, ROOT, "dir");
    let file = make(&volume, dir, "file");
    assert_eq!(volume.lookup(dir, b"file").unwrap().ino, file);
    assert_eq!(volume.lookup(dir, b".").unwrap().ino, dir);
    assert_eq!(volume.lookup(dir, b"..").unwrap().ino, ROOT);
    assert_eq!(volume.lookup(ROOT, b"..").unwrap().ino, ROOT);
    assert_eq!(errno(volume.lookup(dir, b"none")), libc::ENOENT);
    assert_eq!(errno(volume.lookup(file, b"x")), libc::ENOTDIR);
    assert_eq!(errno(volume.lookup(Ino(999), b"x")), libc::ESTALE);
    assert_eq!(errno(volume.lookup(dir, &[b'a'; 256])), libc::ENAMETOOLONG);
    volume.unlink(dir, b"file").unwrap();
    assert_eq!(errno(volume.lookup(dir, b"file")), libc::ENOENT);
    assert_eq!(errno(volume.getattr(file)), libc::ESTALE);
    assert_eq!(errno(volume.unlink(dir, b"file")), libc::ENOENT);
}

#[test]
fn bad_names_are_refused() {
    let volume = volume();
    let create =
        |name: &[u8]| errno(volume.create(&Caller::root(), ROOT, name, &NewInode::file(0o644)));
    assert_eq!(create(b""), libc::EINVAL);
    assert_eq!(create(b"a/b"), libc::EINVAL);
    assert_eq!(create(b"a\0b"), libc::EINVAL);
    assert_eq!(create(b"."), libc::EEXIST);
    assert_eq!(create(b".."), libc::EEXIST);
    assert_eq!(create(&[b'a'; 256]), libc::ENAMETOOLONG);
    let long = "ä".repeat(127);
    make(&volume, ROOT, &long);
    assert_eq!(names(&volume, ROOT), BTreeSet::from([long]));
}

#[test]
fn directories_count_entries_and_subdirectories() {
    let volume = volume();
    let dir = make_dir(&volume, ROOT, "dir");
    make(&volume, dir, "file");
    make_dir(&volume, dir, "sub");
    let attr = volume.getattr(dir).unwrap();
    assert_eq!((attr.size, attr.nlink), (2, 3));
    assert_eq!(errno(volume.rmdir(ROOT, b"dir")), libc::ENOTEMPTY);
    assert_eq!(errno(volume.rmdir(dir, b"file")), libc::ENOTDIR);
    assert_eq!(errno(volume.unlink(dir, b"sub")), libc::EISDIR);
    assert_eq!(errno(volume.rmdir(dir, b".")), libc::EINVAL);
    assert_eq!(errno(volume.rmdir(dir, b"..")), libc::ENOTEMPTY);
    volume.rmdir(dir, b"sub").unwrap();
    volume.unlink(dir, b"file").unwrap();
    let attr = volume.getattr(dir).unwrap();
    assert_eq!((attr.size, attr.nlink), (0, 2));
    volume.rmdir(ROOT, b"dir").unwrap();
    assert_eq!(volume.getattr(ROOT).unwrap().nlink, 2);
    let volume = remount(&volume, &options());
    assert!(names(&volume, ROOT).is_empty());
    assert_eq!(volume.statfs().files, 1);
}

#[test]
fn nothing_can_be_made_in_a_removed_directory() {
    let volume = volume();
    let dir = make_dir(&volume, ROOT, "dir");
    volume.remember(dir);
    volume.rmdir(ROOT, b"dir").unwrap();
    let create = volume.create(&Caller::root(), dir, b"x", &NewInode::file(0o644));
    assert_eq!(errno(create), libc::ENOENT);
    assert_eq!(errno(volume.read_dir(dir, 0, &mut |_| ControlFlow::Continue(()))), libc::ENOENT);
    assert_eq!(volume.getattr(dir).unwrap().nlink, 0);
    volume.forget(dir, 1);
    assert_eq!(errno(volume.getattr(dir)), libc::ESTALE);
}

#[test]
fn links_share_the_file_and_its_times() {
    let volume = volume();
    let file = make(&volume, ROOT, "a");
    let before = volume.getattr(file).unwrap();
    let attr = volume.link(file, ROOT, b"b").unwrap();
    assert_eq!(attr.nlink, 2);
    assert!(attr.ctime > before.ctime && attr.mtime == before.mtime);
    assert_eq!(errno(volume.link(file, ROOT, b"b")), libc::EEXIST);
    let dir = make_dir(&volume, ROOT, "dir");
    assert_eq!(errno(volume.link(dir, ROOT, b"c")), libc::EPERM);
    volume.unlink(ROOT, b"a").unwrap();
    assert_eq!(volume.lookup(ROOT, b"b").unwrap().nlink, 1);
    assert_eq!(errno(volume.link(Ino(99), ROOT, b"c")), libc::ESTALE);
}

#[test]
fn symlinks_keep_their_target() {
    let volume = volume();
    let target = vec![b't'; 4095];
    let link = volume.create(&Caller::root(), ROOT, b"link", &NewInode::symlink(&target)).unwrap();
    assert_eq!((link.size, link.mode), (4095, 0o777));
    let too_long = vec![b't'; 4096];
    let create = |target: &[u8]| {
        errno(volume.create(&Caller::root(), ROOT, b"x", &NewInode::symlink(target)))
    };
    assert_eq!(create(&too_long), libc::ENAMETOOLONG);
    assert_eq!(create(b""), libc::ENOENT);
    let change = SetAttr { uid: Some(5), ..SetAttr::default() };
    volume.setattr(&Caller::root(), link.ino, &change).unwrap();
    assert_eq!(errno(volume.readlink(ROOT)), libc::EINVAL);
    let volume = remount(&volume, &options());
    assert_eq!(volume.readlink(link.ino).unwrap(), target);
    assert_eq!(volume.getattr(link.ino).unwrap().uid, 5);
}

#[test]
fn renaming_replaces_files_with_files_and_directories_with_empty_directories() {
    let volume = volume();
    let (a, b) = (make_dir(&volume, ROOT, "a"), make_dir(&volume, ROOT, "b"));
    let file = make(&volume, a, "file");
    make(&volume, b, "old");
    let full = make_dir(&volume, b, "full");
    make(&volume, full, "x");
    make_dir(&volume, b, "empty");
    let moved = make_dir(&volume, a, "moved");
    assert_eq!(plain(&volume, (a, "none"), (b, "x")), libc::ENOENT);
    assert_eq!(plain(&volume, (a, "file"), (b, "empty")), libc::EISDIR);
    assert_eq!(plain(&volume, (a, "moved"), (b, "old")), libc::ENOTDIR);
    assert_eq!(plain(&volume, (a, "moved"), (b, "full")), libc::ENOTEMPTY);
    assert_eq!(rename(&volume, (a, "file"), (b, "old"), RenameFlags::NOREPLACE), libc::EEXIST);
    assert_eq!(plain(&volume, (a, "file"), (b, "old")), 0);
    assert_eq!(plain(&volume, (a, "moved"), (b, "empty")), 0);
    assert_eq!(volume.lookup(b, b"old").unwrap().ino, file);
    assert_eq!(volume.lookup(moved, b"..").unwrap().ino, b);
    let (attr_a, attr_b) = (volume.getattr(a).unwrap(), volume.getattr(b).unwrap());
    assert_eq!((attr_a.size, attr_a.nlink), (0, 2));
    assert_eq!((attr_b.size, attr_b.nlink), (3, 4));
    assert_eq!(volume.statfs().files, 7, "what was replaced is gone");
}

#[test]
fn a_directory_cannot_move_into_itself_and_an_ancestor_is_not_replaced() {
    let volume = volume();
    let a = make_dir(&volume, ROOT, "a");
    let b = make_dir(&volume, a, "b");
    let c = make_dir(&volume, b, "c");
    assert_eq!(plain(&volume, (ROOT, "a"), (a, "x")), libc::EINVAL);
    assert_eq!(plain(&volume, (ROOT, "a"), (c, "x")), libc::EINVAL);
    make(&volume, c, "file");
    make_dir(&volume, c, "dir");
    assert_eq!(plain(&volume, (c, "dir"), (ROOT, "a")), libc::ENOTEMPTY);
    assert_eq!(plain(&volume, (c, "dir"), (a, "b")), libc::ENOTEMPTY);
    let exchange = RenameFlags::EXCHANGE;
    assert_eq!(rename(&volume, (c, "dir"), (a, "b"), exchange), libc::EINVAL);
    assert_eq!(rename(&volume, (a, "b"), (c, "dir"), exchange), libc::EINVAL);
    assert_eq!(rename(&volume, (c, "file"), (ROOT, "a"), exchange), libc::EINVAL);
    assert_eq!(plain(&volume, (b, "c"), (ROOT, "c")), 0, "upwards is fine");
    assert_eq!(volume.lookup(c, b"..").unwrap().ino, ROOT);
}

#[test]
fn renaming_a_link_onto_its_own_file_does_nothing() {
    let volume = volume();
    let file = make(&volume, ROOT, "a");
    volume.link(file, ROOT, b"b").unwrap();
    assert_eq!(plain(&volume, (ROOT, "a"), (ROOT, "b")), 0);
    assert_eq!(plain(&volume, (ROOT, "a"), (ROOT, "a")), 0);
    assert_eq!(names(&volume, ROOT), BTreeSet::from(["a".into(), "b".into()]));
}

#[test]
fn exchange_and_whiteout() {
    let volume = volume();
    let dir = make_dir(&volume, ROOT, "dir");
    let file = make(&volume, ROOT, "file");
    let sub = make_dir(&volume, dir, "sub");
    let exchange = RenameFlags::EXCHANGE;
    assert_eq!(rename(&volume, (ROOT, "file"), (dir, "none"), exchange), libc::ENOENT);
    assert_eq!(rename(&volume, (ROOT, "file"), (dir, "sub"), exchange), 0);
    assert_eq!(volume.lookup(dir, b"sub").unwrap().ino, file);
    assert_eq!(volume.lookup(sub, b"..").unwrap().ino, ROOT);
    assert_eq!(volume.getattr(dir).unwrap().nlink, 2);
    assert_eq!(volume.getattr(ROOT).unwrap().nlink, 4);
    let both = exchange | RenameFlags::NOREPLACE;
    assert_eq!(rename(&volume, (ROOT, "file"), (dir, "sub"), both), libc::EINVAL);
    let whiteout = RenameFlags::WHITEOUT;
    assert_eq!(rename(&volume, (dir, "sub"), (ROOT, "back"), whiteout), 0);
    let left = volume.lookup(dir, b"sub").unwrap();
    assert_eq!((left.kind, left.rdev, left.mode), (FileKind::CharDevice, 0, 0));
    assert_eq!(volume.getattr(dir).unwrap().size, 1);
}

#[test]
fn renaming_changes_the_right_times() {
    let volume = volume();
    let (a, b) = (make_dir(&volume, ROOT, "a"), make_dir(&volume, ROOT, "b"));
    let file = make(&volume, a, "file");
    let before = [a, b, file].map(|ino| volume.getattr(ino).unwrap());
    assert_eq!(plain(&volume, (a, "file"), (b, "file")), 0);
    let after = [a, b, file].map(|ino| volume.getattr(ino).unwrap());
    for dir in 0..2 {
        assert!(after[dir].mtime > before[dir].mtime && after[dir].ctime > before[dir].ctime);
    }
    assert!(after[2].ctime > before[2].ctime && after[2].mtime == before[2].mtime);
}

#[test]
fn flags_forbid_what_they_say() {
    let volume = volume();
    let root = Caller::root();
    let dir = make_dir(&volume, ROOT, "dir");
    let file = make(&volume, dir, "file");
    let set = |ino, flags| volume.set_flags(&root, ino, flags).unwrap();
    set(file, InodeFlags::IMMUTABLE);
    assert_eq!(errno(volume.unlink(dir, b"file")), libc::EPERM);
    assert_eq!(errno(volume.link(file, dir, b"b")), libc::EPERM);
    assert_eq!(plain(&volume, (dir, "file"), (ROOT, "x")), libc::EPERM);
    assert_eq!(errno(volume.open(file, OpenFlags::read_write())), libc::EPERM);
    let change = SetAttr { mode: Some(0), ..SetAttr::default() };
    assert_eq!(errno(volume.setattr(&root, file, &change)), libc::EPERM);
    assert_eq!(
        errno(volume.setxattr(&root, file, b"user.a", b"", crate::XattrMode::Either)),
        libc::EPERM
    );
    set(file, InodeFlags::APPEND);
    assert_eq!(errno(volume.open(file, OpenFlags::read_write())), libc::EPERM);
    let appending = OpenFlags { append: true, ..OpenFlags::read_write() };
    let handle = volume.open(file, appending).unwrap();
    write(&handle, 0, b"abc");
    assert_eq!(errno(handle.set_len(0)), libc::EPERM);
    assert_eq!(errno(volume.unlink(dir, b"file")), libc::EPERM);
    drop(handle);
    set(file, InodeFlags::empty());
    set(dir, InodeFlags::APPEND);
    make(&volume, dir, "more");
    assert_eq!(errno(volume.unlink(dir, b"more")), libc::EPERM);
    assert_eq!(plain(&volume, (dir, "more"), (ROOT, "x")), libc::EPERM);
    set(dir, InodeFlags::IMMUTABLE);
    let create = volume.create(&root, dir, b"x", &NewInode::file(0));
    assert_eq!(errno(create), libc::EPERM);
    let user = Caller { uid: 5, privileged: false, ..Caller::root() };
    assert_eq!(errno(volume.set_flags(&user, dir, InodeFlags::empty())), libc::EPERM);
    assert_eq!(errno(volume.set_flags(&root, file, InodeFlags::SEALED)), libc::EOPNOTSUPP);
}

#[test]
fn a_read_only_volume_changes_nothing() {
    let volume = volume();
    let file = make(&volume, ROOT, "file");
    write(&open(&volume, file), 0, b"content");
    let read_only = MountOptions { read_only: true, ..options() };
    let volume = remount(&volume, &read_only);
    let root = Caller::root();
    assert_eq!(errno(volume.create(&root, ROOT, b"x", &NewInode::file(0))), libc::EROFS);
    assert_eq!(errno(volume.unlink(ROOT, b"file")), libc::EROFS);
    assert_eq!(errno(volume.setattr(&root, file, &SetAttr::default())), libc::EROFS);
    assert_eq!(errno(volume.open(file, OpenFlags::read_write())), libc::EROFS);
    assert_eq!(plain(&volume, (ROOT, "file"), (ROOT, "x")), libc::EROFS);
    let handle = volume.open(file, OpenFlags::read_only()).unwrap();
    assert_eq!(read_all(&handle), b"content");
    handle.fsync(false).unwrap();
    volume.sync().unwrap();
    volume.unmount().unwrap();
    assert_eq!(errno(volume.lookup(ROOT, b"file")), libc::EIO, "unmounted");
    assert_eq!(errno(handle.read_at(0, &mut [0; 1])), libc::EIO);
}

#[test]
fn listing_goes_on_where_it_stopped_whatever_changes() {
    let volume = volume();
    let dir = make_dir(&volume, ROOT, "dir");
    for n in 0..500 {
        make(&volume, dir, &format!("stays{n}"));
        make(&volume, dir, &format!("goes{n}"));
    }
    let mut seen = Vec::new();
    let mut cookie = 0;
    let mut round = 0;
    loop {
        let mut page = Vec::new();
        volume
            .read_dir(dir, cookie, &mut |entry| {
                page.push((String::from_utf8(entry.name.clone()).unwrap(), entry.cookie));
                if page.len() == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        let Some((_, last)) = page.last() else { break };
        cookie = *last;
        seen.extend(page.into_iter().map(|(name, _)| name));
        for _ in 0..4 {
            if round < 500 {
                volume.unlink(dir, format!("goes{round}").as_bytes()).unwrap();
                make(&volume, dir, &format!("new{round}"));
                round += 1;
            }
        }
    }
    let unique: BTreeSet<_> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "nothing twice");
    for n in 0..500 {
        assert!(unique.contains(&format!("stays{n}")));
    }
    assert_eq!(&seen[..2], [".", ".."]);
}

#[test]
fn cookies_are_positive_and_stable() {
    let volume = volume();
    for n in 0..100 {
        make(&volume, ROOT, &format!("f{n}"));
    }
    let before = list(&volume, ROOT);
    assert_eq!((before[0].1, before[1].1), (1, 2));
    assert!(before[2..].iter().all(|(_, cookie)| (16..1 << 63).contains(cookie)));
    let volume = remount(&volume, &options());
    assert_eq!(list(&volume, ROOT), before);
}

#[test]
fn a_hundred_thousand_names_in_one_directory() {
    let device = device(256);
    let volume = Volume::mount(device, &options()).unwrap();
    let dir = make_dir(&volume, ROOT, "dir");
    for n in 0..100_000 {
        make(&volume, dir, &format!("name{n}"));
    }
    assert_eq!(volume.getattr(dir).unwrap().size, 100_000);
    assert_eq!(list(&volume, dir).len(), 100_002);
    for n in 0..100_000 {
        if n % 10 > 0 {
            volume.unlink(dir, format!("name{n}").as_bytes()).unwrap();
        }
    }
    assert!(volume.inodes.len() <= 25_000, "idle inodes are bounded");
    let volume = remount(&volume, &options());
    assert_eq!(list(&volume, dir).len(), 10_002);
    assert!(volume.lookup(dir, b"name99990").is_ok());
}
