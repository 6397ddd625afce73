//! Attributes: modes, owners, times, extended attributes, access control lists.

use super::*;
use crate::{Atime, FileKind, InodeFlags, SetAttr, SetTime, XattrMode};

const ROOT: Ino = Ino::ROOT;
const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

fn user(uid: u32, gid: u32, umask: u32) -> Caller {
    Caller { uid, gid, umask, capable_fsetid: false, privileged: false, ..Caller::root() }
}

fn create(
    volume: &Volume,
    caller: &Caller,
    dir: Ino,
    name: &str,
    new: &NewInode<'_>,
) -> crate::Attr {
    volume.create(caller, dir, name.as_bytes(), new).unwrap()
}

fn change(volume: &Volume, ino: Ino, change: SetAttr) -> crate::Attr {
    volume.setattr(&Caller::root(), ino, &change).unwrap()
}

fn set(volume: &Volume, ino: Ino, name: &[u8], value: &[u8]) -> i32 {
    match volume.setxattr(&Caller::root(), ino, name, value, XattrMode::Either) {
        Ok(()) => 0,
        Err(error) => error.errno(),
    }
}

/// An ACL's value from (tag, permissions, id).
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

const NO_ID: u32 = u32::MAX;

fn extended(user: u16, mask: u16) -> Vec<u8> {
    acl(&[(1, 7, NO_ID), (2, user, 1000), (4, 5, NO_ID), (0x10, mask, NO_ID), (0x20, 1, NO_ID)])
}

#[test]
fn who_makes_a_file_owns_it_and_the_umask_applies() {
    let volume = volume();
    let file = create(&volume, &user(5, 6, 0o027), ROOT, "f", &NewInode::file(0o666));
    assert_eq!((file.uid, file.gid, file.mode), (5, 6, 0o640));
    assert_eq!((file.nlink, file.size, file.blocks), (1, 0, 0));
    let device =
        NewInode { kind: FileKind::BlockDevice, mode: 0o600, rdev: 0x803, symlink_target: &[] };
    let device = create(&volume, &Caller::root(), ROOT, "d", &device);
    assert_eq!((device.kind, device.rdev), (FileKind::BlockDevice, 0x803));
    let volume = remount(&volume, &options());
    assert_eq!(volume.getattr(file.ino).unwrap(), file);
    assert_eq!(volume.getattr(device.ino).unwrap(), device);
}

#[test]
fn set_group_id_directories_pass_their_group_on() {
    let volume = volume();
    let dir = make_dir(&volume, ROOT, "dir");
    change(&volume, dir, SetAttr { gid: Some(77), mode: Some(0o2775), ..SetAttr::default() });
    let caller = user(5, 6, 0);
    let sub = create(&volume, &caller, dir, "sub", &NewInode::directory(0o755));
    assert_eq!((sub.gid, sub.mode), (77, 0o2755));
    let file = create(&volume, &caller, dir, "file", &NewInode::file(0o2755));
    assert_eq!((file.gid, file.mode), (77, 0o755), "not in the group: no set-group-id");
    let member = Caller { groups: [77].into_iter().collect(), ..caller };
    let file = create(&volume, &member, dir, "mine", &NewInode::file(0o2755));
    assert_eq!(file.mode, 0o2755);
}

#[test]
fn changing_the_owner_clears_set_ids_of_files_only() {
    let volume = volume();
    let file = make(&volume, ROOT, "file");
    let dir = make_dir(&volume, ROOT, "dir");
    for ino in [file, dir] {
        change(&volume, ino, SetAttr { mode: Some(0o6755), ..SetAttr::default() });
    }
    let owner = SetAttr { uid: Some(9), ..SetAttr::default() };
    assert_eq!(change(&volume, file, owner).mode, 0o755);
    assert_eq!(change(&volume, dir, owner).mode, 0o6755);
    change(&volume, file, SetAttr { mode: Some(0o6755), ..SetAttr::default() });
    let handle = open(&volume, file);
    let flags = WriteFlags { kill_suid_gid: true, ..WriteFlags::default() };
    handle.write_at(0, b"x", flags).unwrap();
    assert_eq!(handle.attr().unwrap().mode, 0o755);
    let chmod = SetAttr { mode: Some(0o2755), ..SetAttr::default() };
    assert_eq!(volume.setattr(&user(9, 1, 0), file, &chmod).unwrap().mode, 0o755);
}

