//! Power cuts in the middle of SQL. Goal: after a cut anywhere both databases are whole, agree on the
//! last transaction, and have every one that was acknowledged. Method: a workload on a device that
//! remembers every write and flush; then, for random cuts, what the media may have left is opened.

#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

mod common;

use std::sync::Arc;

use ashlar::Volume;
use ashlar_check::{CheckOptions, Finding, Severity};
use ashlar_sim::crash::CrashStates;
use ashlar_sim::device::SimDevice;
use ashlar_sim::history::Event;
use ashlar_sim::image::Image;
use common::{BOTH, check_bank, create_bank, fingerprint, open, open_one, random_transaction};
use fastrand::Rng;
use rusqlite::Connection;

const VOLUME_BYTES: u64 = 96 << 20;

/// What was promised after so many events.
struct Promise {
    events: usize,
    number: i64,
    fingerprint: String,
}

/// Which databases are in a transaction, and how their changes get there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// Two databases, with journals that allow that.
    Two,
    /// One, with SQLite's own journal in memory.
    Memory,
    /// One, with a write-ahead log.
    Wal,
}

impl Setting {
    fn databases(self) -> &'static [&'static str] {
        if self == Self::Two { BOTH } else { &BOTH[..1] }
    }

    fn modes(self) -> &'static [&'static str] {
        match self {
            Self::Two => &["delete", "truncate", "persist"],
            Self::Memory => &["memory"],
            Self::Wal => &["wal"],
        }
    }

    fn open(self, name: &str) -> rusqlite::Result<Connection> {
        let connection = if self == Self::Two { open(name)? } else { open_one(name)? };
        if self == Self::Wal {
            connection.execute_batch("pragma locking_mode = exclusive")?;
        }
        Ok(connection)
    }

    /// Changes how SQLite commits; all of it promises durability.
    fn configure(self, connection: &Connection, random: &mut Rng) -> rusqlite::Result<()> {
        for database in self.databases() {
            let modes = self.modes();
            let mode = modes[random.usize(..modes.len())];
            // A log is not synced at each commit with `normal`.
            let sync = ["full", "extra", "normal"][random.usize(..3 - usize::from(mode == "wal"))];
            let cache = [3, 12, 500][random.usize(..3)];
            connection.execute_batch(&format!(
                "pragma {database}.journal_mode = {mode}; pragma {database}.synchronous = {sync};
                 pragma {database}.cache_size = {cache};"
            ))?;
        }
        if self == Self::Wal {
            let pages = [3, 50, 1000][random.usize(..3)];
            return connection.execute_batch(&format!("pragma wal_autocheckpoint = {pages}"));
        }
        let vacuum = ["none", "full", "incremental"][random.usize(..3)];
        connection.execute_batch(&format!("pragma auto_vacuum = {vacuum}; vacuum"))
    }
}

fn run_workload(
    device: &Arc<SimDevice>,
    random: &mut Rng,
    name: &str,
    setting: Setting,
) -> Vec<Promise> {
    let databases = setting.databases();
    let volume = Volume::options().create_on(Arc::clone(device) as _).unwrap();
    let provided = ashlar_sqlite::provide(name, volume).expect("the name is free");
    let connection = setting.open(name).unwrap();
    create_bank(&connection, databases).unwrap();
    setting.configure(&connection, random).unwrap();
    let reader = (setting != Setting::Wal).then(|| setting.open(name).unwrap());
    let mut promises = vec![];
    let promise = |connection: &Connection, number| {
        let events = device.event_count();
        Promise { events, number, fingerprint: fingerprint(connection, databases).unwrap() }
    };
    promises.push(promise(&connection, 0));
    for number in 1..=60 {
        if random_transaction(&connection, databases, random, number).unwrap() {
            promises.push(promise(&connection, number));
        }
        let last = promises.last().expect("the first is there");
        let now = fingerprint(&connection, databases).unwrap();
        assert_eq!(now, last.fingerprint, "after transaction {number}");
        if let Some(reader) = &reader {
            assert_eq!(fingerprint(reader, databases).unwrap(), last.fingerprint, "by others");
        }
        match random.u32(..30) {
            0 => connection.execute_batch("vacuum").unwrap(),
            1 if databases == BOTH => {
                connection.execute_batch("vacuum b; pragma incremental_vacuum(5)").unwrap();
            }
            2 => setting.configure(&connection, random).unwrap(),
            _ => {}
        }
    }
    drop((connection, reader));
    drop(provided);
    promises
}

