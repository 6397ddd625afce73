//! A new size.
//!
//! ```text
//!   smaller   size in memory, cache cut, then one transaction: disk size and the last extents; a
//!             file with very many goes to the orphans tree until the rest is removed
//!   larger    rest of the old last block zeroed, size in memory; logged with the next writeback
//! ```
//! Crash behaviour: the disk size shrinks before or together with the first extents that go; what is
//! left past it is removed at the next mount, before the file can grow over it. When the file grows,
//! the block of the old end is dirty, so the record that moves the disk size also sums it (I4).

use crate::error::{ErrorKind, Result};
use crate::extent::FILE_BLOCKS_MAX;
use crate::extent::edit::{Blocks, MapEdit};
use crate::inode::orphan::EXTENTS_PER_TXN;
use crate::inode::{Inode, State, Unlogged};
use crate::mapping::{FileRef, ZeroOps};
use crate::volume::Volume;
use ashlar_format::key::{self, TreeId};
use ashlar_format::limits::{BLOCK_BYTES, FILE_BYTES_MAX, INLINE_BYTES_MAX};
use std::sync::Arc;

impl Volume {
    /// Sets the size of a regular file. Inode lock held exclusively.
    ///
    /// # Errors
    /// `TooLarge`, `NoSpace` when a block must be zeroed, damage, a volume that has shut down.
    pub(crate) fn set_size_locked(&self, inode: &Arc<Inode>, size: u64) -> Result<()> {
        if size > FILE_BYTES_MAX {
            return Err(ErrorKind::TooLarge.into());
        }
        let file = FileRef::new(self, inode);
        if size > inode.size() {
            self.grow(&file, size)?;
            let mut state = inode.state()?;
            state.touch_content(self.now());
            state.unlogged |= Unlogged::ATTRIBUTES;
            drop(state);
            self.note_dirty(inode);
            if file.is_atomic() {
                self.note_uncommitted(inode);
            }
            return Ok(());
        }
        let _writeback = file.data.writeback.lock();
        inode.set_size(size);
        file.data.cache.truncate(size);
        inode.state()?.touch_content(self.now());
        if file.is_atomic() {
            inode.state()?.unlogged |= Unlogged::TIMES;
            file.stage_hole(&(size.div_ceil(BLOCK_BYTES)..FILE_BLOCKS_MAX));
            self.note_uncommitted(inode);
            return Ok(());
        }
        self.remove_past_end(inode)
    }

    /// Moves the end of a file up, over zeros. Inode lock held exclusively.
    ///
    /// # Errors
    /// `NoSpace` when content leaves the inode; what reading the last block returns.
    pub(super) fn grow(&self, file: &FileRef<'_>, size: u64) -> Result<()> {
        if size > INLINE_BYTES_MAX as u64 {
            self.leave_inode(file)?;
        }
        // I4: no writeback between the zeroing and the new size.
        let _writeback = file.data.writeback.lock();
        let old = file.inode.size();
        iomap::truncate_page(&ZeroOps(*file), file, old)?;
        file.inode.set_size(size);
        Ok(())
    }

    /// Removes what a file has past its end, and logs the inode. Inode lock held exclusively.
    ///
    /// # Errors
    /// Damage, a volume that has shut down: the rest is left to the next mount.
    pub(crate) fn remove_past_end(&self, inode: &Inode) -> Result<()> {
        let file = FileRef::new(self, inode);
        let size = inode.size();
        let past = size.div_ceil(BLOCK_BYTES)..u64::MAX;
        loop {
            let mut map = file.data.map.lock();
            map.unpromise(past.clone());
            let mut state = inode.state()?;
            let mut txn = self.store.begin();
            let mut done = true;
            if state.record.blocks > 0 {
                let mut edit = MapEdit::begin(self, inode.ino, &state)?;
                done = edit.remove_backwards(past.clone(), Blocks::Free, EXTENTS_PER_TXN)?;
                edit.write_to(&mut txn, &mut state);
            }
            cut_record(&mut state, size);
            // Without a name it is in the orphans tree anyway, and stays.
            if state.record.nlink > 0 {
                let key = key::inode(inode.ino.0);
                if done {
                    txn.delete(TreeId::Orphans, &key);
                } else {
                    txn.put(TreeId::Orphans, &key, &[]);
                }
            }
            state.log(inode.ino, &mut txn);
            self.commit(txn, &[inode])?;
            map.invalidate();
            if done {
                return Ok(());
            }
        }
    }
}

/// The record's part of a truncation.
fn cut_record(state: &mut State, size: u64) {
    let record = &mut state.record;
    record.size = record.size.min(size);
    if let Some(inline) = &record.inline {
        // As long as the record says; at most 2 KiB.
        let kept = inline.len().min(record.size as usize);
        record.inline = (kept > 0).then(|| inline[..kept].into());
    }
}
