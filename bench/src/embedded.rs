//! The library beside the kernel: what an fsync costs, and what small files cost.

use crate::Settings;
use crate::measure::{Comparison, rate, time, turns};
use crate::peers::{Kind, Peer};
use ashlar::{OpenOptions, Volume};
use ashlar_device::{AlignedBuf, Counted, FileDevice, OpenMode};
use fastrand::Rng;
use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of an overwrite.
const WRITE_BYTES: usize = 16 << 10;
/// Bytes of the file that is overwritten.
pub(crate) const FILE_BYTES: u64 = 64 << 20;
/// Overwrites of each contender in one round.
const OVERWRITES: u64 = 400;
/// Files of the benchmark of small files.
const SMALL_FILES: u64 = 100_000;
/// Files of one directory.
const FILES_PER_FOLDER: u64 = 1000;

/// A file that is removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // It lies in the folder for images, which is temporary.
        let _ = fs::remove_file(&self.0);
    }
}

/// A volume in an image that is written in full, on a device that counts.
pub(crate) fn volume(folder: &Path, bytes: u64) -> (Scratch, Arc<Counted<FileDevice>>, Volume) {
    let path = folder.join("embedded.img");
    // An earlier run may have been stopped.
    let _ = fs::remove_file(&path);
    let mode = OpenMode { create_size: Some(bytes), ..OpenMode::default() };
    let device = FileDevice::open(&path, mode).expect("an image can be made");
    let device = Arc::new(Counted::new(device));
    let options = Volume::options().prealloc(true);
    let volume = options.create_on(Arc::clone(&device) as _).expect("a volume can be made");
    (Scratch(path), device, volume)
}

/// A plain file on the host, written in full.
pub(crate) fn plain(path: PathBuf, flags: i32) -> (Scratch, fs::File) {
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).open(&path);
    let file = file.expect("a plain file can be made");
    for at in 0..FILE_BYTES >> 20 {
        file.write_all_at(&vec![1; 1 << 20], at << 20).expect("there is space");
    }
    file.sync_all().expect("a plain file can be synced");
    let file = fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path);
    (Scratch(path), file.expect("a plain file can be opened again"))
}

/// 16 KiB random overwrite, then a sync, again and again.
pub(crate) fn fsync(settings: &Settings) -> Vec<Comparison> {
    let (_image, device, volume) = volume(&settings.folder, 512 << 20);
    let options = OpenOptions::new().write(true).create(true);
    let own = volume.open("file", options).expect("a file can be made");
    for at in 0..FILE_BYTES >> 20 {
        own.write_at(at << 20, &vec![1; 1 << 20]).expect("there is space");
    }
    volume.sync().expect("a volume can be synced");
    let (_one, buffered) = plain(settings.folder.join("buffered.dat"), 0);
    let (_two, direct) = plain(settings.folder.join("direct.dat"), libc::O_DIRECT);

    let count = settings.sized(OVERWRITES);
    let mut buf = AlignedBuf::new_zeroed(WRITE_BYTES);
    let mut comparison =
        Comparison::new("16 KiB random overwrite + sync, embedded", "syncs per second");
    let (mut flushes, mut bytes) = (0, 0);
    for round in 0..settings.rounds {
        let offsets = |round: usize| {
            let mut random = Rng::with_seed(round as u64);
            (0..count)
                .map(move |_| random.u64(..FILE_BYTES / WRITE_BYTES as u64) * WRITE_BYTES as u64)
        };
        let mut figures = [0.0; 3];
        for turn in turns(3, round) {
            buf.fill(round as u8 + 2);
            let before = device.counts();
            let took = time(|| {
                for offset in offsets(round) {
                    match turn {
                        0 => {
                            own.write_at(offset, &buf).expect("it can be written");
                            own.sync_data().expect("it can be synced");
                        }
                        other => {
                            let file = if other == 1 { &buffered } else { &direct };
                            file.write_all_at(&buf, offset).expect("it can be written");
                            file.sync_data().expect("it can be synced");
                        }
                    }
                }
            });
            figures[turn] = rate(count, took);
            if turn == 0 {
                let counts = device.counts().since(&before);
                (flushes, bytes) = (flushes + counts.flushes, bytes + counts.bytes_written);
            }
        }
        for (name, figure) in
            ["ashlar", "pwrite + fdatasync", "O_DIRECT + fdatasync"].into_iter().zip(figures)
        {
            comparison.add(name, figure);
        }
    }
    let syncs = count * settings.rounds as u64;
    let (flushes, bytes) = (flushes as f64 / syncs as f64, bytes / syncs);
    comparison.notes.push(format!("{flushes:.3} device flushes and {bytes} bytes per sync"));
    volume.close().expect("a volume can be closed");
    vec![comparison]
}

