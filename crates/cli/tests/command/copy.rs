//! Looking into volumes and copying into and out of them.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use crate::support::Place;

/// A tree with most of what there is.
fn tree(place: &Place) {
    place.write("tree/plain", "content");
    place.write("tree/.hidden", "");
    place.write("tree/sub/deep/large", vec![3; 3_000_000]);
    place.write("tree/sub/script", "#!/bin/sh\n");
    let mode = |name: &str, mode| {
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("tree/sub/script", 0o4755);
    mode("tree/sub/deep", 0o500);
    symlink("sub/script", place.path("tree/link")).unwrap();
    symlink("nowhere", place.path("tree/dangling")).unwrap();
    fs::hard_link(place.path("tree/plain"), place.path("tree/sub/plain-too")).unwrap();
    let sparse = fs::File::create(place.path("tree/sparse")).unwrap();
    sparse.write_all_at(b"middle", 20 << 20).unwrap();
    sparse.set_len(40 << 20).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 987_654_321);
    let plain = fs::File::options().write(true).open(place.path("tree/plain")).unwrap();
    plain.set_times(fs::FileTimes::new().set_modified(then)).unwrap();
}

/// Every file with what should survive a copy with `-a`.
fn picture(place: &Place, root: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut waiting = vec![place.path(root)];
    while let Some(path) = waiting.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            String::new()
        } else if metadata.is_symlink() {
            format!("{:?}", fs::read_link(&path).unwrap())
        } else {
            let content = fs::read(&path).unwrap();
            let sum = content.iter().fold(0u64, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte));
            format!("{sum:x} {}", metadata.nlink())
        };
        let size = if metadata.is_dir() { 0 } else { metadata.len() };
        lines.push(format!(
            "{:?} {:o} {}:{} {size} {}.{:09} {content}",
            path.strip_prefix(place.path(root)).unwrap(),
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        ));
    }
    lines.sort();
    lines
}

#[test]
fn tree_comes_back_as_it_went_in() {
    let place = Place::with_volume();
    tree(&place);
    assert_eq!(place.ashlar(["put", "-a", "tree", "disk.img:/"]).ok(), "");
    place.ashlar(["fsck", "-n", "disk.img"]).ok();
    place.ashlar(["get", "-a", "disk.img:/tree", "back"]).ok();
    assert_eq!(picture(&place, "tree"), picture(&place, "back"));
    let sparse = place.path("back/sparse").metadata().unwrap();
    assert!(sparse.blocks() * 512 < 1 << 20, "holes stay holes: {}", sparse.blocks());
    // Once more over what is there.
    place.ashlar(["put", "-a", "tree", "disk.img:/"]).ok();
    place.ashlar(["get", "-a", "disk.img:/tree/.", "back"]).ok();
    assert_eq!(picture(&place, "tree"), picture(&place, "back"));
}

#[test]
fn extended_attributes_come_along() {
    let place = Place::with_volume();
    place.write("file", "");
    let set = |name: &str, value: &[u8]| {
        let path = place.path("file");
        rustix::fs::setxattr(&path, name, value, rustix::fs::XattrFlags::empty())
    };
    if set("user.colour", b"green").is_err() {
        eprintln!("left out: no extended attributes in the temporary directory");
        return;
    }
    set("user.large", &[7; 3000]).unwrap();
    place.ashlar(["put", "-a", "file", "disk.img:/"]).ok();
    place.ashlar(["get", "-a", "disk.img:/file", "back"]).ok();
    let mut value = vec![0; 4000];
    let length = rustix::fs::getxattr(place.path("back"), "user.large", &mut value[..]).unwrap();
    assert_eq!(value[..length], [7; 3000]);
    let length = rustix::fs::getxattr(place.path("back"), "user.colour", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"green");
}

#[test]
fn extended_attributes_of_links_come_along() {
    let place = Place::with_volume();
    fs::create_dir(place.path("tree")).unwrap();
    symlink("nowhere", place.path("tree/link")).unwrap();
    let none = rustix::fs::XattrFlags::empty();
    // `user.` is not for links, and `trusted.` is for root.
    let set = rustix::fs::lsetxattr(place.path("tree/link"), "trusted.colour", b"red", none);
    if set.is_err() {
        eprintln!("left out: extended attributes of links need root and a file system with them");
        return;
    }
    place.ashlar(["put", "-a", "tree", "disk.img:/"]).ok();
    place.ashlar(["fsck", "disk.img"]).ok();
    place.ashlar(["get", "-a", "disk.img:/tree", "back"]).ok();
    let mut value = [0; 10];
    let length = rustix::fs::lgetxattr(place.path("back/link"), "trusted.colour", &mut value[..]);
    assert_eq!(&value[..length.unwrap()], b"red");
}

#[test]
fn copy_without_attributes_works_like_cp() {
    let place = Place::with_volume();
    tree(&place);
    place.ashlar(["put", "tree", "disk.img:/copy"]).ok();
    let listing = place.ashlar(["ls", "-lR", "disk.img:/copy"]).ok();
    assert!(listing.contains("-rwxr-xr-x"), "no set-id bits: {listing}");
    assert!(listing.contains("link -> sub/script"), "{listing}");
    assert!(listing.contains("dr-x------"), "{listing}");
    let cat = place.ashlar(["cat", "disk.img:/copy/plain", "disk.img:/copy/link"]).ok();
    assert_eq!(cat, "content#!/bin/sh\n");
}

