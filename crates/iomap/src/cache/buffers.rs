//! Free buffers of evicted folios, kept for the next folios so that hot paths do not go to the
//! allocator.
//!
//! A taken buffer holds **arbitrary old bytes**: folio invariant F2 is what keeps them from anyone.
//!
//! Locking: one leaf lock per size; nothing is called while it is held.

use std::fmt;
use std::sync::Arc;

use ashlar_device::AlignedBuf;
use parking_lot::Mutex;

use crate::cache::folio::{FOLIO_SIZE_MAX, FOLIO_SIZE_MIN};

/// Sizes from 4 KiB to 64 KiB.
const CLASSES: usize = (FOLIO_SIZE_MAX / FOLIO_SIZE_MIN).trailing_zeros() as usize + 1;

/// Free lists by size.
pub(crate) struct Buffers {
    classes: [Mutex<Vec<Arc<AlignedBuf>>>; CLASSES],
    /// Bytes kept per size at most.
    keep_bytes: usize,
}

impl Buffers {
    /// Keeps at most `keep_bytes` of each size.
    pub(crate) fn new(keep_bytes: usize) -> Self {
        Self { classes: std::array::from_fn(|_| Mutex::default()), keep_bytes }
    }

    fn class(&self, size: usize) -> Option<&Mutex<Vec<Arc<AlignedBuf>>>> {
        let class = (size / FOLIO_SIZE_MIN as usize).checked_ilog2()?;
        self.classes.get(class as usize)
    }

    /// A buffer of `size` bytes that only the caller holds, with arbitrary contents.
    pub(crate) fn take(&self, size: usize) -> Arc<AlignedBuf> {
        let kept = self.class(size).and_then(|class| class.lock().pop());
        kept.unwrap_or_else(|| Arc::new(AlignedBuf::new_zeroed(size)))
    }

    /// Gives a buffer back; it is kept if nobody else holds it and there is room.
    pub(crate) fn give(&self, mut buffer: Arc<AlignedBuf>) {
        if Arc::get_mut(&mut buffer).is_none() {
            return;
        }
        let size = buffer.len();
        if let Some(class) = self.class(size) {
            let mut class = class.lock();
            if (class.len() + 1) * size <= self.keep_bytes {
                class.push(buffer);
            }
        }
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers").field("keep_bytes", &self.keep_bytes).finish_non_exhaustive()
    }
}
