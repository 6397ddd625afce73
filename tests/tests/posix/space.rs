//! Holes, truncation, allocation, and the limits of a file's size.

use ashlar_tests::rows;
use ashlar_tests::table::Table;
use libc::{
    FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_UNSHARE_RANGE, FALLOC_FL_ZERO_RANGE, O_CREAT, O_RDWR, SEEK_DATA, SEEK_HOLE,
};

const KEEP: i32 = FALLOC_FL_KEEP_SIZE;
const PUNCH: i32 = FALLOC_FL_PUNCH_HOLE | KEEP;

/// Modes for the matrix of ranges.
const MODES: [(&str, i32); 9] = [
    ("allocate", 0),
    ("allocate_keep", KEEP),
    ("punch", PUNCH),
    ("zero", FALLOC_FL_ZERO_RANGE),
    ("zero_keep", FALLOC_FL_ZERO_RANGE | KEEP),
    ("collapse", FALLOC_FL_COLLAPSE_RANGE),
    ("insert", FALLOC_FL_INSERT_RANGE),
    ("punch_without_keep", FALLOC_FL_PUNCH_HOLE),
    ("collapse_and_insert", FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE),
];

/// Ranges in a file of 40,000 bytes.
const RANGES: [(i64, i64); 14] = [
    (0, 4096),
    (4096, 8192),
    (100, 50),
    (4000, 9000),
    (36_864, 4096),
    (36_000, 10_000),
    (40_000, 5000),
    (65_536, 4096),
    (0, 40_000),
    (0, 0),
    (-1, 10),
    (10, -1),
    (i64::MAX - 10, 100),
    (i64::MAX - 4095, 4095),
];

/// FUSE refuses modes that it does not know before it asks a server; ranges that make no sense
/// are refused before that.
fn unknown_to_fuse(name: &str, offset: i64, length: i64) -> Option<&'static str> {
    let sound = offset >= 0 && length > 0 && offset.checked_add(length).is_some();
    (sound && matches!(name, "collapse" | "insert")).then_some(
        "the kernel's FUSE client does not pass COLLAPSE_RANGE and INSERT_RANGE to servers",
    )
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 241) as u8 + 1).collect()
}

/// All rows.
pub(crate) fn rows(t: &mut Table) {
    for (name, mode) in MODES {
        for (offset, length) in RANGES {
            if matches!(name, "allocate" | "zero") && offset > 1 << 40 && length == 4095 {
                continue;
            }
            t.row(
                format!("{name}_{offset}_{length}"),
                unknown_to_fuse(name, offset, length),
                Box::new(move |s| {
                    s.file("f", &pattern(40_000));
                    let f = s.rw("f");
                    s.fallocate(&f, mode, offset, length);
                    s.fstat(&f);
                    s.fsync(&f);
                    // Before anything is read: cached zeros over unwritten space count as data.
                    s.seek(&f, 0, SEEK_HOLE);
                    s.pread(&f, 60_000, 0);
                }),
            );
        }
    }
    holes(t);
    sizes(t);
    allocation(t);
}

