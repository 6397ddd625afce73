//! The store's own thread: checkpoints ahead of need, proofs in idle moments.

use crate::store::Store;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A proof is written when nobody synced for this long.
const IDLE: Duration = Duration::from_millis(50);
/// A checkpoint is made at least this often while there is something in the log.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(30);
/// Less in the log than this is not worth a periodic checkpoint.
const CHECKPOINT_BYTES_MIN: u64 = 64 << 10;

impl Store {
    /// Starts the thread; it ends with [`Store::close`] or [`Store::stop_background`].
    pub(crate) fn start_background(self: &Arc<Self>) -> std::io::Result<()> {
        let store = Arc::downgrade(self);
        std::thread::Builder::new().name("ashlar-store".into()).spawn(move || run(&store))?;
        Ok(())
    }

    /// Lets the thread end, and with it its hold on the device. For a store that is dropped without
    /// [`close`](Store::close), as after a failed mount: a thread that waits for something to do
    /// would keep the device open meanwhile.
    pub fn stop_background(&self) {
        self.wishes.lock().stop = true;
        self.wake.notify_all();
    }

    /// One round of what the thread does. Returns false when it should end.
    fn background_round(&self) -> bool {
        let (checkpoint, proof) = {
            let mut wishes = self.wishes.lock();
            let mut timed_out = false;
            if !wishes.checkpoint && !wishes.proof && !wishes.stop {
                timed_out = self.wake.wait_for(&mut wishes, CHECKPOINT_INTERVAL).timed_out();
            }
            if wishes.stop {
                return false;
            }
            let due = timed_out && self.log.used() > CHECKPOINT_BYTES_MIN;
            let checkpoint = std::mem::take(&mut wishes.checkpoint) || due;
            (checkpoint, std::mem::take(&mut wishes.proof))
        };
        if self.is_shut_down() || self.is_read_only() {
            return false;
        }
        // Failures shut the volume down, and that is logged; whoever syncs next is told.
        if checkpoint {
            let _ = self.run_checkpoint();
        }
        if proof {
            let flushed = self.log.flushed();
            std::thread::sleep(IDLE);
            if self.log.flushed() == flushed {
                let _ = self.prove_all();
            } else {
                self.wishes.lock().proof = true;
            }
        }
        true
    }
}

fn run(store: &Weak<Store>) {
    while let Some(store) = store.upgrade() {
        if !store.background_round() {
            return;
        }
    }
}
