//! What a volume says of itself; its label; telling the device what is free.

use crate::error::{ErrorKind, Result};
use crate::types::{Statfs, VolumeInfo};
use crate::volume::Volume;
use ashlar_format::key::TreeId;
use ashlar_format::limits::{BLOCK_SIZE, LABEL_BYTES_MAX, NAME_BYTES_MAX};
use std::ops::Range;

/// Inodes that fit a block of the inodes tree, names and all, roughly.
const INODES_PER_BLOCK: u64 = 16;

impl Volume {
    /// Space by the counters: exact, but for the trees' own blocks, which come and go.
    #[must_use]
    #[doc(alias = "statvfs")]
    pub fn statfs(&self) -> Statfs {
        let space = self.store.space();
        Statfs {
            blocks: space.total,
            free: space.free,
            available: space.available,
            files: self.store.entry_count(TreeId::Inodes),
            files_free: space.available.saturating_mul(INODES_PER_BLOCK),
            block_size: BLOCK_SIZE as u32,
            name_max: NAME_BYTES_MAX as u32,
        }
    }

    /// Identity and state.
    #[must_use]
    pub fn info(&self) -> VolumeInfo {
        VolumeInfo {
            uuid: self.store.uuid(),
            label: self.label(),
            block_count: self.store.block_count(),
            block_size: BLOCK_SIZE as u32,
            created: self.store.created(),
            read_only: self.is_read_only(),
            recovery: self.recovery,
        }
    }

    /// True when nothing can be changed: mounted so, or made so after a failure.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only || self.frozen_cause.lock().is_some()
    }

    /// The volume's name.
    #[must_use]
    pub fn label(&self) -> String {
        self.store.label()
    }

    /// Names the volume.
    ///
    /// # Errors
    /// `Invalid` (EINVAL) for more than 64 bytes; `ReadOnly`, `Shutdown`, `Io`.
    ///
    /// # Durability
    /// Durable on return.
    pub fn set_label(&self, label: &str) -> Result<()> {
        let op = "set_label";
        self.check_writable().map_err(|error| error.in_op(op))?;
        if label.len() > LABEL_BYTES_MAX || label.contains('\0') {
            return Err(crate::Error::new(ErrorKind::Invalid, op));
        }
        self.store.set_label(label).map_err(|error| crate::Error::from(error).in_op(op))
    }

    /// Tells the device which bytes of `range` are free, in runs of at least `min_length` bytes;
    /// returns how many bytes were told.
    ///
    /// # Errors
    /// `ReadOnly`, `Shutdown`, `Io`.
    #[doc(alias = "FITRIM")]
    pub fn trim(&self, range: Range<u64>, min_length: u64) -> Result<u64> {
        self.check_writable().map_err(|error| error.in_op("trim"))?;
        self.store.trim(range, min_length).map_err(|error| crate::Error::from(error).in_op("trim"))
    }
}
