//! Goal: a volume that is stopped by `FS_IOC_SHUTDOWN` answers as a stopped kernel XFS does, loses
//! only what the mode lets it lose, and is whole when it is mounted again.
//!
//! Method: the same calls on both, with everything that a kernel can know already in its caches:
//! what is not asked again cannot fail.

use ashlar_tests::mounts::{Ashlar, Xfs};
use ashlar_tests::sys::{Arg, call, errno_name};
use std::fs::{self, File, OpenOptions};
use std::io::{Result, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

/// `FS_IOC_SHUTDOWN`, and XFS's name for the same number: `XFS_IOC_GOINGDOWN`.
const SHUTDOWN: i64 = 0x8004_587d;
/// What is made durable before everything stops: all; what the log has; nothing.
const MODES: [(&str, u32); 3] = [("default", 0), ("logflush", 1), ("nologflush", 2)];

/// Calls that fail here and not on XFS, and why.
const STRICTER: [(&str, &str); 1] =
    [("fsync, folder", "XFS sees that nothing is left to do; we are asked anew each time")];

fn shut_down(mount: &Path, mode: u32) -> std::result::Result<i64, i32> {
    let root = File::open(mount).expect("the root can be opened");
    let fd = Arg::Int(root.as_raw_fd().into());
    call(libc::SYS_ioctl, &mut [fd, Arg::Int(SHUTDOWN), Arg::In(&mode.to_ne_bytes())])
}

/// Files with names and content in the kernel's caches, and descriptors on them.
struct Prepared {
    synced: File,
    folder: File,
}

fn prepare(mount: &Path) -> Prepared {
    let at = |name: &str| mount.join(name);
    fs::create_dir(at("folder")).expect("a new folder can be made");
    fs::write(at("folder/inside"), "inside").expect("there is space");
    symlink("synced", at("link")).expect("a new link can be made");
    let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let synced = open().open(at("synced")).expect("a new file can be made");
    synced.write_all_at(&[7; 100_000], 0).expect("there is space");
    synced.sync_all().expect("it can be synced");
    let folder = File::open(mount).expect("the root can be opened");
    folder.sync_all().expect("it can be synced");
    for name in ["synced", "link", "folder/inside"] {
        fs::read(at(name)).expect("it is there");
    }
    fs::write(at("unsynced"), [9; 50_000]).expect("there is space");
    Prepared { synced, folder }
}

/// What each call says, by name.
fn outcomes(mount: &Path, held: &Prepared) -> Vec<(&'static str, String)> {
    let at = |name: &str| mount.join(name);
    let mut list: Vec<(&'static str, String)> = Vec::new();
    let mut note = |what, result: Result<()>| {
        let said = match result {
            Ok(()) => "ok".to_owned(),
            Err(error) => errno_name(error.raw_os_error().unwrap_or(0)),
        };
        list.push((what, said));
    };
    let mut byte = [0];
    note("read, open", held.synced.read_at(&mut byte, 5000).map(drop));
    note("write, open", held.synced.write_at(b"x", 0).and(held.synced.sync_all()));
    note("append, open", held.synced.write_at(b"x", 100_000).and(held.synced.sync_all()));
    note("stat, open", held.synced.metadata().map(drop));
    note("truncate, open", held.synced.set_len(5));
    note("fsync, folder", held.folder.sync_all());
    note("stat", fs::metadata(at("synced")).map(drop));
    note("stat, folder", fs::metadata(at("folder")).map(drop));
    note("open", File::open(at("synced")).map(drop));
    note("open, below", File::open(at("folder/inside")).map(drop));
    note("read link", fs::read_link(at("link")).map(drop));
    note(
        "list",
        fs::read_dir(at("folder")).and_then(|mut list| list.try_for_each(|e| e.map(drop))),
    );
    note("create", File::create(at("new")).map(drop));
    note("mkdir", fs::create_dir(at("new")));
    note("symlink", symlink("a", at("new")));
    note("link", fs::hard_link(at("synced"), at("new")));
    note("rename", fs::rename(at("synced"), at("new")));
    note("unlink", fs::remove_file(at("synced")));
    note("rmdir", fs::remove_dir(at("folder")));
    note("chmod", fs::set_permissions(at("synced"), PermissionsExt::from_mode(0o600)));
    note("no such", fs::metadata(at("none")).map(drop));
    list
}

fn on_xfs(mode: u32) -> Vec<(&'static str, String)> {
    let xfs = Xfs::create("shutdown-oracle");
    let held = prepare(xfs.path());
    shut_down(xfs.path(), mode).expect("root may stop it");
    outcomes(xfs.path(), &held)
}

#[test]
fn stopped_volume_says_what_stopped_xfs_says() {
    for (name, mode) in MODES {
        let mut volume = Ashlar::create(&format!("shutdown-{name}"));
        let held = prepare(volume.path());
        shut_down(volume.path(), mode).expect("root may stop it");
        let ours = outcomes(volume.path(), &held);
        for (what, _) in STRICTER {
            assert!(ours.contains(&(what, "EIO".to_owned())), "{name}: {what}");
        }
        drop(held);
        let theirs = on_xfs(mode);
        let stricter = |what: &str| STRICTER.iter().any(|(known, _)| *known == what);
        let pairs = ours.iter().zip(&theirs).filter(|(ours, _)| !stricter(ours.0));
        let different: Vec<_> = pairs.filter(|(ours, theirs)| ours != theirs).collect();
        assert!(different.is_empty(), "{name}: {different:#?}");
        volume.unmount_stopped();
        volume.check();
        volume.mount();
        let synced = fs::read(volume.path().join("synced")).expect("it was synced");
        assert!(synced == [7; 100_000], "{name}: what was synced differs");
        let unsynced = fs::read(volume.path().join("unsynced"));
        if name == "default" {
            assert!(unsynced.is_ok_and(|bytes| bytes == [9; 50_000]), "default keeps all");
        } else if let Ok(bytes) = unsynced {
            let sound = bytes.iter().all(|byte| *byte == 9 || *byte == 0);
            assert!(sound, "{name}: bytes that nobody wrote");
        }
        let mut again = File::create(volume.path().join("after")).expect("it works again");
        again.write_all(b"after").expect("there is space");
    }
}
