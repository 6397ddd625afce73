//! The house rules hold, and each rule still sees a violation that is planted for it.

use xtask::tidy::{self, Finding};
use xtask::workspace::SourceFile;
use xtask::{format_docs, workspace};

#[test]
fn repository_is_tidy() {
    let findings = tidy::run(&workspace::root());
    let listed: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(listed.is_empty(), "{}", listed.join("\n"));
}

fn file(path: &str, text: impl Into<String>) -> SourceFile {
    SourceFile { path: path.into(), text: text.into() }
}

/// Findings of `rule` on `files`, as `path:line`.
fn places(rule: fn(&[SourceFile]) -> Vec<Finding>, files: &[SourceFile]) -> Vec<String> {
    rule(files).iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
}

#[test]
fn upward_dependency_is_found() {
    let manifest = |package: &str, section: &str, dependency: &str| {
        let text = format!("[package]\nname = \"{package}\"\n[{section}]\n{dependency}\n");
        [file("crates/x/Cargo.toml", text)]
    };
    let check = |files: &[SourceFile]| places(tidy::layers::check, files);
    let upward = manifest("iomap", "dependencies", "ashlar-core.workspace = true");
    assert_eq!(check(&upward), ["crates/x/Cargo.toml:4"]);
    let shared = manifest("ashlar-check", "dependencies", "ashlar-store = { path = \"..\" }");
    assert_eq!(check(&shared), ["crates/x/Cargo.toml:4"]);
    let unknown = manifest("stranger", "dependencies", "libc = \"0.2\"");
    assert_eq!(check(&unknown), ["crates/x/Cargo.toml:0"]);
    let downward = manifest("ashlar-store", "dependencies", "ashlar-btree.workspace = true");
    let tests = manifest("ashlar-core", "dev-dependencies", "ashlar-sim.workspace = true");
    assert!(check(&downward).is_empty() && check(&tests).is_empty());
}

#[test]
fn long_file_function_and_line_are_found() {
    let check = |text: String| places(tidy::lengths::check, &[file("crates/x/src/a.rs", text)]);
    assert_eq!(check("// x\n".repeat(501)), ["crates/x/src/a.rs:0"]);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    // x\n".repeat(600));
    assert!(check(tests).is_empty());
    let body = |lines: usize| format!("pub(crate) fn f() {{\n{}}}\n", "    g();\n".repeat(lines));
    assert!(check(body(70)).is_empty());
    assert_eq!(check(format!("\n{}", body(71))), ["crates/x/src/a.rs:2"]);
    let commented = format!("fn f() {{\n{}}}\n", "    // why\n\n".repeat(80));
    assert!(check(commented).is_empty());
    assert_eq!(check(format!("x{}\n", "x".repeat(100))), ["crates/x/src/a.rs:1"]);
    assert_eq!(check(format!("//{}\n", "x".repeat(103))), ["crates/x/src/a.rs:1"]);
    assert!(check(format!("//{}\n", "ä".repeat(102))).is_empty());
}

#[test]
fn dead_file_and_missing_front_page_are_found() {
    let page = "//! Page.\n";
    let lib = file("crates/x/src/lib.rs", format!("{page}mod a;\npub mod b;\n// mod dead;\n"));
    let files = [
        lib,
        file("crates/x/src/a.rs", format!("{page}#[cfg(test)]\nmod tests;\n")),
        file("crates/x/src/a/tests.rs", "use super::*;\n"),
        file("crates/x/src/b/mod.rs", format!("{page}mod c;\n")),
        file("crates/x/src/b/c.rs", "fn no_page() {}\n"),
        file("crates/x/src/dead.rs", page),
        file("crates/x/tests/whole.rs", page),
    ];
    let found = places(tidy::modules::check, &files);
    assert_eq!(found, ["crates/x/src/b/c.rs:1", "crates/x/src/dead.rs:0"]);
}

#[test]
fn broken_link_and_waypoint_are_found() {
    let text = "# A title: here\n[ok](../README.md) [gone](gone.md) [top](#a-title-here)\n\
        [bad](#nowhere) `crates/x/src/lib.rs::run` `crates/x/src/lib.rs::walk`\n\
        `crates/x/src/gone.rs::run` [web](https://example.org)\n";
    let files = [
        file("docs/PAGE.md", text),
        file("README.md", ""),
        file("crates/x/src/lib.rs", "pub fn run_all() {}\npub fn run() {}\n"),
    ];
    let mut found = places(tidy::documents::check, &files);
    found.retain(|place| place.starts_with("docs/PAGE.md"));
    let want = ["docs/PAGE.md:2", "docs/PAGE.md:3", "docs/PAGE.md:3", "docs/PAGE.md:4"];
    assert_eq!(found, want);
    assert!(tidy::documents::check(&files).iter().any(|finding| finding.problem == "missing"));
}

#[test]
fn forbidden_word_is_found() {
    let check = |text: &str| places(tidy::words::check, &[file("crates/x/src/a.rs", text)]);
    assert_eq!(check(concat!("\nto", "do!();\n")), ["crates/x/src/a.rs:2"]);
    assert_eq!(check(concat!("// FIX", "ME later\n")), ["crates/x/src/a.rs:1"]);
    assert_eq!(check(concat!("let a = \"/wo", "rk/x\";\n")), ["crates/x/src/a.rs:1"]);
    assert!(check(concat!("let word = \"to", "do!()\";\n")).is_empty());
}

#[test]
fn exception_without_reason_is_found() {
    let check = |text: &str| places(tidy::words::check, &[file("crates/x/src/a.rs", text)]);
    assert_eq!(check("#[ignore]\n"), ["crates/x/src/a.rs:1"]);
    assert!(check("#[ignore = \"needs a second machine\"]\n").is_empty());
    assert_eq!(check("fn a() {}\n#[allow(dead_code)]\nfn b() {}\n"), ["crates/x/src/a.rs:2"]);
    assert!(check("// Why.\n#[allow(dead_code)]\nfn b() {}\n").is_empty());
    assert!(check("#[expect(\n    dead_code,\n    reason = \"why\"\n)]\nfn b() {}\n").is_empty());
}

#[test]
fn table_that_differs_from_the_code_is_rewritten() {
    let source =
        "//! Page.\n//!\n//! ```text\n//! OFFSET  SIZE\n//!      0     4\n//! ```\nfn a() {}\n";
    assert_eq!(format_docs::drawings(source), ["OFFSET  SIZE\n     0     4\n"]);
    let page = "# Format\n<!-- table: a.rs 1 -->\nold\n<!-- end of table -->\nend\n";
    let wanted = format_docs::generate(page, &|_| Ok(source.into())).unwrap();
    let table = "```text\nOFFSET  SIZE\n     0     4\n```\n";
    let expected = format!("# Format\n<!-- table: a.rs 1 -->\n{table}<!-- end of table -->\nend\n");
    assert_eq!(wanted, expected);
    assert_eq!(format_docs::generate(&wanted, &|_| Ok(source.into())).unwrap(), wanted);
    let absent = "<!-- table: a.rs 2 -->\n<!-- end of table -->\n";
    assert!(format_docs::generate(absent, &|_| Ok(source.into())).is_err());
}
