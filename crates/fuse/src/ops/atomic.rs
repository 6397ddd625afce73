//! Atomic files and the kernel's cache.
//!
//! The page cache stays in use: what a program writes reaches us before FSYNC, and joins the
//! working image; background write-back does too, and commits nothing. fsync(2) and msync(2) hold
//! the kernel's inode lock over write-back and FSYNC, so that a write(2) is in one commit or in the
//! next. Three things need care:
//!
//! | when | what |
//! |---|---|
//! | changes are given up | the kernel forgets pages and size; what it sends then is dropped |
//! | changes were lost on their way here | no commit until they are given up: it would be half |
//! | somebody else's sync of the volume | no commit: the other half may be in the kernel |
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
const OVERTAKEN: Duration = Duration::from_millis(5);
const STEP: Duration = Duration::from_micros(50);

/// Files whose changes were given up, and of which the kernel may still cache them.
#[derive(Default)]
pub(crate) struct Settling {
    inodes: Mutex<HashMap<Ino, Mark>>,
    /// How many, to be asked without a lock.
    count: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Mark {
    phase: Phase,
    /// Requests that have set it.
    count: u32,
    /// Those of them that have not decided yet whether to discard.
    undecided: u32,
    /// Changes were discarded, and the kernel has not forgotten them.
    forget: bool,
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
        self.mark(ino).is_some()
    }

    /// Whether somebody is about to discard changes, and has not said yet that they are gone.
    fn is_pending(&self, ino: Ino) -> bool {
        self.mark(ino).is_some_and(|mark| mark.undecided > 0)
    }

    fn note_discard(&self, ino: Ino) {
        if let Some(mark) = self.inodes.lock().get_mut(&ino) {
            mark.undecided -= 1;
            mark.forget = true;
        }
    }

    fn note_nothing(&self, ino: Ino) {
        if let Some(mark) = self.inodes.lock().get_mut(&ino) {
            mark.undecided -= 1;
        }
        self.end(ino);
    }

    /// Whether the kernel is to forget what was discarded; from now on it is being done.
    fn take_forget(&self, ino: Ino) -> bool {
        self.inodes.lock().get_mut(&ino).is_some_and(|mark| std::mem::take(&mut mark.forget))
    }

    /// Whether pages of the file that come from the kernel's cache are to be dropped.
    pub(crate) fn drops_pages(&self, ino: Ino) -> bool {
        self.mark(ino).is_some_and(|mark| mark.phase == Phase::Aborting)
    }

    fn mark(&self, ino: Ino) -> Option<Mark> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.inodes.lock().get(&ino).copied()
    }

    fn begin(&self, ino: Ino, phase: Phase) {
        let mut inodes = self.inodes.lock();
        let mark =
            inodes.entry(ino).or_insert(Mark { phase, count: 0, undecided: 0, forget: false });
        mark.phase = phase;
        mark.count += 1;
        mark.undecided += u32::from(phase == Phase::Closing);
        self.count.store(inodes.len(), Ordering::Release);
    }

    fn end(&self, ino: Ino) {
        let mut inodes = self.inodes.lock();
        if let Some(mark) = inodes.get_mut(&ino) {
            mark.phase = Phase::Closing;
            mark.count -= 1;
            if mark.count == 0 {
                inodes.remove(&ino);
            }
        }
        self.count.store(inodes.len(), Ordering::Release);
    }
}

impl Server {
    /// Whether a file must not be opened before somebody has looked after its changes.
    pub(super) fn may_be_given_up(&self, ino: Ino) -> bool {
        // In this order: what is discarded between the two questions was marked before.
        self.volume.discards_at_close(ino) || self.settling.contains(ino)
    }

    /// Waits for a RELEASE that is on its way, and for the kernel to forget what it discarded.
    pub(super) fn wait_until_settled(&self, channel: &Channel, ino: Ino) {
        let start = Instant::now();
        // A marked file is being looked after by a worker.
        while self.settling.is_pending(ino)
            || (self.volume.discards_at_close(ino) && start.elapsed() < OVERTAKEN)
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
        self.settling.begin(ino, Phase::Closing);
        let discarded = open.file.close_atomic(spoiled);
        let removed = self.handles.remove(handle).map(|_| Reply::Done);
        if !discarded {
            self.settling.note_nothing(ino);
            return removed.into();
        }
        self.settling.note_discard(ino);
        Outcome::Later(Box::new(move |server, channel| {
            server.settle(channel, ino);
            server.settling.end(ino);
            removed
        }))
    }

    /// Has the kernel forget what was discarded of a file, unless that has been done.
    fn settle(&self, channel: &Channel, ino: Ino) {
        if self.settling.take_forget(ino) {
            self.forget_pages(channel, ino);
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
