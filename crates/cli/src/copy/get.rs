//! Copies trees of a volume onto this machine.
//!
//! The volume may come from anywhere, so its names are not trusted: none may lead out of the
//! target directory, and nothing is written through a symbolic link that lies there.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use ashlar::{ErrorKind, FileKind, Metadata, OpenOptions, Volume};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::Job;
use crate::failure::{Failure, Result};
use crate::mode::since_1970;

/// A copy out of one volume.
pub(crate) struct Get<'a> {
    volume: &'a Volume,
    job: Job,
    /// Where the first name of a file with several went.
    links: HashMap<u64, PathBuf>,
}

impl<'a> Get<'a> {
    pub(crate) fn new(volume: &'a Volume, job: Job) -> Get<'a> {
        Get { volume, job, links: HashMap::new() }
    }

    pub(crate) fn into_job(self) -> Job {
        self.job
    }

    /// Copies `source`, with everything inside, to `target`.
    ///
    /// # Errors
    /// The machine's disk is full or the volume is broken: it makes no sense to go on. Other
    /// failures are reported.
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
        let metadata = self.volume.symlink_metadata(source)?;
        if metadata.is_dir() {
            return self.directory(source, target, &metadata);
        }
        if self.job.archives() && metadata.nlink() > 1 {
            if let Some(first) = self.links.get(&metadata.ino()) {
                make_room(target)?;
                fs::hard_link(first, target).map_err(host("link", target))?;
                self.job.progress.advance(if metadata.is_file() { metadata.len() } else { 0 });
                return Ok(());
            }
            self.links.insert(metadata.ino(), target.to_owned());
        }
        match metadata.kind() {
            FileKind::Regular => self.file(source, target, &metadata)?,
            FileKind::Symlink => {
                let link = self.volume.read_link(source)?;
                make_room(target)?;
                symlink(link, target).map_err(host("create", target))?;
            }
            kind => {
                make_room(target)?;
                let mode = Mode::from_raw_mode(self.job.initial_mode(metadata.mode()).into());
                let (major, minor) = metadata.device().unwrap_or((0, 0));
                let number = rustix::fs::makedev(major, minor);
                rustix::fs::mknodat(CWD, target, special(kind), mode, number)
                    .map_err(|error| host("create", target)(error.into()))?;
            }
        }
        self.keep_attributes(source, target, &metadata)
    }

