//! Iteration over entries with the caller in control of the pace.

use super::Root;
use super::read::Reader;
use crate::Result;
use crate::node::{Bounds, Node};
use std::sync::Arc;

/// Lending iterator over the entries of a tree, ascending. It holds its path, not the tree.
pub struct Range<'s> {
    reader: Reader<'s>,
    /// From the root down; empty behind the last entry.
    path: Vec<Step>,
}

struct Step {
    node: Arc<Node>,
    /// Next cell to visit. Of all steps but the last, one behind the cell of the step below.
    next: usize,
}

impl<'s> Range<'s> {
    pub(super) fn new(root: &Root, reader: Reader<'s>, from: &[u8]) -> Result<Self> {
        let mut range = Self { reader, path: Vec::new() };
        let Some(root) = reader.root(root)? else { return Ok(range) };
        let mut node = Arc::clone(&root);
        while node.level() > 0 {
            let next = node.child_index(from);
            range.path.push(Step { node, next });
            node = range.child()?;
            range.advance();
        }
        let next = node.page().search(from).unwrap_or_else(|index| index);
        range.path.push(Step { node, next });
        Ok(range)
    }

    /// The next entry, `None` behind the last.
    ///
    /// # Errors
    /// A node could not be read; calling again tries again.
    pub fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        while let Some(step) = self.path.last() {
            if step.next == step.node.count() {
                self.path.pop();
            } else if step.node.level() > 0 {
                let node = self.child()?;
                self.advance();
                self.path.push(Step { node, next: 0 });
            } else {
                break;
            }
        }
        self.advance();
        Ok(self.path.last().map(|step| {
            let page = step.node.page();
            (page.key(step.next - 1), page.value(step.next - 1))
        }))
    }

    fn advance(&mut self) {
        if let Some(step) = self.path.last_mut() {
            step.next += 1;
        }
    }

    /// The child that the last step comes to next.
    fn child(&self) -> Result<Arc<Node>> {
        let Some((step, above)) = self.path.split_last() else {
            unreachable!("asked with a step on the path")
        };
        let bounds = above
            .iter()
            .fold(Bounds::ALL, |bounds, step| bounds.of_child(step.node.page(), step.next - 1));
        let child = self.reader.child(&step.node, step.next, bounds)?;
        Ok(Arc::clone(&child))
    }
}
