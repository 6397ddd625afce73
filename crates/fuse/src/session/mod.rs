//! A mounted volume, from `INIT` to the last request.
//!
//! ```text
//!              mount()                    serve()
//!   volume ──▶ mount(2) ──▶ INIT ──▶ Mounted ──▶ workers ... ──▶ ENODEV ──▶ volume.unmount()
//!                                      │                          ▲
//!                                      └ dropped: detached        └ umount(8), or a stop signal
//! ```
//!
//! Threads of a session, besides those of the volume:
//!
//! | thread | does | may wait for |
//! |---|---|---|
//! | `fuse-N` ([`worker`]) | reads a request, does it, answers | the device |
//! | `fuse-later` ([`later`]) | what would hold up a worker | the device, workers |
//! | `fuse-inside` ([`crate::inside`]) | makes system calls on the mount for the one above | workers |
//! | `fuse-stop` ([`stop`]) | unmounts upon SIGINT or SIGTERM | workers |
//!
//! Invariant (I1): a worker never waits for a request that another worker has to serve; so with
//! any number of requests under way the next one is served.
//!
//! The process marks itself as part of the write-back path (`PR_SET_IO_FLUSHER`): its memory
//! allocations must not wait for dirty pages that only it can write.

mod later;
mod panics;
mod stop;
mod worker;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use ashlar_core::Volume;
use ashlar_device::{FileDevice, OpenMode};
use rustix::mount::MountFlags;

use crate::error::{Error, Result};
use crate::mount::{KernelMount, Plan, force, goes_to_kernel, is_root, tune};
use crate::ops::init::{Agreement, agree};
use crate::ops::{Policy, Server};
use crate::options::{Access, Atime, MountOptions};
use crate::wire::abi::{InitOut, VERSION_MAJOR};
use crate::wire::channel::{Channel, Received, RequestBuffer};
use crate::wire::reply::Reply;
use crate::wire::request::{Operation, decode};

/// A volume that is mounted and has agreed with the kernel: requests already queue up.
///
/// Dropping it without [`Mounted::serve`] unmounts and closes the volume.
pub struct Mounted {
    server: Arc<Server>,
    channel: Channel,
    kernel: KernelMount,
    threads: usize,
    handle_signals: bool,
    closed: bool,
}

/// Opens the image file or block device `source` and mounts its volume on `mountpoint`.
///
/// When this returns the mount is usable, as soon as [`Mounted::serve`] runs. A program that goes
/// into the background must fork before it calls this, since the volume has threads of its own.
///
/// # Errors
/// Any of [`Error`]; nothing stays mounted or open then.
pub fn mount(source: &Path, mountpoint: &Path, options: &MountOptions) -> Result<Mounted> {
    // Before the volume starts its threads: they inherit it.
    mark_io_flusher();
    // A block device that becomes a fuseblk mount is claimed by the kernel itself.
    let leave_to_kernel = goes_to_kernel(source, options);
    let mode = OpenMode { read_only: options.read_only, leave_to_kernel, ..OpenMode::default() };
    let device = Arc::new(FileDevice::open(source, mode)?);
    let volume = Volume::mount(device, &volume_options(options))?;
    mount_volume(&volume, source, mountpoint, options)
}

/// Mounts a volume that is already open, as [`mount`] does; `source` is for the mount table.
///
/// # Errors
/// As [`mount`]; the volume is closed then.
pub fn mount_volume(
    volume: &Arc<Volume>,
    source: &Path,
    mountpoint: &Path,
    options: &MountOptions,
) -> Result<Mounted> {
    let mounted = Plan::new(source, mountpoint, options).and_then(|plan| plan.execute()).and_then(
        |(kernel, channel)| {
            let policy = policy(options);
            let agreement = handshake(&channel, policy.only_root_and.is_some())?;
            // Before any file can be opened: an open file keeps the read-ahead that it found.
            tune(&kernel.mountpoint);
            let mountpoint = kernel.mountpoint.clone();
            let server = Server::new(Arc::clone(volume), agreement, policy, mountpoint);
            let server = Arc::new(server);
            let threads = options.threads.unwrap_or_else(default_threads).max(2);
            let handle_signals = options.handle_signals;
            Ok(Mounted { server, channel, kernel, threads, handle_signals, closed: false })
        },
    );
    if mounted.is_err()
        && let Err(error) = volume.unmount()
    {
        tracing::warn!("closing the volume after a failed mount: {error}");
    }
    mounted
}

/// Memory for small writes on their way to the device.
const GATHERED_BYTES: u64 = 96 << 20;

/// How the volume is opened for these mount options.
#[must_use]
pub fn volume_options(options: &MountOptions) -> ashlar_core::MountOptions {
    ashlar_core::MountOptions {
        read_only: options.read_only,
        atime: match options.atime {
            Atime::Relative => ashlar_core::Atime::Relatime,
            Atime::Strict => ashlar_core::Atime::Strict,
            Atime::Never => ashlar_core::Atime::Never,
        },
        // The kernel's page cache is the page cache; ours only gathers small writes.
        kernel_cache: true,
        cache_bytes: GATHERED_BYTES,
        atomic: options.atomic,
        ..ashlar_core::MountOptions::default()
    }
}

