//! Moving the extents behind a place in a file, down or up.
//!
//! ```text
//!   down   |==A==|.....|==B==|==C==|        up   |==A==|==B==|==C==|
//!          |==A==|==B==|==C==|                   |==A==|.....|==B==|==C==|
//!   order        B first                                      C first
//! ```
//! Some hundred extents a transaction: a crash in between leaves a file whose map is sound and whose
//! tail is in part where it was, as with XFS.

use crate::error::Result;
use crate::extent::edit::{Blocks, MapEdit};
use crate::extent::{FILE_BLOCKS_MAX, MapState};
use crate::mapping::FileRef;
use ashlar_store::Txn;

/// Extents moved in one transaction.
const EXTENTS_PER_TXN: usize = 256;

impl FileRef<'_> {
    /// Moves everything at and behind block `from` down by `count` blocks, where nothing is. Inode
    /// lock held exclusively, nothing cached behind.
    ///
    /// # Errors
    /// Damage, a volume that has shut down.
    pub(crate) fn shift_down(&self, from: u64, count: u64) -> Result<()> {
        let mut at = from;
        self.edit_in_parts(&mut |edit| {
            for _ in 0..EXTENTS_PER_TXN {
                let Some(extent) = edit.next(at)? else { return Ok(true) };
                at = extent.end();
                edit.relocate(&extent, extent.start - count)?;
            }
            Ok(false)
        })
    }

    /// Moves everything at and behind block `from` up by `count` blocks, cutting an extent that
    /// begins before. Locks and errors as [`Self::shift_down`].
    ///
    /// # Errors
    /// Damage, a volume that has shut down.
    pub(crate) fn shift_up(&self, from: u64, count: u64) -> Result<()> {
        let mut above = FILE_BLOCKS_MAX;
        self.edit_in_parts(&mut |edit| {
            for _ in 0..EXTENTS_PER_TXN {
                let found = match above.checked_sub(1) {
                    Some(last) => edit.floor(last)?.filter(|extent| extent.end() > from),
                    None => None,
                };
                let Some(extent) = found else { return Ok(true) };
                let piece = extent.cut(&(from..above));
                above = piece.start;
                edit.remove(piece.start..piece.end(), Blocks::Keep, 1)?;
                let mut moved = piece;
                moved.start += count;
                edit.insert(moved)?;
            }
            Ok(false)
        })
    }

    /// Edits the map in as many transactions as it takes: `part` says whether it is done.
    ///
    /// # Errors
    /// What `part` returns; a volume that has shut down.
    pub(crate) fn edit_in_parts(
        &self,
        part: &mut dyn FnMut(&mut MapEdit<'_>) -> Result<bool>,
    ) -> Result<()> {
        self.edit_and_grant_in_parts(&mut |edit, _, _| part(edit))
    }

    /// The same, with the transaction, for blocks that it takes, and the map.
    ///
    /// # Errors
    /// What `part` returns; a volume that has shut down.
    pub(crate) fn edit_and_grant_in_parts(
        &self,
        part: &mut dyn FnMut(&mut MapEdit<'_>, &mut Txn<'_>, &MapState) -> Result<bool>,
    ) -> Result<()> {
        loop {
            let mut map = self.data.map.lock();
            let mut state = self.inode.state()?;
            let mut edit = MapEdit::begin(self.volume, self.inode.ino, &state)?;
            let mut txn = self.volume.store.begin();
            let done = part(&mut edit, &mut txn, &map)?;
            if !edit.is_empty() {
                edit.write_to(&mut txn, &mut state);
                state.log(self.inode.ino, &mut txn);
                self.volume.commit(txn, &[self.inode])?;
                map.invalidate();
            }
            if done {
                return Ok(());
            }
        }
    }
}
