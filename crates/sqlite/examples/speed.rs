//! Transactions through the VFS beside those on the host's file system, in one run.
//!
//! ```text
//! cargo run --release -p ashlar-sqlite --example speed [folder] [seconds for each measurement]
//! ```
//! The folder is where the image and the other databases go: a disk, not a file system in memory.
//! Rounds of all modes alternate, so that a machine that gets slower does so for all; ratios are
//! those of medians.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Result};

/// Rows before anything is measured.
const ROWS: i64 = 100_000;
/// Rounds that are measured for each mode.
const ROUNDS: usize = 7;

/// A way to keep a database.
struct Mode {
    name: &'static str,
    connection: Connection,
}

/// What is measured: a name, and what one transaction runs.
const WORKLOADS: [(&str, u32); 4] =
    [("1 row", 1), ("100 rows", 100), ("1000 pages", 1000), ("point reads", 0)];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| ".".into()));
    let seconds: f64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0.5);
    let files = tempfile::tempdir_in(&folder).expect("the folder takes files");
    register();
    let mut modes = modes(files.path())?;
    for mode in &modes {
        fill(&mode.connection)?;
    }
    print!("{:<14}", "per second");
    modes.iter().for_each(|mode| print!("{:>14}", mode.name));
    println!("{:>10}{:>10}", "/wal", "/delete");
    for (name, rows) in WORKLOADS {
        let mut rates = vec![Vec::new(); modes.len()];
        for round in 0..ROUNDS {
            for (mode, rates) in modes.iter_mut().zip(&mut rates) {
                rates.push(measure(&mode.connection, rows, seconds, round)?);
            }
        }
        let medians: Vec<f64> = rates.into_iter().map(median).collect();
        print!("{name:<14}");
        medians.iter().for_each(|rate| print!("{rate:>14.1}"));
        println!("{:>10.2}{:>10.2}", medians[0] / medians[1], medians[0] / medians[2]);
    }
    Ok(())
}

fn register() {
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
    drop(Connection::open_in_memory());
}

fn modes(folder: &Path) -> Result<Vec<Mode>> {
    let image = folder.join("volume.img");
    let open = |name, uri: String, settings: &str| -> Result<Mode> {
        let connection = Connection::open(uri)?;
        connection.execute_batch(settings)?;
        connection.execute_batch("pragma synchronous = full; pragma cache_size = -32000")?;
        Ok(Mode { name, connection })
    };
    // Both are full size from the start: growing a file is another measurement.
    let volume = ashlar::Volume::options().size(1 << 30).prealloc(true).create(&image);
    drop(volume.expect("an image can be made"));
    Ok(vec![
        open("ashlar", format!("file:{}/a.db?vfs=ashlar", image.display()), "")?,
        open("host wal", folder.join("wal.db").display().to_string(), "pragma journal_mode = wal")?,
        open(
            "host delete",
            folder.join("delete.db").display().to_string(),
            "pragma journal_mode = delete",
        )?,
    ])
}

fn fill(connection: &Connection) -> Result<()> {
    connection.execute_batch(&format!(
        "create table t(id integer primary key, counter, pad);
         with recursive n(i) as (select 1 union all select i + 1 from n where i < {ROWS})
         insert into t select i, 0, randomblob(400) from n"
    ))
}

/// Transactions each second; `rows` random ones each, or a read where that is 0. Rows of the largest
/// transaction lie a page apart.
fn measure(connection: &Connection, rows: u32, seconds: f64, round: usize) -> Result<f64> {
    let mut random = fastrand::Rng::with_seed(round as u64);
    let mut update = connection.prepare("update t set counter = counter + 1 where id = ?")?;
    let mut read = connection.prepare("select counter, pad from t where id = ?")?;
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_secs_f64(seconds) {
        if rows == 0 {
            for _ in 0..100 {
                read.query_row([random.i64(1..=ROWS)], |row| row.get::<_, i64>(0))?;
            }
            count += 100;
            continue;
        }
        connection.execute_batch("begin immediate")?;
        let first = random.i64(1..=ROWS);
        for row in 0..i64::from(rows) {
            let id = if rows == 1000 { first + row * 10 } else { random.i64(1..=ROWS) };
            update.execute([1 + id % ROWS])?;
        }
        connection.execute_batch("commit")?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
