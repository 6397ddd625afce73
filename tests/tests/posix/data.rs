//! Bytes in and out: read, write, vectors of calls, mappings, copies inside the kernel.

use ashlar_tests::rows;
use ashlar_tests::table::Table;
use libc::{
    MAP_PRIVATE, MAP_SHARED, MS_ASYNC, MS_INVALIDATE, MS_SYNC, O_APPEND, O_DIRECT, O_RDWR,
    PROT_EXEC, PROT_READ, PROT_WRITE, SEEK_CUR, SEEK_END, SEEK_SET,
};

const RW: i32 = PROT_READ | PROT_WRITE;

/// Sizes around which file systems keep their secrets.
const SIZES: [usize; 14] =
    [0, 1, 511, 512, 2047, 2048, 2049, 4095, 4096, 4097, 16_384, 65_537, 262_144, 1_048_577];

/// Bytes that differ everywhere.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ (at / 251 % 256) as u8).collect()
}

/// All rows.
pub(crate) fn rows(t: &mut Table) {
    for size in SIZES {
        t.row(
            format!("write_read_{size}"),
            None,
            Box::new(move |s| {
                s.file("f", &pattern(size));
                s.stat("f");
                let f = s.rw("f");
                s.read(&f, size + 10);
                s.read(&f, 10);
                s.pwrite(&f, b"mid", (size / 2) as i64);
                s.pwrite(&f, b"end", size as i64);
                s.fsync(&f);
                s.pread(&f, size + 10, 0);
                s.stat("f");
            }),
        );
        t.row(
            format!("grow_shrink_grow_{size}"),
            None,
            Box::new(move |s| {
                s.file("f", &pattern(size));
                let f = s.rw("f");
                for other in SIZES {
                    s.ftruncate(&f, other as i64);
                    s.pread(&f, 64, other as i64 - 32);
                }
                s.ftruncate(&f, size as i64);
                s.pread(&f, size + 1, 0);
            }),
        );
    }
    edges(t);
    mappings(t);
    copies(t);
    direct(t);
}

