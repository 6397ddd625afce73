//! Extended attributes and ACLs.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};

use crate::harness::{Mount, errno, shell_as};

fn get(path: &Path, name: &str) -> rustix::io::Result<Vec<u8>> {
    let mut space = vec![0; 70_000];
    let length = getxattr(path, name, &mut space[..])?;
    space.truncate(length);
    Ok(space)
}

fn list(path: &Path) -> Vec<String> {
    let mut space = vec![0u8; 70_000];
    let length = listxattr(path, &mut space[..]).expect("listxattr");
    let mut names: Vec<String> = space[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8(name.to_vec()).expect("UTF-8"))
        .collect();
    names.sort();
    names
}

fn run(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(path).output().expect(program);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn attributes_are_set_listed_replaced_and_removed() {
    let Some(mut mount) = Mount::new() else { return };
    let path = mount.at("file");
    fs::write(&path, "").unwrap();
    let large = vec![9; 65536];
    setxattr(&path, "user.small", b"value", XattrFlags::CREATE).unwrap();
    setxattr(&path, "user.empty", b"", XattrFlags::empty()).unwrap();
    setxattr(&path, "trusted.large", &large, XattrFlags::empty()).unwrap();
    assert_eq!(errno(setxattr(&path, "user.small", b"", XattrFlags::CREATE)), libc::EEXIST);
    assert_eq!(errno(setxattr(&path, "user.none", b"", XattrFlags::REPLACE)), libc::ENODATA);
    let both = XattrFlags::CREATE | XattrFlags::REPLACE;
    assert_eq!(errno(setxattr(&path, "user.small", b"", both)), libc::EEXIST);
    assert_eq!(errno(setxattr(&path, "user.none", b"", both)), libc::ENODATA);
    mount.again("");
    let seen_by_others = shell_as(1000, &mount.path(), "getfattr -m - file").unwrap();
    assert!(seen_by_others.contains("user.small") && !seen_by_others.contains("trusted"));
    assert_eq!(list(&path), ["trusted.large", "user.empty", "user.small"]);
    assert_eq!(get(&path, "user.small").unwrap(), b"value");
    assert_eq!(get(&path, "user.empty").unwrap(), b"");
    assert_eq!(get(&path, "trusted.large").unwrap(), large);
    assert_eq!(errno(getxattr(&path, "user.small", &mut [0; 4][..])), libc::ERANGE);
    removexattr(&path, "user.small").unwrap();
    assert_eq!(errno(get(&path, "user.small")), libc::ENODATA);
    assert_eq!(errno(removexattr(&path, "user.small")), libc::ENODATA);
}

#[test]
fn acl_sets_the_mode_and_chmod_sets_the_mask() {
    let Some(mut mount) = Mount::new() else { return };
    let path = mount.at("file");
    fs::write(&path, "text").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    run("setfacl", &["-m", "u:1000:r"], &path);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&path), 0o640, "the group bits show the mask");
    assert_eq!(shell_as(1000, &mount.path(), "cat file").unwrap(), "text");
    shell_as(1001, &mount.path(), "cat file").unwrap_err();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert!(run("getfacl", &["-pcn"], &path).contains("mask::---"));
    shell_as(1000, &mount.path(), "cat file").unwrap_err();
    mount.again("");
    assert!(run("getfacl", &["-pcn"], &path).contains("user:1000:r--"));
    run("setfacl", &["-b"], &path);
    assert_eq!(list(&path), [""; 0]);
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn default_acl_rules_over_the_umask() {
    let Some(mount) = Mount::new() else { return };
    let directory = mount.at("dir");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
    run("setfacl", &["-d", "-m", "u::rwx,g::rx,o::-,u:1000:rw,m::rwx"], &directory);
    shell_as(2000, &directory, "umask 077; echo x > file; mkdir sub").unwrap();
    let file = run("getfacl", &["-pcn"], &directory.join("file"));
    assert!(file.contains("user:1000:rw-") && file.contains("mask::rw-"), "{file}");
    assert!(file.contains("other::---"), "{file}");
    let sub = run("getfacl", &["-pcn"], &directory.join("sub"));
    assert!(sub.contains("default:user:1000:rw-"), "{sub}");
    // Without a default ACL the umask counts.
    fs::set_permissions(mount.path(), Permissions::from_mode(0o777)).unwrap();
    shell_as(2000, &mount.path(), "umask 027; echo x > plain; mkdir plaindir").unwrap();
    assert_eq!(fs::metadata(mount.at("plain")).unwrap().mode() & 0o777, 0o640);
    assert_eq!(fs::metadata(mount.at("plaindir")).unwrap().mode() & 0o777, 0o750);
}
