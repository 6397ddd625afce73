//! Many threads on one volume: nobody is lost, nothing is torn.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::thread;

use ashlar::{ErrorKind, OpenOptions, RenameFlags, Volume};

const THREADS: usize = 8;

#[test]
fn exactly_one_thread_creates_a_new_file() {
    let volume = Volume::in_memory(64 << 20).unwrap();
    for round in 0..200 {
        let path = format!("file{round}");
        let made = thread::scope(|scope| {
            let open = || {
                let options = OpenOptions::new().write(true).create_new(true);
                match volume.open(&path, options) {
                    Ok(_) => 1,
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => 0,
                    Err(error) => panic!("{error}"),
                }
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(made, 1, "round {round}");
    }
}

#[test]
fn appends_of_many_threads_are_all_there() {
    let volume = Volume::in_memory(64 << 20).unwrap();
    const RECORDS: usize = 500;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let volume = &volume;
            scope.spawn(move || {
                let options = OpenOptions::new().append(true).create(true);
                let log = volume.open("log", options).unwrap();
                for record in 0..RECORDS {
                    log.append(format!("{thread:03} {record:04}\n").as_bytes()).unwrap();
                }
            });
        }
    });
    let text = volume.read_to_string("log").unwrap();
    let lines: BTreeSet<&str> = text.lines().collect();
    assert_eq!(lines.len(), THREADS * RECORDS);
    assert_eq!(text.lines().count(), THREADS * RECORDS);
}

#[test]
fn create_and_remove_race_without_surprises() {
    let volume = Volume::in_memory(64 << 20).unwrap();
    volume.create_dir("dir").unwrap();
    thread::scope(|scope| {
        for seed in 0..THREADS as u64 {
            let volume = &volume;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..2000 {
                    one_racing_step(volume, &mut random);
                }
            });
        }
    });
    // Whatever is left can be listed and removed.
    let left = volume.read_dir("dir").unwrap().map(|entry| entry.unwrap().path());
    for path in left.collect::<Vec<_>>() {
        volume.read(&path).unwrap();
    }
    volume.remove_dir_all("dir").unwrap();
    volume.close().unwrap();
}

/// Every outcome that some order of the other threads explains is fine.
fn one_racing_step(volume: &Volume, random: &mut fastrand::Rng) {
    let path = format!("dir/{}", random.u32(0..4));
    let other = format!("dir/{}", random.u32(0..4));
    let gone = |result: ashlar::Result<()>| match result {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
        _ => {}
    };
    match random.u32(0..5) {
        // With `create` a file is there, whoever removes it meanwhile.
        0 => volume.write(&path, "content").unwrap(),
        1 => gone(volume.remove_file(&path)),
        2 => gone(volume.rename(&path, &other)),
        3 => gone(volume.rename_with(&path, &other, RenameFlags::EXCHANGE)),
        _ => gone(volume.read(&path).map(|content| {
            assert!(content.is_empty() || content == b"content", "{content:?}");
        })),
    }
}