fn edges(t: &mut Table) {
    rows! { t, s,
        "zero_length_io" { s.file("f", b"x"); let f = s.rw("f"); s.write(&f, b""); s.read(&f, 0);
            s.pwrite(&f, b"", 100); s.pread(&f, 0, 100); s.stat("f") }
        "negative_offset" { s.file("f", b"x"); let f = s.rw("f"); s.pread(&f, 1, -1);
            s.pwrite(&f, b"y", -1);
            s.seek(&f, -1, SEEK_SET); s.seek(&f, -2, SEEK_END); s.seek(&f, -5, SEEK_CUR) }
        "seek_far_and_read" { s.file("f", b"x"); let f = s.rw("f"); s.seek(&f, 1 << 40, SEEK_SET);
            s.read(&f, 5);
            s.seek(&f, i64::MAX, SEEK_SET); s.read(&f, 5); s.seek(&f, 1, SEEK_CUR);
            s.write(&f, b"x") }
        "seek_end_follows_size" { s.file("f", b"12345"); let f = s.rw("f"); s.seek(&f, 0, SEEK_END);
            s.write(&f, b"6"); s.seek(&f, 0, SEEK_END); s.seek(&f, -2, SEEK_END); s.read(&f, 9) }
        "vectored_io" { s.file("f", b"0123456789"); let f = s.rw("f"); s.preadv2(&f, 6, 2, 0);
            s.pwritev2(&f, b"ABCD", 3, 0); s.preadv2(&f, 20, 0, 0); s.preadv2(&f, 4, -1, 0);
            s.pwritev2(&f, b"xy", -1, 0); s.pread(&f, 20, 0) }
        "vectored_flags" { s.file("f", b"0123456789"); let f = s.rw("f");
            for flags in [libc::RWF_DSYNC, libc::RWF_SYNC, libc::RWF_HIPRI, libc::RWF_APPEND] {
            s.pwritev2(&f, b"zz", 2, flags); } s.preadv2(&f, 40, 0, libc::RWF_HIPRI);
            s.pwritev2(&f, b"q", 0, 0x4000_0000); s.preadv2(&f, 4, 0, libc::RWF_DSYNC);
            s.stat("f") }
        "seek_bad_whence" { s.file("f", b"x"); let f = s.rw("f"); s.seek(&f, 0, 9) }
        "gap_reads_as_zeros" { s.file("f", b"a"); let f = s.rw("f"); s.pwrite(&f, b"z", 10_000);
            s.pread(&f, 20_000, 0); s.pread(&f, 5, 4094) }
        "tail_behind_eof_is_zero_after_growth" { s.file("f", &pattern(5000)); let f = s.rw("f");
            s.ftruncate(&f, 100); s.ftruncate(&f, 5000); s.pread(&f, 5000, 0) }
        "append_after_truncate" { s.file("f", b"12345"); let f = s.open("f", O_RDWR | O_APPEND, 0);
            s.ftruncate(&f, 2); s.write(&f, b"x"); s.ftruncate(&f, 6); s.write(&f, b"y");
            s.pread(&f, 9, 0) }
        "two_descriptors_one_file" { s.file("f", b"0000000000"); let a = s.rw("f");
            let b = s.rw("f");
            s.pwrite(&a, b"AA", 2); s.pread(&b, 10, 0); s.pwrite(&b, b"BB", 4); s.pread(&a, 10, 0);
            s.ftruncate(&a, 3); s.pread(&b, 10, 0); s.fstat(&b) }
        "inline_to_block_and_back" { s.file("f", b"small"); let f = s.rw("f"); s.fsync(&f);
            s.pwrite(&f, &pattern(9000), 5); s.fsync(&f); s.ftruncate(&f, 5); s.fsync(&f);
            s.pread(&f, 99, 0);
            s.pwrite(&f, b"!", 3000); s.pread(&f, 4000, 0) }
        "overwrite_after_sync" { s.file("f", &pattern(20_000)); let f = s.rw("f"); for i in 0..5u8 {
            s.pwrite(&f, &vec![i; 5000], i64::from(i) * 3000); s.fsync(&f);
            } s.pread(&f, 20_000, 0) }
        "many_small_appends" { let f = s.open("f", O_RDWR | libc::O_CREAT | O_APPEND, 0o644);
            for i in 0..300 { s.write(&f, format!("line {i}\n").as_bytes());
            } s.pread(&f, 9000, 0) }
        "scattered_writes" { s.file("f", b""); let f = s.rw("f"); for i in 0..100i64 {
            s.pwrite(&f, &pattern(37), i * 7919 % 100_003); } s.fsync(&f); s.pread(&f, 200_000, 0) }
        "sync_calls" { s.file("f", b"x"); let f = s.rw("f"); s.fsync(&f); s.fdatasync(&f);
            s.syncfs(&f);
            s.sync_file_range(&f, 0, 0, 7); s.sync_file_range(&f, 0, 0, 99); let d = s.ro(".");
            s.fsync(&d);
            s.syncfs(&d); let r = s.ro("f"); s.fsync(&r) }
        "advice" { s.file("f", &pattern(10_000)); let f = s.rw("f"); for a in 0..7 {
            s.fadvise(&f, a); }
            s.pread(&f, 10_000, 0) }
        "write_to_full_device_node" { s.mknod("full", libc::S_IFCHR | 0o666, libc::makedev(1, 7));
            let f = s.rw("full"); s.write(&f, b"x") }
        "file_written_by_two_shells" {
            s.sh("(for i in $(seq 100); do echo a; done >> f) & (for i in $(seq 100); do echo b; \
            done >> f); wait; sort f | uniq -c | tr -s ' '") }
        "dd_round_trip" {
            s.sh("head -c 300001 /dev/zero | tr '\\0' 'q' > f; dd if=f of=g bs=4093 2>/dev/null; \
            cmp f g && cksum < g") }
    }
}

