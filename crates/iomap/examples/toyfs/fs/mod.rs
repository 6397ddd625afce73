//! The toy file system: one table of block slots per file.
//!
//! ```text
//!   slot      Promised ──map_blocks──► Allocated ──submit──► Written
//!                ▲                        │                     │ clone_file
//!      begin(Write)                discard_range                ▼
//!   hole ◄───────────────────────────────┘             Written, block counted twice
//!                                                               │ begin(Write)
//!   Unwritten ──submit──► Written          Promised { old } ◄───┘
//! ```
//! Locks, outermost first: a file's `lock` → the library's → a file's `map` → the volume's `space`.
#![allow(dead_code)] // Each user of this module uses a part of it.

mod map;
mod space;

use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use ashlar_device::Device;
use iomap::{CachePool, Error, ErrorKind, Fiemap, Host, PageCache, Result, WritebackControl};
use map::{Map, Slot};
use parking_lot::{Mutex, RwLock};
use space::Space;

pub(crate) const BLOCK: u64 = 4096;
/// Files up to this size have no blocks.
pub(crate) const INLINE_MAX: u64 = 200;

/// Which way a read or write goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    Cache,
    Device,
}

/// The volume.
#[derive(Debug)]
pub(crate) struct ToyFs {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) pool: Arc<CachePool>,
    space: Mutex<Space>,
}

impl ToyFs {
    pub(crate) fn new(device: Arc<dyn Device>, cache_bytes: u64) -> Arc<Self> {
        let blocks = (device.topology().capacity / BLOCK) as usize;
        let space = Space::new(blocks);
        Arc::new(Self { device, pool: CachePool::new(cache_bytes), space: Mutex::new(space) })
    }

    pub(crate) fn create(self: &Arc<Self>) -> Arc<ToyFile> {
        Arc::new(ToyFile {
            fs: Arc::clone(self),
            cache: PageCache::new(&self.pool, BLOCK as u32),
            size: AtomicU64::new(0),
            lock: RwLock::new(()),
            map: Mutex::new(Map { inline: Some(Arc::new([])), ..Map::default() }),
        })
    }

    /// A file that shares all blocks of `file`.
    pub(crate) fn clone_file(self: &Arc<Self>, file: &ToyFile) -> Result<Arc<ToyFile>> {
        let _locked = file.lock.write();
        file.write_back()?;
        let copy = self.create();
        let mut map = file.map.lock();
        map.cookie += 1;
        let mut copied = copy.map.lock();
        copied.inline = map.inline.clone();
        for (block, slot) in &map.slots {
            if let Slot::Written { addr } = slot {
                self.share(*addr);
                copied.slots.insert(*block, Slot::Written { addr: *addr });
            }
        }
        copy.size.store(file.size(), SeqCst);
        drop(copied);
        Ok(copy)
    }
}

/// One file.
#[derive(Debug)]
pub(crate) struct ToyFile {
    fs: Arc<ToyFs>,
    cache: PageCache,
    size: AtomicU64,
    /// The inode lock.
    lock: RwLock<()>,
    map: Mutex<Map>,
}

impl ToyFile {
    pub(crate) fn write(&self, through: Through, offset: u64, bytes: &[u8]) -> Result<usize> {
        let _locked = self.lock.write();
        if offset + bytes.len() as u64 > INLINE_MAX {
            self.leave_inode()?;
        }
        if through == Through::Device {
            match iomap::direct_write(self, self, offset, bytes) {
                Err(error) if error.needs_buffered() => {}
                done => return done.map(|done| done.written),
            }
        }
        iomap::buffered_write(self, self, offset, bytes)
    }

    pub(crate) fn read(&self, through: Through, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let _locked = self.lock.read();
        if through == Through::Device {
            self.write_back_inline()?;
            return iomap::direct_read(self, self, offset, buf);
        }
        iomap::buffered_read(self, self, offset, buf)
    }

    /// Makes dirty data reach the device.
    pub(crate) fn write_back(&self) -> Result<()> {
        if !self.write_back_inline()? {
            iomap::writepages(self, self, 0..u64::MAX, &WritebackControl::default())?;
        }
        Ok(())
    }

    pub(crate) fn fsync(&self) -> Result<()> {
        self.write_back()?;
        self.fs.device.flush().map_err(|e| Error::new("fsync", ErrorKind::Io(e)))
    }

