//! B+tree nodes: a header, a slot array growing up, and cells growing down.
//!
//! ```text
//! OFFSET  SIZE  FIELD
//!      0     4  magic       "ANOD"
//!      4     4  checksum    CRC-32C of the node with this field zero; the parent holds it too
//!      8    16  uuid        of the volume
//!     24     8  block       own first block: tells a misdirected write
//!     32     8  generation  checkpoint that wrote the node: tells a lost write
//!     40     1  tree
//!     41     1  level       0 leaf
//!     42     2  count       cells
//!     44     2  heap        offset of the lowest cell
//!     46    18  reserved    zero
//!     64   2×n  slots       offset of each cell, in key order
//!   heap     -  cells       key length 2, value length 2, key, value
//! ```
//!
//! The value of a cell in an inner node is a child pointer:
//!
//! ```text
//! OFFSET  SIZE  FIELD
//!      0     8  block       child's first block
//!      8     8  generation  child's generation
//!     16     4  checksum    child's checksum
//!     20     4  reserved    zero
//! ```
//!
//! The key of a child's cell is a lower bound of all keys below it; the first key of an inner node
//! is empty.

use crate::checksum::crc32c_without;
use crate::key::TreeId;
use crate::limits::{KEY_BYTES_MAX, NODE_SIZE, VALUE_BYTES_MAX};
use crate::{Corruption, Result};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of a node.
pub const MAGIC: [u8; 4] = *b"ANOD";
/// Bytes of a node's header.
pub const HEADER_BYTES: usize = size_of::<RawHeader>();
/// Bytes of a slot.
pub const SLOT_BYTES: usize = 2;
/// Bytes of a cell besides key and value.
pub const CELL_HEADER_BYTES: usize = 4;
/// Bytes of the largest cell.
pub const CELL_BYTES_MAX: usize = CELL_HEADER_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX;
/// Bytes of a child pointer.
pub const POINTER_BYTES: usize = size_of::<RawPointer>();
/// Deepest tree: three cells in each inner node still hold more than any volume's blocks.
pub const LEVEL_MAX: u8 = 40;

const CHECKSUM_AT: usize = 4;

/// On-disk node header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawHeader {
    magic: [u8; 4],
    checksum: U32,
    uuid: [u8; 16],
    block: U64,
    generation: U64,
    tree: u8,
    level: u8,
    count: U16,
    heap: U16,
    reserved: [u8; 18],
}
const _: () = assert!(HEADER_BYTES == 64);

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawPointer {
    block: U64,
    generation: U64,
    checksum: U32,
    reserved: [u8; 4],
}
const _: () = assert!(POINTER_BYTES == 24);

/// Where a node is, and what proves that it is the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodePointer {
    /// First block.
    pub block: u64,
    /// Checkpoint that wrote it.
    pub generation: u64,
    /// Its checksum.
    pub checksum: u32,
}

impl NodePointer {
    /// The pointer's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; POINTER_BYTES] {
        let raw = RawPointer {
            block: self.block.into(),
            generation: self.generation.into(),
            checksum: self.checksum.into(),
            reserved: [0; 4],
        };
        let mut bytes = [0; POINTER_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Decodes the value of an inner node's cell.
    ///
    /// # Errors
    /// [`Corruption`] when the length is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let raw = RawPointer::read_from_bytes(bytes).map_err(|_| {
            Corruption::new("child pointer", 0, format!("{} bytes long", bytes.len()))
        })?;
        Ok(Self {
            block: raw.block.get(),
            generation: raw.generation.get(),
            checksum: raw.checksum.get(),
        })
    }
}

/// What a reader knows about a node before it reads it.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Volume.
    pub uuid: &'a [u8; 16],
    /// Tree.
    pub tree: TreeId,
    /// Level, where known: the root's comes from the superblock, a child's from its parent.
    pub level: u8,
    /// Pointer that led here.
    pub pointer: NodePointer,
}

/// Identity stamped on a node when it is written.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// Volume.
    pub uuid: &'a [u8; 16],
    /// Own first block.
    pub block: u64,
    /// Checkpoint that writes it.
    pub generation: u64,
}

/// The bytes of a node, read access. Accessors trust the structure: make sure that it was
/// [verified](NodeRef::verify) or built here.
#[derive(Debug, Clone, Copy)]
pub struct NodeRef<'a> {
    bytes: &'a [u8; NODE_SIZE],
}

impl<'a> NodeRef<'a> {
    /// Views bytes whose structure is known to be sound.
    #[must_use]
    pub fn new(bytes: &'a [u8; NODE_SIZE]) -> Self {
        Self { bytes }
    }

    /// Verifies bytes read from a device: checksum, identity, slots, cells, key order.
    ///
    /// # Errors
    /// [`Corruption`] naming the tree, the block and what is wrong.
    pub fn verify(bytes: &'a [u8; NODE_SIZE], expected: &Expected<'_>) -> Result<Self> {
        let node = Self { bytes };
        node.verify_identity(expected)?;
        node.verify_cells(expected)?;
        Ok(node)
    }

