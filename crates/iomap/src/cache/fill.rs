//! Reading missing blocks into the cache: marked first, read without a lock, then put in.
//!
//! ```text
//!   plan    (locked)    missing blocks are marked reading: nobody else reads them, nobody evicts
//!                       the folio, and the mapping was valid at that moment
//!   read    (unlocked)  one batch into private buffers
//!   finish  (locked)    blocks still marked become uptodate; a new folio adopts the buffer
//! ```
//! What may happen between plan and finish, and why the old bytes do no harm:
//! - a write makes a block uptodate and clears its mark: the bytes read are ignored;
//! - truncate or invalidate forget the block and move the folio's epoch: ignored;
//! - the folio goes and another comes: the id differs: ignored.
//!
//! Called by `buffered` → calls the device.

use std::ops::Range;
use std::sync::Arc;

use ashlar_device::{AlignedBuf, Device, DeviceError, Read};

use crate::cache::folio::{Blocks, blocks, exclusive_bytes, runs};
use crate::cache::{Locked, PageCache, Snapshot};
use crate::host::Host;
use crate::mapping::Mapping;

/// Reads under way. Dropping it without [`finish`](Fill::finish) gives the marks back.
pub(crate) struct Fill<'a> {
    cache: &'a PageCache,
    parts: Vec<Part>,
}

/// A run of blocks of one folio.
struct Part {
    /// First byte in the file.
    offset: u64,
    addr: u64,
    start: u64,
    id: u32,
    epoch: u32,
    blocks: Blocks,
    /// Where in `buffer`, which has the size of the folio.
    bytes: Range<usize>,
    buffer: Arc<AlignedBuf>,
}

/// Bytes that a fill brought in, as they are in the cache now.
pub(crate) struct Served {
    pub(crate) offset: u64,
    pub(crate) snapshot: Snapshot,
}

