//! How far a long copy is: a bar on a terminal, a line every second elsewhere if asked for.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::complain;
use crate::size::Size;

/// When progress is shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum When {
    /// If standard error is a terminal.
    #[default]
    Auto,
    /// Always; as plain lines if it is no terminal.
    Always,
    /// Never.
    Never,
}

/// Progress towards a known number of bytes.
pub(crate) enum Progress {
    Silent,
    Bar(ProgressBar),
    Lines { total: u64, done: u64, started: Instant, said: Instant },
}

const LINE_INTERVAL: Duration = Duration::from_secs(1);

impl Progress {
    /// Whether anything is going to be shown, so that the total is worth finding out.
    pub(crate) fn is_wanted(when: When) -> bool {
        match when {
            When::Auto => stderr().is_terminal(),
            When::Always => true,
            When::Never => false,
        }
    }

    /// Starts at zero of `total` bytes.
    pub(crate) fn start(when: When, total: u64) -> Progress {
        if !Progress::is_wanted(when) {
            return Progress::Silent;
        }
        if !stderr().is_terminal() {
            let now = Instant::now();
            return Progress::Lines { total, done: 0, started: now, said: now };
        }
        let bar = ProgressBar::new(total);
        let shape = "{bar:30} {percent:>3}% {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        // The template is checked by a test.
        if let Ok(style) = ProgressStyle::with_template(shape) {
            bar.set_style(style);
        }
        Progress::Bar(bar)
    }

    /// `bytes` more are done.
    pub(crate) fn advance(&mut self, bytes: u64) {
        match self {
            Progress::Silent => {}
            Progress::Bar(bar) => bar.inc(bytes),
            Progress::Lines { total, done, started, said } => {
                *done += bytes;
                if said.elapsed() >= LINE_INTERVAL {
                    *said = Instant::now();
                    let rate = (*done as f64 / started.elapsed().as_secs_f64()) as u64;
                    let percent = done.saturating_mul(100) / (*total).max(1);
                    let (done, total) = (Size(*done), Size(*total));
                    let rate = Size(rate);
                    complain(format_args!("{done} of {total} ({percent} %), {rate} per second"));
                }
            }
        }
    }

    /// Prints a line without disturbing the bar.
    pub(crate) fn say(&self, line: &str) {
        match self {
            Progress::Bar(bar) => bar.suspend(|| complain(line)),
            _ => complain(line),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        if let Progress::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