    pub(crate) fn truncate(&self, size: u64) -> Result<()> {
        let _locked = self.lock.write();
        if size > INLINE_MAX {
            self.leave_inode()?;
        }
        if size < self.size() {
            let _blocks_go = self.cache.invalidate_lock().write();
            iomap::truncate_page(self, self, size)?;
            self.size.store(size, SeqCst);
            self.cache.truncate(size);
            let mut map = self.map.lock();
            self.drop_slots(&mut map, size.div_ceil(BLOCK)..u64::MAX);
            if let Some(inline) = &map.inline {
                map.inline = Some(inline[..inline.len().min(size as usize)].into());
            }
        } else {
            self.size.store(size, SeqCst);
        }
        Ok(())
    }

    /// Makes a hole.
    pub(crate) fn punch(&self, range: Range<u64>) -> Result<()> {
        let _locked = self.lock.write();
        self.leave_inode()?;
        let _blocks_go = self.cache.invalidate_lock().write();
        let range = range.start..range.end.min(self.size());
        let whole = range.start.next_multiple_of(BLOCK)..range.end - range.end % BLOCK;
        if whole.start >= whole.end {
            return iomap::zero_range(
                self,
                self,
                range.start,
                range.end.saturating_sub(range.start),
            );
        }
        iomap::zero_range(self, self, range.start, whole.start - range.start)?;
        iomap::zero_range(self, self, whole.end, range.end - whole.end)?;
        self.cache.invalidate(whole.clone());
        let mut map = self.map.lock();
        self.drop_slots(&mut map, whole.start / BLOCK..whole.end / BLOCK);
        Ok(())
    }

    /// Makes holes in the range unwritten blocks.
    pub(crate) fn allocate(&self, range: Range<u64>) -> Result<()> {
        let _locked = self.lock.write();
        self.leave_inode()?;
        let mut map = self.map.lock();
        map.cookie += 1;
        for block in range.start / BLOCK..range.end.div_ceil(BLOCK) {
            if let Entry::Vacant(hole) = map.slots.entry(block) {
                self.fs.promise()?;
                hole.insert(Slot::Unwritten { addr: self.fs.allocate() });
            }
        }
        Ok(())
    }

    pub(crate) fn seek_data(&self, offset: u64) -> Result<u64> {
        let _locked = self.lock.read();
        iomap::seek_data(self, self, offset)
    }

    pub(crate) fn seek_hole(&self, offset: u64) -> Result<u64> {
        let _locked = self.lock.read();
        iomap::seek_hole(self, self, offset)
    }

    pub(crate) fn extents(&self) -> Fiemap<'_> {
        iomap::fiemap(self, 0..self.size())
    }

    /// Puts dirty inline data into the inode; whether the file is inline.
    fn write_back_inline(&self) -> Result<bool> {
        if self.map.lock().inline.is_none() {
            return Ok(false);
        }
        if !self.cache.is_dirty() {
            return Ok(true);
        }
        let mut still_inline = true;
        iomap::take_inline(self, self, self.size().min(INLINE_MAX), |bytes| {
            let mut map = self.map.lock();
            still_inline = map.inline.is_some();
            if !still_inline {
                return Err(Error::new("toyfs", ErrorKind::WouldBlock));
            }
            map.inline = Some(bytes.into());
            map.cookie += 1;
            Ok(())
        })
        .or_else(|error| if still_inline { Err(error) } else { Ok(()) })?;
        Ok(still_inline)
    }

    /// Gives an inline file blocks.
    fn leave_inode(&self) -> Result<()> {
        if self.map.lock().inline.is_none() {
            return Ok(());
        }
        let mut bytes = vec![0; self.size() as usize];
        iomap::buffered_read(self, self, 0, &mut bytes)?;
        if !bytes.is_empty() {
            self.fs.promise()?;
        }
        {
            // One step: writeback finds a dirty block of an inline file, or one with space.
            let mut map = self.map.lock();
            map.cookie += 1;
            map.inline = None;
            if bytes.is_empty() {
                return Ok(());
            }
            map.slots.insert(0, Slot::Promised { old: None });
        }
        // Cannot fail: there is space, and nothing to read.
        iomap::buffered_write(self, self, 0, &bytes).map(drop)
    }
}

impl Host for ToyFile {
    fn size(&self) -> u64 {
        self.size.load(SeqCst)
    }

    fn set_size(&self, size: u64) {
        self.size.store(size, SeqCst);
    }

    fn block_size(&self) -> u32 {
        BLOCK as u32
    }

    fn cache(&self) -> &PageCache {
        &self.cache
    }

    fn device(&self) -> &dyn Device {
        &*self.fs.device
    }
}

impl Drop for ToyFile {
    fn drop(&mut self) {
        let mut map = std::mem::take(&mut *self.map.lock());
        self.drop_slots(&mut map, 0..u64::MAX);
    }
}
