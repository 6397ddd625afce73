//! Goal: an atomic file is its last commit after a power cut at any moment, and what was committed
//! together is together. Method: programs by seed, every cut, sampled states; see the module.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use ashlar_sim::atomic::sweep_seed;
use ashlar_sim::sweep::{SweepOptions, formatted};
use std::sync::atomic::{AtomicU64, Ordering};

/// States that the test run visits; `ashlar-sim --atomic --states N` goes on from there.
const STATES_WANTED: u64 = 20_000;

#[test]
fn atomic_files_are_one_committed_image_after_every_power_cut() {
    let base = formatted().unwrap();
    let options = SweepOptions { steps: 60, ..SweepOptions::default() };
    let (next, states) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while states.load(Ordering::Relaxed) < STATES_WANTED {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    match sweep_seed(&base, seed, &options) {
                        Ok(report) => states.fetch_add(report.states, Ordering::Relaxed),
                        Err(reason) => panic!(
                            "seed {seed}: {reason}\nagain: cargo run -p ashlar-sim -- --atomic \
                             --steps 60 --seeds {seed}..{}",
                            seed + 1
                        ),
                    };
                }
            });
        }
    });
    println!("{} programs, {} distinct crash states", next.into_inner(), states.into_inner());
}

#[test]
fn missing_flushes_are_noticed() {
    let base = formatted().unwrap();
    let options = SweepOptions { steps: 60, lying_device: true, ..SweepOptions::default() };
    let caught = (0..10).filter(|seed| sweep_seed(&base, *seed, &options).is_err()).count();
    assert!(caught >= 5, "only {caught} of 10 programs noticed that flushes do nothing");
}
