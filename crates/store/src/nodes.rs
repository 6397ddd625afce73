//! Reads tree nodes from the device through the node cache.

use crate::error::Error;
use ashlar_btree::{Node, NodeCache, NodeSource};
use ashlar_device::{AlignedBuf, Device};
use ashlar_format::key::TreeId;
use ashlar_format::limits::{BLOCK_BYTES, NODE_SIZE};
use ashlar_format::node::{Expected, NodePointer};
use std::sync::Arc;

/// The trees' view of the device.
pub(crate) struct Nodes {
    device: Arc<dyn Device>,
    uuid: [u8; 16],
    block_count: u64,
    pub(crate) cache: NodeCache,
}

impl Nodes {
    pub(crate) fn new(
        device: Arc<dyn Device>,
        uuid: [u8; 16],
        block_count: u64,
        cache_bytes: usize,
    ) -> Self {
        Self { device, uuid, block_count, cache: NodeCache::new(cache_bytes) }
    }

    fn read_from_device(
        &self,
        tree: TreeId,
        level: u8,
        pointer: NodePointer,
    ) -> Result<Node, ashlar_btree::Error> {
        let outside = || {
            let problem = format!("pointer outside the volume of {} blocks", self.block_count);
            ashlar_format::Corruption::new(tree.node_structure(), pointer.block, problem)
        };
        let end = pointer.block.checked_add(ashlar_format::NODE_BLOCKS);
        if end.is_none_or(|end| end > self.block_count) {
            return Err(outside().into());
        }
        let mut buf = AlignedBuf::new_zeroed(NODE_SIZE);
        self.device
            .read_at(pointer.block * BLOCK_BYTES, &mut buf)
            .map_err(|error| ashlar_btree::Error::Io(Box::new(Error::from(error))))?;
        let mut page = Box::new([0; NODE_SIZE]);
        page.copy_from_slice(&buf);
        Node::verified(page, &Expected { uuid: &self.uuid, tree, level, pointer })
    }
}

impl NodeSource for Nodes {
    fn read(
        &self,
        tree: TreeId,
        level: u8,
        pointer: NodePointer,
    ) -> Result<Arc<Node>, ashlar_btree::Error> {
        if let Some(node) = self.cache.get(&pointer) {
            return Ok(node);
        }
        let node = Arc::new(self.read_from_device(tree, level, pointer)?);
        self.cache.insert(Arc::clone(&node));
        Ok(node)
    }
}
