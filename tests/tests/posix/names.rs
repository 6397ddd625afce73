//! Making, linking, listing and removing names.

use ashlar_tests::rows;
use ashlar_tests::table::Table;
use libc::{AT_EMPTY_PATH, AT_SYMLINK_FOLLOW, O_DIRECTORY, O_RDONLY, SEEK_CUR, SEEK_SET};

/// All rows.
pub(crate) fn rows(t: &mut Table) {
    removal(t);
    links(t);
    listing(t);
    rows! { t, s,
        "mkdir_twice" { s.dir("d"); s.mkdir("d", 0o700); s.stat("d"); s.stat(".") }
        "mkdir_over_each_kind" { s.file("f", b""); s.symlink("f", "l"); s.symlink("none", "m");
            s.mkfifo("p", 0o600); for n in ["f", "l", "m", "p"] { s.mkdir(n, 0o755); } s.list(".") }
        "directory_nlink_counts_subdirectories" { s.dir("d"); s.stat("d"); s.dir("d/a");
            s.stat("d");
            s.dir("d/b"); s.stat("d"); s.file("d/f", b""); s.stat("d"); s.rmdir("d/a"); s.stat("d");
            s.dir("d/b/c"); s.stat("d"); s.stat("d/b") }
        "symlink_sizes" { for n in [1usize, 2, 59, 60, 255, 1000, 1023, 4096] {
            s.symlink(&"t".repeat(n), &format!("l{n}")); s.stat(&format!("l{n}"));
            s.readlink(&format!("l{n}")); } s.symlink(&"t".repeat(4096), "long");
            s.symlink("", "e");
            s.list(".") }
        "symlink_longer_than_1023" differs "XFS ends at 1023 bytes, Ashlar at 4095" {
            for n in [1024usize, 4095] { s.symlink(&"t".repeat(n), "l"); s.readlink("l");
            s.unlink("l"); } }
        "symlink_over_name" { s.file("f", b""); s.symlink("x", "f"); s.symlink("x", "l");
            s.symlink("y", "l"); s.readlink("l") }
        "readlink_of_others" { s.file("f", b""); s.dir("d"); s.readlink("f"); s.readlink("d");
            s.readlink("none"); s.readlink("f/x") }
        "symlink_relative_resolution" { s.dir("d"); s.file("d/f", b"in"); s.symlink("d/f", "l");
            s.symlink("../d/f", "d/up"); s.symlink("..", "d/out"); let f = s.ro("d/out/l");
            s.read(&f, 9); let g = s.ro("d/up"); s.read(&g, 9) }
        "many_names_same_file" { s.file("f", b"x"); for i in 0..200 {
            s.link("f", &format!("n{i}")); }
            s.stat("f"); s.list("."); for i in 0..199 { s.unlink(&format!("n{i}"));
            } s.stat("n199") }
        "case_matters" { s.file("a", b"1"); s.file("A", b"2"); s.list("."); s.same("a", "A") }
        "names_that_share_beginnings" { for n in ["a", "ab", "abc", "a.", "a/", "a0"] {
            s.mkdir(n, 0o755); } s.rmdir("ab"); s.list(".") }
        "chdir_and_removed_cwd" { s.dir("d"); s.chdir("d"); s.sh("rmdir d"); s.list(".");
            s.file("x", b"");
            s.mkdir("y", 0o755); s.stat("."); s.stat(".."); s.rmdir("."); s.chdir("..") }
        "deep_tree" { for _ in 0..150 { s.mkdir("d", 0o755); s.chdir("d");
            } s.file("leaf", b"deep");
            s.stat("leaf"); s.stat("../.."); s.sh("rm -r d; ls | wc -l") }
        "dotdot_of_moved_directory" { s.dir("a"); s.dir("b"); s.dir("a/d"); s.file("b/mark", b"");
            s.rename("a/d", "b/d"); s.stat("b/d/../mark"); s.stat("a"); s.stat("b") }
        "statfs_of_names" { s.file("f", b""); s.statfs("."); s.statfs("f"); s.statfs("none") }
    }
}

