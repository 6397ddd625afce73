//! Making, opening and closing volumes, and what they keep.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ashlar::{ErrorKind, FileKind, FileTimes, OpenOptions, SpecialFile, Volume, XattrMode};
use ashlar_device::{Device, MemoryDevice};

const SIZE: u64 = 64 << 20;

fn device() -> Arc<dyn Device> {
    Arc::new(MemoryDevice::new(SIZE))
}

#[test]
fn content_survives_close_and_open() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    let volume = Volume::options().label("first").size(SIZE).create(&image).unwrap();
    let uuid = volume.uuid();
    volume.create_dir_all("a/b").unwrap();
    volume.write("a/b/c", vec![7; 100_000]).unwrap();
    volume.close().unwrap();

    let volume = Volume::open_image(&image).unwrap();
    assert_eq!(volume.label(), "first");
    assert_eq!(volume.uuid(), uuid);
    assert_eq!(volume.read("/a/b/c").unwrap(), vec![7; 100_000]);
    volume.set_label("second").unwrap();
    // Dropping closes.
    drop(volume);

    let volume = Volume::options().read_only(true).open(&image).unwrap();
    assert!(volume.is_read_only());
    assert_eq!(volume.label(), "second");
    let error = volume.write("a/new", "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyVolume);
    assert_eq!(error.errno(), libc::EROFS);
}

#[test]
fn read_only_volume_does_not_change_its_image() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    let volume = Volume::create(&image, SIZE).unwrap();
    volume.write("file", "text").unwrap();
    volume.close().unwrap();
    let before = fs::read(&image).unwrap();
    let volume = Volume::options().read_only(true).open(&image).unwrap();
    assert_eq!(volume.read("file").unwrap(), b"text");
    volume.close().unwrap();
    assert!(fs::read(&image).unwrap() == before);
}

#[test]
fn creating_destroys_nothing_by_accident() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    fs::write(&image, "precious").unwrap();
    let error = Volume::create(&image, SIZE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&image).unwrap(), b"precious");
    // An empty file is nothing.
    fs::write(&image, "").unwrap();
    Volume::create(&image, SIZE).unwrap().close().unwrap();
    assert_eq!(Volume::create(&image, SIZE).unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn overwriting_makes_the_file_as_large_as_asked() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    Volume::create(&image, SIZE).unwrap().close().unwrap();
    for size in [SIZE / 2, SIZE] {
        let options = Volume::options().size(size).overwrite(true);
        options.create(&image).unwrap().close().unwrap();
        assert_eq!(fs::metadata(&image).unwrap().len(), size);
    }
    // Without a size it stays.
    Volume::options().overwrite(true).create(&image).unwrap().close().unwrap();
    assert_eq!(fs::metadata(&image).unwrap().len(), SIZE);
}

#[test]
fn failed_creation_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    let error = Volume::create(&image, 1 << 20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(!image.exists());
    let error = Volume::options().create(&image).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("size"), "{error}");
}

#[test]
fn opening_what_is_no_volume_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    let error = Volume::open_image(&image).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.path(), Some(image.as_path()));
    fs::write(&image, vec![1; 1 << 20]).unwrap();
    let error = Volume::open_image(&image).unwrap_err().to_string();
    assert!(error.contains("disk.img"), "{error}");
    assert!(error.to_lowercase().contains("ashlar"), "{error}");
}

#[test]
fn second_opener_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    let volume = Volume::create(&image, SIZE).unwrap();
    let error = Volume::open_image(&image).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    let options = Volume::options().size(SIZE).overwrite(true);
    assert_eq!(options.create(&image).unwrap_err().kind(), ErrorKind::InUse);
    volume.close().unwrap();
    Volume::open_image(&image).unwrap();
}

