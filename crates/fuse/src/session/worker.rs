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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Policy;
    use crate::ops::init::Agreement;
    use crate::wire::abi::{self, InHeader, OutHeader};
    use ashlar_core::{Clock, FormatOptions, Timestamp, Volume};
    use ashlar_device::{Device, MemoryDevice};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::os::fd::OwnedFd;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};
    use zerocopy::{FromBytes, IntoBytes};

    /// A clock with a bug, once it is told to have one.
    #[derive(Debug, Default)]
    struct Faulty(AtomicBool);

    impl Clock for Faulty {
        fn now(&self) -> Timestamp {
            assert!(!self.0.load(Ordering::Relaxed), "the clock fell off the wall");
            Timestamp { seconds: 1, nanoseconds: 0 }
        }
    }

    /// A server and the kernel's end of its connection.
    struct Session {
        server: Server,
        channel: Channel,
        kernel: OwnedFd,
        later: Sender<Job>,
        output: OutputBuffer,
    }

    impl Session {
        fn new(clock: &Arc<Faulty>) -> Session {
            super::panics::install_hook();
            let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(64 << 20));
            Volume::format(&device, &FormatOptions::default()).unwrap();
            let clock = Arc::clone(clock);
            let options =
                ashlar_core::MountOptions { clock, ..ashlar_core::MountOptions::default() };
            let volume = Volume::mount(device, &options).unwrap();
            let agreement = Agreement { minor: 40, flags: InitFlags::empty() };
            let (ours, kernel) =
                socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                    .unwrap();
            Session {
                server: Server::new(
                    volume,
                    agreement,
                    Policy::default(),
                    std::path::PathBuf::new(),
                ),
                channel: Channel::new(ours),
                kernel,
                later: std::sync::mpsc::channel().0,
                output: OutputBuffer::new(),
            }
        }

        /// Sends a request to the root directory; the error number of the answer.
        fn ask(&mut self, opcode: Opcode, body: &[u8]) -> i32 {
            let header = InHeader {
                len: (size_of::<InHeader>() + body.len()) as u32,
                opcode: opcode as u32,
                unique: 7,
                nodeid: 1,
                ..InHeader::default()
            };
            let bytes = [header.as_bytes(), body].concat();
            serve_one(&self.server, &self.channel, &self.later, &bytes, &mut self.output);
            let mut answer = vec![0; 1 << 16];
            let length = rustix::io::read(&self.kernel, &mut answer[..]).unwrap();
            let (header, _) = OutHeader::read_from_prefix(&answer[..length]).unwrap();
            assert_eq!(header.unique, 7);
            -header.error
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn panic_in_a_request_is_answered_logged_and_stops_all_writing() {
        let clock = Arc::new(Faulty::default());
        let mut session = Session::new(&clock);
        let log = Lines::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let mkdir = |name: &[u8]| [abi::MkdirIn::default().as_bytes(), name].concat();
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(session.ask(Opcode::Mkdir, &mkdir(b"before\0")), 0);
            clock.0.store(true, Ordering::Relaxed);
            assert_eq!(session.ask(Opcode::Mkdir, &mkdir(b"dir\0")), libc::EIO);
        });
        let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        for words in ["panic in a request", "the clock fell off the wall", "serve_one"] {
            assert!(said.contains(words), "no `{words}` in {said}");
        }
        // Reading goes on; changing does not, although the clock works again.
        clock.0.store(false, Ordering::Relaxed);
        assert_eq!(session.ask(Opcode::Lookup, b"before\0"), 0);
        assert_eq!(session.ask(Opcode::Mkdir, &mkdir(b"dir\0")), libc::EROFS);
        assert_eq!(session.ask(Opcode::Statfs, b""), 0);
    }
}
