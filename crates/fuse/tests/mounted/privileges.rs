//! Who may do what, and what becomes of set-id bits and capabilities.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, setxattr};

use crate::harness::{Mount, errno, shell_as};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("stat").mode() & 0o7777
}

#[test]
fn permission_bits_decide_for_ordinary_users() {
    let Some(mount) = Mount::new() else { return };
    fs::create_dir(mount.at("closed")).unwrap();
    fs::write(mount.at("closed/file"), "x").unwrap();
    chmod(&mount.at("closed"), 0o700);
    fs::write(mount.at("readable"), "x").unwrap();
    shell_as(1000, &mount.path(), "cat readable").unwrap();
    shell_as(1000, &mount.path(), "echo y >> readable").unwrap_err();
    shell_as(1000, &mount.path(), "cat closed/file").unwrap_err();
    shell_as(1000, &mount.path(), "chmod 777 readable").unwrap_err();
    shell_as(1000, &mount.path(), "touch new").unwrap_err();
    // Sticky directories: only the owner removes.
    fs::create_dir(mount.at("tmp")).unwrap();
    chmod(&mount.at("tmp"), 0o1777);
    shell_as(1000, &mount.path(), "echo mine > tmp/mine").unwrap();
    assert_eq!(fs::metadata(mount.at("tmp/mine")).unwrap().uid(), 1000);
    shell_as(1001, &mount.path(), "rm -f tmp/mine").unwrap_err();
    shell_as(1000, &mount.path(), "rm tmp/mine").unwrap();
}

#[test]
fn set_id_bits_go_when_an_ordinary_user_changes_the_contents() {
    let Some(mount) = Mount::new() else { return };
    let path = mount.at("program");
    for command in [
        "echo x >> program",
        "truncate -s 1 program",
        ": > program",
        "dd if=/dev/zero of=program bs=4096 count=1 conv=notrunc oflag=direct",
        "fallocate -l 10000 program",
    ] {
        fs::write(&path, "contents").unwrap();
        chmod(&path, 0o6777);
        assert_eq!(mode(&path), 0o6777);
        shell_as(1000, &mount.path(), command).unwrap();
        assert_eq!(mode(&path), 0o777, "{command}");
    }
}

#[test]
fn set_id_bits_stay_when_root_writes_and_go_when_the_owner_changes() {
    let Some(mount) = Mount::new() else { return };
    let path = mount.at("program");
    fs::write(&path, "contents").unwrap();
    chmod(&path, 0o6755);
    File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
    assert_eq!(mode(&path), 0o6755);
    chown(&path, Some(1000), None).unwrap();
    assert_eq!(mode(&path), 0o755);
    // Without the execute bit set-group-id means something else and stays.
    chmod(&path, 0o2644);
    chown(&path, Some(1001), None).unwrap();
    assert_eq!(mode(&path), 0o2644);
}

#[test]
fn capabilities_go_with_the_first_write_through_any_handle() {
    let Some(mount) = Mount::new() else { return };
    let path = mount.at("program");
    fs::write(&path, "contents").unwrap();
    // Version 2, effective, CAP_NET_RAW permitted.
    let mut capability = vec![1, 0, 0, 2];
    capability.extend([0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let has = || getxattr(&path, "security.capability", &mut [0; 64][..]).is_ok();
    let set = || {
        setxattr(&path, "security.capability", &capability, XattrFlags::empty()).unwrap();
        assert!(has());
    };
    set();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    file.sync_all().unwrap();
    assert!(!has());
    // The same handle again, after somebody gave the capability back.
    set();
    file.write_all_at(b"y", 0).unwrap();
    file.sync_all().unwrap();
    assert!(!has());
    set();
    file.set_len(1).unwrap();
    assert!(!has());
    set();
    chown(&path, Some(1000), Some(1000)).unwrap();
    assert!(!has());
}

#[test]
fn set_group_id_directory_gives_its_group() {
    let Some(mount) = Mount::new() else { return };
    let directory = mount.at("shared");
    fs::create_dir(&directory).unwrap();
    chown(&directory, None, Some(3000)).unwrap();
    chmod(&directory, 0o2777);
    shell_as(1000, &directory, "echo x > file; mkdir sub; ln -s a link").unwrap();
    for name in ["file", "sub", "link"] {
        let meta = fs::symlink_metadata(directory.join(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (1000, 3000), "{name}");
    }
    assert_eq!(mode(&directory.join("sub")) & 0o2000, 0o2000);
    assert_eq!(mode(&directory.join("file")) & 0o2000, 0);
}

#[test]
fn immutable_and_append_only_files_resist_root() {
    let Some(mount) = Mount::new() else { return };
    use rustix::fs::{IFlags, ioctl_setflags};
    let path = mount.at("file");
    fs::write(&path, "text").unwrap();
    let flag = |flags| {
        let file = File::open(&path).unwrap();
        ioctl_setflags(&file, flags).unwrap();
    };
    flag(IFlags::IMMUTABLE);
    assert_eq!(errno(File::options().write(true).open(&path)), libc::EPERM);
    assert_eq!(errno(fs::remove_file(&path)), libc::EPERM);
    assert_eq!(errno(fs::rename(&path, mount.at("other"))), libc::EPERM);
    assert_eq!(errno(fs::hard_link(&path, mount.at("other"))), libc::EPERM);
    assert_eq!(errno(fs::set_permissions(&path, Permissions::from_mode(0o600))), libc::EPERM);
    flag(IFlags::APPEND);
    assert_eq!(errno(File::options().write(true).open(&path)), libc::EPERM);
    assert_eq!(errno(File::create(&path)), libc::EPERM);
    assert_eq!(errno(fs::remove_file(&path)), libc::EPERM);
    let mut log = File::options().append(true).open(&path).unwrap();
    log.write_all(b" one").unwrap();
    log.write_all(b" two").unwrap();
    drop(log);
    assert_eq!(fs::read(&path).unwrap(), b"text one two");
    flag(IFlags::empty());
    fs::remove_file(&path).unwrap();
}
