//! What other users may do: modes, sticky directories, search permission, protected calls.

use ashlar_tests::rows;
use ashlar_tests::table::Table;
use libc::{
    O_CREAT, O_NOATIME, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, R_OK, UTIME_NOW, UTIME_OMIT, W_OK,
    X_OK,
};

/// Who asks: owner, member of the group by primary and by supplementary group, anyone.
const CALLERS: [(&str, u32, u32, &[u32]); 4] = [
    ("owner", 1000, 1000, &[]),
    ("group", 1001, 77, &[]),
    ("member", 1002, 1002, &[77]),
    ("other", 1003, 1003, &[]),
];

/// All rows.
pub(crate) fn rows(t: &mut Table) {
    for mode in [0o000, 0o007, 0o070, 0o700, 0o444, 0o222, 0o111, 0o640, 0o604, 0o755] {
        for (who, uid, gid, groups) in CALLERS {
            t.row(
                format!("file_{mode:03o}_by_{who}"),
                None,
                Box::new(move |s| {
                    s.file("f", b"data");
                    s.chown("f", 1000, 77);
                    s.chmod("f", mode);
                    s.as_user(uid, gid, groups, |s| {
                        for flags in [O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_TRUNC, O_NOATIME] {
                            drop(s.open("f", flags, 0));
                        }
                        for mode in [R_OK, W_OK, X_OK] {
                            s.access("f", mode);
                        }
                        s.truncate("f", 1);
                        s.chmod("f", 0o600);
                        s.utimens("f", (0, UTIME_NOW), (0, UTIME_NOW), 0);
                        s.utimens("f", (5, 0), (5, 0), 0);
                        s.utimens("f", (0, UTIME_OMIT), (0, UTIME_NOW), 0);
                    });
                    s.stat("f");
                }),
            );
            t.row(
                format!("dir_{mode:03o}_by_{who}"),
                None,
                Box::new(move |s| {
                    s.dir("d");
                    s.file("d/f", b"data");
                    s.dir("d/sub");
                    s.chmod("d/f", 0o666);
                    s.chown("d", 1000, 77);
                    s.chmod("d", mode);
                    s.as_user(uid, gid, groups, |s| {
                        s.list("d");
                        s.stat("d/f");
                        s.stat("d/none");
                        drop(s.ro("d/f"));
                        drop(s.open("d/new", O_CREAT | O_RDWR, 0o600));
                        s.mkdir("d/dir", 0o700);
                        s.link("d/f", "d/link");
                        s.rename("d/f", "d/g");
                        s.unlink("d/f");
                        s.rmdir("d/sub");
                        s.chdir("d");
                    });
                }),
            );
        }
    }
    sticky(t);
    rows! { t, s,
        "search_permission_on_the_way" {
            s.sh("mkdir -p a/b/c; echo x > a/b/c/f; chmod 711 a; chmod 700 a/b"); s.as_nobody(|s| {
            s.stat("a"); s.stat("a/b"); s.stat("a/b/c"); s.stat("a/b/c/f"); s.list("a") });
            s.chmod("a/b", 0o711); s.as_nobody(|s| {
            s.stat("a/b/c"); drop(s.ro("a/b/c/f")); s.list("a/b") }) }
        "root_may_everything" { s.file("f", b"x"); s.chown("f", 1000, 1000); s.chmod("f", 0);
            drop(s.rw("f")); s.access("f", X_OK);
            s.chmod("f", 0o001); s.access("f", X_OK); s.dir("d"); s.chmod("d", 0);
            s.file("d/x", b""); s.list("d") }
        "mknod_devices_need_privilege" { s.chmod(".", 0o777); s.as_nobody(|s| {
            s.mknod("c", libc::S_IFCHR | 0o666, libc::makedev(1, 3));
            s.mknod("b", libc::S_IFBLK | 0o666, libc::makedev(7, 0)); s.mkfifo("p", 0o666);
            s.mknod("w", libc::S_IFCHR | 0o666, 0);
            s.mknod("s", libc::S_IFSOCK | 0o666, 0); s.mknod("r", libc::S_IFREG | 0o666, 0);
            s.list(".") }) }
        "descriptor_keeps_its_rights" { s.chmod(".", 0o777); s.file("f", b"data");
            s.chown("f", 1000, 1000); s.as_nobody(|s| {
            let f = s.rw("f"); s.chmod("f", 0); s.pread(&f, 9, 0); s.pwrite(&f, b"x", 0);
            s.ftruncate(&f, 2); s.fstat(&f); drop(s.rw("f")) }) }
        "created_file_belongs_to_creator" { s.chmod(".", 0o777);
            s.as_user(1234, 4321, &[1, 2, 3], |s| { s.file("f", b"x"); s.dir("d");
            s.symlink("f", "l"); s.mkfifo("p", 0o600) }); for n in ["f", "d", "l", "p"] {
            s.stat(n); } }
        "link_to_anothers_file" { s.chmod(".", 0o777); s.file("f", b"x"); s.chmod("f", 0o644);
            s.file("w", b"x"); s.chmod("w", 0o666);
            s.as_nobody(|s| { s.link("f", "a"); s.link("w", "b"); s.linkat("f", "c", 0) }) }
        "rename_of_anothers_directory" { s.chmod(".", 0o777); s.dir("d"); s.dir("to");
            s.chmod("to", 0o777); s.as_nobody(|s| {
            s.rename("d", "e"); s.rename("e", "to/e") }) }
        "chown_needs_privilege" { s.file("f", b""); s.as_nobody(|s| { s.chown("f", 1000, 1000);
            s.chown("f", -1, -1); s.chmod("f", 0o777) }) }
        "supplementary_group_of_many" { s.file("f", b"x"); s.chown("f", 0, 777);
            s.chmod("f", 0o660);
            s.as_user(1000, 1000, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 777], |s| drop(s.rw("f"))) }
        "unreadable_program_runs" { s.chmod(".", 0o755); s.sh("cp /bin/echo e; chmod 711 e");
            s.sh("setpriv --reuid 1000 --clear-groups ./e ran; setpriv --reuid 1000 \
            --clear-groups cat e >/dev/null 2>&1; echo $?") }
        "setuid_program_changes_user" {
            s.sh("cp /usr/bin/id i; chown 1234 i; chmod 4755 i; setpriv --reuid 1000 \
            --clear-groups ./i -u") }
        "noexec_bits" {
            s.sh("printf '#!/bin/sh\\necho hi\\n' > s; ./s 2>/dev/null; echo $?; chmod +x s; ./s") }
    }
}

