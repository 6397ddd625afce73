//! Every ioctl, every error, every way to commit and to give up.

use crate::files::*;
use ashlar_tests::mounts::{Ashlar, ashlar_command};
use ashlar_tests::programs::{run, run_ok, script};
use ashlar_tests::sys::{self, Mapping};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of three blocks and a bit, durable.
fn filled(volume: &Ashlar, name: &str) -> (PathBuf, Vec<u8>) {
    let (path, bytes) = (volume.path().join(name), pattern(1, 13_000));
    let file = open(&path);
    file.write_all_at(&bytes, 0).and_then(|()| file.sync_all()).expect("the volume has room");
    (path, bytes)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("the file is there")
}

/// What is there after a crash of the server.
fn crash(volume: &mut Ashlar) {
    volume.kill();
    volume.mount();
}

#[test]
fn f2fs_calls_are_answered_as_f2fs_answers() {
    let volume = Ashlar::create("atomic-errno");
    let (path, bytes) = filled(&volume, "file");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).expect("the file is ours");
    let (file, reader) = (open(&path), File::open(&path).expect("it opens"));
    let mut features = [0; 4];
    assert_eq!(ioctl(&file, GET_FEATURES, &mut features), Ok(0));
    assert_eq!(u32::from_ne_bytes(features) & 4, 4, "SQLite looks for this bit");
    for number in [START, COMMIT, ABORT] {
        assert_eq!(plain_ioctl(&reader, number), Err(libc::EBADF), "{number:x}");
        let folder = File::open(volume.path()).expect("it opens");
        assert_eq!(plain_ioctl(&folder, number), Err(libc::EBADF), "{number:x}");
    }
    for number in [START_VOLATILE, RELEASE_VOLATILE] {
        assert_eq!(plain_ioctl(&file, number), Err(libc::EOPNOTSUPP), "{number:x}");
    }
    assert_eq!(plain_ioctl(&file, 0xf519), Err(libc::ENOTTY));
    let uncached = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&path);
    assert_eq!(plain_ioctl(&uncached.expect("it opens"), START), Err(libc::EINVAL));
    // On a plain file: a sync, and nothing to give up.
    file.write_all_at(b"plain", 0).expect("it is written");
    assert_eq!(plain_ioctl(&file, ABORT), Ok(0));
    assert_eq!(plain_ioctl(&file, COMMIT), Ok(0));
    assert_eq!(&read(&path)[..5], b"plain");
    // Begun twice is begun once.
    assert_eq!(plain_ioctl(&file, START), Ok(0));
    assert_eq!(plain_ioctl(&file, START), Ok(0));
    file.write_all_at(b"once", 0).expect("it is written");
    assert_eq!(plain_ioctl(&file, COMMIT), Ok(0));
    file.write_all_at(b"more", 0).expect("it is written");
    drop(file);
    assert_eq!(&read(&path)[..5], b"moren");
    assert!(read(&path)[5..] == bytes[5..]);
    std::thread::spawn(move || {
        sys::become_user(1000, 1000, &[]).expect("root may");
        let file = OpenOptions::new().write(true).open(&path).expect("all may write");
        for number in [START, COMMIT, ABORT] {
            assert_eq!(plain_ioctl(&file, number), Err(libc::EACCES), "{number:x}");
        }
        let on = &mut 1u32.to_ne_bytes();
        assert_eq!(ioctl(&file, SET_ATOMIC, on), Err(libc::EPERM));
    })
    .join()
    .expect("no panic");
}

#[test]
fn abort_takes_the_kernel_back_to_the_last_commit() {
    let volume = Ashlar::create("atomic-abort");
    for (name, number) in [("f2fs", ABORT), ("own", OWN_ABORT)] {
        let (path, bytes) = filled(&volume, name);
        let (file, other) = (open(&path), open(&path));
        let shared = libc::MAP_SHARED;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let map = Mapping::new(file.as_raw_fd().into(), bytes.len(), protection, shared);
        let map = map.expect("it maps");
        for round in 0..20 {
            assert_eq!(plain_ioctl(&file, START), Ok(0));
            // Some of it has gone to the server, some has not.
            file.write_all_at(&[7; 9000], 100).expect("it is written");
            if round % 2 == 0 {
                file.set_len(50_000).expect("it grows");
                other.write_all_at(b"end", 60_000).expect("others join");
            } else {
                file.set_len(10).expect("it shrinks");
                file.set_len(9000).expect("it grows");
            }
            map.set(0, 9);
            assert_eq!(read(&path)[0], 9, "there is no isolation");
            assert_eq!(plain_ioctl(&file, number), Ok(0));
            assert_eq!(file.metadata().expect("it is open").len(), bytes.len() as u64);
            assert!(read(&path) == bytes, "{name}, round {round}");
            assert_eq!(map.byte(0), bytes[0]);
            assert_eq!(map.byte(12_999), bytes[12_999]);
        }
        // A plain file again, with the right end.
        let mut appending = OpenOptions::new().append(true).open(&path).expect("it opens");
        std::io::Write::write_all(&mut appending, b"tail").expect("it is written");
        assert_eq!(&read(&path)[bytes.len()..], b"tail");
    }
}

