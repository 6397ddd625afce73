//! Writeback by age and by amount, and the sync of a whole volume.
//!
//! ```text
//!   write, lazy times ──> queue (oldest first, each inode once, holding it)
//!                           │ older than 5 steps, or too much dirty ──> background step
//!                           │ everything                            ──> sync, unmount
//!                           └ much too much dirty: the writer itself ──> throttle
//! ```
//! A step comes every second; with background threads off, when the caller says so. A step ends
//! with a sync of the log, so that a crash costs at most about six seconds.
//!
//! Locking: the queue's lock is a leaf. Whoever takes an inode from the queue holds `writing` shared
//! until it is written, so that a sync can wait for all that were taken before it.

use crate::error::Result;
use crate::inode::Inode;
use crate::volume::{Volume, Wake};
use ashlar_store::Lsn;
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two steps.
const STEP: Duration = Duration::from_secs(1);
/// Steps that an inode may stay dirty.
const AGE_STEPS: u64 = 5;
/// Data on its way with unwritten records is brought out when it is more than this.
const PENDING_BYTES_MAX: u64 = 16 << 20;

/// Longest run of dirty bytes that a commit journals.
pub(crate) const JOURNALED_RUN_BYTES_MAX: u64 = 16 << 10;

/// What the writing of a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WritebackMode {
    /// Age or memory: a sync comes some time.
    Background,
    /// Somebody waits: a sync follows at once, and small data goes out together with it.
    Durable,
    /// The working image of an atomic file is about to be committed.
    Commit {
        /// What of it is journaled: it keeps its place, and its bytes travel in the record.
        journal: Journaling,
    },
}

/// What of a commit is journaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Journaling {
    /// Nothing: it is too much.
    Nothing,
    /// Short runs: a long one is cheaper to write once, and fragments less by moving.
    ShortRuns,
    /// Everything: the block map must not change.
    Everything,
}

impl Journaling {
    /// Whether a run of so many dirty bytes is journaled.
    pub(crate) fn takes(self, run_bytes: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::ShortRuns => run_bytes <= JOURNALED_RUN_BYTES_MAX,
            Self::Everything => true,
        }
    }
}