    fn directory(&mut self, source: &Path, target: &Path, metadata: &Metadata) -> Result<(), Stop> {
        let mode = self.job.initial_mode(metadata.mode());
        match fs::DirBuilder::new().mode(u32::from(mode | 0o700)).create(target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = target.symlink_metadata().map_err(host("examine", target))?;
                if !found.is_dir() {
                    return Err(host("create the directory", target)(error));
                }
            }
            Err(error) => return Err(host("create the directory", target)(error)),
        }
        self.inside(source, target)?;
        if !self.job.archives() {
            let mode = Permissions::from_mode(mode.into());
            fs::set_permissions(target, mode).map_err(host("change the mode of", target))?;
        }
        self.keep_attributes(source, target, metadata)
    }

    /// Copies what a directory holds.
    pub(crate) fn inside(&mut self, source: &Path, target: &Path) -> Result<(), Stop> {
        let mut names = Vec::new();
        for entry in self.volume.read_dir(source)? {
            names.push(entry?.file_name().to_owned());
        }
        names.sort();
        for name in names {
            if !is_plain(&name) {
                let what = format!("{}: the name {name:?} is not one", source.display());
                self.job.report(&Failure::new(what).advise("check the volume with `ashlar fsck`"));
                continue;
            }
            self.tree(&source.join(&name), &target.join(&name)).map_err(Stop::All)?;
        }
        Ok(())
    }

    fn file(&mut self, source: &Path, target: &Path, metadata: &Metadata) -> Result<(), Stop> {
        let from = self.volume.open(source, OpenOptions::new().read(true))?;
        if target.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            make_room(target)?;
        }
        let mode = self.job.initial_mode(metadata.mode());
        let to = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(u32::from(mode))
            .custom_flags(libc::O_NOFOLLOW)
            .open(target)
            .map_err(host("create", target))?;
        let size = metadata.len();
        let mut offset = 0;
        while let Some(start) = from.seek_data(offset)?.filter(|start| *start < size) {
            let end = from.seek_hole(start)?.unwrap_or(size).min(size);
            self.job.progress.advance(start - offset);
            offset = start;
            while offset < end {
                let room = usize::try_from(end - offset).unwrap_or(usize::MAX);
                let room = room.min(self.job.buf.len());
                let count = from.read_at(offset, &mut self.job.buf[..room])?;
                if count == 0 {
                    return Err(Stop::File(Failure::new(format!(
                        "{} ended at byte {offset} of {size}",
                        source.display()
                    ))));
                }
                to.write_all_at(&self.job.buf[..count], offset).map_err(host("write", target))?;
                offset += count as u64;
                self.job.progress.advance(count as u64);
            }
        }
        if offset < size {
            to.set_len(size).map_err(host("write", target))?;
            self.job.progress.advance(size - offset);
        }
        Ok(())
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
        let mut mode = metadata.mode();
        if lchown(target, Some(metadata.uid()), Some(metadata.gid())).is_err() {
            // Only root can give files away; what is ours now must not act for somebody else.
            mode &= 0o1777;
        }
        self.keep_xattrs(source, target)?;
        if !metadata.is_symlink() {
            let mode = Permissions::from_mode(mode.into());
            fs::set_permissions(target, mode).map_err(host("change the mode of", target))?;
        }
        let times = Timestamps {
            last_access: timespec(metadata.accessed()),
            last_modification: timespec(metadata.modified()),
        };
        rustix::fs::utimensat(CWD, target, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| host("change the times of", target)(error.into()))
    }

    fn keep_xattrs(&mut self, source: &Path, target: &Path) -> Result<(), Stop> {
        for name in self.volume.list_xattrs_nofollow(source)? {
            let value = self.volume.xattr_nofollow(source, &name)?;
            let set = rustix::fs::lsetxattr(target, name.as_os_str(), &value, XattrFlags::empty());
            if let Err(error) = set {
                let (path, name) = (target.display(), name.display());
                self.job.warn(&format!("{path}: attribute {name} cannot be kept: {error}"));
            }
        }
        Ok(())
    }
}

/// How far a failure reaches.
pub(crate) enum Stop {
    /// This file.
    File(Failure),
    /// The whole copy.
    All(Failure),
}

impl From<ashlar::Error> for Stop {
    fn from(error: ashlar::Error) -> Stop {
        // Damage is what makes people copy: get out whatever can be read.
        match error.kind() {
            ErrorKind::Io => Stop::All(error.into()),
            _ => Stop::File(error.into()),
        }
    }
}

fn host<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> Stop + 'p {
    move |error| {
        let failure = Failure::host(action, path, &error);
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::ReadOnlyFilesystem => Stop::All(failure),
            _ => Stop::File(failure),
        }
    }
}

/// Whether a name stays in its directory.
fn is_plain(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/')
}

/// Removes what is not a directory under the target's name.
fn make_room(target: &Path) -> Result<(), Stop> {
    match fs::remove_file(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(host("replace", target)(error))
        }
        _ => Ok(()),
    }
}

fn timespec(time: std::time::SystemTime) -> Timespec {
    let (seconds, nanoseconds) = since_1970(time);
    Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() }
}

fn special(kind: FileKind) -> FileType {
    match kind {
        FileKind::CharDevice => FileType::CharacterDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Socket => FileType::Socket,
        _ => FileType::Fifo,
    }
}

/// Bytes of all files in a tree, for progress; what cannot be read counts nothing.
pub(crate) fn bytes_in(volume: &Volume, path: &Path) -> u64 {
    let mut waiting = vec![path.to_owned()];
    let mut bytes = 0u64;
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = volume.symlink_metadata(&path) else { continue };
        if metadata.is_file() {
            bytes = bytes.saturating_add(metadata.len());
        } else if metadata.is_dir() {
            let entries = volume.read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(entries.map(|entry| entry.path()));
        }
    }
    bytes
}
