//! A tree with edits: leaves without any stay where they are.
//!
//! ```text
//!   leaves       |  a  |  b  |  c  |  d  |
//!   edits           x           x x
//!   new leaves   |  a' |  b  | c' | c''|  d  |      b and d are kept, inner nodes are new
//! ```

use super::loader::Loader;
use super::writer::{Cell, NodeWriter};
use crate::error::Result;
use crate::replay::Overlay;
use crate::volume::Volume;
use crate::walk::{LeafWalk, RefusedEdges};
use ashlar_format::Corruption;
use ashlar_format::key::{self, TreeId};
use ashlar_format::node::NodeRef;
use ashlar_format::superblock::TreeRoot;
use std::cmp::Ordering;
use std::collections::btree_map;
use std::iter::Peekable;

type Edits<'o> = Peekable<btree_map::Iter<'o, Box<[u8]>, Option<Box<[u8]>>>>;

/// Writes `tree` with the edits of `overlay`; returns its root.
///
/// # Errors
/// Device failures, no space, a leaf that cannot be read any more.
pub(super) fn tree(
    volume: &Volume<'_>,
    refused: &RefusedEdges,
    tree: TreeId,
    overlay: &Overlay,
    writer: &mut NodeWriter<'_>,
) -> Result<Option<TreeRoot>> {
    let mut walk = LeafWalk::new(volume, tree, refused);
    if overlay.is_empty() {
        // Only the count may be wrong.
        let mut count = 0;
        while walk.advance() {
            count += readable(&walk)?.count() as u64;
        }
        return Ok(volume.superblock.roots[tree as usize].map(|root| TreeRoot { count, ..root }));
    }
    let mut loader = Loader::new(writer, tree);
    let mut edits: Edits<'_> = overlay.iter().peekable();
    while walk.advance() {
        let Some((place, _)) = walk.leaf() else { break };
        let node = readable(&walk)?;
        let upper = place.upper.as_deref();
        if edits.peek().is_some_and(|(key, _)| belongs(key, upper)) {
            let cells = merge(Some(node), &mut edits, upper);
            loader.write_leaves(&place.lower, &cells)?;
        } else {
            loader.add_leaf(&place.lower, place.pointer, node.count() as u64)?;
        }
    }
    // Only where the tree was empty.
    let cells = merge(None, &mut edits, None);
    loader.write_leaves(&[], &cells)?;
    loader.finish()
}

/// Writes the orphans tree with these inodes.
///
/// # Errors
/// Device failures, no space.
pub(super) fn orphans(inos: &[u64], writer: &mut NodeWriter<'_>) -> Result<Option<TreeRoot>> {
    let cells: Vec<Cell> =
        inos.iter().map(|ino| (key::inode(*ino).into(), Box::default())).collect();
    let mut loader = Loader::new(writer, TreeId::Orphans);
    loader.write_leaves(&[], &cells)?;
    loader.finish()
}

/// The walk's leaf; it was readable when the passes ran.
fn readable<'w>(walk: &'w LeafWalk<'_>) -> Result<NodeRef<'w>> {
    match walk.leaf() {
        Some((_, Ok(node))) => Ok(node),
        Some((place, Err(problem))) => {
            Err(Corruption::new(walk.tree().node_structure(), place.pointer.block, problem).into())
        }
        None => Err(Corruption::new(walk.tree().node_structure(), 0, "no leaf").into()),
    }
}

fn belongs(key: &[u8], upper: Option<&[u8]>) -> bool {
    upper.is_none_or(|upper| key < upper)
}

/// Entries of a leaf with the edits below `upper`.
fn merge(node: Option<NodeRef<'_>>, edits: &mut Edits<'_>, upper: Option<&[u8]>) -> Vec<Cell> {
    let mut cells = Vec::new();
    let count = node.map_or(0, |node| node.count());
    let mut index = 0;
    loop {
        let edit = edits.peek().filter(|(key, _)| belongs(key, upper)).copied();
        let entry = node.filter(|_| index < count).map(|node| (node.key(index), node.value(index)));
        let order = match (entry, edit) {
            (None, None) => return cells,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((key, _)), Some((edited, _))) => key.cmp(edited),
        };
        if let Some((key, value)) = entry
            && order.is_lt()
        {
            cells.push((key.into(), value.into()));
        }
        if let Some((key, value)) = edit
            && order.is_ge()
        {
            edits.next();
            cells.extend(value.as_ref().map(|value| (key.clone(), value.clone())));
        }
        index += usize::from(order.is_le());
    }
}
