//! What `cargo xtask` runs for test, sim, soak and bench.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Parts of a soak: name, test binary, the test's name.
const SOAK_PARTS: [(&str, &str, &str); 12] = [
    ("fsx", "fsx", "random_operations"),
    ("kill", "kill", "killed_server"),
    ("stress", "stress", "stressors_"),
    ("pjdfstest", "stress", "pjdfstest_"),
    ("foreign-fsx", "stress", "foreign_fsx"),
    ("tree", "programs", "tree_"),
    ("fio", "programs", "fio_"),
    ("sqlite", "programs", "sqlite_"),
    ("postgresql", "programs", "postgresql_"),
    ("git", "programs", "git_"),
    ("cargo", "programs", "small_crate"),
    ("shells", "programs", "many_processes"),
];
/// Test programs of other people, and the part that runs each.
const JUDGES: [(&str, &str, &str); 2] =
    [("pjdfstest", "0.2.2", "pjdfstest"), ("fsx", "0.3.2", "foreign-fsx")];

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

/// Runs the long forms of the whole-system tests, one after the other: the named parts, or all.
/// `minutes` bounds what repeats itself, for each part.
///
/// # Errors
/// As [`test`]; the message names the parts that failed, after all have run.
pub fn soak(root: &Path, minutes: Option<u64>, names: &[String]) -> Result<(), String> {
    let known: Vec<&str> = SOAK_PARTS.iter().map(|(name, ..)| *name).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("no part `{name}`; there are: {}", known.join(" ")));
    }
    let chosen = |part: &str| names.is_empty() || names.iter().any(|name| name == part);
    run(cargo(root).args(["build", "--release", "--package", "ashlar-cli"]))?;
    let judges = target(root).join("judges");
    for (program, version, part) in JUDGES {
        if chosen(part) && !judges.join("bin").join(program).exists() {
            run(cargo(root)
                .args(["install", "--version", version, program, "--root"])
                .arg(&judges))?;
        }
    }
    let mut failed = Vec::new();
    for (part, binary, test) in SOAK_PARTS.into_iter().filter(|(part, ..)| chosen(part)) {
        println!("== {part}");
        let mut tests = cargo(root);
        tests.args(["test", "--quiet", "--package", "ashlar-tests", "--test", binary, "--", test]);
        tests.args(["--nocapture", "--test-threads=1", "--include-ignored"]);
        tests.env("ASHLAR_BIN", target(root).join("release/ashlar"));
        tests.env("ASHLAR_SOAK", "1").env("ASHLAR_JUDGES", &judges);
        if let Some(minutes) = minutes {
            tests.env("ASHLAR_SOAK_MINUTES", minutes.to_string());
        }
        if run(&mut tests).is_err() {
            failed.push(part);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(" "))) }
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
