//! Making files, directories, links, device nodes.
//!
//! One transaction: the name, the new inode with what it inherits, and the directory.

use crate::clock::Timestamp;
use crate::dir::{check_may_add, check_new, count_entries, count_subdirectories, is_dir};
use crate::error::{ErrorKind, Result};
use crate::inode::{Inode, Known, State};
use crate::types::{Attr, Caller, FileKind, Ino, InodeFlags, NewInode};
use crate::volume::Volume;
use crate::xattr::Inherited;
use ashlar_format::inode::InodeRecord;
use ashlar_format::key::{self, TreeId};
use ashlar_format::limits::SYMLINK_BYTES_MAX;
use ashlar_format::name::NameRecord;
use std::sync::Arc;

const SET_GROUP_ID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;
/// Flags that what is made in a directory takes over from it.
const INHERITED_FLAGS: InodeFlags = InodeFlags::NODUMP
    .union(InodeFlags::NOATIME)
    .union(InodeFlags::SYNC)
    .union(InodeFlags::DIRSYNC)
    .union(InodeFlags::PROJECT_INHERIT)
    .union(InodeFlags::ATOMIC)
    .union(InodeFlags::ATOMIC_COMMIT_ON_CLOSE);

impl Volume {
    /// Makes what `new` says under `name` in directory `dir`.
    ///
    /// The caller owns it; in a directory with the set-group-id bit the group is the directory's, and
    /// new directories have the bit, too. A default ACL of the directory is inherited; without one
    /// the umask applies.
    ///
    /// # Errors
    /// `Exists` (EEXIST), `NameTooLong`, `Invalid` (EINVAL) for a bad name or an empty symlink
    /// target, `NotFound` (ENOENT) in a removed directory, `NotDirectory`, `NotPermitted` (EPERM) in
    /// an immutable one, `TooManyLinks` (EMLINK), `NoSpace`, `ReadOnly`, `Stale`, `Shutdown`, `Io`.
    ///
    /// # Durability
    /// After a crash the file is there with all its attributes or not at all; for sure after
    /// [`Volume::sync`] or an fsync of the file.
    #[doc(alias = "mknod")]
    #[doc(alias = "mkdir")]
    #[doc(alias = "symlink")]
    pub fn create(
        &self,
        caller: &Caller,
        dir: Ino,
        name: &[u8],
        new: &NewInode<'_>,
    ) -> Result<Attr> {
        self.create_named(caller, dir, name, new)
            .map_err(|error| error.in_op("create").at(dir).named(name))
    }

    fn create_named(
        &self,
        caller: &Caller,
        dir: Ino,
        name: &[u8],
        new: &NewInode<'_>,
    ) -> Result<Attr> {
        self.check_writable()?;
        check_new(name)?;
        check_target(new)?;
        let parent = self.directory(dir)?;
        let key = self.name_key(dir, name);
        let _lock = parent.lock.write();
        check_may_add(&parent, &*parent.state()?)?;
        self.check_free(dir, &key)?;
        self.store.check_room_for_names()?;

        let now = self.now();
        let mut state = parent.state()?;
        if is_dir(new.kind) && state.record.nlink >= ashlar_format::limits::LINK_COUNT_MAX {
            return Err(ErrorKind::TooManyLinks.into());
        }
        let inherited = self.inherit_acl(dir, &mut state, new.kind, new.mode, caller.umask)?;
        let record = new_record(caller, dir, &state, new, &inherited, now);
        let ino = Ino(self.store.allocate_ino());
        let mut txn = self.store.begin();
        let entry = NameRecord { ino: ino.0, kind: new.kind };
        txn.put(TreeId::Names, &key, &entry.encode());
        let inode = self.put_new(&mut txn, ino, record, &inherited);
        count_entries(&mut state, 0, 1);
        count_subdirectories(&mut state, false, is_dir(new.kind));
        state.touch_content(now);
        state.log(dir, &mut txn);
        self.commit_new(txn, &[&parent, &inode], &inode)?;
        drop(state);
        self.names.made(&key.name(dir), entry);
        let attr = inode.attr(&*inode.state()?);
        self.sync_names(&[&parent])?;
        Ok(attr)
    }

