//! What `cargo xtask` runs for test, sim, soak and bench.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Whole-system tests that have a long form, chosen by the environment variable `ASHLAR_SOAK`.
const SOAK_BINARIES: [&str; 3] = ["programs", "kill", "fsx"];

/// Runs every test of the workspace; documentation examples first, so that the test runner's
/// summary comes last.
///
/// # Errors
/// A message that says which command failed.
pub fn test(root: &Path, rest: &[String]) -> Result<(), String> {
    run(cargo(root).args(["build", "--package", "ashlar-cli"]))?;
    if rest.is_empty() {
        run(cargo(root).args(["test", "--quiet", "--workspace", "--doc"]))?;
    }
    let mut tests = cargo(root);
    if has_nextest(root) {
        tests.args(["nextest", "run", "--workspace"]);
    } else {
        tests.args(["test", "--workspace", "--lib", "--bins", "--tests", "--examples"]);
    }
    run(tests.args(rest).env("ASHLAR_BIN", target(root).join("debug/ashlar")))
}

/// Runs the crash simulator, optimised but with every assertion on.
///
/// # Errors
/// As [`test`].
pub fn sim(root: &Path, rest: &[String]) -> Result<(), String> {
    let package = ["run", "--profile", "sweep", "--package", "ashlar-sim", "--"];
    run(cargo(root).args(package).args(rest))
}

/// Runs the long forms of the whole-system tests.
///
/// # Errors
/// As [`test`].
pub fn soak(root: &Path, rest: &[String]) -> Result<(), String> {
    run(cargo(root).args(["build", "--profile", "sweep", "--package", "ashlar-cli"]))?;
    let mut tests = cargo(root);
    tests.args(["test", "--package", "ashlar-tests"]);
    for binary in SOAK_BINARIES {
        tests.args(["--test", binary]);
    }
    tests.args(["--", "--nocapture", "--test-threads=1"]).args(rest);
    let program = target(root).join("sweep/ashlar");
    run(tests.env("ASHLAR_BIN", program).env("ASHLAR_SOAK", "1"))
}

/// Runs benchmarks; results land in `bench/results`.
///
/// # Errors
/// As [`test`].
pub fn bench(root: &Path, rest: &[String]) -> Result<(), String> {
    run(cargo(root).args(["build", "--release", "--package", "ashlar-cli"]))?;
    run(cargo(root).args(["run", "--release", "--package", "ashlar-bench", "--"]).args(rest))
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

fn has_nextest(root: &Path) -> bool {
    let output = cargo(root).args(["nextest", "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
