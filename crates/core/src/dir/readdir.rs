//! Listing a directory.
//!
//! Entries come in the order of their names' hashes, so that a listing that goes on behind a cookie
//! neither repeats nor skips what was there all the time, whatever else changes:
//!
//! ```text
//!   cookie   1    2     hash A | 0   hash B | 0   hash B | 1   ...
//!            .    ..    name         name         name with the same hash
//! ```
//! The low four bits of a hash are zero; they number names with equal hashes in order of the names.
//! (If one of those is removed, the cookies of those behind it shift: with a 59-bit hash nobody will
//! see that.)

use crate::error::{ErrorKind, Result};
use crate::types::{DirEntry, FileKind, Ino};
use crate::volume::Volume;
use ashlar_format::checksum::NAME_HASH_SPARE_BITS;
use ashlar_format::key::{self, TreeId};
use ashlar_format::name::NameRecord;
use std::ops::ControlFlow;

const DOT: u64 = 1;
const DOT_DOT: u64 = 2;
const INDEX_MASK: u64 = (1 << NAME_HASH_SPARE_BITS) - 1;

impl Volume {
    /// Calls `emit` with the entries of `dir` behind `cookie` (0: all of them), "." and ".." first,
    /// until it breaks off. The listing shows one moment of the directory. `emit` may use the volume.
    ///
    /// # Errors
    /// `NotDirectory` (ENOTDIR), `NotFound` (ENOENT) when it was removed, `Stale`, `Shutdown`,
    /// `Corrupt`, `Io`.
    pub fn read_dir(
        &self,
        dir: Ino,
        cookie: u64,
        emit: &mut dyn FnMut(&DirEntry) -> ControlFlow<()>,
    ) -> Result<()> {
        self.list(dir, cookie, emit).map_err(|error| error.in_op("read_dir").at(dir))
    }

    fn list(
        &self,
        dir: Ino,
        cookie: u64,
        emit: &mut dyn FnMut(&DirEntry) -> ControlFlow<()>,
    ) -> Result<()> {
        let attr = self.getattr(dir)?;
        if attr.kind != FileKind::Directory {
            return Err(ErrorKind::NotDirectory.into());
        }
        if attr.nlink == 0 {
            return Err(ErrorKind::NotFound.into());
        }
        if cookie == 0 {
            self.note_listing(dir)?;
        }
        let parent = self.parent(dir)?;
        for (name, ino, at) in [(&b"."[..], dir, DOT), (b"..", parent, DOT_DOT)] {
            let entry =
                DirEntry { ino, kind: FileKind::Directory, name: name.to_vec(), cookie: at };
            if cookie < at && emit(&entry).is_break() {
                return Ok(());
            }
        }
        let mut walk = Walk {
            dir,
            behind: cookie,
            hash: 0,
            index: 0,
            entry: DirEntry { ino: dir, kind: FileKind::Directory, name: Vec::new(), cookie: 0 },
            failure: None,
        };
        let from = key::name_prefix(dir.0, cookie & !INDEX_MASK);
        self.store.scan(TreeId::Names, &from, &mut |key, value| walk.visit(key, value, emit))?;
        walk.failure.map_or(Ok(()), |corruption| Err(corruption.into()))
    }

    /// Reading a directory is an access.
    fn note_listing(&self, dir: Ino) -> Result<()> {
        // Not in memory, not worth it when nothing can be written anyway.
        if self.check_writable().is_err() {
            return Ok(());
        }
        let inode = self.inode(dir)?;
        self.note_access(&inode);
        Ok(())
    }
}

/// A listing on its way through the names tree.
struct Walk {
    dir: Ino,
    /// Entries at or before this cookie were seen.
    behind: u64,
    hash: u64,
    /// Of the next entry among those with the same hash.
    index: u64,
    /// One for all, so that names need no allocation each.
    entry: DirEntry,
    failure: Option<ashlar_format::Corruption>,
}

impl Walk {
    fn visit(
        &mut self,
        key: &[u8],
        value: &[u8],
        emit: &mut dyn FnMut(&DirEntry) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let decoded = key::decode_name(key)
            .and_then(|(dir, hash, name)| Ok((dir, hash, name, NameRecord::decode(value)?)));
        let (dir, hash, name, record) = match decoded {
            Ok(parts) => parts,
            Err(corruption) => {
                self.failure = Some(corruption);
                return ControlFlow::Break(());
            }
        };
        if dir != self.dir.0 {
            return ControlFlow::Break(());
        }
        if hash != self.hash {
            (self.hash, self.index) = (hash, 0);
        }
        let cookie = hash | self.index.min(INDEX_MASK);
        self.index += 1;
        if cookie <= self.behind {
            return ControlFlow::Continue(());
        }
        self.entry.ino = Ino(record.ino);
        self.entry.kind = record.kind;
        self.entry.cookie = cookie;
        self.entry.name.clear();
        self.entry.name.extend_from_slice(name);
        emit(&self.entry)
    }
}
