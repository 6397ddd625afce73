//! A writer stamps generations into a file, the server is killed amid that, and after the next
//! mount the file is exactly one committed generation: the last that a sync returned for, or the
//! one whose sync was under way.
//!
//! The writer is a process of its own, this program once more: it goes down with its mount.

use crate::files::{COMMIT, START, open, plain_ioctl, set_atomic, syncv};
use ashlar_tests::mounts::Ashlar;
use ashlar_tests::programs::soak;
use ashlar_tests::sys::Mapping;
use fastrand::Rng;
use std::fs::{self, File, OpenOptions};
use std::io::Result;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const BLOCK: usize = 4096;

/// Environment of a writer: how, which file, and where it notes what was committed.
const HOW: &str = "ASHLAR_ATOMIC_HOW";
const FILE: &str = "ASHLAR_ATOMIC_FILE";
const NOTES: &str = "ASHLAR_ATOMIC_NOTES";

/// Length of a generation.
fn length(how: &str, generation: u64) -> usize {
    let blocks = 1 + (generation.wrapping_mul(0x9e37_79b9) >> 7) as usize % 60;
    match generation % 10 {
        _ if how == "direct" => blocks * BLOCK,
        0 | 5 => 700,
        1 => 1 + blocks * 10 * BLOCK,
        _ => blocks * BLOCK + generation as usize % 1000,
    }
}

fn content(generation: u64, length: usize) -> Vec<u8> {
    generation.to_le_bytes().into_iter().cycle().take(length).collect()
}

/// The pieces of a generation, in any order, some of them in smaller pieces.
fn pieces(random: &mut Rng, length: usize, unit: usize) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < length {
        let end = (at + unit * random.usize(1..20)).min(length);
        pieces.push((at, end));
        at = end;
    }
    random.shuffle(&mut pieces);
    pieces
}

fn write_generation(how: &str, file: &File, generation: u64, random: &mut Rng) -> Result<()> {
    let length = length(how, generation);
    let errno = std::io::Error::from_raw_os_error;
    match how {
        "mapped" => {
            file.set_len(length as u64)?;
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let map = Mapping::new(file.as_raw_fd().into(), length, protection, libc::MAP_SHARED);
            let map = map.map_err(errno)?;
            for (at, byte) in content(generation, length).into_iter().enumerate() {
                map.set(at, byte);
            }
            map.sync(libc::MS_SYNC).map_err(errno)?;
        }
        "direct" => {
            // One block more than needed has one that is aligned.
            let mut memory = vec![0; length + BLOCK];
            let skip = memory.as_ptr().align_offset(BLOCK);
            memory[skip..skip + length].copy_from_slice(&content(generation, length));
            file.set_len(length as u64)?;
            for (at, end) in pieces(random, length, BLOCK) {
                file.write_all_at(&memory[skip + at..skip + end], at as u64)?;
            }
            file.sync_data()?;
        }
        _ => {
            if how == "begun" {
                plain_ioctl(file, START).map_err(errno)?;
            }
            let bytes = content(generation, length);
            let unit = random.usize(500..9000);
            for (at, end) in pieces(random, length, unit) {
                file.write_all_at(&bytes[at..end], at as u64)?;
            }
            file.set_len(length as u64)?;
            if how == "begun" {
                plain_ioctl(file, COMMIT).map_err(errno)?;
            } else {
                file.sync_all()?;
            }
        }
    }
    Ok(())
}

/// Writes to two files, which are committed together.
fn write_pair(path: &Path, file: &File, generation: u64, random: &mut Rng) -> Result<()> {
    let second = open(&path.with_extension("second"));
    for file in [file, &second] {
        let length = length("", generation);
        let bytes = content(generation, length);
        for (at, end) in pieces(random, length, 5000) {
            file.write_all_at(&bytes[at..end], at as u64)?;
        }
        file.set_len(length as u64)?;
    }
    syncv(&[file, &second]).map_err(std::io::Error::from_raw_os_error)?;
    Ok(())
}

#[test]
#[ignore = "the writer of the other tests, which start it"]
fn writer() {
    let variable = |name| std::env::var(name).expect("the tests set it");
    let (how, path) = (variable(HOW), PathBuf::from(variable(FILE)));
    let notes = OpenOptions::new().write(true).open(variable(NOTES)).expect("it is there");
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    if how == "direct" {
        options.custom_flags(libc::O_DIRECT);
    }
    let file = options.open(&path).expect("it is there");
    let mut generation = noted(Path::new(&variable(NOTES)));
    let mut random = Rng::new();
    loop {
        generation += 1;
        let written = match &*how {
            "pair" => write_pair(&path, &file, generation, &mut random),
            how => write_generation(how, &file, generation, &mut random),
        };
        if written.is_err() {
            return;
        }
        notes.write_all_at(&generation.to_le_bytes(), 0).expect("the temporary folder has room");
    }
}

