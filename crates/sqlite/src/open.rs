//! What the VFS does with names: opening, deleting, asking whether a file is there.
//!
//! | SQLite opens | gets |
//! |---|---|
//! | a database | an atomic file of the volume |
//! | its journal, to write; a super-journal | memory, under its name |
//! | its journal, to look or to play back | the one in memory, else one on the volume |
//! | a write-ahead log | an atomic file of the volume |
//! | anything temporary | the host's VFS |
//!
//! A journal on the volume was left by another SQLite, through a mount, that crashed: it is played
//! back as ever. One that SQLite has found to be cold is removed when a new one is begun.

use std::ffi::c_int;
use std::path::Path;
use std::sync::Arc;

use ashlar::{ErrorKind, File, OpenOptions, Volume};
use parking_lot::Mutex;

use crate::database::DatabaseFile;
use crate::failure::{Failure, Result};
use crate::ffi;
use crate::io::Opened;
use crate::journal::{Bytes, JournalFile, Kind};
use crate::names::Name;
use crate::plain::PlainFile;
use crate::volumes::{self, Use};

/// Files that belong to a database; all others are temporary.
const FOR_VOLUMES: c_int =
    ffi::OPEN_MAIN_DB | ffi::OPEN_MAIN_JOURNAL | ffi::OPEN_SUPER_JOURNAL | ffi::OPEN_WAL;

/// What is to be opened.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) path: &'a Path,
    /// SQLite's.
    pub(crate) flags: c_int,
    /// Parameter `create` of the URI: size of a volume that is to be made where there is none.
    pub(crate) create: Option<String>,
}

/// Whether files of these flags can lie on a volume.
pub(crate) fn is_for_volumes(flags: c_int) -> bool {
    flags & FOR_VOLUMES != 0
}

/// Opens a file; returns it with the flags by which it was opened. `None`: the host is to open it.
///
/// # Errors
/// `CANTOPEN`, `BUSY` if another process has the volume.
pub(crate) fn open(request: &Request<'_>) -> Result<Option<(Box<dyn Opened>, c_int)>> {
    let name = volumes::name_of(request.path)?;
    if name.is_on_host() {
        if request.flags & ffi::OPEN_MAIN_DB == 0 {
            return Ok(None);
        }
        let text = format!(
            "{} is no file in a volume: write /path/to/volume.img/name.db",
            request.path.display()
        );
        return Err(Failure::new(ffi::CANTOPEN, libc::ENOTDIR, text));
    }
    let create = request.create.as_deref().filter(|_| request.flags & ffi::OPEN_CREATE != 0);
    let create = create.map(parse_size).transpose()?;
    let volume = volumes::open(&name.volume, create)?;
    if request.flags & (ffi::OPEN_MAIN_JOURNAL | ffi::OPEN_SUPER_JOURNAL) != 0 {
        return open_journal(volume, &name, request.flags).map(Some);
    }
    let (file, flags) = open_file(&volume.shared().volume, &name.inner, request.flags)?;
    if request.flags & ffi::OPEN_MAIN_DB != 0 {
        return Ok(Some((Box::new(DatabaseFile::new(volume, file, &name)?), flags)));
    }
    Ok(Some((plain(volume, file, flags), flags)))
}

fn plain(volume: Use, file: File, flags: c_int) -> Box<dyn Opened> {
    let writable = flags & ffi::OPEN_READWRITE != 0;
    Box::new(PlainFile { file, writable, _volume: volume })
}

fn open_journal(volume: Use, name: &Name, flags: c_int) -> Result<(Box<dyn Opened>, c_int)> {
    let super_journal = flags & ffi::OPEN_SUPER_JOURNAL != 0;
    let kind = if super_journal { Kind::SuperJournal } else { Kind::Journal };
    let shared = Arc::clone(volume.shared());
    let known = shared.journals().get(&name.inner).cloned();
    let bytes = match known {
        Some(_) if flags & ffi::OPEN_EXCLUSIVE != 0 => {
            return Err(Failure::new(ffi::CANTOPEN, libc::EEXIST, "the journal exists"));
        }
        Some(bytes) => bytes,
        None if flags & ffi::OPEN_CREATE == 0 => {
            let (file, flags) = open_file(&shared.volume, &name.inner, flags)?;
            drop(shared);
            return Ok((plain(volume, file, flags), flags));
        }
        None => {
            if !super_journal {
                forget_cold_journal(&shared.volume, &name.inner)?;
            }
            let bytes = Arc::<Mutex<Bytes>>::default();
            shared.journals().insert(name.inner.clone(), Arc::clone(&bytes));
            if super_journal {
                shared.groups.begin(&name.inner);
            }
            bytes
        }
    };
    drop(shared);
    Ok((Box::new(JournalFile { bytes, volume, kind }), flags))
}

