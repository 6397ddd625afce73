//! Goal: programs that people use work on a mounted volume, and leave a clean volume behind.
//!
//! Method: each test runs one program for a few seconds on a fresh mount, lets it check its own
//! result, then unmounts and runs `ashlar fsck`. `cargo xtask soak` runs larger forms.

use ashlar_tests::mounts::{Ashlar, on_ashlar};
use ashlar_tests::programs::{script, soak, soak_seconds};
use std::path::Path;

/// `small` in a test run, `large` in a soak run.
fn sized(small: u32, large: u32) -> u32 {
    if soak() { large } else { small }
}

#[test]
fn git_history_survives_clone_gc_and_fsck() {
    on_ashlar("git", |mount| {
        let commits = sized(25, 1000);
        script(
            mount,
            &format!(
                r#"
                export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
                       GIT_COMMITTER_EMAIL=a@b
                git init -q -b main origin; cd origin
                for commit in $(seq {commits}); do
                    mkdir -p dir$((commit % 7))
                    for file in 1 2 3 4 5; do
                        seq $((commit * file)) $((commit * file + 200)) \
                            > dir$((commit % 7))/file$((commit % 5 * file))
                    done
                    git add -A; git commit -q -m "commit $commit"
                done
                cd ..
                git clone -q --no-hardlinks origin copy; git clone -q -l origin linked
                cd copy; git gc -q --aggressive --prune=now; git fsck --full --strict; cd ..
                git -C linked fsck --full
                git -C copy checkout -q HEAD~10; git -C origin checkout -q HEAD~10
                diff -r -x .git origin copy
                git -C copy status --porcelain | wc -l | grep -qx 0
                rm -rf origin copy linked; ls | wc -l | grep -qx 0
                "#
            ),
        );
    });
}

#[test]
fn tree_copied_by_tar_is_equal_in_every_attribute() {
    let trees = ["/usr/share/doc", "/usr/include", "/usr/share/perl5", "/etc"];
    let source = trees.into_iter().find(|tree| Path::new(tree).is_dir()).unwrap_or("/etc");
    on_ashlar("tar", |mount| {
        let count = sized(1500, 100_000);
        script(
            mount,
            &format!(
                r#"
                list() {{ (cd "$1"; find . -type f -printf '%p %m %n %U %G %s %T@ %l\n' | sort) }}
                find {source} \( -type f -o -type l \) -print0 | head -z -n {count} \
                    > ../names || true
                tar -C / --null -T ../names -cf ../tree.tar 2>/dev/null
                mkdir ../want have
                tar -C ../want -xpf ../tree.tar; tar -C have -xpf ../tree.tar
                diff -r --no-dereference ../want have
                diff <(list ../want) <(list have)
                tar -C have -cf - . | tar -df - -C have
                cp -a have again; diff -r --no-dereference have again
                diff <(list have) <(list again)
                echo 2 > /proc/sys/vm/drop_caches; diff -r --no-dereference ../want again
                "#
            ),
        );
    });
}

#[test]
fn small_crate_builds_and_tests_on_the_mount() {
    on_ashlar("cargo", |mount| {
        script(
            mount,
            r#"
            export CARGO_TARGET_DIR=$PWD/target CARGO_INCREMENTAL=1
            unset RUSTFLAGS RUSTC_WRAPPER
            mkdir -p one/src; cd one
            printf '[package]\nname = "one"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n' \
                > Cargo.toml
            for module in a b c d e; do
                echo "pub mod $module;" >> src/lib.rs
                printf 'pub fn %s() -> usize { "%s".len() }\n#[test]\nfn works() {
                    assert_eq!(%s(), 1); }\n' $module $module $module > src/$module.rs
            done
            echo 'fn main() { println!("{}", one::a::a() + one::e::e()); }' > src/main.rs
            cargo run --quiet --offline | grep -qx 2
            cargo test --quiet --offline > ../tests.log 2>&1; grep -q '5 passed' ../tests.log
            echo 'pub fn more() {}' >> src/a.rs
            cargo run --quiet --offline | grep -qx 2
            "#,
        );
    });
}

