//! A volume as it lies on its device: superblock, geometry, single nodes.
//!
//! Called by every pass and by the dump; reads the device, writes nothing.

use crate::error::{Error, Result};
use ashlar_device::{AlignedBuf, Device};
use ashlar_format::key::TreeId;
use ashlar_format::limits::{BLOCK_BYTES, BLOCK_SIZE, GROUP_COUNT_MAX, SUPERBLOCK_BLOCKS};
use ashlar_format::node::{Expected, NodePointer, NodeRef};
use ashlar_format::superblock::{COPY_COUNT, Superblock, newest};
use ashlar_format::{Corruption, NODE_BLOCKS, NODE_SIZE};
use std::ops::Range;

/// Largest volume that is checked, blocks (1 PiB): bounds the maps of owned and free blocks.
pub(crate) const CHECKED_BLOCKS_MAX: u64 = 1 << 38;

/// Most nodes read in one go.
pub(crate) const BATCH_NODES: usize = 256;
/// Longest single read, bytes.
const READ_BYTES_MAX: usize = 1 << 20;

/// A volume, open for reading.
#[derive(Debug)]
pub(crate) struct Volume<'a> {
    pub(crate) device: &'a dyn Device,
    pub(crate) superblock: Superblock,
    /// What is wrong with the superblock copy that does not count, if anything.
    pub(crate) damaged_copy: Option<Corruption>,
}

impl<'a> Volume<'a> {
    /// Reads both superblock copies.
    ///
    /// # Errors
    /// No valid copy, unknown incompat features, a volume that passes its device's end or the
    /// limits of this check.
    pub(crate) fn open(device: &'a dyn Device) -> Result<Self> {
        let copies = read_copies(device)?;
        let damaged_copy = match &copies {
            [Ok(_), Err(damage)] | [Err(damage), Ok(_)] => Some(damage.clone()),
            [Err(first), Err(second)] => {
                let (first, second) = (first.problem.clone(), second.problem.clone());
                return Err(Error::NoSuperblock { first, second });
            }
            [Ok(_), Ok(_)] => None,
        };
        let superblock = newest(copies)?;
        let (_, _, bits) = superblock.unknown_features();
        if bits != 0 {
            return Err(Error::Unsupported { bits });
        }
        let device_blocks = device.topology().capacity / BLOCK_BYTES;
        if superblock.block_count > device_blocks {
            let blocks = superblock.block_count;
            return Err(Error::Truncated { blocks, device: device_blocks });
        }
        if superblock.block_count > CHECKED_BLOCKS_MAX || superblock.group_count() > GROUP_COUNT_MAX
        {
            return Err(Error::TooLarge {
                blocks: superblock.block_count,
                groups: superblock.group_count(),
                blocks_max: CHECKED_BLOCKS_MAX,
                groups_max: GROUP_COUNT_MAX,
            });
        }
        Ok(Self { device, superblock, damaged_copy })
    }

    /// Blocks that files and nodes may use.
    pub(crate) fn data_range(&self) -> Range<u64> {
        self.superblock.data_start()..self.superblock.block_count
    }

    /// True when the run is not empty and lies in the area that files and nodes use.
    pub(crate) fn holds(&self, block: u64, count: u64) -> bool {
        let data = self.data_range();
        count > 0
            && block >= data.start
            && block.checked_add(count).is_some_and(|end| end <= data.end)
    }

    /// Allocation group of a block.
    pub(crate) fn group_of(&self, block: u64) -> u64 {
        block / self.superblock.group_blocks
    }

    /// Blocks of a group, cut by the volume's end. `group` must be one of the volume's.
    pub(crate) fn group_range(&self, group: u64) -> Range<u64> {
        let start = group * self.superblock.group_blocks;
        start..start.saturating_add(self.superblock.group_blocks).min(self.superblock.block_count)
    }

