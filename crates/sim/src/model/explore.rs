//! All programs in order of length, each cut everywhere; or long ones by chance.
//!
//! Breadth first, so that what is found first is a shortest program that breaks a promise. A cut
//! counts as a step, and the program goes on behind it. States that were met before are left out
//! (see [`canon`](super::canon)): they were met with at least as many steps left.

use super::Violation;
use super::canon;
use super::disk::Disk;
use super::machine::{Machine, Op};
use super::promise::Promise;
use fastrand::Rng;
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

/// Cuts of a recovery that follow a cut at once; more of them count as steps.
const RECOVERY_CUTS: usize = 2;

/// What to explore.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Operations that a program chooses from.
    pub ops: Vec<Op>,
    /// Steps of the longest program.
    pub steps: usize,
    /// Programs with more unflushed cells than this are left out.
    pub pending_cells: usize,
    /// States to stop at.
    pub states: usize,
}

/// What was explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Distinct states of running programs.
    pub states: usize,
    /// Distinct disks that cuts left, each recovered and judged.
    pub images: usize,
    /// The bound on states was met: not all was explored.
    pub stopped: bool,
}

/// A program and a cut that break a promise.
#[derive(Debug, Clone)]
pub struct Counterexample {
    /// Steps from the start.
    pub steps: Vec<String>,
    /// What is broken then.
    pub violation: Violation,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.violation)?;
        self.steps.iter().enumerate().try_for_each(|(at, step)| writeln!(f, "  {} {step}", at + 1))
    }
}

/// The steps that led somewhere, last first.
#[derive(Debug)]
struct Path {
    step: String,
    before: Option<Arc<Path>>,
}

type Trail = Option<Arc<Path>>;

fn walked(trail: &Trail, step: String) -> Trail {
    Some(Arc::new(Path { step, before: trail.clone() }))
}

fn failed(trail: &Trail, violation: Violation) -> Box<Counterexample> {
    let mut steps = Vec::new();
    let mut at = trail.as_ref();
    while let Some(path) = at {
        steps.push(path.step.clone());
        at = path.before.as_ref();
    }
    steps.reverse();
    Box::new(Counterexample { steps, violation })
}

struct Explorer<'a> {
    bounds: &'a Bounds,
    states: HashSet<u128>,
    images: HashSet<u128>,
    queue: VecDeque<(Machine, Trail, usize)>,
}

/// Explores everything within the bounds.
///
/// # Errors
/// A shortest program that breaks a promise.
pub fn explore(start: &Machine, bounds: &Bounds) -> Result<Report, Box<Counterexample>> {
    let mut explorer =
        Explorer { bounds, states: HashSet::new(), images: HashSet::new(), queue: VecDeque::new() };
    explorer.arrive(start.clone(), None, 0);
    let mut stopped = false;
    while let Some((machine, trail, steps)) = explorer.queue.pop_front() {
        if explorer.states.len() >= bounds.states {
            stopped = true;
            break;
        }
        explorer.cut(&machine, &machine.disk, &machine.promise, (&trail, steps + 1), 0)?;
        if steps < bounds.steps {
            explorer.leave(&machine, &trail, steps + 1)?;
        }
    }
    let Explorer { states, images, .. } = &explorer;
    Ok(Report { states: states.len(), images: images.len(), stopped })
}

