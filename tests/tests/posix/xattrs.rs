//! Extended attributes and access control lists.

use ashlar_tests::rows;
use ashlar_tests::table::Table;
use libc::{XATTR_CREATE, XATTR_REPLACE};

/// All rows.
pub(crate) fn rows(t: &mut Table) {
    for size in [0, 1, 100, 1000, 2047, 4000, 4096, 4097, 8192, 16_384, 60_000, 65_536, 65_537] {
        t.row(
            format!("value_of_{size}_bytes"),
            None,
            Box::new(move |s| {
                s.file("f", b"x");
                let value: Vec<u8> = (0..size).map(|at| (at % 253) as u8).collect();
                s.set_xattr("f", "user.v", &value, 0);
                s.get_xattr("f", "user.v", 0);
                s.get_xattr("f", "user.v", 65_536);
                s.get_xattr("f", "user.v", 10);
                s.set_xattr("f", "user.v", b"short", XATTR_REPLACE);
                s.get_xattr("f", "user.v", 100);
                s.remove_xattr("f", "user.v");
                s.list_xattr("f", 1000);
            }),
        );
    }
    for kind in ["file", "dir", "symlink", "fifo", "socket", "char"] {
        for key in ["user.a", "trusted.a", "security.a", "system.a", "bogus.a", "user.", "user", ""]
        {
            t.row(
                format!("{kind}_key_{key}"),
                None,
                Box::new(move |s| {
                    match kind {
                        "dir" => s.dir("x"),
                        "symlink" => s.symlink("y", "x"),
                        "fifo" => s.mkfifo("x", 0o644),
                        "socket" => s.mknod("x", libc::S_IFSOCK | 0o644, 0),
                        "char" => s.mknod("x", libc::S_IFCHR | 0o644, libc::makedev(1, 3)),
                        _ => s.file("x", b"data"),
                    }
                    s.get_xattr("x", key, 100);
                    s.set_xattr("x", key, b"value", 0);
                    s.get_xattr("x", key, 100);
                    s.remove_xattr("x", key);
                    s.remove_xattr("x", key);
                    s.list_xattr("x", 1000);
                }),
            );
        }
    }
    calls(t);
    acls(t);
}

fn calls(t: &mut Table) {
    rows! { t, s,
        "create_and_replace" { s.file("f", b""); s.set_xattr("f", "user.a", b"1", XATTR_REPLACE);
            s.set_xattr("f", "user.a", b"1", XATTR_CREATE);
            s.set_xattr("f", "user.a", b"2", XATTR_CREATE);
            s.set_xattr("f", "user.a", b"3", XATTR_REPLACE);
            s.set_xattr("f", "user.a", b"4", XATTR_CREATE | XATTR_REPLACE);
            s.set_xattr("f", "user.a", b"5", 8);
            s.get_xattr("f", "user.a", 10) }
        "list_sizes" { s.file("f", b""); s.list_xattr("f", 0); s.list_xattr("f", 10);
            for k in ["user.b", "user.a", "user.ccc"] {
            s.set_xattr("f", k, b"v", 0); } s.list_xattr("f", 0); s.list_xattr("f", 5);
            s.list_xattr("f", 1000) }
        "longest_key" { s.file("f", b""); let k = format!("user.{}", "k".repeat(250));
            s.set_xattr("f", &k, b"v", 0); s.get_xattr("f", &k, 9);
            let l = format!("user.{}", "k".repeat(251)); s.set_xattr("f", &l, b"v", 0);
            s.get_xattr("f", &l, 9) }
        "many_attributes" { s.file("f", b""); for i in 0..200 {
            s.set_xattr("f", &format!("user.key{i:03}"), format!("value {i}").as_bytes(), 0); }
            s.list_xattr("f", 65_536); for i in 0..200 {
            s.remove_xattr("f", &format!("user.key{i:03}")); } s.list_xattr("f", 0) }
        "keys_that_share_beginnings" { s.file("f", b"");
            for k in ["user.a", "user.ab", "user.abc", "user.a.b"] {
            s.set_xattr("f", k, k.as_bytes(), 0); }
            s.remove_xattr("f", "user.ab"); for k in ["user.a", "user.ab", "user.abc",
            "user.a.b"] { s.get_xattr("f", k, 20); } }
        "absent_file_and_key" { s.set_xattr("none", "user.a", b"", 0);
            s.get_xattr("none", "user.a", 9); s.list_xattr("none", 9);
            s.file("f", b""); s.get_xattr("f", "user.none", 9); s.get_xattr("f", "user.none", 0);
            s.remove_xattr("f", "user.none") }
        "attributes_follow_the_inode" { s.file("f", b""); s.set_xattr("f", "user.a", b"v", 0);
            s.link("f", "g"); s.rename("f", "h");
            s.get_xattr("g", "user.a", 9); s.unlink("h"); s.get_xattr("g", "user.a", 9);
            s.unlink("g"); s.file("g", b""); s.list_xattr("g", 99) }
        "trusted_needs_privilege" { s.chmod(".", 0o777); s.file("f", b"");
            s.chown("f", 1000, 1000); s.set_xattr("f", "trusted.t", b"v", 0);
            s.as_nobody(|s| { s.get_xattr("f", "trusted.t", 9);
            s.set_xattr("f", "trusted.t", b"w", 0); s.list_xattr("f", 99);
            s.remove_xattr("f", "trusted.t"); s.set_xattr("f", "user.u", b"w", 0);
            s.set_xattr("f", "security.s", b"w", 0) }) }
        "user_attributes_need_permission" { s.file("f", b""); s.chmod("f", 0o644);
            s.set_xattr("f", "user.a", b"v", 0); s.as_nobody(|s| {
            s.get_xattr("f", "user.a", 9); s.set_xattr("f", "user.a", b"w", 0);
            s.remove_xattr("f", "user.a") }); s.chmod("f", 0o600);
            s.as_nobody(|s| s.get_xattr("f", "user.a", 9)) }
        "sticky_directory_attributes_are_its_owners" { s.mkdir("d", 0o777); s.chmod("d", 0o1777);
            s.as_nobody(|s| s.set_xattr("d", "user.a", b"v", 0));
            s.chmod("d", 0o777); s.as_nobody(|s| s.set_xattr("d", "user.a", b"v", 0)) }
        "attr_commands" {
            s.sh("touch f; setfattr -n user.x -v hello f; getfattr -n user.x --only-values f; \
            echo; setfattr -x user.x f; getfattr -d f; cp --preserve=xattr f g; echo $?") }
        "binary_value_through_tar" {
            s.sh("touch f; setfattr -n user.b -v 0x00ff00 f; tar --xattrs -cf t f; rm f; tar \
            --xattrs -xf t; getfattr -n user.b -e hex --only-values f | od -An -tx1") }
    }
}

