//! Mounts beside kernel file systems and beside another FUSE server.

use crate::Settings;
use crate::measure::{Comparison, rate, time, turns};
use crate::peers::{Kind, Peer};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

/// Bytes of the stream.
const STREAM_BYTES: u64 = 4 << 30;
/// Bytes of each write and read.
const REQUEST_BYTES: usize = 1 << 20;
/// Files of the benchmark of names.
const NAMES: u64 = 20_000;

/// A file written from end to end and synced, then read with cold caches.
pub(crate) fn stream(settings: &Settings) -> Vec<Comparison> {
    let bytes = settings.sized(STREAM_BYTES >> 20) << 20;
    let image = bytes + (1 << 30);
    let kinds = [Kind::Ashlar, Kind::Ext4, Kind::Xfs];
    let mut peers = kinds.map(|kind| Peer::create(&settings.folder, kind, image));
    let title = |act: &str| format!("{} MiB: {act}, mounted", bytes >> 20);
    let mut write = Comparison::new(title("write + fsync"), "MiB per second");
    let mut read = Comparison::new(title("read with cold caches"), "MiB per second");
    for round in 0..settings.rounds.min(3) {
        let mut figures = [(0.0, 0.0); 3];
        for turn in turns(3, round) {
            let peer = &mut peers[turn];
            let path = peer.path().join("stream");
            let written = write_file(&path, bytes);
            peer.remount();
            let seen = time(|| read_file(&path, bytes));
            fs::remove_file(&path).expect("the file is there");
            peer.sync();
            figures[turn] = (written, rate(bytes >> 20, seen));
        }
        for (kind, (written, seen)) in kinds.iter().zip(figures) {
            write.add(kind.name(), written);
            read.add(kind.name(), seen);
        }
    }
    vec![write, read]
}

fn write_file(path: &Path, bytes: u64) -> f64 {
    let buffer: Vec<u8> = (0..REQUEST_BYTES).map(|at| (at * 31) as u8).collect();
    let took = time(|| {
        let mut file = fs::File::create(path).expect("a file can be made");
        for _ in 0..bytes / REQUEST_BYTES as u64 {
            file.write_all(&buffer).expect("there is space");
        }
        file.sync_all().expect("a file can be synced");
    });
    rate(bytes >> 20, took)
}

fn read_file(path: &Path, bytes: u64) {
    let mut file = fs::File::open(path).expect("the file is there");
    let mut buffer = vec![0; REQUEST_BYTES];
    let mut seen = 0;
    loop {
        match file.read(&mut buffer).expect("a file can be read") {
            0 => break,
            count => seen += count as u64,
        }
    }
    assert_eq!(seen, bytes, "the file is as long as it was written");
}

/// Empty files created, looked at and removed, through FUSE on both sides.
pub(crate) fn names(settings: &Settings) -> Vec<Comparison> {
    let count = settings.sized(NAMES);
    let kinds = [Kind::Ashlar, Kind::Fuse2fs];
    let mut peers = kinds.map(|kind| Peer::create(&settings.folder, kind, 1 << 30));
    let mut all: Vec<Comparison> = ["create", "stat with cold caches", "unlink"]
        .into_iter()
        .map(|act| Comparison::new(format!("{count} files: {act}, mounted"), "files per second"))
        .collect();
    for round in 0..settings.rounds.min(3) {
        let mut figures = [[0.0; 3]; 2];
        for turn in turns(2, round) {
            figures[turn] = name_round(&mut peers[turn], round, count);
        }
        for (at, comparison) in all.iter_mut().enumerate() {
            for (kind, figures) in kinds.iter().zip(&figures) {
                comparison.add(kind.name(), figures[at]);
            }
        }
    }
    all
}

fn name_round(peer: &mut Peer, round: usize, count: u64) -> [f64; 3] {
    let folder = peer.path().join(format!("round{round}"));
    fs::create_dir(&folder).expect("a folder can be made");
    let name = |number: u64| folder.join(format!("file-{number:06}"));
    let create = time(|| {
        for number in 0..count {
            fs::File::create_new(name(number)).expect("a file can be made");
        }
        peer.sync();
    });
    peer.remount();
    let stat = time(|| {
        for number in 0..count {
            fs::metadata(name(number)).expect("the file is there");
        }
    });
    let unlink = time(|| {
        for number in 0..count {
            fs::remove_file(name(number)).expect("the file is there");
        }
        peer.sync();
    });
    [create, stat, unlink].map(|took| rate(count, took))
}
