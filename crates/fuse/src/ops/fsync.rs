//! FSYNC, FSYNCDIR and SYNCFS.

use super::{Answer, Server, errno};
use crate::wire::abi::{FSYNC_DATASYNC, FsyncIn};
use crate::wire::reply::{Errno, Reply};

impl Server {
    /// The kernel has written back the file's pages and its times before this.
    pub(super) fn fsync(&self, arguments: &FsyncIn) -> Answer {
        let open = self.handles.get(arguments.fh)?;
        self.check_whole(&open)?;
        let data_only = arguments.fsync_flags & FSYNC_DATASYNC != 0;
        open.file.fsync(data_only).map_err(|error| errno(&error))?;
        Ok(Reply::Done)
    }

    /// Names live in the log, in order: a directory is durable when the log is.
    pub(super) fn fsyncdir(&self) -> Answer {
        self.sync_volume()?;
        Ok(Reply::Done)
    }

    /// Sent on `fuseblk` mounts only; plain FUSE mounts rely on the log's own timer.
    pub(super) fn syncfs(&self) -> Answer {
        self.sync_volume()?;
        Ok(Reply::Done)
    }

    /// Makes everything answered so far durable; not what waits for the commit of an atomic file,
    /// for whoever asks for this does not know whether it is all here.
    pub(super) fn sync_volume(&self) -> Result<(), Errno> {
        self.volume.sync_committed().map_err(|error| errno(&error))
    }
}