impl Explorer<'_> {
    /// A state is reached: it waits for its turn, unless it was met before.
    fn arrive(&mut self, mut machine: Machine, trail: Trail, steps: usize) {
        machine.moments.clear();
        if steps <= self.bounds.steps
            && machine.disk.pending_cells() <= self.bounds.pending_cells
            && self.states.insert(canon::of_machine(&machine))
        {
            self.queue.push_back((machine, trail, steps));
        }
    }

    /// Every operation is tried.
    fn leave(
        &mut self,
        machine: &Machine,
        trail: &Trail,
        steps: usize,
    ) -> Result<(), Box<Counterexample>> {
        for op in &self.bounds.ops {
            let mut next = machine.clone();
            let trail = walked(trail, format!("{op:?}"));
            let done = next.step(op).map_err(|violation| failed(&trail, violation))?;
            if done {
                self.cut_moments(&mut next, (&trail, steps), 0)?;
                self.arrive(next, trail, steps);
            }
        }
        Ok(())
    }

    fn cut_moments(
        &mut self,
        machine: &mut Machine,
        at: (&Trail, usize),
        nested: usize,
    ) -> Result<(), Box<Counterexample>> {
        for (disk, promise) in std::mem::take(&mut machine.moments) {
            if disk.pending_cells() <= self.bounds.pending_cells {
                self.cut(machine, &disk, &promise, at, nested)?;
            }
        }
        Ok(())
    }

    /// Power goes: everything that may be left is recovered, and recovery is cut, too.
    fn cut(
        &mut self,
        machine: &Machine,
        disk: &Disk,
        promise: &Promise,
        (trail, steps): (&Trail, usize),
        nested: usize,
    ) -> Result<(), Box<Counterexample>> {
        let mut images = Vec::new();
        disk.for_each_image(|mut image| {
            image.prune_log();
            if self.images.insert(canon::of_image(&image, promise)) {
                images.push(image);
            }
        });
        for image in images {
            let trail = walked(trail, format!("cut that keeps {}", kept(disk, &image)));
            let mut next = machine.after_cut(image, promise.clone());
            next.reopen().map_err(|violation| failed(&trail, violation))?;
            if nested < RECOVERY_CUTS {
                self.cut_moments(&mut next, (&trail, steps), nested + 1)?;
            }
            self.arrive(next, trail, steps);
        }
        Ok(())
    }
}

/// The pending cells that an image holds.
fn kept(disk: &Disk, image: &Disk) -> String {
    let choices = disk.choices();
    let kept = choices.iter().filter_map(|(addr, cells)| {
        let now = image.durable.get(addr);
        (now != cells[0]).then(|| {
            let which = cells.iter().position(|cell| *cell == now);
            match which {
                Some(1) if cells.len() == 2 => format!("{addr:?}"),
                Some(which) => format!("{addr:?} version {which}"),
                None => format!("{addr:?} pruned"),
            }
        })
    });
    let kept: Vec<String> = kept.collect();
    format!("[{}] of {} cells", kept.join(", "), choices.len())
}

/// A long program by chance, cut again and again, in recoveries too.
///
/// # Errors
/// A promise is broken; the steps were these.
pub fn wander(
    start: &Machine,
    ops: &[Op],
    seed: u64,
    steps: usize,
) -> Result<(), Box<Counterexample>> {
    let mut random = Rng::with_seed(seed);
    let mut machine = start.clone();
    let mut trail = None;
    for _ in 0..steps {
        machine.moments.clear();
        let mut next = machine.clone();
        if random.u8(..12) == 0 {
            machine = cut_by_chance(machine, &mut trail, &mut random)?;
            continue;
        }
        let op = &ops[random.usize(..ops.len())];
        let now = walked(&trail, format!("{op:?}"));
        match next.step(op) {
            Ok(true) => (machine, trail) = (next, now),
            Ok(false) => continue,
            Err(violation) => return Err(failed(&now, violation)),
        }
        if !machine.moments.is_empty() && random.u8(..6) == 0 {
            machine = cut_by_chance(machine, &mut trail, &mut random)?;
        }
    }
    Ok(())
}

/// Cuts at one of the machine's moments, or now; then perhaps in the recovery.
fn cut_by_chance(
    mut machine: Machine,
    trail: &mut Trail,
    random: &mut Rng,
) -> Result<Machine, Box<Counterexample>> {
    loop {
        let mut moments = std::mem::take(&mut machine.moments);
        moments.push((machine.disk.clone(), machine.promise.clone()));
        let (disk, promise) = moments.swap_remove(random.usize(..moments.len()));
        let choices = disk.choices();
        let odds = [0, 30, 50, 80, 100][random.usize(..5)];
        let picked: Vec<usize> = choices
            .iter()
            .map(
                |(_, cells)| if random.u8(..100) < odds { random.usize(1..cells.len()) } else { 0 },
            )
            .collect();
        let image = disk.image(&choices, &picked);
        *trail = walked(trail, format!("cut that keeps {}", kept(&disk, &image)));
        machine = machine.after_cut(image, promise);
        machine.reopen().map_err(|violation| failed(trail, violation))?;
        if machine.moments.is_empty() || random.u8(..4) > 0 {
            machine.moments.clear();
            return Ok(machine);
        }
    }
}
