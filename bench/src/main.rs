//! Measurements of Ashlar beside peers in the same run, on the same disk, in turns.
//!
//! | benchmark | Ashlar | peers |
//! |---|---|---|
//! | `fsync` | library: 16 KiB random overwrite + sync | pwrite + fdatasync, buffered and direct |
//! | `atomic` | library: all-or-nothing updates | pwrite + fdatasync, which is not; XFS, `RWF_ATOMIC` |
//! | `small` | library: create, write 4 KiB, close; stat; unlink | kernel ext4 on a loop device |
//! | `stream` | mount: write + fsync, read | kernel ext4 and XFS on loop devices |
//! | `names` | mount: create, stat, unlink | fuse2fs |
//! | `memory` | mount: memory of the server with many files | – |
//!
//! What counts is the ratio within a round; a machine's speed cancels out. Results go to
//! `bench/results` as one JSON file for each benchmark, and one picture of all.

mod atomic;
mod embedded;
mod measure;
mod memory;
mod mounted;
mod peers;
mod picture;
mod report;

use clap::Parser;
use measure::Comparison;
use std::path::PathBuf;

/// Measures Ashlar beside its peers.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
pub(crate) struct Settings {
    /// fsync, atomic, small, stream, names, memory; all where none is given
    names: Vec<String>,
    /// Rounds of each measurement
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Share of the full sizes, in percent
    #[arg(long, default_value_t = 100)]
    percent: u64,
    /// Folder for images, on the disk to be measured
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

impl Settings {
    /// `full`, or the share of it that was asked for; at least 1.
    pub(crate) fn sized(&self, full: u64) -> u64 {
        (full * self.percent / 100).max(1)
    }
}

type Benchmark = (&'static str, fn(&Settings) -> Vec<Comparison>);

const BENCHMARKS: [Benchmark; 6] = [
    ("fsync", embedded::fsync),
    ("atomic", atomic::atomic),
    ("small", embedded::small_files),
    ("stream", mounted::stream),
    ("names", mounted::names),
    ("memory", memory::many_files),
];

fn main() {
    let settings = Settings::parse();
    std::fs::create_dir_all(&settings.folder).expect("the folder for images can be made");
    for (name, run) in BENCHMARKS {
        if settings.names.is_empty() || settings.names.iter().any(|wanted| wanted == name) {
            let comparisons = run(&settings);
            report::print(&comparisons);
            report::save(name, &settings, &comparisons);
        }
    }
    picture::draw();
}