fn removal(t: &mut Table) {
    rows! { t, s,
        "unlink_each_kind" { s.file("f", b""); s.dir("d"); s.symlink("d", "l");
            s.mkfifo("p", 0o600);
            s.mknod("k", libc::S_IFSOCK | 0o600, 0); for n in ["f", "d", "l", "p", "k", "none"] {
            s.unlink(n); } s.list(".") }
        "rmdir_each_kind" { s.file("f", b""); s.dir("d"); s.dir("full"); s.file("full/x", b"");
            s.symlink("d", "l"); for n in ["f", "l", "d", "full", "none"] { s.rmdir(n); }
            s.list(".") }
        "rmdir_with_subdirectory" { s.dir("d"); s.dir("d/e"); s.rmdir("d"); s.rmdir("d/e");
            s.rmdir("d"); s.stat("d") }
        "rmdir_then_use_of_open_fd" { s.dir("d"); let d = s.open("d", O_RDONLY | O_DIRECTORY, 0);
            s.rmdir("d"); s.fstat(&d); s.note("entries", s.entries(&d).len()); s.fsync(&d) }
        "unlink_while_open" { s.file("f", b"still here"); let f = s.rw("f"); s.unlink("f");
            s.fstat(&f); s.pread(&f, 20, 0); s.pwrite(&f, b"more", 10); s.pread(&f, 20, 0);
            s.ftruncate(&f, 3); s.fstat(&f); s.fchmod(&f, 0o600); s.fsync(&f); s.fstat(&f);
            s.list("."); s.file("f", b"new"); s.fstat(&f) }
        "unlink_one_of_two" { s.file("a", b"x"); s.link("a", "b"); s.unlink("a"); s.stat("b");
            let f = s.ro("b"); s.read(&f, 5) }
        "recreate_after_unlink" { for i in 0..20 { s.file("f", format!("{i}").as_bytes());
            let f = s.ro("f"); s.read(&f, 9); s.unlink("f"); } s.list(".") }
        "unlink_over_busy_directory" { s.dir("d"); s.chdir("d"); s.sh("rmdir d; echo $?");
            s.stat(".") }
        "rm_rf_of_a_tree" {
            s.sh("mkdir -p a/b/c a/d; touch a/1 a/b/2 a/b/c/3; ln -s b a/l; rm -rf a; ls | wc -l") }
    }
}

fn links(t: &mut Table) {
    rows! { t, s,
        "link_counts" { s.file("a", b"x"); s.link("a", "b"); s.stat("a"); s.same("a", "b");
            s.link("a", "b"); s.link("none", "c"); s.unlink("b"); s.stat("a") }
        "link_to_directory" { s.dir("d"); s.link("d", "e"); s.link("d", "d/x"); s.stat("d") }
        "link_to_symlink" { s.file("f", b""); s.symlink("f", "l"); s.link("l", "m");
            s.linkat("l", "n", AT_SYMLINK_FOLLOW); s.stat("m"); s.stat("n"); s.same("f", "n") }
        "link_to_dangling_symlink" { s.symlink("none", "l"); s.link("l", "m");
            s.linkat("l", "n", AT_SYMLINK_FOLLOW); s.stat("m") }
        "link_over_each_kind" { s.file("a", b""); s.file("f", b""); s.dir("d"); s.symlink("x", "l");
            for n in ["f", "d", "l", "a"] { s.link("a", n); } s.list(".") }
        "link_into_other_directory" { s.dir("d"); s.file("a", b"x"); s.link("a", "d/a");
            s.same("a", "d/a"); s.link("a", "none/a"); s.link("a", "a/x") }
        "link_special_kinds" { s.mkfifo("p", 0o600); s.link("p", "q"); s.stat("q");
            s.mknod("c", libc::S_IFCHR | 0o600, libc::makedev(1, 3)); s.link("c", "e");
            s.stat("e") }
        "linkat_bad_flags" { s.file("a", b""); s.linkat("a", "b", 0x7000_0000);
            s.linkat("", "c", AT_EMPTY_PATH) }
        "link_times" { s.file("a", b""); s.times_changed("a", || s.link("a", "b"));
            s.times_changed(".", || s.link("a", "c")); s.times_changed("a", || s.unlink("c")) }
    }
}

