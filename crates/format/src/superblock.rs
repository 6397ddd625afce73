//! The superblock: who the volume is, where its trees and its log start.
//!
//! Two copies in blocks 0 and 1; generation G is written to copy G mod 2, so that a torn write
//! leaves the other. One copy is one 512-byte sector, which devices write whole; the rest of the
//! block is zero, and so are the places where other file systems keep their magic.
//!
//! ```text
//! OFFSET  SIZE  FIELD
//!      0     8  magic             "ASHLARFS"
//!      8     4  checksum          CRC-32C of the 512 bytes with this field zero
//!     12     4  version           1
//!     16    16  uuid
//!     32    64  label             UTF-8, zero-padded
//!     96     8  compat
//!    104     8  ro_compat
//!    112     8  incompat
//!    120     8  generation        of the checkpoint
//!    128     8  block_count       blocks of the volume
//!    136     4  block_size        4096
//!    140     4  node_size         16384
//!    144     8  group_blocks      blocks of an allocation group
//!    152     8  log_start         first block of the log
//!    160     8  log_blocks        blocks of the log
//!    168     8  tail_position     where replay starts: bytes appended to the log before it
//!    176     8  tail_lsn          last LSN that the checkpoint contains
//!    184     4  tail_checksum     checksum of that record
//!    188     4  state             1: unmounted cleanly
//!    192     8  flushed_lsn       records up to here are known flushed
//!    200     8  next_ino          no inode number at or above it was ever used
//!    208     8  hash_seed         of name hashes
//!    216     8  created           seconds since 1970
//!    224   256  roots             eight of 32 bytes, one a tree, the last unused
//!    480    32  reserved          zero
//! ```
//!
//! A root:
//!
//! ```text
//! OFFSET  SIZE  FIELD
//!      0    24  pointer           to the root node, as in an inner node; block 0: empty tree
//!     24     1  level             of the root node
//!     25     7  count             entries of the tree, 56 bits
//! ```

use crate::checksum::crc32c_without;
use crate::features::{COMPAT_KNOWN, Compat, FORMAT_VERSION, Incompat, RoCompat};
use crate::key::TREE_COUNT;
use crate::limits::{
    BLOCK_SIZE, GROUP_BLOCKS_MIN, LABEL_BYTES_MAX, LOG_BYTES_MIN, NODE_SIZE, SUPERBLOCK_BLOCKS,
    VOLUME_BLOCKS_MAX,
};
use crate::node::{LEVEL_MAX, NodePointer, POINTER_BYTES};
use crate::{Corruption, Result};
use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of a volume.
pub const MAGIC: [u8; 8] = *b"ASHLARFS";
/// Bytes of a superblock copy.
pub const SUPERBLOCK_BYTES: usize = size_of::<RawSuperblock>();
/// Number of copies.
pub const COPY_COUNT: u64 = 2;

const CHECKSUM_AT: usize = 8;
const STATE_CLEAN: u32 = 1;
const ROOT_BYTES: usize = 32;
const ROOT_SLOTS: usize = 8;

/// On-disk superblock.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSuperblock {
    magic: [u8; 8],
    checksum: U32,
    version: U32,
    uuid: [u8; 16],
    label: [u8; LABEL_BYTES_MAX],
    compat: U64,
    ro_compat: U64,
    incompat: U64,
    generation: U64,
    block_count: U64,
    block_size: U32,
    node_size: U32,
    group_blocks: U64,
    log_start: U64,
    log_blocks: U64,
    tail_position: U64,
    tail_lsn: U64,
    tail_checksum: U32,
    state: U32,
    flushed_lsn: U64,
    next_ino: U64,
    hash_seed: U64,
    created: I64,
    roots: [[u8; ROOT_BYTES]; ROOT_SLOTS],
    reserved: [u8; 32],
}
const _: () = assert!(SUPERBLOCK_BYTES == 512);

/// Root of a tree as a checkpoint left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeRoot {
    /// The root node.
    pub pointer: NodePointer,
    /// Its level.
    pub level: u8,
    /// Entries of the tree.
    pub count: u64,
}

/// Where replay of the log starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogTail {
    /// Bytes appended to the log before this point, ever; modulo the log's size, the offset.
    pub position: u64,
    /// LSN of the last record in front of it.
    pub lsn: u64,
    /// Checksum of that record.
    pub checksum: u32,
}

/// A verified superblock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Identity of the volume.
    pub uuid: [u8; 16],
    /// Name given by its owner.
    pub label: String,
    /// Features.
    pub compat: Compat,
    /// Features, raw: unknown bits allow reading only.
    pub ro_compat: u64,
    /// Features, raw: unknown bits forbid mounting.
    pub incompat: u64,
    /// Checkpoint.
    pub generation: u64,
    /// Blocks of the volume.
    pub block_count: u64,
    /// Blocks of an allocation group.
    pub group_blocks: u64,
    /// First block of the log.
    pub log_start: u64,
    /// Blocks of the log.
    pub log_blocks: u64,
    /// Where replay starts.
    pub tail: LogTail,
    /// Unmounted cleanly: nothing to replay.
    pub clean: bool,
    /// Records up to here are known flushed.
    pub flushed_lsn: u64,
    /// Next inode number.
    pub next_ino: u64,
    /// Seed of name hashes.
    pub hash_seed: u64,
    /// When the volume was made, seconds since 1970.
    pub created: i64,
    /// Roots by [`crate::key::TreeId`]; `None` for an empty tree.
    pub roots: [Option<TreeRoot>; TREE_COUNT],
}

