//! What can go wrong between a volume and a mounted directory.

use std::io;
use std::path::PathBuf;

/// Result of mounting and serving.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a volume could not be mounted, served or unmounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A mount option that is not known, or not usable as given.
    #[error("mount option `{option}`: {advice}")]
    Option {
        /// The option as it was written.
        option: String,
        /// What to do instead.
        advice: String,
    },
    /// The mount point is missing or not a directory.
    #[error("cannot mount on {}: {source}; create the directory or choose another", path.display())]
    MountPoint {
        /// The mount point.
        path: PathBuf,
        /// Why it cannot be used.
        source: io::Error,
    },
    /// `/dev/fuse` cannot be opened.
    #[error("cannot open /dev/fuse: {source}; load the `fuse` module, check its permissions")]
    Device {
        /// The operating system's reason.
        source: io::Error,
    },
    /// The image or block device cannot be opened.
    #[error(transparent)]
    Open(#[from] ashlar_device::DeviceError),
    /// The volume itself refused: not formatted, damaged, in use, out of memory.
    #[error(transparent)]
    Volume(#[from] ashlar_core::Error),
    /// mount(2) failed.
    #[error("mount(2) of {what} on {at} as {kind} failed: {source}{advice}")]
    Mount {
        /// The source as the mount table would show it.
        what: String,
        /// The mount point.
        at: String,
        /// The kernel's file-system type.
        kind: String,
        /// The operating system's reason.
        source: io::Error,
        /// What may help.
        advice: &'static str,
    },
    /// The set-user-id helper that mounts for ordinary users failed.
    #[error("fusermount3 failed: {reason}")]
    Helper {
        /// What it said, or why it could not be run.
        reason: String,
    },
    /// umount failed.
    #[error("cannot unmount {}: {source}{advice}", path.display())]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
        /// What may help.
        advice: &'static str,
    },
    /// The kernel and this server do not understand each other.
    #[error("FUSE protocol: {reason}")]
    Protocol {
        /// What was not as it must be.
        reason: String,
    },
    /// Talking to the kernel or starting a thread failed.
    #[error("{action}: {source}")]
    System {
        /// What was being done.
        action: &'static str,
        /// The operating system's reason.
        source: io::Error,
    },
}

impl Error {
    /// A failed action of the operating system, for `map_err`.
    pub(crate) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::System { action, source: source.into() }
    }
}
