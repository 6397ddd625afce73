//! Mounts through the kernel: as root, with `/dev/fuse`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Place, program};

/// A place with a directory to mount on, unmounted at the end whatever happened.
struct Mounting {
    place: Place,
}

impl Mounting {
    /// `None`, with a word, where mounting cannot work.
    fn new() -> Option<Mounting> {
        if !rustix::process::geteuid().is_root() || fs::File::open("/dev/fuse").is_err() {
            eprintln!("left out: mounting needs root and /dev/fuse");
            return None;
        }
        let place = Place::with_volume();
        fs::create_dir(place.path("mnt")).unwrap();
        Some(Mounting { place })
    }

    fn directory(&self) -> PathBuf {
        self.place.path("mnt")
    }

    fn is_mounted(&self) -> bool {
        let (below, above) = (self.directory(), self.place.path(""));
        below.metadata().map(|below| below.dev()).ok() != Some(above.metadata().unwrap().dev())
    }
}

impl Drop for Mounting {
    fn drop(&mut self) {
        // Fails where the test has unmounted already.
        let _ = self.place.command("umount").args(["-l", "mnt"]).stderr(Stdio::null()).status();
    }
}

#[test]
fn mounted_volume_is_usable_at_once_and_closed_after_umount() {
    let Some(mounting) = Mounting::new() else { return };
    let place = &mounting.place;
    place.ashlar(["mount", "disk.img", "mnt"]).ok();
    assert!(mounting.is_mounted());
    fs::write(place.path("mnt/file"), "through the kernel").unwrap();
    let info = place.ashlar(["info", "mnt"]).ok();
    assert!(info.contains("mounted on"), "{info}");
    place.ashlar(["ls", "disk.img:/"]).fails(1, &["another process", "mounted on"]);
    place.ashlar(["mkfs", "--force", "disk.img"]).fails(1, &["mounted on"]);
    place.ashlar(["fsck", "disk.img"]).fails(8, &["mounted on"]);
    place.ashlar(["mount", "disk.img", "mnt"]).fails(1, &["disk.img"]);
    place.ashlar(["umount", "mnt"]).ok();
    assert!(!mounting.is_mounted());
    assert_eq!(place.ashlar(["fsck", "disk.img"]).ok(), "disk.img: clean\n");
    assert_eq!(place.ashlar(["cat", "disk.img:/file"]).ok(), "through the kernel");
    place.ashlar(["umount", "mnt"]).fails(1, &["nothing is mounted"]);
}

#[test]
fn failed_mount_says_why_and_mounts_nothing() {
    let Some(mounting) = Mounting::new() else { return };
    let place = &mounting.place;
    place.ashlar(["mount", "none.img", "mnt"]).fails(1, &["none.img", "mkfs"]);
    place.ashlar(["mount", "disk.img", "none"]).fails(1, &["none", "directory"]);
    place.write("text", vec![1; 1 << 20]);
    place.ashlar(["mount", "text", "mnt"]).fails(1, &["text"]);
    assert!(!mounting.is_mounted());
}

#[test]
fn volume_is_made_on_the_way_if_asked() {
    let Some(mounting) = Mounting::new() else { return };
    let place = &mounting.place;
    for _ in 0..2 {
        place.ashlar(["mount", "--create", "64M", "new.img", "mnt"]).ok();
        assert!(mounting.is_mounted());
        place.ashlar(["umount", "mnt"]).ok();
    }
}

#[test]
fn options_reach_the_kernel() {
    let Some(mounting) = Mounting::new() else { return };
    let place = &mounting.place;
    place.ashlar(["mount", "-o", "ro,noexec", "-o", "noatime", "disk.img", "mnt"]).ok();
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let directory = mounting.directory().canonicalize().unwrap();
    let line = table.lines().find(|line| line.contains(directory.to_str().unwrap())).unwrap();
    for word in ["fuse.ashlar", "ro", "noexec", "noatime"] {
        assert!(line.split([' ', ',']).any(|field| field == word), "no {word} in {line}");
    }
    assert!(fs::write(place.path("mnt/file"), "x").is_err());
    place.ashlar(["umount", "mnt"]).ok();
}

#[test]
fn foreground_server_ends_with_the_mount() {
    let Some(mounting) = Mounting::new() else { return };
    let place = &mounting.place;
    let mut server = serve(&mounting);
    place.ashlar(["umount", "mnt"]).ok();
    assert!(server.wait().unwrap().success());
}

