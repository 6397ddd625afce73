//! Atomic updates beside plain ones: what all-or-nothing costs, and where it is faster.
//!
//! | comparison | Ashlar | peers |
//! |---|---|---|
//! | one range, 4 KiB to 1 MiB | write, commit | pwrite + fdatasync, not atomic; XFS, `RWF_ATOMIC` |
//! | 64 scattered blocks | one commit | 64 pwrites, one fdatasync, not atomic |
//! | 8 threads | each commits a file of its own | one thread |
//! | 10 files | one commit for all | a commit of one file |
//! | bytes written | to the device per 4 KiB, checkpoints included | – |

use crate::Settings;
use crate::embedded::{FILE_BYTES, Scratch, plain, volume};
use crate::measure::{Comparison, rate, time, turns};
use crate::peers::{Kind, Peer};
use ashlar::{File, OpenOptions, Volume};
use ashlar_device::{AlignedBuf, Counted, FileDevice};
use fastrand::Rng;
use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sizes of updates.
const SIZES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Bytes that each contender updates in one round, about.
const ROUND_BYTES: usize = 16 << 20;
/// Updates of each contender in one round, at most.
const UPDATES_MAX: usize = 400;
/// Blocks of a scattered update.
const SCATTERED: usize = 64;
const THREADS: usize = 8;
const TOGETHER: usize = 10;
const BLOCK: usize = 4096;

/// A volume with an atomic file written in full.
struct Own {
    _image: Scratch,
    device: Arc<Counted<FileDevice>>,
    volume: Volume,
}

impl Own {
    fn new(settings: &Settings) -> Self {
        let (image, device, volume) = volume(&settings.folder, 1 << 30);
        Self { _image: image, device, volume }
    }

    fn file(&self, name: &str, bytes: u64) -> File {
        let options = OpenOptions::new().read(true).write(true).create(true);
        let file = self.volume.open(name, options).expect("a file can be made");
        for at in (0..bytes).step_by(1 << 20) {
            file.write_at(at, &vec![1; 1 << 20]).expect("there is space");
        }
        file.sync().expect("a file can be synced");
        file.begin().expect("a file can be made atomic");
        file
    }
}

/// All comparisons.
pub(crate) fn atomic(settings: &Settings) -> Vec<Comparison> {
    let mut all: Vec<Comparison> =
        SIZES.into_iter().map(|size| one_range(settings, size)).collect();
    all.push(scattered(settings));
    all.push(threads(settings));
    all.push(together(settings));
    all
}

fn updates(settings: &Settings, size: usize) -> u64 {
    settings.sized((ROUND_BYTES / size).min(UPDATES_MAX) as u64)
}

/// Runs `update` `count` times; the rate, and the 99th percentile.
fn measured(count: u64, mut update: impl FnMut()) -> (f64, Duration) {
    let mut times: Vec<Duration> = Vec::new();
    let took = time(|| {
        for _ in 0..count {
            let start = Instant::now();
            update();
            times.push(start.elapsed());
        }
    });
    times.sort_unstable();
    let slow = times.get(times.len() * 99 / 100).or(times.last());
    (rate(count, took), slow.copied().unwrap_or_default())
}

