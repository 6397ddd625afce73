//! Checking, dumping, describing.

use std::os::unix::fs::FileExt;

use crate::support::Place;

fn filled() -> Place {
    let place = Place::with_volume();
    place.write("file", vec![5; 100_000]);
    place.ashlar(["mkdir", "-p", "disk.img:/a/b"]).ok();
    place.ashlar(["put", "file", "disk.img:/a/b"]).ok();
    place
}

/// Overwrites the first bytes of a tree's root node.
fn damage(place: &Place, tree: &str) {
    let dump = place.ashlar(["dump", "disk.img"]).ok();
    let newest = dump.lines().skip_while(|line| !line.contains("counts"));
    let line = newest.skip(1).find(|line| line.contains(tree));
    let line = line.unwrap_or_else(|| panic!("no {tree} in {dump}"));
    let (_, behind) = line.split_once(" block ").unwrap_or_else(|| panic!("no block in {line}"));
    let block: u64 = behind.split(' ').next().unwrap().parse().unwrap();
    let file = std::fs::File::options().write(true).open(place.path("disk.img")).unwrap();
    file.write_all_at(&[0xaa; 512], block * 4096).unwrap();
}

#[test]
fn sound_volume_is_clean() {
    let place = filled();
    let said = place.ashlar(["fsck", "disk.img"]).ok();
    assert_eq!(said, "disk.img: clean\n");
    let said = place.ashlar(["fsck", "-y", "-v", "disk.img"]).ok();
    assert!(said.contains("1 files, 3 directories"), "{said}");
    assert_eq!(place.ashlar(["fsck", "-p", "disk.img"]).ok(), "disk.img: clean\n");
}

#[test]
fn damage_is_found_and_reported() {
    let place = filled();
    damage(&place, "names");
    let ran = place.ashlar(["fsck", "-n", "disk.img"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stdout.contains("names"), "{ran:?}");
    assert!(ran.stdout.contains("fsck -y"), "{ran:?}");
    let ran = place.ashlar(["ls", "-R", "disk.img:/"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("fsck"), "{ran:?}");
}

#[test]
fn damage_is_repaired_if_asked_and_the_exit_code_says_so() {
    let place = filled();
    // Free space follows from what is in use.
    damage(&place, "free");
    let ran = place.ashlar(["fsck", "-n", "disk.img"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let ran = place.ashlar(["fsck", "-y", "disk.img"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("all repaired"), "{ran:?}");
    assert_eq!(place.ashlar(["fsck", "-n", "disk.img"]).ok(), "disk.img: clean\n");
    assert_eq!(place.ashlar(["fsck", "-y", "disk.img"]).ok(), "disk.img: clean\n");
    place.ashlar(["get", "disk.img:/a/b/file", "back"]).ok();
    assert!(place.read("back") == vec![5; 100_000], "the file differs");
    // It takes files again.
    place.ashlar(["put", "back", "disk.img:/again"]).ok();
    assert_eq!(place.ashlar(["fsck", "-n", "disk.img"]).ok(), "disk.img: clean\n");
}

#[test]
fn damage_that_needs_guessing_is_left_and_the_exit_code_says_so() {
    let place = filled();
    damage(&place, "inodes");
    for _ in 0..2 {
        let ran = place.ashlar(["fsck", "-y", "disk.img"]);
        assert_eq!(ran.code, Some(4), "{ran:?}");
    }
}

#[test]
fn image_that_is_being_closed_is_waited_for() {
    let place = filled();
    let hold = |time| {
        let image = std::fs::File::open(place.path("disk.img")).unwrap();
        image.lock().unwrap();
        std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(time));
            drop(image);
        })
    };
    let held = hold(2500);
    let ran = place.ashlar(["fsck", "disk.img"]);
    assert!(ran.stderr.contains("waiting for another program"), "{ran:?}");
    assert_eq!(ran.ok(), "disk.img: clean\n");
    held.join().unwrap();
    let held = hold(1500);
    assert_eq!(place.ashlar(["ls", "disk.img:/"]).ok(), "a\n");
    held.join().unwrap();
    // Not for ever.
    let held = hold(12_000);
    place.ashlar(["fsck", "disk.img"]).fails(8, &["open in another program"]);
    held.join().unwrap();
}

#[test]
fn what_is_no_volume_cannot_be_checked() {
    let place = Place::new();
    place.write("file", vec![1; 1 << 20]);
    place.ashlar(["fsck", "file"]).fails(8, &["file", "Ashlar"]);
    place.ashlar(["fsck", "-y", "file"]).fails(8, &["file", "Ashlar"]);
    place.ashlar(["dump", "file", "log"]).fails(1, &["file"]);
    place.ashlar(["info", "file"]).fails(1, &["file", "fsck"]);
    place.ashlar_as("fsck.ashlar", ["-a"]).fails(16, &["IMAGE"]);
}

#[test]
fn fsck_helper_speaks_to_fsck() {
    let place = filled();
    place.ashlar_as("fsck.ashlar", ["-a", "disk.img"]).ok();
    place.ashlar_as("fsck.ashlar", ["-a", "-C0", "disk.img"]).ok();
    // Standard output stands for the descriptor of fsck(8).
    let said = place.ashlar_as("fsck.ashlar", ["-y", "-f", "-C1", "disk.img"]).ok();
    assert!(
        said.lines().any(|line| line.starts_with("3 ") && line.ends_with(" disk.img")),
        "{said}"
    );
}

#[test]
fn dump_shows_every_structure() {
    let place = filled();
    let superblock = place.ashlar(["dump", "disk.img"]).ok();
    assert!(superblock.contains("uuid"), "{superblock}");
    place.ashlar(["dump", "disk.img", "log"]).ok();
    for tree in ["inodes", "extents", "names", "xattrs", "refs", "free", "orphans"] {
        place.ashlar(["dump", "disk.img", "tree", tree]).ok();
    }
    let names = place.ashlar(["dump", "disk.img", "tree", "names"]).ok();
    assert!(names.contains("\"file\""), "{names}");
    let root = place.ashlar(["dump", "disk.img", "inode", "1"]).ok();
    assert!(root.contains("directory"), "{root}");
    let file = place.ashlar(["dump", "disk.img", "path", "a/b/file"]).ok();
    assert!(file.contains("100000"), "{file}");
    place.ashlar(["dump", "disk.img", "path", "/none"]).fails(1, &["none"]);
    place.ashlar(["dump", "disk.img", "tree"]).fails(2, &["which tree"]);
    place.ashlar(["dump", "disk.img", "tree", "oak"]).fails(2, &["oak", "inodes"]);
    place.ashlar(["dump", "disk.img", "inode", "x"]).fails(2, &["x"]);
    place.ashlar(["dump", "disk.img", "log", "x"]).fails(2, &["leave out"]);
}
