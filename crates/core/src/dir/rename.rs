//! Renaming: one transaction moves a name, replaces another, or exchanges two.
//!
//! Locking. Two directories may be related, so numbers alone give no safe order: whoever renames
//! between directories holds the rename lock, under which no directory changes its ancestors, and
//! locks the ancestor first:
//!
//! ```text
//!   rename lock ── ancestor ── descendant ── what is renamed and what is replaced, by number
//! ```
//! The same lock makes the check for loops ("into its own subtree") sound.

use crate::clock::Timestamp;
use crate::dir::unlink::Rest;
use crate::dir::{
    NameKey, check_may_add, check_may_remove, check_may_unname, check_new, check_wanted,
    count_entries, count_subdirectories, is_dir, is_dots,
};
use crate::error::{ErrorKind, Result};
use crate::inode::{Inode, State};
use crate::types::{Caller, FileKind, Ino, InodeFlags, RenameFlags};
use crate::volume::Volume;
use ashlar_format::inode::InodeRecord;
use ashlar_format::key::{self, TreeId};
use ashlar_format::name::NameRecord;
use ashlar_store::Txn;
use parking_lot::MutexGuard;
use std::sync::Arc;

/// Directories above each other; more is a loop in a damaged volume.
const DEPTH_MAX: usize = 1 << 20;

/// What a rename is about, with all inode locks held.
struct Move<'a> {
    old_dir: &'a Arc<Inode>,
    old_key: &'a NameKey,
    new_dir: &'a Arc<Inode>,
    new_key: &'a NameKey,
    source: &'a Arc<Inode>,
    target: Option<&'a Arc<Inode>>,
    flags: RenameFlags,
}

/// The states of all inodes of a rename, locked.
struct States<'a> {
    old_dir: MutexGuard<'a, State>,
    /// `None` when it is the old one.
    new_dir: Option<MutexGuard<'a, State>>,
    source: MutexGuard<'a, State>,
    target: Option<MutexGuard<'a, State>>,
}

impl States<'_> {
    fn new_dir(&mut self) -> &mut State {
        self.new_dir.as_mut().unwrap_or(&mut self.old_dir)
    }
}

impl Volume {
    /// Renames `name` in `dir` to `new_name` in `new_dir`. What has the new name is replaced, in one
    /// step also after a crash; an empty directory by a directory only.
    ///
    /// # Errors
    /// `NotFound` (ENOENT), `Exists` (EEXIST) with `NOREPLACE`, `NotDirectory` (ENOTDIR) and
    /// `IsDirectory` (EISDIR) when only one of the two is a directory, `NotEmpty` (ENOTEMPTY),
    /// `Invalid` (EINVAL) for a directory into its own subtree, for "." and ".." and for flags that
    /// exclude each other, `NameTooLong`, `TooManyLinks`, `NotPermitted` (EPERM) for immutable or
    /// append-only files and directories, `NoSpace`, `ReadOnly`, `Stale`, `Shutdown`, `Corrupt`, `Io`.
    #[doc(alias = "renameat2")]
    #[allow(clippy::too_many_arguments, reason = "those of renameat2, and who asks")]
    pub fn rename(
        &self,
        caller: &Caller,
        dir: Ino,
        name: &[u8],
        new_dir: Ino,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        self.rename_checked(caller, (dir, name), (new_dir, new_name), flags)
            .map_err(|error| error.in_op("rename").at(dir).named(name))
    }

    fn rename_checked(
        &self,
        caller: &Caller,
        (dir, name): (Ino, &[u8]),
        (new_dir, new_name): (Ino, &[u8]),
        flags: RenameFlags,
    ) -> Result<()> {
        self.check_writable()?;
        let excluded = RenameFlags::NOREPLACE | RenameFlags::WHITEOUT;
        if flags.contains(RenameFlags::EXCHANGE) && flags.intersects(excluded)
            || is_dots(name)
            || is_dots(new_name)
        {
            return Err(ErrorKind::Invalid.into());
        }
        check_wanted(name)?;
        check_new(new_name)?;
        let old = self.directory(dir)?;
        let new = self.directory(new_dir)?;
        let (old_key, new_key) = (self.name_key(dir, name), self.name_key(new_dir, new_name));
        if dir == new_dir {
            let _lock = old.lock.write();
            return self.rename_in(caller, (&old, &old_key), (&new, &new_key), flags);
        }
        let _one_at_a_time = self.rename_lock.lock();
        let old_first = self.is_ancestor(dir, new_dir)?
            || (dir < new_dir && !self.is_ancestor(new_dir, dir)?);
        let (first, second) = if old_first { (&old, &new) } else { (&new, &old) };
        let _first = first.lock.write();
        let _second = second.lock.write();
        self.rename_in(caller, (&old, &old_key), (&new, &new_key), flags)
    }