fn sticky(t: &mut Table) {
    for (who, uid) in [("file_owner", 1000u32), ("dir_owner", 1001), ("stranger", 1002)] {
        for act in ["unlink", "rename_away", "rename_over", "rmdir", "rename_dir", "exchange"] {
            t.row(
                format!("sticky_{act}_by_{who}"),
                None,
                Box::new(move |s| {
                    s.dir("d");
                    s.file("d/f", b"victim");
                    s.chown("d/f", 1000, 1000);
                    s.dir("d/e");
                    s.chown("d/e", 1000, 1000);
                    s.file("d/mine", b"own");
                    s.chown("d/mine", uid.cast_signed(), 50);
                    s.chown("d", 1001, 1001);
                    s.chmod("d", 0o1777);
                    s.as_user(uid, uid, &[], |s| match act {
                        "unlink" => s.unlink("d/f"),
                        "rename_away" => s.rename("d/f", "d/g"),
                        "rename_over" => s.rename("d/mine", "d/f"),
                        "rmdir" => s.rmdir("d/e"),
                        "rename_dir" => s.rename("d/e", "d/h"),
                        _ => s.rename2("d/mine", "d/f", libc::RENAME_EXCHANGE),
                    });
                    s.list("d");
                }),
            );
        }
    }
}