#[test]
fn times_of_all_centuries_survive() {
    let volume = volume();
    let file = make(&volume, ROOT, "file");
    for seconds in [-1, -5_000_000_000, 0, 1 << 31, 1 << 40, i64::MAX, i64::MIN] {
        let time = Timestamp { seconds, nanoseconds: 999_999_999 };
        let times = SetAttr {
            atime: Some(SetTime::At(time)),
            mtime: Some(SetTime::At(time)),
            ctime: Some(time),
            btime: Some(time),
            ..SetAttr::default()
        };
        change(&volume, file, times);
        let attr = volume.getattr(file).unwrap();
        assert_eq!([attr.atime, attr.mtime, attr.ctime, attr.btime], [time; 4]);
        let stored = volume.read_record(file).unwrap();
        assert_eq!((stored.mtime, stored.ctime), (time, time));
    }
}

#[test]
fn each_operation_moves_its_times() {
    let volume = volume();
    let file = make(&volume, ROOT, "file");
    let handle = open(&volume, file);
    let mut last = volume.getattr(file).unwrap();
    let mut step = |content: bool, act: &dyn Fn()| {
        act();
        let now = volume.getattr(file).unwrap();
        assert!(now.ctime > last.ctime);
        assert_eq!(now.mtime > last.mtime, content);
        assert_eq!(now.btime, last.btime);
        last = now;
    };
    step(true, &|| write(&handle, 0, b"x"));
    step(true, &|| handle.set_len(100).unwrap());
    step(true, &|| handle.set_len(0).unwrap());
    step(false, &|| {
        change(&volume, file, SetAttr { mode: Some(0o600), ..SetAttr::default() });
    });
    step(false, &|| assert_eq!(set(&volume, file, b"user.a", b"b"), 0));
    step(false, &|| {
        volume.link(file, ROOT, b"other").unwrap();
    });
    step(false, &|| volume.unlink(ROOT, b"other").unwrap());
}

#[test]
fn access_times_follow_the_mount_option() {
    for (atime, expected) in [
        (Atime::Relatime, [true, false]),
        (Atime::Strict, [true, true]),
        (Atime::Never, [false; 2]),
    ] {
        let volume = Volume::mount(device(16), &MountOptions { atime, ..options() }).unwrap();
        let file = make(&volume, ROOT, "file");
        let handle = open(&volume, file);
        write(&handle, 0, b"x");
        for moved in expected {
            let before = volume.getattr(file).unwrap().atime;
            handle.read_at(0, &mut [0]).unwrap();
            assert_eq!(volume.getattr(file).unwrap().atime > before, moved, "{atime:?}");
        }
        let shown = volume.getattr(file).unwrap().atime;
        drop(handle);
        let volume = remount(&volume, &options());
        assert_eq!(volume.getattr(file).unwrap().atime, shown);
        volume.set_flags(&Caller::root(), file, InodeFlags::NOATIME).unwrap();
        write(&open(&volume, file), 0, b"y");
        open(&volume, file).read_at(0, &mut [0]).unwrap();
        assert_eq!(volume.getattr(file).unwrap().atime, shown);
    }
}

#[test]
fn fdatasync_leaves_times_and_fsync_does_not() {
    let volume = volume();
    let file = make(&volume, ROOT, "file");
    let handle = open(&volume, file);
    write(&handle, 0, &pattern(1, 8192));
    handle.fsync(false).unwrap();
    let logged = volume.read_record(file).unwrap().mtime;
    write(&handle, 0, &pattern(2, 4096));
    handle.fsync(true).unwrap();
    let _ = logged;
    handle.fsync(false).unwrap();
    assert_eq!(volume.read_record(file).unwrap().mtime, handle.attr().unwrap().mtime);
}

#[test]
fn extended_attributes_of_every_size() {
    let volume = volume();
    let file = make(&volume, ROOT, "file");
    for size in [0, 1, 4095, 4096, 4097, 8192, 65_535, 65_536, 10, 0] {
        let value = pattern(7, size);
        assert_eq!(set(&volume, file, b"user.value", &value), 0);
        assert_eq!(volume.getxattr(file, b"user.value").unwrap(), value);
    }
    assert_eq!(set(&volume, file, b"user.value", &[0; 65_537]), libc::E2BIG);
    assert_eq!(set(&volume, file, b"trusted.t", b"1"), 0);
    assert_eq!(set(&volume, file, b"security.s", &pattern(1, 5000)), 0);
    let mut names: Vec<_> = volume.listxattr(file).unwrap();
    assert_eq!(names.pop(), Some(0));
    let mut names: Vec<_> = names.split(|byte| *byte == 0).collect();
    names.sort();
    assert_eq!(names, [&b"security.s"[..], b"trusted.t", b"user.value"]);
    let volume = remount(&volume, &options());
    assert_eq!(volume.getxattr(file, b"security.s").unwrap(), pattern(1, 5000));
    volume.removexattr(&Caller::root(), file, b"security.s").unwrap();
    assert_eq!(errno(volume.getxattr(file, b"security.s")), libc::ENODATA);
    let again = volume.removexattr(&Caller::root(), file, b"security.s");
    assert_eq!(errno(again), libc::ENODATA);
    volume.unlink(ROOT, b"file").unwrap();
    assert_eq!(volume.store.entry_count(ashlar_format::key::TreeId::Xattrs), 0);
}

