//! Making volumes, and not destroying anything by it.

use std::os::unix::fs::FileExt;

use crate::support::Place;

#[test]
fn volume_gets_what_was_asked_for() {
    let place = Place::new();
    let uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let said =
        place.ashlar(["mkfs", "--size", "64M", "-L", "my data", "--uuid", uuid, "disk.img"]).ok();
    assert!(said.contains("my data") && said.contains(uuid), "{said}");
    assert_eq!(place.path("disk.img").metadata().unwrap().len(), 64 << 20);
    let info = place.ashlar(["info", "--json", "disk.img"]).ok();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["label"], "my data");
    assert_eq!(info["uuid"], uuid);
    assert_eq!(info["size_bytes"], 64 << 20);
    assert_eq!(info["state"], "clean");
    assert!(info["available_bytes"].as_u64().unwrap() > 32 << 20);
    let info = place.ashlar(["info", "disk.img"]).ok();
    assert!(info.contains("my data") && info.contains("64 MiB"), "{info}");
}

#[test]
fn quiet_and_dry_runs_keep_their_word() {
    let place = Place::new();
    assert_eq!(place.ashlar(["mkfs", "-q", "--size", "64M", "a.img"]).ok(), "");
    place.ashlar(["mkfs", "-n", "--size", "64M", "b.img"]).ok();
    assert!(!place.path("b.img").exists());
}

#[test]
fn sparse_file_of_the_right_size_is_taken_as_it_is() {
    let place = Place::new();
    let file = std::fs::File::create(place.path("disk.img")).unwrap();
    file.set_len(80 << 20).unwrap();
    place.ashlar(["mkfs", "disk.img"]).ok();
    assert_eq!(place.path("disk.img").metadata().unwrap().len(), 80 << 20);
    // Now it holds something.
    place.ashlar(["mkfs", "disk.img"]).fails(1, &["an Ashlar volume", "--force"]);
    place.ashlar(["mkfs", "--force", "disk.img"]).ok();
}

#[test]
fn file_that_holds_something_is_refused() {
    let place = Place::new();
    place.write("notes.txt", "precious");
    for size in [None, Some("--size=64M")] {
        let arguments = ["mkfs"].into_iter().chain(size).chain(["notes.txt"]);
        place.ashlar(arguments).fails(1, &["notes.txt", "data", "--force"]);
    }
    assert_eq!(place.read("notes.txt"), b"precious");
    let file = std::fs::File::create(place.path("ext.img")).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(&[0x53, 0xef], 0x438).unwrap();
    place.ashlar(["mkfs", "ext.img"]).fails(1, &["ext2, ext3 or ext4"]);
    place.ashlar(["mkfs", "-f", "ext.img"]).ok();
    assert!(!place.ashlar(["ls", "ext.img:/"]).ok().contains("lost"));
}

#[test]
fn real_file_systems_are_recognised() {
    let place = Place::new();
    for (tool, word) in
        [("mkfs.ext4", "ext4"), ("mkfs.xfs", "XFS"), ("mkswap", "swap"), ("mkfs.btrfs", "Btrfs")]
    {
        let image = place.path(format!("{tool}.img"));
        std::fs::File::create(&image).unwrap().set_len(320 << 20).unwrap();
        match place.command(tool).arg(&image).output() {
            Ok(output) if output.status.success() => {
                place.ashlar(["mkfs".as_ref(), image.as_os_str()]).fails(1, &[word]);
            }
            _ => eprintln!("{tool} is not here or does not work: left out"),
        }
    }
}

#[test]
fn what_is_no_file_or_device_is_refused() {
    let place = Place::new();
    std::fs::create_dir(place.path("dir")).unwrap();
    place.ashlar(["mkfs", "dir"]).fails(1, &["a directory"]);
    place.ashlar(["mkfs", "/dev/null"]).fails(1, &["/dev/null", "no file or block device"]);
    place.ashlar(["mkfs", "--size", "64M", "none/disk.img"]).fails(1, &["none/disk.img"]);
    place.ashlar(["mkfs", "--size", "1M", "disk.img"]).fails(1, &["disk.img"]);
    assert!(!place.path("disk.img").exists());
}

#[test]
fn mkfs_helper_has_its_own_arguments_and_codes() {
    let place = Place::new();
    place.ashlar_as("mkfs.ashlar", ["-q", "-L", "x", "disk.img", "64M"]).ok();
    place.ashlar_as("mkfs.ashlar", ["disk.img"]).fails(1, &["mkfs.ashlar: ", "--force"]);
    place.ashlar_as("mkfs.ashlar", ["-f", "-b", "4096", "disk.img"]).ok();
    place.ashlar_as("mkfs.ashlar", ["-f", "-b", "1024", "disk.img"]).fails(1, &["1024"]);
    place.ashlar_as("mkfs.ashlar", ["--frobnicate"]).fails(1, &["frobnicate"]);
}
