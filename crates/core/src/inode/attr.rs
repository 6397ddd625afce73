//! Changing attributes, and access times.

use crate::clock::Timestamp;
use crate::error::{ErrorKind, Result};
use crate::inode::{Inode, State, Unlogged};
use crate::types::{Attr, Caller, FileKind, Ino, InodeFlags, SetAttr, SetTime};
use crate::volume::{Atime, Volume};
use std::sync::Arc;

const SET_USER_ID: u16 = 0o4000;
const SET_GROUP_ID: u16 = 0o2000;
const GROUP_EXECUTE: u16 = 0o010;
/// With relative access times, older ones are renewed.
const RELATIME_SECONDS: i64 = 24 * 60 * 60;

/// Mode without the bits that let a program run as somebody else, after its contents or owner
/// changed: always set-user-id; set-group-id only with group execution, for without it means
/// something else.
pub(crate) fn without_set_ids(mode: u16) -> u16 {
    let mode = mode & !SET_USER_ID;
    if mode & GROUP_EXECUTE != 0 { mode & !SET_GROUP_ID } else { mode }
}

impl Volume {
    /// Changes attributes; returns all of them as they are then.
    ///
    /// A change of owner or group clears the set-id bits of what is not a directory, unless the mode
    /// is given, too. A change of mode changes the access ACL's mask. The change time becomes now,
    /// unless given.
    ///
    /// # Errors
    /// `NotPermitted` (EPERM) for immutable files, and for most changes of append-only ones;
    /// `IsDirectory` (EISDIR) and `Invalid` (EINVAL) for the size of what has none; `TooLarge`
    /// (EFBIG); `NoSpace`, `ReadOnly`, `Stale`, `Shutdown`, `Corrupt`, `Io`.
    ///
    /// # Durability
    /// In one step, after [`Volume::sync`] or fsync; a change of size is a step of its own.
    #[doc(alias = "chmod")]
    #[doc(alias = "chown")]
    #[doc(alias = "utimensat")]
    pub fn setattr(&self, caller: &Caller, ino: Ino, change: &SetAttr) -> Result<Attr> {
        self.change_attributes(caller, ino, change).map_err(|error| error.in_op("setattr").at(ino))
    }

    fn change_attributes(&self, caller: &Caller, ino: Ino, change: &SetAttr) -> Result<Attr> {
        self.check_writable()?;
        let inode = self.inode(ino)?;
        let _lock = inode.lock.write();
        self.check_change(&inode, &*inode.state()?, change)?;
        if let Some(size) = change.size {
            self.set_size_locked(&inode, size)?;
        }
        let mut state = inode.state()?;
        let before = state.record.clone();
        self.apply(caller, &mut state, change);
        let mut txn = self.store.begin();
        if state.record.permissions != before.permissions {
            self.chmod_acl(&mut txn, ino, &mut state)?;
        }
        if state.record != before || change.ctime.is_some() {
            state.record.ctime = change.ctime.unwrap_or_else(|| self.now());
            state.log(ino, &mut txn);
            self.commit(txn, &[&inode])?;
        }
        let attr = inode.attr(&state);
        drop(state);
        self.sync_names(&[&inode])?;
        Ok(attr)
    }

    /// Whether flags and kind allow the change. State locked.
    fn check_change(&self, inode: &Inode, state: &State, change: &SetAttr) -> Result<()> {
        let flags = state.record.flags;
        let set = |time: Option<SetTime>| matches!(time, Some(SetTime::At(_)));
        // A kernel that caches writes sends the modification time of what it has written as a time
        // to set, and there is nothing wrong with that.
        let sets_times = set(change.atime) || (set(change.mtime) && !self.kernel_cache);
        let changes_more = change.mode.is_some()
            || change.uid.is_some()
            || change.gid.is_some()
            || change.size.is_some();
        let guarded = sets_times || changes_more;
        if flags.contains(InodeFlags::IMMUTABLE) || (flags.contains(InodeFlags::APPEND) && guarded)
        {
            return Err(Self::not_permitted(inode.ino));
        }
        match (change.size, inode.kind) {
            (None, _) | (Some(_), FileKind::Regular) => Ok(()),
            (Some(_), FileKind::Directory) => Err(ErrorKind::IsDirectory.into()),
            (Some(_), _) => Err(ErrorKind::Invalid.into()),
        }
    }

    fn apply(&self, caller: &Caller, state: &mut State, change: &SetAttr) {
        let time = |wanted| match wanted {
            SetTime::Now => self.now(),
            SetTime::At(time) => normal(time),
        };
        let record = &mut state.record;
        let owner_changes = change.uid.is_some() || change.gid.is_some();
        record.uid = change.uid.unwrap_or(record.uid);
        record.gid = change.gid.unwrap_or(record.gid);
        if (owner_changes || change.kill_suid_gid) && record.kind != FileKind::Directory {
            record.permissions = without_set_ids(record.permissions);
        }
        if let Some(mode) = change.mode.filter(|_| record.kind != FileKind::Symlink) {
            record.permissions = (mode & 0o7777) as u16;
            if !caller.may_keep_sgid(record.gid) {
                record.permissions &= !SET_GROUP_ID;
            }
        }
        record.atime = change.atime.map_or(record.atime, time);
        record.mtime = change.mtime.map_or(record.mtime, time);
        record.btime = change.btime.map_or(record.btime, normal);
    }

    /// Somebody read the file.
    pub(crate) fn note_access(&self, inode: &Arc<Inode>) {
        if self.atime == Atime::Never || self.check_writable().is_err() {
            return;
        }
        let now = self.now();
        let Ok(mut state) = inode.state() else { return };
        let record = &mut state.record;
        if record.flags.contains(InodeFlags::NOATIME) {
            return;
        }
        let old = record.atime;
        let wanted = match self.atime {
            Atime::Strict => old != now,
            Atime::Relatime => {
                old <= record.mtime
                    || old <= record.ctime
                    || now.seconds.saturating_sub(old.seconds) >= RELATIME_SECONDS
            }
            Atime::Never => false,
        };
        if wanted && old != now {
            record.atime = now;
            state.unlogged |= Unlogged::TIMES;
            drop(state);
            self.note_dirty(inode);
        }
    }
}

/// A time whose nanoseconds are below a second, as the format demands.
fn normal(time: Timestamp) -> Timestamp {
    Timestamp {
        seconds: time.seconds.saturating_add(i64::from(time.nanoseconds / 1_000_000_000)),
        nanoseconds: time.nanoseconds % 1_000_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_ids_go_as_the_kernel_lets_them_go() {
        assert_eq!(without_set_ids(0o4755), 0o755);
        assert_eq!(without_set_ids(0o2755), 0o755);
        assert_eq!(without_set_ids(0o2745), 0o2745, "no group execution: another meaning");
        assert_eq!(without_set_ids(0o1777), 0o1777);
    }

    #[test]
    fn too_many_nanoseconds_become_seconds() {
        let time = normal(Timestamp { seconds: -2, nanoseconds: 2_500_000_000 });
        assert_eq!(time, Timestamp { seconds: 0, nanoseconds: 500_000_000 });
    }
}