fn one_range(settings: &Settings, size: usize) -> Comparison {
    let own = Own::new(settings);
    let file = own.file("file", FILE_BYTES);
    let (_one, buffered) = plain(settings.folder.join("buffered.dat"), 0);
    let xfs = Peer::create(&settings.folder, Kind::Xfs, 512 << 20);
    let on_xfs = atomic_on_xfs(&xfs, size);
    let count = updates(settings, size);
    let title = format!("atomic update of {} KiB, embedded", size >> 10);
    let mut comparison = Comparison::new(title, "updates per second");
    let mut flushes = 0;
    let mut slow = [Vec::new(), Vec::new()];
    let mut buf = AlignedBuf::new_zeroed(size);
    for round in 0..settings.rounds {
        buf.fill(round as u8 + 2);
        let mut figures = [0.0; 3];
        for turn in turns(3, round) {
            let mut random = Rng::with_seed(round as u64);
            let mut offset = || random.u64(..FILE_BYTES / size as u64) * size as u64;
            let before = own.device.counts();
            let (figure, tail) = match turn {
                0 => measured(count, || {
                    file.write_at(offset(), &buf).expect("it can be written");
                    file.sync_data().expect("it can be committed");
                }),
                1 => measured(count, || {
                    buffered.write_all_at(&buf, offset()).expect("it can be written");
                    buffered.sync_data().expect("it can be synced");
                }),
                _ => match &on_xfs {
                    Some(file) => measured(count, || write_atomic(file, offset(), &buf)),
                    None => continue,
                },
            };
            figures[turn] = figure;
            if turn == 0 {
                flushes += own.device.counts().since(&before).flushes;
            }
            if turn < 2 {
                slow[turn].push(tail.as_secs_f64() * 1e6);
            }
        }
        comparison.add("ashlar", figures[0]);
        comparison.add("pwrite + fdatasync", figures[1]);
        if on_xfs.is_some() {
            comparison.add("XFS, RWF_ATOMIC|RWF_DSYNC", figures[2]);
        }
    }
    let commits = (count * settings.rounds as u64) as f64;
    let [own_slow, raw_slow] = slow.map(|tails| middle(&tails));
    comparison.notes.push(format!("{:.3} device flushes per commit", flushes as f64 / commits));
    comparison.notes.push(format!(
        "99th percentile {own_slow:.0} µs, {raw_slow:.0} µs for pwrite + fdatasync: ratio {:.2}",
        own_slow / raw_slow
    ));
    if size == BLOCK {
        comparison.notes.push(bytes_per_update(settings, &own, &file));
    }
    drop(file);
    own.volume.close().expect("a volume can be closed");
    comparison
}

fn middle(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What many small updates write, the checkpoints that bring them home included.
fn bytes_per_update(settings: &Settings, own: &Own, file: &File) -> String {
    let count = settings.sized(20_000);
    let extents = file.extents(0..u64::MAX).expect("extents can be listed").len();
    let mut random = Rng::with_seed(99);
    let before = own.device.counts();
    for number in 0..count {
        let offset = random.u64(..FILE_BYTES / BLOCK as u64) * BLOCK as u64;
        file.write_at(offset, &[number as u8; BLOCK]).expect("it can be written");
        file.sync_data().expect("it can be committed");
    }
    let counts = own.device.counts().since(&before);
    let after = file.extents(0..u64::MAX).expect("extents can be listed").len();
    format!(
        "{} bytes and {:.4} flushes per update over {count}; extents before {extents}, \
         after {after}",
        counts.bytes_written / count,
        counts.flushes as f64 / count as f64
    )
}

/// A file written in full on XFS that takes atomic writes of `size`, if it does.
fn atomic_on_xfs(peer: &Peer, size: usize) -> Option<fs::File> {
    let path = peer.path().join("file");
    let file = fs::File::create(&path).expect("a file can be made");
    for at in 0..FILE_BYTES >> 20 {
        file.write_all_at(&vec![1; 1 << 20], at << 20).expect("there is space");
    }
    file.sync_all().expect("a file can be synced");
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).write(true).custom_flags(libc::O_DIRECT).open(&path);
    let file = file.expect("a file can be opened again");
    let buf = AlignedBuf::new_zeroed(size);
    try_write_atomic(&file, 0, &buf).ok().map(|()| file)
}

fn try_write_atomic(file: &fs::File, offset: u64, buf: &[u8]) -> rustix::io::Result<()> {
    let flags =
        rustix::io::ReadWriteFlags::DSYNC | rustix::io::ReadWriteFlags::from_bits_retain(0x40);
    let written = rustix::io::pwritev2(file, &[std::io::IoSlice::new(buf)], offset, flags)?;
    assert_eq!(written, buf.len(), "atomic writes are whole");
    Ok(())
}

