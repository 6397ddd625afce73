//! open(2): flags, modes, kinds of files, names that are too long or go round in circles.

use ashlar_tests::rows;
use ashlar_tests::table::Table;
use libc::{
    O_APPEND, O_CREAT, O_DIRECT, O_DIRECTORY, O_DSYNC, O_EXCL, O_NOATIME, O_NOFOLLOW, O_NONBLOCK,
    O_PATH, O_RDONLY, O_RDWR, O_SYNC, O_TMPFILE, O_TRUNC, O_WRONLY,
};

/// Kinds of targets for the matrix of flags.
const KINDS: [&str; 8] =
    ["none", "file", "dir", "link_file", "link_dir", "link_none", "fifo", "loop"];

/// Flags for the matrix.
const FLAGS: [(&str, i32); 17] = [
    ("rdonly", O_RDONLY),
    ("wronly", O_WRONLY),
    ("rdwr", O_RDWR),
    ("creat", O_CREAT | O_RDWR),
    ("creat_ro", O_CREAT),
    ("excl", O_CREAT | O_EXCL | O_RDWR),
    ("trunc", O_TRUNC | O_WRONLY),
    ("trunc_ro", O_TRUNC),
    ("creat_trunc", O_CREAT | O_TRUNC | O_RDWR),
    ("directory", O_DIRECTORY),
    ("directory_rw", O_DIRECTORY | O_RDWR),
    ("directory_creat", O_DIRECTORY | O_CREAT),
    ("nofollow", O_NOFOLLOW),
    ("nofollow_creat", O_NOFOLLOW | O_CREAT | O_WRONLY),
    ("path", O_PATH),
    ("path_nofollow", O_PATH | O_NOFOLLOW),
    ("append", O_APPEND | O_WRONLY),
];

/// All rows.
pub(crate) fn rows(t: &mut Table) {
    for kind in KINDS {
        for (name, flags) in FLAGS {
            t.row(
                format!("open_{kind}_{name}"),
                None,
                Box::new(move |s| {
                    match kind {
                        "file" => s.file("x", b"data"),
                        "dir" => s.dir("x"),
                        "link_file" => (s.file("t", b"data"), s.symlink("t", "x")).1,
                        "link_dir" => (s.dir("t"), s.symlink("t", "x")).1,
                        "link_none" => s.symlink("t", "x"),
                        "fifo" => s.mkfifo("x", 0o644),
                        "loop" => (s.symlink("y", "x"), s.symlink("x", "y")).1,
                        _ => {}
                    }
                    let fd = s.open("x", flags | O_NONBLOCK, 0o640);
                    s.fstat(&fd);
                    s.stat("x");
                    s.stat("t");
                }),
            );
        }
    }
    names(t);
    modes(t);
    unnamed(t);
    special(t);
}

fn names(t: &mut Table) {
    for length in [1, 254, 255, 256, 300, 4095, 4096, 5000] {
        let name = "n".repeat(length);
        t.row(
            format!("name_of_{length}_bytes"),
            None,
            Box::new(move |s| {
                s.file(&name, b"x");
                s.stat(&name);
                s.mkdir(&name, 0o755);
                s.unlink(&name);
                s.mkdir(&name, 0o755);
                s.symlink("target", &name);
                s.rename("absent", &name);
                s.readlink(&name);
                s.list(".");
            }),
        );
    }
    for length in [4000, 4090, 4094, 4095, 4096] {
        let path = "a/".repeat(length / 2) + if length % 2 == 1 { "b" } else { "" };
        t.row(
            format!("path_of_{length}_bytes"),
            None,
            Box::new(move |s| {
                s.stat(&path);
                s.dir("a");
                s.symlink(".", "a/a");
                s.stat(&path);
            }),
        );
    }
    rows! { t, s,
        "empty_name" { s.ro(""); s.mkdir("", 0o755); s.unlink(""); s.rmdir(""); s.stat("") }
        "dot_names" { s.mkdir(".", 0o755); s.mkdir("..", 0o755); s.rmdir("."); s.unlink(".");
            s.rmdir(".."); s.file("..", b""); s.dir("d"); s.rmdir("d/."); s.rmdir("d/..");
            s.unlink("d/."); s.rename("d/.", "e"); s.rename("d", "d/."); s.list(".") }
        "names_of_any_bytes" { s.file("a b\tc\n", b"1"); s.file("\u{fc}\u{1F600}", b"2");
            s.file("-rf", b"3"); s.file("\\", b"4"); s.file("*?[", b"5"); s.list(".") }
        "slash_behind_file" { s.file("f", b""); s.ro("f/"); s.stat("f/"); s.unlink("f/");
            s.file("g/", b""); s.mkdir("d/", 0o755); s.stat("d/"); s.rename("f", "g/");
            s.rename("d", "e/"); s.link("f", "h/"); s.symlink("f", "l/"); s.rmdir("e/");
            s.list(".") }
        "file_as_directory" { s.file("f", b""); s.ro("f/x"); s.file("f/x", b""); s.stat("f/x");
            s.mkdir("f/x", 0o755); s.unlink("f/x"); s.rename("f/x", "g"); s.link("f/x", "g");
            s.stat("f/."); s.stat("f/..") }
        "absent_directory" { s.ro("d/x"); s.file("d/x", b""); s.mkdir("d/x", 0o755);
            s.unlink("d/x"); s.rmdir("d/x"); s.symlink("t", "d/x"); s.link("d/x", "y") }
        "symlink_chain_of_40" { s.file("l0", b"end");
            for i in 0..41 { s.symlink(&format!("l{i}"), &format!("l{}", i + 1)); }
            s.ro("l39"); s.ro("l40"); s.ro("l41"); s.stat("l41") }
        "symlink_to_itself" { s.symlink("x", "x"); s.ro("x"); s.ro("x/y"); s.file("x", b"");
            s.mkdir("x", 0o755); s.stat("x"); s.unlink("x") }
        "symlink_with_slash_to_dir" { s.dir("d"); s.symlink("d", "l"); s.stat("l/"); s.rmdir("l");
            s.rmdir("l/"); s.unlink("l/"); s.ro("l/"); s.list(".") }
    }
}

