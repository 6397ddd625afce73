//! One random operation, on both sides.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ashlar::{FileKind, KeepSize, OpenOptions, RenameFlags, Volume};
use rustix::fs::FallocateFlags;

use crate::host::{Outcome, host, ours, rename_with};
use crate::tree::{Facts, host_facts, host_kind, our_facts};

/// Open files kept at a time.
const OPEN_MAX: usize = 6;
/// Longest file that steps make, bytes.
const SIZE_MAX: u64 = 40_000;

/// A volume and the directory that must behave alike.
pub(crate) struct Pair {
    volume: Volume,
    confined: bool,
    open: Vec<(fs::File, ashlar::File)>,
}

/// Panics with what was done if the two sides differ.
#[expect(clippy::needless_pass_by_value, reason = "callers have no further use for them")]
fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    when: &str,
    kernel: Outcome<T>,
    volume: Outcome<T>,
) -> bool {
    if std::env::var_os("ASHLAR_TRACE").is_some() {
        eprintln!("{when}: {what}: {}", shown(&kernel));
    }
    assert!(
        kernel == volume,
        "{when}: {what}\n  kernel: {}\n  volume: {}",
        shown(&kernel),
        shown(&volume)
    );
    kernel.is_ok()
}

fn shown<T: std::fmt::Debug>(outcome: &Outcome<T>) -> String {
    match outcome {
        Ok(value) => format!("{value:?}").chars().take(300).collect(),
        Err(number) => std::io::Error::from_raw_os_error(*number).to_string(),
    }
}

impl Pair {
    pub(crate) fn new(volume: Volume, confined: bool) -> Pair {
        Pair { volume, confined, open: Vec::new() }
    }

    pub(crate) fn into_volume(self) -> Volume {
        self.volume
    }

    pub(crate) fn step(&mut self, random: &mut fastrand::Rng, when: &str) {
        match random.u32(0..100) {
            0..6 => self.write(random, when),
            6..20 => self.open(random, when),
            20..44 => self.use_open(random, when),
            44..54 => self.make(random, when),
            54..62 => self.link(random, when),
            62..72 => self.rename(random, when),
            72..82 => self.remove(random, when),
            82..86 => self.change_mode(random, when),
            _ => self.look(random, when),
        }
    }

    fn write(&mut self, random: &mut fastrand::Rng, when: &str) {
        let (path, bytes) = (self.path(random), bytes(random));
        let kernel = host(fs::write(&path, &bytes));
        same(&format!("write {path:?}"), when, kernel, ours(self.volume.write(&path, &bytes)));
    }

    fn open(&mut self, random: &mut fastrand::Rng, when: &str) {
        let path = self.path(random);
        let (mut theirs, mut our) = (fs::OpenOptions::new(), OpenOptions::new());
        let mut chosen = Vec::new();
        for option in ["read", "write", "append", "truncate", "create", "create_new"] {
            let probability = if matches!(option, "read" | "write") { 2 } else { 4 };
            if random.u32(0..probability) != 0 {
                continue;
            }
            chosen.push(option);
            our = match option {
                "read" => (theirs.read(true), our.read(true)).1,
                "write" => (theirs.write(true), our.write(true)).1,
                "append" => (theirs.append(true), our.append(true)).1,
                "truncate" => (theirs.truncate(true), our.truncate(true)).1,
                "create" => (theirs.create(true), our.create(true)).1,
                _ => (theirs.create_new(true), our.create_new(true)).1,
            };
        }
        let (kernel, volume) = (theirs.open(&path), self.volume.open(&path, our));
        let what = format!("open {path:?} {chosen:?}");
        let outcomes = (
            host(kernel.as_ref().map(|_| ()).map_err(|error| match error.raw_os_error() {
                Some(number) => std::io::Error::from_raw_os_error(number),
                None => error.kind().into(),
            })),
            volume.as_ref().map(|_| ()).map_err(ashlar::Error::errno),
        );
        if same(&what, when, outcomes.0, outcomes.1) {
            if self.open.len() == OPEN_MAX {
                self.open.swap_remove(random.usize(0..OPEN_MAX));
            }
            self.open.extend(kernel.ok().zip(volume.ok()));
        }
    }

