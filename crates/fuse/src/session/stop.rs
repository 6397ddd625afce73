//! Unmounting when the process is told to stop.
//!
//! 1. umount(2): programs are done, the kernel writes back, the workers meet the end.
//! 2. If the mount is busy: write everything back (syncfs), then take the mount away and end the
//!    connection. Programs that still have files open get errors; what they wrote before is safe.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};
use crate::mount::{force, is_busy, unmount_only};
use crate::sys::StopSignals;

/// Waits for a stop signal or for the session's end, whichever comes first.
pub(super) struct Stop {
    signals: Option<StopSignals>,
    ended: OwnedFd,
}

impl Stop {
    /// Takes over SIGINT and SIGTERM, if asked to.
    ///
    /// # Errors
    /// [`Error::System`], also when another session of this process has the signals.
    pub(super) fn new(handle_signals: bool) -> Result<Stop> {
        let signals = handle_signals.then(StopSignals::install).transpose();
        let signals = signals.map_err(Error::system("cannot handle SIGINT and SIGTERM"))?;
        let ended = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(Error::system("cannot create an eventfd"))?;
        Ok(Stop { signals, ended })
    }

    /// Lets [`Stop::watch`] return.
    pub(super) fn session_ended(&self) {
        // Can only fail when 2^64 ends have been announced.
        let _ = rustix::io::write(&self.ended, &1u64.to_ne_bytes());
    }

    /// Unmounts `mountpoint` when a stop signal comes.
    pub(super) fn watch(&self, mountpoint: &Path) {
        let Some(signals) = &self.signals else { return };
        if self.wait(signals) {
            stop(mountpoint);
        }
    }

    /// Whether a signal came before the end.
    fn wait(&self, signals: &StopSignals) -> bool {
        loop {
            let signal = signals.event();
            let mut fds = [
                PollFd::new(&signal, PollFlags::IN),
                PollFd::from_borrowed_fd(self.ended.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) if !fds[1].revents().is_empty() => return false,
                Ok(_) if !fds[0].revents().is_empty() => return true,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot wait for stop signals");
                    return false;
                }
            }
        }
    }
}

fn stop(mountpoint: &Path) {
    tracing::info!("stop signal: unmounting {}", mountpoint.display());
    let Err(error) = unmount_only(mountpoint) else { return };
    if is_busy(&error) {
        tracing::warn!("{error}; writing everything and taking it away from them");
        if let Err(error) = write_back(mountpoint) {
            tracing::error!(%error, "not everything in the kernel's cache could be written");
        }
    } else {
        tracing::warn!("{error}");
    }
    if let Err(error) = force(mountpoint) {
        tracing::error!("{error}");
    }
}

/// Has the kernel write back everything it has cached of the mount.
fn write_back(mountpoint: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(mountpoint, flags, Mode::empty())?;
    Ok(rustix::fs::syncfs(&root)?)
}