fn holes(t: &mut Table) {
    rows! { t, s,
        "seek_in_data" { s.file("f", &pattern(10_000)); let f = s.rw("f"); s.fsync(&f);
            for o in [0, 1, 4096, 9999] {
            s.seek(&f, o, SEEK_DATA); s.seek(&f, o, SEEK_HOLE); } }
        "seek_at_and_behind_eof" { s.file("f", b"12345"); let f = s.rw("f");
            for o in [5, 6, 1 << 30, -1] {
            s.seek(&f, o, SEEK_DATA); s.seek(&f, o, SEEK_HOLE); } }
        "seek_in_empty_file" { s.file("f", b""); let f = s.rw("f"); s.seek(&f, 0, SEEK_DATA);
            s.seek(&f, 0, SEEK_HOLE) }
        "seek_in_one_hole" { s.file("f", b""); s.truncate("f", 1 << 20); let f = s.rw("f");
            s.seek(&f, 0, SEEK_DATA); s.seek(&f, 0, SEEK_HOLE); s.seek(&f, 5000, SEEK_HOLE) }
        "seek_hole_then_data" { s.file("f", b""); let f = s.rw("f");
            s.pwrite(&f, &pattern(4096), 1 << 20); s.fsync(&f);
            s.seek(&f, 0, SEEK_DATA); s.seek(&f, 0, SEEK_HOLE); s.seek(&f, 1 << 20, SEEK_HOLE);
            s.seek(&f, (1 << 20) + 100, SEEK_DATA) }
        "seek_data_hole_data" { s.file("f", &pattern(4096)); let f = s.rw("f");
            s.pwrite(&f, &pattern(4096), 1 << 20);
            s.fsync(&f); s.seek(&f, 0, SEEK_HOLE); s.seek(&f, 4096, SEEK_DATA);
            s.seek(&f, 4096, SEEK_HOLE);
            s.seek(&f, 500_000, SEEK_DATA) }
        "seek_punched" { s.file("f", &pattern(65_536)); let f = s.rw("f");
            s.fallocate(&f, PUNCH, 16_384, 16_384);
            s.fsync(&f); s.seek(&f, 0, SEEK_HOLE); s.seek(&f, 16_384, SEEK_DATA);
            s.seek(&f, 32_768, SEEK_HOLE) }
        "seek_unwritten_is_a_hole" { s.file("f", b""); let f = s.rw("f");
            s.fallocate(&f, 0, 0, 65_536); s.fsync(&f);
            s.seek(&f, 0, SEEK_DATA); s.seek(&f, 0, SEEK_HOLE); s.pwrite(&f, &pattern(4096), 8192);
            s.fsync(&f);
            s.seek(&f, 0, SEEK_DATA); s.seek(&f, 8192, SEEK_HOLE) }
        "punch_everything" { s.file("f", &pattern(50_000)); let f = s.rw("f"); s.fsync(&f);
            s.fallocate(&f, PUNCH, 0, 50_000);
            s.fsync(&f); s.fstat(&f); s.pread(&f, 50_000, 0); s.seek(&f, 0, SEEK_DATA) }
        "punch_behind_eof" { s.file("f", b"123"); let f = s.rw("f");
            s.fallocate(&f, PUNCH, 100_000, 4096); s.fstat(&f) }
        "sparse_file_takes_no_space" { s.file("f", b""); s.truncate("f", 1 << 40); s.stat("f");
            s.has_blocks("f");
            let f = s.rw("f"); s.pread(&f, 10, 1 << 39); s.pwrite(&f, b"far", 1 << 39);
            s.pread(&f, 10, 1 << 39) }
        "truncate_gives_space_back" { s.file("f", &pattern(1 << 20)); let f = s.rw("f");
            s.fsync(&f); s.has_blocks("f");
            s.ftruncate(&f, 0); s.has_blocks("f") }
        "collapse_moves_data_down" differs "as the rows called \
            collapse" { s.file("f", &pattern(65_536)); let f = s.rw("f");
            s.fallocate(&f, FALLOC_FL_COLLAPSE_RANGE, 4096, 8192); s.fstat(&f);
            s.pread(&f, 99_999, 0); s.fsync(&f);
            s.pread(&f, 99_999, 0) }
        "insert_moves_data_up" differs "as the rows called \
            insert" { s.file("f", &pattern(65_536)); let f = s.rw("f");
            s.fallocate(&f, FALLOC_FL_INSERT_RANGE, 4096, 8192); s.fstat(&f);
            s.pread(&f, 99_999, 0); s.fsync(&f);
            s.seek(&f, 0, SEEK_HOLE); s.pread(&f, 99_999, 0) }
        "collapse_then_insert_round_trip" differs "as the rows called \
            insert" { s.file("f", &pattern(65_536)); let f = s.rw("f");
            for at in [0, 8192, 16_384] { s.fallocate(&f, FALLOC_FL_INSERT_RANGE, at, 4096);
            s.fallocate(&f, FALLOC_FL_COLLAPSE_RANGE, at, 4096); } s.pread(&f, 99_999, 0) }
        "many_holes" { s.file("f", &pattern(400_000)); let f = s.rw("f"); for i in 0..48 {
            s.fallocate(&f, PUNCH, i * 8192, 4096); } s.fsync(&f); s.pread(&f, 400_000, 0);
            s.seek(&f, 0, SEEK_DATA); s.seek(&f, 4096, SEEK_HOLE) }
        "filefrag_and_fiemap_do_not_fail" { s.file("f", &pattern(100_000));
            s.sh("sync f; filefrag f > /dev/null; echo $?") }
    }
}

