//! File handles, files that live on without a name, and descriptors of all kinds.

use ashlar_tests::rows;
use ashlar_tests::table::Table;
use libc::{F_GETFD, F_GETFL, O_CREAT, O_NONBLOCK, O_RDWR};

/// The kernel's FUSE client forgets a removed inode a moment after the name is gone.
const SETTLE: &str = "sync; echo 2 > /proc/sys/vm/drop_caches; sleep 0.5";
/// Watches its directory while it makes, renames and removes a file.
const WATCH: &str = r#"python3 - <<'P'
import ctypes, os, struct
libc = ctypes.CDLL(None)
watch = libc.inotify_init()
libc.inotify_add_watch(watch, b'.', 0x100 | 0x200 | 0x2 | 0xc0)
open('a', 'w').write('x')
os.rename('a', 'b')
os.unlink('b')
events, at = os.read(watch, 4096), 0
while at < len(events):
    _, mask, _, length = struct.unpack_from('iIII', events, at)
    print(hex(mask), events[at + 16:at + 16 + length].rstrip(b'\0').decode())
    at += 16 + length
P"#;

/// All rows.
pub(crate) fn rows(t: &mut Table) {
    rows! { t, s,
           "handle_of_file" { s.file("f", b"by handle"); let f = s.by_handle("f", || ());
               s.read(&f, 20); s.fstat(&f) }
           "handle_of_directory" { s.dir("d"); s.file("d/x", b""); let d = s.by_handle("d", || ());
               s.note("entries", s.entries(&d).len()) }
           "handle_survives_rename" { s.file("f", b"moved"); s.dir("d");
               let f = s.by_handle("f", || s.rename("f", "d/g")); s.read(&f, 20) }
           "handle_of_removed_file" { s.file("f", b"gone");
               let f = s.by_handle("f", || { s.unlink("f"); s.sh(SETTLE); }); s.read(&f, 20) }
           "handle_of_replaced_file" { s.file("f", b"old"); let f = s.by_handle("f", || {
               s.unlink("f"); s.sh(SETTLE); s.file("f", b"new") }); s.read(&f, 20) }
           "handle_of_deep_file" { s.sh("mkdir -p a/b/c/d; echo deep > a/b/c/d/f");
               let f = s.by_handle("a/b/c/d/f", || ()); s.read(&f, 9) }
           "handle_after_dropping_caches" { s.file("f", b"cold");
               let f = s.by_handle("f", || s.sh("sync; echo 2 > /proc/sys/vm/drop_caches"));
               s.read(&f, 9) }
           "handle_of_symlink_itself" { s.symlink("t", "l"); drop(s.by_handle("l", || ())) }
           "unlinked_many_open" { let all: Vec<_> = (0..50).map(|i| { let n = format!("f{i}");
               let f = s.open(&n, O_CREAT | O_RDWR, 0o600);
               s.write(&f, n.as_bytes()); s.unlink(&n); f }).collect(); for f in &all {
               s.pread(f, 9, 0); s.fstat(f); } s.list(".") }
           "unlinked_grows_and_syncs" { let f = s.open("f", O_CREAT | O_RDWR, 0o600); s.unlink("f");
               for i in 0..20 { s.pwrite(&f, &[i; 5000], i64::from(i) * 5000);
               s.fsync(&f); } s.pread(&f, 200_000, 0); s.fstat(&f) }
           "replaced_while_open_then_written" { s.file("a", b"aaa"); s.file("b", b"bbb");
               let b = s.rw("b"); s.rename("a", "b"); s.pwrite(&b, b"lost", 0);
               s.fsync(&b); s.pread(&b, 9, 0); s.pread(&s.ro("b"), 9, 0) }
           "descriptor_through_proc" { s.file("f", b"data"); let f = s.rw("f");
            let again = s.reopen(&f, O_RDWR); s.read(&again, 9); s.unlink("f");
            let third = s.reopen(&f, O_RDWR); s.read(&third, 9) }
        "fcntl_flags" { s.file("f", b""); let f = s.rw("f"); s.fcntl(&f, F_GETFD, 0);
               s.fcntl(&f, libc::F_SETFD, 1); s.fcntl(&f, F_GETFD, 0);
               s.fcntl(&f, F_GETFL, 0); s.fcntl(&f, libc::F_SETFL, O_NONBLOCK.into());
               s.fcntl(&f, F_GETFL, 0); s.pread(&f, 1, 0) }
           "duplicate_shares_offset" { s.file("f", b"0123456789"); let f = s.rw("f"); s.read(&f, 3);
               let again = s.duplicate(&f); s.read(&again, 3); s.read(&f, 3) }
           "closed_descriptor" { s.file("f", b""); let f = s.open("none", O_RDWR, 0); s.read(&f, 1);
               s.write(&f, b"x"); s.fsync(&f); s.close(f) }
           "hundred_descriptors_one_file" { s.file("f", b"x");
               let all: Vec<_> = (0..100).map(|_| s.rw("f")).collect();
               for (i, f) in all.iter().enumerate() {
               s.pwrite(f, b"y", i as i64); } s.stat("f"); s.pread(&all[0], 200, 0) }
           "open_directory_renamed" { s.dir("d"); let d = s.ro("d"); s.rename("d", "e");
               drop(s.openat(&d, "x", O_CREAT | O_RDWR, 0o600)); s.list("e"); s.stat("e/x") }
           "file_in_removed_directory" { s.dir("d"); s.file("d/f", b"in"); let f = s.rw("d/f");
               s.unlink("d/f"); s.rmdir("d"); s.pread(&f, 9, 0); s.fstat(&f) }
           "inotify_sees_changes" { s.sh(WATCH) }
           "leased_and_then_opened" { s.file("f", b""); let f = s.ro("f");
               s.fcntl(&f, libc::F_GETLEASE, 0) }
           "poll_of_file" {
    s.sh("python3 -c 'import select\nf=open(\"f\",\"w+\")\np=select.poll(); \
    p.register(f); print(p.poll(0)[0][1]&5)'") }
    "epoll_of_file" differs "the kernel lets epoll watch files of FUSE, which have a poll \
            operation" {
               s.sh("python3 -c 'import select\nf=open(\"f\",\"w+\")\ntry:\n  \
            select.epoll().register(f)\n\
               except PermissionError: print(\"EPERM\")'") }
       }
}
