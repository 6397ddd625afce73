//! The server as a client of its own mount.
//!
//! Some of what atomic files need, only a system call on the mount can do: have the kernel write
//! its dirty pages without forgetting the clean ones, under the lock that keeps a write(2) whole;
//! and correct the size of a file, of which the kernel, caching writes, is the master. So a thread
//! opens the file like any program, by a name in the root directory that exists for that thread
//! only, and only for as long as it takes.
//!
//! ```text
//!   fuse-later ──ask──> fuse-inside ── open("MOUNT/.ashlar-inside-17") ──> kernel ──> worker
//! ```
//!
//! Invariants
//! (I1) The thread has a descriptor table of its own, without `/dev/fuse`. When the server is
//!      killed amid a call of the thread, the kernel then sees the connection end and ends the call;
//!      otherwise the one would wait for the other for ever.
//! (I2) Workers never wait for the thread, since it waits for them.
//!
//! When the mount cannot be reached by its path (lazily unmounted, or something else is mounted
//! over it), callers do with notifications, which forget clean pages too.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use ashlar_core::Ino;
use parking_lot::Mutex;

use crate::sys;
use crate::wire::abi::InHeader;

const PREFIX: &str = ".ashlar-inside-";

type Work = Box<dyn FnOnce(&Path) -> io::Result<()> + Send>;

/// Access to the mount for one thread.
pub(crate) struct Inside {
    mountpoint: PathBuf,
    /// Kernel's number of the thread; zero while there is none.
    thread: AtomicU32,
    /// The inode whose name exists now; zero for none.
    named: AtomicU64,
    queue: Mutex<Option<Sender<Task>>>,
    /// The thread takes it.
    tasks: Mutex<Option<Receiver<Task>>>,
}

struct Task {
    ino: Ino,
    work: Work,
    done: Sender<io::Result<()>>,
}

impl Inside {
    pub(crate) fn new(mountpoint: PathBuf) -> Inside {
        let (sender, tasks) = channel();
        Inside {
            mountpoint,
            thread: AtomicU32::new(0),
            named: AtomicU64::new(0),
            queue: Mutex::new(Some(sender)),
            tasks: Mutex::new(Some(tasks)),
        }
    }

    /// The thread's life: does what is asked for until [`Inside::close`].
    pub(crate) fn run(&self) {
        let Some(tasks) = self.tasks.lock().take() else { return };
        if let Err(error) = sys::leave_descriptors() {
            tracing::warn!(%error, "atomic files do with forgetting cached pages");
            return;
        }
        let thread = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        self.thread.store(thread, Ordering::Release);
        for Task { ino, work, done } in tasks {
            let path = self.mountpoint.join(format!("{PREFIX}{ino}"));
            self.named.store(ino.0, Ordering::Release);
            let result = work(&path);
            self.named.store(0, Ordering::Release);
            // The kernel looks the name up again, and forgets it: it must not keep the inode.
            let _ = std::fs::symlink_metadata(&path);
            // Whoever asked waits for this.
            let _ = done.send(result);
        }
    }

    /// The session has ended: so does the thread.
    pub(crate) fn close(&self) {
        *self.queue.lock() = None;
    }

    /// Whether a request was made by the thread.
    pub(crate) fn is_caller(&self, header: &InHeader) -> bool {
        header.pid != 0 && header.pid == self.thread.load(Ordering::Acquire)
    }

    /// The inode that a name stands for now.
    pub(crate) fn target(&self, name: &[u8]) -> Option<Ino> {
        let ino = number(name)?;
        (self.named.load(Ordering::Acquire) == ino).then_some(Ino(ino))
    }

    /// Has the kernel send its dirty pages of a file. Nothing becomes durable by that, and nothing
    /// is forgotten.
    ///
    /// # Errors
    /// The operating system's: of opening the file, or of writing its pages.
    pub(crate) fn write_back(&self, ino: Ino) -> io::Result<()> {
        self.ask(ino, Box::new(|path| File::open(path).and_then(|f| sys::write_back_pages(&f))))
    }

    /// fsync(2): the kernel sends its dirty pages, then FSYNC, and no write(2) comes in between.
    ///
    /// # Errors
    /// As [`Inside::write_back`], and what FSYNC is answered.
    pub(crate) fn sync(&self, ino: Ino) -> io::Result<()> {
        self.ask(ino, Box::new(|path| File::open(path).and_then(|file| file.sync_all())))
    }

    /// Makes the kernel take over the size of the file as we have it.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn correct_size(&self, ino: Ino, size: u64) -> io::Result<()> {
        let correct = move |path: &Path| match std::fs::symlink_metadata(path) {
            Ok(found) if found.len() == size => Ok(()),
            // The answer to SETATTR, not this number, becomes the kernel's size.
            Ok(_) => sys::truncate(path, size),
            Err(error) => Err(error),
        };
        self.ask(ino, Box::new(correct))
    }

    fn ask(&self, ino: Ino, work: Work) -> io::Result<()> {
        let gone = || io::Error::from_raw_os_error(libc::ENOTCONN);
        let queue = self.queue.lock().clone().ok_or_else(gone)?;
        let (done, result) = channel();
        queue.send(Task { ino, work, done }).map_err(|_| gone())?;
        drop(queue);
        result.recv().map_err(|_| gone())?
    }
}

/// The inode number in a name of ours.
fn number(name: &[u8]) -> Option<u64> {
    let number = name.strip_prefix(PREFIX.as_bytes())?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_exists_while_it_is_used() {
        let inside = Inside::new(PathBuf::from("/mnt"));
        assert_eq!(inside.target(b".ashlar-inside-17"), None);
        inside.named.store(17, Ordering::Release);
        assert_eq!(inside.target(b".ashlar-inside-17"), Some(Ino(17)));
        assert_eq!(inside.target(b".ashlar-inside-18"), None);
        assert_eq!(inside.target(b"17"), None);
    }
}
