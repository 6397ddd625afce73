//! A bank over two databases: whatever happens, no money is made or lost.

use std::sync::Once;

use fastrand::Rng;
use rusqlite::types::Value;
use rusqlite::{Connection, Result};

/// Accounts in each of the two databases.
const ACCOUNTS: i64 = 40;

/// Registers the VFS with the SQLite in this program.
pub(crate) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        type Init = unsafe extern "C" fn(
            *mut std::ffi::c_void,
            *mut *mut std::ffi::c_char,
            *const std::ffi::c_void,
        ) -> i32;
        type Auto = unsafe extern "C" fn(
            *mut rusqlite::ffi::sqlite3,
            *mut *mut std::ffi::c_char,
            *const rusqlite::ffi::sqlite3_api_routines,
        ) -> i32;
        let init: Init = ashlar_sqlite::auto_init;
        #[allow(unsafe_code, reason = "SQLite's interface is C")]
        // SAFETY: the two types differ in the names of what the pointers point to.
        unsafe {
            rusqlite::ffi::sqlite3_auto_extension(Some(std::mem::transmute::<Init, Auto>(init)));
        }
        drop(Connection::open_in_memory().expect("extension loads"));
    });
}

/// The two databases of a bank, by schema.
pub(crate) const BOTH: &[&str] = &["main", "b"];

/// Opens `a.db` of a volume, with `b.db` attached as `b`.
pub(crate) fn open(volume: &str) -> Result<Connection> {
    let connection = open_one(volume)?;
    connection.execute("attach ? as b", [format!("{volume}/b.db")])?;
    Ok(connection)
}

/// Opens `a.db` of a volume.
pub(crate) fn open_one(volume: &str) -> Result<Connection> {
    register();
    let connection = Connection::open(format!("file:{volume}/a.db?vfs=ashlar"))?;
    connection.busy_timeout(std::time::Duration::ZERO)?;
    Ok(connection)
}

/// Fills both databases.
pub(crate) fn create_bank(connection: &Connection, databases: &[&str]) -> Result<()> {
    for database in databases {
        connection.execute_batch(&format!(
            "begin;
             create table {database}.accounts(id integer primary key, balance, note);
             create table {database}.blobs(id integer primary key, data blob);
             create index {database}.by_note on accounts(note);
             create table {database}.done(number);
             insert into {database}.done values(0);
             with recursive n(i) as (select 1 union all select i + 1 from n where i < {ACCOUNTS})
             insert into {database}.accounts select i, 1000, hex(randomblob(20)) from n;
             commit"
        ))?;
    }
    Ok(())
}

/// Everything that is in the bank, in short: equal for equal content.
pub(crate) fn fingerprint(connection: &Connection, databases: &[&str]) -> Result<String> {
    let mut all = String::new();
    for database in databases {
        let part: String = connection.query_row(
            &format!(
                "select (select number from {database}.done) || ' ' ||
                 (select sum(balance) from {database}.accounts) || ' ' ||
                 (select sum(id * balance + id * unicode(note)) from {database}.accounts) || ' ' ||
                 (select count(*) || ' ' || ifnull(sum(id * length(data)), 0) || ' ' ||
                  ifnull(sum(instr(data, x'07')), 0) from {database}.blobs)"
            ),
            [],
            |row| row.get(0),
        )?;
        all = all + &part + "; ";
    }
    Ok(all)
}

/// Number of the last transaction, which both databases agree on, with all invariants checked.
pub(crate) fn check_bank(connection: &Connection, databases: &[&str]) -> Result<i64, String> {
    let ask = |sql: &str| {
        let answer = connection.query_row(sql, [], |row| row.get::<_, Value>(0));
        answer.map_err(|error| format!("{sql}: {error}"))
    };
    for database in databases {
        let found = ask(&format!("pragma {database}.integrity_check"))?;
        if found != Value::Text("ok".into()) {
            return Err(format!("{database} is broken: {found:?}"));
        }
    }
    let (mut sum, mut numbers) = (0, Vec::new());
    for database in databases {
        for (sql, sink) in [("sum(balance) from", None), ("number from", Some(&mut numbers))] {
            let table = if sink.is_some() { "done" } else { "accounts" };
            let Value::Integer(found) = ask(&format!("select {sql} {database}.{table}"))? else {
                return Err(format!("{database}.{table} has no number"));
            };
            match sink {
                Some(numbers) => numbers.push(found),
                None => sum += found,
            }
        }
    }
    if sum != 1000 * ACCOUNTS * databases.len() as i64 {
        return Err(format!("money was made or lost: {sum}"));
    }
    if numbers.iter().any(|number| *number != numbers[0]) {
        return Err(format!("one database has a transaction that the other lacks: {numbers:?}"));
    }
    Ok(numbers[0])
}

/// One statement of a transaction, which keeps the sum. Returns how many ran.
fn random_statement(connection: &Connection, databases: &[&str], random: &mut Rng) -> Result<()> {
    let mut pick = || databases[random.usize(..databases.len())];
    let (from, to) = (pick(), pick());
    let amount = random.i64(1..50);
    let account = |random: &mut Rng| random.i64(1..=ACCOUNTS);
    match random.u32(..10) {
        0..=5 => {
            for (database, change) in [(from, -amount), (to, amount)] {
                connection.execute(
                    &format!("update {database}.accounts set balance = balance + ? where id = ?"),
                    [change, account(random)],
                )?;
            }
        }
        6 => {
            let note = format!("{:x}", random.u64(..));
            connection.execute(
                &format!("update {from}.accounts set note = ? where id > ?"),
                (note, account(random)),
            )?;
        }
        7 => {
            let bytes_max = 1 << random.u32(8..18);
            connection.execute(
                &format!("insert into {from}.blobs(data) values(?)"),
                [vec![random.u8(..20); random.usize(..bytes_max)]],
            )?;
        }
        8 => {
            connection.execute(
                &format!("update {from}.blobs set data = data || x'0708' where id % 3 = ?"),
                [random.i64(..3)],
            )?;
        }
        _ => {
            connection.execute(
                &format!("delete from {from}.blobs where id % 5 = ?"),
                [random.i64(..5)],
            )?;
        }
    }
    Ok(())
}

/// A transaction with savepoints; `number` says that it was there. Returns whether it was committed.
pub(crate) fn random_transaction(
    connection: &Connection,
    databases: &[&str],
    random: &mut Rng,
    number: i64,
) -> Result<bool> {
    connection.execute_batch(["begin", "begin immediate"][random.usize(..2)])?;
    let mut run = |count: usize| -> Result<()> {
        for _ in 0..count {
            match random.u32(..5) {
                0 => {
                    connection.execute_batch("savepoint s")?;
                    for _ in 0..random.usize(..4) {
                        random_statement(connection, databases, random)?;
                    }
                    let end = ["release s", "rollback to s; release s"][random.usize(..2)];
                    connection.execute_batch(end)?;
                }
                _ => random_statement(connection, databases, random)?,
            }
        }
        Ok(())
    };
    run(1 + (number % 7) as usize)?;
    for database in databases {
        connection.execute(&format!("update {database}.done set number = ?"), [number])?;
    }
    let commit = random.u32(..5) > 0;
    connection.execute_batch(if commit { "commit" } else { "rollback" })?;
    Ok(commit)
}
