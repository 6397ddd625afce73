//! Taking the mount out of the mount table.

use std::io;
use std::path::Path;

use rustix::io::Errno as OsError;
use rustix::mount::UnmountFlags;

use crate::error::{Error, Result};
use crate::mount::{device_number, helper, is_root};

/// Unmounts the volume at `mountpoint`, as umount(8) does.
///
/// The kernel writes back its cache first. On a `fuseblk` mount the volume is closed cleanly when
/// this returns; on an image file its server is told afterwards and needs a moment more, until
/// which the image stays locked.
///
/// # Errors
/// [`Error::Unmount`] or [`Error::Helper`]: nothing is mounted there, it is busy, or it belongs
/// to somebody else.
pub fn unmount(mountpoint: &Path) -> Result<()> {
    if is_root() {
        take_out(mountpoint, UnmountFlags::empty())
    } else {
        helper::unmount(mountpoint, false)
    }
}

/// Takes the name away at once; programs inside may finish with what they have open.
///
/// # Errors
/// As [`unmount`], except that it cannot be busy.
pub(crate) fn detach(mountpoint: &Path) -> Result<()> {
    if is_root() {
        take_out(mountpoint, UnmountFlags::DETACH)
    } else {
        helper::unmount(mountpoint, true)
    }
}

/// Takes the name away and ends the connection: whoever still uses the mount gets `ENOTCONN`.
///
/// # Errors
/// As [`detach`]; an ordinary user also needs the `fusectl` file system to end the connection.
pub(crate) fn force(mountpoint: &Path) -> Result<()> {
    if is_root() {
        return take_out(mountpoint, UnmountFlags::FORCE | UnmountFlags::DETACH);
    }
    let number = device_number(mountpoint);
    helper::unmount(mountpoint, true)?;
    let (major, minor) = number.map_err(Error::system("cannot examine the mount point"))?;
    // The kernel names a connection by its device number, whose minor part has 20 bits.
    let connection = (u64::from(major) << 20) | u64::from(minor);
    std::fs::write(format!("/sys/fs/fuse/connections/{connection}/abort"), "1")
        .map_err(Error::system("cannot abort the connection; end the programs that use it"))
}

/// Whether an unmount failed only because somebody uses the mount.
pub(crate) fn is_busy(error: &Error) -> bool {
    match error {
        Error::Unmount { source, .. } => source.raw_os_error() == Some(libc::EBUSY),
        Error::Helper { reason } => reason.contains("busy"),
        _ => false,
    }
}

fn take_out(mountpoint: &Path, flags: UnmountFlags) -> Result<()> {
    // The mount point itself may not be a symbolic link that somebody could exchange.
    rustix::mount::unmount(mountpoint, flags | UnmountFlags::NOFOLLOW).map_err(|error| {
        let advice = match error {
            OsError::BUSY => "; files or working directories are in use (see fuser -vm)",
            OsError::INVAL => "; nothing is mounted there",
            OsError::PERM => "; it needs CAP_SYS_ADMIN",
            _ => "",
        };
        Error::Unmount { path: mountpoint.to_owned(), source: io::Error::from(error), advice }
    })
}