fn noted(notes: &Path) -> u64 {
    let bytes = fs::read(notes).expect("it is there");
    u64::from_le_bytes(bytes.try_into().expect("a number"))
}

fn start_writer(how: &str, file: &Path, notes: &Path) -> Child {
    let program = std::env::current_exe().expect("a process knows its program");
    let mut command = Command::new(program);
    command.args(["--exact", "generations::writer", "--ignored", "--nocapture"]);
    command.env(HOW, how).env(FILE, file).env(NOTES, notes);
    // A mapping of a dead mount ends it with SIGBUS, which it would write about.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("this program can be run")
}

/// The generation that a file is, all of it.
fn generation_of(how: &str, path: &Path) -> u64 {
    let bytes = fs::read(path).expect("the file is there");
    let start = bytes.get(..8).unwrap_or_default();
    let generation = u64::from_le_bytes(start.try_into().expect("a generation is never empty"));
    assert_eq!(bytes.len(), length(how, generation), "size of generation {generation}");
    let expected = content(generation, bytes.len());
    if let Some(at) = (0..bytes.len()).find(|at| bytes[*at] != expected[*at]) {
        let found = bytes.get(at - at % 8..at - at % 8 + 8).unwrap_or(&bytes[at..]);
        panic!("a mixture: generation {generation}, at byte {at} of {}: {found:?}", bytes.len());
    }
    generation
}

/// Lets writers work and kills the server, again and again.
fn kill_rounds(how: &str, options: &str, attribute: Option<u32>) {
    let rounds = if soak() { 200 } else { 5 };
    let mut volume = Ashlar::create_with("generations", options);
    let (path, second) = (volume.path().join("file"), volume.path().join("file.second"));
    let notes = volume.image().with_extension("notes");
    fs::write(&notes, 1u64.to_le_bytes()).expect("the temporary folder has room");
    for path in [&path, &second] {
        let file = open(path);
        file.write_all_at(&content(1, length(how, 1)), 0).expect("it is written");
        file.sync_all().expect("it syncs");
        drop(file);
        if let Some(bits) = attribute {
            assert_eq!(set_atomic(path, bits), Ok(0));
        }
    }
    File::open(volume.path()).and_then(|root| root.sync_all()).expect("the root can be synced");
    let mut random = Rng::new();
    for round in 0..rounds {
        let mut writer = start_writer(how, &path, &notes);
        let life = Duration::from_millis(random.u64(60..400));
        std::thread::sleep(life);
        let aside = random.bool();
        if aside {
            // The program dies first, and takes along what it did not commit.
            writer.kill().expect("it is our child");
            writer.wait().expect("it is our child");
        }
        volume.kill();
        // It may have ended by itself.
        let _ = writer.kill();
        writer.wait().expect("it is our child");
        volume.mount();
        let (committed, found) = (noted(&notes), generation_of(how, &path));
        println!("{how} {options} round {round}: after {life:?} generation {found} ({committed})");
        assert!((committed..=committed + 1).contains(&found), "{found}, not {committed}");
        if how == "pair" {
            assert_eq!(generation_of(how, &second), found, "the second file");
        }
        fs::write(&notes, found.to_le_bytes()).expect("the temporary folder has room");
        if round % 4 == 3 {
            volume.unmount();
            volume.check();
            volume.mount();
        }
    }
    assert!(noted(&notes) > 1, "the writer wrote nothing");
}

#[test]
fn buffered_writes_on_an_atomic_mount() {
    kill_rounds("buffered", "atomic", None);
    kill_rounds("buffered", "atomic=commit", None);
}

#[test]
fn buffered_writes_to_an_atomic_file() {
    kill_rounds("buffered", "", Some(1));
}

#[test]
fn direct_writes() {
    kill_rounds("direct", "atomic", None);
    kill_rounds("direct", "", Some(1));
}

#[test]
fn stores_to_a_mapping() {
    kill_rounds("mapped", "atomic", None);
    kill_rounds("mapped", "", Some(3));
}

#[test]
fn updates_begun_and_committed_as_sqlite_does() {
    kill_rounds("begun", "", None);
}

#[test]
fn two_files_committed_together() {
    kill_rounds("pair", "atomic", None);
}