    /// Whether `above` is `below` or one of its ancestors. Sound under the rename lock.
    fn is_ancestor(&self, above: Ino, below: Ino) -> Result<bool> {
        let mut at = below;
        for _ in 0..DEPTH_MAX {
            if at == above {
                return Ok(true);
            }
            if at == Ino::ROOT {
                return Ok(false);
            }
            let parent = self.parent(at)?;
            if parent == at {
                break;
            }
            at = parent;
        }
        let problem = format!("the way up from directory {below} does not end at the root");
        Err(ashlar_format::Corruption::new("inode record", 0, problem).into())
    }

    /// The rename, with both directories locked.
    fn rename_in(
        &self,
        caller: &Caller,
        (old_dir, old_key): (&Arc<Inode>, &NameKey),
        (new_dir, new_key): (&Arc<Inode>, &NameKey),
        flags: RenameFlags,
    ) -> Result<()> {
        let from = self.find_name(&old_key.name(old_dir.ino))?;
        let to = match self.find_name(&new_key.name(new_dir.ino)) {
            Ok(found) => Some(found),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        check_flags(to.is_some(), flags)?;
        if to.is_some_and(|to| to.ino == from.ino) {
            // Two names of one file, or one name twice: nothing happens, by POSIX.
            return Ok(());
        }
        self.check_loops(old_dir, new_dir, &from, to.as_ref(), flags)?;
        if to.is_none() {
            self.check_free(new_dir.ino, new_key)?;
        }
        if flags.contains(RenameFlags::WHITEOUT) {
            self.store.check_room_for_names()?;
        }
        let source = self.inode(Ino(from.ino))?;
        let target = to.map(|to| self.inode(Ino(to.ino))).transpose()?;
        let target = target.as_ref();
        let source_first = target.is_none_or(|target| source.ino < target.ino);
        let early = source_first.then(|| source.lock.write());
        let _target_lock = target.map(|target| target.lock.write());
        let _source_lock = early.unwrap_or_else(|| source.lock.write());
        let step = Move { old_dir, old_key, new_dir, new_key, source: &source, target, flags };
        if flags.contains(RenameFlags::EXCHANGE) {
            self.exchange(&step)?;
        } else if let (Some(Rest::Huge), Some(target)) = (self.replace(caller, &step)?, target) {
            self.remove_inode(target)?;
        }
        self.sync_names(&[old_dir, new_dir])
    }

    /// Nothing may become its own ancestor, and an ancestor cannot be replaced.
    fn check_loops(
        &self,
        old_dir: &Inode,
        new_dir: &Inode,
        from: &NameRecord,
        to: Option<&NameRecord>,
        flags: RenameFlags,
    ) -> Result<()> {
        if old_dir.ino == new_dir.ino {
            let itself = [Some(from), to].into_iter().flatten().any(|e| e.ino == old_dir.ino.0);
            return if itself { Err(ErrorKind::Corrupt.into()) } else { Ok(()) };
        }
        if is_dir(from.kind) && self.is_ancestor(Ino(from.ino), new_dir.ino)? {
            return Err(ErrorKind::Invalid.into());
        }
        let Some(to) = to.filter(|to| is_dir(to.kind)) else { return Ok(()) };
        if self.is_ancestor(Ino(to.ino), old_dir.ino)? {
            let exchange = flags.contains(RenameFlags::EXCHANGE);
            return Err(if exchange { ErrorKind::Invalid } else { ErrorKind::NotEmpty }.into());
        }
        Ok(())
    }

    /// Source takes the place of target, if there is one; what is left of that.
    fn replace(&self, caller: &Caller, step: &Move<'_>) -> Result<Option<Rest>> {
        let data = step.target.and_then(|target| target.data_if_any());
        let _writeback = data.map(|data| data.writeback.lock());
        let map = data.map(|data| data.map.lock());
        let mut states = lock_states(step)?;
        check_move(step, &mut states)?;
        check_replaced(step, &states)?;
        let now = self.now();
        let mut txn = self.store.begin();
        let from_dir = is_dir(step.source.kind);
        let to_dir = step.target.is_some_and(|target| is_dir(target.kind));

        let whiteout = step.flags.contains(RenameFlags::WHITEOUT);
        if whiteout {
            self.put_whiteout(&mut txn, caller, step.old_key, &states.old_dir, now);
        } else {
            txn.delete(TreeId::Names, step.old_key);
        }
        count_entries(&mut states.old_dir, 1, u64::from(whiteout));
        count_subdirectories(&mut states.old_dir, from_dir, false);
        put_name(&mut txn, step.new_key, step.source);
        count_entries(states.new_dir(), u64::from(step.target.is_some()), 1);
        count_subdirectories(states.new_dir(), to_dir, from_dir);

        let rest = match (step.target, &mut states.target) {
            (Some(target), Some(state)) => Some(self.drop_link(&mut txn, target, state, now)?),
            _ => None,
        };
        log_moved(&mut txn, step, &mut states, now);
        let inodes = [Some(step.old_dir), Some(step.new_dir), Some(step.source), step.target];
        let inodes: Vec<&Inode> = inodes.into_iter().flatten().map(|inode| &**inode).collect();
        self.commit_names(txn, step, &inodes)?;
        let state = states.target.take();
        drop(states);
        match (step.target, rest, state) {
            (Some(target), Some(Rest::Nothing), Some(state)) => {
                self.after_removal(target, state, map);
            }
            (Some(target), Some(Rest::Held | Rest::Huge), _) => self.orphans.lose_name(target.ino),
            _ => {}
        }
        Ok(rest)
    }

    /// Source and target change places.
    fn exchange(&self, step: &Move<'_>) -> Result<()> {
        let Some(target) = step.target else { return Err(ErrorKind::NotFound.into()) };
        let mut states = lock_states(step)?;
        check_move(step, &mut states)?;
        let now = self.now();
        let mut txn = self.store.begin();
        put_name(&mut txn, step.old_key, target);
        put_name(&mut txn, step.new_key, step.source);
        let (from_dir, to_dir) = (is_dir(step.source.kind), is_dir(target.kind));
        count_subdirectories(&mut states.old_dir, from_dir, to_dir);
        count_subdirectories(states.new_dir(), to_dir, from_dir);
        if let Some(state) = &mut states.target {
            state.record.ctime = now;
            if to_dir {
                state.record.parent = step.old_dir.ino.0;
            }
            state.log(target.ino, &mut txn);
        }
        log_moved(&mut txn, step, &mut states, now);
        self.commit_names(txn, step, &[step.old_dir, step.new_dir, step.source, target])
    }

    /// Commits, and keeps the name cache true to both names.
    fn commit_names(&self, txn: Txn<'_>, step: &Move<'_>, inodes: &[&Inode]) -> Result<()> {
        let new_name = step.new_key.name(step.new_dir.ino);
        let _old = self.names.change(&step.old_key.name(step.old_dir.ino));
        let _new = self.names.change(&new_name);
        self.commit(txn, inodes)?;
        let record = NameRecord { ino: step.source.ino.0, kind: step.source.kind };
        self.names.made(&new_name, record);
        Ok(())
    }

    /// Leaves a whiteout under the old name.
    fn put_whiteout(
        &self,
        txn: &mut Txn<'_>,
        caller: &Caller,
        key: &NameKey,
        dir: &State,
        now: Timestamp,
    ) {
        let ino = self.store.allocate_ino();
        let record = InodeRecord {
            kind: FileKind::CharDevice,
            permissions: 0,
            nlink: 1,
            uid: caller.uid,
            gid: caller.gid,
            rdev: 0,
            generation: 1,
            size: 0,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            flags: InodeFlags::empty(),
            project: dir.record.project,
            parent: 0,
            map_generation: 0,
            inline: None,
        };
        txn.put(TreeId::Inodes, &key::inode(ino), &record.encode());
        let entry = NameRecord { ino, kind: FileKind::CharDevice };
        txn.put(TreeId::Names, key, &entry.encode());
    }
}

fn check_flags(target_exists: bool, flags: RenameFlags) -> Result<()> {
    if flags.contains(RenameFlags::NOREPLACE) && target_exists {
        return Err(ErrorKind::Exists.into());
    }
    if flags.contains(RenameFlags::EXCHANGE) && !target_exists {
        return Err(ErrorKind::NotFound.into());
    }
    Ok(())
}

/// Locks the states of all inodes of a rename, by number.
fn lock_states<'a>(step: &Move<'a>) -> Result<States<'a>> {
    let new_dir = (step.new_dir.ino != step.old_dir.ino).then_some(step.new_dir);
    let roles = [Some(step.old_dir), new_dir, Some(step.source), step.target];
    let mut order: Vec<usize> = (0..roles.len()).filter(|role| roles[*role].is_some()).collect();
    order.sort_by_key(|role| roles[*role].map(|inode| inode.ino));
    let mut guards = [None, None, None, None];
    for role in order {
        if let Some(inode) = roles[role] {
            guards[role] = Some(inode.state()?);
        }
    }
    let [Some(old_dir), new_dir, Some(source), target] = guards else {
        unreachable!("the old directory and the source are always there")
    };
    Ok(States { old_dir, new_dir, source, target })
}