fn mappings(t: &mut Table) {
    rows! { t, s,
        "shared_store_is_read" { s.file("f", &pattern(8192)); let f = s.rw("f");
            let m = s.map(&f, 8192, RW, MAP_SHARED);
            s.poke(m.as_ref(), 4000, b"mapped bytes"); s.pread(&f, 20, 3996);
            s.msync(m.as_ref(), MS_SYNC);
            s.pread(&f, 8192, 0) }
        "write_is_seen_in_mapping" { s.file("f", &pattern(8192)); let f = s.rw("f");
            let m = s.map(&f, 8192, PROT_READ, MAP_SHARED); s.peek(m.as_ref(), 4090, 12);
            s.pwrite(&f, b"fresh", 4094); s.peek(m.as_ref(), 4090, 12) }
        "store_survives_unmap_and_reopen" { s.file("f", &pattern(5000)); { let f = s.rw("f");
            let m = s.map(&f, 5000, RW, MAP_SHARED); s.poke(m.as_ref(), 4999, b"!");
            } let f = s.ro("f");
            s.pread(&f, 9, 4995); s.stat("f") }
        "store_behind_eof_is_dropped" { s.file("f", b"short"); let f = s.rw("f");
            let m = s.map(&f, 4096, RW, MAP_SHARED);
            s.poke(m.as_ref(), 5, b"beyond"); s.msync(m.as_ref(), MS_SYNC); s.stat("f");
            s.ftruncate(&f, 20);
            s.pread(&f, 20, 0) }
        "mapping_behind_eof_reads_zeros" { s.file("f", b"short"); let f = s.rw("f");
            let m = s.map(&f, 4096, PROT_READ, MAP_SHARED); s.peek(m.as_ref(), 0, 16) }
        "private_store_stays_private" { s.file("f", &pattern(4096)); let f = s.rw("f");
            let m = s.map(&f, 4096, RW, MAP_PRIVATE); s.poke(m.as_ref(), 0, b"private");
            s.peek(m.as_ref(), 0, 10);
            s.pread(&f, 10, 0); s.pwrite(&f, b"public", 0); s.peek(m.as_ref(), 0, 10) }
        "mapping_outlives_descriptor_and_name" { s.file("f", &pattern(4096)); let m = {
            let f = s.rw("f");
            s.map(&f, 4096, RW, MAP_SHARED) }; s.unlink("f"); s.poke(m.as_ref(), 9, b"alive");
            s.msync(m.as_ref(), MS_SYNC); s.peek(m.as_ref(), 0, 20) }
        "map_hole_and_store" { s.file("f", b""); let f = s.rw("f"); s.ftruncate(&f, 1 << 20);
            let m = s.map(&f, 1 << 20, RW, MAP_SHARED); s.poke(m.as_ref(), 700_000, b"in the hole");
            s.msync(m.as_ref(), MS_SYNC); s.pread(&f, 20, 699_998); s.has_blocks("f");
            s.peek(m.as_ref(), 0, 4) }
        "map_needs_fitting_open" { s.file("f", b"x"); let r = s.ro("f"); let w = s.open("f", 1, 0);
            s.map(&r, 4096, RW, MAP_SHARED); s.map(&r, 4096, RW, MAP_PRIVATE);
            s.map(&w, 4096, PROT_READ, MAP_SHARED);
            s.map(&r, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE) }
        "map_directory" { let d = s.ro("."); s.map(&d, 4096, PROT_READ, MAP_SHARED) }
        "map_zero_length" { s.file("f", b"x"); let f = s.rw("f");
            s.map(&f, 0, PROT_READ, MAP_SHARED) }
        "msync_flags" { s.file("f", b"x"); let f = s.rw("f");
            let m = s.map(&f, 4096, RW, MAP_SHARED);
            s.msync(m.as_ref(), MS_ASYNC); s.msync(m.as_ref(), MS_INVALIDATE | MS_SYNC);
            s.msync(m.as_ref(), MS_ASYNC | MS_SYNC) }
        "truncate_under_mapping" { s.file("f", &pattern(12_288)); let f = s.rw("f");
            let m = s.map(&f, 12_288, RW, MAP_SHARED); s.poke(m.as_ref(), 100, b"kept");
            s.ftruncate(&f, 4096);
            s.peek(m.as_ref(), 100, 4); s.ftruncate(&f, 12_288); s.peek(m.as_ref(), 8000, 8);
            s.pread(&f, 8, 100) }
        "punch_under_mapping" { s.file("f", &pattern(12_288)); let f = s.rw("f");
            let m = s.map(&f, 12_288, RW, MAP_SHARED); s.peek(m.as_ref(), 5000, 4);
            s.fallocate(&f, 3, 4096, 4096);
            s.peek(m.as_ref(), 5000, 4); s.peek(m.as_ref(), 4090, 12) }
        "two_mappings_one_file" { s.file("f", &pattern(4096)); let a = s.rw("f"); let b = s.rw("f");
            let m = s.map(&a, 4096, RW, MAP_SHARED); let n = s.map(&b, 4096, RW, MAP_SHARED);
            s.poke(m.as_ref(), 7, b"seven"); s.peek(n.as_ref(), 5, 9) }
        "write_from_own_mapping" { s.file("f", &pattern(8192)); s.sh("cat f f > g; cksum < g") }
        "running_a_program" { s.sh("cp /bin/echo e && ./e ran; echo more >> e; echo $?") }
        "program_being_run_is_busy" {
            s.sh("cp /bin/sleep z; ./z 1 & sleep 0.1; (echo x > z) 2>/dev/null; echo $?; rm z; \
            echo $?; wait") }
    }
}

