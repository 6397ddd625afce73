//! Opening files, and reading or writing whole ones.

use std::path::Path;

use ashlar_core::{Attr, FileKind, Ino, NewInode, OpenFlags, WriteFlags};

use super::Volume;
use crate::error::{Cause, Result, errno};
use crate::file::{Access, File};
use crate::walk::{self, Follow, Last, Place};

/// How [`Volume::open`] opens a file: as [`std::fs::OpenOptions`], but a plain value.
///
/// ```
/// use ashlar::{OpenOptions, Volume};
/// let volume = Volume::in_memory(64 << 20)?;
/// let log = volume.open("app.log", OpenOptions::new().append(true).create(true))?;
/// log.append(b"started\n")?;
/// # Ok::<(), ashlar::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    no_follow: bool,
    sync: bool,
    data_sync: bool,
    atomic: bool,
    mode: u16,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions::new()
    }
}

impl OpenOptions {
    /// Nothing is allowed yet: choose at least one of [`read`](OpenOptions::read),
    /// [`write`](OpenOptions::write) and [`append`](OpenOptions::append).
    pub const fn new() -> OpenOptions {
        OpenOptions {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            no_follow: false,
            sync: false,
            data_sync: false,
            atomic: false,
            mode: 0o666,
        }
    }

    /// Allows reading.
    pub const fn read(mut self, read: bool) -> OpenOptions {
        self.read = read;
        self
    }

    /// Allows writing.
    pub const fn write(mut self, write: bool) -> OpenOptions {
        self.write = write;
        self
    }

    /// Allows writing, at the end of the file only: every write finds the end by itself, so that
    /// several writers do not overwrite each other.
    #[doc(alias = "O_APPEND")]
    pub const fn append(mut self, append: bool) -> OpenOptions {
        self.append = append;
        self
    }

    /// Empties the file; needs [`write`](OpenOptions::write).
    #[doc(alias = "O_TRUNC")]
    pub const fn truncate(mut self, truncate: bool) -> OpenOptions {
        self.truncate = truncate;
        self
    }

    /// Creates the file if it is missing; needs `write` or `append`.
    #[doc(alias = "O_CREAT")]
    pub const fn create(mut self, create: bool) -> OpenOptions {
        self.create = create;
        self
    }

    /// Creates the file, and fails with `EEXIST` if the name is taken, even by a symbolic link.
    /// `create` and `truncate` mean nothing then.
    #[doc(alias = "O_EXCL")]
    pub const fn create_new(mut self, create_new: bool) -> OpenOptions {
        self.create_new = create_new;
        self
    }

    /// Fails with `ELOOP` if the last component is a symbolic link.
    #[doc(alias = "O_NOFOLLOW")]
    pub const fn no_follow(mut self, no_follow: bool) -> OpenOptions {
        self.no_follow = no_follow;
        self
    }

    /// Every write is durable when it returns, with all attributes.
    #[doc(alias = "O_SYNC")]
    pub const fn sync(mut self, sync: bool) -> OpenOptions {
        self.sync = sync;
        self
    }

    /// Every write is durable when it returns, with what is needed to read it back.
    #[doc(alias = "O_DSYNC")]
    pub const fn data_sync(mut self, data_sync: bool) -> OpenOptions {
        self.data_sync = data_sync;
        self
    }

    /// What is written is kept apart from the file until [`File::sync`], [`File::sync_data`] or
    /// [`Volume::sync_all`] commits it, all at once: after a crash the file holds exactly what was
    /// committed last. Closing the last handle, or the end of the process, discards what was not
    /// committed. Needs `write`. See [`crate::File`] for more.
    #[doc(alias = "O_ATOMIC")]
    pub const fn atomic(mut self, atomic: bool) -> OpenOptions {
        self.atomic = atomic;
        self
    }

    /// Permission bits of a file that is created, less the volume's
    /// [`umask`](super::VolumeOptions::umask). Default: `0o666`.
    pub const fn mode(mut self, mode: u16) -> OpenOptions {
        self.mode = mode;
        self
    }

    fn writes(&self) -> bool {
        self.write || self.append
    }

    fn access(&self) -> Access {
        Access { read: self.read, write: self.writes(), append: self.append }
    }

    fn creates(&self) -> bool {
        self.create || self.create_new
    }

    /// Refuses what makes no sense, as the standard library does.
    fn check(&self) -> Result<(), Cause> {
        let invalid = |words| Err(Cause::Rule(errno::EINVAL, words));
        if !self.read && !self.writes() {
            return invalid("choose at least one of read, write and append");
        }
        if self.truncate && !self.create_new && (!self.write || self.append) {
            return invalid("truncating needs write, and not append");
        }
        if self.atomic && !self.writes() {
            return invalid("atomic needs write or append");
        }
        if self.creates() && !self.writes() {
            return invalid("creating needs write or append");
        }
        Ok(())
    }

