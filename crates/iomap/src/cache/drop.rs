//! Taking data out of the cache: truncate, invalidate, drop what is clean.
//!
//! Blocks under writeback are waited for, since their place on the device may be given away right
//! after. The caller therefore holds no lock that writeback's callbacks need.

use std::ops::Range;

use crate::cache::folio::Blocks;
use crate::cache::{Locked, PageCache};

impl PageCache {
    /// The file ends at `new_size` now: drops all blocks past it, dirty or not, and zeroes the
    /// cached part of its last block past the end. Does not make that block dirty; see
    /// [`truncate_page`](crate::truncate_page) for the bytes on the device.
    ///
    /// The file system has set the new size before, holds the inode lock, and frees the blocks
    /// after.
    ///
    /// # Blocking
    /// Waits for writeback of dropped blocks.
    #[doc(alias = "truncate_setsize")]
    #[doc(alias = "truncate_pagecache")]
    pub fn truncate(&self, new_size: u64) {
        let Some(mut cache) = self.locked_if_any() else { return };
        let first_dropped = self.block_range(&(0..new_size)).end;
        cache.drop_blocks(&(first_dropped..u64::MAX));
        cache.notify();
        if first_dropped == new_size {
            return;
        }
        let Some(start) = cache.covering(new_size) else { return };
        let Some(folio) = cache.folio(start) else { return };
        // A block that is being read is zeroed when its bytes come: the size is looked at then.
        if folio.touched(start, &(new_size..first_dropped)) & folio.uptodate != 0 {
            // Below the folio's size.
            let tail = (new_size - start) as usize..(first_dropped - start) as usize;
            if let Some(bytes) = cache.bytes_mut(start, 0) {
                bytes[tail].fill(0);
            }
        }
    }

    /// Drops all blocks that lie wholly in `range`, dirty or not: their place in the file is being
    /// removed, moved or written behind the cache. The caller holds the inode lock.
    ///
    /// # Blocking
    /// Waits for writeback of dropped blocks.
    #[doc(alias = "truncate_pagecache_range")]
    pub fn invalidate(&self, range: Range<u64>) {
        let Some(mut cache) = self.locked_if_any() else { return };
        let mask = (1u64 << self.block_shift) - 1;
        let start = range.start.checked_add(mask).map_or(u64::MAX, |start| start & !mask);
        cache.drop_blocks(&(start..range.end & !mask));
        cache.notify();
    }

    /// Drops the clean blocks that `range` touches. `false` when dirty blocks had to stay.
    ///
    /// # Blocking
    /// Waits for writeback in the range.
    #[doc(alias = "invalidate_inode_pages2_range")]
    pub fn invalidate_clean(&self, range: Range<u64>) -> bool {
        let Some(mut cache) = self.locked_if_any() else { return true };
        let range = self.block_range(&range);
        cache.wait_for_writeback(&range);
        let mut all = true;
        for start in cache.state.index.touching(&range) {
            let Some(folio) = cache.folio(start) else { continue };
            let touched = folio.touched(start, &range);
            all &= touched & folio.dirty == 0;
            let gone = touched & !folio.dirty;
            cache.forget_blocks(start, gone);
        }
        cache.notify();
        all
    }

    /// Drops every folio of the file that is neither dirty nor in use by I/O.
    #[doc(alias = "POSIX_FADV_DONTNEED")]
    pub fn drop_clean(&self) {
        let Some(mut cache) = self.locked_if_any() else { return };
        for start in cache.state.index.touching(&(0..u64::MAX)) {
            if cache.folio(start).is_some_and(|folio| !folio.is_pinned()) {
                cache.remove(start);
            }
        }
        drop(cache);
        self.pool.maintain();
    }
}

impl Locked<'_> {
    /// Waits until no block that `range` touches is under writeback. The lock is let go meanwhile.
    pub(crate) fn wait_for_writeback(&mut self, range: &Range<u64>) {
        while self.any_block(range, |folio| folio.writeback) {
            self.wait();
        }
    }

    /// Drops all blocks in `range`, which is made of whole blocks, after their writeback.
    fn drop_blocks(&mut self, range: &Range<u64>) {
        self.wait_for_writeback(range);
        for start in self.state.index.touching(range) {
            let Some(folio) = self.folio(start) else { continue };
            let gone = folio.touched(start, range);
            self.forget_blocks(start, gone);
        }
    }

    /// Drops blocks of one folio, none of them under writeback; the folio, too, if nothing is left.
    fn forget_blocks(&mut self, start: u64, gone: Blocks) {
        let Some(folio) = self.folio(start) else { return };
        let (dirty, writeback) = (folio.dirty & !gone, folio.writeback);
        if folio.uptodate & !gone == 0 {
            self.remove(start);
            return;
        }
        self.set_blocks(start, dirty, writeback);
        if let Some(folio) = self.state.index.get_mut(start) {
            folio.forget(gone);
        }
        self.settle(start);
    }
}
