//! What the path API costs, measured on a volume in memory. Run with
//! `cargo test --release -p ashlar --test speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Instant;

use ashlar::{OpenOptions, Volume};

const FILES: usize = 100_000;
const BYTES: usize = 4096;

/// Prints the rate, and what the thread itself used of the CPU, which others cannot disturb.
fn timed(what: &str, work: impl FnOnce()) {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    work();
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let (rate, cost) = (FILES as f64 / seconds, cpu * 1e6 / FILES as f64);
    println!("{what:<30} {rate:>9.0} per second {cost:>8.2} us of CPU each");
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[test]
#[ignore = "a measurement, for release builds"]
fn small_files_by_path() {
    let volume = Volume::in_memory(2 << 30).unwrap();
    let paths: Vec<String> =
        (0..FILES).map(|number| format!("dir{}/file{number}", number % 100)).collect();
    for number in 0..100 {
        volume.create_dir(format!("dir{number}")).unwrap();
    }
    let content = vec![7; BYTES];
    timed("create, write 4 KiB, close", || {
        for path in &paths {
            let options = OpenOptions::new().write(true).create(true);
            let file = volume.open(path, options).unwrap();
            file.write_at(0, &content).unwrap();
        }
    });
    timed("metadata", || {
        for path in &paths {
            assert_eq!(volume.metadata(path).unwrap().len(), BYTES as u64);
        }
    });
    timed("open, read 4 KiB, close", || {
        let mut buf = vec![0; BYTES];
        for path in &paths {
            let file = volume.open(path, OpenOptions::new().read(true)).unwrap();
            assert_eq!(file.read_at(0, &mut buf).unwrap(), BYTES);
        }
    });
    timed("missing name", || {
        for path in &paths {
            assert!(!volume.exists(format!("{path}x")).unwrap());
        }
    });
    timed("remove", || {
        for path in &paths {
            volume.remove_file(path).unwrap();
        }
    });
    volume.close().unwrap();
}
