//! rename(2) and renameat2(2): every kind onto every kind, with every flag.

use ashlar_tests::rows;
use ashlar_tests::stage::Stage;
use ashlar_tests::table::Table;
use libc::{RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};

const KINDS: [&str; 8] = ["none", "file", "same", "dir", "full", "link", "dangling", "fifo"];
const FLAGS: [(&str, u32); 6] = [
    ("plain", 0),
    ("noreplace", RENAME_NOREPLACE),
    ("exchange", RENAME_EXCHANGE),
    ("whiteout", RENAME_WHITEOUT),
    ("noreplace_exchange", RENAME_NOREPLACE | RENAME_EXCHANGE),
    ("noreplace_whiteout", RENAME_NOREPLACE | RENAME_WHITEOUT),
];

fn make(s: &Stage, kind: &str, name: &str, content: &[u8]) {
    match kind {
        "file" => s.file(name, content),
        "same" => s.link("anchor", name),
        "dir" => s.dir(name),
        "full" => {
            s.dir(name);
            s.dir(&format!("{name}/sub"));
        }
        "link" => s.symlink("anchor", name),
        "dangling" => s.symlink("nowhere", name),
        "fifo" => s.mkfifo(name, 0o600),
        _ => {}
    }
}

/// All rows.
pub(crate) fn rows(t: &mut Table) {
    for (flag_name, flags) in FLAGS {
        for source in KINDS {
            for target in KINDS {
                let name = format!("rename_{flag_name}_{source}_onto_{target}");
                t.row(
                    name,
                    None,
                    Box::new(move |s| {
                        s.file("anchor", b"anchored");
                        s.dir("from");
                        s.dir("to");
                        make(s, source, "from/x", b"source");
                        make(s, target, "to/y", b"target");
                        s.rename2("from/x", "to/y", flags);
                        for name in ["from/x", "to/y", "from", "to", "anchor"] {
                            s.stat(name);
                        }
                        s.list("from");
                        s.list("to");
                    }),
                );
            }
        }
    }
    rows! { t, s,
        "same_name" { s.file("a", b"x"); s.rename("a", "a"); s.stat("a"); s.dir("d");
            s.rename("d", "d");
            s.stat("d"); s.rename2("a", "a", RENAME_NOREPLACE);
            s.rename2("a", "a", RENAME_EXCHANGE) }
        "hard_links_to_one_file" { s.file("a", b"x"); s.link("a", "b"); s.rename("a", "b");
            s.list(".");
            s.stat("a"); s.rename2("a", "b", RENAME_EXCHANGE); s.list(".") }
        "into_own_child" { s.dir("d"); s.dir("d/e"); s.rename("d", "d/x"); s.rename("d", "d/e");
            s.rename("d", "d/e/f"); s.rename2("d", "d/e", RENAME_EXCHANGE); s.list("d") }
        "child_onto_parent" { s.dir("d"); s.dir("d/e"); s.file("d/f", b""); s.rename("d/e", "d");
            s.rename("d/f", "d"); s.rename2("d/e", "d", RENAME_EXCHANGE); s.list("d") }
        "directory_moves_its_dotdot" { s.dir("a"); s.dir("b"); s.dir("a/d"); s.file("a/m", b"");
            s.rename("a/d", "b/d"); s.stat("b/d/../../a/m"); s.stat("b/d/../d"); s.stat("a");
            s.stat("b") }
        "directory_exchange_fixes_link_counts" { s.dir("a"); s.dir("b"); s.dir("a/d");
            s.dir("a/d/e");
            s.file("b/f", b""); s.rename2("a/d", "b/f", RENAME_EXCHANGE); s.stat("a"); s.stat("b");
            s.stat("a/d"); s.stat("b/f"); s.list("b/f") }
        "replaced_file_stays_open" { s.file("a", b"new"); s.file("b", b"old"); let f = s.ro("b");
            s.rename("a", "b"); s.pread(&f, 9, 0); s.fstat(&f); let g = s.ro("b");
            s.pread(&g, 9, 0) }
        "replaced_directory_stays_open" { s.dir("a"); s.dir("b"); let d = s.ro("b");
            s.rename("a", "b");
            s.fstat(&d); s.openat(&d, "x", libc::O_CREAT, 0o600) }
        "replaced_link_count_falls" { s.file("a", b""); s.file("b", b"x"); s.link("b", "c");
            s.rename("a", "b"); s.stat("c") }
        "absent_parents" { s.file("a", b""); s.rename("a", "none/a"); s.rename("none/a", "b");
            s.rename("a/x", "b"); s.rename("a", "a/x"); s.list(".") }
        "name_too_long" { s.file("a", b""); s.rename("a", &"n".repeat(256));
            s.rename(&"n".repeat(256), "b");
            s.list(".") }
        "unknown_flag" { s.file("a", b""); s.rename2("a", "b", 1 << 9); s.list(".") }
        "dot_and_dotdot" { s.dir("d"); s.rename("d/.", "e"); s.rename("d/..", "e");
            s.rename("d", "..");
            s.rename("d", "."); s.list(".") }
        "root_stays" { s.rename("/", "x"); s.dir("d"); s.rename("d", "/") }
        "times_of_parents_and_file" { s.dir("a"); s.dir("b"); s.file("a/f", b"");
            s.times_changed("a", || s.rename("a/f", "b/f"));
            s.times_changed("b", || s.rename("b/f", "a/f"));
            s.times_changed("a/f", || s.rename("a/f", "b/f"));
            s.times_changed("b", || s.rename("b/f", "b/g")) }
        "times_of_replaced" { s.file("a", b""); s.file("b", b""); s.link("b", "c");
            s.times_changed("c", || s.rename("a", "b")) }
        "times_of_exchanged" differs "XFS alone leaves the change times of both as they are" {
            s.file("a", b""); s.file("b", b""); s.link("a", "first");
            s.link("b", "second");
            s.times_changed("first", || s.rename2("a", "b", RENAME_EXCHANGE));
            s.times_changed("second", || s.rename2("a", "b", RENAME_EXCHANGE)) }
        "thousand_renames_leave_one_name" { s.file("n0", b"walker"); for i in 0..1000 {
            s.rename_quietly(&format!("n{i}"), &format!("n{}", i + 1)); } s.list(".");
            s.stat("n1000") }
        "replace_by_rename_many_times" { for i in 0..100 { s.file("tmp", format!("{i}").as_bytes());
            s.rename("tmp", "target"); } let f = s.ro("target"); s.read(&f, 9); s.list(".") }
        "swap_two_trees" { s.sh("mkdir -p a/1/2 b/3; touch a/1/x b/3/y");
            s.rename2("a", "b", RENAME_EXCHANGE);
            s.sh("find . | sort | tr '\\n' ' '") }
        "setgid_directory_moves_as_it_is" { s.mkdir("d", 0o755); s.chmod("d", 0o2755); s.dir("e");
            s.rename("d", "e/d"); s.stat("e/d") }
    }
}
