//! The tables of `docs/FORMAT.md`, taken from the doc comments of `crates/format`.
//!
//! A document holds them between two comments; what stands between is generated:
//!
//! ```text
//! <!-- table: superblock.rs 1 -->      the first drawing in the header of that module
//! <!-- end of table -->
//! ```
//!
//! A drawing is a fenced `text` block of a `//!` header.

use crate::tidy::Finding;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/FORMAT.md";
const SOURCES: &str = "crates/format/src";
const OPEN: &str = "<!-- table: ";
const CLOSE: &str = "<!-- end of table -->";

/// Compares the page with the code.
#[must_use]
pub fn check(root: &Path) -> Vec<Finding> {
    let page = match fs::read_to_string(root.join(PAGE)) {
        Ok(page) => page,
        Err(error) => return vec![Finding::new(PAGE, 0, format!("cannot be read: {error}"))],
    };
    let mut findings = match generate(&page, &|file| read(root, file)) {
        Ok(wanted) if wanted == page => Vec::new(),
        Ok(wanted) => {
            let pairs = page.lines().zip(wanted.lines());
            let line = pairs.take_while(|(have, want)| have == want).count();
            let problem = "differs from the code; run `cargo xtask format-docs --write`";
            vec![Finding::new(PAGE, line + 1, problem)]
        }
        Err(problem) => vec![Finding::new(PAGE, 0, problem)],
    };
    findings.extend(missing(root, &page));
    findings
}

/// Rewrites the tables of the page.
///
/// # Errors
/// A message when the page cannot be read or written, or names a table that does not exist.
pub fn write(root: &Path) -> Result<(), String> {
    let path = root.join(PAGE);
    let page = fs::read_to_string(&path).map_err(|error| format!("{PAGE}: {error}"))?;
    let wanted = generate(&page, &|file| read(root, file))?;
    fs::write(&path, wanted).map_err(|error| format!("{PAGE}: {error}"))
}

fn read(root: &Path, file: &str) -> Result<String, String> {
    let path = root.join(SOURCES).join(file);
    fs::read_to_string(&path).map_err(|error| format!("{SOURCES}/{file}: {error}"))
}

/// The page with its tables replaced by those that `source` has.
///
/// # Errors
/// A message that names the table that is not there.
pub fn generate(
    page: &str,
    source: &dyn Fn(&str) -> Result<String, String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(page.len());
    let mut inside = false;
    for line in page.lines() {
        inside &= line.trim() != CLOSE;
        if !inside {
            out.push_str(line);
            out.push('\n');
        }
        if let Some((file, number)) = marker(line) {
            let drawings = drawings(&source(file)?);
            let drawing = number.checked_sub(1).and_then(|at| drawings.get(at));
            let drawing = drawing.ok_or_else(|| format!("{file} has no drawing {number}"))?;
            out.push_str("```text\n");
            out.push_str(drawing);
            out.push_str("```\n");
            inside = true;
        }
    }
    if inside { Err(format!("{PAGE}: a table without {CLOSE}")) } else { Ok(out) }
}

fn marker(line: &str) -> Option<(&str, usize)> {
    let inner = line.trim().strip_prefix(OPEN)?.strip_suffix(" -->")?;
    let (file, number) = inner.split_once(' ')?;
    Some((file, number.parse().ok()?))
}

/// The fenced `text` blocks of a module's header.
#[must_use]
pub fn drawings(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in source.lines() {
        let Some(line) = line.strip_prefix("//!") else { break };
        let line = line.strip_prefix(' ').unwrap_or(line);
        match (&mut open, line.trim()) {
            (None, "```text") => open = Some(String::new()),
            (Some(_), "```") => found.extend(open.take()),
            (Some(drawing), _) => {
                drawing.push_str(line.trim_end());
                drawing.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

/// Drawings of the format that the page does not show.
fn missing(root: &Path, page: &str) -> Vec<Finding> {
    let shown: BTreeSet<(&str, usize)> = page.lines().filter_map(marker).collect();
    let Ok(entries) = fs::read_dir(root.join(SOURCES)) else { return Vec::new() };
    let mut findings = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(source) = fs::read_to_string(entry.path()) else { continue };
        for number in 1..=drawings(&source).len() {
            if !shown.contains(&(name.as_str(), number)) {
                let problem = format!("does not show drawing {number} of {SOURCES}/{name}");
                findings.push(Finding::new(PAGE, 0, problem));
            }
        }
    }
    findings.sort_by(|a, b| a.problem.cmp(&b.problem));
    findings
}
