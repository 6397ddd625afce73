//! Directories, links, renaming, and what readdir shows.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

use crate::harness::{Mount, errno, names};

#[test]
fn tree_of_names_survives_a_remount() {
    let Some(mut mount) = Mount::new() else { return };
    fs::create_dir_all(mount.at("a/b/c")).unwrap();
    fs::write(mount.at("a/b/file"), "contents").unwrap();
    symlink("b/file", mount.at("a/link")).unwrap();
    fs::hard_link(mount.at("a/b/file"), mount.at("hard")).unwrap();
    mount.again("");
    assert_eq!(names(&mount.path()), ["a", "hard"]);
    assert_eq!(names(&mount.at("a")), ["b", "link"]);
    assert_eq!(fs::read_to_string(mount.at("a/link")).unwrap(), "contents");
    assert_eq!(fs::read_link(mount.at("a/link")).unwrap(), PathBuf::from("b/file"));
    assert_eq!(fs::metadata(mount.at("hard")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(mount.at("a")).unwrap().nlink(), 3);
}

#[test]
fn missing_name_is_remembered_until_it_is_created() {
    let Some(mount) = Mount::new() else { return };
    for _ in 0..2 {
        assert_eq!(errno(fs::metadata(mount.at("later"))), libc::ENOENT);
    }
    fs::write(mount.at("later"), "x").unwrap();
    assert_eq!(fs::metadata(mount.at("later")).unwrap().len(), 1);
    fs::remove_file(mount.at("later")).unwrap();
    assert_eq!(errno(fs::metadata(mount.at("later"))), libc::ENOENT);
    fs::create_dir(mount.at("later")).unwrap();
    assert!(fs::metadata(mount.at("later")).unwrap().is_dir());
}

#[test]
fn name_errors_are_the_usual_ones() {
    let Some(mount) = Mount::new() else { return };
    fs::create_dir_all(mount.at("full/inner")).unwrap();
    fs::write(mount.at("file"), "").unwrap();
    assert_eq!(errno(fs::remove_dir(mount.at("full"))), libc::ENOTEMPTY);
    assert_eq!(errno(fs::remove_dir(mount.at("file"))), libc::ENOTDIR);
    assert_eq!(errno(fs::remove_file(mount.at("full"))), libc::EISDIR);
    assert_eq!(errno(fs::create_dir(mount.at("file"))), libc::EEXIST);
    assert_eq!(errno(fs::metadata(mount.at("file/below"))), libc::ENOTDIR);
    assert_eq!(errno(File::create_new(mount.at(&"n".repeat(256)))), libc::ENAMETOOLONG);
    assert_eq!(errno(fs::hard_link(mount.at("full"), mount.at("again"))), libc::EPERM);
    assert_eq!(errno(fs::rename(mount.at("full"), mount.at("full/inner/x"))), libc::EINVAL);
    assert_eq!(errno(fs::rename(mount.at("file"), mount.at("full"))), libc::EISDIR);
    File::create_new(mount.at(&"n".repeat(255))).unwrap();
}

#[test]
fn rename_flags_replace_exchange_and_refuse() {
    let Some(mount) = Mount::new() else { return };
    fs::write(mount.at("one"), "1").unwrap();
    fs::write(mount.at("two"), "2").unwrap();
    fs::create_dir(mount.at("dir")).unwrap();
    let rename =
        |from: &str, to: &str, flags| renameat_with(CWD, mount.at(from), CWD, mount.at(to), flags);
    assert_eq!(errno(rename("one", "two", RenameFlags::NOREPLACE)), libc::EEXIST);
    rename("one", "dir", RenameFlags::EXCHANGE).unwrap();
    assert!(fs::metadata(mount.at("one")).unwrap().is_dir());
    assert_eq!(fs::read(mount.at("dir")).unwrap(), b"1");
    rename("two", "moved", RenameFlags::WHITEOUT).unwrap();
    let whiteout = fs::symlink_metadata(mount.at("two")).unwrap();
    assert!(whiteout.file_type().is_char_device());
    assert_eq!(whiteout.rdev(), 0);
    rename("moved", "dir", RenameFlags::empty()).unwrap();
    assert_eq!(fs::read(mount.at("dir")).unwrap(), b"2");
    assert_eq!(names(&mount.path()), ["dir", "one", "two"]);
}

#[test]
fn moved_directory_has_its_new_parent() {
    let Some(mount) = Mount::new() else { return };
    fs::create_dir_all(mount.at("from/moved/below")).unwrap();
    fs::create_dir(mount.at("to")).unwrap();
    fs::rename(mount.at("from/moved"), mount.at("to/moved")).unwrap();
    let parent = fs::metadata(mount.at("to/moved/..")).unwrap().ino();
    assert_eq!(parent, fs::metadata(mount.at("to")).unwrap().ino());
    assert_eq!(fs::metadata(mount.at("from")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(mount.at("to")).unwrap().nlink(), 3);
}

#[test]
fn special_files_keep_kind_and_device() {
    let Some(mut mount) = Mount::new() else { return };
    let mode = Mode::from_raw_mode(0o600);
    let device = rustix::fs::makedev(0x123, 0x4_5678);
    mknodat(CWD, mount.at("fifo"), FileType::Fifo, mode, 0).unwrap();
    mknodat(CWD, mount.at("socket"), FileType::Socket, mode, 0).unwrap();
    mknodat(CWD, mount.at("char"), FileType::CharacterDevice, mode, device).unwrap();
    mknodat(CWD, mount.at("block"), FileType::BlockDevice, mode, device).unwrap();
    mount.again("");
    let look = |name: &str| fs::symlink_metadata(mount.at(name)).unwrap();
    assert!(look("fifo").file_type().is_fifo());
    assert!(look("socket").file_type().is_socket());
    assert!(look("char").file_type().is_char_device());
    assert!(look("block").file_type().is_block_device());
    assert_eq!((look("char").rdev(), look("block").rdev()), (device, device));
}

#[test]
fn large_directory_lists_each_name_once_also_while_it_shrinks() {
    let Some(mount) = Mount::new() else { return };
    let directory = mount.at("large");
    fs::create_dir(&directory).unwrap();
    let count = 3000;
    for number in 0..count {
        File::create(directory.join(format!("file-{number:05}"))).unwrap();
    }
    let listed = names(&directory);
    assert_eq!(listed.len(), count);
    assert!(listed.windows(2).all(|pair| pair[0] != pair[1]));
    // As rm -r does it: unlink while the listing is under way.
    for entry in fs::read_dir(&directory).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert_eq!(names(&directory), [""; 0]);
    fs::remove_dir(&directory).unwrap();
}

#[test]
fn listing_shows_kinds_and_inode_numbers_of_stat() {
    use std::os::unix::fs::DirEntryExt;
    let Some(mount) = Mount::new() else { return };
    fs::create_dir(mount.at("directory")).unwrap();
    fs::write(mount.at("file"), "").unwrap();
    symlink("x", mount.at("link")).unwrap();
    for entry in fs::read_dir(mount.path()).unwrap() {
        let entry = entry.unwrap();
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        assert_eq!(entry.ino(), meta.ino());
        assert_eq!(entry.file_type().unwrap(), meta.file_type());
    }
}

#[test]
fn threads_in_one_directory_do_not_lose_names() {
    let Some(mount) = Mount::new() else { return };
    let mount = &mount;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for number in 0..300 {
                    let path = mount.at(&format!("{thread}-{number}"));
                    fs::write(&path, path.as_os_str().as_encoded_bytes()).unwrap();
                    if number % 3 == 0 {
                        fs::remove_file(&path).unwrap();
                    } else if number % 3 == 1 {
                        fs::rename(&path, mount.at(&format!("r-{thread}-{number}"))).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(names(&mount.path()).len(), 4 * 200);
}