/// Opens what a cut left; says what is wrong with it.
fn judge(
    image: Image,
    (name, setting): (&str, Setting),
    before: &Promise,
    after: Option<&Promise>,
) -> Result<(), String> {
    let device = Arc::new(SimDevice::new(VOLUME_BYTES, image));
    let mut findings = Vec::new();
    let mut keep = |finding: &Finding| {
        if finding.severity >= Severity::Error {
            findings.push(finding.to_string());
        }
    };
    let options = CheckOptions { on_finding: &mut keep, ..CheckOptions::default() };
    ashlar_check::check(&*device, options).map_err(|error| error.to_string())?;
    if !findings.is_empty() {
        return Err(format!("the volume is damaged: {}", findings.join("; ")));
    }
    let volume = Volume::options().open_on(device).map_err(|error| error.to_string())?;
    let provided = ashlar_sqlite::provide(name, volume).map_err(|_| "the name is taken")?;
    let connection = setting.open(name).map_err(|error| error.to_string())?;
    let number = check_bank(&connection, setting.databases())?;
    let found = fingerprint(&connection, setting.databases()).map_err(|error| error.to_string())?;
    let allowed = [Some(before), after];
    let allowed = || allowed.iter().flatten();
    if !allowed().any(|promise| promise.number == number && promise.fingerprint == found) {
        let numbers: Vec<i64> = allowed().map(|promise| promise.number).collect();
        return Err(format!("found {number} ({found}), allowed are {numbers:?}"));
    }
    drop(connection);
    drop(provided);
    Ok(())
}

/// Runs one seed; returns how many states were judged, or what is wrong with one.
fn sweep(seed: u64, setting: Setting, device: SimDevice) -> Result<usize, String> {
    let mut random = Rng::with_seed(seed);
    let device = Arc::new(device);
    let promises = run_workload(&device, &mut random, &format!("/crash-{seed}"), setting);
    let history = device.history();
    let first = promises[0].events;
    let mut cuts: Vec<usize> = (0..60).map(|_| random.usize(first..=history.len())).collect();
    cuts.sort_unstable();
    let mut states = CrashStates::new(device.base(), &history);
    let (mut judged, mut result) = (0, Ok(()));
    for (index, cut) in cuts.into_iter().enumerate() {
        let last = promises.partition_point(|promise| promise.events <= cut) - 1;
        let (before, after) = (&promises[last], promises.get(last + 1));
        states.judge_anew();
        states.visit(cut, 6, &mut random, |image| {
            judged += 1;
            let name = format!("/judge-{seed}-{index}");
            if result.is_ok()
                && let Err(reason) = judge(image, (&name, setting), before, after)
            {
                result = Err(format!("ASHLAR_SEED={seed}: cut after event {cut}: {reason}"));
            }
        });
    }
    result.map(|()| judged)
}

fn sweep_seeds(setting: Setting, count: usize) {
    let seeds = match std::env::var("ASHLAR_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..count).map(|_| fastrand::u64(..1 << 40)).collect(),
    };
    for seed in seeds {
        let device = SimDevice::new(VOLUME_BYTES, Image::default());
        match sweep(seed, setting, device) {
            Ok(judged) => println!("{judged} states"),
            Err(reason) => panic!("{reason}"),
        }
    }
}

#[test]
fn a_power_cut_leaves_the_last_commit_of_both_databases() {
    sweep_seeds(Setting::Two, 4);
}

#[test]
fn a_power_cut_leaves_the_last_commit_without_a_journal_file() {
    sweep_seeds(Setting::Memory, 2);
}

#[test]
fn a_power_cut_leaves_the_last_commit_in_the_write_ahead_log() {
    sweep_seeds(Setting::Wal, 2);
}

/// The test above can fail.
#[test]
fn a_device_that_lies_is_found_out() {
    let lies = (0..3).filter(|seed| {
        let device = SimDevice::new(VOLUME_BYTES, Image::default()).lying();
        sweep(*seed, Setting::Two, device).is_err()
    });
    assert!(lies.count() > 0);
}

/// Counts do not jitter, times do; the background thread of a volume adds a few.
#[test]
fn a_commit_costs_one_flush_however_many_databases_it_covers() {
    let device = Arc::new(SimDevice::new(VOLUME_BYTES, Image::default()));
    let volume = Volume::options().create_on(Arc::clone(&device) as _).unwrap();
    let _provided = ashlar_sqlite::provide("/flushes", volume).expect("the name is free");
    let connection = open("/flushes").unwrap();
    create_bank(&connection, BOTH).unwrap();
    let flushes = || {
        let is_flush = |event: &&Event| matches!(event, Event::Flush { .. });
        device.history().events().iter().filter(is_flush).count()
    };
    for sql in [
        "update main.done set number = number + 1",
        "begin; update main.done set number = number + 1;
         update b.done set number = number + 1; commit",
        "begin; update main.accounts set note = hex(randomblob(2000));
         update b.accounts set note = hex(randomblob(2000)); commit",
    ] {
        let before = flushes();
        for _ in 0..50 {
            connection.execute_batch(sql).unwrap();
        }
        let count = flushes() - before;
        assert!((50..=56).contains(&count), "{count} flushes for 50 times {sql}");
    }
}