/// Creates, stats and unlinks many files of 4 KiB.
pub(crate) fn small_files(settings: &Settings) -> Vec<Comparison> {
    const ACTS: [&str; 3] = ["create + write 4 KiB + close", "stat", "unlink"];
    let count = settings.sized(SMALL_FILES);
    let (_image, device, volume) = volume(&settings.folder, 2 << 30);
    let peer = Peer::create(&settings.folder, Kind::Ext4, 2 << 30);
    let mut all: Vec<Comparison> = ACTS
        .into_iter()
        .map(|act| Comparison::new(format!("{count} files: {act}, embedded"), "files per second"))
        .collect();
    let before = device.counts();
    for round in 0..settings.rounds.min(3) {
        let mut figures = [[0.0; 3]; 2];
        for turn in turns(2, round) {
            figures[turn] =
                if turn == 0 { ours(&volume, round, count) } else { kernel(&peer, round, count) };
        }
        for (at, comparison) in all.iter_mut().enumerate() {
            comparison.add("ashlar", figures[0][at]);
            comparison.add("ext4", figures[1][at]);
        }
    }
    let counts = device.counts().since(&before);
    let files = count * settings.rounds.min(3) as u64;
    let per_file = counts.bytes_written / files;
    all[0].notes.push(format!(
        "each includes a sync at its end; {per_file} bytes written per file over all three"
    ));
    volume.close().expect("a volume can be closed");
    all
}

fn name(round: usize, number: u64) -> String {
    format!("r{round}/d{}/f{number}", number / FILES_PER_FOLDER)
}

fn ours(volume: &Volume, round: usize, count: u64) -> [f64; 3] {
    for folder in 0..count.div_ceil(FILES_PER_FOLDER) {
        volume.create_dir_all(format!("r{round}/d{folder}")).expect("a folder can be made");
    }
    let bytes = [7; 4096];
    let options = OpenOptions::new().write(true).create_new(true);
    let create = time(|| {
        for number in 0..count {
            let file = volume.open(name(round, number), options).expect("a file can be made");
            file.write_at(0, &bytes).expect("there is space");
        }
        volume.sync().expect("a volume can be synced");
    });
    let stat = time(|| {
        for number in 0..count {
            volume.metadata(name(round, number)).expect("the file is there");
        }
    });
    let unlink = time(|| {
        for number in 0..count {
            volume.remove_file(name(round, number)).expect("the file is there");
        }
        volume.sync().expect("a volume can be synced");
    });
    [create, stat, unlink].map(|took| rate(count, took))
}

fn kernel(peer: &Peer, round: usize, count: u64) -> [f64; 3] {
    let root = peer.path();
    for folder in 0..count.div_ceil(FILES_PER_FOLDER) {
        let path = root.join(format!("r{round}/d{folder}"));
        fs::create_dir_all(path).expect("a folder can be made");
    }
    let bytes = [7; 4096];
    let create = time(|| {
        for number in 0..count {
            let file = fs::File::create_new(root.join(name(round, number)));
            file.and_then(|file| file.write_all_at(&bytes, 0)).expect("a file can be made");
        }
        peer.sync();
    });
    let stat = time(|| {
        for number in 0..count {
            fs::metadata(root.join(name(round, number))).expect("the file is there");
        }
    });
    let unlink = time(|| {
        for number in 0..count {
            fs::remove_file(root.join(name(round, number))).expect("the file is there");
        }
        peer.sync();
    });
    [create, stat, unlink].map(|took| rate(count, took))
}
