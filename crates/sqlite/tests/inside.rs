//! Many connections in one process, failing transactions, and what other programs leave on a volume.
//! Goal: what SQLite promises of isolation and rollback holds, whatever a transaction failed on.

#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

mod common;

use std::ffi::{c_int, c_void};
use std::path::Path;

use ashlar::Volume;
use ashlar_sqlite::{Provided, provide};
use common::{BOTH, check_bank, create_bank, fingerprint, open, random_transaction, register};
use fastrand::Rng;
use rusqlite::{Connection, ErrorCode, ffi};

fn volume(name: &str, bytes: u64) -> Provided {
    register();
    provide(name, Volume::in_memory(bytes).unwrap()).expect("the name is free")
}

fn connect(path: &str) -> Connection {
    let connection = Connection::open(format!("file:{path}?vfs=ashlar")).unwrap();
    connection.busy_timeout(std::time::Duration::ZERO).unwrap();
    connection
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_row(sql, [], |row| row.get(0))
}

fn is_busy<T: std::fmt::Debug>(result: &rusqlite::Result<T>) -> bool {
    matches!(result, Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
}

#[test]
fn readers_never_see_what_is_not_committed() {
    let _volume = volume("/isolation", 64 << 20);
    let (writer, reader) = (connect("/isolation/a.db"), connect("/isolation/a.db"));
    writer.execute_batch("create table t(x, pad); pragma cache_size = 2;").unwrap();
    let count = "select count(*) from t";
    writer.execute_batch("begin; insert into t values(1, 2)").unwrap();
    assert_eq!(number(&reader, count).unwrap(), 0, "RESERVED lets readers in");
    assert!(is_busy(&reader.execute_batch("begin immediate")));
    // More than the cache holds: pages go to the file before the commit.
    let fill = "with n(i) as (select 1 union all select i + 1 from n where i < 300)
                insert into t select i, randomblob(3000) from n";
    writer.execute_batch(fill).unwrap();
    assert!(is_busy(&number(&reader, count)));
    writer.execute_batch("rollback").unwrap();
    assert_eq!(number(&reader, count).unwrap(), 0);
    writer.execute_batch(&format!("begin; {fill}")).unwrap();
    drop(writer);
    assert_eq!(number(&reader, count).unwrap(), 0, "closed in the middle");
    reader.execute_batch(fill).unwrap();
    assert_eq!(number(&connect("/isolation/a.db"), count).unwrap(), 300);
    // A reader holds a commit up, and new readers wait behind it.
    let writer = connect("/isolation/a.db");
    reader.execute_batch("begin; select count(*) from t").unwrap();
    assert_eq!(number(&reader, count).unwrap(), 300);
    writer.execute_batch("begin; delete from t").unwrap();
    assert!(is_busy(&writer.execute_batch("commit")));
    assert!(is_busy(&number(&connect("/isolation/a.db"), count)));
    reader.execute_batch("rollback").unwrap();
    writer.execute_batch("commit").unwrap();
    assert_eq!(number(&reader, count).unwrap(), 0);
}

#[test]
fn threads_with_connections_of_their_own_keep_the_sum() {
    let _volume = volume("/threads", 128 << 20);
    create_bank(&open("/threads").unwrap(), BOTH).unwrap();
    let worker = |seed: u64, connection: &Connection| {
        let mut random = Rng::with_seed(seed);
        let mut done = 0;
        for at in 0..60 {
            match random_transaction(connection, BOTH, &mut random, at) {
                Ok(committed) => done += u32::from(committed),
                Err(error) => {
                    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy), "{error}");
                    if !connection.is_autocommit() {
                        connection.execute_batch("rollback").unwrap();
                    }
                }
            }
        }
        done
    };
    let connections: Vec<Connection> = (0..4).map(|_| open("/threads").unwrap()).collect();
    let done: u32 = std::thread::scope(|scope| {
        let with = |(seed, connection): (u64, Connection)| {
            // Two that wait for each other give up after this.
            connection.busy_timeout(std::time::Duration::from_millis(100)).unwrap();
            scope.spawn(move || worker(seed, &connection))
        };
        let threads: Vec<_> = (0..).zip(connections).map(with).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(done > 20, "{done} transactions got through");
    check_bank(&open("/threads").unwrap(), BOTH).unwrap();
}

/// A table of many pages in each database.
fn create_pages(connection: &Connection) -> rusqlite::Result<()> {
    ["main", "b"].iter().try_for_each(|database| {
        connection.execute_batch(&format!(
            "create table {database}.pages(data);
             with n(i) as (select 1 union all select i + 1 from n where i < 200)
             insert into {database}.pages select randomblob(1000) from n"
        ))
    })
}

/// What is in them, in short.
fn pages(connection: &Connection) -> rusqlite::Result<String> {
    let sql = "select (select group_concat(hex(substr(data, 1, 4))) from main.pages) || ' ' ||
               (select group_concat(hex(substr(data, 1, 4))) from b.pages)";
    connection.query_row(sql, [], |row| row.get(0))
}

#[test]
fn a_full_volume_undoes_the_transaction_in_every_mode() {
    for (index, mode) in ["delete", "truncate", "persist", "memory", "off"].iter().enumerate() {
        for locking in ["normal", "exclusive"] {
            let name = format!("/full-{index}-{locking}");
            let _volume = volume(&name, 20 << 20);
            let connection = open(&name).unwrap();
            create_bank(&connection, BOTH).unwrap();
            connection
                .execute_batch(&format!(
                    "pragma main.journal_mode = {mode}; pragma b.journal_mode = {mode};
                     pragma main.cache_size = 10; pragma b.cache_size = 10;
                     pragma locking_mode = {locking};
                     update done set number = 0; update b.done set number = 0"
                ))
                .unwrap();
            create_pages(&connection).unwrap();
            let content = |connection: &Connection| {
                fingerprint(connection, BOTH).unwrap() + &pages(connection).unwrap()
            };
            let before = content(&connection);
            for _ in 0..3 {
                // What was there is written over, and out of the cache, before space runs out.
                connection
                    .execute_batch(
                        "begin; update main.pages set data = randomblob(1000);
                         update b.pages set data = randomblob(1000);",
                    )
                    .unwrap();
                let failed = (0..100).find_map(|_| {
                    let grow = "insert into main.blobs(data) values(randomblob(900000));
                                update b.accounts set balance = balance + 1;
                                insert into b.blobs(data) values(randomblob(900000))";
                    connection.execute_batch(grow).err()
                });
                let failed = failed.map_or_else(|| connection.execute_batch("commit"), Err);
                let code = failed.unwrap_err().sqlite_error_code();
                assert_eq!(code, Some(ErrorCode::DiskFull), "{name}");
                if !connection.is_autocommit() {
                    connection.execute_batch("rollback").unwrap();
                }
                if *mode == "off" && locking == "exclusive" {
                    break; // SQLite itself promises nothing: it neither undoes nor unlocks.
                }
                assert_eq!(content(&connection), before, "{name}");
            }
            drop(connection);
            let again = open(&name).unwrap();
            assert_eq!(content(&again), before, "{name} opened again");
            check_bank(&again, BOTH).unwrap();
        }
    }
}

#[test]
fn a_backup_and_a_vacuum_into_land_on_the_volume() {
    let provided = volume("/backup", 128 << 20);
    let source = Connection::open_in_memory().unwrap();
    source
        .execute_batch(
            "create table t(x);
             with n(i) as (select 1 union all select i + 1 from n where i < 3000)
             insert into t select randomblob(1000) from n",
        )
        .unwrap();
    let mut target = connect("/backup/deep/er/a.db");
    let backup = rusqlite::backup::Backup::new(&source, &mut target).unwrap();
    backup.run_to_completion(200, std::time::Duration::ZERO, None).unwrap();
    drop(backup);
    target.execute_batch("vacuum into 'file:/backup/b.db?vfs=ashlar'").unwrap();
    drop(target);
    assert!(provided.volume().metadata("deep/er/a.db").unwrap().len() > 3_000_000);
    for path in ["/backup/deep/er/a.db", "/backup/b.db"] {
        let connection = connect(path);
        assert_eq!(number(&connection, "select count(*) from t").unwrap(), 3000);
        connection.execute_batch("delete from t; vacuum").unwrap();
    }
    assert!(provided.volume().metadata("b.db").unwrap().len() < 20_000, "vacuum shrinks");
}

/// A database and its hot journal, as a crash of a SQLite on a mount leaves them.
#[test]
fn a_hot_journal_from_a_mount_is_played_back() {
    for mode in ["delete", "truncate", "persist"] {
        let folder = tempfile::tempdir().unwrap();
        let host = Connection::open(folder.path().join("a.db")).unwrap();
        host.execute_batch(&format!(
            "pragma journal_mode = {mode}; pragma cache_size = 2; create table t(x, pad);
             with n(i) as (select 1 union all select i + 1 from n where i < 300)
             insert into t select i, randomblob(3000) from n;
             begin; update t set x = 0; delete from t where rowid % 2 = 0;"
        ))
        .unwrap();
        let name = format!("/hot-{mode}");
        let provided = volume(&name, 64 << 20);
        for file in ["a.db", "a.db-journal"] {
            let bytes = std::fs::read(folder.path().join(file)).unwrap();
            provided.volume().write(file, bytes).unwrap();
        }
        let connection = connect(&format!("{name}/a.db"));
        connection.execute_batch(&format!("pragma journal_mode = {mode}")).unwrap();
        let sum = "select sum(x) from t";
        assert_eq!(number(&connection, sum).unwrap(), 300 * 301 / 2, "{mode}");
        connection.execute_batch("insert into t values(1, 2)").unwrap();
        assert_eq!(number(&connection, sum).unwrap(), 300 * 301 / 2 + 1, "{mode}");
        assert!(provided.volume().metadata("a.db-journal").is_err(), "{mode}: removed");
    }
}

/// Sends a message to the file of the main database.
fn control(connection: &Connection, op: c_int, arg: *mut c_void) -> c_int {
    #[allow(unsafe_code, reason = "SQLite's interface is C")]
    // SAFETY: the connection is open, and the messages below take no argument or the one given.
    unsafe {
        ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), op, arg)
    }
}

