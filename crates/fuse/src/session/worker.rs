//! One worker: reads a request, has it done, answers; until the connection ends.

use std::sync::mpsc::Sender;

use super::later::Job;
use super::panics;
use crate::error::{Error, Result};
use crate::ops::{Answer, Outcome, Server};
use crate::wire::abi::{InitFlags, Opcode};
use crate::wire::channel::{Channel, OutputBuffer, Received, RequestBuffer};
use crate::wire::reply::Errno;
use crate::wire::request::{Malformed, decode, header};

/// Serves `channel` until the file system is unmounted.
///
/// # Errors
/// [`Error::System`] when the device cannot be read any more.
pub(super) fn run(server: &Server, channel: &Channel, later: &Sender<Job>) -> Result<()> {
    let mut input = RequestBuffer::new();
    let mut output = OutputBuffer::new();
    loop {
        let received =
            channel.receive(&mut input).map_err(Error::system("cannot read /dev/fuse"))?;
        let Received::Request(bytes) = received else { return Ok(()) };
        serve_one(server, channel, later, bytes, &mut output);
    }
}

fn serve_one(
    server: &Server,
    channel: &Channel,
    later: &Sender<Job>,
    bytes: &[u8],
    output: &mut OutputBuffer,
) {
    let long_setxattr = server.agreement.flags.contains(InitFlags::SETXATTR_EXT);
    let request = match decode(bytes, long_setxattr) {
        Ok(request) => request,
        Err(malformed) => return refuse(server, channel, bytes, malformed),
    };
    let unique = request.header.unique;
    let outcome = panics::guard(server, "worker", || Ok(server.dispatch(&request, output)));
    let answer = match outcome {
        Ok(Outcome::Now(answer)) => answer,
        Ok(Outcome::Later(work)) => {
            let job = Job { unique, channel: channel.clone(), work };
            match later.send(job) {
                Ok(()) => return,
                // That thread cannot be gone while we hold a sender.
                Err(_) => Err(Errno::EIO),
            }
        }
        Err(errno) => Err(errno),
    };
    respond(server, channel, unique, &answer, output.bytes());
}

fn respond(server: &Server, channel: &Channel, unique: u64, answer: &Answer, output: &[u8]) {
    if let Err(error) = channel.reply(unique, answer, output) {
        tracing::debug!(%error, unique, "nobody waits for the answer any more");
        server.take_back(answer);
    }
}

/// The kernel sent what we cannot read: an error in one of us, worth a line in the log.
fn refuse(server: &Server, channel: &Channel, bytes: &[u8], malformed: Malformed) {
    tracing::error!("{malformed}");
    let Some(header) = header(bytes) else { return };
    let forget = [Opcode::Forget as u32, Opcode::BatchForget as u32];
    if !forget.contains(&header.opcode) {
        respond(server, channel, header.unique, &Err(Errno::EIO), &[]);
    }
}
