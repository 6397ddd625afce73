//! Modes, owners, set-id bits, setgid directories, inode flags, statx.

use ashlar_tests::rows;
use ashlar_tests::table::Table;
use libc::{O_CREAT, O_RDWR, O_TRUNC};

const IMMUTABLE: u32 = 0x10;
const APPEND: u32 = 0x20;
const NODUMP: u32 = 0x40;
const NOATIME: u32 = 0x80;
const SYNC: u32 = 0x08;

/// All rows.
pub(crate) fn rows(t: &mut Table) {
    for mode in [0, 0o1, 0o644, 0o755, 0o777, 0o1755, 0o2644, 0o2755, 0o4644, 0o4755, 0o7777] {
        for kind in ["file", "dir", "fifo"] {
            t.row(
                format!("chmod_{kind}_{mode:o}"),
                None,
                Box::new(move |s| {
                    match kind {
                        "dir" => s.dir("x"),
                        "fifo" => s.mkfifo("x", 0o600),
                        _ => s.file("x", b"data"),
                    }
                    s.chmod("x", mode);
                    s.stat("x");
                    s.chown("x", 1000, 1000);
                    s.stat("x");
                }),
            );
        }
        t.row(
            format!("set_id_bits_after_write_{mode:o}"),
            None,
            Box::new(move |s| {
                s.chmod(".", 0o777);
                for (name, act) in [("write", 0), ("truncate", 1), ("open_trunc", 2), ("root", 3)] {
                    s.file(name, b"data");
                    s.chown(name, 1000, 1000);
                    s.chmod(name, mode | 0o600);
                    let change = |s: &ashlar_tests::stage::Stage| match act {
                        0 | 3 => s.write(&s.rw(name), b"x"),
                        1 => s.truncate(name, 1),
                        _ => drop(s.open(name, O_RDWR | O_TRUNC, 0)),
                    };
                    if act == 3 {
                        change(s);
                    } else {
                        s.as_nobody(change);
                    }
                    s.stat(name);
                }
            }),
        );
    }
    owners(t);
    directories(t);
    flags(t);
}

fn owners(t: &mut Table) {
    rows! { t, s,
        "chown_of_nothing_by_root" differs "a FUSE server is not told of a chown that sets \
            nothing" {
            s.file("f", b""); s.chmod("f", 0o6755); s.chown("f", -1, -1); s.stat("f") }
        "chown_as_root_to_same_owner" { s.file("f", b""); s.chmod("f", 0o6755);
            s.chown("f", 0, 0); s.stat("f"); s.chmod("f", 0o6644); s.chown("f", 0, 5); s.stat("f") }
        "chown_of_symlink_itself" { s.file("f", b""); s.symlink("f", "l"); s.chown("l", 5, 6);
            s.stat("l"); s.stat("f") }
        "chmod_of_symlink_target" { s.file("f", b""); s.symlink("f", "l"); s.chmod("l", 0o600);
            s.stat("l"); s.stat("f");
            s.symlink("none", "m"); s.chmod("m", 0o600) }
        "chown_large_ids" { s.file("f", b""); s.chown("f", i32::MAX, i32::MAX); s.stat("f");
            s.chown("f", -2, -2); s.stat("f") }
        "fchmod_of_unlinked" { let f = s.open("f", O_CREAT | O_RDWR, 0o600); s.unlink("f");
            s.fchmod(&f, 0o4711); s.fstat(&f) }
        "chmod_absent" { s.chmod("none", 0o600); s.chown("none", 1, 1); s.chmod("none/x", 0o600) }
        "chmod_by_owner_outside_group_loses_setgid" { s.chmod(".", 0o777); s.file("f", b"");
            s.chown("f", 1000, 77);
            s.as_nobody(|s| { s.chmod("f", 0o2755); s.stat("f") });
            s.as_user(1000, 1000, &[77], |s| {
            s.chmod("f", 0o2755); s.stat("f") }) }
        "chown_by_owner" { s.chmod(".", 0o777); s.file("f", b""); s.chown("f", 1000, 1000);
            s.chmod("f", 0o6755);
            s.as_user(1000, 1000, &[77], |s| { s.chown("f", 1000, 77); s.stat("f");
            s.chown("f", -1, 78);
            s.chown("f", 1001, -1); s.chown("f", 0, 0); s.chown("f", -1, -1); s.stat("f") }) }
        "file_capabilities_go_with_writes" {
            s.sh("cp /bin/true f; setcap cap_net_raw+ep f 2>/dev/null; getcap f; echo x >> f; \
            getcap f; echo $?") }
        "file_capabilities_go_with_chown" {
            s.sh("cp /bin/true f; setcap cap_net_raw+ep f 2>/dev/null; chown 1000 f; getcap f; \
            echo $?") }
        "setuid_program_is_cleared_by_copy_over" {
            s.sh("cp /bin/true f; chmod 4755 f; cat /bin/false > f; stat -c %a f") }
        "statx_birth_time" { s.file("f",
            b""); let b = s.stat_raw("f").map(|x| (x.btime() == x.ctime(), x.mask() & 0x800));
            s.note("birth", format!("{b:?}")); s.times_changed("f", || s.chmod("f", 0o600)) }
        "statx_attributes_of_flags" differs "the kernel drops the attributes that a FUSE server \
            reports" { s.file("f", b""); let f = s.ro("f");
            s.inode_flags(&f, Some(APPEND | NODUMP));
            s.note("attributes", s.stat_raw("f").map_or(0, |x| x.attributes() & 0x70));
            s.inode_flags(&f, Some(0)) }
        "inode_numbers_differ" { s.file("a", b""); s.file("b", b""); s.same("a", "b");
            s.same(".", "."); s.same(".", "..") }
        "device_numbers" { for (i, d) in [libc::makedev(0, 0), libc::makedev(1, 3),
            libc::makedev(255, 255), libc::makedev(511, 262_143)]
            .into_iter().enumerate() { s.mknod(&format!("c{i}"), libc::S_IFCHR | 0o600, d);
            s.stat(&format!("c{i}")); } }
    }
}