    /// Makes a regular file without a name, which [`Volume::link`] may give it one later. It lives as
    /// long as somebody holds it, at the longest until the volume is unmounted.
    ///
    /// # Errors
    /// As [`Volume::create`].
    #[doc(alias = "O_TMPFILE")]
    pub fn create_unnamed(&self, caller: &Caller, dir: Ino, mode: u32) -> Result<Attr> {
        let create = || {
            self.check_writable()?;
            let parent = self.directory(dir)?;
            self.store.check_room_for_names()?;
            let new = NewInode::file(mode);
            let mut state = parent.state()?;
            check_may_add(&parent, &state)?;
            let inherited = self.inherit_acl(dir, &mut state, new.kind, new.mode, caller.umask)?;
            let record = InodeRecord {
                nlink: 0,
                ..new_record(caller, dir, &state, &new, &inherited, self.now())
            };
            drop(state);
            let ino = Ino(self.store.allocate_ino());
            let mut txn = self.store.begin();
            let inode = self.put_new(&mut txn, ino, record, &inherited);
            txn.put(TreeId::Orphans, &key::inode(ino.0), &[]);
            self.commit_new(txn, &[&inode], &inode)?;
            self.orphans.add(ino);
            let attr = inode.attr(&*inode.state()?);
            Ok(attr)
        };
        create().map_err(|error: crate::Error| error.in_op("create_unnamed").at(dir))
    }

    /// Commits what makes an inode. It is in the inode cache before anyone can find its name: whoever
    /// opens it at once must not make a second inode of the same number.
    fn commit_new(
        &self,
        txn: ashlar_store::Txn<'_>,
        inodes: &[&Inode],
        inode: &Arc<Inode>,
    ) -> Result<()> {
        self.inodes.insert_new(inode);
        self.commit(txn, inodes).inspect_err(|_| self.inodes.remove(inode.ino))
    }

    /// Puts a new inode and what it inherits into a transaction.
    fn put_new(
        &self,
        txn: &mut ashlar_store::Txn<'_>,
        ino: Ino,
        record: InodeRecord,
        inherited: &Inherited,
    ) -> Arc<Inode> {
        let inode = Arc::new(Inode::new(ino, record, ashlar_store::Lsn(0)));
        let mut state = inode.any_state();
        state.log(ino, txn);
        let any = inherited.put(txn, ino);
        state.xattrs = if any { Known::Some } else { Known::None };
        state.default_acl = if inherited.default.is_some() { Known::Some } else { Known::None };
        drop(state);
        inode
    }
}

/// The record of a new inode.
fn new_record(
    caller: &Caller,
    dir: Ino,
    parent: &State,
    new: &NewInode<'_>,
    inherited: &Inherited,
    now: Timestamp,
) -> InodeRecord {
    let mut mode = inherited.mode;
    let mut gid = caller.gid;
    if u32::from(parent.record.permissions) & SET_GROUP_ID != 0 {
        gid = parent.record.gid;
        if is_dir(new.kind) {
            mode |= SET_GROUP_ID;
        }
    }
    // A program that runs as a group which its maker is not in: not for the asking.
    let grants_group = SET_GROUP_ID | GROUP_EXECUTE;
    if !is_dir(new.kind) && mode & grants_group == grants_group && !caller.may_keep_sgid(gid) {
        mode &= !SET_GROUP_ID;
    }
    let mut flags = parent.record.flags & INHERITED_FLAGS;
    if !is_dir(new.kind) {
        flags -= InodeFlags::DIRSYNC | InodeFlags::PROJECT_INHERIT;
    }
    let inherits_project = parent.record.flags.contains(InodeFlags::PROJECT_INHERIT);
    let is_link = new.kind == FileKind::Symlink;
    let is_device = matches!(new.kind, FileKind::CharDevice | FileKind::BlockDevice);
    InodeRecord {
        kind: new.kind,
        permissions: if is_link { 0o777 } else { (mode & 0o7777) as u16 },
        nlink: if is_dir(new.kind) { 2 } else { 1 },
        uid: caller.uid,
        gid,
        // The kernel's encoding has 32 bits.
        rdev: if is_device { new.rdev as u32 } else { 0 },
        generation: 1,
        size: if is_link { new.symlink_target.len() as u64 } else { 0 },
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        flags,
        project: if inherits_project { parent.record.project } else { 0 },
        parent: if is_dir(new.kind) { dir.0 } else { 0 },
        map_generation: 0,
        inline: is_link.then(|| new.symlink_target.into()),
    }
}

fn check_target(new: &NewInode<'_>) -> Result<()> {
    if new.kind != FileKind::Symlink {
        return Ok(());
    }
    if new.symlink_target.is_empty() {
        Err(ErrorKind::NotFound.into())
    } else if new.symlink_target.len() > SYMLINK_BYTES_MAX {
        Err(ErrorKind::NameTooLong.into())
    } else if new.symlink_target.contains(&0) {
        Err(ErrorKind::Invalid.into())
    } else {
        Ok(())
    }
}
