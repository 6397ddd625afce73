//! A handle of a database: an atomic file. Its working image is the open transaction.
//!
//! ```text
//!   committed ── write, truncate ──> changed ── SYNC, COMMIT_PHASETWO, checkpoint done ──> committed
//!                                       │ └──── SYNC(super) ──> joined ── super deleted ──> committed
//!                                       └── unlock below RESERVED, close, ROLLBACK_ATOMIC ──> aborted
//! ```
//! SQLite writes to the file when it commits, and before that when its cache is full ("spills"): both
//! only with the EXCLUSIVE lock, so nobody else reads what is not committed. It syncs the file only
//! when a transaction is complete, or completely undone.
//!
//! Invariants
//! * (D1) only the holder of RESERVED or above changes the file; what is still changed when it lets go
//!   belongs to a transaction that has failed, and is aborted before anybody else may look.
//! * (D2) `changed` is set before the file changes and cleared after it is committed or aborted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ashlar::File;
use parking_lot::Mutex;

use crate::commit::Member;
use crate::failure::{Failure, Result};
use crate::ffi;
use crate::io::{Control, Opened};
use crate::lock::{Level, Lock};
use crate::names::Name;
use crate::volumes::Use;

/// What all handles of a database share.
#[derive(Debug, Default)]
pub(crate) struct Database {
    lock: Lock,
    /// The file has changes that are not committed.
    changed: AtomicBool,
    /// They wait for a super-journal.
    pub(crate) joined: Mutex<bool>,
}

impl Database {
    // The lock of the database orders its writers: nothing else is published through this flag.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }

    pub(crate) fn set_changed(&self, changed: bool) {
        self.changed.store(changed, Ordering::Release);
    }
}

/// See the module. The file closes before the volume does.
#[derive(Debug)]
pub(crate) struct DatabaseFile {
    file: File,
    database: Arc<Database>,
    level: Level,
    /// Path of its rollback journal, inside the volume.
    journal: PathBuf,
    volume: Use,
}

impl DatabaseFile {
    /// # Errors
    /// What examining the file returns.
    pub(crate) fn new(volume: Use, file: File, name: &Name) -> Result<Self> {
        let found = file.metadata().map_err(Failure::of(ffi::CANTOPEN))?;
        let mut journal = name.inner.clone().into_os_string();
        journal.push("-journal");
        let database = volume.shared().database(found.ino());
        Ok(Self { file, database, level: Level::None, journal: journal.into(), volume })
    }

    /// Makes what was written the file's content, durably. Nothing to do is done at once.
    fn commit(&self, code: std::ffi::c_int) -> Result<()> {
        if !self.database.is_changed() || *self.database.joined.lock() {
            return Ok(()); // C1
        }
        self.file.sync_data().map_err(Failure::of(code))?;
        self.database.set_changed(false);
        Ok(())
    }

    /// Gives up what is not committed.
    fn abort(&self) -> Result<()> {
        self.volume.shared().groups.leave(&self.database);
        if self.database.is_changed() {
            self.file.abort().map_err(Failure::of(ffi::IOERR_ROLLBACK_ATOMIC))?;
            self.database.set_changed(false);
        }
        Ok(())
    }

    /// The end of a write transaction that was not committed: its journal has nothing to undo.
    fn give_up(&self) -> Result<()> {
        if self.level >= Level::Reserved && self.database.is_changed() {
            self.abort()?; // D1
            self.volume.shared().journals().remove(&self.journal);
        }
        Ok(())
    }

    fn sync_with(&self, super_journal: Option<&std::path::Path>) -> Result<()> {
        let shared = self.volume.shared();
        let Some(path) = super_journal else {
            shared.groups.leave(&self.database); // C2
            return self.commit(ffi::IOERR_FSYNC);
        };
        let file = self.file.clone();
        let member = Member { database: Arc::clone(&self.database), file };
        let name = Name::below(&shared.path, path);
        if name.is_some_and(|name| shared.groups.join(&name.inner, member)) {
            return Ok(());
        }
        // SQLite may find the super-journal gone when it comes to undo this database, and would leave
        // it as it is.
        self.abort()?;
        let text = format!(
            "one transaction cannot cover {} and databases elsewhere: {} is not in that volume",
            shared.path.display(),
            path.display()
        );
        Err(Failure::new(ffi::IOERR_FSYNC, libc::EXDEV, text))
    }
}

impl Opened for DatabaseFile {
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.file.read_at(offset, buf).map_err(Failure::of(ffi::IOERR_READ))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.database.set_changed(true); // D2
        self.file.write_at(offset, bytes).map_err(Failure::of(ffi::IOERR_WRITE))
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        if self.size()? == size {
            return Ok(());
        }
        self.database.set_changed(true); // D2
        self.file.set_len(size).map_err(Failure::of(ffi::IOERR_TRUNCATE))
    }

    fn sync(&mut self) -> Result<()> {
        self.commit(ffi::IOERR_FSYNC)
    }

    fn size(&mut self) -> Result<u64> {
        let found = self.file.metadata().map_err(Failure::of(ffi::IOERR_FSTAT))?;
        Ok(found.len())
    }

    fn level(&self) -> Level {
        self.level
    }

    fn lock(&mut self, level: Level) -> Result<()> {
        match self.database.lock.raise(self.level, level) {
            Ok(level) => {
                self.level = level;
                Ok(())
            }
            Err((level, busy)) => {
                self.level = level;
                Err(busy)
            }
        }
    }

    fn unlock(&mut self, level: Level) -> Result<()> {
        let given_up = if level < Level::Reserved { self.give_up() } else { Ok(()) };
        // Kept, if the file could not be put right: nobody else may read it.
        given_up?;
        self.level = self.database.lock.lower(self.level, level);
        Ok(())
    }

    fn is_reserved(&self) -> bool {
        self.database.lock.is_reserved()
    }

    fn control(&mut self, request: Control<'_>) -> Result<bool> {
        match request {
            Control::Sync(super_journal) => self.sync_with(super_journal)?,
            // After the journal is gone SQLite may still cut the file off.
            Control::CommitPhaseTwo | Control::CheckpointDone => self.commit(ffi::IOERR_FSYNC)?,
            Control::BeginAtomic => {
                // What a batch fails with is everything that was not committed: pages that were
                // spilled before must not be among it.
                if self.database.is_changed() {
                    return Err(Failure::new(ffi::IOERR_BEGIN_ATOMIC, libc::EBUSY, ""));
                }
            }
            Control::CommitAtomic => self.commit(ffi::IOERR_COMMIT_ATOMIC)?,
            Control::RollbackAtomic => self.abort()?,
        }
        Ok(true)
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        let closed = self.give_up();
        self.volume.shared().groups.leave(&self.database);
        self.level = self.database.lock.lower(self.level, Level::None);
        closed
    }
}
