//! WRITE: write-back from the page cache, direct and synchronous writes.
//!
//! Durability of `O_SYNC` and `O_DSYNC` writes: through the page cache the kernel sends an FSYNC
//! after them. It does not for files that we opened with `FOPEN_DIRECT_IO`, and kernels before
//! 7.45 do not for every path: then the write itself is made durable.
//!
//! Writing to a program file ends its capabilities. The kernel leaves that to us
//! (`HANDLE_KILLPRIV_V2`), and looking for the attribute on every write would cost as much as it
//! saved: a handle remembers that there was none, until somebody sets one on any file (the
//! epoch).
//!
//! ```text
//!   WRITE:    e = epoch          SETXATTR security.capability:
//!             attribute? no        store it
//!             handle.seen = e      epoch += 1       (after storing: a WRITE that missed it
//!                                                    has remembered the old epoch)
//! ```

use std::sync::atomic::Ordering;

use ashlar_core::{Caller, Ino, WriteFlags};

use super::{Answer, Server, errno};
use crate::handles::OpenFile;
use crate::wire::abi::{WriteIn, WriteRequest};
use crate::wire::reply::{Errno, Reply};

/// Extended attribute that holds a program's capabilities.
pub(super) const CAPABILITY: &[u8] = b"security.capability";
/// From here on the kernel follows every synchronous cached write with FSYNC.
const SYNCS_BY_ITSELF: u32 = 45;

impl Server {
    pub(super) fn write(&self, arguments: &WriteIn, data: &[u8]) -> Answer {
        let open = self.handles.get(arguments.fh)?;
        if !open.writable {
            return Err(Errno::EBADF);
        }
        if is_write_back(arguments) && self.settling.drops_pages(open.ino) {
            // Part of what was given up.
            return Ok(Reply::written(data.len()));
        }
        self.drop_capability_once(&open)?;
        let flags = self.write_flags(&open, arguments);
        let result = open.file.write_at(arguments.offset, data, flags);
        let count = result.map_err(|error| {
            let errno = errno(&error);
            if is_write_back(arguments) {
                self.note_lost(&open, errno);
            }
            errno
        })?;
        if count < data.len() && is_write_back(arguments) {
            self.note_lost(&open, Errno::ENOSPC);
        }
        Ok(Reply::written(count))
    }

    /// The kernel had accepted data that we could not take.
    fn note_lost(&self, open: &OpenFile, errno: Errno) {
        if errno == Errno::ENOSPC {
            self.handles.note_full(open.ino);
        }
        if open.file.is_atomic() {
            self.handles.spoil(open.ino);
        }
    }

    fn write_flags(&self, open: &OpenFile, arguments: &WriteIn) -> WriteFlags {
        let request = WriteRequest::from_bits_retain(arguments.write_flags);
        let ours = open.direct || self.agreement.minor < SYNCS_BY_ITSELF;
        let ours = ours && !is_write_back(arguments);
        let has = |bits| ours && arguments.flags as i32 & bits == bits;
        WriteFlags {
            dsync: has(libc::O_DSYNC),
            sync: open.sync || has(libc::O_SYNC),
            kill_suid_gid: request.contains(WriteRequest::KILL_SUIDGID),
            cached: is_write_back(arguments),
            ..WriteFlags::default()
        }
    }

    /// [`Server::drop_capability`], if it may be needed for this handle.
    pub(super) fn drop_capability_once(&self, open: &OpenFile) -> Result<(), Errno> {
        let epoch = self.capability_epoch.load(Ordering::Acquire);
        if open.no_capability_at.load(Ordering::Relaxed) != epoch {
            self.drop_capability(open.ino)?;
            open.no_capability_at.store(epoch, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Removes a file's capabilities, if it has any.
    pub(super) fn drop_capability(&self, ino: Ino) -> Result<(), Errno> {
        match self.volume.getxattr(ino, CAPABILITY) {
            Ok(_) => {}
            Err(error) if error.errno() == libc::ENODATA => return Ok(()),
            Err(error) => return Err(errno(&error)),
        }
        match self.volume.removexattr(&Caller::root(), ino, CAPABILITY) {
            Err(error) if error.errno() != libc::ENODATA => Err(errno(&error)),
            _ => Ok(()),
        }
    }
}

/// Whether the data comes from the page cache, some time after a program wrote it.
fn is_write_back(arguments: &WriteIn) -> bool {
    WriteRequest::from_bits_retain(arguments.write_flags).contains(WriteRequest::CACHE)
}