    fn verify_identity(&self, expected: &Expected<'_>) -> Result<()> {
        let pointer = expected.pointer;
        let bad = |problem: String| {
            Err(Corruption::new(expected.tree.node_structure(), pointer.block, problem))
        };
        let header = self.header();
        let sum = crc32c_without(self.bytes, CHECKSUM_AT);
        if header.magic != MAGIC {
            return bad(format!("magic {:02x?}", header.magic));
        }
        if sum != header.checksum.get() || sum != pointer.checksum {
            let (own, parent) = (header.checksum.get(), pointer.checksum);
            return bad(format!("checksum {sum:#010x}, own {own:#010x}, parent's {parent:#010x}"));
        }
        if header.uuid != *expected.uuid {
            return bad("it belongs to another volume".into());
        }
        if header.block.get() != pointer.block || header.generation.get() != pointer.generation {
            let (block, generation) = (header.block.get(), header.generation.get());
            return bad(format!(
                "it says block {block} generation {generation}, expected generation {}",
                pointer.generation
            ));
        }
        if header.tree != expected.tree as u8 || header.level != expected.level {
            return bad(format!(
                "tree {} level {}, expected level {}",
                header.tree, header.level, expected.level
            ));
        }
        Ok(())
    }

    fn verify_cells(&self, expected: &Expected<'_>) -> Result<()> {
        let bad = |problem: String| {
            let block = expected.pointer.block;
            Err(Corruption::new(expected.tree.node_structure(), block, problem))
        };
        let header = self.header();
        let (count, heap) = (usize::from(header.count.get()), usize::from(header.heap.get()));
        if heap > NODE_SIZE || HEADER_BYTES + count * SLOT_BYTES > heap {
            return bad(format!("{count} cells with the heap at {heap}"));
        }
        let mut previous: Option<&[u8]> = None;
        for index in 0..count {
            let at = self.slot(index);
            let Some(cell) = self.bytes.get(at..).filter(|_| at >= heap) else {
                return bad(format!("cell {index} at {at}, heap at {heap}"));
            };
            let Some((key, value)) = split_cell(cell) else {
                return bad(format!("cell {index} at {at} passes the end"));
            };
            if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
                return bad(format!("cell {index}: key {}, value {}", key.len(), value.len()));
            }
            if header.level > 0 && value.len() != POINTER_BYTES {
                return bad(format!("child pointer {index} is {} bytes long", value.len()));
            }
            if previous.is_some_and(|previous| previous >= key) {
                return bad(format!("key {index} is not above the one before it"));
            }
            previous = Some(key);
        }
        if header.level > 0 && count == 0 {
            return bad("inner node without children".into());
        }
        Ok(())
    }

    fn header(&self) -> &'a RawHeader {
        // A prefix of a fixed-size array that is longer than the header always casts.
        RawHeader::ref_from_prefix(self.bytes).map_or_else(|_| unreachable!(), |(header, _)| header)
    }

    /// Cells.
    #[inline]
    #[must_use]
    pub fn count(&self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[42], self.bytes[43]]))
    }

    /// Level, 0 for a leaf.
    #[inline]
    #[must_use]
    pub fn level(&self) -> u8 {
        self.bytes[41]
    }

    /// Offset of the lowest cell.
    #[inline]
    #[must_use]
    pub fn heap(&self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[44], self.bytes[45]]))
    }

    /// Generation that wrote the node.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.header().generation.get()
    }

    /// Offset of cell `index`.
    #[inline]
    #[must_use]
    pub fn slot(&self, index: usize) -> usize {
        let at = HEADER_BYTES + index * SLOT_BYTES;
        usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]))
    }

    /// Key of cell `index`.
    #[inline]
    #[must_use]
    pub fn key(&self, index: usize) -> &'a [u8] {
        let at = self.slot(index);
        let length = usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]));
        &self.bytes[at + CELL_HEADER_BYTES..at + CELL_HEADER_BYTES + length]
    }

    /// Value of cell `index`.
    #[inline]
    #[must_use]
    pub fn value(&self, index: usize) -> &'a [u8] {
        let at = self.slot(index);
        let key = usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]));
        let value = usize::from(u16::from_le_bytes([self.bytes[at + 2], self.bytes[at + 3]]));
        let start = at + CELL_HEADER_BYTES + key;
        &self.bytes[start..start + value]
    }

    /// Bytes of cell `index`, header included.
    #[must_use]
    pub fn cell_bytes(&self, index: usize) -> usize {
        CELL_HEADER_BYTES + self.key(index).len() + self.value(index).len()
    }

    /// First cell whose key is not below `key`: `Ok` when equal, `Err` where it would stand.
    ///
    /// # Errors
    /// The `Err` side is the insertion point, as in [`slice::binary_search`].
    pub fn search(&self, key: &[u8]) -> std::result::Result<usize, usize> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = (low + high) / 2;
            match self.key(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }
}