    /// Bytes of the log.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.superblock.log_blocks * BLOCK_BYTES
    }

    /// Root of a tree with its level, or `None` for an empty tree.
    pub(crate) fn root(&self, tree: TreeId) -> Option<(NodePointer, u8)> {
        let root = self.superblock.roots.get(tree as usize).copied().flatten()?;
        Some((root.pointer, root.level))
    }

    /// Reads and verifies nodes of one level, neighbours on the device in one read.
    pub(crate) fn read_nodes(&self, tree: TreeId, level: u8, wanted: &[NodePointer]) -> NodeBatch {
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_unstable_by_key(|index| wanted[*index].block);
        let mut batch = NodeBatch { bufs: Vec::new(), nodes: vec![Slot::default(); wanted.len()] };
        let mut rest = order.as_slice();
        while let Some(&first) = rest.first() {
            let length = adjacent(wanted, rest);
            let (run, behind) = rest.split_at(length);
            rest = behind;
            if self.holds(wanted[first].block, NODE_BLOCKS) {
                self.read_run(wanted, run, &mut batch);
            }
        }
        for (slot, pointer) in batch.nodes.iter_mut().zip(wanted) {
            let expected = Expected { uuid: &self.superblock.uuid, tree, level, pointer: *pointer };
            slot.verify(&batch.bufs, &expected, self.superblock.generation);
        }
        batch
    }

    /// Reads a run of neighbours; one by one where the device fails, to lose as few as possible.
    fn read_run(&self, wanted: &[NodePointer], run: &[usize], batch: &mut NodeBatch) {
        let Some(&first) = run.first() else { return };
        let last_block = run.last().map_or(0, |last| wanted[*last].block);
        let count = run.len();
        if !self.holds(last_block, NODE_BLOCKS) {
            return self.read_apart(wanted, run, batch);
        }
        let mut buf = AlignedBuf::new_zeroed(count * NODE_SIZE);
        let addr = wanted[first].block * BLOCK_BYTES;
        match self.device.read_at(addr, &mut buf) {
            Ok(()) => {
                let number = batch.bufs.len();
                batch.bufs.push(buf);
                for (position, index) in run.iter().enumerate() {
                    batch.nodes[*index].place = Some((number, position * NODE_SIZE));
                }
            }
            Err(error) if count == 1 => batch.nodes[first].problem = Some(error.to_string()),
            Err(_) => self.read_apart(wanted, run, batch),
        }
    }

    fn read_apart(&self, wanted: &[NodePointer], run: &[usize], batch: &mut NodeBatch) {
        for index in run {
            if self.holds(wanted[*index].block, NODE_BLOCKS) {
                self.read_run(wanted, &[*index], batch);
            }
        }
    }
}

/// Both copies as they decode.
pub(crate) fn read_copies(
    device: &dyn Device,
) -> Result<[ashlar_format::Result<Superblock>; COPY_COUNT as usize]> {
    let bytes = BLOCK_SIZE * SUPERBLOCK_BLOCKS as usize;
    if device.topology().capacity < bytes as u64 {
        let problem = format!("a device of {} bytes", device.topology().capacity);
        return Err(Error::NoSuperblock { first: problem.clone(), second: problem });
    }
    let mut buf = AlignedBuf::new_zeroed(bytes);
    device.read_at(0, &mut buf)?;
    let (first, second) = buf.split_at(BLOCK_SIZE);
    Ok([Superblock::decode(0, first), Superblock::decode(1, second)])
}

/// How many of the nodes at the front of `order` lie one behind the other.
fn adjacent(wanted: &[NodePointer], order: &[usize]) -> usize {
    let most = (READ_BYTES_MAX / NODE_SIZE).min(order.len());
    let follows = |pair: &[usize]| {
        wanted[pair[0]].block.checked_add(NODE_BLOCKS) == Some(wanted[pair[1]].block)
    };
    1 + order[..most].windows(2).take_while(|pair| follows(pair)).count()
}

/// Nodes read together.
#[derive(Debug)]
pub(crate) struct NodeBatch {
    bufs: Vec<AlignedBuf>,
    nodes: Vec<Slot>,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    place: Option<(usize, usize)>,
    problem: Option<String>,
}

impl NodeBatch {
    /// The node that `wanted[index]` pointed to, or what is wrong with it.
    pub(crate) fn get(&self, index: usize) -> std::result::Result<NodeRef<'_>, &str> {
        self.page(index).map(NodeRef::new)
    }

    /// Its bytes.
    pub(crate) fn page(&self, index: usize) -> std::result::Result<&[u8; NODE_SIZE], &str> {
        let outside = "its address is outside the volume";
        let Some(slot) = self.nodes.get(index) else { return Err(outside) };
        match (&slot.problem, slot.page(&self.bufs)) {
            (Some(problem), _) => Err(problem),
            (None, Some(page)) => Ok(page),
            (None, None) => Err(outside),
        }
    }
}

impl Slot {
    fn page<'b>(&self, bufs: &'b [AlignedBuf]) -> Option<&'b [u8; NODE_SIZE]> {
        let (buf, offset) = self.place?;
        bufs.get(buf)?.get(offset..)?.first_chunk()
    }

    fn verify(&mut self, bufs: &[AlignedBuf], expected: &Expected<'_>, generation: u64) {
        let Some(page) = self.page(bufs) else { return };
        if let Err(damage) = NodeRef::verify(page, expected) {
            self.problem = Some(damage.problem);
        } else if expected.pointer.generation > generation {
            let own = expected.pointer.generation;
            self.problem = Some(format!("generation {own}, the superblock's is {generation}"));
        }
    }
}
