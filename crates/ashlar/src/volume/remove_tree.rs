//! Removing a directory with everything inside.
//!
//! By inode number, not by path: nothing that is renamed meanwhile can lead out of the tree, and
//! depth is bounded by memory alone. Symbolic links are removed, never followed.

use std::ops::ControlFlow;
use std::path::Path;

use ashlar_core::{FileKind, Ino};

use super::Volume;
use crate::error::{Cause, Result, errno};
use crate::walk::{self, Last};

/// Entries read from a directory at a time.
const BATCH: usize = 256;

/// A directory that is being emptied.
struct Frame {
    parent: Ino,
    name: Vec<u8>,
    dir: Ino,
    /// Entries still to be removed.
    entries: Vec<Entry>,
}

struct Entry {
    name: Vec<u8>,
    ino: Ino,
    kind: FileKind,
}

impl Volume {
    /// Removes a directory with everything inside, or a symbolic link.
    ///
    /// Not one step: an error, or a crash, leaves what was not removed yet.
    ///
    /// # Errors
    /// `EBUSY` for the root; `EINVAL` for a path that ends in `.` or `..`; `ENOTDIR` if it is a
    /// file; `EPERM` at the first immutable or append-only file or directory; else as
    /// [`remove_file`](Volume::remove_file).
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    pub fn remove_dir_all(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.remove_tree(path).map_err(Cause::at("remove the directory", path))
    }

    fn remove_tree(&self, path: &Path) -> Result<(), Cause> {
        let place = walk::place(&self.core, path)?;
        let name = match place.last {
            Last::Name(name) => name.into_owned(),
            Last::Dot | Last::DotDot => return Err(errno::EINVAL.into()),
            Last::Root => return Err(errno::EBUSY.into()),
        };
        let attr = self.core.lookup(place.dir, &name)?;
        match attr.kind {
            FileKind::Directory => {}
            FileKind::Symlink if !place.slash => {
                return Ok(self.core.unlink(place.dir, &name)?);
            }
            _ => return Err(errno::ENOTDIR.into()),
        }
        let first = Frame { parent: place.dir, name, dir: attr.ino, entries: Vec::new() };
        let mut stack = vec![first];
        while let Some(frame) = stack.last_mut() {
            let Some(entry) = frame.entries.pop() else {
                if self.refill(frame)? || self.remove_emptied(frame)? {
                    continue;
                }
                stack.pop();
                continue;
            };
            if entry.kind == FileKind::Directory {
                let Entry { name, ino, .. } = entry;
                let parent = frame.dir;
                stack.push(Frame { parent, name, dir: ino, entries: Vec::new() });
            } else {
                gone_is_fine(self.core.unlink(frame.dir, &entry.name))?;
            }
        }
        Ok(())
    }

    /// Reads the first entries; what was removed before is not among them. Returns whether there
    /// are any.
    fn refill(&self, frame: &mut Frame) -> Result<bool, Cause> {
        let entries = &mut frame.entries;
        let read = self.core.read_dir(frame.dir, 0, &mut |entry| {
            if entry.name != b"." && entry.name != b".." {
                entries.push(Entry { name: entry.name.clone(), ino: entry.ino, kind: entry.kind });
            }
            if entries.len() < BATCH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        gone_is_fine(read)?;
        Ok(!frame.entries.is_empty())
    }

    /// Removes the directory itself. Returns true if somebody put something in meanwhile.
    fn remove_emptied(&self, frame: &Frame) -> Result<bool, Cause> {
        match self.core.rmdir(frame.parent, &frame.name) {
            Err(error) if error.errno() == libc::ENOTEMPTY => Ok(true),
            other => gone_is_fine(other).map(|()| false),
        }
    }
}

/// What somebody else removed needs no removing.
fn gone_is_fine(result: ashlar_core::Result<()>) -> Result<(), Cause> {
    match result {
        Err(error) if matches!(error.errno(), libc::ENOENT | libc::ESTALE) => Ok(()),
        other => Ok(other?),
    }
}