#[test]
fn the_handle_that_began_takes_its_changes_along() {
    let volume = Ashlar::create("atomic-began");
    let (path, bytes) = filled(&volume, "file");
    let other = open(&path);
    for round in 0..50 {
        let file = open(&path);
        assert_eq!(plain_ioctl(&file, START), Ok(0));
        file.write_all_at(&pattern(9, 30_000), 0).expect("it is written");
        drop(file);
        // An open that follows sees it settled, however soon.
        assert!(read(&path) == bytes, "round {round}");
        assert_eq!(other.metadata().expect("it is open").len(), bytes.len() as u64);
    }
}

#[test]
fn the_last_close_does_what_attribute_and_option_say() {
    let mut volume = Ashlar::create("atomic-close");
    let (path, bytes) = filled(&volume, "file");
    assert_eq!(set_atomic(&path, 1), Ok(0));
    for round in 0..100 {
        let (file, second) = (open(&path), open(&path));
        file.write_all_at(&pattern(3, 5000 + 100 * round), 4000).expect("it is written");
        drop(file);
        assert!(read(&path) != bytes, "another handle holds the changes");
        drop(second);
        assert!(read(&path) == bytes, "round {round}: discarded");
        assert_eq!(fs::metadata(&path).expect("it is there").len(), bytes.len() as u64);
    }
    assert_eq!(set_atomic(&path, 3), Ok(0));
    open(&path).write_all_at(b"kept", 0).expect("it is written");
    assert_eq!(&read(&path)[..4], b"kept");
    // chattr changes its own flags, and leaves these.
    script(volume.path(), "chattr +d file");
    let mut bits = [0; 4];
    assert_eq!(ioctl(&open(&path), GET_ATOMIC, &mut bits), Ok(0));
    assert_eq!(u32::from_ne_bytes(bits), 3);
    assert_eq!(set_atomic(&path, 2), Err(libc::EINVAL));
    assert_eq!(set_atomic(&path, 0), Ok(0));
    for (options, kept) in [("atomic", false), ("atomic=discard", false), ("atomic=commit", true)] {
        volume.unmount();
        volume.set_options(options);
        volume.mount();
        let old = read(&path);
        let new = pattern(options.len() as u8, 70_000);
        fs::write(&path, &new).expect("it is written");
        assert!(read(&path) == if kept { new } else { old }, "{options}");
    }
}

#[test]
fn only_syncs_of_the_file_commit() {
    let mut volume = Ashlar::create_with("atomic-sync", "atomic");
    let (path, bytes) = filled(&volume, "file");
    let half = |volume: &Ashlar| {
        let file = open(&path);
        file.write_all_at(b"half", 0).expect("it is written");
        // Others make their own work durable meanwhile.
        File::open(volume.path()).and_then(|folder| folder.sync_all()).expect("it syncs");
        let other = open(&volume.path().join("other"));
        other.write_all_at(b"x", 0).and_then(|()| other.sync_all()).expect("it syncs");
        script(volume.path(), "sync -f .; sync");
        file
    };
    let file = half(&volume);
    crash(&mut volume);
    assert!(read(&path) == bytes, "nobody synced the file");
    drop(file);
    let by_sync: [(&str, fn(&File)); 4] = [
        ("fsync", |file| file.sync_all().expect("it syncs")),
        ("fdatasync", |file| file.sync_data().expect("it syncs")),
        ("commit", |file| assert_eq!(plain_ioctl(file, COMMIT), Ok(0))),
        ("msync", |file| {
            let fd = file.as_raw_fd().into();
            let map = Mapping::new(fd, 4096, libc::PROT_WRITE, libc::MAP_SHARED).expect("it maps");
            map.set(3, b'm');
            assert_eq!(map.sync(libc::MS_SYNC), Ok(0));
        }),
    ];
    for (name, sync) in by_sync {
        let file = half(&volume);
        sync(&file);
        crash(&mut volume);
        let expected = if name == "msync" { b"halm" } else { b"half" };
        assert_eq!(&read(&path)[..4], expected, "{name}");
        open(&path).write_all_at(&bytes, 0).expect("it is written");
    }
    let file = OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(&path);
    file.expect("it opens").write_all_at(&pattern(5, 20_000), 2).expect("it is written");
    crash(&mut volume);
    assert!(read(&path)[2..] == pattern(5, 20_000), "each write is a commit");
}