/// Dirty inodes, and the thread that looks after them.
#[derive(Debug, Default)]
pub(super) struct Background {
    /// With the step at which each became dirty.
    queue: Mutex<VecDeque<(u64, Arc<Inode>)>>,
    step: AtomicU64,
    writing: RwLock<()>,
    wake: Arc<Wake>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Volume {
    /// The inode's cache is dirty, or its record not all logged.
    pub(crate) fn note_dirty(&self, inode: &Arc<Inode>) {
        if !inode.queued.swap(true, Ordering::AcqRel) {
            let step = self.background.step.load(Ordering::Relaxed);
            self.background.queue.lock().push_back((step, Arc::clone(inode)));
        }
    }

    /// Slows a writer down to the speed of writeback, when too much is dirty. No lock held.
    ///
    /// # Errors
    /// None: a failed writeback is told to those who sync the file.
    pub(crate) fn throttle(&self) {
        if self.pool.over_background_limit() && self.background.thread.lock().is_some() {
            self.background.wake.condvar.notify_one();
        }
        while self.pool.over_hard_limit() {
            if !self.write_back_oldest(&|_| true, &mut Ok(())) {
                // Others are writing all there is.
                drop(self.background.writing.write());
                return;
            }
        }
    }

    /// Writes the oldest dirty inode back if `wanted` says so of the step at which it became dirty;
    /// false when there is none. The first failure is kept.
    fn write_back_oldest(&self, wanted: &dyn Fn(u64) -> bool, failure: &mut Result<()>) -> bool {
        let _writing = self.background.writing.read();
        let inode = {
            let mut queue = self.background.queue.lock();
            match queue.front() {
                Some((step, _)) if wanted(*step) => queue.pop_front().map(|(_, inode)| inode),
                _ => None,
            }
        };
        let Some(inode) = inode else { return false };
        // Cleared first: what becomes dirty from here on is queued again.
        inode.queued.store(false, Ordering::Release);
        let mut result = self.write_back(&inode, WritebackMode::Background);
        if inode.data_if_any().is_some_and(|data| data.cache.is_dirty()) {
            // An atomic file keeps what nobody committed until memory is short: I2.
            self.note_dirty(&inode);
        }
        if result.is_ok() && self.data_device.pending_bytes() > PENDING_BYTES_MAX {
            result = self.sync_log();
        }
        if let Err(error) = result {
            tracing::warn!("writeback: {error}");
            if failure.is_ok() {
                *failure = Err(error);
            }
        }
        true
    }

    /// Does what the background threads do in a second: writes back what has been dirty for five
    /// steps, or more if much is dirty, goes on removing what a crash left behind, and syncs the
    /// log. For volumes mounted without background threads.
    ///
    /// # Errors
    /// The first failed writeback, which is also told to those who sync the file; a failed sync.
    ///
    /// # Blocking
    /// Waits for the device.
    pub fn background_step(&self) -> Result<()> {
        if self.check_writable().is_err() {
            return Ok(());
        }
        let now = self.background.step.fetch_add(1, Ordering::Relaxed) + 1;
        let mut result = Ok(());
        let wanted = |step: u64| step + AGE_STEPS <= now || self.pool.over_background_limit();
        while self.write_back_oldest(&wanted, &mut result) {}
        self.remove_left_orphans()?;
        self.sync_log()?;
        result
    }

    /// Makes everything that was done before the call durable: data, attributes, names.
    ///
    /// # Errors
    /// The first failed writeback; a device that cannot write or flush, which shuts the volume down.
    ///
    /// # Blocking
    /// Waits for the device.
    #[doc(alias = "syncfs")]
    pub fn sync(&self) -> Result<()> {
        self.sync_volume(true)
    }

    /// As [`Volume::sync`], but leaves atomic files as they are last committed. For callers that
    /// cannot know whether somebody else is in the middle of an update: half of it may be here.
    ///
    /// # Errors
    /// As [`Volume::sync`].
    ///
    /// # Blocking
    /// Waits for the device.
    pub fn sync_committed(&self) -> Result<()> {
        self.sync_volume(false)
    }

    fn sync_volume(&self, images: bool) -> Result<()> {
        self.check_open()?;
        if self.read_only {
            return Ok(());
        }
        self.check_writable().map_err(|error| error.in_op("sync"))?;
        let mut result = if images { self.commit_all_images() } else { Ok(()) };
        let mut left = self.background.queue.lock().len();
        while left > 0 && self.write_back_oldest(&|_| true, &mut result) {
            left -= 1;
        }
        // What another thread took from the queue before is being written.
        drop(self.background.writing.write());
        self.remove_left_orphans()?;
        self.sync_log()?;
        result.map_err(|error| error.in_op("sync"))
    }

    /// Makes durable what is committed or overwritten; nothing where nothing is pending.
    ///
    /// # Errors
    /// The volume has shut down.
    pub(crate) fn sync_log(&self) -> Result<()> {
        let due = self.overwrites.due();
        let lsn = self.store.last_lsn();
        match due {
            Some(due) => {
                self.store.flush()?;
                self.overwrites.settle(due);
            }
            None => self.store.sync(lsn)?,
        }
        self.data_device.written_up_to(lsn);
        Ok(())
    }

    /// Makes record `lsn` durable, and the data that it carries.
    ///
    /// # Errors
    /// The volume has shut down.
    pub(crate) fn sync_lsn(&self, lsn: Lsn) -> Result<()> {
        self.store.sync(lsn)?;
        self.data_device.written_up_to(lsn);
        Ok(())
    }

    /// Makes everything durable that is on its way, overwrites included.
    ///
    /// # Errors
    /// The volume has shut down.
    pub(crate) fn sync_flush(&self) -> Result<()> {
        let due = self.overwrites.due();
        let lsn = self.store.last_lsn();
        self.store.flush()?;
        if let Some(due) = due {
            self.overwrites.settle(due);
        }
        self.data_device.written_up_to(lsn);
        Ok(())
    }

    /// Starts the thread; it ends with [`Volume::stop_background`], or soon after the volume is gone.
    pub(super) fn start_background(self: &Arc<Self>) -> std::io::Result<()> {
        let volume = Arc::downgrade(self);
        let wake = Arc::clone(&self.background.wake);
        let thread = std::thread::Builder::new()
            .name("ashlar-writeback".into())
            .spawn(move || run(&volume, &wake))?;
        *self.background.thread.lock() = Some(thread);
        Ok(())
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop_background(&self) {
        *self.background.wake.stop.lock() = true;
        self.background.wake.condvar.notify_all();
        let thread = self.background.thread.lock().take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the writeback thread panicked");
        }
    }
}

fn run(volume: &Weak<Volume>, wake: &Wake) {
    loop {
        {
            let mut stop = wake.stop.lock();
            if !*stop {
                wake.condvar.wait_for(&mut stop, STEP);
            }
            if *stop {
                return;
            }
        }
        let Some(volume) = volume.upgrade() else { return };
        if let Err(error) = volume.background_step() {
            tracing::warn!("background writeback: {error}");
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        *self.background.wake.stop.lock() = true;
        self.background.wake.condvar.notify_all();
        self.store.stop_background();
    }
}
