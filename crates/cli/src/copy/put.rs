//! Copies trees of this machine into a volume.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ashlar::{ErrorKind, FileTimes, OpenOptions, SpecialFile, Volume, XattrMode};
use rustix::fs::SeekFrom;

use super::Job;
use crate::failure::{Failure, Result};

/// Longest list of names and longest value of extended attributes (`XATTR_LIST_MAX`).
const XATTR_BYTES_MAX: usize = 65536;

/// A copy into one volume.
pub(crate) struct Put<'a> {
    volume: &'a Volume,
    job: Job,
    /// Device and inode number of the image itself, which must not be copied into itself.
    image: (u64, u64),
    /// Where the first name of a file with several went.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<'a> Put<'a> {
    pub(crate) fn new(volume: &'a Volume, image: &Path, job: Job) -> Put<'a> {
        // An image that cannot be examined now is not found in the tree either.
        let image = image.metadata().map_or((0, 0), |image| (image.dev(), image.ino()));
        Put { volume, job, image, links: HashMap::new() }
    }

    pub(crate) fn finish(self) -> Result<()> {
        self.job.finish()
    }

    /// Copies `source`, with everything inside, to `target`.
    ///
    /// # Errors
    /// The volume is full or broken: it makes no sense to go on. Other failures are reported.
    pub(crate) fn tree(&mut self, source: &Path, target: &Path) -> Result<()> {
        match self.copy(source, target) {
            Ok(()) => Ok(()),
            Err(Stop::File(failure)) => {
                self.job.report(&failure);
                Ok(())
            }
            Err(Stop::All(failure)) => Err(failure),
        }
    }

    fn copy(&mut self, source: &Path, target: &Path) -> Result<(), Stop> {
        let metadata = source.symlink_metadata().map_err(host("examine", source))?;
        let kind = metadata.file_type();
        let identity = (metadata.dev(), metadata.ino());
        if identity == self.image {
            self.job.warn(&format!("{} is the image itself and is left out", source.display()));
            return Ok(());
        }
        if kind.is_dir() {
            return self.directory(source, target, &metadata);
        }
        if self.job.archives() && metadata.nlink() > 1 {
            if let Some(first) = self.links.get(&identity) {
                self.make_room(target)?;
                self.volume.hard_link(first, target)?;
                self.job.progress.advance(if kind.is_file() { metadata.len() } else { 0 });
                return Ok(());
            }
            self.links.insert(identity, target.to_owned());
        }
        if kind.is_file() {
            self.file(source, target, &metadata)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(source).map_err(host("read", source))?;
            self.make_room(target)?;
            self.volume.symlink(link, target)?;
        } else {
            self.make_room(target)?;
            self.volume.create_special(target, special(&metadata), 0o600)?;
            let mode = self.job.initial_mode(mode_of(&metadata));
            self.volume.set_permissions(target, mode)?;
        }
        self.keep_attributes(source, target, &metadata)
    }

    fn directory(&mut self, source: &Path, target: &Path, metadata: &Metadata) -> Result<(), Stop> {
        match self.volume.create_dir(target) {
            Ok(()) => {
                // Writable until all is inside; the mode is set at the end.
                self.volume.set_permissions(target, self.job.initial_mode(mode_of(metadata)))?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !self.volume.symlink_metadata(target)?.is_dir() {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        let entries = fs::read_dir(source).map_err(host("read", source))?;
        let mut names: Vec<_> = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<_>>()
            .map_err(host("read", source))?;
        names.sort();
        for name in names {
            self.tree(&source.join(&name), &target.join(&name)).map_err(Stop::All)?;
        }
        self.keep_attributes(source, target, metadata)
    }

    fn file(&mut self, source: &Path, target: &Path, metadata: &Metadata) -> Result<(), Stop> {
        let from = File::open(source).map_err(host("open", source))?;
        if self.volume.symlink_metadata(target).is_ok_and(|found| !found.is_file()) {
            self.make_room(target)?;
        }
        let options = OpenOptions::new().write(true).create(true).truncate(true);
        let mode = self.job.initial_mode(mode_of(metadata));
        let to = self.volume.open(target, options.mode(mode))?;
        let size = metadata.len();
        let mut offset = 0;
        while let Some((start, end)) =
            next_data(&from, offset, size).map_err(host("read", source))?
        {
            self.job.progress.advance(start - offset);
            offset = start;
            while offset < end {
                let room = usize::try_from(end - offset).unwrap_or(usize::MAX);
                let room = room.min(self.job.buf.len());
                let count = from
                    .read_at(&mut self.job.buf[..room], offset)
                    .map_err(host("read", source))?;
                if count == 0 {
                    // It was cut off meanwhile.
                    return Ok(());
                }
                to.write_at(offset, &self.job.buf[..count])?;
                offset += count as u64;
                self.job.progress.advance(count as u64);
            }
        }
        if offset < size {
            to.set_len(size)?;
            self.job.progress.advance(size - offset);
        }
        Ok(())
    }

    /// Removes what is not a directory under the target's name.
    fn make_room(&self, target: &Path) -> Result<(), Stop> {
        match self.volume.remove_file(target) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Owner first, since changing it clears set-id bits; times last, since all else changes them.
    fn keep_attributes(
        &mut self,
        source: &Path,
        target: &Path,
        metadata: &Metadata,
    ) -> Result<(), Stop> {
        if !self.job.archives() {
            return Ok(());
        }
        let (uid, gid) = (Some(metadata.uid()), Some(metadata.gid()));
        self.volume.set_owner_nofollow(target, uid, gid)?;
        self.keep_xattrs(source, target)?;
        if !metadata.file_type().is_symlink() {
            self.volume.set_permissions(target, mode_of(metadata))?;
        }
        let times = FileTimes::new()
            .accessed(time(metadata.atime(), metadata.atime_nsec()))
            .modified(time(metadata.mtime(), metadata.mtime_nsec()));
        Ok(self.volume.set_times_nofollow(target, times)?)
    }

    fn keep_xattrs(&mut self, source: &Path, target: &Path) -> Result<(), Stop> {
        let mut names = vec![0; XATTR_BYTES_MAX];
        let Ok(length) = rustix::fs::llistxattr(source, &mut names[..]) else {
            // The file system has none, or does not show them.
            return Ok(());
        };
        let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        for name in names.map(OsStr::from_bytes) {
            let mut value = vec![0; XATTR_BYTES_MAX];
            // One that is gone again, or is not for us to read, is not there to keep.
            let Ok(length) = rustix::fs::lgetxattr(source, name, &mut value[..]) else { continue };
            let value = &value[..length];
            let set = self.volume.set_xattr_nofollow(target, name, value, XattrMode::Either);
            match set {
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    let (path, name) = (source.display(), name.display());
                    self.job.warn(&format!("{path}: attribute {name} cannot be kept here"));
                }
                other => other?,
            }
        }
        Ok(())
    }
}

/// How far a failure reaches.
enum Stop {
    /// This file.
    File(Failure),
    /// The whole copy.
    All(Failure),
}

impl From<ashlar::Error> for Stop {
    fn from(error: ashlar::Error) -> Stop {
        let all = matches!(
            error.kind(),
            ErrorKind::NoSpace | ErrorKind::Io | ErrorKind::ReadOnlyVolume | ErrorKind::Damaged
        );
        if all { Stop::All(error.into()) } else { Stop::File(error.into()) }
    }
}

fn host<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> Stop + 'p {
    move |error| Stop::File(Failure::host(action, path, &error))
}

/// The next stretch of data at or behind `offset`; file systems that cannot tell show one.
fn next_data(file: &File, offset: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if offset >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => offset,
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap_or(size);
    Ok((start < size).then_some((start, end.min(size))))
}

fn mode_of(metadata: &Metadata) -> u16 {
    // Twelve bits.
    (metadata.mode() & 0o7777) as u16
}

fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let part = Duration::from_nanos(nanoseconds.unsigned_abs());
    let time =
        if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    time.and_then(|time| time.checked_add(part)).unwrap_or(UNIX_EPOCH)
}

fn special(metadata: &Metadata) -> SpecialFile {
    let kind = metadata.file_type();
    let number = metadata.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    if kind.is_char_device() {
        SpecialFile::CharDevice { major, minor }
    } else if kind.is_block_device() {
        SpecialFile::BlockDevice { major, minor }
    } else if kind.is_socket() {
        SpecialFile::Socket
    } else {
        SpecialFile::Fifo
    }
}

/// Bytes of all files in a tree, for progress; what cannot be read counts nothing.
pub(crate) fn bytes_in(path: &Path) -> u64 {
    let mut waiting = vec![path.to_owned()];
    let mut bytes = 0u64;
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_file() {
            bytes = bytes.saturating_add(metadata.len());
        } else if metadata.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(entries.map(|entry| entry.path()));
        }
    }
    bytes
}
