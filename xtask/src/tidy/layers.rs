//! Arrows point down only: which crates of the workspace a crate may depend on.

use super::Finding;
use crate::workspace::SourceFile;

/// Each package with the members it may use, bottom up. The order is that of ARCHITECTURE.md.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("ashlar-device", &[]),
    ("ashlar-format", &[]),
    ("iomap", &["ashlar-device"]),
    ("ashlar-btree", &["ashlar-format"]),
    ("ashlar-store", &["ashlar-device", "ashlar-format", "ashlar-btree"]),
    ("ashlar-core", &["ashlar-device", "ashlar-format", "ashlar-store", "iomap"]),
    // The checker must not share the code that it checks: device and format only.
    ("ashlar-check", &["ashlar-device", "ashlar-format"]),
    ("ashlar", &["ashlar-device", "ashlar-core"]),
    ("ashlar-sqlite", &["ashlar"]),
    ("ashlar-fuse", &["ashlar-device", "ashlar-core"]),
    (
        "ashlar-cli",
        &["ashlar-device", "ashlar-format", "ashlar-core", "ashlar-check", "ashlar", "ashlar-fuse"],
    ),
    (
        "ashlar-sim",
        &["ashlar-device", "ashlar-format", "ashlar-store", "ashlar-core", "ashlar-check"],
    ),
    ("ashlar-tests", &[]),
    ("ashlar-bench", &["ashlar-device", "ashlar"]),
    ("xtask", &[]),
];

/// Tests of any crate may use these besides.
const FOR_TESTS: [&str; 2] = ["ashlar-sim", "ashlar-check"];

/// Checks the dependency sections of all manifests.
#[must_use]
pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let manifests = files.iter().filter(|file| file.path.ends_with("Cargo.toml"));
    manifests.flat_map(check_manifest).collect()
}

fn check_manifest(file: &SourceFile) -> Vec<Finding> {
    let Some(package) = package_name(&file.text) else { return Vec::new() };
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package) else {
        let problem = format!("package {package} has no layer; give it one in xtask/src/tidy");
        return vec![Finding::new(&file.path, 0, problem)];
    };
    let mut findings = Vec::new();
    let mut section = "";
    for (number, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
        let member = ALLOWED.iter().any(|(package, _)| *package == name);
        let tests = section == "[dev-dependencies]" && FOR_TESTS.contains(&name);
        if section.ends_with("dependencies]") && member && !allowed.contains(&name) && !tests {
            let problem = format!("{package} must not depend on {name}: arrows point down only");
            findings.push(Finding::new(&file.path, number + 1, problem));
        }
    }
    findings
}

fn package_name(manifest: &str) -> Option<&str> {
    let (_, package) = manifest.split_once("[package]")?;
    let line = package.lines().find(|line| line.starts_with("name"))?;
    line.split('"').nth(1)
}
