//! The map of a file and what the library is told from it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use ashlar_device::{Finish, Write};
use iomap::{
    Error, ErrorKind, Ioend, IoendFlags, MapMods, MapReply, MapRequest, Mapping, MappingFlags,
    MappingKind, MappingOps, Outcome, Purpose, Result, WritebackOps,
};

use super::{BLOCK, ToyFile};

/// What a file knows of one of its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
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
pub(super) struct Map {
    pub(super) slots: BTreeMap<u64, Slot>,
    pub(super) inline: Option<Arc<[u8]>>,
    /// Moves with every change of the above.
    pub(super) cookie: u64,
}

impl ToyFile {
    pub(super) fn drop_slots(&self, map: &mut Map, blocks: Range<u64>) {
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
