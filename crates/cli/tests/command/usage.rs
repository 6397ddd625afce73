//! Help, versions, and wrong command lines.

use std::io::Read;
use std::process::Stdio;

use crate::support::{Place, program};

const COMMANDS: [&str; 12] =
    ["mkfs", "mount", "umount", "fsck", "info", "ls", "cat", "put", "get", "rm", "mkdir", "dump"];

#[test]
fn every_command_teaches_by_examples() {
    let place = Place::new();
    let overview = place.ashlar(["--help"]).ok();
    for command in COMMANDS {
        assert!(overview.contains(command), "{command}: not in the overview");
        let help = place.ashlar([command, "--help"]).ok();
        assert!(help.contains("Examples:"), "{command}: {help}");
        assert!(help.contains(&format!("ashlar {command} ")), "{command}: {help}");
    }
}

#[test]
fn version_is_printed() {
    let place = Place::new();
    let version = place.ashlar(["--version"]).ok();
    assert_eq!(version, format!("ashlar {}\n", env!("CARGO_PKG_VERSION")));
    assert!(place.ashlar_as("mkfs.ashlar", ["-V"]).ok().contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_command_line_ends_with_two() {
    let place = Place::new();
    place.ashlar(["frobnicate"]).fails(2, &["frobnicate"]);
    place.ashlar(["ls"]).fails(2, &["IMAGE:/PATH"]);
    place.ashlar(["ls", "disk.img"]).fails(2, &["disk.img", "IMAGE:/PATH"]);
    place.ashlar(["mkfs", "--size", "64Q", "disk.img"]).fails(2, &["64Q", "unit `Q`"]);
    place.ashlar(["mkfs", "disk.img"]).fails(2, &["no size", "--size 1G"]);
    place.ashlar(["mount", "-o", "frobnicate", "a", "b"]).fails(2, &["frobnicate"]);
    place.ashlar(Vec::<&str>::new()).fails(2, &["Usage"]);
}

#[test]
fn missing_image_says_how_to_make_one() {
    let place = Place::new();
    for command in ["ls", "cat", "rm", "mkdir"] {
        let said = place.ashlar([command, "none.img:/x"]).fails(1, &["none.img", "ashlar mkfs"]);
        assert!(said.starts_with("ashlar: "), "{said}");
    }
    place.ashlar(["info", "none.img"]).fails(1, &["none.img"]);
    place.ashlar(["fsck", "none.img"]).fails(8, &["none.img"]);
}

#[test]
fn reader_that_goes_away_is_no_failure() {
    let place = Place::with_volume();
    let names: Vec<String> = (0..3000).map(|n| format!("disk.img:/{n:0200}")).collect();
    place.ashlar([&["mkdir".to_owned()], &names[..]].concat()).ok();
    let mut child = place
        .command(program())
        .args(["ls", "-l", "disk.img:/"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 100]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn nobody_listening_does_not_change_the_outcome() {
    let place = Place::with_volume();
    for arguments in [&["fsck", "-v", "disk.img"][..], &["ls", "disk.img:/none"]] {
        let wanted = place.ashlar(arguments).code;
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.command(program());
        command.args(arguments).stdout(writer.try_clone().unwrap()).stderr(writer);
        assert_eq!(command.status().unwrap().code(), wanted, "{arguments:?}");
    }
}
