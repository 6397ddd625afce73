//! Compares what both sides hold.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ashlar::{FileKind, OpenOptions, Volume};

/// What both sides must agree on about a file.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Facts {
    kind: FileKind,
    mode: u32,
    nlink: u64,
    uid: u32,
    gid: u32,
    /// Of files and links; what a directory's size says is its own business.
    size: u64,
}

pub(crate) fn host_facts(metadata: &fs::Metadata) -> Facts {
    let kind = host_kind(metadata.file_type());
    Facts {
        kind,
        mode: metadata.mode() & 0o7777,
        nlink: metadata.nlink(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: if kind == FileKind::Directory { 0 } else { metadata.len() },
    }
}

pub(crate) fn our_facts(metadata: &ashlar::Metadata) -> Facts {
    Facts {
        kind: metadata.kind(),
        mode: u32::from(metadata.mode()),
        nlink: u64::from(metadata.nlink()),
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: if metadata.is_dir() { 0 } else { metadata.len() },
    }
}

pub(crate) fn host_kind(kind: fs::FileType) -> FileKind {
    if kind.is_dir() {
        FileKind::Directory
    } else if kind.is_symlink() {
        FileKind::Symlink
    } else {
        assert!(!kind.is_fifo(), "none is made here");
        FileKind::Regular
    }
}

/// Panics unless both sides hold the same.
pub(crate) fn compare(volume: &Volume, when: &str) {
    let (host, ours) = (host_tree(Path::new(".")), our_tree(volume));
    assert_eq!(host, ours, "{when}: the trees differ (left: the kernel's, right: ours)");
}

/// One line a file, so that a difference is easy to see.
fn host_tree(root: &Path) -> String {
    let mut text = String::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = match host_kind(metadata.file_type()) {
            FileKind::Directory => {
                let names = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
                waiting.extend(sorted(names.collect(), &path));
                Vec::new()
            }
            FileKind::Symlink => {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            }
            _ => fs::read(&path).unwrap(),
        };
        line(&mut text, &path, &host_facts(&metadata), &content);
    }
    text
}

fn our_tree(volume: &Volume) -> String {
    let mut text = String::new();
    let mut waiting = vec![PathBuf::from(".")];
    while let Some(path) = waiting.pop() {
        let metadata = volume.symlink_metadata(&path).unwrap();
        let content = match metadata.kind() {
            FileKind::Directory => {
                let entries = volume.read_dir(&path).unwrap();
                let names = entries.map(|entry| entry.unwrap().file_name().to_owned());
                waiting.extend(sorted(names.collect(), &path));
                Vec::new()
            }
            FileKind::Symlink => {
                volume.read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            }
            _ => {
                let file = volume.open(&path, OpenOptions::new().read(true)).unwrap();
                file.read_to_end(0).unwrap()
            }
        };
        line(&mut text, &path, &our_facts(&metadata), &content);
    }
    text
}

/// The paths of a directory's entries, but none that no longer is a path.
fn sorted(mut names: Vec<std::ffi::OsString>, path: &Path) -> Vec<PathBuf> {
    names.sort();
    let paths = names.into_iter().rev().map(|name| path.join(name));
    paths.filter(|path| path.as_os_str().len() <= ashlar::PATH_BYTES_MAX).collect()
}

fn line(text: &mut String, path: &Path, facts: &Facts, content: &[u8]) {
    // The root of the kernel's side was not made by a volume.
    if path == Path::new(".") {
        return;
    }
    let sum = content.iter().fold(0u64, |sum, byte| {
        sum.wrapping_mul(0x100_0000_01b3).wrapping_add(u64::from(*byte) + 1)
    });
    writeln!(text, "{} {facts:?} {sum:016x}", path.display()).unwrap();
}

impl Facts {
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }
}
