//! [`direct_read`]: device → caller's buffer, without the cache.
//!
//! ```text
//!   mappings    |   mapped   | hole |      mapped       |
//!   buffer      [   read     | zeros|  read       |#####)
//!                                     whole sectors   bounce: the last sector is not wanted whole
//!   device      one batch of all reads
//! ```

use ashlar_device::{AlignedBuf, Read};

use crate::buffered::copy_padded;
use crate::cache::check_host;
use crate::direct::write_back;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::iter::MappingIter;
use crate::mapping::MappingKind;
use crate::ops::{MapMods, MapRequest, Purpose};
use crate::writeback::DirectOps;

/// Reads from `offset` into `buf`, up to the end of the file; returns how many bytes. 0 at or past
/// the end. Neither offset nor length nor the buffer need any alignment: parts of sectors go
/// through a bounce buffer. Dirty data in the range is written back first.
///
/// Asks `begin` with [`Purpose::Read`] and [`MapMods::DIRECT`].
///
/// # Errors
/// What `begin`, `end` and the writeback return; [`Io`](ErrorKind::Io) when the device fails: then
/// the contents of `buf` are undefined. [`NeedsBuffered`](ErrorKind::NeedsBuffered) when a range
/// became delayed-allocated again after the writeback.
///
/// # Blocking
/// Waits for the device. The caller holds the inode lock shared.
#[doc(alias = "iomap_dio_rw")]
#[doc(alias = "O_DIRECT")]
pub fn direct_read(
    ops: &dyn DirectOps,
    host: &dyn Host,
    offset: u64,
    buf: &mut [u8],
) -> Result<usize> {
    check_host("direct_read", host)?;
    // At most the buffer's length.
    let length = host.size().saturating_sub(offset).min(buf.len() as u64) as usize;
    if length == 0 {
        return Ok(0);
    }
    write_back(ops, host, &host.cache().block_range(&(offset..offset + length as u64)))?;
    let request =
        MapRequest { offset, length: length as u64, purpose: Purpose::Read, mods: MapMods::DIRECT };
    let mut iter = MappingIter::new("direct_read", ops, request).with_block_size(host.block_size());
    let mut plan = Plan::new(u64::from(host.device().topology().sector), &mut buf[..length]);
    let result = plan_all(&mut iter, &mut plan);
    let done = iter.done() as usize;
    drop(iter);
    if done == 0 {
        return result.map(|()| 0);
    }
    plan.run(host).map_err(|e| Error::io("direct_read", offset, e))?;
    Ok(done)
}

fn plan_all(iter: &mut MappingIter<'_>, plan: &mut Plan<'_>) -> Result<()> {
    while iter.next_mapping()? {
        plan_iter(iter, plan)?;
    }
    Ok(())
}

fn plan_iter(iter: &mut MappingIter<'_>, plan: &mut Plan<'_>) -> Result<()> {
    let (offset, length) = (iter.offset(), iter.length());
    let mapping = iter.mapping();
    // At most the buffer's length.
    let size = length as usize;
    match &mapping.kind {
        MappingKind::Delalloc => {
            return Err(Error::new("direct_read", ErrorKind::NeedsBuffered).at(offset));
        }
        MappingKind::Inline(bytes) => {
            let skip = (offset - mapping.offset).min(bytes.len() as u64) as usize;
            copy_padded(plan.room(size), &bytes[skip..]);
        }
        MappingKind::Hole | MappingKind::Unwritten { .. } => plan.room(size).fill(0),
        MappingKind::Mapped { .. } if mapping.reads_zero() => plan.room(size).fill(0),
        MappingKind::Mapped { addr } => plan.add(*addr + (offset - mapping.offset), size),
    }
    iter.advance(length);
    Ok(())
}

/// The reads of one request.
struct Plan<'a> {
    sector: u64,
    /// The part of the caller's buffer that is not planned yet.
    rest: &'a mut [u8],
    reads: Vec<Read<'a>>,
    bounces: Vec<Bounce<'a>>,
}

/// Whole sectors of which only a part is wanted.
struct Bounce<'a> {
    addr: u64,
    buffer: AlignedBuf,
    skip: usize,
    target: &'a mut [u8],
}

impl<'a> Plan<'a> {
    fn new(sector: u64, buf: &'a mut [u8]) -> Self {
        Self { sector: sector.max(1), rest: buf, reads: Vec::new(), bounces: Vec::new() }
    }

    /// The next `length` bytes of the caller's buffer.
    fn room(&mut self, length: usize) -> &'a mut [u8] {
        let (room, rest) = std::mem::take(&mut self.rest).split_at_mut(length);
        self.rest = rest;
        room
    }

    /// Plans the next `length` bytes from `addr`: a bounce for a head and a tail that are not whole
    /// sectors, a plain read for what lies between.
    fn add(&mut self, addr: u64, length: usize) {
        let end = addr + length as u64;
        let whole = addr.next_multiple_of(self.sector)..end - end % self.sector;
        if whole.is_empty() {
            return self.bounce(addr, length);
        }
        // Parts of `length`.
        self.bounce(addr, (whole.start - addr) as usize);
        let buf = self.room((whole.end - whole.start) as usize);
        self.reads.push(Read { addr: whole.start, buf });
        self.bounce(whole.end, (end - whole.end) as usize);
    }

    fn bounce(&mut self, addr: u64, length: usize) {
        if length == 0 {
            return;
        }
        let start = addr - addr % self.sector;
        let end = (addr + length as u64).next_multiple_of(self.sector);
        // At most the length and two sectors.
        let buffer = AlignedBuf::new_zeroed((end - start) as usize);
        let target = self.room(length);
        self.bounces.push(Bounce { addr: start, buffer, skip: (addr - start) as usize, target });
    }

    /// Reads everything as one batch.
    fn run(mut self, host: &dyn Host) -> std::result::Result<(), crate::DeviceError> {
        {
            let mut reads = self.reads;
            reads.extend(
                self.bounces.iter_mut().map(|b| Read { addr: b.addr, buf: &mut b.buffer[..] }),
            );
            match reads.as_mut_slice() {
                [] => {}
                [one] => host.device().read_at(one.addr, one.buf)?,
                many => host.device().read_batch(many)?,
            }
        }
        for bounce in self.bounces {
            let length = bounce.target.len();
            bounce.target.copy_from_slice(&bounce.buffer[bounce.skip..bounce.skip + length]);
        }
        Ok(())
    }
}
