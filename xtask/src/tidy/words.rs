//! Words that must not land, and exceptions that must carry their reason.

use super::{Finding, is_rust, is_test_file};
use crate::source::blank;
use crate::workspace::SourceFile;

/// Forbidden everywhere; the first half and the second half, so that this file may land.
const EVERYWHERE: [(&str, &str, &str); 9] = [
    ("FIX", "ME", "fix it, or describe it in a document that owns it"),
    ("XX", "X:", "fix it, or describe it in a document that owns it"),
    ("/wo", "rk/", "a path of one machine"),
    ("../sha", "red", "a path outside the repository"),
    ("crates", ".io", "the host name of a registry"),
    ("pypi", ".org", "the host name of a registry"),
    ("npmjs", ".com", "the host name of a registry"),
    ("deb.debian", ".org", "the host name of a registry"),
    ("static.rust-lang", ".org", "the host name of a registry"),
];

/// Forbidden in code.
const IN_CODE: [(&str, &str, &str); 4] = [
    ("to", "do!(", "write it"),
    ("unimple", "mented!(", "write it"),
    ("db", "g!(", "remove it, or trace"),
    ("println!(\"de", "bug", "remove it, or trace"),
];

/// Files that other programs write.
const GENERATED: [&str; 1] = ["Cargo.lock"];

/// Checks words and reasons.
#[must_use]
pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| !GENERATED.contains(&file.path.as_str())) {
        findings.extend(find(file, &file.text, &EVERYWHERE));
        if is_rust(file) {
            findings.extend(find(file, &blank(&file.text), &IN_CODE));
            findings.extend(check_reasons(file));
        }
    }
    findings
}

fn find(file: &SourceFile, text: &str, words: &[(&str, &str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (first, second, advice) in words {
            let word = format!("{first}{second}");
            if line.contains(&word) {
                findings.push(Finding::new(&file.path, number + 1, format!("{word}: {advice}")));
            }
        }
    }
    findings
}

/// Ignored tests, allowed lints and excluded rows say why.
fn check_reasons(file: &SourceFile) -> Vec<Finding> {
    let blanked = blank(&file.text);
    let lines: Vec<&str> = file.text.lines().collect();
    let mut findings = Vec::new();
    for (at, line) in blanked.lines().enumerate() {
        let code = line.trim();
        let ignored = code.starts_with("#[ignore") && !lines[at].contains("= \"");
        let allows = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
        let allowed = allows.iter().any(|allow| code.starts_with(allow));
        // Tests may unwrap: CONTRIBUTING.md.
        let unwraps = is_test_file(&file.path) && code.contains("(clippy::unwrap_used)");
        let reason = unwraps
            || lines[at].contains("reason = \"")
            || lines[at].contains("//")
            || (at > 0 && lines[at - 1].trim_start().starts_with("//"))
            || lines.get(at + 1).is_some_and(|next| next.trim_start().starts_with("//"))
            || multi_line_reason(&lines, at);
        if ignored || (allowed && !reason) {
            findings.push(Finding::new(&file.path, at + 1, "an exception without a reason"));
        }
    }
    findings
}

/// An attribute that rustfmt spread over several lines.
fn multi_line_reason(lines: &[&str], at: usize) -> bool {
    let open = !lines[at].trim_end().ends_with(']');
    open && lines[at + 1..].iter().take(6).any(|line| line.contains("reason = \""))
}
