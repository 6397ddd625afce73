//! Who may change a node in place, and what that does to its address on disk.
//!
//! The only code that pushes to [`Obsolete`]; the argument is in [`super`].

use crate::home::{Gauge, HomeCell, Obsolete};
use crate::node::Node;
use std::sync::Arc;

/// The writer's right to change nodes.
pub(super) struct Owner<'a> {
    pub(super) obsolete: &'a mut Obsolete,
    pub(super) gauge: &'a Gauge,
}

impl Owner<'_> {
    /// Makes the node in `slot` the writer's own and dirty: a change of it reaches no snapshot
    /// and nothing that is on disk.
    pub(super) fn own<'n>(&mut self, slot: &'n mut Arc<Node>) -> &'n mut Node {
        let node = self.detach(slot);
        if node.home_cell().is_set() {
            self.obsolete.push(node.renew_home(self.gauge));
        }
        node
    }

    /// Makes the node in `slot` the writer's own, and leaves it at home if it is: the copy then
    /// stands for the same node on disk.
    pub(super) fn detach<'n>(&mut self, slot: &'n mut Arc<Node>) -> &'n mut Node {
        if Arc::get_mut(slot).is_none() {
            let mut home = Arc::clone(slot.home_cell());
            if !home.is_set() {
                // A checkpoint may be about to set this cell, for what the node is now.
                self.obsolete.push(home);
                home = HomeCell::dirty(self.gauge);
            }
            *slot = Arc::new(slot.copy(home));
        }
        Arc::get_mut(slot).unwrap_or_else(|| unreachable!("nobody else has the copy"))
    }

    /// Notes that `node` is no longer part of the live tree.
    pub(super) fn retire(&mut self, node: &Node) {
        self.obsolete.push(Arc::clone(node.home_cell()));
    }
}
