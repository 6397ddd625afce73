//! Databases that leave it to the file system to keep a commit whole: SQLite without a journal on
//! disk, PostgreSQL without full-page writes. The server is killed amid transactions.

use crate::files::set_atomic;
use ashlar_tests::mounts::Ashlar;
use ashlar_tests::programs::{run, script, soak};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const ACCOUNTS: u32 = 2000;

/// Transfers between accounts, each a transaction, and a line for each that was committed.
fn transfers(journal: &str, count: u32) -> String {
    let mut text = format!(
        ".timeout 5000\nPRAGMA journal_mode={journal}; PRAGMA synchronous=FULL; \
         PRAGMA cache_size=50;\n"
    );
    for _ in 0..count {
        let (from, to) = (fastrand::u32(..ACCOUNTS), fastrand::u32(..ACCOUNTS));
        let _ = writeln!(
            text,
            "BEGIN; UPDATE account SET balance=balance-1 WHERE id={from}; \
             UPDATE account SET balance=balance+1 WHERE id={to}; \
             INSERT INTO log VALUES(hex(randomblob({}))); COMMIT; SELECT count(*) FROM log;",
            fastrand::u32(..6000)
        );
    }
    text
}

fn last_number(path: &Path) -> u32 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().rev().find_map(|line| line.parse().ok()).unwrap_or(0)
}

/// SQLite's transfers under kills of the server.
fn sqlite_rounds(journal: &str, options: &str, attribute: bool) {
    let rounds = if soak() { 200 } else { 6 };
    let mut volume = Ashlar::create_with("sqlite", options);
    script(
        volume.path(),
        &format!(
            "sqlite3 bank.db \"PRAGMA journal_mode={journal}; \
             CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER, filler TEXT); \
             CREATE TABLE log(text TEXT); CREATE INDEX by_text ON log(text); BEGIN; \
             WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<{ACCOUNTS}-1) \
             INSERT INTO account SELECT i, 100, hex(randomblob(100)) FROM n; COMMIT;\"
             sync bank.db"
        ),
    );
    let database = volume.path().join("bank.db");
    if attribute {
        assert_eq!(set_atomic(&database, 1), Ok(0));
    }
    let (input, output) =
        (volume.image().with_extension("sql"), volume.image().with_extension("out"));
    for round in 0..rounds {
        fs::write(&input, transfers(journal, 3000)).expect("the temporary folder has room");
        let mut sqlite = Command::new("sqlite3")
            .arg("-bail")
            .arg(&database)
            .stdin(File::open(&input).expect("it is there"))
            .stdout(File::create(&output).expect("the temporary folder has room"))
            .stderr(Stdio::null())
            .spawn()
            .expect("sqlite3 can be run");
        std::thread::sleep(Duration::from_millis(fastrand::u64(100..600)));
        let first = fastrand::bool();
        if first {
            sqlite.kill().expect("it is our child");
            sqlite.wait().expect("it is our child");
            check_bank(&volume, &database, last_number(&output));
        }
        volume.kill();
        // It may have ended by itself.
        let _ = sqlite.kill();
        sqlite.wait().expect("it is our child");
        volume.mount();
        let logged = check_bank(&volume, &database, last_number(&output));
        println!("{journal} {options} round {round}: {logged} transfers");
        assert!(!database.with_extension("db-journal").exists());
    }
}

/// Looks for a whole database with at least so many transfers; returns how many there are.
fn check_bank(volume: &Ashlar, database: &Path, acknowledged: u32) -> u32 {
    let found = script(
        volume.path(),
        &format!(
            "sqlite3 {} 'PRAGMA integrity_check; SELECT sum(balance) FROM account; \
             SELECT count(*) FROM log'",
            database.display()
        ),
    );
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines[..2], ["ok", &(ACCOUNTS * 100).to_string()], "{found}");
    let logged = lines[2].parse().expect("a number");
    assert!(logged >= acknowledged, "{logged} transfers, {acknowledged} were acknowledged");
    logged
}

#[test]
fn sqlite_without_a_journal_on_disk_on_an_atomic_file() {
    sqlite_rounds("MEMORY", "", true);
}

#[test]
fn sqlite_without_any_journal_on_an_atomic_mount() {
    sqlite_rounds("OFF", "atomic", false);
}

/// Shell functions for a server in `db` whose socket and log are outside of the mount.
const POSTGRES: &str = r#"
    bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1); out=$(dirname "$PWD")/postgres
    mkdir -p $out; chown postgres $out
    trap 'echo "line $LINENO: $BASH_COMMAND"; tail -15 $out/log' ERR
    as() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }
    start() {
        as $bin/pg_ctl -D db/data -l $out/log -w -o "-k $out -c listen_addresses=" \
            -o "-c full_page_writes=off -c max_wal_size=64MB -c checkpoint_timeout=30s" \
            -o "-c shared_buffers=8MB -c bgwriter_delay=10ms" start > /dev/null
    }
"#;

/// Stops the server at once, by its number: its files may be out of reach.
fn stop_postgres(number: &str) {
    run(Command::new("kill").args(["-QUIT", number]));
    let gone = |_: &u32| !Path::new("/proc").join(number).exists();
    let waited = (0..600).inspect(|_| std::thread::sleep(Duration::from_millis(50)));
    assert!(waited.into_iter().any(|step| gone(&step)), "PostgreSQL runs on");
}

#[test]
fn postgresql_without_full_page_writes() {
    let (rounds, scale) = if soak() { (100, 10) } else { (4, 1) };
    let mut volume = Ashlar::create_with("postgres", "atomic=commit");
    script(
        volume.path(),
        &format!(
            "{POSTGRES}
            mkdir db; chown postgres db
            as $bin/initdb -D db/data --data-checksums --auth=trust > /dev/null
            start; as $bin/pgbench -h $out -i -q -s {scale} postgres 2> /dev/null
            as $bin/psql -h $out -qc 'CREATE EXTENSION amcheck' postgres
            as $bin/pg_ctl -D db/data -m fast stop > /dev/null"
        ),
    );
    for round in 0..rounds {
        let number = script(
            volume.path(),
            &format!(
                "{POSTGRES}
                start; head -1 db/data/postmaster.pid
                # -n: a run would begin by emptying the history.
                as $bin/pgbench -n -h $out -c 4 -T 60 postgres > /dev/null 2>&1 &"
            ),
        );
        std::thread::sleep(Duration::from_millis(fastrand::u64(1500..4000)));
        let killed = round % 2 == 0;
        if killed {
            volume.kill();
        }
        stop_postgres(number.trim());
        if killed {
            volume.mount();
        }
        script(
            volume.path(),
            &format!(
                r#"{POSTGRES}
                start
                as $bin/psql -h $out -Atc "SELECT (SELECT sum(abalance) FROM pgbench_accounts)
                    = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)" postgres | grep -qx t
                as $bin/pg_amcheck -h $out --heapallindexed --rootdescend postgres
                as $bin/pg_ctl -D db/data -m fast stop > /dev/null
                as $bin/pg_checksums -D db/data --check > /dev/null"#
            ),
        );
        println!("round {round}: whole");
    }
}
