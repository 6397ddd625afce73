//! Running real programs, with their output kept for the message of a failure.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command that must succeed; returns what it printed.
///
/// # Panics
/// When it fails; the message holds all it said.
pub fn run_ok(command: &mut Command) -> String {
    let output = run(command);
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Runs a shell script that must succeed in `folder`; it ends at the first command that fails.
///
/// # Panics
/// As [`run_ok`].
pub fn script(folder: &Path, text: &str) -> String {
    run_ok(Command::new("/bin/bash").args(["-euo", "pipefail", "-c", text]).current_dir(folder))
}

/// True when the long form of a test is asked for (`cargo xtask soak`).
#[must_use]
pub fn soak() -> bool {
    std::env::var_os("ASHLAR_SOAK").is_some()
}

/// How long a part of a soak may repeat itself (`cargo xtask soak --minutes`); without a bound it
/// runs to its full count.
#[must_use]
pub fn soak_time() -> Duration {
    let minutes = std::env::var("ASHLAR_SOAK_MINUTES").ok().and_then(|value| value.parse().ok());
    minutes.map_or(Duration::MAX, |minutes: u64| Duration::from_secs(minutes * 60))
}

/// As [`soak_time`], in whole seconds, at most `most`.
#[must_use]
pub fn soak_seconds(most: u32) -> u32 {
    u32::try_from(soak_time().as_secs()).unwrap_or(u32::MAX).min(most)
}