#[test]
fn log_goes_to_its_file() {
    let Some(mounting) = Mounting::new() else { return };
    let place = &mounting.place;
    let ran = place
        .command(program())
        .args(["mount", "--log", "server.log", "disk.img", "mnt"])
        .env("ASHLAR_LOG", "debug")
        .status();
    assert!(ran.unwrap().success());
    fs::write(place.path("mnt/file"), "x").unwrap();
    place.ashlar(["umount", "mnt"]).ok();
    assert!(!place.read("server.log").is_empty());
    assert!(place.path("server.log").metadata().unwrap().size() > 0);
}

#[test]
fn busy_mount_stays() {
    let Some(mounting) = Mounting::new() else { return };
    let place = &mounting.place;
    place.ashlar(["mount", "disk.img", "mnt"]).ok();
    let open = fs::File::create(place.path("mnt/file")).unwrap();
    place.ashlar(["umount", "mnt"]).fails(1, &["mnt", "in use"]);
    assert!(mounting.is_mounted());
    drop(open);
    place.ashlar(["umount", "mnt"]).ok();
}

/// umount(8) returns before the server has closed the image; nobody should have to know.
#[test]
fn image_can_be_used_at_once_after_plain_umount() {
    let Some(mounting) = Mounting::new() else { return };
    let place = &mounting.place;
    for round in 0..3 {
        place.ashlar(["mount", "disk.img", "mnt"]).ok();
        fs::write(place.path("mnt/file"), vec![round; 20 << 20]).unwrap();
        for name in 0..2000 {
            fs::write(place.path(format!("mnt/{round}-{name}")), "x").unwrap();
        }
        assert!(place.command("umount").arg("mnt").status().unwrap().success());
        match round {
            0 => assert_eq!(place.ashlar(["fsck", "disk.img"]).ok(), "disk.img: clean\n"),
            1 => assert!(place.ashlar(["ls", "disk.img:/"]).ok().contains("1-1999")),
            _ => {}
        }
    }
    place.ashlar(["mount", "disk.img", "mnt"]).ok();
    assert!(fs::read(place.path("mnt/file")).unwrap() == vec![2; 20 << 20]);
    place.ashlar(["umount", "mnt"]).ok();
}

#[test]
fn helper_speaks_to_mount() {
    let Some(mounting) = Mounting::new() else { return };
    let place = &mounting.place;
    place.ashlar_as("mount.fuse.ashlar", ["disk.img"]).fails(1, &["usage"]);
    let refused = ["disk.img", "mnt", "-o", "rw,frobnicate"];
    place.ashlar_as("mount.fuse.ashlar", refused).fails(1, &["frobnicate"]);
    place.ashlar_as("mount.fuse.ashlar", ["none.img", "mnt"]).fails(32, &["none.img"]);
    place.ashlar_as("mount.fuse.ashlar", ["-f", "disk.img", "mnt"]).ok();
    assert!(!mounting.is_mounted());
    let all = ["disk.img", "mnt", "-sv", "-t", "fuse.ashlar", "-o", "rw,nofail,frobnicate"];
    place.ashlar_as("mount.fuse.ashlar", all).ok();
    assert!(mounting.is_mounted());
    place.ashlar_as("umount.fuse.ashlar", ["mnt"]).ok();
    assert!(!mounting.is_mounted());
    place.ashlar_as("umount.fuse.ashlar", ["mnt"]).fails(32, &["nothing is mounted"]);
}

#[test]
fn killed_server_loses_nothing_that_was_synced() {
    let Some(mounting) = Mounting::new() else { return };
    let place = &mounting.place;
    let mut server = serve(&mounting);
    fs::write(place.path("mnt/file"), "kept").unwrap();
    fs::File::open(place.path("mnt/file")).unwrap().sync_all().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    // The name is still in the mount table, though nobody answers.
    assert!(fs::read(place.path("mnt/file")).is_err());
    place.ashlar(["umount", "mnt"]).ok();
    let info = place.ashlar(["info", "disk.img"]).ok();
    assert!(info.contains("recovers"), "{info}");
    let said = place.ashlar(["fsck", "-n", "disk.img"]).ok();
    assert!(said.contains("recovers"), "{said}");
    // Reading does not need recovery to be written down.
    assert_eq!(place.ashlar(["cat", "disk.img:/file"]).ok(), "kept");
    assert!(place.ashlar(["fsck", "-n", "disk.img"]).ok().contains("recovers"));
    assert_eq!(place.ashlar(["fsck", "-a", "disk.img"]).ok(), "disk.img: clean\n");
    assert_eq!(place.ashlar(["fsck", "-n", "disk.img"]).ok(), "disk.img: clean\n");
    assert_eq!(place.ashlar(["cat", "disk.img:/file"]).ok(), "kept");
}

