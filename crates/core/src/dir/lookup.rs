//! Finding a name.

use crate::dir::cache::Cached;
use crate::dir::check_wanted;
use crate::error::{ErrorKind, Result};
use crate::inode::attr_of;
use crate::types::{Attr, FileKind, Ino};
use crate::volume::Volume;
use ashlar_format::name::NameRecord;

impl Volume {
    /// Attributes of what `name` in directory `dir` refers to; "." and ".." work, too.
    ///
    /// # Errors
    /// `NotFound` (ENOENT), `NotDirectory` (ENOTDIR), `NameTooLong` (ENAMETOOLONG), `Stale` (ESTALE)
    /// when there is no inode `dir`, `Corrupt` (EUCLEAN), `Io`.
    pub fn lookup(&self, dir: Ino, name: &[u8]) -> Result<Attr> {
        self.lookup_name(dir, name).map_err(|error| error.in_op("lookup").at(dir))
    }

    fn lookup_name(&self, dir: Ino, name: &[u8]) -> Result<Attr> {
        self.check_open()?;
        if name == b"." || name == b".." {
            return self.lookup_dots(dir, name);
        }
        for _ in 0..LOOKUP_ROUNDS_MAX {
            let found = self.find_entry(dir, name)?;
            match self.getattr(Ino(found.ino)) {
                // The name was removed, or replaced, in between: look again.
                Err(error) if error.kind == ErrorKind::Stale => {}
                other => return other,
            }
        }
        // The name stays and its inode is not there.
        let problem = format!("a name in directory {dir} refers to an inode that does not exist");
        Err(ashlar_format::Corruption::new("name record", 0, problem).into())
    }

    /// What is enough to go on from `name` in directory `dir`, on the way along a path: number and
    /// kind. Cheaper than [`Volume::lookup`], since the inode is not asked.
    ///
    /// # Errors
    /// As [`Volume::lookup`].
    pub fn lookup_kind(&self, dir: Ino, name: &[u8]) -> Result<(Ino, FileKind)> {
        let found = || {
            self.check_open()?;
            if name == b"." || name == b".." {
                let attr = self.lookup_dots(dir, name)?;
                return Ok((attr.ino, attr.kind));
            }
            let found = self.find_entry(dir, name)?;
            Ok((Ino(found.ino), found.kind))
        };
        found().map_err(|error: crate::Error| error.in_op("lookup").at(dir))
    }

    /// What the directory says of a name other than "." and "..".
    fn find_entry(&self, dir: Ino, name: &[u8]) -> Result<NameRecord> {
        let wanted = self.name(dir, name);
        let ticket = match self.names.get(&wanted) {
            Cached::Known(record) => return Ok(record),
            Cached::Unknown(ticket) => ticket,
        };
        // A name that is known is a good one: only now.
        check_wanted(name).map_err(|error| error.at(dir).named(name))?;
        self.read_name(&wanted, ticket).or_else(|error| {
            if error.kind == ErrorKind::NotFound {
                // Only now is it worth asking what `dir` is.
                self.check_directory(dir)?;
                return Err(error.named(name));
            }
            Err(error)
        })
    }

    fn lookup_dots(&self, dir: Ino, name: &[u8]) -> Result<Attr> {
        let attr = self.getattr(dir)?;
        if attr.kind != FileKind::Directory {
            return Err(crate::Error::from(ErrorKind::NotDirectory).at(dir));
        }
        if name == b"." { Ok(attr) } else { self.getattr(self.parent(dir)?) }
    }

    /// The directory that holds directory `dir`.
    ///
    /// # Errors
    /// `Stale`; what reading the tree returns.
    pub(crate) fn parent(&self, dir: Ino) -> Result<Ino> {
        Ok(Ino(match self.inodes.peek(dir) {
            Some(inode) => inode.state()?.record.parent,
            None => self.read_record(dir)?.parent,
        }))
    }

    /// Checks that there is a directory of this number.
    ///
    /// # Errors
    /// `Stale`, `NotDirectory`; what reading the tree returns.
    pub(crate) fn check_directory(&self, dir: Ino) -> Result<()> {
        if self.getattr(dir)?.kind == FileKind::Directory {
            Ok(())
        } else {
            Err(crate::Error::from(ErrorKind::NotDirectory).at(dir))
        }
    }

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// `Invalid` (EINVAL) when it is not one; `Stale`, `Corrupt`, `Io`.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        let target = || {
            self.check_open()?;
            let inode = self.inode(ino)?;
            if inode.kind != FileKind::Symlink {
                return Err(ErrorKind::Invalid.into());
            }
            let target = inode.state()?.record.inline.as_deref().unwrap_or_default().to_vec();
            self.note_access(&inode);
            Ok(target)
        };
        target().map_err(|error: crate::Error| error.in_op("readlink").at(ino))
    }

    /// Attributes of an inode.
    ///
    /// # Errors
    /// `Stale` (ESTALE) when there is none of this number; `Corrupt`, `Io`.
    #[doc(alias = "stat")]
    pub fn getattr(&self, ino: Ino) -> Result<Attr> {
        let attr = || {
            self.check_open()?;
            match self.inodes.peek(ino) {
                Some(inode) => {
                    let state = inode.state()?;
                    Ok(inode.attr(&state))
                }
                // The tree says it all about what is not in memory.
                None => Ok(attr_of(ino, &self.read_record(ino)?)),
            }
        };
        attr().map_err(|error: crate::Error| error.in_op("getattr"))
    }
}

/// A name that refers to nothing each time it is looked up is damage, not a race.
const LOOKUP_ROUNDS_MAX: usize = 8;
