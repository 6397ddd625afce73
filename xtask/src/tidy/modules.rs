//! Every source file belongs to a module tree and opens with what it is.

use super::{Finding, is_rust, is_test_file};
use crate::source::blank;
use crate::workspace::SourceFile;
use std::collections::{HashMap, HashSet};

/// Checks reachability and headers of Rust files.
#[must_use]
pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let sources: HashMap<&str, &SourceFile> =
        files.iter().filter(|file| is_rust(file)).map(|file| (file.path.as_str(), file)).collect();
    let roots = sources.keys().copied().filter(|path| is_root(path));
    let mut reached: HashSet<String> = roots.map(str::to_owned).collect();
    let mut open: Vec<String> = reached.iter().cloned().collect();
    while let Some(path) = open.pop() {
        let Some(file) = sources.get(path.as_str()) else { continue };
        for child in children(&path, &file.text) {
            let known = sources.contains_key(child.as_str());
            if known && reached.insert(child.clone()) {
                open.push(child);
            }
        }
    }
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| is_rust(file)) {
        if !reached.contains(&file.path) {
            let problem = "no module declares this file: declare it or delete it";
            findings.push(Finding::new(&file.path, 0, problem));
        }
        let tests_module = file.path.ends_with("/tests.rs");
        let integration = is_test_file(&file.path) && !is_root(&file.path);
        if !opens_with_page(&file.text) && !tests_module && !integration {
            findings.push(Finding::new(&file.path, 1, "opens without a `//!` front page"));
        }
    }
    findings
}

/// Files that Cargo finds by itself.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let [.., folder, name] = parts.as_slice() else { return path == "build.rs" };
    match *folder {
        "src" => *name == "lib.rs" || *name == "main.rs",
        "bin" | "examples" | "benches" | "fuzz_targets" => true,
        // A test or example of several files: `tests/x/main.rs`.
        _ if *name == "main.rs" && ["tests", "examples"].contains(&above(&parts)) => true,
        // `tests/x.rs` beside a manifest's `src`, or `crates/x/tests/y.rs`.
        "tests" => !parts.contains(&"src"),
        _ => *name == "build.rs",
    }
}

/// Name of the folder that holds the file's folder.
fn above<'a>(parts: &[&'a str]) -> &'a str {
    parts.len().checked_sub(3).map_or("", |at| parts[at])
}

/// Files that the `mod x;` declarations of `path` may mean.
fn children(path: &str, text: &str) -> Vec<String> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.trim_end_matches(".rs");
    let base = if matches!(stem, "lib" | "main" | "mod") || is_root(path) {
        folder.to_owned()
    } else {
        format!("{folder}/{stem}")
    };
    let blanked = blank(text);
    let mut found = Vec::new();
    let mut before = "";
    for (line, original) in blanked.lines().zip(text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [.., "mod", child] = words.as_slice()
            && let Some(child) = child.strip_suffix(';')
        {
            match before.split("#[path = \"").nth(1).and_then(|rest| rest.split('"').next()) {
                Some(explicit) => found.push(format!("{folder}/{explicit}")),
                None => {
                    found.push(format!("{base}/{child}.rs"));
                    found.push(format!("{base}/{child}/mod.rs"));
                }
            }
        }
        before = original;
    }
    found
}

fn opens_with_page(text: &str) -> bool {
    text.starts_with("//!")
}
