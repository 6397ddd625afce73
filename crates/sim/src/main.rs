//! `ashlar-sim`: crash sweeps by seed, as long as you like.
//!
//! ```text
//! ashlar-sim [--seeds FIRST..END] [--steps N] [--samples N] [--states N] [--atomic]
//!            [--lying] [--trace]
//! ```
//! `--atomic` sweeps programs of atomic files.

use ashlar_sim::atomic;
use ashlar_sim::sweep::{SweepOptions, SweepReport, formatted, sweep_seed};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

struct Arguments {
    seeds: Range<u64>,
    states_wanted: u64,
    options: SweepOptions,
    atomic: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("ashlar-sim: {problem}");
            eprintln!("usage: ashlar-sim [--seeds FIRST..END] [--steps N] [--samples N]");
            eprintln!("                  [--states N] [--atomic] [--lying] [--trace]");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok((report, seeds)) => {
            let SweepReport { states, nested } = report;
            println!(
                "{seeds} programs, {states} distinct crash states, {nested} of them second cuts: \
                 all sound"
            );
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seeds: 0..u64::MAX,
        states_wanted: 100_000,
        options: SweepOptions::default(),
        atomic: false,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--seeds" => {
                let text = value()?;
                let (first, end) = text.split_once("..").ok_or("seeds are FIRST..END")?;
                arguments.seeds = number(first)?..number(end)?;
                arguments.states_wanted = u64::MAX;
            }
            "--steps" => arguments.options.steps = number(&value()?)? as usize,
            "--samples" => arguments.options.samples = number(&value()?)? as usize,
            "--states" => arguments.states_wanted = number(&value()?)?,
            "--trace" => arguments.options.trace = true,
            "--atomic" => arguments.atomic = true,
            "--lying" => arguments.options.lying_device = true,
            _ => return Err(format!("unknown option {word}")),
        }
    }
    Ok(arguments)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

fn run(arguments: &Arguments) -> Result<(SweepReport, u64), String> {
    let base = formatted()?;
    let next = AtomicU64::new(arguments.seeds.start);
    let stop = AtomicBool::new(false);
    let total = Mutex::new((SweepReport::default(), 0));
    let failure = Mutex::new(None);
    let started = Instant::now();
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= arguments.seeds.end {
                return;
            }
            let sweep = if arguments.atomic { atomic::sweep_seed } else { sweep_seed };
            match sweep(&base, seed, &arguments.options) {
                Ok(report) => {
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.0.states += report.states;
                    total.0.nested += report.nested;
                    total.1 += 1;
                    if total.1 % 50 == 0 {
                        let rate = total.0.states as f64 / started.elapsed().as_secs_f64();
                        eprintln!("{} programs, {} states, {rate:.0}/s", total.1, total.0.states);
                    }
                    if total.0.states >= arguments.states_wanted {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                Err(reason) => {
                    stop.store(true, Ordering::Relaxed);
                    let SweepOptions { steps, samples, .. } = arguments.options;
                    let kind = if arguments.atomic { " --atomic" } else { "" };
                    let again = format!(
                        "ashlar-sim{kind} --seeds {seed}..{} --steps {steps} --samples {samples}",
                        seed + 1
                    );
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(format!("seed {seed}: {reason}\nagain: {again}"));
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or_else(|| Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner)), Err)
}
