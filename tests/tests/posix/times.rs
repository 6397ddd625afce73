//! Which call changes which time, and what utimensat(2) accepts.

use ashlar_tests::rows;
use ashlar_tests::stage::Stage;
use ashlar_tests::table::Table;
use libc::{AT_SYMLINK_NOFOLLOW, O_CREAT, O_RDWR, O_TRUNC, UTIME_NOW, UTIME_OMIT};

/// An act on the file `f` or in the directory `d`, by name.
type Act = (&'static str, fn(&Stage));

const ACTS: [Act; 33] = [
    ("read", |s| s.read(&s.ro("d/f"), 4)),
    ("write", |s| s.write(&s.rw("d/f"), b"x")),
    ("write_nothing", |s| s.write(&s.rw("d/f"), b"")),
    ("append", |s| s.pwrite(&s.rw("d/f"), b"x", 500)),
    ("truncate_shorter", |s| s.truncate("d/f", 1)),
    ("truncate_same", |s| s.truncate("d/f", 4)),
    ("truncate_longer", |s| s.truncate("d/f", 9)),
    ("ftruncate_same", |s| s.ftruncate(&s.rw("d/f"), 4)),
    ("open_trunc", |s| drop(s.open("d/f", O_RDWR | O_TRUNC, 0))),
    ("open_close", |s| drop(s.rw("d/f"))),
    ("chmod", |s| s.chmod("d/f", 0o600)),
    ("chmod_same", |s| s.chmod("d/f", 0o644)),
    ("chown", |s| s.chown("d/f", 3, 4)),
    ("chown_nothing", |s| s.chown("d/f", -1, -1)),
    ("link", |s| s.link("d/f", "d/g")),
    ("unlink", |s| s.unlink("d/f")),
    ("unlink_second", |s| s.unlink("d/second")),
    ("rename", |s| s.rename("d/f", "d/h")),
    ("rename_same", |s| s.rename("d/f", "d/f")),
    ("create", |s| drop(s.open("d/new", O_CREAT | O_RDWR, 0o600))),
    ("create_existing", |s| drop(s.open("d/f", O_CREAT | O_RDWR, 0o600))),
    ("mkdir", |s| s.mkdir("d/sub", 0o755)),
    ("rmdir", |s| s.rmdir("d/empty")),
    ("symlink", |s| s.symlink("x", "d/l")),
    ("mkfifo", |s| s.mkfifo("d/p", 0o600)),
    ("set_xattr", |s| s.set_xattr("d/f", "user.a", b"1", 0)),
    ("get_xattr", |s| s.get_xattr("d/f", "user.b", 10)),
    ("remove_xattr", |s| s.remove_xattr("d/f", "user.b")),
    ("utimens_now", |s| s.utimens("d/f", (0, UTIME_NOW), (0, UTIME_NOW), 0)),
    ("utimens_omit", |s| s.utimens("d/f", (0, UTIME_OMIT), (0, UTIME_OMIT), 0)),
    ("list", |s| s.list("d")),
    ("stat", |s| s.stat("d/f")),
    ("fsync", |s| s.fsync(&s.rw("d/f"))),
];

/// All rows.
pub(crate) fn rows(t: &mut Table) {
    for (name, act) in ACTS {
        for subject in ["d/f", "d", "d/second"] {
            t.row(
                format!("times_of_{subject}_after_{name}"),
                None,
                Box::new(move |s| {
                    s.dir("d");
                    s.dir("d/empty");
                    s.file("d/f", b"data");
                    s.set_xattr("d/f", "user.b", b"2", 0);
                    s.link("d/f", "d/second");
                    // What is cached is read without asking; writing to a cold page reads it.
                    if name == "read" {
                        s.cold("d/f");
                    }
                    // Access times older than the others, so that relatime lets a read change them.
                    s.utimens("d/f", (1000, 0), (0, UTIME_OMIT), 0);
                    s.utimens("d", (1000, 0), (0, UTIME_OMIT), 0);
                    s.times_changed(subject, || act(s));
                }),
            );
        }
    }
    settings(t);
    relative(t);
}

fn settings(t: &mut Table) {
    const TIMES: [i64; 12] = [
        0,
        1,
        -1,
        -2_147_483_647,
        2_147_483_647,
        2_147_483_648,
        4_294_967_295,
        4_294_967_296,
        1_700_000_000,
        15_032_385_535,
        16_299_260_423,
        -1_000_000_000,
    ];
    for time in TIMES {
        t.row(
            format!("utimens_{time}"),
            None,
            Box::new(move |s| {
                s.file("f", b"x");
                s.utimens("f", (time, 123_456_789), (time, 999_999_999), 0);
                s.times("f");
            }),
        );
    }
    rows! { t, s,
        "utimens_centuries_away" differs "XFS with bigtime ends in the year 2486; Ashlar keeps \
            64-bit seconds" {
            s.file("f", b"x"); s.utimens("f", (1 << 40, 5), (1 << 40, 6), 0); s.times("f") }
        "utimens_at_the_ends_of_xfs" differs "XFS clamps there; Ashlar keeps 64-bit seconds" {
            s.file("f", b"x"); for time in [-2_147_483_648, 16_299_260_425] {
            s.utimens("f", (time, 1), (time, 2), 0); s.times("f"); } }
        "utimens_bad_nanoseconds" { s.file("f", b"x"); for n in [-1, 1_000_000_000, i64::MAX] {
            s.utimens("f", (1, n), (1, 0), 0);
            s.utimens("f", (1, 0), (1, n), 0); } }
        "utimens_one_of_two" { s.file("f", b"x"); s.utimens("f", (7, 7), (8, 8), 0);
            s.utimens("f", (9, 9), (0, UTIME_OMIT), 0);
            s.times("f"); s.utimens("f", (0, UTIME_OMIT), (10, 1), 0); s.times("f") }
        "utimens_of_symlink" { s.file("f", b"x"); s.utimens("f", (5, 5), (6, 6), 0);
            s.symlink("f", "l");
            s.utimens("l", (7, 7), (8, 8), AT_SYMLINK_NOFOLLOW); s.times("l"); s.times("f");
            s.utimens("l", (9, 9), (9, 9), 0);
            s.times("f") }
        "utimens_of_directory_and_fifo" { s.dir("d"); s.mkfifo("p", 0o600); for n in ["d", "p"] {
            s.utimens(n, (7, 1), (8, 2), 0); s.times(n); } }
        "utimens_absent" { s.utimens("none", (1, 0), (1, 0), 0); s.utimens("", (1, 0), (1, 0), 0) }
        "utimens_bad_flags" { s.file("f", b""); s.utimens("f", (1, 0), (1, 0), 0x400_000) }
        "utimens_changes_ctime_only_beside" { s.file("f", b"");
            s.times_changed("f", || s.utimens("f", (1, 1), (1, 1), 0));
            s.times_changed("f", || s.utimens("f", (1, 1), (1, 1), 0)) }
        "set_mtime_survives_sync_and_close" { s.file("f", b"x"); { let f = s.rw("f");
            s.write(&f, b"y"); s.utimens("f", (7, 7), (8, 8), 0);
            s.fsync(&f); s.times("f"); } s.times("f"); s.sh("sync -f f"); s.times("f") }
        "cp_p_and_tar_keep_times" {
            s.sh("touch -d '2001-02-03 04:05:06.789' f; cp -p f g; stat -c %y g | cut -c1-23; tar \
            cf t f; rm f; tar xf t; stat -c %y f | cut -c1-19") }
        "touch_forms" {
            s.sh("touch -d @0 a; touch -d @86400.5 b; touch -r b c; stat -c %Y a b c; stat -c %X \
            a b c") }
        "make_sees_newer" {
            s.sh("echo 1 > a; sleep 0.02; echo 2 > b; [ b -nt a ] && echo newer; [ a -nt b ] || \
            echo older") }
    }
}

fn relative(t: &mut Table) {
    rows! { t, s,
        "read_from_the_cache" differs "the kernel serves it and keeps no access times of FUSE \
            files" {
            s.file("f", b"data"); s.utimens("f", (1000, 0), (0, UTIME_OMIT), 0);
            s.times_changed("f", || s.read(&s.ro("f"), 4)) }
        "read_behind_the_end" differs "the kernel knows the size and does not ask the server" {
            s.file("f", b"data"); s.utimens("f", (1000, 0), (0, UTIME_OMIT), 0);
            s.times_changed("f", || s.pread(&s.ro("f"), 4, 100)) }
        "relatime_second_read_changes_nothing" { s.file("f", b"data"); s.cold("f");
            s.times_changed("f", || s.read(&s.ro("f"), 4)); s.cold("f");
            s.times_changed("f", || s.read(&s.ro("f"), 4)) }
        "relatime_after_write" { s.file("f", b"data"); s.read(&s.ro("f"), 4); s.tick();
            s.write(&s.rw("f"), b"x"); s.cold("f");
            s.times_changed("f", || s.read(&s.ro("f"), 4)) }
        "relatime_after_a_day" { s.file("f", b"data"); s.utimens("f", (1_000_000, 0), (1000, 0), 0);
            s.cold("f"); s.times_changed("f", || s.read(&s.ro("f"), 4)) }
        "noatime_open" { s.file("f", b"data"); s.utimens("f", (1000, 0), (0, UTIME_OMIT), 0);
            s.times_changed("f", || s.read(&s.open("f", libc::O_NOATIME, 0), 4)) }
        "readlink_changes_atime" { s.symlink("x", "l"); s.tick();
            s.utimens("l", (1000, 0), (0, UTIME_OMIT), AT_SYMLINK_NOFOLLOW);
            s.times_changed("l", || s.readlink("l")) }
        "mapped_store_changes_mtime" { s.file("f", &[1; 4096]); s.cold("f"); let f = s.rw("f");
            s.times_changed("f", || {
            let m = s.map(&f, 4096, 3, 1); s.poke(m.as_ref(), 0, b"x");
            s.msync(m.as_ref(), libc::MS_SYNC) }) }
        "mapped_load_changes_atime" { s.file("f", &[1; 4096]);
            s.utimens("f", (1000, 0), (0, UTIME_OMIT), 0); s.cold("f"); let f = s.ro("f");
            s.times_changed("f", || { let m = s.map(&f, 4096, 1, 1); s.peek(m.as_ref(), 0, 2) }) }
        "copy_file_range_times" { s.file("a", b"data"); s.file("b", b"");
            s.utimens("a", (1000, 0), (0, UTIME_OMIT), 0);
            s.times_changed("b", || s.copy(&s.ro("a"), 0, &s.rw("b"), 0, 4)) }
        "truncated_by_open_of_empty" { s.file("f", b"");
            s.times_changed("f", || drop(s.open("f", O_RDWR | O_TRUNC, 0))) }
        "time_of_new_file_is_now" { s.file("f", b""); s.tick(); s.file("g", b"");
            s.sh("[ g -nt f ] && echo later") }
        "new_file_has_one_time" { s.mknod("f", 0o600, 0); let x = s.stat_raw("f");
            s.note("all equal",
            x.is_ok_and(|x| [x.mtime(), x.ctime(), x.btime()] == [x.atime(); 3])) }
    }
}
