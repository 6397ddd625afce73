//! flock(2) and locks of open file descriptions.

use ashlar_tests::rows;
use ashlar_tests::table::Table;
use libc::{
    F_OFD_GETLK, F_OFD_SETLK, F_RDLCK, F_SETLK, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_NB, LOCK_SH,
    LOCK_UN,
};

/// All rows.
pub(crate) fn rows(t: &mut Table) {
    rows! { t, s,
        "flock_exclusive_excludes" { s.file("f", b""); let a = s.rw("f"); let b = s.ro("f");
            s.flock(&a, LOCK_EX | LOCK_NB); s.flock(&b, LOCK_EX | LOCK_NB);
            s.flock(&b, LOCK_SH | LOCK_NB); s.flock(&a, LOCK_UN); s.flock(&b, LOCK_EX | LOCK_NB) }
        "flock_shared_shares" { s.file("f", b""); let a = s.rw("f"); let b = s.ro("f");
            s.flock(&a, LOCK_SH | LOCK_NB); s.flock(&b, LOCK_SH | LOCK_NB);
            s.flock(&a, LOCK_EX | LOCK_NB); s.flock(&b, LOCK_UN); s.flock(&a, LOCK_EX | LOCK_NB) }
        "flock_ends_with_close" { s.file("f", b""); let a = s.rw("f"); let b = s.ro("f");
            s.flock(&a, LOCK_EX | LOCK_NB); s.close(a); s.flock(&b, LOCK_EX | LOCK_NB) }
        "flock_of_directory" { s.dir("d"); let a = s.ro("d"); let b = s.ro("d");
            s.flock(&a, LOCK_EX | LOCK_NB); s.flock(&b, LOCK_EX | LOCK_NB) }
        "flock_bad_operation" { s.file("f", b""); let a = s.rw("f"); s.flock(&a, 64);
            s.flock(&a, LOCK_UN) }
        "flock_of_unlinked_file" { s.file("f", b""); let a = s.rw("f"); s.unlink("f");
            s.flock(&a, LOCK_EX | LOCK_NB); s.file("f", b""); let b = s.rw("f");
            s.flock(&b, LOCK_EX | LOCK_NB) }
        "ranges_conflict_where_they_meet" { s.file("f", b"0123456789"); let a = s.rw("f");
            let b = s.rw("f");
            s.lock(&a, F_OFD_SETLK, F_WRLCK, 0, 5); s.lock(&b, F_OFD_SETLK, F_WRLCK, 5, 5);
            s.lock(&b, F_OFD_SETLK, F_WRLCK, 4, 1); s.lock(&b, F_OFD_GETLK, F_WRLCK, 0, 0);
            s.lock(&a, F_OFD_SETLK, F_UNLCK, 4, 1); s.lock(&b, F_OFD_SETLK, F_WRLCK, 4, 1) }
        "read_locks_share" { s.file("f", b"x"); let a = s.rw("f"); let b = s.rw("f");
            s.lock(&a, F_OFD_SETLK, F_RDLCK, 0, 0); s.lock(&b, F_OFD_SETLK, F_RDLCK, 0, 0);
            s.lock(&b, F_OFD_SETLK, F_WRLCK, 0, 1); s.lock(&b, F_OFD_GETLK, F_RDLCK, 0, 0) }
        "lock_needs_fitting_open" { s.file("f", b"x"); let r = s.ro("f"); let w = s.open("f", 1, 0);
            s.lock(&r, F_OFD_SETLK, F_WRLCK, 0, 0); s.lock(&w, F_OFD_SETLK, F_RDLCK, 0, 0) }
        "locks_behind_end_of_file" { s.file("f", b""); let a = s.rw("f"); let b = s.rw("f");
            s.lock(&a, F_OFD_SETLK, F_WRLCK, 1 << 40, 1);
            s.lock(&b, F_OFD_SETLK, F_WRLCK, 1 << 40, 1);
            s.lock(&b, F_OFD_SETLK, F_WRLCK, i64::MAX - 1, 1);
            s.lock(&b, F_OFD_SETLK, F_WRLCK, -1, 1) }
        "process_locks_do_not_conflict_with_themselves" { s.file("f", b""); let a = s.rw("f");
            let b = s.rw("f");
            s.lock(&a, F_SETLK, F_WRLCK, 0, 0); s.lock(&b, F_SETLK, F_WRLCK, 0, 0) }
        "process_lock_seen_by_another_process" { s.file("f", b""); s.sh(
            "python3 -c 'import fcntl,os,sys\nf=open(\"f\",\"r+\"); \
            fcntl.lockf(f,fcntl.LOCK_EX)\npid=os.fork()\nif pid==0:\n  g=open(\"f\",\"r+\")\n  \
            try: fcntl.lockf(g,fcntl.LOCK_EX|fcntl.LOCK_NB); os._exit(0)\n  except OSError as e: \
            os._exit(e.errno)\nprint(os.waitpid(pid,0)[1]>>8)'") }
        "flock_command_waits_its_turn" {
            s.sh("touch l; (flock 9; sleep 0.2; echo one) 9>l & sleep 0.05; (flock 9; echo two) \
            9>l; wait") }
        "leases_and_pipes_of_files" { s.file("f", b""); let a = s.ro("f");
            s.fcntl(&a, libc::F_GETLEASE, 0) }
    }
}