impl fmt::Debug for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mounted").field("mountpoint", &self.mountpoint()).finish_non_exhaustive()
    }
}

impl Mounted {
    /// The directory it is mounted on.
    #[must_use]
    pub fn mountpoint(&self) -> &Path {
        &self.kernel.mountpoint
    }

    /// The volume behind the mount.
    #[must_use]
    pub fn volume(&self) -> &Arc<Volume> {
        &self.server.volume
    }

    /// Serves until the volume is unmounted, then closes it: when this returns `Ok`, everything
    /// is written and the volume is clean.
    ///
    /// # Errors
    /// What ended a thread before its time, or what closing the volume said.
    pub fn serve(mut self) -> Result<()> {
        mark_io_flusher();
        protect_from_oom_killer();
        panics::install_hook();
        let served = self.run_threads();
        if served.is_ok() {
            // All workers have seen the end of the connection: the kernel has unmounted.
            self.kernel.release();
        }
        self.closed = true;
        let closed = self.server.close();
        served.and(closed.map_err(Error::from))
    }

    fn run_threads(&self) -> Result<()> {
        let stop = stop::Stop::new(self.handle_signals)?;
        let (later, jobs) = later::queue();
        thread::scope(|scope| {
            let server = &*self.server;
            let mut workers = Vec::with_capacity(self.threads);
            let start = || {
                spawn(scope, "fuse-later", move || later::run(server, jobs))?;
                spawn(scope, "fuse-inside", || server.inside.run())?;
                spawn(scope, "fuse-stop", || stop.watch(&self.kernel.mountpoint))?;
                for number in 0..self.threads {
                    let channel =
                        if number == 0 { Ok(self.channel.clone()) } else { self.channel.split() };
                    let channel = channel.map_err(Error::system("cannot clone /dev/fuse"))?;
                    let later = later.clone();
                    let work = move || worker::run(server, &channel, &later);
                    workers.push(spawn(scope, &format!("fuse-{number}"), work)?);
                }
                Ok(())
            };
            let mut result = start();
            drop(later);
            if result.is_err()
                && let Err(error) = force(&self.kernel.mountpoint)
            {
                tracing::error!("threads are missing, and {error}");
            }
            for worker in workers {
                let ended = worker.join().unwrap_or_else(|_| {
                    Err(Error::Protocol { reason: "a worker thread panicked".to_owned() })
                });
                result = result.and(ended);
            }
            server.inside.close();
            stop.session_ended();
            result
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        // Not served: take the mount away first, so that nobody waits for an answer.
        if let Err(error) = force(&self.kernel.mountpoint) {
            tracing::warn!("{error}");
        }
        self.kernel.release();
        if let Err(error) = self.server.close() {
            tracing::warn!("closing the volume: {error}");
        }
    }
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<thread::ScopedJoinHandle<'scope, T>> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, work)
        .map_err(Error::system("cannot start a thread"))
}

/// Answers the first request of a connection, which is always `INIT`.
fn handshake(channel: &Channel, ask_always: bool) -> Result<Agreement> {
    let mut buffer = RequestBuffer::new();
    loop {
        let received = channel.receive(&mut buffer).map_err(Error::system("reading INIT"))?;
        let Received::Request(bytes) = received else {
            return Err(Error::Protocol { reason: "unmounted before INIT".to_owned() });
        };
        let request = decode(bytes, false)
            .map_err(|malformed| Error::Protocol { reason: malformed.to_string() })?;
        let Operation::Init(offer) = request.operation else {
            return Err(Error::Protocol { reason: "the first request is not INIT".to_owned() });
        };
        let (agreement, answer) = if offer.major > VERSION_MAJOR {
            // The kernel sends another INIT, of the version we name.
            (None, InitOut { major: VERSION_MAJOR, ..InitOut::default() })
        } else {
            let (agreement, answer) = agree(&offer, ask_always)?;
            (Some(agreement), answer)
        };
        channel
            .reply(request.header.unique, &Ok(Reply::Init(answer)), &[])
            .map_err(Error::system("answering INIT"))?;
        if let Some(agreement) = agreement {
            tracing::debug!(?agreement, "connected");
            return Ok(agreement);
        }
    }
}

/// What the options mean for the operations.
fn policy(options: &MountOptions) -> Policy {
    let sync = options.kernel.contains(MountFlags::SYNCHRONOUS);
    let owner = rustix::process::getuid().as_raw();
    Policy {
        sync_names: sync || options.kernel.contains(MountFlags::DIRSYNC),
        sync_attributes: sync,
        // A mount of root's that only root may enter needs no check of ours.
        only_root_and: (options.access == Some(Access::OwnerAndRoot) && !is_root())
            .then_some(owner),
    }
}

/// Workers wait for the device in person: four, where CPUs are few, keep as many transfers under
/// way, which is what a disk needs to be busy; more than eight only pass work to each other.
fn default_threads() -> usize {
    thread::available_parallelism().map_or(4, usize::from).clamp(4, 8)
}

fn mark_io_flusher() {
    if let Err(error) = rustix::process::configure_io_flusher_behavior(true) {
        tracing::debug!(%error, "not marked as part of the write-back path");
    }
}

fn protect_from_oom_killer() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-1000") {
        tracing::debug!(%error, "not protected from the out-of-memory killer");
    }
}
