//! mkfs: an empty volume on a device.

use crate::checkpoint::CheckpointState;
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::journal::Journal;
use crate::log::{Log, OpenRecord};
use crate::nodes::Nodes;
use crate::space::Space;
use crate::store::{Live, Parts, Store, dirty_nodes};
use crate::trees::Trees;
use crate::txn::Txn;
use ashlar_btree::Obsolete;
use ashlar_device::{AlignedBuf, Device, Finish, Write};
use ashlar_format::features::Compat;
use ashlar_format::key::{self, TREE_COUNT, TreeId};
use ashlar_format::limits::{
    BLOCK_BYTES, GROUP_BLOCKS_MIN, GROUP_COUNT_MAX, LABEL_BYTES_MAX, LOG_BYTES_MAX, LOG_BYTES_MIN,
    SUPERBLOCK_BLOCKS, VOLUME_BLOCKS_MAX, VOLUME_BYTES_MIN,
};
use ashlar_format::superblock::{LogTail, Superblock};
use std::collections::VecDeque;
use std::sync::Arc;

/// The log gets this share of the volume, within its limits.
const LOG_SHARE: u64 = 64;
/// Bytes written at once when an area is written out.
const FILL_BYTES: u64 = 4 << 20;

/// What a new volume is to be.
#[derive(Debug, Clone, Default)]
pub struct FormatOptions {
    /// Name, at most 64 bytes of UTF-8.
    pub label: String,
    /// Identity; random where not given.
    pub uuid: Option<[u8; 16]>,
    /// Seed of name hashes; random where not given.
    pub hash_seed: Option<u64>,
    /// Seconds since 1970.
    pub created: i64,
    /// Write every block once, so that the host of an image file allocates all of them now.
    pub prealloc: bool,
}

impl Store {
    /// Makes an empty volume that fills the device; whatever was there is lost. `first` adds
    /// what the volume starts with. Durable on return.
    ///
    /// # Errors
    /// [`Error::Size`] for a device below 16 MiB or above 4 EiB, device failures.
    pub fn format(
        device: &Arc<dyn Device>,
        options: &FormatOptions,
        first: impl FnOnce(&mut Txn<'_>),
    ) -> Result<()> {
        let superblock = plan(device.topology().capacity, options)?;
        let geometry = Geometry::of(&superblock, device.topology().sector);
        // The old superblocks go first: a format that is cut short leaves no volume at all.
        fill(&**device, 0..SUPERBLOCK_BLOCKS * BLOCK_BYTES)?;
        device.flush()?;
        let end = if options.prealloc { geometry.block_count } else { geometry.data_start() };
        // An image's log is written out, so that commits never wait for the host to allocate.
        fill(&**device, geometry.log_start * BLOCK_BYTES..end * BLOCK_BYTES)?;
        let store = empty(Arc::clone(device), geometry, superblock)?;
        let mut txn = store.begin();
        first(&mut txn);
        txn.commit()?;
        // Twice, so that both superblock copies are valid.
        store.checkpoint()?;
        store.close()
    }
}

/// Lays the volume out.
fn plan(capacity: u64, options: &FormatOptions) -> Result<Superblock> {
    let block_count = capacity / BLOCK_BYTES;
    if capacity < VOLUME_BYTES_MIN || block_count > VOLUME_BLOCKS_MAX {
        return Err(Error::Size { bytes: capacity });
    }
    let log_bytes = (capacity / LOG_SHARE).clamp(LOG_BYTES_MIN, LOG_BYTES_MAX);
    let group_blocks = block_count.div_ceil(GROUP_COUNT_MAX).next_power_of_two();
    let mut label = options.label.clone();
    while label.len() > LABEL_BYTES_MAX {
        label.pop();
    }
    Ok(Superblock {
        uuid: options.uuid.unwrap_or_else(|| *uuid::Uuid::new_v4().as_bytes()),
        label,
        compat: if options.prealloc { Compat::PREALLOCATED } else { Compat::empty() },
        ro_compat: 0,
        incompat: 0,
        generation: 0,
        block_count,
        group_blocks: group_blocks.max(GROUP_BLOCKS_MIN),
        log_start: SUPERBLOCK_BLOCKS,
        log_blocks: log_bytes / BLOCK_BYTES,
        tail: LogTail::default(),
        clean: false,
        flushed_lsn: 0,
        next_ino: 1,
        hash_seed: options.hash_seed.unwrap_or_else(|| fastrand::u64(..)),
        created: options.created,
        roots: [None; TREE_COUNT],
    })
}

/// A store with nothing but free space, not on the device yet.
fn empty(device: Arc<dyn Device>, geometry: Geometry, superblock: Superblock) -> Result<Store> {
    let nodes = Nodes::new(Arc::clone(&device), geometry.uuid, geometry.block_count, 1 << 20);
    let mut trees = Trees::from_roots(&superblock.roots);
    let mut obsolete = Obsolete::new();
    let free_tree = &mut trees.all_mut()[TreeId::Free as usize];
    let mut group_free = Vec::new();
    for group in 0..geometry.group_count() {
        let range = geometry.group_range(group);
        let start = range.start.max(geometry.data_start());
        let free = range.end.saturating_sub(start);
        let number = u32::try_from(group).unwrap_or(u32::MAX);
        free_tree.put(&nodes, &mut obsolete, &key::group(number), &free.to_le_bytes())?;
        if free > 0 {
            free_tree.put(&nodes, &mut obsolete, &key::free(start), &free.to_le_bytes())?;
        }
        group_free.push(free);
    }
    let space = Arc::new(Space::new(geometry, group_free));
    space.set_dirty_nodes(dirty_nodes(&trees) as u64);
    Ok(Store::assemble(Parts {
        log: Log::new(geometry, 0, LogTail::default(), 0),
        journal: Journal::default(),
        live: Live { trees, obsolete, open: OpenRecord::new(1) },
        checkpoint: CheckpointState { superblock, epochs: VecDeque::new() },
        next_ino: 1,
        read_only: false,
        background: false,
        device,
        geometry,
        nodes,
        space,
    }))
}

/// Writes zeros, really: a hole in an image would be allocated at the worst moment.
fn fill(device: &dyn Device, range: std::ops::Range<u64>) -> Result<()> {
    let zeros = AlignedBuf::new_zeroed(FILL_BYTES.min(range.end - range.start) as usize);
    let mut addr = range.start;
    while addr < range.end {
        let length = (range.end - addr).min(FILL_BYTES) as usize;
        device.submit(&[Write { addr, bytes: &zeros[..length] }], Finish::Nothing)?;
        addr += length as u64;
    }
    Ok(())
}
