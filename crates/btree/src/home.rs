//! Where a node is on disk, known once it is written, and the list of addresses to give back.
//!
//! Called by [`crate::tree`]; the protocol that makes every address obsolete exactly once is in
//! that module's header.

use ashlar_format::node::NodePointer;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Cells kept before the first sweep for those that can never be set.
const SWEEP_MIN: usize = 64;

/// Number of dirty nodes in memory, shared by a tree and its snapshots.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauge(Arc<AtomicUsize>);

impl Gauge {
    /// Dirty nodes now. A count alone: it orders nothing, hence relaxed throughout.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn raise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn lower(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Address of a node: empty while the node is dirty, set once, by the checkpoint that writes it.
#[derive(Debug)]
pub(crate) struct HomeCell {
    pointer: OnceLock<NodePointer>,
    gauge: Option<Gauge>,
}

impl HomeCell {
    /// The cell of a node read from `pointer`.
    pub(crate) fn at(pointer: NodePointer) -> Arc<Self> {
        Arc::new(Self { pointer: OnceLock::from(pointer), gauge: None })
    }

    /// The cell of a new dirty node.
    pub(crate) fn dirty(gauge: &Gauge) -> Arc<Self> {
        gauge.raise();
        Arc::new(Self { pointer: OnceLock::new(), gauge: Some(gauge.clone()) })
    }

    /// The address, once the node is at home.
    #[inline]
    pub(crate) fn get(&self) -> Option<NodePointer> {
        self.pointer.get().copied()
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.pointer.get().is_some()
    }

    /// Makes the node clean.
    pub(crate) fn set(&self, pointer: NodePointer) {
        let first = self.pointer.set(pointer).is_ok();
        assert!(first, "one checkpoint at a time writes a node home, once");
        self.leave_gauge();
    }

    /// The node of this cell is gone.
    pub(crate) fn dropped(&self) {
        if !self.is_set() {
            self.leave_gauge();
        }
    }

    fn leave_gauge(&self) {
        if let Some(gauge) = &self.gauge {
            gauge.lower();
        }
    }
}

/// Cells of nodes that are no longer part of the live trees, since the last [`Obsolete::take`].
///
/// One list may serve several trees.
#[derive(Debug, Default)]
pub struct Obsolete {
    cells: Vec<Arc<HomeCell>>,
    sweep_at: usize,
}

impl Obsolete {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves everything out. Call it where the snapshots for a checkpoint are taken, with no
    /// change to a tree in between.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Addresses that the checkpoint of [`Obsolete::take`] no longer needs: they may be reused
    /// once it is durable and every snapshot taken before it is gone. Final when the checkpoint
    /// before it has finished.
    pub fn pointers(&self) -> impl Iterator<Item = NodePointer> + '_ {
        self.cells.iter().filter_map(|cell| cell.get())
    }

    /// Cells held, those that will never be set included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether nothing became obsolete.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    pub(crate) fn push(&mut self, cell: Arc<HomeCell>) {
        if self.cells.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.sweep();
        }
        self.cells.push(cell);
    }

    /// Forgets cells whose node is gone without having been written: nobody is left to set them.
    /// Snapshots that readers take between two checkpoints leave many of those.
    fn sweep(&mut self) {
        // get_mut succeeds only for the last owner, and orders its node's last acts before this.
        self.cells.retain_mut(|cell| Arc::get_mut(cell).is_none_or(|cell| cell.is_set()));
        self.sweep_at = 2 * self.cells.len();
    }
}