    fn flags(&self) -> OpenFlags {
        OpenFlags {
            read: self.read,
            write: self.writes(),
            append: self.append,
            sync: self.sync,
            dsync: self.data_sync,
            truncate: self.truncate && !self.create_new,
            atomic: self.atomic,
            ..OpenFlags::default()
        }
    }
}

impl Volume {
    /// Opens a file, or a directory for reading: a directory can be synced and examined.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ELOOP`, `ENAMETOOLONG` from the path; `EEXIST` with `create_new`;
    /// `EISDIR` for writing to a directory or creating with a trailing slash; `EINVAL` for options
    /// that contradict each other; `EOPNOTSUPP` for devices, pipes and sockets, which only a
    /// mounted volume can open; `EROFS`, `ENOSPC`, `EIO`.
    ///
    /// # Durability
    /// A new name survives a crash after [`File::sync`] of the file, or [`Volume::sync`].
    pub fn open(&self, path: impl AsRef<Path>, options: OpenOptions) -> Result<File> {
        let path = path.as_ref();
        self.open_at(path, options).map_err(Cause::at("open", path))
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// As [`Volume::open`]; `EISDIR` for a directory; `EIO`, `EUCLEAN`.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let read = || -> Result<Vec<u8>, Cause> {
            let file = self.open_at(path, OpenOptions::new().read(true))?;
            file.read_all()
        };
        read().map_err(Cause::at("read", path))
    }

    /// Reads a whole file as text.
    ///
    /// # Errors
    /// As [`Volume::read`]; `EINVAL` if it is not UTF-8.
    pub fn read_to_string(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = path.as_ref();
        String::from_utf8(self.read(path)?)
            .map_err(|_| Cause::Rule(errno::EINVAL, "its content is not UTF-8"))
            .map_err(Cause::at("read", path))
    }

    /// Writes a whole file: creates it if it is missing and replaces what it held.
    ///
    /// # Errors
    /// As [`Volume::open`]; `ENOSPC`, `EFBIG`, `EIO`: the file may hold a part then.
    ///
    /// # Durability
    /// As any change: after the next [`sync`](Volume::sync). A crash before may leave the old
    /// content, none, or a part of the new.
    pub fn write(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        let write = || -> Result<(), Cause> {
            let options = OpenOptions::new().write(true).create(true).truncate(true);
            let file = self.open_at(path, options)?;
            file.write_all_at(0, bytes.as_ref(), WriteFlags::default())
        };
        write().map_err(Cause::at("write", path))
    }

    fn open_at(&self, path: &Path, options: OpenOptions) -> Result<File, Cause> {
        options.check()?;
        let follow = match options.no_follow {
            true => Follow::No,
            false => Follow::Yes,
        };
        loop {
            let ino = if options.create_new {
                self.create_at(&walk::place(&self.core, path)?, options)?
            } else if options.create {
                let (place, found) = walk::find_to_create(&self.core, path, follow)?;
                match self.found_or_created(&place, found, options)? {
                    Some(ino) => ino,
                    // Somebody else was faster: look again.
                    None => continue,
                }
            } else {
                openable(&walk::find(&self.core, path, follow)?, options)?
            };
            match self.core.open(ino, options.flags()) {
                Ok(file) => return Ok(File::new(self, file, options.access())),
                // Removed between the two steps, as if it had never been there: make another.
                Err(error) if error.errno() == libc::ESTALE && options.creates() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The file to open; `None` if another thread created it just now.
    fn found_or_created(
        &self,
        place: &Place<'_>,
        found: Option<Attr>,
        options: OpenOptions,
    ) -> Result<Option<Ino>, Cause> {
        if let Some(attr) = found {
            return openable(&attr, options).map(Some);
        }
        match self.create_at(place, options) {
            Err(cause) if cause.errno() == errno::EEXIST => Ok(None),
            other => other.map(Some),
        }
    }

    /// Creates the file. That the name is taken is for the volume to find out.
    fn create_at(&self, place: &Place<'_>, options: OpenOptions) -> Result<Ino, Cause> {
        let Last::Name(name) = &place.last else { return Err(errno::EEXIST.into()) };
        if place.slash {
            return Err(errno::EISDIR.into());
        }
        let new = NewInode::file(u32::from(options.mode & 0o7777));
        Ok(self.core.create(&self.caller, place.dir, name, &new)?.ino)
    }
}

/// Whether an existing file can be opened like this.
fn openable(attr: &Attr, options: OpenOptions) -> Result<Ino, Cause> {
    match attr.kind {
        FileKind::Regular => Ok(attr.ino),
        FileKind::Directory if options.writes() => Err(errno::EISDIR.into()),
        FileKind::Directory => Ok(attr.ino),
        FileKind::Symlink => Err(errno::ELOOP.into()),
        _ => Err(Cause::Rule(
            errno::EOPNOTSUPP,
            "it is a device, pipe or socket; mount the volume to use it",
        )),
    }
}