/// What a developer's machine holds: a toolchain and the sources of other people's crates.
#[test]
fn tree_of_many_files_is_equal_after_unmounting() {
    let mut volume = Ashlar::create_sized("tree", 16 << 30, "");
    let count = sized(2000, 35_000);
    let copy = format!(
        r#"
        find ${{CARGO_HOME:-$HOME/.cargo}}/registry/src ${{RUSTUP_HOME:-$HOME/.rustup}}/toolchains \
            /usr/include /usr/share /usr/lib/python3 \( -type f -o -type l \) -print0 2>/dev/null \
            | head -z -n {count} > ../names || true
        mkdir -p tree ../want
        tar -C / --null -T ../names -cf ../tree.tar 2>/dev/null
        tar -C ../want -xpf ../tree.tar; tar -C tree -xpf ../tree.tar; rm ../tree.tar
        find tree -type f -o -type l | wc -l
        "#
    );
    let copied = script(volume.path(), &copy);
    println!("{} files", copied.trim());
    assert_eq!(copied.trim(), count.to_string(), "this machine has fewer files");
    let compare = "diff -r --no-dereference ../want tree";
    script(volume.path(), compare);
    if soak() {
        build_of_this_repository(volume.path());
    }
    volume.unmount();
    volume.check();
    volume.mount();
    script(volume.path(), compare);
    script(volume.path(), "rm -rf tree");
}

/// Copies this repository's sources to the mount, builds a crate of it there and runs its tests.
fn build_of_this_repository(mount: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    script(
        mount,
        &format!(
            r#"
            mkdir repository
            tar -C {} --exclude='./target*' --exclude=./.git -cf - . | tar -C repository -xf -
            cd repository; export CARGO_TARGET_DIR=$PWD/target
            unset RUSTFLAGS RUSTC_WRAPPER
            cargo test --offline -p ashlar-btree > ../tests.log 2>&1 \
                || {{ cat ../tests.log; exit 1; }}
            grep -q 'test result: ok' ../tests.log; ! grep -q 'FAILED' ../tests.log
            cd ..; rm -rf repository
            "#,
            root.display()
        ),
    );
}

#[test]
fn fio_verifies_what_it_wrote() {
    on_ashlar("fio", |mount| {
        let size = sized(24, 1024);
        for job in [
            "--rw=randwrite --bs=4k --ioengine=psync",
            "--rw=randwrite --bs=512-64k --ioengine=psync --fsync=50",
            "--rw=randrw --bs=16k --ioengine=libaio --iodepth=16 --direct=1",
            "--rw=write --bs=1m --ioengine=io_uring --iodepth=4 --end_fsync=1",
            "--rw=write --bs=1m --ioengine=libaio --iodepth=4 --direct=1",
            "--rw=randwrite --bs=4k --ioengine=libaio --iodepth=16 --direct=1",
            "--rw=rw --bs=64k --ioengine=psync",
            "--rw=randwrite --bs=4k --ioengine=mmap",
            "--rw=randwrite --bs=8k --ioengine=psync --fallocate=keep --numjobs=2",
        ] {
            script(
                mount,
                &format!(
                    "fio --name=job --directory=. --size={size}m --verify=crc32c \
                     --verify_fatal=1 --do_verify=1 --randseed=7 --minimal {job} > ../fio.log; \
                     rm -f job.*"
                ),
            );
        }
    });
}

#[test]
fn sqlite_keeps_its_integrity_in_every_journal_mode() {
    on_ashlar("sqlite", |mount| {
        let rows = sized(3000, 300_000);
        for mode in ["delete", "truncate", "persist", "wal"] {
            script(
                mount,
                &format!(
                    r#"
                    sqlite3 {mode}.db "PRAGMA journal_mode={mode}; PRAGMA synchronous=FULL;
                        CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); CREATE INDEX i ON t(v);
                        WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n
                            WHERE x < {rows})
                        INSERT INTO t SELECT x, randomblob(abs(random()) % 400) FROM n;" > ../mode
                    grep -qx {mode} ../mode
                    for round in $(seq 20); do
                        sqlite3 {mode}.db "PRAGMA synchronous=FULL; BEGIN;
                            DELETE FROM t WHERE id % 20 = $round;
                            UPDATE t SET v = randomblob(100) WHERE id % 20 = $round + 1;
                            INSERT INTO t(v) VALUES (randomblob(5000)); COMMIT;"
                    done
                    sqlite3 {mode}.db "VACUUM; PRAGMA integrity_check;" | grep -qx ok
                    "#
                ),
            );
        }
    });
}

