//! The server as a client of its own mount.
//!
//! Some of what atomic files need, only a system call on the mount can do: have the kernel write
//! its dirty pages without forgetting the clean ones, under the lock that keeps a write(2) whole;
//! and correct the size of a file, of which the kernel, caching writes, is the master. So the
//! thread `fuse-later` opens the file like any program, by a name in the root directory that
//! exists for that thread only.
//!
//! ```text
//!   fuse-later ── open("MOUNT/.ashlar-inside-17") ──> kernel ── LOOKUP by that thread ──> worker
//! ```
//!
//! Invariant: only that thread comes in, since it waits for workers, and a worker never waits for
//! it. When the mount cannot be reached by its path (lazily unmounted, or something else is
//! mounted over it), callers do with notifications, which forget clean pages too.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use ashlar_core::Ino;

use crate::sys;
use crate::wire::abi::InHeader;
use crate::wire::channel::Channel;

const PREFIX: &str = ".ashlar-inside-";

/// Access to the mount for one thread.
pub(crate) struct Inside {
    mountpoint: PathBuf,
    /// Kernel's number of the thread; zero until it has started.
    thread: AtomicU32,
}

impl Inside {
    pub(crate) fn new(mountpoint: PathBuf) -> Inside {
        Inside { mountpoint, thread: AtomicU32::new(0) }
    }

    /// The calling thread is the one that comes in.
    pub(crate) fn enter(&self) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        self.thread.store(thread, Ordering::Release);
    }

    /// Whether a request was made by that thread.
    pub(crate) fn is_caller(&self, header: &InHeader) -> bool {
        header.pid != 0 && header.pid == self.thread.load(Ordering::Acquire)
    }

    /// The inode that a name of ours stands for.
    pub(crate) fn target(name: &[u8]) -> Option<Ino> {
        let number = name.strip_prefix(PREFIX.as_bytes())?;
        std::str::from_utf8(number).ok()?.parse().ok().map(Ino)
    }

    /// Has the kernel send its dirty pages of a file. Nothing becomes durable by that, and nothing
    /// is forgotten.
    ///
    /// # Errors
    /// The operating system's: of opening the file, or of writing its pages.
    pub(crate) fn write_back(&self, channel: &Channel, ino: Ino) -> io::Result<()> {
        self.with_file(channel, ino, sys::write_back_pages)
    }

    /// fsync(2): the kernel sends its dirty pages, then FSYNC, and no write(2) comes in between.
    ///
    /// # Errors
    /// As [`Inside::write_back`], and what FSYNC is answered.
    pub(crate) fn sync(&self, channel: &Channel, ino: Ino) -> io::Result<()> {
        self.with_file(channel, ino, File::sync_all)
    }

    /// Makes the kernel take over the size of the file as we have it.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn correct_size(&self, channel: &Channel, ino: Ino, size: u64) -> io::Result<()> {
        let path = self.path(ino);
        let corrected = match std::fs::symlink_metadata(&path) {
            Ok(found) if found.len() == size => Ok(()),
            // The answer to SETATTR, not this number, becomes the kernel's size.
            Ok(_) => sys::truncate(&path, size),
            Err(error) => Err(error),
        };
        self.forget_name(channel, ino);
        corrected
    }

    fn with_file(
        &self,
        channel: &Channel,
        ino: Ino,
        work: fn(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let done = File::open(self.path(ino)).and_then(|file| work(&file));
        self.forget_name(channel, ino);
        done
    }

    fn path(&self, ino: Ino) -> PathBuf {
        self.mountpoint.join(format!("{PREFIX}{ino}"))
    }

    /// The name must not keep the inode in the kernel's cache.
    fn forget_name(&self, channel: &Channel, ino: Ino) {
        let name = format!("{PREFIX}{ino}");
        if let Err(error) = channel.invalidate_name(Ino::ROOT.0, name.as_bytes()) {
            tracing::debug!(%error, %ino, "the kernel does not know the name");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_leads_to_its_inode() {
        assert_eq!(Inside::target(b".ashlar-inside-17"), Some(Ino(17)));
        assert_eq!(Inside::target(b".ashlar-inside-"), None);
        assert_eq!(Inside::target(b"17"), None);
    }
}
