//! SQLite built with SQLITE_ENABLE_BATCH_ATOMIC_WRITE, which speaks F2FS's ioctls: it finds out by
//! itself that it needs no journal, and its transactions are whole under kills.
//!
//! That no journal is made is checked by making it impossible: the folder takes no new names.

use ashlar_tests::mounts::Ashlar;
use ashlar_tests::programs::{script, soak};
use rusqlite::{Connection, Result};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const ACCOUNTS: u32 = 500;
const DATABASE: &str = "ASHLAR_ATOMIC_DATABASE";
const NOTES: &str = "ASHLAR_ATOMIC_TRANSFERS";

fn open(path: &Path) -> Result<Connection> {
    let database = Connection::open(path)?;
    database.busy_timeout(Duration::from_secs(5))?;
    database.execute_batch("PRAGMA synchronous=FULL")?;
    Ok(database)
}

/// One transaction; returns how many there were.
fn transfer(database: &mut Connection) -> Result<i64> {
    let transaction = database.transaction()?;
    let change = "UPDATE account SET balance = balance + ?1 WHERE id = ?2";
    let (from, to) = (fastrand::u32(..ACCOUNTS), fastrand::u32(..ACCOUNTS));
    transaction.execute(change, (-1, from))?;
    transaction.execute(change, (1, to))?;
    let length = fastrand::u32(..9000);
    transaction.execute("INSERT INTO log VALUES(randomblob(?1))", [length])?;
    let count = transaction.query_row("SELECT count(*) FROM log", [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(count)
}

fn create(path: &Path) -> Result<()> {
    let database = open(path)?;
    database.execute_batch(
        "CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER, filler BLOB);
         CREATE TABLE log(text BLOB);",
    )?;
    database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 - 1)
         INSERT INTO account SELECT i, 100, randomblob(300) FROM n",
        [ACCOUNTS],
    )?;
    Ok(())
}

/// Looks for a whole database; returns the number of transfers.
fn check(path: &Path) -> Result<i64> {
    let database = open(path)?;
    let whole: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    assert_eq!(whole, "ok");
    let sum: u32 = database.query_row("SELECT sum(balance) FROM account", [], |row| row.get(0))?;
    assert_eq!(sum, ACCOUNTS * 100);
    database.query_row("SELECT count(*) FROM log", [], |row| row.get(0))
}

#[test]
#[ignore = "the writer of the other test, which starts it"]
fn writer() {
    let variable = |name| PathBuf::from(std::env::var_os(name).expect("the test sets it"));
    let notes = OpenOptions::new().write(true).open(variable(NOTES)).expect("it is there");
    let Ok(mut database) = open(&variable(DATABASE)) else { return };
    while let Ok(count) = transfer(&mut database) {
        notes.write_all_at(&count.to_le_bytes(), 0).expect("the temporary folder has room");
    }
}

#[test]
fn sqlite_commits_without_a_journal_and_whole() {
    let rounds = if soak() { 200 } else { 8 };
    let mut volume = Ashlar::create("batch");
    let folder = volume.path().join("folder");
    fs::create_dir(&folder).expect("a new folder can be made");
    let (path, notes) = (folder.join("bank.db"), volume.image().with_extension("notes"));
    create(&path).expect("SQLite works");
    script(volume.path(), "chattr +i folder; ! touch folder/new 2> /dev/null; sync -f folder");
    fs::write(&notes, 0i64.to_le_bytes()).expect("the temporary folder has room");
    for round in 0..rounds {
        let mut writers = [(); 2].map(|()| {
            let program = std::env::current_exe().expect("a process knows its program");
            let mut command = Command::new(program);
            command.args(["--exact", "batch::writer", "--ignored"]);
            command.env(DATABASE, &path).env(NOTES, &notes);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it can be run")
        });
        std::thread::sleep(Duration::from_millis(fastrand::u64(150..500)));
        if round % 2 == 0 {
            // What one of them had under way ends with it; the other goes on.
            writers[0].kill().expect("it is our child");
            std::thread::sleep(Duration::from_millis(100));
            check(&path).expect("SQLite works");
        }
        volume.kill();
        for writer in &mut writers {
            // It may have ended by itself.
            let _ = writer.kill();
            writer.wait().expect("it is our child");
        }
        volume.mount();
        let bytes = fs::read(&notes).expect("it is there").try_into().expect("a number");
        let (found, noted) = (check(&path).expect("SQLite works"), i64::from_le_bytes(bytes));
        println!("round {round}: {found} transfers, {noted} acknowledged");
        // Two writers may note their counts in the other order.
        assert!(found + 1 >= noted && found > 0, "{found} transfers, {noted} acknowledged");
    }
    script(volume.path(), "chattr -i folder");
}