impl<'a> Fill<'a> {
    pub(crate) fn new(cache: &'a PageCache) -> Self {
        Self { cache, parts: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Marks the blocks of `range` that are neither uptodate nor being read, to be read from where
    /// `mapping`, which has an address, says. `false`: `is_valid` does not hold any more, and
    /// nothing was marked.
    pub(crate) fn plan(
        &mut self,
        mapping: &Mapping,
        range: &Range<u64>,
        is_valid: impl FnOnce() -> bool,
    ) -> bool {
        let range = self.cache.block_range(range);
        let mut cache = self.cache.lock();
        if !is_valid() {
            return false;
        }
        let mut offset = range.start;
        while offset < range.end {
            let start = cache.covering_or_new(offset, range.end);
            self.plan_folio(&mut cache, start, &range, mapping);
            match cache.folio(start) {
                Some(folio) => offset = start + folio.size(),
                None => break,
            }
        }
        true
    }

    fn plan_folio(
        &mut self,
        cache: &mut Locked<'_>,
        start: u64,
        range: &Range<u64>,
        mapping: &Mapping,
    ) {
        let buffers = &cache.pool.buffers;
        let Some(folio) = cache.state.index.get_mut(start) else { return };
        let missing = folio.touched(start, range) & !(folio.uptodate | folio.reading);
        for run in runs(missing) {
            let offset = folio.file_range(start, &run).start;
            let Some(addr) = mapping.addr_at(offset) else { break };
            let marked = blocks(u64::from(run.start), u64::from(run.end));
            folio.reading |= marked;
            self.parts.push(Part {
                offset,
                addr,
                start,
                id: folio.id,
                epoch: folio.fill_epoch,
                blocks: marked,
                bytes: folio.byte_range(&run),
                // At most 64 KiB.
                buffer: buffers.take(folio.size() as usize),
            });
        }
    }

    /// Reads everything that was planned, as one batch.
    pub(crate) fn read(&mut self, device: &dyn Device) -> Result<(), DeviceError> {
        let mut reads: Vec<Read<'_>> = self
            .parts
            .iter_mut()
            .map(|part| Read {
                addr: part.addr,
                buf: &mut exclusive_bytes(&mut part.buffer)[part.bytes.clone()],
            })
            .collect();
        match reads.as_mut_slice() {
            [] => Ok(()),
            [one] => device.read_at(one.addr, one.buf),
            many => device.read_batch(many),
        }
    }

    /// Puts what was read into the cache and returns it in order of offset. Bytes past the end of
    /// the file become zero.
    pub(crate) fn finish(mut self, host: &dyn Host) -> Vec<Served> {
        let parts = std::mem::take(&mut self.parts);
        let mut served = Vec::with_capacity(parts.len());
        let mut cache = self.cache.lock();
        let size = host.size();
        for mut part in parts {
            zero_past_eof(&mut part, size);
            let (offset, bytes) = (part.offset, part.bytes.clone());
            if let Some(buffer) = cache.accept(part) {
                served.push(Served { offset, snapshot: Snapshot { buffer, bytes } });
            }
        }
        cache.notify();
        served
    }
}

/// On the device the tail of the last block may hold anything; in the cache it is zero, so that a
/// growing file shows zeros there.
fn zero_past_eof(part: &mut Part, size: u64) {
    let end = part.offset + part.bytes.len() as u64;
    if size < end {
        // Below the part's length, which fits.
        let keep = size.saturating_sub(part.offset) as usize;
        let from = part.bytes.start + keep;
        exclusive_bytes(&mut part.buffer)[from..part.bytes.end].fill(0);
    }
}

impl Locked<'_> {
    /// Takes the blocks of a part that are still wanted. The folio's buffer if, after that, all
    /// blocks of the part are uptodate in it.
    fn accept(&mut self, part: Part) -> Option<Arc<AlignedBuf>> {
        let buffers = &self.pool.buffers;
        let same = self.state.index.get_mut(part.start);
        let Some(folio) = same.filter(|f| f.id == part.id && f.fill_epoch == part.epoch) else {
            buffers.give(part.buffer);
            return None;
        };
        let accepted = part.blocks & folio.reading;
        folio.reading &= !part.blocks;
        if accepted != 0 {
            if folio.data.is_none() {
                folio.data = Some(part.buffer);
            } else {
                let target = folio.bytes_mut(buffers, accepted);
                // Blocks of the part that are not accepted hold newer bytes.
                for run in runs(accepted) {
                    let bytes = folio_bytes(&part.bytes, part.blocks, &run);
                    target[bytes.clone()].copy_from_slice(&part.buffer[bytes]);
                }
                buffers.give(part.buffer);
            }
            folio.uptodate |= accepted;
        } else {
            buffers.give(part.buffer);
        }
        let complete = part.blocks & !folio.uptodate == 0;
        let data = folio.data.as_ref().filter(|_| complete).map(Arc::clone);
        self.settle(part.start);
        data
    }

    /// Gives the marks of a part back.
    fn give_up(&mut self, part: Part) {
        if let Some(folio) = self.same_folio(part.start, part.id) {
            if folio.fill_epoch == part.epoch {
                folio.reading &= !part.blocks;
            }
            self.settle(part.start);
        }
        self.pool.buffers.give(part.buffer);
    }
}

/// The bytes of `run`, a part of the blocks that `bytes` covers.
fn folio_bytes(bytes: &Range<usize>, part: Blocks, run: &Range<u32>) -> Range<usize> {
    let block_size = bytes.len() / part.count_ones() as usize;
    run.start as usize * block_size..run.end as usize * block_size
}

impl Drop for Fill<'_> {
    fn drop(&mut self) {
        if self.parts.is_empty() {
            return;
        }
        let mut cache = self.cache.lock();
        for part in std::mem::take(&mut self.parts) {
            cache.give_up(part);
        }
        cache.notify();
    }
}
