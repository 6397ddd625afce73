//! Short files, short functions, short lines.

use super::{Finding, is_rust, is_test_file};
use crate::source::{blank, item_end, test_lines};
use crate::workspace::SourceFile;

/// Lines of a file, its tests left out.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function's body, comments and empty lines left out.
const FUNCTION_LINES_MAX: usize = 70;
/// Characters of a line.
const COLUMNS_MAX: usize = 100;
/// Characters of a line of comment. A word may stick out: rustfmt leaves comments alone, and a
/// paragraph that is filled anew hides what changed in it.
const COMMENT_COLUMNS_MAX: usize = 104;

/// Checks lengths in Rust files, and columns in scripts and manifests too.
#[must_use]
pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let narrow = [".rs", ".toml", ".sh", "/run"].iter().any(|end| file.path.ends_with(end));
        if narrow && file.path != "Cargo.toml" {
            findings.extend(check_columns(file));
        }
        if is_rust(file) && !is_test_file(&file.path) {
            findings.extend(check_file(file));
        }
    }
    findings
}

fn check_columns(file: &SourceFile) -> Vec<Finding> {
    let long = |line: &str| {
        let comment = line.trim_start().starts_with("//");
        line.chars().count() > if comment { COMMENT_COLUMNS_MAX } else { COLUMNS_MAX }
    };
    let lines = file.text.lines().enumerate().filter(|(_, line)| long(line));
    lines
        .map(|(number, _)| {
            Finding::new(&file.path, number + 1, format!("longer than {COLUMNS_MAX} columns"))
        })
        .collect()
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let blanked = blank(&file.text);
    let tests = test_lines(&file.text, &blanked);
    let count = tests.iter().filter(|test| !**test).count();
    if count > FILE_LINES_MAX {
        let problem = format!("{count} lines without tests, at most {FILE_LINES_MAX}: split it");
        findings.push(Finding::new(&file.path, 0, problem));
    }
    let lines: Vec<&str> = blanked.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if tests.get(at) == Some(&true) || !starts_function(line) {
            continue;
        }
        let body = &lines[at..=item_end(&lines, at)];
        let count = body.iter().filter(|line| !line.trim().is_empty()).count();
        // The signature and the closing brace are not the body.
        if count > FUNCTION_LINES_MAX + 2 {
            let problem = format!("function of {count} lines, at most {FUNCTION_LINES_MAX}");
            findings.push(Finding::new(&file.path, at + 1, problem));
        }
    }
    findings
}

fn starts_function(line: &str) -> bool {
    const QUALIFIERS: [&str; 6] = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
    let mut words = line.split_whitespace().skip_while(|word| QUALIFIERS.contains(word));
    words.next() == Some("fn")
}