/// Transactions survive in order, so no later commit is ever found beside the old journal.
fn forget_cold_journal(volume: &Volume, path: &Path) -> Result<()> {
    match volume.remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::of(ffi::CANTOPEN)(error)),
        _ => Ok(()),
    }
}

/// Opens a file of the volume as far as it allows.
fn open_file(volume: &Volume, path: &Path, flags: c_int) -> Result<(File, c_int)> {
    let create = flags & ffi::OPEN_CREATE != 0;
    let read_only = OpenOptions::new().read(true);
    if flags & ffi::OPEN_READWRITE != 0 && !volume.is_read_only() {
        let exclusive = create && flags & ffi::OPEN_EXCLUSIVE != 0;
        let options = read_only.write(true).atomic(true).create(create).create_new(exclusive);
        let opened = match volume.open(path, options) {
            Err(error) if error.kind() == ErrorKind::NotFound && create => {
                // Nobody but this library may be there to make the directory.
                let parent = path.parent().unwrap_or(Path::new(""));
                volume.create_dir_all(parent).and_then(|()| volume.open(path, options))
            }
            opened => opened,
        };
        match opened {
            Ok(file) => return Ok((file, flags)),
            // An immutable file can be read.
            Err(error) if error.kind() == ErrorKind::NotPermitted => {}
            Err(error) => return Err(cannot_open(error)),
        }
    }
    let file = volume.open(path, read_only).map_err(cannot_open)?;
    Ok((file, flags & !(ffi::OPEN_READWRITE | ffi::OPEN_CREATE) | ffi::OPEN_READONLY))
}

/// A missing file is nothing for the log: SQLite looks for journals all the time.
fn cannot_open(error: ashlar::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure::new(ffi::CANTOPEN, error.errno(), ""),
        _ => Failure::of(ffi::CANTOPEN)(error),
    }
}

/// Deletes a file; false if the host is to do it. Deleting a super-journal commits.
///
/// # Errors
/// `IOERR_DELETE_NOENT` if there is none; what a commit returns.
pub(crate) fn delete(path: &Path, sync: bool) -> Result<bool> {
    let name = volumes::name_of(path)?;
    if name.is_on_host() {
        return Ok(false);
    }
    let volume = volumes::open(&name.volume, None)?;
    let shared = volume.shared();
    shared.commit_group(&name.inner)?;
    if shared.journals().remove(&name.inner).is_some() {
        return Ok(true);
    }
    let missing = || Failure::new(ffi::IOERR_DELETE_NOENT, libc::ENOENT, "");
    let deleted = shared.volume.remove_file(&name.inner).and_then(|()| {
        let parent = name.inner.parent().unwrap_or(Path::new(""));
        // Not the volume's sync: that would commit what others are in the middle of.
        if sync { sync_directory(&shared.volume, parent) } else { Ok(()) }
    });
    match deleted {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(missing()),
        Err(error) => Err(Failure::of(ffi::IOERR_DELETE)(error)),
    }
}

fn sync_directory(volume: &Volume, path: &Path) -> ashlar::Result<()> {
    volume.open(Path::new("/").join(path), OpenOptions::new().read(true))?.sync()
}

/// Whether a file is there, or may be written to; `None` if the host is to say.
///
/// # Errors
/// What looking returns, other than that nothing is there.
pub(crate) fn access(path: &Path, flags: c_int) -> Result<Option<bool>> {
    let name = volumes::name_of(path)?;
    if name.is_on_host() {
        return Ok(None);
    }
    // A volume that cannot be opened holds nothing that could be used.
    let Ok(volume) = volumes::open(&name.volume, None) else { return Ok(Some(false)) };
    let shared = volume.shared();
    if shared.journals().contains_key(&name.inner) {
        return Ok(Some(true));
    }
    match shared.volume.metadata(&name.inner) {
        Ok(_) if flags == ffi::ACCESS_READWRITE => Ok(Some(!shared.volume.is_read_only())),
        // As on the host: an empty file is none, or an empty log would have to be recovered.
        Ok(found) => Ok(Some(!found.is_file() || found.len() > 0)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Some(false))
        }
        Err(error) => Err(Failure::of(ffi::IOERR)(error)),
    }
}

/// Bytes, with an optional K, M, G or T.
fn parse_size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => 0,
    };
    let size = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    size.filter(|size| *size > 0).ok_or_else(|| {
        let text = format!("create={text} is no size: write it as create=64M or create=4G");
        Failure::new(ffi::CANTOPEN, libc::EINVAL, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let sizes = ["65536", "64k", "64M", "4G", "1T"];
        let bytes = sizes.map(|size| parse_size(size).unwrap());
        assert_eq!(bytes, [1 << 16, 1 << 16, 1 << 26, 1 << 32, 1 << 40]);
        for wrong in ["", "M", "0", "4X", "4GB", "-1", "99999999T", "1.5G"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