fn listing(t: &mut Table) {
    rows! { t, s,
        "list_empty" { s.dir("d"); s.list("d") }
        "list_each_kind" { s.file("f", b""); s.dir("d"); s.symlink("x", "l"); s.mkfifo("p", 0o600);
            s.mknod("s", libc::S_IFSOCK | 0o600, 0);
            s.mknod("c", libc::S_IFCHR | 0o600, libc::makedev(1, 3));
            s.mknod("b", libc::S_IFBLK | 0o600, libc::makedev(7, 0)); s.list(".") }
        "list_a_thousand" { for i in 0..1000 { s.mknod(&format!("file-{i:04}"), 0o644, 0);
            } s.list(".");
            for i in (0..1000).step_by(2) { s.unlink(&format!("file-{i:04}")); } s.list(".") }
        "list_long_names" { for i in 0..100 { s.mknod(&format!("{i:0255}"), 0o644, 0);
            } s.list(".") }
        "list_twice_on_one_fd" { s.file("a", b""); s.file("b", b""); let d = s.ro(".");
            s.note("first", s.entries(&d).len()); s.note("at end", s.entries(&d).len());
            s.seek(&d, 0, SEEK_SET); s.note("again", s.entries(&d).len()) }
        "rewind_sees_new_names" { s.file("a", b""); let d = s.ro(".");
            s.note("n", s.entries(&d).len());
            s.file("b", b""); s.seek(&d, 0, SEEK_SET); s.note("n", s.entries(&d).len()) }
        "seek_to_each_cookie" { for i in 0..50 { s.mknod(&format!("f{i}"), 0o644, 0);
            } let d = s.ro(".");
            let all = s.entries(&d); let mut rests: Vec<usize> = all.values().map(|(_, cookie)| {
            s.seek_quietly(&d, *cookie); s.entries(&d).len() }).collect(); rests.sort_unstable();
            s.note("what follows each entry", format!("{rests:?}")) }
        "cookie_survives_removal_of_others" { for i in 0..40 { s.mknod(&format!("f{i}"), 0o644, 0);
            }
            let d = s.ro("."); let all = s.entries(&d); let (_, cookie) = all["f7"];
            s.seek_quietly(&d, cookie); let rest: Vec<String> = s.entries(&d).into_keys().collect();
            for name in all.keys().filter(|name| name.starts_with('f') && !rest.contains(name)) {
            s.unlink_quietly(name); } s.seek_quietly(&d, cookie);
            s.note("same rest", s.entries(&d).into_keys().collect::<Vec<_>>() == rest) }
        "removal_while_listing_skips_nothing" { for i in 0..500 {
            s.mknod(&format!("f{i}"), 0o644, 0); }
            s.sh("find . -type f -name 'f*' -delete; ls -A | wc -l") }
        "seek_on_directory" { let d = s.ro("."); s.seek(&d, -1, SEEK_SET); s.seek(&d, 0, SEEK_CUR) }
        "getdents_small_buffer" { s.file("name-of-some-length", b""); let d = s.ro(".");
            s.getdents(&d, 8);
            s.getdents(&d, 0) }
        "getdents_on_file" { s.file("f", b""); let f = s.ro("f"); s.getdents(&f, 512) }
        "entry_types_match_stat" { s.file("f", b""); s.dir("d"); s.rename("f", "g");
            s.link("g", "h");
            s.symlink("g", "i"); s.list(".") }
    }
}
