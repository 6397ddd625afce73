//! Diagnostics on standard error, controlled by `ASHLAR_LOG`.

use std::io::stderr;

use tracing_subscriber::EnvFilter;

use crate::output::{complain, wants_colour};

/// Starts logging. `ASHLAR_LOG` takes filters such as `debug` or `ashlar_store=trace,warn`;
/// without it, `default` applies.
pub(crate) fn start(default: &str) {
    let filter = std::env::var("ASHLAR_LOG").unwrap_or_else(|_| default.to_owned());
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|error| {
        complain(format_args!("ashlar: ASHLAR_LOG={filter} is ignored: {error}"));
        EnvFilter::new(default)
    });
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(wants_colour())
        .try_init();
    // Only a second start fails, and the first one is still there.
    let _ = started;
}