fn sizes(t: &mut Table) {
    for size in [-1, 0, 1, 4096, 1 << 31, 1 << 40, 1 << 43] {
        t.row(
            format!("truncate_to_{size}"),
            None,
            Box::new(move |s| {
                s.file("f", b"hello");
                s.truncate("f", size);
                s.stat("f");
                let f = s.rw("f");
                s.ftruncate(&f, size);
                s.pread(&f, 9, 0);
            }),
        );
    }
    rows! { t, s,
        "largest_size" { s.file("f", b""); let f = s.rw("f"); s.ftruncate(&f, i64::MAX);
            s.fstat(&f);
            s.pwrite(&f, b"x", i64::MAX - 1); s.pwrite(&f, b"x", i64::MAX);
            s.pread(&f, 1, i64::MAX - 1) }
        "write_across_largest_offset" { s.file("f", b""); let f = s.rw("f");
            s.pwrite(&f, b"xyz", i64::MAX - 1); s.fstat(&f) }
        "fallocate_beyond_largest_offset" { s.file("f", b""); let f = s.rw("f");
            s.fallocate(&f, 0, i64::MAX - 4096, 8192); s.fallocate(&f, KEEP, i64::MAX, 1) }
        "truncate_other_kinds" { s.dir("d"); s.symlink("d", "l"); s.mkfifo("p", 0o600);
            s.symlink("none", "m");
            for n in ["d", "l", "p", "m", "none"] { s.truncate(n, 10); } }
        "truncate_follows_symlink" { s.file("f", b"12345"); s.symlink("f", "l");
            s.truncate("l", 2); s.stat("f"); s.stat("l") }
        "file_size_limit" {
            s.sh("bash -c 'trap \"\" XFSZ; ulimit -f 8; head -c 20000 /dev/zero > f; echo $?; \
            stat -c %s f; truncate -s 9000 f; echo $?' 2>/dev/null") }
    }
}

fn allocation(t: &mut Table) {
    rows! { t, s,
        "allocate_then_write" { s.file("f", b""); let f = s.rw("f");
            s.fallocate(&f, 0, 0, 100_000); s.fstat(&f);
            s.has_blocks("f"); s.pread(&f, 50, 50_000); s.pwrite(&f, b"inside", 50_000);
            s.pread(&f, 50, 49_990);
            s.fsync(&f); s.pread(&f, 100_000, 0) }
        "allocate_keep_size_behind_eof" { s.file("f", b"abc"); let f = s.rw("f");
            s.fallocate(&f, KEEP, 0, 65_536);
            s.fstat(&f); s.has_blocks("f"); s.pwrite(&f, b"x", 30_000); s.pread(&f, 40_000, 0);
            s.ftruncate(&f, 60_000);
            s.pread(&f, 60_000, 0) }
        "allocate_more_than_there_is" { s.file("f", b"x"); let f = s.rw("f");
            s.fallocate(&f, 0, 0, 1 << 42); s.fstat(&f);
            s.pread(&f, 3, 0) }
        "fallocate_other_kinds" { s.dir("d"); let d = s.ro("d"); s.fallocate(&d, 0, 0, 1);
            s.mkfifo("p", 0o600);
            let p = s.open("p", O_RDWR, 0); s.fallocate(&p, 0, 0, 1);
            let n = s.open("/dev/null", O_RDWR, 0);
            s.fallocate(&n, 0, 0, 1) }
        "fallocate_unknown_mode" { s.file("f", b"x"); let f = s.rw("f");
            s.fallocate(&f, 0x4000, 0, 1);
            s.fallocate(&f, PUNCH | FALLOC_FL_ZERO_RANGE, 0, 1);
            s.fallocate(&f, FALLOC_FL_COLLAPSE_RANGE | KEEP, 0, 4096) }
        "unshare_plain_file" differs "FUSE does not pass FALLOC_FL_UNSHARE_RANGE to servers" {
            s.file("f", &pattern(8192)); let f = s.rw("f");
            s.fallocate(&f, FALLOC_FL_UNSHARE_RANGE, 0, 8192) }
        "fallocate_times" { s.file("f", &pattern(8192)); let f = s.rw("f");
            s.times_changed("f", || s.fallocate(&f, 0, 0, 4096));
            s.times_changed("f", || s.fallocate(&f, 0, 0, 20_000));
            s.times_changed("f", || s.fallocate(&f, PUNCH, 0, 4096));
            s.times_changed("f", || s.fallocate(&f, FALLOC_FL_ZERO_RANGE | KEEP, 4096, 4096)) }
        "fallocate_clears_setuid_of_others" { s.mkdir("d", 0o777); s.chmod("d", 0o777);
            s.file("d/f", &pattern(100));
            s.chown("d/f", 1000, 1000); s.chmod("d/f", 0o6755); s.as_nobody(|s| {
            let f = s.rw("d/f");
            s.fallocate(&f, PUNCH, 0, 50) }); s.stat("d/f") }
        "posix_fallocate_of_open_unlinked" { let f = s.open("f", O_CREAT | O_RDWR, 0o600);
            s.unlink("f");
            s.fallocate(&f, 0, 0, 8192); s.fstat(&f) }
        "du_counts_what_was_written" {
            s.sh("head -c 1M /dev/zero > f; sync f; du -k f | cut -f1; : > f; sync f; du -k f | \
            cut -f1") }
    }
}
