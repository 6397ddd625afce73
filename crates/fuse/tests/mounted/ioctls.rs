//! Flags, label, trim, extents, and moving ranges.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use ashlar_fuse::ioctl::{abi, collapse_range, extents, insert_range};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::harness::{Mount, errno, shell_as};

fn run(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(path).output().expect(program);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn flags_and_project_survive_a_remount() {
    let Some(mut mount) = Mount::new() else { return };
    fs::write(mount.at("file"), "").unwrap();
    fs::create_dir(mount.at("dir")).unwrap();
    let flags = IFlags::NODUMP | IFlags::NOATIME;
    ioctl_setflags(File::open(mount.at("file")).unwrap(), flags).unwrap();
    ioctl_setflags(File::open(mount.at("dir")).unwrap(), IFlags::NODUMP).unwrap();
    run("xfs_io", &["-c", "chproj 42"], &mount.at("file"));
    mount.again("");
    assert_eq!(ioctl_getflags(File::open(mount.at("file")).unwrap()).unwrap(), flags);
    assert_eq!(ioctl_getflags(File::open(mount.at("dir")).unwrap()).unwrap(), IFlags::NODUMP);
    assert!(run("xfs_io", &["-r", "-c", "lsproj"], &mount.at("file")).contains("42"));
    let compressed = ioctl_setflags(File::open(mount.at("file")).unwrap(), IFlags::COMPRESSED);
    assert_eq!(errno(compressed), libc::EOPNOTSUPP);
}

#[test]
fn only_an_owner_changes_flags_and_only_an_administrator_guards() {
    let Some(mount) = Mount::new() else { return };
    fs::write(mount.at("roots"), "").unwrap();
    fs::create_dir(mount.at("open")).unwrap();
    shell_as(0, &mount.path(), "chmod 777 open").unwrap();
    shell_as(1000, &mount.at("open"), "echo x > own && chattr +d own && lsattr own").unwrap();
    shell_as(1000, &mount.at("open"), "chattr +i own").unwrap_err();
    shell_as(1000, &mount.path(), "chattr +d roots").unwrap_err();
}

#[test]
fn administration_is_for_administrators() {
    let Some(mut mount) = Mount::new() else { return };
    let set = "xfs_io -r -c 'label -s new-label' .";
    assert!(!shell_as(1000, &mount.path(), set).unwrap_or_default().contains("new-label"));
    shell_as(0, &mount.path(), set).unwrap();
    shell_as(1000, &mount.path(), "fstrim .").unwrap_err();
    assert!(run("fstrim", &["-v"], &mount.path()).contains("trimmed"));
    mount.again("");
    let label = shell_as(1000, &mount.path(), "xfs_io -r -c label .").unwrap();
    assert!(label.contains("new-label"), "{label}");
}

#[test]
fn ranges_are_taken_out_and_put_in_under_a_warm_cache() {
    let Some(mount) = Mount::new() else { return };
    let bytes: Vec<u8> = (0..10u8).flat_map(|block| [block; 4096]).collect();
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(mount.at("file"))
        .unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let blocks = || -> Vec<u8> {
        fs::read(mount.at("file")).unwrap().chunks(4096).map(|block| block[0]).collect()
    };
    assert_eq!(blocks(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    collapse_range(&file, 2 * 4096, 3 * 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 7 * 4096);
    assert_eq!(blocks(), [0, 1, 5, 6, 7, 8, 9]);
    insert_range(&file, 4096, 2 * 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 9 * 4096);
    assert_eq!(blocks(), [0, 0, 0, 1, 5, 6, 7, 8, 9]);
    file.write_all_at(&[77; 10], 8 * 4096).unwrap();
    assert_eq!(blocks(), [0, 0, 0, 1, 5, 6, 7, 8, 77]);
    assert_eq!(errno(collapse_range(&file, 1, 4096)), libc::EINVAL);
    assert_eq!(errno(collapse_range(&file, 4096, 1 << 20)), libc::EINVAL);
}

#[test]
fn extents_tell_where_the_data_is() {
    let Some(mount) = Mount::new() else { return };
    let file = File::create(mount.at("file")).unwrap();
    file.write_all_at(&[1; 200_000], 0).unwrap();
    file.write_all_at(&[1; 8192], 1 << 20).unwrap();
    let found = extents(&file).unwrap();
    let mut covered = vec![false; 300];
    for extent in &found {
        assert!(extent.addr.is_some_and(|addr| addr % 4096 == 0), "{found:?}");
        for block in extent.offset / 4096..(extent.offset + extent.length).div_ceil(4096) {
            assert!(!std::mem::replace(&mut covered[block as usize], true), "{found:?}");
        }
    }
    let expected: Vec<bool> = (0..300).map(|block| matches!(block, 0..49 | 256..258)).collect();
    assert_eq!(covered, expected, "{found:?}");
    assert!(found.last().unwrap().flags & abi::EXTENT_LAST != 0);
}

#[test]
fn unknown_ioctl_is_no_typewriter() {
    let Some(mount) = Mount::new() else { return };
    // Ashlar's own on a file of another file system, and a stranger's on ours.
    let elsewhere = tempfile::tempfile().unwrap();
    assert_eq!(errno(extents(&elsewhere)), libc::ENOTTY);
    let set_version = shell_as(0, &mount.path(), "touch f && chattr -v 5 f");
    let said = set_version.unwrap_err();
    assert!(said.contains("Inappropriate ioctl"), "{said}");
}
