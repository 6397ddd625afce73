//! Stopping a volume at once: by command, or after a bug was noticed.

use crate::error::{ErrorKind, Result};
use crate::types::ShutdownMode;
use crate::volume::Volume;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Volume {
    /// Stops the volume: every later call fails with EIO, and nothing more is written. What was not
    /// made durable is lost, as by a power cut; the next mount recovers.
    ///
    /// # Errors
    /// What the flush that the mode asks for returns; the volume is stopped all the same.
    #[doc(alias = "XFS_IOC_GOINGDOWN")]
    pub fn shutdown(&self, mode: ShutdownMode) -> Result<()> {
        let op = "shutdown";
        self.check_open().map_err(|error| error.in_op(op))?;
        let flushed = match mode {
            ShutdownMode::FlushLogAndData if !self.is_read_only() => {
                // As an unmount: nobody will finish what is not committed.
                self.settle_images();
                self.sync()
            }
            ShutdownMode::FlushLog if !self.is_read_only() => self.sync_log(),
            _ => Ok(()),
        };
        self.store.shut_down("shutdown was asked for");
        self.closed.store(true, Ordering::Release);
        flushed.map_err(|error| error.in_op(op))
    }

    /// Makes the volume read-only for good: nothing is written any more, reading goes on. For whoever
    /// notices that something is wrong with this program itself, such as a panic in a request: what
    /// is on the device was right a moment ago.
    pub fn force_read_only(&self, cause: String) {
        let mut kept = self.frozen_cause.lock();
        if kept.is_none() {
            self.store.shut_down(&cause);
            *kept = Some(Arc::from(cause));
        }
    }

    /// Refuses operations on an immutable file, and on an append-only one where it is not appended
    /// to.
    pub(crate) fn not_permitted(ino: crate::Ino) -> crate::Error {
        crate::Error::from(ErrorKind::NotPermitted).at(ino)
    }
}