#[test]
fn ordinary_user_mounts_for_himself() {
    let Some(mounting) = Mounting::new() else { return };
    let place = &mounting.place;
    let helper = place.command("fusermount3").arg("--version").output();
    if !helper.is_ok_and(|output| output.status.success()) {
        eprintln!("left out: no fusermount3");
        return;
    }
    // Where the program was built need not be open to everybody.
    fs::copy(program(), place.path("ashlar")).unwrap();
    fs::set_permissions(place.path(""), PermissionsExt::from_mode(0o777)).unwrap();
    let script = r#"
        set -e
        mkdir own
        ./ashlar mkfs -q --size 64M own.img
        ./ashlar mount own.img own
        echo mine > own/file
        ls -ln own/file | cut -d' ' -f3,4
        ./ashlar umount own
        ./ashlar cat own.img:/file
        ./ashlar fsck own.img
    "#;
    // Some machines keep /dev/fuse for root: a mount namespace gets one that is for everybody.
    let open_device = r#"
        set -e
        mkdir dev
        mount -t tmpfs -o dev none dev
        mknod -m 666 dev/fuse c 10 229
        mount --bind dev/fuse /dev/fuse
        exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -c "$1"
    "#;
    let output = place
        .command("unshare")
        .args(["--mount", "sh", "-c", open_device, "sh", script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "65534 65534\nmine\nown.img: clean\n");
}

#[test]
fn block_device_is_served_as_one() {
    let Some(mounting) = Mounting::new() else { return };
    let place = &mounting.place;
    fs::File::create(place.path("backing")).unwrap().set_len(64 << 20).unwrap();
    let output = place.command("losetup").args(["-f", "--show", "backing"]).output().unwrap();
    if !output.status.success() {
        eprintln!("left out: no loop devices");
        return;
    }
    let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let device = Loop(&device);
    let name = device.0;
    place.ashlar(["mkfs", name]).ok();
    place.ashlar(["mkfs", name]).fails(1, &[name, "an Ashlar volume"]);
    place.ashlar(["mkfs", "-f", "--size", "32M", name]).fails(1, &["size"]);
    place.ashlar(["mount", name, "mnt"]).ok();
    let info = place.ashlar(["info", "--json", "mnt"]).ok();
    assert!(info.contains("\"mounted\""), "{info}");
    fs::write(place.path("mnt/file"), "x").unwrap();
    place.ashlar(["mkfs", "-f", name]).fails(1, &["mounted on"]);
    place.ashlar(["umount", "mnt"]).ok();
    assert_eq!(place.ashlar(["fsck", name]).ok(), format!("{name}: clean\n"));
    assert_eq!(place.ashlar(["ls".to_owned(), format!("{name}:/")]).ok(), "file\n");
}

/// A loop device, given back at the end.
struct Loop<'a>(&'a str);

impl Drop for Loop<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup").args(["-d", self.0]).status();
    }
}

/// A server in the foreground, once its mount is usable.
fn serve(mounting: &Mounting) -> Child {
    let server = mounting
        .place
        .command(program())
        .args(["mount", "--foreground", "disk.img", "mnt"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !mounting.is_mounted() {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not become usable");
        std::thread::sleep(Duration::from_millis(5));
    }
    server
}

/// `/sbin` belongs to the machine: a mount namespace of its own gets the helper into it.
#[test]
fn mount_command_and_fstab_find_the_helper() {
    let Some(mounting) = Mounting::new() else { return };
    let place = &mounting.place;
    let script = r#"
        set -e
        mkdir upper work
        mount -t tmpfs none upper && mkdir upper/sbin
        for tool in /sbin/* /usr/sbin/*; do ln -sf "$(readlink -f "$tool")" upper/sbin/; done
        ln -sf "$ASHLAR" upper/sbin/mount.fuse.ashlar
        ln -sf "$ASHLAR" upper/sbin/umount.fuse.ashlar
        mount --bind upper/sbin /sbin
        mount -t fuse.ashlar "$PWD/disk.img" "$PWD/mnt" -o noatime
        echo one > mnt/one
        umount mnt
        echo "$PWD/disk.img $PWD/mnt fuse.ashlar defaults,nofail,noauto,x-test=1 0 0" > fstab
        mount --fstab fstab "$PWD/mnt"
        cat mnt/one
        umount "$PWD/mnt"
    "#;
    let output = place
        .command("unshare")
        .args(["--mount", "sh", "-c", script])
        .env("ASHLAR", program())
        .env("LIBMOUNT_FSTAB", place.path("fstab"))
        .output()
        .unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complained}");
    assert_eq!(said, "one\n");
    place.ashlar(["fsck", "disk.img"]).ok();
}
