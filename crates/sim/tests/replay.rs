//! Goal: the checker's replay of the log and the store's recovery, which share no code, give the
//! same trees and the same end of the log.
//! Method: programs by seed, cut at random; the checker shows each tree of what is left, with the
//! log replayed in its memory; the store recovers and checkpoints it; the checker shows it again.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use ashlar_check::{CheckOptions, DumpTarget, check, dump};
use ashlar_core::{MountOptions, Volume};
use ashlar_device::Device;
use ashlar_format::key::TreeId;
use ashlar_sim::crash::CrashStates;
use ashlar_sim::device::SimDevice;
use ashlar_sim::oracle::Oracle;
use ashlar_sim::program::step;
use ashlar_sim::sweep::formatted;
use ashlar_sim::workload::draw;
use ashlar_store::{OpenOptions, Store};
use fastrand::Rng;
use std::sync::Arc;

const VOLUME_BYTES: u64 = 16 << 20;
const SEEDS: u64 = 12;
const STEPS: usize = 100;
const CUTS: usize = 10;

/// All trees but that of free space, which the recovered volume's own checkpoint changes.
fn trees(device: &dyn Device) -> Vec<String> {
    let shown = TreeId::ALL.into_iter().filter(|tree| *tree != TreeId::Free).map(|tree| {
        let mut text = Vec::new();
        dump(device, &DumpTarget::Tree(tree), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        // What the checker remarks about the log is no part of the tree.
        text.lines().filter(|line| !line.starts_with("# note")).collect::<Vec<_>>().join("\n")
    });
    shown.collect()
}

#[test]
fn checker_and_store_replay_the_log_alike() {
    let base = formatted().unwrap();
    for seed in 0..SEEDS {
        let device = Arc::new(SimDevice::new(VOLUME_BYTES, base.clone()));
        let options = MountOptions { background: false, ..MountOptions::default() };
        let volume = Volume::mount(Arc::clone(&device) as _, &options).unwrap();
        let (mut oracle, mut random) = (Oracle::default(), Rng::with_seed(seed));
        for _ in 0..STEPS {
            let op = draw(&mut random);
            step(&volume, &mut oracle, &op).unwrap();
        }
        let history = device.history();
        let mut states = CrashStates::new(device.base(), &history);
        let mut cuts: Vec<usize> = (0..CUTS).map(|_| random.usize(..=history.len())).collect();
        cuts.sort_unstable();
        for cut in cuts {
            states.visit(cut, 3, &mut random, |image| {
                let device = Arc::new(SimDevice::new(VOLUME_BYTES, image));
                let seen = trees(&*device);
                let report = check(&*device, CheckOptions::default()).unwrap();
                let options = OpenOptions { background: false, ..OpenOptions::default() };
                let (store, found) = Store::open(Arc::clone(&device) as _, &options).unwrap();
                assert_eq!(
                    (report.replayed_records, report.discarded_records),
                    (found.replayed_records, found.discarded_records),
                    "seed {seed}, cut after event {cut}: records"
                );
                store.close().unwrap();
                let recovered = trees(&*device);
                for (tree, (seen, recovered)) in seen.iter().zip(&recovered).enumerate() {
                    assert_eq!(seen, recovered, "seed {seed}, cut after event {cut}, tree {tree}");
                }
            });
        }
    }
}
