//! Looks up one key of a tree, as it is after replay.

use crate::node_batch::NodeBatch;
use crate::replay::Overlay;
use crate::volume::Volume;
use ashlar_format::Corruption;
use ashlar_format::key::TreeId;
use ashlar_format::node::NodePointer;

/// The value of `key`.
///
/// # Errors
/// A node on the way is damaged.
pub(crate) fn get(
    volume: &Volume<'_>,
    overlay: &Overlay,
    tree: TreeId,
    key: &[u8],
) -> Result<Option<Box<[u8]>>, Corruption> {
    if let Some(value) = overlay.get(key) {
        return Ok(value.clone());
    }
    let Some((mut pointer, level)) = volume.root(tree) else { return Ok(None) };
    for level in (0..=level).rev() {
        let batch = NodeBatch::read(volume, tree, level, &[pointer]);
        let node = batch
            .get(0)
            .map_err(|problem| Corruption::new(tree.node_structure(), pointer.block, problem))?;
        let found = node.search(key);
        if level == 0 {
            return Ok(found.ok().map(|index| node.value(index).into()));
        }
        // The child whose lower bound is the highest one not above the key.
        let index = match found {
            Ok(index) => index,
            Err(index) => index.saturating_sub(1),
        };
        pointer = NodePointer::decode(node.value(index))?;
    }
    Ok(None)
}