fn write_atomic(file: &fs::File, offset: u64, buf: &[u8]) {
    try_write_atomic(file, offset, buf).expect("it can be written");
}

fn scattered(settings: &Settings) -> Comparison {
    let own = Own::new(settings);
    let file = own.file("file", FILE_BYTES);
    let (_one, buffered) = plain(settings.folder.join("buffered.dat"), 0);
    let count = settings.sized(100);
    let mut comparison = Comparison::new(
        format!("{SCATTERED} scattered blocks in one commit"),
        "commits per second",
    );
    for round in 0..settings.rounds {
        let mut figures = [0.0; 2];
        for turn in turns(2, round) {
            let mut random = Rng::with_seed(round as u64);
            let buf = [round as u8; BLOCK];
            let mut offset = || random.u64(..FILE_BYTES / BLOCK as u64) * BLOCK as u64;
            let (figure, _) = measured(count, || {
                for _ in 0..SCATTERED {
                    match turn {
                        0 => file.write_at(offset(), &buf).expect("it can be written"),
                        _ => buffered.write_all_at(&buf, offset()).expect("it can be written"),
                    }
                }
                match turn {
                    0 => file.sync_data().expect("it can be committed"),
                    _ => buffered.sync_data().expect("it can be synced"),
                }
            });
            figures[turn] = figure;
        }
        comparison.add("ashlar", figures[0]);
        comparison.add("pwrites + fdatasync", figures[1]);
    }
    comparison
}

fn threads(settings: &Settings) -> Comparison {
    let own = Own::new(settings);
    let files: Vec<File> =
        (0..THREADS).map(|number| own.file(&format!("file{number}"), 8 << 20)).collect();
    let count = settings.sized(300);
    let work = |file: &File, seed: u64| {
        let mut random = Rng::with_seed(seed);
        for _ in 0..count {
            let offset = random.u64(..(8 << 20) / BLOCK as u64) * BLOCK as u64;
            file.write_at(offset, &[seed as u8; BLOCK]).expect("it can be written");
            file.sync_data().expect("it can be committed");
        }
    };
    let title = format!("{THREADS} threads that commit 4 KiB, each in a file of its own");
    let mut comparison = Comparison::new(title, "commits per second");
    for round in 0..settings.rounds {
        let mut figures = [0.0; 2];
        for turn in turns(2, round) {
            figures[turn] = if turn == 0 {
                let took = time(|| {
                    std::thread::scope(|scope| {
                        for (number, file) in files.iter().enumerate() {
                            scope.spawn(move || work(file, number as u64));
                        }
                    });
                });
                rate(count * THREADS as u64, took)
            } else {
                rate(count, time(|| work(&files[0], round as u64)))
            };
        }
        comparison.add("8 threads", figures[0]);
        comparison.add("1 thread", figures[1]);
    }
    comparison
}

fn together(settings: &Settings) -> Comparison {
    let own = Own::new(settings);
    let files: Vec<File> =
        (0..TOGETHER).map(|number| own.file(&format!("file{number}"), 8 << 20)).collect();
    let all: Vec<&File> = files.iter().collect();
    let count = settings.sized(300);
    let title = format!("4 KiB in each of {TOGETHER} files, committed together");
    let mut comparison = Comparison::new(title, "commits per second");
    for round in 0..settings.rounds {
        let mut figures = [0.0; 2];
        for turn in turns(2, round) {
            let files = if turn == 0 { &all[..] } else { &all[..1] };
            let mut random = Rng::with_seed(round as u64);
            let (figure, _) = measured(count, || {
                for file in files {
                    let offset = random.u64(..(8 << 20) / BLOCK as u64) * BLOCK as u64;
                    file.write_at(offset, &[round as u8; BLOCK]).expect("it can be written");
                }
                own.volume.sync_all(files).expect("they can be committed");
            });
            figures[turn] = figure;
        }
        comparison.add("10 files", figures[0]);
        comparison.add("1 file", figures[1]);
    }
    comparison
}
