//! What a commit consists of: one database, or all those that a super-journal joins.
//!
//! ```text
//!   one database        write pages ── SYNC: commit ── delete journal
//!   several    super-journal made ── a: write pages ── SYNC(super): joins
//!                                    b: write pages ── SYNC(super): joins
//!              super-journal deleted: a and b are committed, one record, one flush
//! ```
//! Deleting the super-journal is what commits a transaction over several databases in SQLite's own
//! protocol: before it everything can be undone, after it everything counts.
//!
//! Invariants
//! * (C1) a database that has joined is not committed alone.
//! * (C2) a database that is rolled back leaves its group before its pages are committed again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ashlar::File;
use parking_lot::Mutex;

use crate::database::Database;
use crate::failure::{Failure, Result};
use crate::ffi;
use crate::volumes::Shared;

/// A database that waits for the commit of its group.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) database: Arc<Database>,
    pub(crate) file: File,
}

/// The super-journals of a volume, by path inside it, with who has joined.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<HashMap<PathBuf, Vec<Member>>>);

impl Groups {
    /// A super-journal was made.
    pub(crate) fn begin(&self, super_journal: &Path) {
        self.0.lock().insert(super_journal.to_owned(), Vec::new());
    }

    /// A database joins the transaction of a super-journal; false if there is no such here.
    pub(crate) fn join(&self, super_journal: &Path, member: Member) -> bool {
        self.leave(&member.database);
        let mut groups = self.0.lock();
        let Some(members) = groups.get_mut(super_journal) else { return false };
        *member.database.joined.lock() = true;
        members.push(member);
        true
    }

    /// The database is on its own again.
    pub(crate) fn leave(&self, database: &Arc<Database>) {
        if !std::mem::take(&mut *database.joined.lock()) {
            return;
        }
        for members in self.0.lock().values_mut() {
            members.retain(|member| !Arc::ptr_eq(&member.database, database));
        }
    }
}

impl Shared {
    /// A super-journal is being deleted: commits who has joined, together. True if there was such a
    /// super-journal.
    ///
    /// # Errors
    /// Nothing is committed, and all are still joined.
    pub(crate) fn commit_group(&self, super_journal: &Path) -> Result<bool> {
        let Some(members) = self.groups.0.lock().remove(super_journal) else { return Ok(false) };
        let changed = members.iter().filter(|member| member.database.is_changed());
        let files: Vec<&File> = changed.map(|member| &member.file).collect();
        let committed = if files.is_empty() { Ok(()) } else { self.volume.sync_all(&files) };
        if let Err(error) = committed {
            self.groups.0.lock().insert(super_journal.to_owned(), members);
            return Err(Failure::of(ffi::IOERR_FSYNC)(error));
        }
        for member in &members {
            member.database.set_changed(false);
            *member.database.joined.lock() = false;
        }
        Ok(true)
    }
}
