//! Mounting, options, and the many ways a session ends.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use ashlar_fuse::unmount;

use crate::harness::{Mount, errno, names, shell_as};

/// Options of the mount on `path` as the kernel shows them.
fn shown(path: &Path) -> String {
    let table = fs::read_to_string("/proc/self/mounts").expect("mount table");
    let path = path.to_str().expect("UTF-8");
    let line = table.lines().find(|line| line.split(' ').nth(1) == Some(path));
    line.expect("in the mount table").to_owned()
}

#[test]
fn mount_table_shows_type_source_and_options() {
    let Some(mount) = Mount::with_options("noexec,nodev,noatime,fsname=archive") else { return };
    let line = shown(&mount.path());
    assert!(line.starts_with("archive ") && line.contains(" fuse.ashlar "), "{line}");
    for option in ["noexec", "nodev", "noatime", "default_permissions", "allow_other"] {
        assert!(line.contains(option), "{option} in {line}");
    }
}

#[test]
fn read_only_mount_refuses_changes() {
    let Some(mut mount) = Mount::new() else { return };
    fs::write(mount.at("file"), "text").unwrap();
    mount.again("ro");
    assert_eq!(fs::read(mount.at("file")).unwrap(), b"text");
    assert_eq!(errno(fs::write(mount.at("new"), "")), libc::EROFS);
    assert_eq!(errno(fs::remove_file(mount.at("file"))), libc::EROFS);
    mount.again("");
    fs::remove_file(mount.at("file")).unwrap();
}

#[test]
fn busy_mount_is_not_unmounted_and_goes_on() {
    let Some(mount) = Mount::new() else { return };
    let mut file = File::create(mount.at("file")).unwrap();
    let error = unmount(&mount.path()).unwrap_err().to_string();
    assert!(error.contains("busy"), "{error}");
    file.write_all(b"still here").unwrap();
    assert_eq!(fs::read(mount.at("file")).unwrap(), b"still here");
}

#[test]
fn unmounting_what_is_not_mounted_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let error = unmount(directory.path()).unwrap_err().to_string();
    assert!(error.contains("nothing is mounted"), "{error}");
}

#[test]
fn lazy_unmount_ends_with_the_last_open_file() {
    let Some(mut mount) = Mount::new() else { return };
    let mut file = File::create(mount.at("file")).unwrap();
    shell_as(0, Path::new("/"), &format!("umount -l {}", mount.path().display())).unwrap();
    file.write_all(b"written after the name was gone").unwrap();
    drop(file);
    assert!(mount.wait());
    mount.start("");
    assert_eq!(fs::read(mount.at("file")).unwrap(), b"written after the name was gone");
}

#[test]
fn stop_signal_unmounts_and_keeps_everything() {
    let Some(mut mount) = Mount::new() else { return };
    for signal in ["TERM", "INT"] {
        fs::write(mount.at(signal), "written, not synced").unwrap();
        shell_as(0, Path::new("/"), &format!("kill -{signal} {}", mount.server())).unwrap();
        assert!(mount.wait());
        assert_eq!(names(&mount.path()), [""; 0]);
        mount.start("");
        assert_eq!(fs::read(mount.at(signal)).unwrap(), b"written, not synced");
    }
}

#[test]
fn stop_signal_with_open_files_saves_what_they_wrote() {
    let Some(mut mount) = Mount::new() else { return };
    let mut file = File::create(mount.at("file")).unwrap();
    file.write_all(b"written, not synced").unwrap();
    shell_as(0, Path::new("/"), &format!("kill -TERM {}", mount.server())).unwrap();
    assert!(mount.wait());
    assert_eq!(errno(file.metadata()), libc::ENOTCONN);
    drop(file);
    mount.start("");
    assert_eq!(fs::read(mount.at("file")).unwrap(), b"written, not synced");
}

#[test]
fn killed_server_loses_nothing_that_was_synced() {
    let Some(mut mount) = Mount::new() else { return };
    let mut file = File::create(mount.at("synced")).unwrap();
    file.write_all(&[7; 100_000]).unwrap();
    file.sync_all().unwrap();
    File::open(mount.path()).unwrap().sync_all().unwrap();
    fs::write(mount.at("not-synced"), "maybe").unwrap();
    shell_as(0, Path::new("/"), &format!("kill -KILL {}", mount.server())).unwrap();
    assert!(!mount.wait());
    assert_eq!(errno(fs::metadata(mount.at("synced"))), libc::ENOTCONN);
    drop(file);
    mount.unmount();
    mount.start("");
    assert_eq!(fs::read(mount.at("synced")).unwrap(), [7; 100_000]);
    let rest = fs::read(mount.at("not-synced")).unwrap_or_default();
    assert!(rest.is_empty() || rest == b"maybe");
}

#[test]
fn sync_mount_makes_names_and_data_durable_at_once() {
    let Some(mut mount) = Mount::with_options("sync,dirsync") else { return };
    fs::create_dir(mount.at("dir")).unwrap();
    fs::write(mount.at("dir/file"), "x").unwrap();
    fs::rename(mount.at("dir/file"), mount.at("dir/moved")).unwrap();
    mount.again("");
    assert_eq!(fs::read(mount.at("dir/moved")).unwrap(), b"x");
}

#[test]
fn owner_only_mount_keeps_others_out() {
    let Some(mount) = Mount::with_options("allow_root") else { return };
    fs::write(mount.at("file"), "x").unwrap();
    let path = mount.at("file");
    let command = format!("cat {}", path.display());
    shell_as(1000, Path::new("/"), &command).unwrap_err();
    shell_as(0, Path::new("/"), &command).unwrap();
}

#[test]
fn automatic_unmount_goes_through_the_helper() {
    let Some(mount) = Mount::with_options("auto_unmount") else { return };
    fs::write(mount.at("file"), "x").unwrap();
    assert!(shown(&mount.path()).contains(" fuse.ashlar "));
}

#[test]
fn ordinary_user_mounts_through_the_helper() {
    use std::os::unix::fs::PermissionsExt;
    let open_to_all = |mode: u32| mode & 0o006 == 0o006;
    if !fs::metadata("/dev/fuse").is_ok_and(|meta| open_to_all(meta.permissions().mode())) {
        eprintln!("NOT TESTED: /dev/fuse is not open to ordinary users on this machine");
        return;
    }
    let Some(mut mount) = Mount::by_user(1000, "") else { return };
    let line = shown(&mount.path());
    for word in [" fuse.ashlar ", "nosuid", "nodev", "default_permissions", "user_id=1000"] {
        assert!(line.contains(word), "{word} in {line}");
    }
    assert!(!line.contains("allow_other"), "{line}");
    shell_as(1000, &mount.path(), "echo text > file && cat file && stat -f .").unwrap();
    // Not even root, who could be made to trust what a user's server says.
    assert_eq!(errno(fs::metadata(mount.at("file"))), libc::EACCES);
    shell_as(1000, Path::new("/"), &format!("fusermount3 -u {}", mount.path().display())).unwrap();
    assert!(mount.wait());
    mount.start("ro");
    shell_as(1000, &mount.path(), "cat file").unwrap();
    shell_as(1000, Path::new("/"), &format!("kill {}", mount.server())).unwrap();
    assert!(mount.wait());
}