fn directories(t: &mut Table) {
    rows! { t, s,
        "setgid_directory_gives_its_group" { s.dir("d"); s.chown("d", -1, 77);
            s.chmod("d", 0o2755); s.file("d/f", b"");
            s.dir("d/e"); s.symlink("x", "d/l"); s.mkfifo("d/p", 0o644);
            for n in ["d/f", "d/e", "d/l", "d/p"] { s.stat(n); }
            s.dir("d/e/g"); s.stat("d/e/g") }
        "setgid_file_created_by_outsider_loses_bit" { s.dir("d"); s.chown("d", -1, 77);
            s.chmod("d", 0o2777);
            s.as_nobody(|s| { drop(s.open("d/f", O_CREAT | O_RDWR, 0o2775)); s.stat("d/f");
            s.mkdir("d/e", 0o755); s.stat("d/e") });
            s.as_user(1000, 1000, &[77], |s| { drop(s.open("d/g", O_CREAT | O_RDWR, 0o2775));
            s.stat("d/g") }) }
        "plain_directory_gives_creators_group" { s.dir("d"); s.chown("d", 5, 77);
            s.chmod("d", 0o777);
            s.as_user(1000, 1001, &[], |s| { s.file("d/f", b""); s.stat("d/f") }) }
        "sticky_directory_made_by_mkdir" { s.mkdir("d", 0o1777); s.stat("d"); s.mkdir("e", 0o7777);
            s.stat("e") }
        "nlink_of_root_of_row" { s.stat("."); for i in 0..10 { s.dir(&format!("d{i}"));
            } s.stat(".") }
    }
}

fn flags(t: &mut Table) {
    for (name, flag) in [
        ("immutable", IMMUTABLE),
        ("append", APPEND),
        ("nodump", NODUMP),
        ("noatime", NOATIME),
        ("sync", SYNC),
    ] {
        t.row(
            format!("file_with_flag_{name}"),
            None,
            Box::new(move |s| {
                s.file("f", b"0123456789");
                s.link("f", "second");
                let r = s.ro("f");
                s.inode_flags(&r, None);
                s.inode_flags(&r, Some(flag));
                s.inode_flags(&r, None);
                drop(s.rw("f"));
                drop(s.open("f", O_RDWR | O_TRUNC, 0));
                let a = s.open("f", libc::O_WRONLY | libc::O_APPEND, 0);
                s.write(&a, b"more");
                s.ftruncate(&a, 3);
                s.fallocate(&a, 0, 0, 100);
                s.chmod("f", 0o600);
                s.chown("f", 1, 1);
                s.truncate("f", 2);
                s.utimens("f", (1, 0), (1, 0), 0);
                s.utimens("f", (0, libc::UTIME_NOW), (0, libc::UTIME_NOW), 0);
                s.set_xattr("f", "user.a", b"x", 0);
                s.link("f", "g");
                s.rename("f", "h");
                s.unlink("f");
                s.unlink("h");
                s.stat("second");
                s.inode_flags(&r, Some(0));
                s.unlink("second");
                s.list(".");
            }),
        );
        t.row(
            format!("directory_with_flag_{name}"),
            None,
            Box::new(move |s| {
                s.dir("d");
                s.file("d/old", b"x");
                let d = s.ro("d");
                s.inode_flags(&d, Some(flag));
                s.file("d/new", b"x");
                s.dir("d/sub");
                s.link("d/old", "d/link");
                s.rename("d/old", "d/moved");
                s.unlink("d/old");
                s.chmod("d", 0o700);
                s.rename("d", "e");
                s.rmdir("d");
                s.write(&s.rw("d/old"), b"y");
                s.list(if s.stat_raw("e").is_ok() { "e" } else { "d" });
                s.inode_flags(&d, Some(0));
            }),
        );
    }
    rows! { t, s,
        "flags_need_privilege" { s.chmod(".", 0o777); s.file("f", b""); s.chown("f", 1000, 1000);
            s.as_nobody(|s| {
            let f = s.ro("f"); s.inode_flags(&f, Some(IMMUTABLE)); s.inode_flags(&f, Some(NODUMP));
            s.inode_flags(&f, None) });
            s.as_user(1001, 1001, &[], |s| { let f = s.ro("f"); s.inode_flags(&f, Some(0)) }) }
        "chattr_and_lsattr" {
            s.sh("touch f; chattr +i f && echo set; (echo x > f) 2>/dev/null; echo $?; lsattr f | \
            cut -c5,6,7; chattr -i f; echo x > f; echo $?") }
        "device_numbers_beyond_sysv" differs "XFS keeps 9 bits of major and 18 of minor, Ashlar \
            12 and 20" {
            s.mknod("c", libc::S_IFCHR | 0o600, libc::makedev(4095, 1_048_575)); s.stat("c") }
        "flags_of_fifo" differs "FUSE keeps inode flags of files and directories \
            only" { s.mkfifo("p", 0o600); let p = s.open("p", O_RDWR, 0);
            s.inode_flags(&p, None) }
        "unknown_ioctl" { s.file("f", b""); let f = s.rw("f"); s.ioctl(&f, 0x1234_5678);
            s.ioctl(&f, 0x5401) }
    }
}
