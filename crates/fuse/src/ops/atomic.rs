//! Atomic files and the kernel's cache.
//!
//! The page cache stays in use: what a program writes reaches us before FSYNC, and joins the
//! working image; background write-back does too, and commits nothing. fsync(2) and msync(2) hold
//! the kernel's inode lock over write-back and FSYNC, so that a write(2) is in one commit or in the
//! next. Three things need care:
//!
//! | when | what |
//! |---|---|
//! | changes are given up (abort, last close) | the kernel forgets pages and size; dirty pages that it sends on that occasion are dropped |
//! | changes were lost on their way here (no space, too much for a commit) | no commit until they are given up: FSYNC after that would commit half |
//! | somebody else's sync of the volume | commits nothing: the other half may still be in the kernel |
//!
//! ```text
//!   RELEASE, the last ──> settling += file ──> discard ──> fuse-later: forget pages, size
//!   OPEN meanwhile ─────────────────────────────────────> fuse-later: after that
//! ```
//! close(2) does not wait for RELEASE, so an OPEN may overtake it: where changes are waiting to be
//! discarded, OPEN gives RELEASE a moment to arrive.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ashlar_core::Ino;
use parking_lot::Mutex;

use super::{Answer, Outcome, Server, errno};
use crate::handles::OpenFile;
use crate::wire::channel::Channel;
use crate::wire::reply::{Errno, Reply};

/// How long an OPEN waits for a RELEASE that it may have overtaken.
const OVERTAKEN: Duration = Duration::from_millis(1);
const STEP: Duration = Duration::from_micros(50);

/// Files whose changes were given up, and of which the kernel may still cache them.
#[derive(Default)]
pub(crate) struct Settling {
    inodes: Mutex<HashMap<Ino, Phase>>,
    /// How many, to be asked without a lock.
    count: AtomicUsize,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Phase {
    /// The last close: the kernel has nothing dirty, or it is somebody else's.
    Closing,
    /// An abort: what the kernel has dirty is given up, too.
    Aborting,
}

impl Settling {
    pub(crate) fn contains(&self, ino: Ino) -> bool {
        self.phase(ino).is_some()
    }

    /// Whether pages of the file that come from the kernel's cache are to be dropped.
    pub(crate) fn drops_pages(&self, ino: Ino) -> bool {
        self.phase(ino) == Some(Phase::Aborting)
    }

    fn phase(&self, ino: Ino) -> Option<Phase> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.inodes.lock().get(&ino).copied()
    }

    /// True if this call has put it there.
    fn begin(&self, ino: Ino, phase: Phase) -> bool {
        let mut inodes = self.inodes.lock();
        let begun = inodes.insert(ino, phase).is_none();
        self.count.store(inodes.len(), Ordering::Release);
        begun
    }

    fn end(&self, ino: Ino) {
        let mut inodes = self.inodes.lock();
        inodes.remove(&ino);
        self.count.store(inodes.len(), Ordering::Release);
    }
}

impl Server {
    /// Whether a file must not be opened before somebody has looked after its changes.
    pub(super) fn may_be_given_up(&self, ino: Ino) -> bool {
        self.settling.contains(ino) || self.volume.discards_at_close(ino)
    }

    /// Waits for a RELEASE that is on its way, and for the kernel to forget what it discarded.
    pub(super) fn wait_until_settled(&self, channel: &Channel, ino: Ino) {
        let start = Instant::now();
        while !self.settling.contains(ino)
            && self.volume.discards_at_close(ino)
            && start.elapsed() < OVERTAKEN
        {
            sleep(STEP);
        }
        self.settle(channel, ino);
    }

    /// RELEASE of a file that is atomic.
    pub(super) fn release_atomic(&self, handle: u64, open: &OpenFile) -> Outcome {
        let ino = open.ino;
        let spoiled = self.handles.is_spoiled(ino);
        // From before the discard on: who opens the file must not see what is discarded.
        let marked = (spoiled || self.volume.discards_at_close(ino))
            && self.settling.begin(ino, Phase::Closing);
        let discarded = open.file.close_atomic(spoiled);
        let removed = self.handles.remove(handle).map(|_| Reply::Done);
        if !discarded {
            if marked {
                self.settling.end(ino);
            }
            return removed.into();
        }
        // The last close could not commit: it was not to be foreseen.
        self.settling.begin(ino, Phase::Closing);
        Outcome::Later(Box::new(move |server, channel| {
            server.settle(channel, ino);
            removed
        }))
    }

    /// Has the kernel forget what was given up of a file, unless that has been done.
    fn settle(&self, channel: &Channel, ino: Ino) {
        if self.settling.contains(ino) {
            self.forget_pages(channel, ino);
            self.settling.end(ino);
        }
    }

    fn forget_pages(&self, channel: &Channel, ino: Ino) {
        self.handles.unspoil(ino);
        if let Err(error) = channel.invalidate(ino.0, 0) {
            tracing::debug!(%error, %ino, "nothing cached to drop");
            return;
        }
        let Ok(attr) = self.volume.getattr(ino) else { return };
        if let Err(error) = self.inside.correct_size(ino, attr.size) {
            tracing::warn!(%error, %ino, "the kernel keeps the size of what was given up");
        }
    }

    /// Gives the changes of an atomic file up; ends what was begun through this handle.
    pub(super) fn abort(&self, channel: &Channel, open: &OpenFile) -> Result<(), Errno> {
        let ino = open.ino;
        self.settling.begin(ino, Phase::Aborting);
        // What is dirty comes here, and is dropped. First by a call that a killed server does not
        // leave hanging, as it would a notification that waits for pages.
        if let Err(error) = self.inside.write_back(ino) {
            tracing::debug!(%error, %ino, "the mount cannot be reached from inside");
        }
        let forgotten = channel.invalidate(ino.0, 0);
        let aborted = open.file.abort_atomic().map_err(|error| errno(&error));
        if forgotten.is_ok() {
            self.forget_pages(channel, ino);
        }
        self.settling.end(ino);
        aborted
    }

    /// Refuses to commit what is not all there.
    pub(super) fn check_whole(&self, open: &OpenFile) -> Result<(), Errno> {
        if self.handles.is_spoiled(open.ino) && open.file.is_atomic() {
            return Err(Errno::EIO);
        }
        Ok(())
    }

    /// SETATTR by the thread that makes the kernel take over our size.
    pub(super) fn size_as_it_is(&self, ino: Ino) -> Answer {
        let attr = self.volume.getattr(ino).map_err(|error| errno(&error))?;
        Ok(Reply::Attr(self.attr_out(&attr)))
    }
}