#[test]
fn extended_attributes_obey_the_rules_of_their_names() {
    let volume = volume();
    let root = Caller::root();
    let file = make(&volume, ROOT, "file");
    let with = |mode| volume.setxattr(&root, file, b"user.a", b"1", mode);
    assert_eq!(errno(with(XattrMode::Replace)), libc::ENODATA);
    with(XattrMode::Create).unwrap();
    assert_eq!(errno(with(XattrMode::Create)), libc::EEXIST);
    with(XattrMode::Replace).unwrap();
    assert_eq!(set(&volume, file, b"system.other", b""), libc::EOPNOTSUPP);
    assert_eq!(set(&volume, file, b"noprefix", b""), libc::EOPNOTSUPP);
    assert_eq!(set(&volume, file, b"user.", b""), libc::EINVAL);
    assert_eq!(set(&volume, file, &[b'u'; 300], b""), libc::ERANGE);
    let link = create(&volume, &root, ROOT, "link", &NewInode::symlink(b"x")).ino;
    assert_eq!(set(&volume, link, b"user.a", b""), libc::EPERM);
    assert_eq!(set(&volume, link, b"trusted.a", b""), 0);
    assert_eq!(errno(volume.getxattr(Ino(99), b"user.a")), libc::ESTALE);
    assert_eq!(errno(volume.getxattr(file, b"user.none")), libc::ENODATA);
}

#[test]
fn an_access_acl_and_the_mode_stay_together() {
    let volume = volume();
    let file = make(&volume, ROOT, "file");
    assert_eq!(set(&volume, file, ACCESS, &extended(7, 6)), 0);
    assert_eq!(volume.getattr(file).unwrap().mode, 0o761);
    change(&volume, file, SetAttr { mode: Some(0o640), ..SetAttr::default() });
    let expected =
        acl(&[(1, 6, NO_ID), (2, 7, 1000), (4, 5, NO_ID), (0x10, 4, NO_ID), (0x20, 0, NO_ID)]);
    assert_eq!(volume.getxattr(file, ACCESS).unwrap(), expected);
    let minimal = acl(&[(1, 7, NO_ID), (4, 1, NO_ID), (0x20, 2, NO_ID)]);
    assert_eq!(set(&volume, file, ACCESS, &minimal), 0);
    assert_eq!(errno(volume.getxattr(file, ACCESS)), libc::ENODATA, "the mode says it all");
    assert_eq!(volume.getattr(file).unwrap().mode, 0o712);
    assert_eq!(set(&volume, file, ACCESS, b"nonsense"), libc::EOPNOTSUPP);
    assert_eq!(set(&volume, file, DEFAULT, &minimal), libc::EACCES);
}

#[test]
fn default_acls_are_inherited_and_replace_the_umask() {
    let volume = volume();
    let dir = make_dir(&volume, ROOT, "dir");
    assert_eq!(set(&volume, dir, DEFAULT, &extended(7, 7)), 0);
    let caller = user(5, 6, 0o077);
    let file = create(&volume, &caller, dir, "file", &NewInode::file(0o664));
    assert_eq!(file.mode, 0o660);
    let expected =
        acl(&[(1, 6, NO_ID), (2, 7, 1000), (4, 5, NO_ID), (0x10, 6, NO_ID), (0x20, 0, NO_ID)]);
    assert_eq!(volume.getxattr(file.ino, ACCESS).unwrap(), expected);
    assert_eq!(errno(volume.getxattr(file.ino, DEFAULT)), libc::ENODATA);
    let sub = create(&volume, &caller, dir, "sub", &NewInode::directory(0o777));
    assert_eq!(sub.mode, 0o771);
    assert_eq!(volume.getxattr(sub.ino, DEFAULT).unwrap(), extended(7, 7));
    volume.removexattr(&Caller::root(), dir, DEFAULT).unwrap();
    let plain = create(&volume, &caller, dir, "plain", &NewInode::file(0o664));
    assert_eq!(plain.mode, 0o600);
    assert_eq!(errno(volume.getxattr(plain.ino, ACCESS)), libc::ENODATA);
}