impl Superblock {
    /// Which copy this generation is written to.
    #[must_use]
    pub fn copy_block(&self) -> u64 {
        self.generation % COPY_COUNT
    }

    /// First block behind the log.
    #[must_use]
    pub fn data_start(&self) -> u64 {
        self.log_start + self.log_blocks
    }

    /// Number of allocation groups.
    #[must_use]
    pub fn group_count(&self) -> u64 {
        self.block_count.div_ceil(self.group_blocks)
    }

    /// The copy's bytes, checksum included.
    #[must_use]
    pub fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        let mut label = [0; LABEL_BYTES_MAX];
        let length = self.label.len().min(LABEL_BYTES_MAX);
        label[..length].copy_from_slice(&self.label.as_bytes()[..length]);
        let mut roots = [[0; ROOT_BYTES]; ROOT_SLOTS];
        for (raw, root) in roots.iter_mut().zip(&self.roots) {
            if let Some(root) = root {
                raw[..POINTER_BYTES].copy_from_slice(&root.pointer.encode());
                raw[24..].copy_from_slice(&(root.count << 8 | u64::from(root.level)).to_le_bytes());
            }
        }
        let raw = RawSuperblock {
            magic: MAGIC,
            checksum: 0.into(),
            version: FORMAT_VERSION.into(),
            uuid: self.uuid,
            label,
            compat: self.compat.bits().into(),
            ro_compat: self.ro_compat.into(),
            incompat: self.incompat.into(),
            generation: self.generation.into(),
            block_count: self.block_count.into(),
            block_size: (BLOCK_SIZE as u32).into(),
            node_size: (NODE_SIZE as u32).into(),
            group_blocks: self.group_blocks.into(),
            log_start: self.log_start.into(),
            log_blocks: self.log_blocks.into(),
            tail_position: self.tail.position.into(),
            tail_lsn: self.tail.lsn.into(),
            tail_checksum: self.tail.checksum.into(),
            state: if self.clean { STATE_CLEAN } else { 0 }.into(),
            flushed_lsn: self.flushed_lsn.into(),
            next_ino: self.next_ino.into(),
            hash_seed: self.hash_seed.into(),
            created: self.created.into(),
            roots,
            reserved: [0; 32],
        };
        let mut bytes = [0; SUPERBLOCK_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        let checksum = crc32c_without(&bytes, CHECKSUM_AT);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Decodes and verifies copy `copy`.
    ///
    /// # Errors
    /// [`Corruption`] when it is not an Ashlar superblock, is damaged, or describes a volume
    /// that cannot be. Unknown features are not an error here: see [`Self::unknown_features`].
    pub fn decode(copy: u64, bytes: &[u8]) -> Result<Self> {
        let bad = |problem: String| Corruption::new("superblock", copy, problem);
        let (raw, _) = RawSuperblock::read_from_prefix(bytes)
            .map_err(|_| bad(format!("{} bytes long", bytes.len())))?;
        if raw.magic != MAGIC {
            return Err(bad("not an Ashlar volume (no magic)".into()));
        }
        let sum = crc32c_without(raw.as_bytes(), CHECKSUM_AT);
        if sum != raw.checksum.get() {
            return Err(bad(format!("checksum {sum:#010x}, expected {:#010x}", raw.checksum)));
        }
        if raw.version.get() != FORMAT_VERSION {
            return Err(bad(format!("format version {}, this is {FORMAT_VERSION}", raw.version)));
        }
        let label = raw.label.split(|byte| *byte == 0).next().unwrap_or_default();
        let superblock = Self {
            uuid: raw.uuid,
            label: String::from_utf8_lossy(label).into_owned(),
            compat: Compat::from_bits_retain(raw.compat.get()),
            ro_compat: raw.ro_compat.get(),
            incompat: raw.incompat.get(),
            generation: raw.generation.get(),
            block_count: raw.block_count.get(),
            group_blocks: raw.group_blocks.get(),
            log_start: raw.log_start.get(),
            log_blocks: raw.log_blocks.get(),
            tail: LogTail {
                position: raw.tail_position.get(),
                lsn: raw.tail_lsn.get(),
                checksum: raw.tail_checksum.get(),
            },
            clean: raw.state.get() & STATE_CLEAN != 0,
            flushed_lsn: raw.flushed_lsn.get(),
            next_ino: raw.next_ino.get(),
            hash_seed: raw.hash_seed.get(),
            created: raw.created.get(),
            roots: decode_roots(copy, &raw)?,
        };
        if raw.block_size.get() != BLOCK_SIZE as u32 || raw.node_size.get() != NODE_SIZE as u32 {
            return Err(bad(format!("block size {}, node size {}", raw.block_size, raw.node_size)));
        }
        superblock.check_geometry(copy)?;
        Ok(superblock)
    }

    fn check_geometry(&self, copy: u64) -> Result<()> {
        let log_fits = self
            .log_start
            .checked_add(self.log_blocks)
            .is_some_and(|end| end < self.block_count && self.block_count <= VOLUME_BLOCKS_MAX);
        let log_sound = self.log_start >= SUPERBLOCK_BLOCKS
            && self.log_blocks >= LOG_BYTES_MIN / BLOCK_SIZE as u64;
        if !log_fits || !log_sound || self.group_blocks < GROUP_BLOCKS_MIN {
            return Err(Corruption::new(
                "superblock",
                copy,
                format!(
                    "{} blocks in groups of {}, log of {} at {}",
                    self.block_count, self.group_blocks, self.log_blocks, self.log_start
                ),
            ));
        }
        Ok(())
    }

    /// Feature bits that this code does not know: (compat, ro_compat, incompat).
    #[must_use]
    pub fn unknown_features(&self) -> (u64, u64, u64) {
        (
            self.compat.bits() & !COMPAT_KNOWN.bits(),
            self.ro_compat & !(RoCompat::empty() | crate::features::RO_COMPAT_KNOWN).bits(),
            self.incompat & !(Incompat::empty() | crate::features::INCOMPAT_KNOWN).bits(),
        )
    }
}

fn decode_roots(copy: u64, raw: &RawSuperblock) -> Result<[Option<TreeRoot>; TREE_COUNT]> {
    let mut roots = [None; TREE_COUNT];
    for (root, bytes) in roots.iter_mut().zip(&raw.roots) {
        let pointer = NodePointer::decode(&bytes[..POINTER_BYTES])?;
        let mut tail = [0; 8];
        tail.copy_from_slice(&bytes[24..]);
        let tail = u64::from_le_bytes(tail);
        let level = tail.to_le_bytes()[0];
        if level > LEVEL_MAX {
            return Err(Corruption::new("superblock", copy, format!("a tree {level} levels deep")));
        }
        if pointer.block != 0 {
            *root = Some(TreeRoot { pointer, level, count: tail >> 8 });
        }
    }
    Ok(roots)
}

/// Chooses between what the two copies decoded to: the newer valid one.
///
/// # Errors
/// The first copy's [`Corruption`] when neither is valid.
pub fn newest(copies: [Result<Superblock>; 2]) -> Result<Superblock> {
    match copies {
        [Ok(a), Ok(b)] => Ok(if a.generation >= b.generation { a } else { b }),
        [Ok(one), Err(_)] | [Err(_), Ok(one)] => Ok(one),
        [Err(first), Err(_)] => Err(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Superblock {
        let pointer = NodePointer { block: 900, generation: 4, checksum: 77 };
        let mut roots = [None; TREE_COUNT];
        roots[0] = Some(TreeRoot { pointer, level: 2, count: 1 << 40 });
        Superblock {
            uuid: [3; 16],
            label: "stones".into(),
            compat: Compat::PREALLOCATED,
            ro_compat: 0,
            incompat: 0,
            generation: 5,
            block_count: 1 << 20,
            group_blocks: GROUP_BLOCKS_MIN,
            log_start: 2,
            log_blocks: 2048,
            tail: LogTail { position: 1 << 33, lsn: 12, checksum: 5 },
            clean: true,
            flushed_lsn: 12,
            next_ino: 99,
            hash_seed: 1,
            created: -1,
            roots,
        }
    }

    #[test]
    fn superblock_survives_encoding() {
        assert_eq!(Superblock::decode(1, &sample().encode()), Ok(sample()));
    }

    #[test]
    fn any_flipped_bit_is_detected() {
        let bytes = sample().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(0, &damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn impossible_geometry_is_refused() {
        for change in [
            |s: &mut Superblock| s.log_blocks = u64::MAX,
            |s: &mut Superblock| s.log_start = 0,
            |s: &mut Superblock| s.group_blocks = 0,
            |s: &mut Superblock| s.block_count = u64::MAX,
        ] {
            let mut superblock = sample();
            change(&mut superblock);
            assert!(Superblock::decode(0, &superblock.encode()).is_err());
        }
    }

    #[test]
    fn newest_valid_copy_wins() {
        let older = Superblock { generation: 4, ..sample() };
        let damaged = || Err(Corruption::new("superblock", 0, "x"));
        assert_eq!(newest([Ok(older.clone()), Ok(sample())]), Ok(sample()));
        assert_eq!(newest([Ok(older.clone()), damaged()]), Ok(older));
        assert!(newest([damaged(), damaged()]).is_err());
    }
}
