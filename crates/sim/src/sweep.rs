//! Sweeps: programs by seed, cut at every event, every state judged.

use crate::crash::CrashStates;
use crate::device::SimDevice;
use crate::image::Image;
use crate::oracle::Oracle;
use crate::program::{read_all, step};
use crate::workload::draw;
use ashlar_check::{CheckOptions, check};
use ashlar_core::{FormatOptions, MountOptions, Volume};
use ashlar_device::Device;
use fastrand::Rng;
use std::sync::Arc;

/// Bytes of the volumes that are swept.
pub(crate) const VOLUME_BYTES: u64 = 16 << 20;

/// How much to sweep.
#[derive(Debug, Clone, Copy)]
pub struct SweepOptions {
    /// Operations of a program.
    pub steps: usize,
    /// States tried for each cut, about.
    pub samples: usize,
    /// One state in this many is cut again during its recovery.
    pub nested_every: usize,
    /// The device's flushes are lies: the sweep must fail.
    pub lying_device: bool,
    /// Tell each operation, and the names after it.
    pub trace: bool,
}

impl Default for SweepOptions {
    fn default() -> Self {
        Self { steps: 150, samples: 12, nested_every: 8, lying_device: false, trace: false }
    }
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default)]
pub struct SweepReport {
    /// Distinct states that a power cut may leave, each recovered, read, checked and judged.
    pub states: u64,
    /// Of these, states left by a second cut, during recovery from the first.
    pub nested: u64,
}

/// An empty volume to start from, the same every time.
///
/// # Errors
/// What formatting says.
pub fn formatted() -> Result<Image, String> {
    let device: Arc<SimDevice> = Arc::new(SimDevice::new(VOLUME_BYTES, Image::default()));
    let options = FormatOptions { uuid: Some([7; 16]), ..FormatOptions::default() };
    let shared = Arc::clone(&device) as Arc<dyn Device>;
    Volume::format(&shared, &options).map_err(|error| format!("format: {error}"))?;
    Ok(device.now())
}

/// Runs the program of one seed and judges what every cut may leave.
///
/// # Errors
/// A sentence that says what is broken.
pub fn sweep_seed(base: &Image, seed: u64, options: &SweepOptions) -> Result<SweepReport, String> {
    let device = SimDevice::new(VOLUME_BYTES, base.clone());
    let device = Arc::new(if options.lying_device { device.lying() } else { device });
    let mut oracle = Oracle::default();
    let ends = run_program(&device, &mut oracle, seed, options)?;
    let history = device.history();
    let mut states = CrashStates::new(device.base(), &history);
    let mut random = Rng::with_seed(seed ^ 0x5eed);
    let mut inner = Rng::with_seed(seed ^ 0xde9);
    let mut report = SweepReport::default();
    let mut returned_before = 0;
    for cut in 0..=history.len() {
        // `ends[n]` events had happened when operation n returned.
        let returned = ends.partition_point(|end| *end <= cut) - 1;
        if returned != returned_before {
            // What was a sound state may break the promise of the call that returned.
            states.judge_anew();
            returned_before = returned;
        }
        let judge = Judge { oracle: &oracle, returned, in_flight: returned + 1 };
        let mut failure = None;
        states.visit(cut, options.samples, &mut random, |image| {
            if failure.is_some() {
                return;
            }
            let nested = inner.usize(..options.nested_every.max(1)) == 0;
            let result = judge.state(image).and_then(|recovery| {
                if nested {
                    cut_again(&recovery, &mut inner, |image| judge.state(image))
                } else {
                    Ok(0)
                }
            });
            match result {
                Ok(count) => report.nested += count,
                Err(reason) => failure = Some(reason),
            }
        });
        if let Some(reason) = failure {
            return Err(format!("cut after event {cut} (operation {}): {reason}", returned + 1));
        }
    }
    report.states = states.distinct() as u64 + report.nested;
    Ok(report)
}

/// Runs operations; returns how many events had happened when each returned, and at the start.
fn run_program(
    device: &Arc<SimDevice>,
    oracle: &mut Oracle,
    seed: u64,
    options: &SweepOptions,
) -> Result<Vec<usize>, String> {
    let volume = mount(Arc::clone(device))?;
    let mut random = Rng::with_seed(seed);
    let mut ends = vec![0];
    for _ in 0..options.steps {
        let op = draw(&mut random);
        step(&volume, oracle, &op).map_err(|error| format!("{op:?} failed: {error}"))?;
        ends.push(device.event_count());
        if options.trace {
            let events = device.event_count();
            eprintln!("{} {op:?}, {events} events: {:?}", oracle.len(), oracle.names_now());
        }
    }
    Ok(ends)
}

fn mount(device: Arc<SimDevice>) -> Result<Arc<Volume>, String> {
    let options = MountOptions { background: false, ..MountOptions::default() };
    Volume::mount(device, &options).map_err(|error| format!("mount: {error}"))
}

struct Judge<'a> {
    oracle: &'a Oracle,
    returned: usize,
    in_flight: usize,
}

impl Judge<'_> {
    /// Recovers one state, and holds what it finds against the oracle and the checker. Returns
    /// the device with the history of its recovery.
    fn state(&self, image: Image) -> Result<Arc<SimDevice>, String> {
        let device = Arc::new(SimDevice::new(VOLUME_BYTES, image));
        check_clean(&*device, "before recovery")?;
        let volume = mount(Arc::clone(&device))?;
        let found = read_all(&volume).map_err(|error| format!("reading: {error}"))?;
        self.oracle.judge(&found, self.returned, self.in_flight)?;
        check_clean(&*device, "after recovery")?;
        Ok(device)
    }
}

/// Judges what second cuts, in the middle of what `device` remembers of a recovery, may leave; returns
/// how many distinct states that were.
pub(crate) fn cut_again<T>(
    device: &SimDevice,
    random: &mut Rng,
    judge: impl Fn(Image) -> Result<T, String>,
) -> Result<u64, String> {
    let history = device.history();
    let mut states = CrashStates::new(device.base(), &history);
    let mut failure = None;
    for cut in 0..=history.len() {
        states.visit(cut, 4, random, |image| {
            if failure.is_none()
                && let Err(reason) = judge(image)
            {
                failure = Some(format!("second cut after event {cut} of recovery: {reason}"));
            }
        });
    }
    failure.map_or(Ok(states.distinct() as u64), Err)
}

pub(crate) fn check_clean(device: &dyn Device, when: &str) -> Result<(), String> {
    let mut findings = Vec::new();
    let mut keep = |finding: &ashlar_check::Finding| {
        if finding.severity >= ashlar_check::Severity::Error {
            findings.push(finding.to_string());
        }
    };
    let options = CheckOptions { on_finding: &mut keep, ..CheckOptions::default() };
    check(device, options).map_err(|error| format!("check {when}: {error}"))?;
    if findings.is_empty() { Ok(()) } else { Err(format!("check {when}: {}", findings.join("; "))) }
}
