//! The path API against the kernel: the same random operations on a volume and on a directory
//! must have the same results, error numbers included.
//!
//! Method. A thread with a root directory of its own (`chroot`, where we may) makes the two see
//! the same paths, absolute symbolic links and `..` included; without that right, such paths are
//! left out. Names are few, so that operations meet. After each run both trees are compared, then
//! again after the volume was closed and opened, so that what is remembered equals what is kept.
//!
//! A difference prints the seed; `ASHLAR_SEED=n` runs that one alone, `ASHLAR_TRACE=1` prints all
//! steps, `ASHLAR_SOAK=1` runs many seeds.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod confine;
mod host;
mod steps;
mod tree;

use std::sync::Arc;

use ashlar::Volume;
use ashlar_device::MemoryDevice;

use crate::confine::confined;
use crate::steps::Pair;

const DEVICE_BYTES: u64 = 256 << 20;
const STEPS: usize = 3000;

fn run(seed: u64, confined: bool) {
    let mut random = fastrand::Rng::with_seed(seed);
    let device = Arc::new(MemoryDevice::new(DEVICE_BYTES));
    let device: Arc<dyn ashlar_device::Device> = device;
    let options = Volume::options().owner(0, 0);
    let volume = Volume::options().create_on(Arc::clone(&device)).unwrap();
    let mut pair = Pair::new(volume, confined);
    for step in 0..STEPS {
        pair.step(&mut random, &format!("ASHLAR_SEED={seed}, step {step}"));
    }
    let volume = pair.into_volume();
    tree::compare(&volume, &format!("ASHLAR_SEED={seed}, at the end"));
    volume.close().unwrap();
    let volume = options.open_on(device).unwrap();
    tree::compare(&volume, &format!("ASHLAR_SEED={seed}, after reopening"));
}

fn seeds() -> std::ops::Range<u64> {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (variable("ASHLAR_SEED"), variable("ASHLAR_SOAK")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(_)) => 0..1000,
        (None, None) => 0..20,
    }
}

#[test]
fn same_operations_have_the_same_results_as_in_the_kernel() {
    for seed in seeds() {
        confined(move |confined| run(seed, confined));
    }
}
