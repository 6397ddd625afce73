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

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use ashlar_device::{Device, Finish, Write};
use iomap::{
    CachePool, Error, ErrorKind, Fiemap, Host, Ioend, IoendFlags, MapMods, MapReply, MapRequest,
    Mapping, MappingFlags, MappingKind, MappingOps, Outcome, PageCache, Purpose, Result,
    WritebackControl, WritebackOps,
};
use parking_lot::{Mutex, RwLock};

pub const BLOCK: u64 = 4096;
/// Files up to this size have no blocks.
pub const INLINE_MAX: u64 = 200;

/// Which way a read or write goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Through {
    Cache,
    Device,
}

/// The volume.
#[derive(Debug)]
pub struct ToyFs {
    pub device: Arc<dyn Device>,
    pub pool: Arc<CachePool>,
    space: Mutex<Space>,
}

/// Which blocks are in use, how often; how many more are promised.
#[derive(Debug)]
struct Space {
    references: Vec<u32>,
    used: u64,
    promised: u64,
    cursor: usize,
}

impl ToyFs {
    pub fn new(device: Arc<dyn Device>, cache_bytes: u64) -> Arc<Self> {
        let blocks = (device.topology().capacity / BLOCK) as usize;
        let space = Space { references: vec![0; blocks], used: 0, promised: 0, cursor: 0 };
        Arc::new(Self { device, pool: CachePool::new(cache_bytes), space: Mutex::new(space) })
    }

    pub fn create(self: &Arc<Self>) -> Arc<ToyFile> {
        Arc::new(ToyFile {
            fs: Arc::clone(self),
            cache: PageCache::new(&self.pool, BLOCK as u32),
            size: AtomicU64::new(0),
            lock: RwLock::new(()),
            map: Mutex::new(Map { inline: Some(Arc::new([])), ..Map::default() }),
        })
    }

    pub fn used_blocks(&self) -> u64 {
        self.space.lock().used
    }

    pub fn promised_blocks(&self) -> u64 {
        self.space.lock().promised
    }

    /// A file that shares all blocks of `file`.
    pub fn clone_file(self: &Arc<Self>, file: &ToyFile) -> Result<Arc<ToyFile>> {
        let _locked = file.lock.write();
        file.write_back()?;
        let copy = self.create();
        let mut map = file.map.lock();
        map.cookie += 1;
        let mut copied = copy.map.lock();
        copied.inline = map.inline.clone();
        for (block, slot) in &map.slots {
            if let Slot::Written { addr } = slot {
                self.space.lock().references[(addr / BLOCK) as usize] += 1;
                copied.slots.insert(*block, Slot::Written { addr: *addr });
            }
        }
        copy.size.store(file.size(), SeqCst);
        drop(copied);
        Ok(copy)
    }

    fn is_shared(&self, addr: u64) -> bool {
        self.space.lock().references[(addr / BLOCK) as usize] > 1
    }

    fn promise(&self) -> Result<()> {
        let mut space = self.space.lock();
        if space.used + space.promised >= space.references.len() as u64 {
            return Err(Error::new("toyfs", ErrorKind::NoSpace));
        }
        space.promised += 1;
        Ok(())
    }

    fn unpromise(&self) {
        self.space.lock().promised -= 1;
    }

    /// Takes a block, for which a promise was made before.
    fn allocate(&self) -> u64 {
        let mut space = self.space.lock();
        space.promised -= 1;
        let count = space.references.len();
        while space.references[space.cursor] != 0 {
            space.cursor = (space.cursor + 1) % count;
        }
        let block = space.cursor;
        space.references[block] = 1;
        space.used += 1;
        block as u64 * BLOCK
    }

    fn free(&self, addr: u64) {
        let mut space = self.space.lock();
        let count = &mut space.references[(addr / BLOCK) as usize];
        *count -= 1;
        if *count == 0 {
            space.used -= 1;
        }
    }
}

/// What a file knows of one of its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Space is promised; the data is dirty in the cache. `old`: the shared block it replaces.
    Promised {
        old: Option<u64>,
    },
    /// A writeback has found a place and is writing.
    Allocated {
        addr: u64,
        old: Option<u64>,
    },
    Unwritten {
        addr: u64,
    },
    Written {
        addr: u64,
    },
}

#[derive(Debug, Default)]
struct Map {
    slots: BTreeMap<u64, Slot>,
    inline: Option<Arc<[u8]>>,
    /// Moves with every change of the above.
    cookie: u64,
}

