//! Removing names.
//!
//! The last name of a file that nobody holds takes everything else with it, in the same transaction
//! where it fits. A file that is held, or too large for one transaction, goes to the orphans tree
//! with that transaction; see `inode/orphan.rs`.

use crate::dir::{
    NameKey, check_may_remove, check_may_unname, check_wanted, count_entries, count_subdirectories,
    is_dir,
};
use crate::error::{ErrorKind, Result};
use crate::inode::{Inode, lock_two};
use crate::types::Ino;
use crate::volume::Volume;
use ashlar_format::key::{self, TreeId};
use std::sync::Arc;

impl Volume {
    /// Removes a name that is not a directory's. The file goes with its last name, once nobody holds
    /// it.
    ///
    /// # Errors
    /// `NotFound` (ENOENT), `IsDirectory` (EISDIR), `NotDirectory`, `NotPermitted` (EPERM) for
    /// immutable or append-only files and directories, `ReadOnly`, `Stale`, `Shutdown`, `Corrupt`,
    /// `Io`. Never for lack of space.
    pub fn unlink(&self, dir: Ino, name: &[u8]) -> Result<()> {
        self.remove_name(dir, name, Kind::File)
            .map_err(|error| error.in_op("unlink").at(dir).named(name))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NotFound` (ENOENT), `NotDirectory` (ENOTDIR), `NotEmpty` (ENOTEMPTY), `Invalid` (EINVAL) for
    /// ".", `NotPermitted`, `ReadOnly`, `Stale`, `Shutdown`, `Corrupt`, `Io`.
    pub fn rmdir(&self, dir: Ino, name: &[u8]) -> Result<()> {
        match name {
            b"." => Err(ErrorKind::Invalid.into()),
            b".." => Err(ErrorKind::NotEmpty.into()),
            _ => self.remove_name(dir, name, Kind::Directory),
        }
        .map_err(|error: crate::Error| error.in_op("rmdir").at(dir).named(name))
    }

    fn remove_name(&self, dir: Ino, name: &[u8], wanted: Kind) -> Result<()> {
        self.check_writable()?;
        if name == b"." || name == b".." {
            return Err(ErrorKind::IsDirectory.into());
        }
        check_wanted(name)?;
        let parent = self.directory(dir)?;
        let key = self.name_key(dir, name);
        let _parent_lock = parent.lock.write();
        let found = self.find_name(&key.name(dir))?;
        match (wanted, is_dir(found.kind)) {
            (Kind::File, true) => return Err(ErrorKind::IsDirectory.into()),
            (Kind::Directory, false) => return Err(ErrorKind::NotDirectory.into()),
            _ => {}
        }
        if found.ino == dir.0 {
            let problem = format!("directory {dir} contains itself");
            return Err(ashlar_format::Corruption::new("name record", 0, problem).into());
        }
        let inode = self.inode(Ino(found.ino))?;
        let _inode_lock = inode.lock.write();
        let rest = self.remove_locked(&parent, &key, &inode)?;
        if rest == Rest::Huge {
            self.remove_inode(&inode)?;
        }
        self.sync_names(&[&parent])
    }

    /// The transaction. Both inode locks held exclusively.
    fn remove_locked(
        &self,
        parent: &Arc<Inode>,
        key: &NameKey,
        inode: &Arc<Inode>,
    ) -> Result<Rest> {
        let _writeback = inode.data_if_any().map(|data| data.writeback.lock());
        let map = inode.data_if_any().map(|data| data.map.lock());
        let (mut parent_state, mut state) = lock_two(parent, inode)?;
        check_may_remove(parent, &parent_state)?;
        check_may_unname(inode, &state)?;
        let directory = is_dir(inode.kind);
        if directory && state.record.size > 0 {
            return Err(ErrorKind::NotEmpty.into());
        }
        let now = self.now();
        let mut txn = self.store.begin();
        txn.delete(TreeId::Names, key);
        count_entries(&mut parent_state, 1, 0);
        count_subdirectories(&mut parent_state, directory, false);
        parent_state.touch_content(now);
        parent_state.log(parent.ino, &mut txn);
        let rest = self.drop_link(&mut txn, inode, &mut state, now)?;
        let change = self.names.change(&key.name(parent.ino));
        self.commit(txn, &[parent, inode])?;
        drop((change, parent_state));
        match rest {
            Rest::Nothing => self.after_removal(inode, state, map),
            Rest::Held | Rest::Huge => self.orphans.lose_name(inode.ino),
            Rest::Named => {}
        }
        Ok(rest)
    }

    /// Puts the loss of one name, of a directory its only one, into a transaction. Map and state
    /// locked.
    pub(super) fn drop_link(
        &self,
        txn: &mut ashlar_store::Txn<'_>,
        inode: &Inode,
        state: &mut crate::inode::State,
        now: crate::Timestamp,
    ) -> Result<Rest> {
        let left = if is_dir(inode.kind) { 0 } else { state.record.nlink.saturating_sub(1) };
        state.record.nlink = left;
        state.record.ctime = now;
        if left > 0 {
            state.log(inode.ino, txn);
            return Ok(Rest::Named);
        }
        let held = self.is_held(inode.ino, state);
        if !held && self.remove_contents(txn, inode, state)? {
            self.finish_removal(txn, inode, state);
            return Ok(Rest::Nothing);
        }
        state.log(inode.ino, txn);
        txn.put(TreeId::Orphans, &key::inode(inode.ino.0), &[]);
        Ok(if held { Rest::Held } else { Rest::Huge })
    }
}

/// What is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
}

/// What is left of an inode that lost a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It has other names.
    Named,
    /// It was removed with the name.
    Nothing,
    /// It is held: in the orphans tree.
    Held,
    /// Nobody holds it; it takes more transactions to remove. In the orphans tree.
    Huge,
}
