//! The house rules, checked: what people forget is left to a program.
//!
//! | rule | module |
//! |---|---|
//! | crates depend only on crates below them | [`layers`] |
//! | files, functions and lines are short | [`lengths`] |
//! | every source file belongs to a module tree and says what it is | [`modules`] |
//! | links in documents lead somewhere; waypoints name code that exists | [`documents`] |
//! | words that must not land; exceptions carry their reason | [`words`] |
//! | tables of `docs/FORMAT.md` equal those in the code | [`crate::format_docs`] |
//!
//! Each rule has tests that plant a violation, so that a rule that stopped looking is noticed.

pub mod documents;
pub mod layers;
pub mod lengths;
pub mod modules;
pub mod words;

use crate::workspace::{self, SourceFile};
use std::fmt;
use std::path::Path;

/// One violation of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// File below the root.
    pub path: String,
    /// Line from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What is wrong and what to do.
    pub problem: String,
}

impl Finding {
    /// Describes a violation.
    pub fn new(path: &str, line: usize, problem: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, problem: problem.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.problem)
    }
}

/// Checks every rule on the repository at `root`.
#[must_use]
pub fn run(root: &Path) -> Vec<Finding> {
    let files = workspace::files(root);
    let mut findings = check(&files);
    findings.extend(crate::format_docs::check(root));
    findings
}

/// Checks the rules that need only the files' text.
#[must_use]
pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let rules = [layers::check, lengths::check, modules::check, documents::check, words::check];
    rules.iter().flat_map(|rule| rule(files)).collect()
}

/// True for Rust source.
fn is_rust(file: &SourceFile) -> bool {
    file.path.ends_with(".rs")
}

/// True for files that are tests as a whole: integration tests and `tests.rs` modules.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || path.split('/').any(|part| part == "tests")
        || path.starts_with("bench/")
}
