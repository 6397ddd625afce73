//! The thread for work that would hold up a worker, or that has to wait for one.
//!
//! Jobs are done one after the other: they are rare, and what they wait for (the device, or all
//! dirty pages of a file) would not become faster by doing two at once.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::panics;
use crate::ops::{Server, Work};
use crate::wire::channel::Channel;

/// Work, and whom to answer.
pub(super) struct Job {
    pub(super) unique: u64,
    pub(super) channel: Channel,
    pub(super) work: Work,
}

/// A queue for [`run`].
pub(super) fn queue() -> (Sender<Job>, Receiver<Job>) {
    channel()
}

/// Does jobs until all senders are gone.
#[expect(clippy::needless_pass_by_value, reason = "the thread owns its end of the queue")]
pub(super) fn run(server: &Server, jobs: Receiver<Job>) {
    for Job { unique, channel, work } in jobs.iter() {
        let answer = panics::guard(server, "later", || work(server, &channel));
        if let Err(error) = channel.reply(unique, &answer, &[]) {
            tracing::debug!(%error, unique, "nobody waits for the answer any more");
        }
    }
}