    fn use_open(&mut self, random: &mut fastrand::Rng, when: &str) {
        if self.open.is_empty() {
            return;
        }
        let (theirs, our) = &self.open[random.usize(0..self.open.len())];
        let offset = random.u64(0..SIZE_MAX);
        let length = random.u64(1..SIZE_MAX / 2);
        match random.u32(0..12) {
            0..3 => {
                let bytes = bytes(random);
                let kernel = host(theirs.write_all_at(&bytes, offset));
                let what = format!("write_at {offset}, {} bytes", bytes.len());
                same(&what, when, kernel, ours(our.write_at(offset, &bytes)));
            }
            3..7 => {
                let mut bufs = (vec![1; length as usize], vec![1; length as usize]);
                let kernel = host(theirs.read_at(&mut bufs.0, offset));
                let what = format!("read_at {offset}, {length} bytes");
                same(&what, when, kernel, ours(our.read_at(offset, &mut bufs.1)));
                assert!(bufs.0 == bufs.1, "{when}: {what} gave other bytes");
            }
            7 => {
                let kernel = host(theirs.set_len(offset));
                same(&format!("set_len {offset}"), when, kernel, ours(our.set_len(offset)));
            }
            8 => {
                let kernel = host(theirs.metadata().map(|metadata| host_facts(&metadata)));
                let volume = ours(our.metadata().map(|metadata| our_facts(&metadata)));
                same("metadata of an open file", when, kernel, volume);
            }
            9 => {
                let kernel = host(theirs.sync_all());
                same("sync", when, kernel, ours(our.sync()));
            }
            10 => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let kernel =
                    host(rustix::fs::fallocate(theirs, flags, offset, length).map_err(Into::into));
                let volume = ours(our.punch_hole(offset..offset + length));
                same(&format!("punch_hole {offset} {length}"), when, kernel, volume);
            }
            _ => {
                let (flags, keep) = match random.bool() {
                    true => (FallocateFlags::KEEP_SIZE, KeepSize::Yes),
                    false => (FallocateFlags::empty(), KeepSize::No),
                };
                let kernel =
                    host(rustix::fs::fallocate(theirs, flags, offset, length).map_err(Into::into));
                let volume = ours(our.allocate(offset..offset + length, keep));
                same(&format!("allocate {offset} {length} {keep:?}"), when, kernel, volume);
            }
        }
    }

    fn make(&mut self, random: &mut fastrand::Rng, when: &str) {
        let path = self.path(random);
        if random.u32(0..4) == 0 {
            let kernel = host(fs::create_dir_all(&path));
            let volume = ours(self.volume.create_dir_all(&path));
            same(&format!("create_dir_all {path:?}"), when, kernel, volume);
        } else {
            let kernel = host(fs::create_dir(&path));
            let volume = ours(self.volume.create_dir(&path));
            same(&format!("create_dir {path:?}"), when, kernel, volume);
        }
    }

    fn link(&mut self, random: &mut fastrand::Rng, when: &str) {
        let (target, link) = (self.path(random), self.path(random));
        if random.bool() {
            let kernel = host(fs::hard_link(&target, &link));
            let volume = ours(self.volume.hard_link(&target, &link));
            same(&format!("hard_link {target:?} {link:?}"), when, kernel, volume);
        } else {
            let kernel = host(std::os::unix::fs::symlink(&target, &link));
            let volume = ours(self.volume.symlink(&target, &link));
            same(&format!("symlink {target:?} {link:?}"), when, kernel, volume);
        }
    }

    fn rename(&mut self, random: &mut fastrand::Rng, when: &str) {
        let (from, to) = (self.path(random), self.path(random));
        let flags = match random.u32(0..6) {
            0 => RenameFlags::NOREPLACE,
            1 => RenameFlags::EXCHANGE,
            2 if random.u32(0..8) == 0 => RenameFlags::NOREPLACE | RenameFlags::EXCHANGE,
            _ => RenameFlags::empty(),
        };
        let kernel = host(rename_with(&from, &to, flags));
        let volume = ours(self.volume.rename_with(&from, &to, flags));
        same(&format!("rename {from:?} {to:?} {flags:?}"), when, kernel, volume);
    }

    fn remove(&mut self, random: &mut fastrand::Rng, when: &str) {
        let path = self.path(random);
        match random.u32(0..10) {
            0..5 => {
                let kernel = host(fs::remove_file(&path));
                let volume = ours(self.volume.remove_file(&path));
                same(&format!("remove_file {path:?}"), when, kernel, volume);
            }
            5..9 => {
                let kernel = host(fs::remove_dir(&path));
                let volume = ours(self.volume.remove_dir(&path));
                same(&format!("remove_dir {path:?}"), when, kernel, volume);
            }
            _ => {
                // What the standard library makes of dots and slashes here is its own; and a path
                // through a link may lead elsewhere once the tree is half removed.
                let mut path = PathBuf::from(name(random));
                if !path.is_symlink() {
                    path.push(name(random));
                }
                let kernel = host(fs::remove_dir_all(&path));
                let volume = ours(self.volume.remove_dir_all(&path));
                same(&format!("remove_dir_all {path:?}"), when, kernel, volume);
            }
        }
    }

    fn change_mode(&mut self, random: &mut fastrand::Rng, when: &str) {
        let (path, mode) = (self.path(random), random.u16(0..0o10000));
        let kernel = host(fs::set_permissions(&path, fs::Permissions::from_mode(mode.into())));
        let volume = ours(self.volume.set_permissions(&path, mode));
        same(&format!("set_permissions {path:?} {mode:o}"), when, kernel, volume);
    }

    fn look(&mut self, random: &mut fastrand::Rng, when: &str) {
        let path = self.path(random);
        let volume = &self.volume;
        match random.u32(0..6) {
            0 => {
                let kernel = host(fs::read(&path));
                same(&format!("read {path:?}"), when, kernel, ours(volume.read(&path)));
            }
            1 => {
                let kernel = host(fs::read_link(&path));
                same(&format!("read_link {path:?}"), when, kernel, ours(volume.read_link(&path)));
            }
            2 => {
                let kernel = host(fs::exists(&path));
                same(&format!("exists {path:?}"), when, kernel, ours(volume.exists(&path)));
            }
            3 => {
                let kernel = host(host_names(&path));
                let volume = ours(our_names(volume, &path));
                same(&format!("read_dir {path:?}"), when, kernel, volume);
            }
            4 => {
                let kernel = host(fs::metadata(&path).map(|metadata| host_facts(&metadata)));
                let volume = ours(volume.metadata(&path).map(|metadata| our_facts(&metadata)));
                same(
                    &format!("metadata {path:?}"),
                    when,
                    without_root(kernel),
                    without_root(volume),
                );
            }
            _ => {
                let kernel = fs::symlink_metadata(&path).map(|metadata| host_facts(&metadata));
                let volume =
                    ours(volume.symlink_metadata(&path).map(|metadata| our_facts(&metadata)));
                let kernel = without_root(host(kernel));
                same(&format!("symlink_metadata {path:?}"), when, kernel, without_root(volume));
            }
        }
    }

    /// A path of few names, sometimes with what paths can have besides.
    fn path(&self, random: &mut fastrand::Rng) -> PathBuf {
        let mut path = String::new();
        if self.confined && random.u32(0..8) == 0 {
            path.push('/');
        }
        let depth = random.u32(1..=4);
        for level in 0..depth {
            if level > 0 {
                path.push_str(if random.u32(0..12) == 0 { "//" } else { "/" });
            }
            match random.u32(0..300) {
                0 => path.push_str(&"n".repeat(255)),
                1 => path.push_str(&"n".repeat(256)),
                2..12 => path.push('.'),
                12..28 if self.confined => path.push_str(".."),
                _ => path.push_str(name(random)),
            }
        }
        if random.u32(0..12) == 0 {
            path.push('/');
        }
        match random.u32(0..500) {
            0 => path.clear(),
            // One byte more than a path can have, or just as many.
            1 => {
                path = format!("{}/", "m".repeat(127)).repeat(32);
                path.truncate(4096 - random.usize(0..2));
            }
            2 => path.push('\0'),
            3 if self.confined => path = "/".to_owned(),
            _ => {}
        }
        PathBuf::from(path)
    }
}

fn name(random: &mut fastrand::Rng) -> &'static str {
    ["a", "b", "c", "d", "e"][random.usize(0..5)]
}

fn bytes(random: &mut fastrand::Rng) -> Vec<u8> {
    let length = match random.u32(0..4) {
        0 => random.usize(0..4),
        1 => random.usize(0..3000),
        _ => random.usize(0..20_000),
    };
    (0..length).map(|_| random.u8(..)).collect()
}

fn host_names(path: &Path) -> std::io::Result<Vec<(std::ffi::OsString, FileKind)>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        names.push((entry.file_name(), host_kind(entry.file_type()?)));
    }
    names.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

fn our_names(volume: &Volume, path: &Path) -> ashlar::Result<Vec<(std::ffi::OsString, FileKind)>> {
    let mut names = Vec::new();
    for entry in volume.read_dir(path)? {
        let entry = entry?;
        names.push((entry.file_name().to_owned(), entry.kind()));
    }
    names.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

/// The mode of the root is not the same on both sides, and nothing depends on it.
fn without_root(outcome: Outcome<Facts>) -> Outcome<String> {
    outcome.map(|facts| match facts.is_directory() {
        true => "a directory".to_owned(),
        false => format!("{facts:?}"),
    })
}
