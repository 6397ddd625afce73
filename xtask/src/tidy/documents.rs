//! Links in documents lead somewhere, and waypoints name code that exists.
//!
//! A waypoint is `` `path/to/file.rs::name` `` with a path below the root.

use super::{Finding, is_rust};
use crate::workspace::SourceFile;

/// Pages that must exist.
const PAGES: [&str; 14] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "docs/DESIGN.md",
    "docs/FORMAT.md",
    "docs/SEMANTICS.md",
    "docs/CRASH.md",
    "docs/WALKTHROUGH.md",
    ".ci/run",
    ".config/nextest.toml",
];

/// Checks the documents.
#[must_use]
pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for page in PAGES {
        if !files.iter().any(|file| file.path == page) {
            findings.push(Finding::new(page, 0, "missing"));
        }
    }
    // One command to try it and one to test it; a third one would have to be maintained.
    let commands = |file: &SourceFile| file.text.matches("```sh\n").count();
    for file in files.iter().filter(|file| file.path == "README.md" && commands(file) != 2) {
        findings.push(Finding::new(&file.path, 0, "must have exactly two `sh` commands"));
    }
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        findings.extend(check_links(file, files));
        findings.extend(check_waypoints(file, files));
    }
    findings
}

fn check_links(file: &SourceFile, files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fenced = false;
    for (number, line) in file.text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            if let Err(problem) = resolve(file, target, files) {
                findings.push(Finding::new(&file.path, number + 1, problem));
            }
        }
    }
    findings
}

fn resolve(file: &SourceFile, target: &str, files: &[SourceFile]) -> Result<(), String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let whole = if path.is_empty() { file.path.clone() } else { join(&file.path, path) };
    let folder = format!("{}/", whole.trim_end_matches('/'));
    let page = files.iter().find(|other| other.path == whole);
    // Pictures are not text files, so they are looked up by the folder they share with results.
    let picture = [".svg", ".png"].iter().any(|end| whole.ends_with(end));
    match page {
        None if picture || files.iter().any(|other| other.path.starts_with(&folder)) => Ok(()),
        None => Err(format!("link to {whole}, which does not exist")),
        Some(page) if anchor.is_empty() || headings(&page.text).any(|have| have == anchor) => {
            Ok(())
        }
        Some(_) => Err(format!("{whole} has no heading #{anchor}")),
    }
}

/// The target of a relative link in the file `from`.
fn join(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// Anchors of a page's headings, as code hosts build them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

fn check_waypoints(file: &SourceFile, files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2) {
            let Some((path, name)) = quoted.split_once(".rs::") else { continue };
            let path = format!("{path}.rs");
            let source = files.iter().find(|other| is_rust(other) && other.path == path);
            let problem = match source {
                None => format!("waypoint in {path}, which does not exist"),
                Some(source) if defines(&source.text, name) => continue,
                Some(_) => format!("waypoint {name} is not defined in {path}"),
            };
            findings.push(Finding::new(&file.path, number + 1, problem));
        }
    }
    findings
}

/// True if `text` defines a function, type or constant called `name`.
fn defines(text: &str, name: &str) -> bool {
    let name = name.rsplit("::").next().unwrap_or(name);
    ["fn", "struct", "enum", "trait", "type", "const", "static"].iter().any(|kind| {
        let definition = format!("{kind} {name}");
        text.match_indices(&definition).any(|(at, _)| {
            let next = text[at + definition.len()..].chars().next();
            !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}
