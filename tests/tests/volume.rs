//! Goal: a volume as a whole behaves: it fills and empties without leaking, lives on after being
//! unmounted and killed, refuses to be mounted twice, and read-only means not one byte.
//!
//! Method: small volumes through the `ashlar` command; every one is checked when it is done.

use ashlar_tests::mounts::{Ashlar, ashlar_command};
use ashlar_tests::programs::{run, run_ok, script};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const SMALL: u64 = 64 << 20;

/// Makes all names durable. syncfs(2) would report every failed write that nobody has seen yet,
/// and does not reach servers of image files.
fn sync_names(mount: &Path) {
    File::open(mount).and_then(|root| root.sync_all()).expect("the root can be synced");
}

/// Free blocks as statfs(2) says.
fn free_blocks(mount: &Path) -> u64 {
    // The kernel writes back what it has; an earlier ENOSPC may be reported here.
    run(Command::new("sync").arg("-f").arg(mount));
    sync_names(mount);
    let text = run_ok(Command::new("stat").args(["-f", "-c", "%f"]).arg(mount));
    text.trim().parse().expect("stat prints a number")
}

/// Waits until `before` blocks are free again, but for a few that trees may keep.
///
/// Closed files leave the kernel, and unnamed ones the volume, a little later.
fn wait_for_space(mount: &Path, before: u64) {
    let start = Instant::now();
    loop {
        let free = free_blocks(mount);
        if free + 64 >= before {
            return;
        }
        let patience = Duration::from_secs(10);
        assert!(start.elapsed() < patience, "{free} blocks free, {before} before");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Compares lists line by line.
fn assert_same_lines(one: &str, other: &str, when: &str) {
    let pairs = one.lines().zip(other.lines());
    let different: Vec<_> = pairs.filter(|(one, other)| one != other).collect();
    assert!(one == other, "{when}: {different:#?}");
}

/// Writes until the volume is full; returns the bytes written.
///
/// The kernel takes bytes into its cache without asking the server, so a full volume may show
/// only when they are written back: sync now and then.
fn fill(path: &Path, piece: usize) -> u64 {
    let mut file = File::create(path).expect("a new file can be made");
    let bytes = vec![0xa5; piece];
    let mut written = 0;
    loop {
        let written_back = file.write_all(&bytes).and_then(|()| file.sync_data());
        match written_back {
            Ok(()) => written += piece as u64,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
                return written;
            }
        }
    }
}

#[test]
fn full_volume_can_be_emptied_and_leaks_nothing() {
    let volume = Ashlar::create_sized("full", SMALL, "");
    let mount = volume.path();
    // The first folder and file may take nodes that stay.
    fs::create_dir(mount.join("keep")).expect("a new folder can be made");
    fs::write(mount.join("keep/x"), "x").expect("there is space");
    fs::remove_file(mount.join("keep/x")).expect("it is there");
    let before = free_blocks(mount);
    for round in 0..3 {
        let big = mount.join(format!("big{round}"));
        let written = fill(&big, 700_000 * (round + 1));
        assert!(written > SMALL / 2, "{written} bytes fit");
        let full = OpenOptions::new().write(true).open(&big).expect("it is there");
        full.write_all_at(&[1; 4096], 8192).expect("an overwrite needs no space");
        full.sync_all().expect("what was accepted can be synced");
        // Names still go, and so does the space.
        fs::rename(&big, mount.join("other")).expect("a rename needs little");
        fs::remove_file(mount.join("other")).expect("a full volume can unlink");
        drop(full);
        wait_for_space(mount, before);
    }
}

#[test]
fn volume_full_of_small_files_can_be_emptied() {
    let mut volume = Ashlar::create_sized("small-files", 32 << 20, "");
    let mount = volume.path();
    let before = free_blocks(mount);
    let mut count = 0;
    let error = loop {
        let path = mount.join(format!("a-file-with-a-rather-long-name-{count:08}"));
        match File::create(&path).and_then(|file| file.write_all_at(&[7; 3000], 0)) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
    assert!(count > 2000, "{count} files fit");
    script(mount, "find . -type f -delete; ls -A | wc -l | grep -qx 0");
    // Nodes that the trees no longer need are free after a checkpoint.
    volume.unmount();
    volume.mount();
    wait_for_space(volume.path(), before);
}

#[test]
fn sparse_and_allocated_files_give_their_space_back() {
    let volume = Ashlar::create_sized("sparse", SMALL, "");
    let mount = volume.path();
    let before = free_blocks(mount);
    script(
        mount,
        r#"
        truncate -s 1T sparse; fallocate -l 20M allocated; touch behind
        fallocate -n -l 8M behind
        for at in $(seq 0 64 1000); do printf x | dd of=sparse bs=1 seek=${at}M conv=notrunc \
            status=none; done
        fallocate -p -o 4096 -l 8M allocated; truncate -s 5M allocated
        fallocate -l 1G too-much 2> /dev/null && exit 1
        sync -f .; rm sparse allocated behind; rm -f too-much
        "#,
    );
    wait_for_space(mount, before);
}

#[test]
fn everything_is_there_after_a_remount() {
    let mut volume = Ashlar::create("remount");
    let list = "find . -mindepth 1 -printf '%p %y %m %n %U %G %s %T@ %l\n' | sort; \
                getfattr -R -d -m - . 2> /dev/null; getfacl -R -n . ; find . -type f | sort | \
                xargs cksum; lsattr -R . 2> /dev/null | grep -v '^$'";
    script(
        volume.path(),
        r#"
        mkdir -p a/b/c; echo hello > a/f; ln a/f a/b/g; ln -s ../f a/b/l; mkfifo p
        mknod n c 1 3; head -c 3000 /dev/urandom > inline; head -c 3M /dev/urandom > big
        truncate -s 10M hole; echo x >> hole; touch -d '1969-07-20 20:17:40.5' old
        touch -d '2300-01-01' new; chown 1234:5678 big; chmod 4750 big; mkdir -m 1777 sticky
        setfattr -n user.short -v value inline; 
        setfattr -n user.long -v $(seq 2000 | tr -d '\n') big
        setfacl -m u:1000:rw,g:77:r a/f; setfacl -d -m u:1000:rwx a/b; chattr +a old; chattr +d big
        for i in $(seq 500); do echo $i > a/b/c/file-$i; done; rm a/b/c/file-*7
        "#,
    );
    let before = script(volume.path(), list);
    volume.unmount();
    volume.check();
    volume.mount();
    assert_same_lines(&script(volume.path(), list), &before, "after a remount");
    volume.kill();
    volume.mount();
    assert_same_lines(&script(volume.path(), list), &before, "after a kill");
    script(volume.path(), "chattr -a old; rm -rf ./*");
}

#[test]
fn read_only_mount_changes_not_one_byte() {
    let mut volume = Ashlar::create_sized("read-only", SMALL, "");
    script(volume.path(), "mkdir d; echo content > d/f; ln -s f d/l");
    // An unclean volume: its log is replayed in memory.
    run_ok(Command::new("sync").arg("-f").arg(volume.path()));
    sync_names(volume.path());
    volume.kill();
    let before = fs::read(volume.image()).expect("an image can be read");
    volume.set_options("ro");
    volume.mount();
    let mount = volume.path();
    assert_eq!(fs::read_to_string(mount.join("d/l")).expect("it is there"), "content\n");
    let errno = |result: std::io::Result<()>| result.expect_err("read-only").raw_os_error();
    assert_eq!(errno(fs::write(mount.join("d/f"), "x")), Some(libc::EROFS));
    assert_eq!(errno(fs::write(mount.join("new"), "x")), Some(libc::EROFS));
    assert_eq!(errno(fs::create_dir(mount.join("new"))), Some(libc::EROFS));
    assert_eq!(errno(fs::remove_file(mount.join("d/f"))), Some(libc::EROFS));
    assert_eq!(errno(fs::rename(mount.join("d"), mount.join("e"))), Some(libc::EROFS));
    let mode = fs::Permissions::from_mode(0o600);
    assert_eq!(errno(fs::set_permissions(mount.join("d/f"), mode)), Some(libc::EROFS));
    volume.unmount();
    assert!(fs::read(volume.image()).expect("an image can be read") == before, "bytes changed");
    volume.set_options("");
    volume.mount();
}

#[test]
fn image_in_use_is_refused() {
    let volume = Ashlar::create_sized("in-use", SMALL, "");
    let elsewhere = tempfile::tempdir().expect("the temporary folder is writable");
    let ashlar = || Command::new(ashlar_command());
    let second = run(ashlar().arg("mount").arg(volume.image()).arg(elsewhere.path()));
    assert!(!second.status.success(), "mounted twice");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another process holds it"), "{said}");
    let mkfs = run(ashlar().args(["mkfs", "--force", "--size", "64M"]).arg(volume.image()));
    assert!(!mkfs.status.success(), "formatted while mounted");
}

#[test]
fn unnamed_files_give_their_space_back_after_a_kill() {
    let mut volume = Ashlar::create_sized("orphans", SMALL, "");
    let before = free_blocks(volume.path());
    let open: Vec<File> = (0..5)
        .map(|number| {
            let path = volume.path().join(format!("f{number}"));
            let file = File::create(&path).expect("a new file can be made");
            file.write_all_at(&[1; 1 << 20], 0).expect("there is space");
            fs::remove_file(&path).expect("it is there");
            file.sync_all().expect("an unnamed file can be synced");
            file
        })
        .collect();
    assert!(free_blocks(volume.path()) + 1024 < before);
    volume.kill();
    drop(open);
    volume.mount();
    // They go in the background, so that mounting does not wait for them.
    wait_for_space(volume.path(), before);
}

#[test]
fn stop_signal_unmounts_and_keeps_what_was_written() {
    let mut volume = Ashlar::create_sized("signal", SMALL, "");
    fs::write(volume.path().join("f"), vec![3; 1 << 20]).expect("there is space");
    volume.stop(libc::SIGTERM);
    volume.check();
    volume.mount();
    let bytes = fs::read(volume.path().join("f")).expect("it is there");
    assert!(bytes == vec![3; 1 << 20], "the file differs");
}

#[test]
fn access_times_follow_the_mount_option() {
    let mut volume = Ashlar::create_sized("atime", SMALL, "noatime");
    let path = volume.path().join("f");
    fs::write(&path, "x").expect("there is space");
    let read_changes = |path: &Path| {
        run_ok(Command::new("touch").args(["-a", "-d", "2001-01-01"]).arg(path));
        let before = fs::metadata(path).expect("it is there").atime();
        fs::read(path).expect("it is there");
        fs::metadata(path).expect("it is there").atime() != before
    };
    assert!(!read_changes(&path), "noatime");
    for (options, changes) in [("strictatime", true), ("relatime", true), ("", true)] {
        volume.unmount();
        volume.set_options(options);
        volume.mount();
        assert_eq!(read_changes(&path), changes, "{options}");
    }
}

#[test]
fn large_directory_lists_each_name_once() {
    let volume = Ashlar::create("large-directory");
    let folder = volume.path().join("d");
    fs::create_dir(&folder).expect("a new folder can be made");
    let count = 20_000;
    for number in 0..count {
        File::create(folder.join(format!("{number}"))).expect("a new file can be made");
    }
    let names = || -> Vec<u32> {
        let entries = fs::read_dir(&folder).expect("a folder can be listed");
        let mut names: Vec<u32> = entries
            .map(|entry| entry.expect("a folder can be listed").file_name())
            .map(|name| name.to_string_lossy().parse().expect("names are numbers"))
            .collect();
        names.sort_unstable();
        names
    };
    assert!(names() == (0..count).collect::<Vec<_>>());
    for number in (0..count).filter(|number| number % 3 != 0) {
        fs::remove_file(folder.join(format!("{number}"))).expect("it is there");
    }
    assert!(names() == (0..count).step_by(3).collect::<Vec<_>>());
}
