//! LOOKUP, FORGET and BATCH_FORGET: the kernel's references to inodes.

use ashlar_core::{Attr, Ino};

use super::{Answer, Server, errno};
use crate::ops::attr::wire_attr;
use crate::wire::abi::EntryOut;
use crate::wire::reply::{Errno, Reply};

impl Server {
    /// Finds a name. That it does not exist is remembered by the kernel too.
    pub(super) fn lookup(&self, dir: Ino, name: &[u8]) -> Answer {
        // The kernel asks for "." to find an inode again that it knows only by number, from an
        // NFS file handle, and that need not be a directory.
        if name == b"." {
            let attr = self.volume.getattr(dir).map_err(|error| errno(&error))?;
            return Ok(Reply::Entry(self.entry(&attr)));
        }
        match self.volume.lookup(dir, name) {
            Ok(attr) => Ok(Reply::Entry(self.entry(&attr))),
            Err(error) => match errno(&error) {
                Errno::ENOENT if name != b".." => Ok(Reply::Entry(self.no_entry())),
                other => Err(other),
            },
        }
    }

    /// Finds a file for the thread that makes calls on the mount; see [`crate::inside`].
    pub(super) fn lookup_inside(&self, name: &[u8]) -> Answer {
        let ino = self.inside.target(name).ok_or(Errno::ENOENT)?;
        let attr = self.volume.getattr(ino).map_err(|error| errno(&error))?;
        Ok(Reply::Entry(EntryOut { entry_valid: 0, ..self.entry(&attr) }))
    }

    /// Takes back `count` references.
    pub(super) fn forget(&self, ino: Ino, count: u64) -> Answer {
        self.volume.forget(ino, count);
        Ok(Reply::Silent)
    }

    /// An entry for the kernel, which now holds one more reference to the inode.
    pub(super) fn entry(&self, attr: &Attr) -> EntryOut {
        self.volume.remember(attr.ino);
        self.entry_unreferenced(attr)
    }

    /// An entry that does not count as a reference.
    pub(super) fn entry_unreferenced(&self, attr: &Attr) -> EntryOut {
        EntryOut {
            nodeid: attr.ino.0,
            generation: u64::from(attr.generation),
            entry_valid: self.validity(),
            attr_valid: self.attr_validity(attr),
            attr: wire_attr(attr),
            ..EntryOut::default()
        }
    }

    /// "There is no such name", good until the kernel itself creates it.
    fn no_entry(&self) -> EntryOut {
        EntryOut { entry_valid: self.validity(), ..EntryOut::default() }
    }
}
