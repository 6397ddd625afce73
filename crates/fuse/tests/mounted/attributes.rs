//! Modes, owners, times, and statfs.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::harness::Mount;

#[test]
fn mode_owner_and_times_survive_a_remount() {
    let Some(mut mount) = Mount::new() else { return };
    fs::write(mount.at("file"), "x").unwrap();
    chown(mount.at("file"), Some(1234), Some(5678)).unwrap();
    fs::set_permissions(mount.at("file"), Permissions::from_mode(0o7615)).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    let before_1970 = SystemTime::UNIX_EPOCH - Duration::new(1_000_000, 1);
    let times = FileTimes::new().set_modified(then).set_accessed(before_1970);
    File::options().write(true).open(mount.at("file")).unwrap().set_times(times).unwrap();
    for _ in 0..2 {
        let meta = fs::metadata(mount.at("file")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1234, 5678, 0o7615));
        assert_eq!(meta.modified().unwrap(), then);
        assert_eq!(meta.accessed().unwrap(), before_1970);
        mount.again("noatime");
    }
}

#[test]
fn writing_moves_modification_and_change_time_and_they_are_kept() {
    let Some(mut mount) = Mount::new() else { return };
    fs::write(mount.at("file"), "x").unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    let file = File::options().write(true).open(mount.at("file")).unwrap();
    file.set_times(FileTimes::new().set_modified(old)).unwrap();
    drop(file);
    let start = SystemTime::now() - Duration::from_secs(1);
    fs::write(mount.at("file"), "more").unwrap();
    let meta = fs::metadata(mount.at("file")).unwrap();
    let (modified, changed) = (meta.modified().unwrap(), (meta.ctime(), meta.ctime_nsec()));
    assert!(modified > start);
    mount.again("");
    let meta = fs::metadata(mount.at("file")).unwrap();
    assert_eq!(meta.modified().unwrap(), modified);
    assert_eq!((meta.ctime(), meta.ctime_nsec()), changed);
}

#[test]
fn birth_time_is_told_and_stays() {
    let Some(mut mount) = Mount::new() else { return };
    let birth = |mount: &Mount| {
        let flags = StatxFlags::BTIME | StatxFlags::BASIC_STATS;
        let stat = statx(CWD, mount.at("file"), AtFlags::empty(), flags).unwrap();
        assert!(stat.stx_mask & StatxFlags::BTIME.bits() != 0);
        (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)
    };
    fs::write(mount.at("file"), "x").unwrap();
    let first = birth(&mount);
    assert!(first.0 > 1_500_000_000);
    fs::write(mount.at("file"), "more").unwrap();
    mount.again("");
    assert_eq!(birth(&mount), first);
}

#[test]
fn directory_times_change_with_its_entries() {
    let Some(mount) = Mount::new() else { return };
    fs::create_dir(mount.at("dir")).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    let modified = || fs::metadata(mount.at("dir")).unwrap().modified().unwrap();
    let age = || {
        let directory = File::open(mount.at("dir")).unwrap();
        directory.set_times(FileTimes::new().set_modified(old)).unwrap();
        assert_eq!(modified(), old);
    };
    age();
    fs::write(mount.at("dir/file"), "").unwrap();
    assert_ne!(modified(), old);
    age();
    fs::rename(mount.at("dir/file"), mount.at("dir/other")).unwrap();
    assert_ne!(modified(), old);
    age();
    fs::remove_file(mount.at("dir/other")).unwrap();
    assert_ne!(modified(), old);
}

#[test]
fn statfs_counts_what_is_used() {
    let Some(mount) = Mount::new() else { return };
    let before = rustix::fs::statvfs(mount.path()).unwrap();
    assert_eq!((before.f_bsize, before.f_namemax), (4096, 255));
    assert!(before.f_blocks > 0 && before.f_bavail > 0 && before.f_files >= before.f_ffree);
    let file = File::create(mount.at("file")).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 8 << 20).unwrap();
    file.sync_all().unwrap();
    let after = rustix::fs::statvfs(mount.path()).unwrap();
    assert!(before.f_bfree - after.f_bfree >= 2048, "{} {}", before.f_bfree, after.f_bfree);
}

#[test]
fn size_and_blocks_are_known_before_and_after_write_back() {
    let Some(mount) = Mount::new() else { return };
    let file = File::create(mount.at("file")).unwrap();
    file.set_len(1 << 30).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 1 << 30);
    assert!(file.metadata().unwrap().blocks() < 1000, "a hole takes no space");
    std::os::unix::fs::FileExt::write_all_at(&file, &[1; 100_000], 0).unwrap();
    file.sync_all().unwrap();
    // The kernel may show what it knew for a second.
    let has_blocks = || file.metadata().unwrap().blocks() * 512 >= 100_000;
    for _ in 0..30 {
        if has_blocks() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(has_blocks());
    drop(file);
    let blocks = fs::metadata(mount.at("file")).unwrap().blocks();
    assert!((100_000..1 << 20).contains(&(blocks * 512)));
}

#[test]
fn write_back_does_not_move_the_times_of_the_write() {
    let Some(mut mount) = Mount::new() else { return };
    let times = |mount: &Mount| {
        let meta = fs::metadata(mount.at("file")).unwrap();
        (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
    };
    let file = File::create(mount.at("file")).unwrap();
    file.set_len(10 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"text", 10 << 20).unwrap();
    let written = times(&mount);
    std::thread::sleep(Duration::from_millis(50));
    drop(file);
    assert_eq!(times(&mount), written);
    mount.again("");
    assert_eq!(times(&mount), written);
}
