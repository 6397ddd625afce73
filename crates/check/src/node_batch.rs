//! Reads tree nodes, many at once: neighbours on the device in one read, all reads in one batch.
//!
//! Called by everything that walks trees. Where the device fails, nodes are read one by one, so
//! that no more is lost than must be.

use crate::volume::Volume;
use ashlar_device::{AlignedBuf, Read};
use ashlar_format::key::TreeId;
use ashlar_format::limits::BLOCK_BYTES;
use ashlar_format::node::{Expected, NodePointer, NodeRef};
use ashlar_format::{NODE_BLOCKS, NODE_SIZE};

/// Most nodes that callers read in one go (4 MiB).
pub(crate) const BATCH_NODES: usize = 256;
/// Longest single read, bytes.
const READ_BYTES_MAX: usize = 1 << 20;

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

/// Nodes, by position among those wanted, that lie one behind the other.
type Run<'o> = &'o [usize];

impl NodeBatch {
    /// Reads and verifies nodes of one level.
    pub(crate) fn read(
        volume: &Volume<'_>,
        tree: TreeId,
        level: u8,
        wanted: &[NodePointer],
    ) -> Self {
        let mut order: Vec<usize> = (0..wanted.len())
            .filter(|index| volume.holds(wanted[*index].block, NODE_BLOCKS))
            .collect();
        order.sort_unstable_by_key(|index| wanted[*index].block);
        let mut runs: Vec<Run<'_>> = Vec::new();
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let (run, behind) = rest.split_at(adjacent(wanted, rest));
            runs.push(run);
            rest = behind;
        }
        let mut batch = Self { bufs: Vec::new(), nodes: vec![Slot::default(); wanted.len()] };
        if batch.fill(volume, wanted, &runs).is_err() {
            for index in &order {
                let alone = [*index];
                if let Err(error) = batch.fill(volume, wanted, &[&alone]) {
                    batch.nodes[*index].problem = Some(error.to_string());
                }
            }
        }
        for (slot, pointer) in batch.nodes.iter_mut().zip(wanted) {
            let uuid = &volume.superblock.uuid;
            let expected = Expected { uuid, tree, level, pointer: *pointer };
            slot.verify(&batch.bufs, &expected, volume.superblock.generation);
        }
        batch
    }

    /// Reads runs, all or none.
    fn fill(
        &mut self,
        volume: &Volume<'_>,
        wanted: &[NodePointer],
        runs: &[Run<'_>],
    ) -> ashlar_device::Result<()> {
        let mut bufs: Vec<AlignedBuf> =
            runs.iter().map(|run| AlignedBuf::new_zeroed(run.len() * NODE_SIZE)).collect();
        let mut reads: Vec<Read<'_>> = runs
            .iter()
            .zip(&mut bufs)
            .filter_map(|(run, buf)| {
                let addr = wanted[*run.first()?].block * BLOCK_BYTES;
                Some(Read { addr, buf })
            })
            .collect();
        volume.device.read_batch(&mut reads)?;
        for (run, buf) in runs.iter().zip(bufs) {
            let number = self.bufs.len();
            self.bufs.push(buf);
            for (position, index) in run.iter().enumerate() {
                self.nodes[*index].place = Some((number, position * NODE_SIZE));
            }
        }
        Ok(())
    }

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

/// How many of the nodes at the front of `order` lie one behind the other.
fn adjacent(wanted: &[NodePointer], order: &[usize]) -> usize {
    let most = (READ_BYTES_MAX / NODE_SIZE).min(order.len());
    let follows = |pair: &[usize]| {
        wanted[pair[0]].block.checked_add(NODE_BLOCKS) == Some(wanted[pair[1]].block)
    };
    1 + order[..most].windows(2).take_while(|pair| follows(pair)).count()
}
