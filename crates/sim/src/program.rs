//! Runs a program on a volume, and reads back what a volume holds.

use crate::oracle::{Found, Node, Oracle};
use crate::workload::{NAMES, Op, stamp};
use ashlar_core::{
    Caller, Error, FallocateMode, FileKind, Ino, NewInode, OpenFlags, RenameFlags, SetAttr, Volume,
    WriteFlags,
};
use std::ops::ControlFlow;
use std::sync::Arc;

type Result<T> = std::result::Result<T, Error>;

/// Deepest directory that a walk follows: deeper than any program makes.
const DEPTH_MAX: usize = 16;

/// Runs operation number `number` and records it in the oracle if it succeeded. Operations that
/// the state of the names forbids fail with an errno, as they should; that is not an error here.
///
/// # Errors
/// What the volume said where it should not have: damage, device failures.
pub fn step(volume: &Arc<Volume>, oracle: &mut Oracle, op: &Op) -> Result<()> {
    match run(volume, oracle, op) {
        Ok(()) => {
            oracle.record(op);
            Ok(())
        }
        Err(error) => {
            oracle.record(&Op::Background);
            if is_refusal(error.errno()) { Ok(()) } else { Err(error) }
        }
    }
}

/// An errno that a sound volume answers to a request that cannot be.
fn is_refusal(errno: i32) -> bool {
    const REFUSALS: [i32; 8] = [
        2,  // ENOENT
        17, // EEXIST
        18, // EXDEV
        20, // ENOTDIR
        21, // EISDIR
        22, // EINVAL
        39, // ENOTEMPTY
        1,  // EPERM
    ];
    REFUSALS.contains(&errno)
}

fn run(volume: &Arc<Volume>, oracle: &Oracle, op: &Op) -> Result<()> {
    let caller = Caller::root();
    let number = oracle.len() as u64 + 1;
    match *op {
        Op::Create(path) => create(volume, path, FileKind::Regular, b""),
        Op::Mkdir(path) => create(volume, path, FileKind::Directory, b""),
        Op::Symlink(path) => create(volume, path, FileKind::Symlink, b"target"),
        Op::Write { path, offset, length } => {
            let file = open(volume, path)?;
            let mut bytes = vec![0; length as usize];
            stamp(number, offset, &mut bytes);
            file.write_at(offset, &bytes, WriteFlags::default()).map(drop)
        }
        Op::Truncate { path, size } => {
            let ino = regular(volume, path)?;
            let change = SetAttr { size: Some(size), ..SetAttr::default() };
            volume.setattr(&caller, ino, &change).map(drop)
        }
        Op::Punch { path, offset, length } => {
            open(volume, path)?.allocate(&caller, FallocateMode::PunchHole, offset, length)
        }
        Op::Allocate { path, offset, length } => {
            let mode = FallocateMode::Allocate { keep_size: false };
            open(volume, path)?.allocate(&caller, mode, offset, length)
        }
        Op::Rename(from, to) => rename(volume, from, to, RenameFlags::empty()),
        Op::Exchange(from, to) => rename(volume, from, to, RenameFlags::EXCHANGE),
        Op::Link(from, to) => {
            let ino = regular(volume, from)?;
            let (dir, name) = parent(volume, to)?;
            volume.link(ino, dir, name).map(drop)
        }
        Op::Unlink(path) => {
            let (dir, name) = parent(volume, path)?;
            volume.unlink(dir, name)
        }
        Op::Rmdir(path) => {
            let (dir, name) = parent(volume, path)?;
            volume.rmdir(dir, name)
        }
        Op::Fsync(path) => open(volume, path)?.fsync(false),
        Op::Fdatasync(path) => open(volume, path)?.fsync(true),
        Op::SyncAll => volume.sync(),
        Op::Background => volume.background_step(),
    }
}

fn create(volume: &Arc<Volume>, path: usize, kind: FileKind, target: &[u8]) -> Result<()> {
    let (dir, name) = parent(volume, path)?;
    let new = NewInode { kind, mode: 0o755, rdev: 0, symlink_target: target };
    volume.create(&Caller::root(), dir, name, &new).map(drop)
}

fn rename(volume: &Arc<Volume>, from: usize, to: usize, flags: RenameFlags) -> Result<()> {
    let (dir, name) = parent(volume, from)?;
    let (new_dir, new_name) = parent(volume, to)?;
    volume.rename(&Caller::root(), dir, name, new_dir, new_name, flags)
}

fn parent(volume: &Arc<Volume>, path: usize) -> Result<(Ino, &'static [u8])> {
    let mut dir = Ino::ROOT;
    let mut parts = NAMES[path].split('/').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return Ok((dir, part.as_bytes()));
        }
        dir = volume.lookup(dir, part.as_bytes())?.ino;
    }
    Ok((dir, b""))
}

fn regular(volume: &Arc<Volume>, path: usize) -> Result<Ino> {
    let (dir, name) = parent(volume, path)?;
    let attr = volume.lookup(dir, name)?;
    match attr.kind {
        FileKind::Regular => Ok(attr.ino),
        // Opening what is not a regular file fails in a way that counts as a refusal.
        _ => volume.lookup(attr.ino, b"not a directory").map(|attr| attr.ino),
    }
}

fn open(volume: &Arc<Volume>, path: usize) -> Result<Arc<ashlar_core::File>> {
    let ino = regular(volume, path)?;
    let flags = OpenFlags { read: true, write: true, ..OpenFlags::default() };
    volume.open(ino, flags)
}

/// Reads everything that a volume holds.
///
/// # Errors
/// Whatever cannot be read: after a power cut everything must be readable.
pub fn read_all(volume: &Arc<Volume>) -> Result<Found> {
    let mut found = Found::default();
    walk(volume, Ino::ROOT, "", 0, &mut found)?;
    Ok(found)
}

fn walk(
    volume: &Arc<Volume>,
    dir: Ino,
    prefix: &str,
    depth: usize,
    found: &mut Found,
) -> Result<()> {
    let mut entries = Vec::new();
    volume.read_dir(dir, 0, &mut |entry| {
        if entry.name != *b"." && entry.name != *b".." {
            entries.push((entry.ino, String::from_utf8_lossy(&entry.name).into_owned()));
        }
        ControlFlow::Continue(())
    })?;
    for (ino, name) in entries {
        let path = format!("{prefix}{name}");
        let attr = volume.getattr(ino)?;
        let node = match attr.kind {
            FileKind::Directory if depth < DEPTH_MAX => {
                walk(volume, ino, &format!("{path}/"), depth + 1, found)?;
                Node::Directory
            }
            FileKind::Symlink if volume.readlink(ino)? == b"target" => Node::Symlink,
            _ => {
                found.contents.insert(ino.0, read(volume, ino, attr.size)?);
                Node::File(ino.0)
            }
        };
        found.names.insert(path, node);
    }
    Ok(())
}

fn read(volume: &Arc<Volume>, ino: Ino, size: u64) -> Result<Vec<u8>> {
    let file = volume.open(ino, OpenFlags { read: true, ..OpenFlags::default() })?;
    let mut content = vec![0; size as usize];
    let mut done = 0;
    while done < content.len() {
        let count = file.read_at(done as u64, &mut content[done..])?;
        if count == 0 {
            break;
        }
        done += count;
    }
    content.truncate(done);
    Ok(content)
}