fn modes(t: &mut Table) {
    for mask in [0o000, 0o022, 0o077, 0o777] {
        t.row(
            format!("umask_{mask:o}"),
            None,
            Box::new(move |s| {
                s.umask(mask);
                s.open("f", O_CREAT | O_WRONLY, 0o666);
                s.open("g", O_CREAT | O_WRONLY, 0o7777);
                s.mkdir("d", 0o7777);
                s.mknod("n", libc::S_IFREG | 0o6755, 0);
                s.mkfifo("p", 0o777);
                s.symlink("x", "l");
                for name in ["f", "g", "d", "n", "p", "l"] {
                    s.stat(name);
                }
            }),
        );
    }
    rows! { t, s,
        "mode_zero_is_open_for_its_creator" { let f = s.open("f", O_CREAT | O_RDWR, 0);
            s.write(&f, b"abc"); s.pread(&f, 8, 0); s.stat("f") }
        "excl_without_creat" { s.file("f", b"x"); s.open("f", O_EXCL | O_RDWR, 0); s.stat("f") }
        "bad_access_mode" { s.file("f", b"x"); let f = s.open("f", 3, 0); s.read(&f, 1);
            s.write(&f, b"y") }
    }
}

fn unnamed(t: &mut Table) {
    rows! { t, s,
        "tmpfile_then_name" { let f = s.open(".", O_TMPFILE | O_RDWR, 0o640); s.fstat(&f);
            s.write(&f, b"hello"); s.list("."); s.link_fd(&f, "named"); s.fstat(&f);
            s.stat("named"); s.list("."); s.link_fd(&f, "named"); s.link_fd(&f, "again");
            s.stat("again") }
        "tmpfile_excl_gets_no_name" { let f = s.open(".", O_TMPFILE | O_RDWR | O_EXCL, 0o600);
            s.write(&f, b"x"); s.link_fd(&f, "named"); s.fstat(&f); s.list(".") }
        "tmpfile_read_only" { s.open(".", O_TMPFILE, 0o600) }
        "tmpfile_in_file" { s.file("f", b""); s.open("f", O_TMPFILE | O_RDWR, 0o600) }
        "tmpfile_in_absent" { s.open("d", O_TMPFILE | O_RDWR, 0o600) }
        "tmpfile_links_come_back_from_zero" { let f = s.open(".", O_TMPFILE | O_RDWR, 0o600);
            s.link_fd(&f, "a"); s.unlink("a"); s.link_fd(&f, "b"); s.list("."); s.fstat(&f) }
        "tmpfile_umask_and_setgid_dir" { s.mkdir("d", 0o755); s.chown("d", -1, 77);
            s.chmod("d", 0o2775); let f = s.open("d", O_TMPFILE | O_RDWR, 0o666); s.fstat(&f) }
        "unlinked_gets_no_name_back" { s.file("f", b"x"); let f = s.rw("f"); s.unlink("f");
            s.link_fd(&f, "g"); s.fstat(&f); s.list(".") }
    }
}