fn acls(t: &mut Table) {
    const GET: &str = "getfacl -cn --omit-header";
    for (name, set) in [
        ("minimal", "u::rw,g::r,o::-"),
        ("named_user", "u:1000:rw"),
        ("named_group", "g:77:rx"),
        ("mask", "u:1000:rwx,m::r"),
        ("several", "u:1000:r,u:1001:rw,g:77:x,g:78:rwx"),
    ] {
        t.row(
            format!("acl_{name}"),
            None,
            Box::new(move |s| {
                s.file("f", b"data");
                s.sh(&format!("setfacl -m {set} f; {GET} f"));
                s.stat("f");
                s.chmod("f", 0o640);
                s.sh(&format!("{GET} f"));
                s.chmod("f", 0o600);
                s.sh(&format!("{GET} f"));
                for (uid, gid) in [(1000, 1000), (1001, 1001), (1002, 77), (1003, 1003)] {
                    s.as_user(uid, gid, &[], |s| {
                        s.ro("f");
                        s.rw("f");
                    });
                }
                s.list_xattr("f", 1000);
                s.sh(&format!("setfacl -b f; {GET} f"));
                s.list_xattr("f", 1000);
            }),
        );
        t.row(
            format!("default_acl_{name}"),
            None,
            Box::new(move |s| {
                s.dir("d");
                s.sh(&format!("setfacl -d -m {set} d; {GET} d"));
                s.stat("d");
                s.umask(0o077);
                drop(s.open("d/f", libc::O_CREAT | libc::O_RDWR, 0o666));
                s.mkdir("d/e", 0o777);
                s.mkfifo("d/p", 0o666);
                s.symlink("x", "d/l");
                for name in ["d/f", "d/e", "d/p", "d/l"] {
                    s.stat(name);
                    s.sh(&format!("{GET} {name} 2>/dev/null"));
                }
                s.mkdir("d/e/g", 0o700);
                s.sh(&format!("{GET} d/e/g"));
                s.sh(&format!("setfacl -k d; {GET} d"));
            }),
        );
    }
    rows! { t, s,
        "acl_of_file_may_not_be_default" { s.sh("touch f; setfacl -d -m u:1000:r f; echo $?") }
        "acl_malformed" { s.file("f", b""); s.set_xattr("f", "system.posix_acl_access", b"", 0);
            s.set_xattr("f", "system.posix_acl_access", b"junk", 0);
            s.set_xattr("f", "system.posix_acl_access", &[2, 0, 0, 0], 0);
            s.set_xattr("f", "system.posix_acl_access", &[9, 0, 0, 0], 0);
            s.set_xattr("f", "system.posix_acl_access", &[2, 0, 0, 0, 1, 0, 7, 0, 0xff, 0xff, 0xff,
            0xff], 0); s.list_xattr("f", 100); s.stat("f") }
        "acl_of_symlink_follows" {
            s.sh("touch f; ln -s f l; setfacl -m u:1000:r l; getfacl -cn f; getfacl -cn l") }
        "acl_by_non_owner" { s.chmod(".", 0o777); s.file("f", b""); s.as_nobody(|s| {
            s.get_xattr("f", "system.posix_acl_access", 99);
            s.set_xattr("f", "system.posix_acl_access", &[2, 0, 0, 0], 0);
            s.remove_xattr("f", "system.posix_acl_access") }) }
        "acl_equivalent_to_mode_is_not_kept" {
            s.sh("touch f; setfacl -m u::rwx,g::rx,o::r f; stat -c %a f"); s.list_xattr("f", 100) }
        "acl_clears_setgid_of_outsider" { s.chmod(".", 0o777); s.file("f", b"");
            s.chown("f", 1000, 77); s.chmod("f", 0o2755);
            s.sh("setpriv --reuid 1000 --regid 1000 --clear-groups setfacl -m u:1001:r f; stat -c \
            %a f") }
        "acl_kept_by_cp_and_mv" {
            s.sh("touch f; setfacl -m u:1000:rw f; cp -p f g; getfacl -cn g; mkdir d; mv g d/; \
            getfacl -cn d/g") }
        "acl_denies_owner_group_through_mask" {
            s.sh("echo x > f; chgrp 77 f; chmod 660 f; setfacl -m u:1000:r,m::- f; stat -c %a f");
            s.as_user(1005, 77, &[], |s| drop(s.ro("f"))) }
        "remove_acl_attribute" { s.sh("touch f; setfacl -m u:1000:rw f");
            s.remove_xattr("f", "system.posix_acl_access");
            s.remove_xattr("f", "system.posix_acl_access"); s.sh("getfacl -cn f"); s.stat("f") }
    }
}
