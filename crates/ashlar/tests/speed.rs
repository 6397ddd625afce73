//! What the path API costs, measured on a volume in memory. Run with
//! `cargo test --release -p ashlar --test speed -- --ignored --nocapture`.
//!
//! Each phase is a function of its own, so that a profiler can be told to look at one alone, with
//! `FILES` small: `valgrind --tool=callgrind --toggle-collect='speed::remove'`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Instant;

use ashlar::{OpenOptions, Volume};

const FOLDERS: usize = 100;
const BYTES: usize = 4096;

/// Prints the rate, and what the thread itself used of the CPU, which others cannot disturb.
fn timed(what: &str, files: usize, work: impl FnOnce()) {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    work();
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let (rate, cost) = (files as f64 / seconds, cpu * 1e6 / files as f64);
    println!("{what:<30} {rate:>9.0} per second {cost:>8.2} us of CPU each");
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[inline(never)]
fn create(volume: &Volume, paths: &[String], content: &[u8]) {
    let options = OpenOptions::new().write(true).create(true);
    for path in paths {
        let file = volume.open(path, options).unwrap();
        file.write_at(0, content).unwrap();
    }
}

#[inline(never)]
fn metadata(volume: &Volume, paths: &[String]) {
    for path in paths {
        assert_eq!(volume.metadata(path).unwrap().len(), BYTES as u64);
    }
}

#[inline(never)]
fn read(volume: &Volume, paths: &[String]) {
    let mut buf = vec![0; BYTES];
    for path in paths {
        let file = volume.open(path, OpenOptions::new().read(true)).unwrap();
        assert_eq!(file.read_at(0, &mut buf).unwrap(), BYTES);
    }
}

#[inline(never)]
fn missing(volume: &Volume, paths: &[String]) {
    for path in paths {
        assert!(!volume.exists(path).unwrap());
    }
}

#[inline(never)]
fn remove(volume: &Volume, paths: &[String]) {
    for path in paths {
        volume.remove_file(path).unwrap();
    }
}

#[test]
#[ignore = "a measurement, for release builds"]
fn small_files_by_path() {
    let files: Option<usize> = std::env::var("FILES").ok().and_then(|files| files.parse().ok());
    let files = files.unwrap_or(100_000);
    let volume = Volume::in_memory(2 << 30).unwrap();
    let per_folder = files.div_ceil(FOLDERS);
    let path = |number: usize| format!("top/d{}/f{number}", number / per_folder);
    let paths: Vec<String> = (0..files).map(path).collect();
    let others: Vec<String> = paths.iter().map(|path| format!("{path}x")).collect();
    for number in 0..FOLDERS {
        volume.create_dir_all(format!("top/d{number}")).unwrap();
    }
    let content = vec![7; BYTES];
    timed("create, write 4 KiB, close", files, || create(&volume, &paths, &content));
    timed("sync", files, || volume.sync().unwrap());
    timed("metadata", files, || metadata(&volume, &paths));
    timed("metadata again", files, || metadata(&volume, &paths));
    timed("open, read 4 KiB, close", files, || read(&volume, &paths));
    timed("missing name", files, || missing(&volume, &others));
    timed("remove", files, || remove(&volume, &paths));
    volume.close().unwrap();
}