fn split_cell(cell: &[u8]) -> Option<(&[u8], &[u8])> {
    let (lengths, body) = cell.split_first_chunk::<CELL_HEADER_BYTES>()?;
    let key = usize::from(u16::from_le_bytes([lengths[0], lengths[1]]));
    let value = usize::from(u16::from_le_bytes([lengths[2], lengths[3]]));
    let body = body.get(..key + value)?;
    Some(body.split_at(key))
}

/// Writes the header of an empty node; the rest of `bytes` must be zero.
pub fn format_empty(bytes: &mut [u8; NODE_SIZE], tree: TreeId, level: u8) {
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[40] = tree as u8;
    bytes[41] = level;
    bytes[42..44].copy_from_slice(&0u16.to_le_bytes());
    bytes[44..46].copy_from_slice(&(NODE_SIZE as u16).to_le_bytes());
}

/// Stamps identity and checksum on a node about to be written; returns what its parent keeps.
pub fn seal(bytes: &mut [u8; NODE_SIZE], stamp: &Stamp<'_>) -> NodePointer {
    bytes[8..24].copy_from_slice(stamp.uuid);
    bytes[24..32].copy_from_slice(&stamp.block.to_le_bytes());
    bytes[32..40].copy_from_slice(&stamp.generation.to_le_bytes());
    let checksum = crc32c_without(bytes, CHECKSUM_AT);
    bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
    NodePointer { block: stamp.block, generation: stamp.generation, checksum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node_with(cells: &[(&[u8], &[u8])]) -> Box<[u8; NODE_SIZE]> {
        let mut bytes = Box::new([0; NODE_SIZE]);
        format_empty(&mut bytes, TreeId::Names, 0);
        let mut heap = NODE_SIZE;
        for (index, (key, value)) in cells.iter().enumerate() {
            heap -= CELL_HEADER_BYTES + key.len() + value.len();
            bytes[heap..heap + 2].copy_from_slice(&(key.len() as u16).to_le_bytes());
            bytes[heap + 2..heap + 4].copy_from_slice(&(value.len() as u16).to_le_bytes());
            bytes[heap + 4..][..key.len()].copy_from_slice(key);
            bytes[heap + 4 + key.len()..][..value.len()].copy_from_slice(value);
            let slot = HEADER_BYTES + index * SLOT_BYTES;
            bytes[slot..slot + 2].copy_from_slice(&(heap as u16).to_le_bytes());
        }
        bytes[42..44].copy_from_slice(&(cells.len() as u16).to_le_bytes());
        bytes[44..46].copy_from_slice(&(heap as u16).to_le_bytes());
        bytes
    }

    const UUID: [u8; 16] = [7; 16];

    fn verify(bytes: &[u8; NODE_SIZE], pointer: NodePointer) -> Result<()> {
        let expected = Expected { uuid: &UUID, tree: TreeId::Names, level: 0, pointer };
        NodeRef::verify(bytes, &expected).map(|_| ())
    }

    #[test]
    fn sealed_node_verifies_and_is_searched() {
        let mut bytes = node_with(&[(b"a", b"1"), (b"c", b"3")]);
        let pointer = seal(&mut bytes, &Stamp { uuid: &UUID, block: 20, generation: 3 });
        assert_eq!(verify(&bytes, pointer), Ok(()));
        let node = NodeRef::new(&bytes);
        assert_eq!(node.search(b"c"), Ok(1));
        assert_eq!(node.search(b"b"), Err(1));
        assert_eq!(node.value(1), b"3");
    }

    #[test]
    fn any_flipped_bit_is_detected() {
        let mut bytes = node_with(&[(b"a", b"1"), (b"c", b"3")]);
        let pointer = seal(&mut bytes, &Stamp { uuid: &UUID, block: 20, generation: 3 });
        for bit in (0..NODE_SIZE * 8).step_by(37) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&bytes, pointer).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn misplaced_node_is_detected() {
        let mut bytes = node_with(&[(b"a", b"1")]);
        let pointer = seal(&mut bytes, &Stamp { uuid: &UUID, block: 20, generation: 3 });
        assert!(verify(&bytes, NodePointer { block: 24, ..pointer }).is_err());
        assert!(verify(&bytes, NodePointer { generation: 4, ..pointer }).is_err());
    }

    #[test]
    fn hostile_structure_with_valid_checksum_is_refused() {
        for (at, value) in [(42, 0xffff_u16), (44, 0), (64, 0xffff), (64, 10), (66, 16383)] {
            let mut bytes = node_with(&[(b"a", b"1"), (b"c", b"3")]);
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
            let pointer = seal(&mut bytes, &Stamp { uuid: &UUID, block: 20, generation: 3 });
            assert!(verify(&bytes, pointer).is_err(), "{value} at {at}");
        }
        let mut unsorted = node_with(&[(b"c", b"1"), (b"a", b"3")]);
        let pointer = seal(&mut unsorted, &Stamp { uuid: &UUID, block: 20, generation: 3 });
        assert!(verify(&unsorted, pointer).is_err());
    }
}