/// One file.
#[derive(Debug)]
pub struct ToyFile {
    fs: Arc<ToyFs>,
    cache: PageCache,
    size: AtomicU64,
    /// The inode lock.
    lock: RwLock<()>,
    map: Mutex<Map>,
}

impl ToyFile {
    pub fn write(&self, through: Through, offset: u64, bytes: &[u8]) -> Result<usize> {
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

    pub fn read(&self, through: Through, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let _locked = self.lock.read();
        if through == Through::Device {
            self.write_back_inline()?;
            return iomap::direct_read(self, self, offset, buf);
        }
        iomap::buffered_read(self, self, offset, buf)
    }

    /// Makes dirty data reach the device.
    pub fn write_back(&self) -> Result<()> {
        if !self.write_back_inline()? {
            iomap::writepages(self, self, 0..u64::MAX, &WritebackControl::default())?;
        }
        Ok(())
    }

    pub fn fsync(&self) -> Result<()> {
        self.write_back()?;
        self.fs.device.flush().map_err(|e| Error::new("fsync", ErrorKind::Io(e)))
    }

    pub fn truncate(&self, size: u64) -> Result<()> {
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
    pub fn punch(&self, range: Range<u64>) -> Result<()> {
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
    pub fn allocate(&self, range: Range<u64>) -> Result<()> {
        let _locked = self.lock.write();
        self.leave_inode()?;
        let mut map = self.map.lock();
        map.cookie += 1;
        for block in range.start / BLOCK..range.end.div_ceil(BLOCK) {
            if !map.slots.contains_key(&block) {
                self.fs.promise()?;
                map.slots.insert(block, Slot::Unwritten { addr: self.fs.allocate() });
            }
        }
        Ok(())
    }

    pub fn seek_data(&self, offset: u64) -> Result<u64> {
        let _locked = self.lock.read();
        iomap::seek_data(self, self, offset)
    }

    pub fn seek_hole(&self, offset: u64) -> Result<u64> {
        let _locked = self.lock.read();
        iomap::seek_hole(self, self, offset)
    }

    pub fn extents(&self) -> Fiemap<'_> {
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

    fn drop_slots(&self, map: &mut Map, blocks: Range<u64>) {
        map.cookie += 1;
        let dropped: Vec<u64> = map.slots.range(blocks).map(|(block, _)| *block).collect();
        for block in dropped {
            match map.slots.remove(&block) {
                Some(Slot::Promised { old }) => {
                    self.fs.unpromise();
                    old.iter().for_each(|addr| self.fs.free(*addr));
                }
                Some(Slot::Allocated { addr, old }) => {
                    self.fs.free(addr);
                    old.iter().for_each(|addr| self.fs.free(*addr));
                }
                Some(Slot::Unwritten { addr } | Slot::Written { addr }) => self.fs.free(addr),
                None => {}
            }
        }
    }

    /// A mapping of the run of blocks that continue `first` in the file and on the device.
    fn run(
        map: &Map,
        first: u64,
        end: u64,
        kind_of: impl Fn(Option<&Slot>, u64) -> Kind,
    ) -> Mapping {
        let kind = kind_of(map.slots.get(&first), first);
        let mut last = first;
        while last + 1 < end {
            let next = kind_of(map.slots.get(&(last + 1)), last + 1);
            if !kind.continues(&next, last + 1 - first) {
                break;
            }
            last += 1;
        }
        let mut mapping = Mapping::new(first * BLOCK, (last + 1 - first) * BLOCK, kind.mapping());
        mapping.flags.set(MappingFlags::SHARED, matches!(kind, Kind::Mapped(_, true)));
        mapping.with_cookie(map.cookie)
    }

    fn report(&self, map: &Map, request: &MapRequest) -> Mapping {
        if let Some(inline) = &map.inline {
            let kind = if request.offset < BLOCK {
                MappingKind::Inline(Arc::clone(inline))
            } else {
                MappingKind::Hole
            };
            let start = request.offset / BLOCK * BLOCK;
            return Mapping::new(start, BLOCK, kind).with_cookie(map.cookie);
        }
        let end = (request.offset + request.length).div_ceil(BLOCK);
        Self::run(map, request.offset / BLOCK, end, |slot, _| match slot {
            None => Kind::Hole,
            Some(Slot::Promised { old: None }) => Kind::Delalloc,
            Some(Slot::Promised { old: Some(addr) }) => Kind::Mapped(*addr, true),
            Some(Slot::Allocated { addr, .. } | Slot::Unwritten { addr }) => Kind::Unwritten(*addr),
            Some(Slot::Written { addr }) => Kind::Mapped(*addr, self.fs.is_shared(*addr)),
        })
    }

    /// A block to write to: promised if it is a hole or shared.
    fn begin_buffered_write(&self, map: &mut Map, request: &MapRequest) -> Result<MapReply> {
        if map.inline.is_some() {
            return Ok(self.report(map, request).into());
        }
        let first = request.offset / BLOCK;
        let end = (request.offset + request.length).div_ceil(BLOCK);
        match map.slots.get(&first).copied() {
            None => {
                // As many holes as can be promised, at least one.
                let mut block = first;
                while block < end && !map.slots.contains_key(&block) {
                    match self.fs.promise() {
                        Ok(()) => map.slots.insert(block, Slot::Promised { old: None }),
                        Err(error) if block == first => return Err(error),
                        Err(_) => break,
                    };
                    block += 1;
                }
                map.cookie += 1;
                let length = (block - first) * BLOCK;
                let mapping = Mapping::new(first * BLOCK, length, MappingKind::Delalloc)
                    .with_flags(MappingFlags::NEW)
                    .with_cookie(map.cookie);
                Ok(mapping.into())
            }
            Some(Slot::Written { addr }) if self.fs.is_shared(addr) => {
                self.fs.promise()?;
                map.slots.insert(first, Slot::Promised { old: Some(addr) });
                map.cookie += 1;
                let new = Mapping::new(first * BLOCK, BLOCK, MappingKind::Delalloc)
                    .with_flags(MappingFlags::NEW)
                    .with_cookie(map.cookie);
                let source = Mapping::new(first * BLOCK, BLOCK, MappingKind::Mapped { addr });
                Ok(MapReply { mapping: new, source: Some(source) })
            }
            Some(Slot::Promised { old: Some(addr) }) => {
                let mapping = Mapping::new(first * BLOCK, BLOCK, MappingKind::Delalloc)
                    .with_cookie(map.cookie);
                let source = Mapping::new(first * BLOCK, BLOCK, MappingKind::Mapped { addr });
                Ok(MapReply { mapping, source: Some(source) })
            }
            Some(_) => {
                let mut mapping = self.report(map, request);
                // Not into a shared block further on.
                if let MappingKind::Mapped { .. } = mapping.kind {
                    mapping.length = mapping.length.min(BLOCK);
                }
                Ok(mapping.into())
            }
        }
    }

    fn begin_direct_write(&self, map: &mut Map, request: &MapRequest) -> Result<MapReply> {
        let first = request.offset / BLOCK;
        let allocated = match map.slots.get(&first).copied() {
            None => Some(None),
            Some(Slot::Written { addr }) if self.fs.is_shared(addr) => Some(Some(addr)),
            Some(_) => None,
        };
        if let Some(old) = allocated.filter(|_| map.inline.is_none()) {
            self.fs.promise()?;
            map.slots.insert(first, Slot::Allocated { addr: self.fs.allocate(), old });
            map.cookie += 1;
            let mapping = self.report(map, &MapRequest { length: 1, ..*request });
            return Ok(mapping.with_flags(MappingFlags::NEW).into());
        }
        let mut mapping = self.report(map, request);
        mapping.length = if map.inline.is_some() { mapping.length } else { BLOCK };
        Ok(mapping.into())
    }

    fn revert(&self, map: &mut Map, range: Range<u64>) {
        map.cookie += 1;
        for block in range.start / BLOCK..range.end.div_ceil(BLOCK) {
            let old = match map.slots.get(&block).copied() {
                Some(Slot::Promised { old }) => {
                    self.fs.unpromise();
                    old
                }
                Some(Slot::Allocated { addr, old }) => {
                    self.fs.free(addr);
                    old
                }
                _ => continue,
            };
            match old {
                Some(addr) => map.slots.insert(block, Slot::Written { addr }),
                None => map.slots.remove(&block),
            };
        }
    }
}

/// A kind of mapping whose runs can be recognised.
#[derive(Clone, Copy)]
enum Kind {
    Hole,
    Delalloc,
    Unwritten(u64),
    /// Address, and whether it is shared.
    Mapped(u64, bool),
}

impl Kind {
    fn continues(self, next: &Self, blocks: u64) -> bool {
        match (self, next) {
            (Self::Hole, Self::Hole) | (Self::Delalloc, Self::Delalloc) => true,
            (Self::Unwritten(a), Self::Unwritten(b)) => *b == a + blocks * BLOCK,
            (Self::Mapped(a, s), Self::Mapped(b, t)) => *b == a + blocks * BLOCK && s == *t,
            _ => false,
        }
    }

    fn mapping(self) -> MappingKind {
        match self {
            Self::Hole => MappingKind::Hole,
            Self::Delalloc => MappingKind::Delalloc,
            Self::Unwritten(addr) => MappingKind::Unwritten { addr },
            Self::Mapped(addr, _) => MappingKind::Mapped { addr },
        }
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

impl MappingOps for ToyFile {
    fn begin(&self, request: &MapRequest) -> Result<MapReply> {
        let mut map = self.map.lock();
        match request.purpose {
            Purpose::Write if request.mods.contains(MapMods::DIRECT) => {
                self.begin_direct_write(&mut map, request)
            }
            Purpose::Write => self.begin_buffered_write(&mut map, request),
            Purpose::Zero => {
                let first = map.slots.get(&(request.offset / BLOCK)).copied();
                match first {
                    Some(Slot::Written { .. } | Slot::Promised { old: Some(_) }) => {
                        let one = MapRequest { length: 1, ..*request };
                        self.begin_buffered_write(&mut map, &one)
                    }
                    _ => Ok(self.report(&map, request).into()),
                }
            }
            _ => Ok(self.report(&map, request).into()),
        }
    }

    fn end(&self, request: &MapRequest, mapping: &Mapping, outcome: Outcome) -> Result<()> {
        let new = mapping.flags.contains(MappingFlags::NEW);
        if new && !request.mods.contains(MapMods::DIRECT) {
            iomap::release_unwritten(self, request, mapping, outcome, &mut |range| {
                self.revert(&mut self.map.lock(), range);
            });
        } else if new && outcome.written == 0 {
            self.revert(&mut self.map.lock(), mapping.offset..mapping.end());
        }
        Ok(())
    }

    fn is_valid(&self, mapping: &Mapping) -> bool {
        self.map.lock().cookie == mapping.cookie
    }
}

impl WritebackOps for ToyFile {
    fn map_blocks(&self, offset: u64, length: u64) -> Result<Mapping> {
        let mut map = self.map.lock();
        for block in offset / BLOCK..(offset + length) / BLOCK {
            match map.slots.get(&block).copied() {
                Some(Slot::Promised { old }) => {
                    let addr = self.fs.allocate();
                    map.slots.insert(block, Slot::Allocated { addr, old });
                    map.cookie += 1;
                }
                Some(_) => {}
                None => return Err(Error::file_system(format!("block {block} has no space"))),
            }
        }
        let end = (offset + length) / BLOCK;
        Ok(Self::run(&map, offset / BLOCK, end, |slot, _| match slot {
            Some(Slot::Allocated { addr, .. } | Slot::Unwritten { addr }) => Kind::Unwritten(*addr),
            Some(Slot::Written { addr }) => Kind::Mapped(*addr, false),
            Some(Slot::Promised { .. }) | None => Kind::Hole,
        }))
    }

    fn submit(&self, ioends: &[Ioend<'_>]) -> Result<()> {
        for ioend in ioends {
            let mut addr = ioend.addr;
            let mut writes = Vec::new();
            for piece in ioend.pieces() {
                writes.push(Write { addr, bytes: piece.bytes() });
                addr += piece.bytes().len() as u64;
            }
            let done = self.fs.device.submit(&writes, Finish::Nothing);
            done.map_err(|e| Error::new("submit", ErrorKind::Io(e)).at(ioend.offset))?;
        }
        let mut map = self.map.lock();
        for ioend in ioends.iter().filter(|i| i.flags.contains(IoendFlags::UNWRITTEN)) {
            map.cookie += 1;
            for block in ioend.offset / BLOCK..(ioend.offset + ioend.length) / BLOCK {
                match map.slots.get(&block).copied() {
                    Some(Slot::Allocated { addr, old }) => {
                        old.iter().for_each(|addr| self.fs.free(*addr));
                        map.slots.insert(block, Slot::Written { addr });
                    }
                    Some(Slot::Unwritten { addr }) => {
                        map.slots.insert(block, Slot::Written { addr });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn discard_range(&self, range: Range<u64>) {
        self.revert(&mut self.map.lock(), range);
    }
}

impl Drop for ToyFile {
    fn drop(&mut self) {
        let mut map = std::mem::take(&mut *self.map.lock());
        self.drop_slots(&mut map, 0..u64::MAX);
    }
}