#[test]
fn files_of_a_closed_volume_fail() {
    let volume = Volume::in_memory(SIZE).unwrap();
    let options = OpenOptions::new().read(true).write(true).create(true);
    let file = volume.open("file", options).unwrap();
    file.write_at(0, b"text").unwrap();
    volume.close().unwrap();
    assert_eq!(file.write_at(0, b"more").unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(file.sync().unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn synced_changes_survive_without_a_close() {
    let memory = Arc::new(MemoryDevice::new(SIZE));
    let volume = Volume::options().create_on(memory.clone()).unwrap();
    volume.write("kept", "text").unwrap();
    volume.sync().unwrap();
    let copy = Arc::new(MemoryDevice::from_bytes(memory.to_bytes()));
    let volume = Volume::options().open_on(copy).unwrap();
    assert_eq!(volume.read("kept").unwrap(), b"text");
}

#[test]
fn synced_file_brings_its_name_along() {
    let memory = Arc::new(MemoryDevice::new(SIZE));
    let volume = Volume::options().create_on(memory.clone()).unwrap();
    volume.create_dir("dir").unwrap();
    let file = volume.open("dir/new", OpenOptions::new().write(true).create(true)).unwrap();
    file.append(b"text").unwrap();
    file.sync().unwrap();
    let copy = Arc::new(MemoryDevice::from_bytes(memory.to_bytes()));
    let volume = Volume::options().open_on(copy).unwrap();
    assert_eq!(volume.read("dir/new").unwrap(), b"text");
}

#[test]
fn new_files_get_owner_and_umask_of_the_options() {
    let options = Volume::options().owner(1000, 100).umask(0o027);
    let volume = options.create_on(device()).unwrap();
    volume.write("file", "").unwrap();
    volume.create_dir("dir").unwrap();
    let root = volume.metadata("/").unwrap();
    assert_eq!((root.uid(), root.gid()), (1000, 100));
    let (file, dir) = (volume.metadata("file").unwrap(), volume.metadata("dir").unwrap());
    assert_eq!((file.mode(), file.uid(), file.gid()), (0o640, 1000, 100));
    assert_eq!((dir.mode(), dir.uid(), dir.gid()), (0o750, 1000, 100));
}

#[test]
fn attributes_are_set_and_read_back() {
    let volume = Volume::in_memory(SIZE).unwrap();
    volume.write("file", "12345").unwrap();
    volume.symlink("file", "link").unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    volume.set_times("link", FileTimes::new().accessed(then).modified(then)).unwrap();
    volume.set_times_nofollow("link", FileTimes::new().modified(SystemTime::UNIX_EPOCH)).unwrap();
    volume.set_owner("link", Some(1), None).unwrap();
    volume.set_owner_nofollow("link", None, Some(2)).unwrap();
    let (file, link) = (volume.metadata("link").unwrap(), volume.symlink_metadata("link").unwrap());
    assert_eq!((file.len(), file.uid(), file.modified()), (5, 1, then));
    assert_eq!(file.accessed(), then);
    assert_eq!((link.len(), link.gid()), (4, 2));
    assert_eq!(link.modified(), SystemTime::UNIX_EPOCH);
    assert!(file.created() <= file.changed());
}

#[test]
fn special_files_are_made_but_not_opened() {
    let volume = Volume::in_memory(SIZE).unwrap();
    volume.create_special("null", SpecialFile::CharDevice { major: 1, minor: 3 }, 0o666).unwrap();
    volume
        .create_special("disk", SpecialFile::BlockDevice { major: 259, minor: 70_000 }, 0o600)
        .unwrap();
    volume.create_special("pipe", SpecialFile::Fifo, 0o600).unwrap();
    assert_eq!(volume.metadata("null").unwrap().device(), Some((1, 3)));
    assert_eq!(volume.metadata("disk").unwrap().device(), Some((259, 70_000)));
    assert_eq!(volume.metadata("pipe").unwrap().kind(), FileKind::Fifo);
    assert_eq!(volume.metadata("pipe").unwrap().device(), None);
    assert_eq!(volume.read("pipe").unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn extended_attributes_follow_their_modes() {
    let volume = Volume::in_memory(SIZE).unwrap();
    volume.write("file", "").unwrap();
    let set = |mode| volume.set_xattr("file", "user.a", b"1", mode).map_err(|error| error.kind());
    assert_eq!(set(XattrMode::Replace), Err(ErrorKind::NoSuchAttribute));
    assert_eq!(set(XattrMode::Create), Ok(()));
    assert_eq!(set(XattrMode::Create), Err(ErrorKind::AlreadyExists));
    assert_eq!(set(XattrMode::Replace), Ok(()));
    assert_eq!(volume.list_xattrs("file").unwrap(), ["user.a"]);
    assert_eq!(volume.xattr("file", "user.b").unwrap_err().kind(), ErrorKind::NoSuchAttribute);
    let long = volume.set_xattr("file", "user.b", &[0; 70_000], XattrMode::Either);
    assert_eq!(long.unwrap_err().kind(), ErrorKind::AttributeTooLarge);
    volume.remove_xattr("file", "user.a").unwrap();
    assert!(volume.list_xattrs("file").unwrap().is_empty());
}

#[test]
fn space_comes_back_after_removal() {
    let volume = Volume::in_memory(SIZE).unwrap();
    let before = volume.stat();
    assert!(before.available_bytes <= before.free_bytes);
    assert!(before.free_bytes < before.total_bytes);
    volume.write("file", vec![1; 10 << 20]).unwrap();
    volume.sync().unwrap();
    let during = volume.stat();
    assert!(during.free_bytes <= before.free_bytes - (10 << 20));
    volume.remove_file("file").unwrap();
    volume.sync().unwrap();
    volume.sync().unwrap();
    assert!(volume.stat().free_bytes > before.free_bytes - (1 << 20), "{:?}", volume.stat());
}

#[test]
fn full_volume_says_no_space_and_goes_on() {
    let volume = Volume::in_memory(32 << 20).unwrap();
    let mut count = 0;
    let error = loop {
        match volume.write(format!("file{count}"), vec![9; 1 << 20]) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 32, "more than fits");
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(count > 8, "only {count} MiB fit");
    for number in 0..count {
        assert_eq!(volume.read(format!("file{number}")).unwrap(), vec![9; 1 << 20]);
    }
    volume.remove_file("file0").unwrap();
    volume.remove_file("file1").unwrap();
    volume.sync().unwrap();
    volume.write("again", vec![9; 1 << 20]).unwrap();
    volume.close().unwrap();
}

#[test]
fn whole_trees_are_removed_but_not_what_links_lead_to() {
    let volume = Volume::in_memory(SIZE).unwrap();
    volume.create_dir_all("keep/inside").unwrap();
    volume.create_dir_all("tree/a/b/c").unwrap();
    volume.symlink("/keep", "tree/a/link").unwrap();
    for number in 0..600 {
        volume.write(format!("tree/a/file{number}"), "x").unwrap();
    }
    volume.remove_dir_all("tree").unwrap();
    assert!(!volume.exists("tree").unwrap());
    assert!(volume.exists("keep/inside").unwrap());
    assert_eq!(volume.remove_dir_all("/").unwrap_err().kind(), ErrorKind::InUse);
    assert!(volume.exists("keep/inside").unwrap());
}

#[test]
fn deep_tree_is_removed_without_exhausting_the_stack() {
    let volume = Volume::in_memory(SIZE).unwrap();
    // Deeper than any path: built from the inside out.
    volume.create_dir("tree").unwrap();
    for _ in 0..3000 {
        volume.create_dir("outer").unwrap();
        volume.rename("tree", "outer/tree").unwrap();
        volume.rename("outer", "tree").unwrap();
    }
    volume.remove_dir_all("tree").unwrap();
    assert_eq!(volume.read_dir("/").unwrap().count(), 0);
}

#[test]
fn large_directory_is_read_completely_and_once() {
    let volume = Volume::in_memory(SIZE).unwrap();
    volume.create_dir("dir").unwrap();
    let wanted: Vec<String> = (0..2000).map(|number| format!("{number:05}")).collect();
    for name in &wanted {
        volume.write(format!("dir/{name}"), "").unwrap();
    }
    let mut names = Vec::new();
    for entry in volume.read_dir("dir").unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.kind(), FileKind::Regular);
        assert_eq!(entry.metadata().unwrap().ino(), entry.ino());
        // Removing while reading neither skips nor repeats others.
        volume.remove_file(entry.path()).unwrap();
        names.push(entry.file_name().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, wanted);
    volume.remove_dir("dir").unwrap();
}
