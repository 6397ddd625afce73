//! Goal: a device that fails at any request costs no acknowledged data, and no panic.
//! Method: the same program with the first, second, third ... request failing, until none does;
//! then the volume is opened again on what the device held, and judged.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use ashlar_core::{MountOptions, Volume};
use ashlar_sim::device::SimDevice;
use ashlar_sim::fault::{FaultDevice, Plan, Victim};
use ashlar_sim::image::Image;
use ashlar_sim::oracle::Oracle;
use ashlar_sim::program::{read_all, step};
use ashlar_sim::sweep::formatted;
use ashlar_sim::workload::draw;
use fastrand::Rng;
use std::sync::Arc;

const VOLUME_BYTES: u64 = 16 << 20;
const STEPS: usize = 50;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn fail_at_every_request(victim: Victim, errno: i32, lasting: bool, seeds: std::ops::Range<u64>) {
    let base = formatted().unwrap();
    for seed in seeds {
        for nth in 1.. {
            let plan = Plan { victim, nth, errno, lasting };
            if !run(&base, seed, plan) {
                break;
            }
        }
    }
}

/// Returns whether the failure happened at all.
fn run(base: &Image, seed: u64, plan: Plan) -> bool {
    let inner = Arc::new(SimDevice::new(VOLUME_BYTES, base.clone()));
    let device = Arc::new(FaultDevice::new(Arc::clone(&inner), plan));
    let options = MountOptions { background: false, ..MountOptions::default() };
    let mut oracle = Oracle::default();
    let mut returned = 0;
    if let Ok(volume) = Volume::mount(Arc::clone(&device) as _, &options) {
        let mut random = Rng::with_seed(seed);
        for _ in 0..STEPS {
            let op = draw(&mut random);
            if step(&volume, &mut oracle, &op).is_err() {
                // It may have taken effect, or not.
                oracle.forget_last();
                oracle.record(&op);
                break;
            }
            returned += 1;
        }
        drop(volume);
    }
    let after = Arc::new(SimDevice::new(VOLUME_BYTES, inner.now()));
    let volume = Volume::mount(after, &options).unwrap_or_else(|error| {
        panic!("seed {seed}, {plan:?}: the volume does not mount any more: {error}")
    });
    let found =
        read_all(&volume).unwrap_or_else(|error| panic!("seed {seed}, {plan:?}: reading: {error}"));
    if let Err(reason) = oracle.judge(&found, returned, returned + 1) {
        panic!("seed {seed}, {plan:?}: {reason}");
    }
    device.has_struck()
}

#[test]
fn failing_writes_lose_nothing_acknowledged() {
    fail_at_every_request(Victim::Write, EIO, true, 0..4);
    fail_at_every_request(Victim::Write, ENOSPC, false, 4..6);
}

#[test]
fn failing_flushes_lose_nothing_acknowledged() {
    fail_at_every_request(Victim::Flush, EIO, true, 0..4);
    fail_at_every_request(Victim::Flush, EIO, false, 4..6);
}

#[test]
fn failing_reads_lose_nothing_acknowledged() {
    fail_at_every_request(Victim::Read, EIO, true, 0..4);
    fail_at_every_request(Victim::Read, EIO, false, 4..6);
}