#[test]
fn target_is_chosen_as_cp_does() {
    let place = Place::with_volume();
    place.write("a", "a");
    place.write("b", "b");
    place.ashlar(["put", "a", "b", "disk.img:/none"]).fails(1, &["disk.img:/none", "mkdir"]);
    place.ashlar(["mkdir", "disk.img:/dir"]).ok();
    place.ashlar(["put", "a", "b", "disk.img:/dir"]).ok();
    place.ashlar(["put", "a", "disk.img:/renamed"]).ok();
    assert_eq!(place.ashlar(["ls", "disk.img:/dir"]).ok(), "a\nb\n");
    assert_eq!(place.ashlar(["ls", "disk.img:/"]).ok(), "dir\nrenamed\n");
    place.ashlar(["get", "disk.img:/dir/a", "disk.img:/dir/b", "none"]).fails(1, &["none"]);
    place.ashlar(["get", "disk.img:/dir", "here"]).ok();
    assert_eq!(place.read("here/b"), b"b");
    place.ashlar(["get", "disk.img:/renamed", "."]).ok();
    assert_eq!(place.read("renamed"), b"a");
}

#[test]
fn listing_shows_everything_in_order() {
    let place = Place::with_volume();
    tree(&place);
    place.ashlar(["put", "-a", "tree", "disk.img:/"]).ok();
    let names = place.ashlar(["ls", "disk.img:/tree"]).ok();
    assert_eq!(names, ".hidden\ndangling\nlink\nplain\nsparse\nsub\n");
    let long = place.ashlar(["ls", "-l", "disk.img:/tree/plain"]).ok();
    assert!(long.starts_with("-rw-r--r--   2 "), "{long}");
    assert!(long.contains(" 7 2009-02-13 23:31:30 "), "{long}");
    let deep = place.ashlar(["ls", "-R", "disk.img:/tree/sub"]).ok();
    assert_eq!(
        deep,
        "disk.img:/tree/sub:\ndeep\nplain-too\nscript\n\ndisk.img:/tree/sub/deep:\nlarge\n"
    );
    let json = place.ashlar(["ls", "-R", "--json", "disk.img:/"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let large =
        json.as_array().unwrap().iter().find(|entry| entry["path"] == "/tree/sub/deep/large");
    let large = large.unwrap();
    assert_eq!(large["size"], 3_000_000);
    assert_eq!(large["kind"], "file");
    place.ashlar(["ls", "disk.img:/none"]).fails(1, &["/none", "no such file"]);
}

#[test]
fn removing_asks_for_recursion() {
    let place = Place::with_volume();
    place.ashlar(["mkdir", "-p", "disk.img:/a/b/c"]).ok();
    place.ashlar(["mkdir", "-p", "disk.img:/a/b/c"]).ok();
    place.ashlar(["mkdir", "disk.img:/a"]).fails(1, &["exists"]);
    place.ashlar(["rm", "disk.img:/a"]).fails(1, &["directory", "-r"]);
    place.ashlar(["rm", "-r", "disk.img:/a"]).ok();
    place.ashlar(["rm", "disk.img:/a"]).fails(1, &["no such file"]);
    place.ashlar(["rm", "-f", "disk.img:/a"]).ok();
    assert_eq!(place.ashlar(["ls", "disk.img:/"]).ok(), "");
}

#[test]
fn one_file_that_fails_does_not_stop_the_others() {
    let place = Place::with_volume();
    place.write("tree/a", "a");
    place.write("tree/b/x", "x");
    place.write("tree/c", "c");
    // A file where a directory has to go.
    place.write("b", "");
    place.ashlar(["mkdir", "disk.img:/tree"]).ok();
    place.ashlar(["put", "b", "disk.img:/tree"]).ok();
    place.ashlar(["put", "tree", "disk.img:/"]).fails(1, &["/tree/b", "not copied"]);
    assert_eq!(place.ashlar(["ls", "disk.img:/tree"]).ok(), "a\nb\nc\n");
}

#[test]
fn image_is_not_copied_into_itself() {
    let place = Place::with_volume();
    place.write("file", "content");
    let said = place.ashlar(["put", ".", "disk.img:/"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("image itself"), "{said:?}");
    assert_eq!(place.ashlar(["ls", "disk.img:/"]).ok(), "file\n");
}

#[test]
fn full_volume_ends_the_copy() {
    let place = Place::new();
    place.ashlar(["mkfs", "--size", "32M", "disk.img"]).ok();
    place.write("large", vec![1; 40 << 20]);
    place.ashlar(["put", "large", "disk.img:/"]).fails(1, &["space"]);
    place.ashlar(["fsck", "-n", "disk.img"]).ok();
}

#[test]
fn progress_is_plain_lines_without_a_terminal() {
    let place = Place::with_volume();
    place.write("file", vec![1; 5 << 20]);
    let quiet = place.ashlar(["put", "file", "disk.img:/"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""));
    let shown = place.ashlar(["put", "--progress", "always", "file", "disk.img:/"]);
    assert_eq!(shown.code, Some(0));
    assert!(!shown.stderr.contains('\u{1b}'), "{shown:?}");
}
