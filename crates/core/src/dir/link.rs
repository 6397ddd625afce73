//! Another name for a file.

use crate::dir::{check_may_add, check_new, count_entries, is_dir};
use crate::error::{ErrorKind, Result};
use crate::inode::lock_two;
use crate::types::{Attr, Ino, InodeFlags};
use crate::volume::Volume;
use ashlar_format::key::{self, TreeId};
use ashlar_format::limits::LINK_COUNT_MAX;
use ashlar_format::name::NameRecord;

impl Volume {
    /// Gives file `ino` the name `new_name` in directory `new_dir`; also a file that has none yet.
    ///
    /// # Errors
    /// `Exists`, `NameTooLong`, `Invalid`; `NotPermitted` (EPERM) for directories and for immutable
    /// or append-only files; `TooManyLinks` (EMLINK); `NotFound` (ENOENT) for a file whose last name
    /// was removed, or a removed directory; `NotDirectory`, `NoSpace`, `ReadOnly`, `Stale`, `Shutdown`.
    pub fn link(&self, ino: Ino, new_dir: Ino, new_name: &[u8]) -> Result<Attr> {
        self.link_name(ino, new_dir, new_name)
            .map_err(|error| error.in_op("link").at(new_dir).named(new_name))
    }

    fn link_name(&self, ino: Ino, new_dir: Ino, new_name: &[u8]) -> Result<Attr> {
        self.check_writable()?;
        check_new(new_name)?;
        let parent = self.directory(new_dir)?;
        let inode = self.inode(ino)?;
        if is_dir(inode.kind) {
            return Err(Self::not_permitted(ino));
        }
        let key = self.name_key(new_dir, new_name);
        let _parent_lock = parent.lock.write();
        let _inode_lock = inode.lock.write();
        check_may_add(&parent, &*parent.state()?)?;
        self.check_free(new_dir, &key)?;
        self.store.check_room_for_names()?;

        let now = self.now();
        let (mut parent_state, mut state) = lock_two(&parent, &inode)?;
        let was_unnamed = state.record.nlink == 0;
        // O_TMPFILE files may get a name; what had one and lost it may not.
        if was_unnamed && !self.orphans.may_be_named(ino) {
            return Err(crate::Error::from(ErrorKind::NotFound).at(ino));
        }
        if state.record.nlink >= LINK_COUNT_MAX {
            return Err(crate::Error::from(ErrorKind::TooManyLinks).at(ino));
        }
        if state.record.flags.intersects(InodeFlags::IMMUTABLE | InodeFlags::APPEND) {
            return Err(Self::not_permitted(ino));
        }
        let mut txn = self.store.begin();
        let entry = NameRecord { ino: ino.0, kind: inode.kind };
        txn.put(TreeId::Names, &key, &entry.encode());
        state.record.nlink += 1;
        state.record.ctime = now;
        state.log(ino, &mut txn);
        count_entries(&mut parent_state, 0, 1);
        parent_state.touch_content(now);
        parent_state.log(new_dir, &mut txn);
        if was_unnamed {
            txn.delete(TreeId::Orphans, &key::inode(ino.0));
        }
        self.commit(txn, &[&parent, &inode])?;
        self.names.made(&key.name(new_dir), entry);
        if was_unnamed {
            self.orphans.remove(ino);
        }
        let attr = inode.attr(&state);
        drop((parent_state, state));
        self.sync_names(&[&parent, &inode])?;
        Ok(attr)
    }
}