#[test]
fn batches_of_atomic_writes_are_committed_or_rolled_back() {
    let provided = volume("/batch", 64 << 20);
    let connection = connect("/batch/a.db");
    connection.execute_batch("create table t(x)").unwrap();
    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    let place = std::ptr::from_mut(&mut file).cast();
    assert_eq!(control(&connection, ffi::SQLITE_FCNTL_FILE_POINTER, place), ffi::SQLITE_OK);
    let write = |offset: i64, byte: u8| {
        let bytes = [byte; 4096];
        #[allow(unsafe_code, reason = "SQLite's interface is C")]
        // SAFETY: the file is open, and the bytes are there.
        unsafe {
            ((*(*file).pMethods).xWrite.unwrap())(file, bytes.as_ptr().cast(), 4096, offset)
        }
    };
    let send = |op| control(&connection, op, std::ptr::null_mut());
    let read = || provided.volume().read("a.db").unwrap();
    let before = read();
    assert_eq!(send(ffi::SQLITE_FCNTL_BEGIN_ATOMIC_WRITE), ffi::SQLITE_OK);
    assert_eq!(write(8192, 5), ffi::SQLITE_OK);
    assert_eq!(send(ffi::SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE), ffi::SQLITE_OK);
    assert_eq!(read(), before);
    assert_eq!(send(ffi::SQLITE_FCNTL_BEGIN_ATOMIC_WRITE), ffi::SQLITE_OK);
    assert_eq!(write(8192, 6), ffi::SQLITE_OK);
    assert_eq!(send(ffi::SQLITE_FCNTL_COMMIT_ATOMIC_WRITE), ffi::SQLITE_OK);
    assert_eq!(read()[8192..], [6; 4096]);
    // What is there already would be rolled back with the batch: refused.
    assert_eq!(write(12288, 7), ffi::SQLITE_OK);
    let begun = send(ffi::SQLITE_FCNTL_BEGIN_ATOMIC_WRITE);
    assert_eq!(begun, ffi::SQLITE_IOERR_BEGIN_ATOMIC);
    assert_eq!(send(ffi::SQLITE_FCNTL_SIZE_HINT), ffi::SQLITE_OK);
    assert_eq!(send(999), ffi::SQLITE_NOTFOUND);
}

#[test]
fn a_volume_closes_with_its_last_connection() {
    register();
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("v.img");
    let path = |name: &str| format!("file:{}/{name}?vfs=ashlar&create=32M", image.display());
    let (one, two) = (Connection::open(path("a.db")).unwrap(), Connection::open(path("b.db")));
    one.execute_batch("create table t(x)").unwrap();
    let two = two.unwrap();
    two.execute_batch("create table t(x)").unwrap();
    let opens = |image: &Path| Volume::open_image(image).map(drop).is_ok();
    assert!(!opens(&image));
    drop(one);
    assert!(!opens(&image));
    drop(two);
    assert!(opens(&image));
}
