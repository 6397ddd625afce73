//! One node, as it lies on the device.

use crate::error::{Error, Result};
use crate::print::{Key, Pointer, Uuid, Value};
use crate::volume::Volume;
use ashlar_device::AlignedBuf;
use ashlar_format::key::TreeId;
use ashlar_format::limits::BLOCK_BYTES;
use ashlar_format::node::{Expected, MAGIC, NodePointer, NodeRef};
use ashlar_format::{NODE_BLOCKS, NODE_SIZE};
use std::io::Write;

pub(super) fn dump(volume: &Volume<'_>, block: u64, out: &mut dyn Write) -> Result<()> {
    let end = block.checked_add(NODE_BLOCKS);
    if end.is_none_or(|end| end > volume.superblock.block_count) {
        return Err(Error::NotFound { what: format!("a node at block {block}") });
    }
    let mut buf = AlignedBuf::new_zeroed(NODE_SIZE);
    volume.device.read_at(block * BLOCK_BYTES, &mut buf)?;
    let Some(page) = buf.first_chunk::<NODE_SIZE>() else { return Ok(()) };
    let number = |at: usize| page.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let mut checksum = [0; 4];
    checksum.copy_from_slice(&page[4..8]);
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&page[8..24]);
    if page[..4] != MAGIC {
        writeln!(out, "no node: magic {:02x?}", &page[..4])?;
        return Ok(());
    }
    let own = NodePointer {
        block: number(24).unwrap_or(0),
        generation: number(32).unwrap_or(0),
        checksum: u32::from_le_bytes(checksum),
    };
    let level = page[41];
    writeln!(out, "volume {}", Uuid(&uuid))?;
    writeln!(out, "{}", Pointer(own))?;
    let Some(tree) = TreeId::from_code(page[40]) else {
        writeln!(out, "DAMAGED: tree {}", page[40])?;
        return Ok(());
    };
    writeln!(out, "tree {} level {level}", tree.name())?;
    let pointer = NodePointer { block, ..own };
    let expected = Expected { uuid: &volume.superblock.uuid, tree, level, pointer };
    match NodeRef::verify(page, &expected) {
        Ok(node) => cells(node, tree, out),
        Err(damage) => Ok(writeln!(out, "DAMAGED: {}", damage.problem)?),
    }
}

fn cells(node: NodeRef<'_>, tree: TreeId, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "cells {} heap {}", node.count(), node.heap())?;
    for index in 0..node.count() {
        let (key, value) = (node.key(index), node.value(index));
        match NodePointer::decode(value) {
            Ok(child) if node.level() > 0 => {
                writeln!(out, "  {}: {}", Key(tree, key), Pointer(child))?;
            }
            _ => writeln!(out, "  {}: {}", Key(tree, key), Value(tree, value))?,
        }
    }
    Ok(())
}