/// Flags and limits that forbid the move.
fn check_move(step: &Move<'_>, states: &mut States<'_>) -> Result<()> {
    check_may_remove(step.old_dir, &states.old_dir)?;
    check_may_unname(step.source, &states.source)?;
    if let (Some(target), Some(state)) = (step.target, &states.target) {
        check_may_unname(target, state)?;
        let new_state = states.new_dir.as_ref().unwrap_or(&states.old_dir);
        check_may_remove(step.new_dir, new_state)?;
    } else {
        let new_state = states.new_dir.as_ref().unwrap_or(&states.old_dir);
        check_may_add(step.new_dir, new_state)?;
    }
    let crowded = states.new_dir().record.nlink >= ashlar_format::limits::LINK_COUNT_MAX;
    if crowded && is_dir(step.source.kind) && step.new_dir.ino != step.old_dir.ino {
        return Err(ErrorKind::TooManyLinks.into());
    }
    Ok(())
}

/// A directory replaces an empty directory, a file a file.
fn check_replaced(step: &Move<'_>, states: &States<'_>) -> Result<()> {
    let (Some(target), Some(state)) = (step.target, &states.target) else { return Ok(()) };
    match (is_dir(step.source.kind), is_dir(target.kind)) {
        (true, false) => Err(ErrorKind::NotDirectory.into()),
        (false, true) => Err(ErrorKind::IsDirectory.into()),
        (true, true) if state.record.size > 0 => Err(ErrorKind::NotEmpty.into()),
        _ => Ok(()),
    }
}

fn put_name(txn: &mut Txn<'_>, key: &NameKey, inode: &Inode) {
    let entry = NameRecord { ino: inode.ino.0, kind: inode.kind };
    txn.put(TreeId::Names, key, &entry.encode());
}

/// Logs what was renamed and both directories.
fn log_moved(txn: &mut Txn<'_>, step: &Move<'_>, states: &mut States<'_>, now: Timestamp) {
    states.source.record.ctime = now;
    if is_dir(step.source.kind) {
        states.source.record.parent = step.new_dir.ino.0;
    }
    states.source.log(step.source.ino, txn);
    states.old_dir.touch_content(now);
    states.old_dir.log(step.old_dir.ino, txn);
    if let Some(new_dir) = &mut states.new_dir {
        new_dir.touch_content(now);
        new_dir.log(step.new_dir.ino, txn);
    }
}
