//! Volumes in use: each is opened once in a process, by whoever comes first, and closed by the last.
//!
//! Locking: the table is locked while a volume is opened or closed, device I/O included, so that
//! nobody finds a volume that is half open. The maps inside a volume are locked for a moment each.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};

use ashlar::{ErrorKind, Volume};
use parking_lot::{Mutex, MutexGuard};

use crate::commit::Groups;
use crate::database::Database;
use crate::failure::{Failure, Result};
use crate::ffi;
use crate::journal::Bytes;
use crate::names::Name;

static TABLE: LazyLock<Mutex<HashMap<PathBuf, Entry>>> = LazyLock::new(Mutex::default);

struct Entry {
    shared: Arc<Shared>,
    /// How many [`Use`]s there are.
    users: usize,
}

/// A volume and what all connections to it share.
pub(crate) struct Shared {
    /// As in [`Name::volume`].
    pub(crate) path: PathBuf,
    pub(crate) volume: Volume,
    /// Open databases by inode number.
    databases: Mutex<HashMap<u64, Weak<Database>>>,
    /// Journals by path inside the volume.
    journals: Mutex<HashMap<PathBuf, Arc<Mutex<Bytes>>>>,
    pub(crate) groups: Groups,
}

/// Keeps a volume open.
#[derive(Debug)]
pub(crate) struct Use(Option<Arc<Shared>>);

/// A volume of your own under a name for SQLite, until this is dropped. Made by [`provide`].
#[derive(Debug)]
#[must_use = "dropping it takes the volume away from SQLite"]
pub struct Provided(Use);

/// Lets SQLite use a volume that this program has opened itself: a database `app.db` in it has the
/// path `PATH/app.db`. `path` is absolute, and the host must not have a directory there.
///
/// [`Volume::sync`] commits whatever atomic files hold, also half a transaction: do not call it on
/// such a volume while SQLite writes. Databases that are open when the value is dropped keep the
/// volume open.
///
/// # Errors
/// Gives the volume back if the name is taken already.
pub fn provide(path: impl Into<PathBuf>, volume: Volume) -> Result<Provided, Volume> {
    let path = path.into();
    let mut table = TABLE.lock();
    if table.contains_key(&path) {
        return Err(volume);
    }
    let shared = Arc::new(Shared::new(path.clone(), volume));
    table.insert(path, Entry { shared: Arc::clone(&shared), users: 1 });
    Ok(Provided(Use(Some(shared))))
}

impl Provided {
    /// The volume.
    #[must_use]
    pub fn volume(&self) -> &Volume {
        &self.0.shared().volume
    }
}

/// Takes a path apart, of a volume that is open, or else as the host has it.
///
/// # Errors
/// What the host says.
pub(crate) fn name_of(path: &Path) -> Result<Name> {
    let known = {
        let table = TABLE.lock();
        table.keys().find_map(|volume| Name::below(volume, path))
    };
    match known {
        Some(name) => Ok(name),
        None => Name::resolve(path).map_err(|error| {
            let text = format!("cannot find {}: {error}", path.display());
            Failure::new(ffi::CANTOPEN, error.raw_os_error().unwrap_or(libc::ENOENT), text)
        }),
    }
}

/// Opens a volume, or joins those who have it open. A missing image is made if `create` says how
/// large.
///
/// # Errors
/// `BUSY` if another process has it; `CANTOPEN`.
pub(crate) fn open(path: &Path, create: Option<u64>) -> Result<Use> {
    let mut table = TABLE.lock();
    if let Some(entry) = table.get_mut(path) {
        entry.users += 1;
        return Ok(Use(Some(Arc::clone(&entry.shared))));
    }
    let volume = open_or_create(path, create).map_err(Failure::of(ffi::CANTOPEN))?;
    let shared = Arc::new(Shared::new(path.to_owned(), volume));
    table.insert(path.to_owned(), Entry { shared: Arc::clone(&shared), users: 1 });
    Ok(Use(Some(shared)))
}

fn open_or_create(path: &Path, create: Option<u64>) -> ashlar::Result<Volume> {
    match (Volume::open_image(path), create) {
        (Err(error), Some(size)) if error.kind() == ErrorKind::NotFound => {
            Volume::create(path, size)
        }
        // An image that this user may only read.
        (Err(error), _) if [libc::EACCES, libc::EROFS].contains(&error.errno()) => {
            Volume::options().read_only(true).open(path)
        }
        (opened, _) => opened,
    }
}

impl Use {
    /// The volume. It is there as long as `self`.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.0.as_ref().expect("taken by drop alone")
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut table = TABLE.lock();
        let Some(shared) = self.0.take() else { return };
        let Some(entry) = table.get_mut(&shared.path) else { return };
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        let path = shared.path.clone();
        drop(shared);
        // The last reference goes here, and closes the volume under the lock.
        table.remove(&path);
    }
}

impl Shared {
    fn new(path: PathBuf, volume: Volume) -> Self {
        Self {
            path,
            volume,
            databases: Mutex::default(),
            journals: Mutex::default(),
            groups: Groups::default(),
        }
    }

    /// What all connections to the file of this number share.
    pub(crate) fn database(&self, ino: u64) -> Arc<Database> {
        let mut databases = self.databases.lock();
        databases.retain(|_, database| database.strong_count() > 0);
        if let Some(database) = databases.get(&ino).and_then(Weak::upgrade) {
            return database;
        }
        let database = Arc::new(Database::default());
        databases.insert(ino, Arc::downgrade(&database));
        database
    }

    /// The journals, by path inside the volume.
    pub(crate) fn journals(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<Mutex<Bytes>>>> {
        self.journals.lock()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
}