#[test]
fn sqlite_serves_several_writers() {
    on_ashlar("sqlite-load", |mount| {
        let rounds = sized(40, 3000);
        script(
            mount,
            &format!(
                r#"
                sqlite3 load.db "PRAGMA journal_mode=wal; CREATE TABLE t(w INT, n INT, v BLOB);
                    CREATE INDEX i ON t(w, n);" > ../mode
                writer() {{
                    for round in $(seq {rounds}); do
                        sqlite3 load.db ".timeout 60000" "PRAGMA synchronous=FULL; BEGIN IMMEDIATE;
                            INSERT INTO t VALUES ($1, $round, randomblob(3000));
                            DELETE FROM t WHERE w = $1 AND n = $round - 50; COMMIT;"
                    done
                }}
                for number in 1 2 3; do writer $number & writers="${{writers:-}} $!"; done
                for round in 1 2 3 4 5; do
                    sqlite3 load.db ".timeout 60000" "PRAGMA integrity_check;" | grep -qx ok
                done
                for writer in $writers; do wait $writer; done
                sqlite3 load.db "PRAGMA integrity_check;" | grep -qx ok
                want=$(( 3 * ({rounds} < 50 ? {rounds} : 50) ))
                sqlite3 load.db "SELECT count(*) FROM t" | grep -qx $want
                "#
            ),
        );
    });
}

#[test]
fn postgresql_recovers_after_an_immediate_stop() {
    on_ashlar("postgres", |mount| {
        let (scale, seconds) = (sized(1, 20), sized(3, soak_seconds(300)));
        script(
            mount,
            &format!(
                r#"
                bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
                mkdir db; chown postgres db; cd db
                as() {{ setpriv --reuid postgres --regid postgres --init-groups "$@"; }}
                stop() {{ as $bin/pg_ctl -D data -m immediate stop > /dev/null 2>&1 || true; }}
                trap stop EXIT
                as $bin/initdb -D data --data-checksums --auth=trust > /dev/null
                start="as $bin/pg_ctl -D data -l log -w -o -k -o $PWD"
                start="$start -o -c -o listen_addresses= start"
                $start > /dev/null
                as $bin/pgbench -h $PWD -i -q -s {scale} postgres 2> /dev/null
                as $bin/pgbench -h $PWD -c 4 -T {seconds} postgres > /dev/null 2> ../bench.log &
                bench=$!
                sleep {seconds}; sleep 0.5
                as $bin/pg_ctl -D data -m immediate stop > /dev/null
                wait $bench || true
                $start > /dev/null
                as $bin/psql -h $PWD -Atc "SELECT (SELECT sum(abalance) FROM pgbench_accounts)
                    = (SELECT sum(delta) FROM pgbench_history)" postgres | grep -qx t
                as $bin/psql -h $PWD -qc 'CREATE EXTENSION amcheck' postgres
                as $bin/pg_amcheck -h $PWD --heapallindexed --rootdescend postgres
                as $bin/pg_ctl -D data -m fast stop > /dev/null
                as $bin/pg_checksums -D data --check > /dev/null
                "#
            ),
        );
    });
}

#[test]
fn many_processes_in_one_directory_leave_a_clean_volume() {
    on_ashlar("shells", |mount| {
        let rounds = sized(60, 5000);
        script(
            mount,
            &format!(
                r#"
                worker() {{
                    for round in $(seq {rounds}); do
                        echo "$1 $round" > f$1.$round
                        mv f$1.$round shared$((round % 10)) 2> /dev/null || true
                        ln shared$((round % 10)) l$1.$round 2> /dev/null || true
                        mkdir -p d$((round % 5))/$1; rm -rf d$((round % 7))
                        rm -f l$1.$((round - 3))
                    done
                }}
                for number in 1 2 3 4; do worker $number & done
                wait
                rm -rf ./*; ls -A | wc -l | grep -qx 0
                "#
            ),
        );
    });
}
