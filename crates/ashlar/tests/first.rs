//! The first program, as people copy it: it runs, and the front page shows the same lines.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;
use std::process::Command;

/// Cargo builds examples along with tests, into a folder beside them.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/first")
}

#[test]
fn first_program_prints_what_it_stored() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(example()).current_dir(&directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"Hello, world\n");
    // Once more: the image is there, and is not overwritten.
    let output = Command::new(example()).current_dir(&directory).output().unwrap();
    assert!(!output.status.success());
    let volume = ashlar::Volume::open_image(directory.path().join("disk.img")).unwrap();
    assert_eq!(volume.read("hello.txt").unwrap(), b"Hello, world\n");
}

#[test]
fn front_page_shows_the_first_program() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(folder.join("src/lib.rs")).unwrap();
    let program = std::fs::read_to_string(folder.join("examples/first.rs")).unwrap();
    let body = program.lines().skip_while(|line| !line.starts_with("fn main")).skip(1);
    for line in body.take_while(|line| *line != "}") {
        let shown = format!("//! {}", line.trim_start());
        assert!(page.lines().any(|page_line| page_line == shown), "missing: {shown}");
    }
}
