//! Goal: what was promised holds after a power cut at any moment, and a device that lies is found
//! out. Method: programs by seed, every cut, sampled states; see the crate.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use ashlar_sim::sweep::{SweepOptions, formatted, sweep_seed};
use std::sync::atomic::{AtomicU64, Ordering};

/// States that the test run visits; `ashlar-sim --states N` goes on from there.
const STATES_WANTED: u64 = 100_000;

#[test]
fn promises_hold_after_every_power_cut() {
    let base = formatted().unwrap();
    let (next, states) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while states.load(Ordering::Relaxed) < STATES_WANTED {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    match sweep_seed(&base, seed, &SweepOptions::default()) {
                        Ok(report) => states.fetch_add(report.states, Ordering::Relaxed),
                        Err(reason) => panic!(
                            "seed {seed}: {reason}\nagain: cargo run -p ashlar-sim -- --seeds \
                             {seed}..{}",
                            seed + 1
                        ),
                    };
                }
            });
        }
    });
    println!("{} programs, {} distinct crash states", next.into_inner(), states.into_inner());
}

/// The planted bug: a device whose flushes do nothing. If the sweep does not notice that, it
/// would not notice a flush that we forgot.
#[test]
fn missing_flushes_are_noticed() {
    let base = formatted().unwrap();
    let options = SweepOptions { lying_device: true, ..SweepOptions::default() };
    let caught = (0..40).filter(|seed| sweep_seed(&base, *seed, &options).is_err()).count();
    assert!(caught >= 10, "only {caught} of 40 programs noticed that flushes do nothing");
}