fn special(t: &mut Table) {
    rows! { t, s,
        "write_on_read_only_fd" { s.file("f", b"x"); let f = s.ro("f"); s.write(&f, b"y");
            s.ftruncate(&f, 0); s.fallocate(&f, 0, 0, 10); s.stat("f") }
        "read_on_write_only_fd" { s.file("f", b"x"); let f = s.open("f", O_WRONLY, 0);
            s.read(&f, 1); s.pread(&f, 1, 0) }
        "path_fd_does_little" { s.file("f", b"x"); let f = s.open("f", O_PATH, 0); s.read(&f, 1);
            s.fstat(&f); s.fchmod(&f, 0o600); s.fsync(&f) }
        "sync_flags" { for (n, flag) in [("s", O_SYNC), ("d", O_DSYNC)] {
            let f = s.open(n, O_CREAT | O_RDWR | flag, 0o644); s.write(&f, b"abc");
            s.fcntl(&f, libc::F_GETFL, 0); s.pread(&f, 9, 0); } }
        "noatime_own_file" { s.file("f", b"x"); s.open("f", O_NOATIME, 0) }
        "direct_open" { s.file("f", b"x"); s.open("f", O_DIRECT | O_RDWR, 0) }
        "append_then_seek" { s.file("f", b"123"); let f = s.open("f", O_APPEND | O_RDWR, 0);
            s.seek(&f, 0, libc::SEEK_SET); s.write(&f, b"45"); s.seek(&f, 0, libc::SEEK_CUR);
            s.pwrite(&f, b"6", 0); s.pread(&f, 99, 0) }
        "append_by_fcntl" { s.file("f", b"123"); let f = s.rw("f"); s.fcntl(&f, libc::F_SETFL,
            O_APPEND.into()); s.write(&f, b"4"); s.fcntl(&f, libc::F_SETFL, 0); s.write(&f, b"5");
            s.pread(&f, 99, 0) }
        "two_appenders" { s.file("f", b""); let a = s.open("f", O_APPEND | O_RDWR, 0);
            let b = s.open("f", O_APPEND | O_RDWR, 0); s.write(&a, b"a1"); s.write(&b, b"b1");
            s.write(&a, b"a2"); s.pread(&b, 99, 0); s.stat("f") }
        "trunc_keeps_inode" { s.file("f", b"12345"); let f = s.rw("f");
            s.open("f", O_TRUNC | O_WRONLY, 0); s.fstat(&f); s.pread(&f, 9, 0) }
        "trunc_changes_times" { s.file("f", b"12345");
            s.times_changed("f", || drop(s.open("f", O_TRUNC | O_WRONLY, 0)));
            s.times_changed("f", || drop(s.open("f", O_TRUNC | O_WRONLY, 0))) }
        "directory_read_write" { s.dir("d"); let d = s.ro("d"); s.read(&d, 10);
            s.pread(&d, 10, 0); s.write(&d, b"x"); s.ftruncate(&d, 0); s.fallocate(&d, 0, 0, 1);
            s.fsync(&d); s.fdatasync(&d) }
        "openat_below_fd" { s.dir("d"); let d = s.ro("d");
            s.openat(&d, "f", O_CREAT | O_RDWR, 0o644);
            s.list("d"); s.rmdir("d"); s.unlink("d/f"); s.rmdir("d");
            s.openat(&d, "g", O_CREAT | O_RDWR, 0o644); s.openat(&d, ".", O_RDONLY, 0);
            s.openat(&d, "..", O_RDONLY, 0) }
        "fifo_without_reader" { s.mkfifo("p", 0o644); s.open("p", O_WRONLY | O_NONBLOCK, 0);
            let r = s.open("p", O_RDONLY | O_NONBLOCK, 0);
            let w = s.open("p", O_WRONLY | O_NONBLOCK, 0);
            s.write(&w, b"through"); s.read(&r, 20); s.seek(&r, 0, 0); s.fstat(&r) }
        "device_nodes_work" { s.mknod("null", libc::S_IFCHR | 0o666, libc::makedev(1, 3));
            let n = s.rw("null"); s.write(&n, b"gone"); s.read(&n, 4); s.stat("null");
            s.mknod("zero", libc::S_IFCHR | 0o666, libc::makedev(1, 5)); let z = s.ro("zero");
            s.read(&z, 4); s.mknod("none", libc::S_IFCHR | 0o666, libc::makedev(500, 5000));
            s.ro("none"); s.stat("none");
            s.mknod("blk", libc::S_IFBLK | 0o600, libc::makedev(250, 200_000)); s.stat("blk") }
        "socket_node" { s.mknod("sock", libc::S_IFSOCK | 0o755, 0); s.stat("sock"); s.rw("sock") }
        "unix_socket_binds_once" {
            s.sh("python3 -c 'import socket; s=socket.socket(socket.AF_UNIX); s.bind(\"k\")' 2>&1 \
            || true");
            s.stat("k") }
        "mknod_of_other_kinds" { s.mknod("d", libc::S_IFDIR | 0o755, 0);
            s.mknod("l", libc::S_IFLNK | 0o755, 0); s.mknod("r", 0o644, 0);
            s.mknod("bad", 0o030_644, 0);
            s.list(".") }
        "too_many_flags" { s.file("f", b""); s.open("f", O_TMPFILE | O_CREAT | O_RDWR, 0o600);
            s.open("f", O_DIRECTORY | O_CREAT | O_EXCL, 0o600); s.list(".") }
    }
}