#[test]
fn directories_pass_flags_and_project_on() {
    let volume = volume();
    let dir = make_dir(&volume, ROOT, "dir");
    let flags = InodeFlags::NODUMP | InodeFlags::PROJECT_INHERIT | InodeFlags::DIRSYNC;
    volume.set_flags(&Caller::root(), dir, flags).unwrap();
    volume.set_project(&Caller::root(), dir, 12).unwrap();
    let file = make(&volume, dir, "file");
    assert_eq!(volume.getattr(file).unwrap().flags, InodeFlags::NODUMP);
    assert_eq!(volume.project(file).unwrap(), 12);
    let sub = make_dir(&volume, dir, "sub");
    assert_eq!(volume.getattr(sub).unwrap().flags, flags);
    let refused = volume.set_flags(&Caller::root(), file, InodeFlags::DIRSYNC);
    assert_eq!(errno(refused), libc::EOPNOTSUPP);
}

#[test]
fn sizes_are_set_on_files_only() {
    let volume = volume();
    let size = SetAttr { size: Some(10), ..SetAttr::default() };
    let root = Caller::root();
    assert_eq!(errno(volume.setattr(&root, ROOT, &size)), libc::EISDIR);
    let link = create(&volume, &root, ROOT, "link", &NewInode::symlink(b"x")).ino;
    assert_eq!(errno(volume.setattr(&root, link, &size)), libc::EINVAL);
}

#[test]
fn label_and_info() {
    let volume = volume();
    volume.set_label("stone").unwrap();
    assert_eq!(errno(volume.set_label(&"x".repeat(65))), libc::EINVAL);
    let volume = remount(&volume, &options());
    let info = volume.info();
    assert_eq!((info.label.as_str(), info.uuid), ("stone", [7; 16]));
    assert!(!info.read_only && !info.recovery.was_dirty);
    volume.force_read_only("test".into());
    assert!(volume.is_read_only());
    let create = volume.create(&Caller::root(), ROOT, b"x", &NewInode::file(0));
    assert_eq!(errno(create), libc::EROFS);
    assert!(volume.getattr(ROOT).is_ok());
}

#[test]
fn now_may_be_set_on_append_only_files_and_other_times_not() {
    let volume = volume();
    let file = make(&volume, ROOT, "file");
    volume.set_flags(&Caller::root(), file, InodeFlags::APPEND).unwrap();
    let now =
        SetAttr { atime: Some(SetTime::Now), mtime: Some(SetTime::Now), ..SetAttr::default() };
    change(&volume, file, now);
    let time = Some(SetTime::At(Timestamp { seconds: 1, nanoseconds: 0 }));
    for times in [SetAttr { atime: time, ..now }, SetAttr { mtime: time, ..now }] {
        assert_eq!(errno(volume.setattr(&Caller::root(), file, &times)), libc::EPERM);
    }
    // The kernel's cache sends the time of the last write that way.
    let volume = remount(&volume, &MountOptions { kernel_cache: true, ..options() });
    let written = SetAttr { mtime: time, ctime: Some(volume.now()), ..SetAttr::default() };
    assert_eq!(change(&volume, file, written).mtime.seconds, 1);
}

#[test]
fn an_acl_that_is_not_there_can_be_removed() {
    let volume = volume();
    let file = make(&volume, ROOT, "file");
    for name in [ACCESS, DEFAULT] {
        volume.removexattr(&Caller::root(), file, name).unwrap();
        assert_eq!(set(&volume, file, name, b""), 0);
        assert_eq!(set(&volume, file, name, &2u32.to_le_bytes()), 0, "no entries");
    }
    assert!(volume.listxattr(file).unwrap().is_empty());
}

#[test]
fn reading_a_link_is_an_access() {
    let volume = volume();
    let link = create(&volume, &Caller::root(), ROOT, "link", &NewInode::symlink(b"x"));
    volume.readlink(link.ino).unwrap();
    let first = volume.getattr(link.ino).unwrap().atime;
    assert!(first > link.atime);
    volume.readlink(link.ino).unwrap();
    assert_eq!(volume.getattr(link.ino).unwrap().atime, first);
}

#[test]
fn what_comes_from_the_callers_cache_changes_content_and_size_only() {
    let volume = volume();
    let file = make(&volume, ROOT, "file");
    let handle = open(&volume, file);
    let before = volume.getattr(file).unwrap();
    let cached = WriteFlags { cached: true, ..WriteFlags::default() };
    handle.write_at(0, &pattern(1, 10_000), cached).unwrap();
    handle.fsync(false).unwrap();
    let after = volume.getattr(file).unwrap();
    assert_eq!((after.mtime, after.ctime, after.size), (before.mtime, before.ctime, 10_000));
    let volume = remount(&volume, &options());
    assert_eq!(read_all(&open(&volume, file)), pattern(1, 10_000));
}