fn copies(t: &mut Table) {
    rows! { t, s,
        "copy_file_range_plain" { s.file("a", &pattern(10_000)); s.file("b", b"");
            let a = s.ro("a"); let b = s.rw("b");
            s.copy(&a, 0, &b, 0, 10_000); s.pread(&b, 10_001, 0); s.stat("b") }
        "copy_file_range_unaligned" { s.file("a", &pattern(10_000)); s.file("b", &pattern(300));
            let a = s.ro("a");
            let b = s.rw("b"); s.copy(&a, 123, &b, 77, 4567); s.pread(&b, 9999, 0) }
        "copy_file_range_past_eof" { s.file("a", b"short"); s.file("b", b""); let a = s.ro("a");
            let b = s.rw("b");
            s.copy(&a, 2, &b, 5000, 100); s.copy(&a, 5, &b, 0, 10); s.copy(&a, 99, &b, 0, 10);
            s.stat("b") }
        "copy_file_range_same_file" { s.file("a", &pattern(10_000)); let a = s.rw("a");
            s.copy(&a, 0, &a, 10_000, 5000);
            s.copy(&a, 0, &a, 100, 5000); s.stat("a"); s.pread(&a, 20_000, 0) }
        "copy_file_range_wrong_opens" { s.file("a", b"x"); s.file("b", b"y"); s.dir("d");
            let a = s.ro("a");
            let b = s.ro("b"); s.copy(&a, 0, &b, 0, 1); let w = s.open("b", 1, 0);
            s.copy(&w, 0, &w, 1, 1);
            let d = s.ro("d"); s.copy(&a, 0, &d, 0, 1); s.copy(&d, 0, &w, 0, 1);
            let p = s.open("b", 1 | O_APPEND, 0); s.copy(&a, 0, &p, 0, 1) }
        "copy_of_hole" { s.file("a", b""); s.truncate("a", 1 << 20); s.file("b", b"");
            let a = s.ro("a"); let b = s.rw("b");
            s.copy(&a, 0, &b, 0, 1 << 20); s.stat("b"); s.pread(&b, 100, 500_000) }
        "sendfile_between_files" { s.file("a", &pattern(10_000)); s.file("b", b"");
            let a = s.ro("a"); let b = s.rw("b");
            s.sendfile(&b, &a, 6000); s.sendfile(&b, &a, 6000); s.pread(&b, 20_000, 0) }
        "splice_through_pipe" { s.file("a", &pattern(10_000)); s.file("b", b""); let a = s.ro("a");
            let b = s.rw("b");
            let (r, w) = s.pipe(); s.splice(&a, &w, 4096); s.splice(&r, &b, 4096);
            s.splice(&a, &w, 100);
            s.splice(&r, &b, 100); s.pread(&b, 9999, 0) }
        "cp_sparse_keeps_content" {
            s.sh("truncate -s 1M a; printf mid | dd of=a bs=1 seek=500000 conv=notrunc \
            2>/dev/null; cp --sparse=always a b; cmp a b && stat -c %s b") }
    }
}

fn direct(t: &mut Table) {
    rows! { t, s,
        "direct_unaligned_is_refused_or_served_alike" differs "Ashlar serves unaligned O_DIRECT, \
            since requests pass through the server's own buffers" {
            s.file("f", &pattern(8192)); let f = s.open("f", O_RDWR | O_DIRECT, 0);
            s.pread(&f, 100, 3) }
        "direct_of_files_by_dd" {
            s.sh("head -c 1048576 /dev/zero | tr '\\0' 'd' > a; dd if=a of=b bs=64k oflag=direct \
            iflag=direct 2>/dev/null; cmp a b; echo $?") }
        "direct_and_buffered_agree" {
            s.sh("head -c 65536 /dev/zero | tr '\\0' 'x' > a; dd if=/dev/zero of=a bs=4096 seek=3 \
            count=2 conv=notrunc oflag=direct 2>/dev/null; cksum < a; printf hey | dd of=a bs=1 \
            seek=9 conv=notrunc 2>/dev/null; dd if=a bs=4096 count=1 iflag=direct 2>/dev/null | \
            cksum") }
        "direct_append_by_dd" {
            s.sh("dd if=/dev/zero of=a bs=4096 count=3 oflag=direct,append conv=notrunc \
            2>/dev/null; dd if=/dev/zero of=a bs=4096 count=2 oflag=direct,append conv=notrunc \
            2>/dev/null; stat -c %s a") }
    }
}
