//! What a checkpoint does with a tree: write the dirty nodes home, then let go of them.

use super::own::Owner;
use super::{Root, Tree};
use crate::home::HomeCell;
use crate::node::Node;
use crate::page::{set_pointer, zeroed};
use crate::{NodeCache, Result};
use ashlar_format::NODE_SIZE;
use ashlar_format::node::NodePointer;
use ashlar_format::superblock::TreeRoot;
use std::sync::Arc;

type Write<'w> = &'w mut dyn FnMut(u8, &mut [u8; NODE_SIZE]) -> Result<NodePointer>;

/// See [`Tree::write_home`].
pub(super) fn write_home(tree: &Tree, write: Write<'_>) -> Result<Option<TreeRoot>> {
    let (pointer, level) = match &tree.root {
        Root::Empty => return Ok(None),
        Root::Home { pointer, level } => (*pointer, *level),
        Root::Held(root) => {
            let mut written = Vec::new();
            let pointer = write_node(root, write, &mut written)?;
            // Children come first, so that no node is ever at home before what is below it.
            for (cell, pointer) in written {
                cell.set(pointer);
            }
            (pointer, root.level())
        }
    };
    Ok(Some(TreeRoot { pointer, level, count: tree.count }))
}

fn write_node<'n>(
    node: &'n Node,
    write: Write<'_>,
    written: &mut Vec<(&'n HomeCell, NodePointer)>,
) -> Result<NodePointer> {
    if let Some(pointer) = node.home() {
        return Ok(pointer);
    }
    let mut bytes = zeroed();
    node.page().pack_into(&mut bytes);
    for index in 0..node.count() {
        if let Some(child) = node.held(index) {
            let pointer = write_node(child, write, written)?;
            set_pointer(&mut bytes, index, &pointer);
        }
    }
    let pointer = write(node.level(), &mut bytes)?;
    written.push((node.home_cell(), pointer));
    Ok(pointer)
}

/// See [`Tree::unpin`].
pub(super) fn unpin(root: &mut Root, cache: &NodeCache, mut owner: Owner<'_>) {
    if let Root::Held(node) = root {
        unpin_below(node, cache, &mut owner);
    }
}

/// Lets the node in `slot` hold only dirty children, and those likewise.
fn unpin_below(slot: &mut Arc<Node>, cache: &NodeCache, owner: &mut Owner<'_>) {
    // A node that holds none is left alone even when it is shared: it need not be copied.
    if !slot.holds_any() {
        return;
    }
    let node = owner.detach(slot);
    for index in 0..node.count() {
        let Some(child) = node.held_mut(index) else { continue };
        unpin_below(child, cache, owner);
        if let Some(child) = node.release(index) {
            cache.insert(child);
        }
    }
    node.trim();
}