#[test]
fn files_are_committed_together() {
    let mut volume = Ashlar::create_with("atomic-syncv", "atomic");
    let names: Vec<PathBuf> = (0..5).map(|n| volume.path().join(format!("f{n}"))).collect();
    let files: Vec<File> = names.iter().map(|path| open(path)).collect();
    for (n, file) in files.iter().enumerate() {
        file.write_all_at(&pattern(n as u8, 9000 * (n + 1)), 0).expect("it is written");
    }
    let all: Vec<&File> = files.iter().chain(&files).collect();
    assert_eq!(syncv(&all), Ok(0));
    files[0].write_all_at(b"not committed", 0).expect("it is written");
    crash(&mut volume);
    for (n, path) in names.iter().enumerate() {
        assert!(read(path) == pattern(n as u8, 9000 * (n + 1)), "f{n}");
    }
    let file = open(&names[0]);
    assert_eq!(syncv_tokens(&file, &[]), Err(libc::EINVAL));
    assert_eq!(syncv_tokens(&file, &[[9; 8]]), Err(libc::EBADF), "nobody guesses a token");
    assert_eq!(syncv(&[&file, &File::open(&names[1]).expect("it opens")]), Err(libc::EINVAL));
    let mut many = vec![0; SYNCV_BYTES];
    many[..4].copy_from_slice(&1025u32.to_ne_bytes());
    assert_eq!(ioctl(&file, SYNCV, &mut many), Err(libc::E2BIG));
    let mut token = [0; 8];
    let closed = open(&names[1]);
    assert_eq!(ioctl(&closed, GET_TOKEN, &mut token), Ok(0));
    drop(closed);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(syncv_tokens(&file, &[token]), Err(libc::EBADF), "it ended with its handle");
}

#[test]
fn changes_that_found_no_room_are_not_committed_in_part() {
    let volume = Ashlar::create_sized("atomic-full", 64 << 20, "");
    let (path, bytes) = filled(&volume, "file");
    assert_eq!(set_atomic(&path, 3), Ok(0));
    let file = open(&path);
    file.write_all_at(b"half", 0).expect("it is written");
    let whole = pattern(2, 1 << 20);
    let written = (0..100u64).try_for_each(|n| file.write_all_at(&whole, n << 20));
    assert!(file.sync_all().is_err() || written.is_err());
    assert!(file.sync_all().is_err(), "a second try would commit what is left");
    drop(file);
    assert!(read(&path) == bytes, "given up, although the last close would have committed");
    let file = open(&path);
    file.write_all_at(b"well", 0).and_then(|()| file.sync_all()).expect("there is room again");
    assert_eq!(&read(&path)[..4], b"well");
}

#[test]
fn commands_switch_and_show() {
    let mut volume = Ashlar::create("atomic-command");
    let (path, _) = filled(&volume, "file");
    let folder = volume.path().join("folder");
    fs::create_dir(&folder).expect("a new folder can be made");
    let ashlar = |words: &[&str], places: &[&Path]| {
        run_ok(Command::new(ashlar_command()).args(words).args(places))
    };
    ashlar(&["atomic", "on"], &[&path]);
    ashlar(&["atomic", "on", "--close", "commit"], &[&folder]);
    let inherits = folder.join("new");
    fs::write(&inherits, "kept").expect("it is written");
    let shown = ashlar(&["atomic"], &[&path, &folder, &inherits]);
    let words: Vec<&str> = shown.lines().map(|line| line[..20].trim_end()).collect();
    assert_eq!(words, ["on, close discards", "on, close commits", "on, close commits"]);
    let info = ashlar(&["ioinfo", "--json"], &[&path]);
    assert!(info.contains("\"alignment_bytes\": 4096") && info.contains("\"max_files\": 1024"));
    assert!(ashlar(&["ioinfo"], &[&path]).contains("1024 files"));
    let mut raw = [0; 128];
    assert_eq!(ioctl(&open(&path), IO_INFO, &mut raw), Ok(0));
    assert_eq!((raw[0], &raw[2..4]), (7, &4096u16.to_ne_bytes()[..]));
    let elsewhere = run(Command::new(ashlar_command()).args(["atomic", "on", "/etc/passwd"]));
    assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("not on a mounted volume"));
    volume.unmount();
    let place = format!("{}:/file", volume.image().display());
    ashlar(&["atomic", "off", &place], &[]);
    assert!(ashlar(&["atomic", &place], &[]).starts_with("off"));
    volume.mount();
    assert!(ashlar(&["atomic"], &[&path]).starts_with("off"));
}
