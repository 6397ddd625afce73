//! What the path API costs, measured on a volume in memory. Run with
//! `cargo test --release -p ashlar --test speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Instant;

use ashlar::{OpenOptions, Volume};

const FILES: usize = 100_000;
const BYTES: usize = 4096;

fn timed(what: &str, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    let seconds = start.elapsed().as_secs_f64();
    println!("{what:<34} {:>9.0} per second", FILES as f64 / seconds);
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
