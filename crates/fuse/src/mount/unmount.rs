//! Taking the mount out of the mount table.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ashlar_device::{FileDevice, OpenMode};
use rustix::io::Errno as OsError;
use rustix::mount::UnmountFlags;

use crate::error::{Error, Result};
use crate::mount::{device_number, helper, is_root};

/// How long a server may take to write everything after its mount is gone.
const PATIENCE: Duration = Duration::from_secs(120);

/// Unmounts the volume at `mountpoint`, as umount(8) does.
///
/// The kernel writes back its cache first. On a `fuseblk` mount the volume is then closed before
/// umount(2) returns; on an image file its server learns of it afterwards. This waits until the
/// server has let go of the image, so that on return the volume is clean in both cases.
///
/// # Errors
/// [`Error::Unmount`] or [`Error::Helper`]: nothing is mounted there, it is busy, or it belongs
/// to somebody else. [`Error::Open`] when the server does not come to its end.
pub fn unmount(mountpoint: &Path) -> Result<()> {
    let image = image_behind(mountpoint);
    unmount_only(mountpoint)?;
    image.map_or(Ok(()), |image| wait_until_released(&image))
}

/// As [`unmount`], for the server itself: without waiting for it.
///
/// # Errors
/// As [`unmount`].
pub(crate) fn unmount_only(mountpoint: &Path) -> Result<()> {
    if is_root() {
        take_out(mountpoint, UnmountFlags::empty())
    } else {
        helper::unmount(mountpoint, false)
    }
}

/// The line of the mount table for the mount on top at `mountpoint`, a canonical path.
fn table_line(mountpoint: &Path) -> Option<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    // The last line with this mount point is the mount on top.
    let line = table.lines().rev().find(|line| {
        let shown = line.split(' ').nth(4).map(unescaped);
        shown.is_some_and(|shown| Path::new(&shown) == mountpoint)
    })?;
    Some(line.to_owned())
}

/// The kernel's number of the device mounted at `mountpoint`, a canonical path. The mount itself is
/// not asked: it need not be served yet.
pub(super) fn mounted_device(mountpoint: &Path) -> Option<(u32, u32)> {
    let line = table_line(mountpoint)?;
    let (major, minor) = line.split(' ').nth(2)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The image file that the mount table shows as source of the mount at `mountpoint`.
fn image_behind(mountpoint: &Path) -> Option<PathBuf> {
    let line = table_line(&mountpoint.canonicalize().ok()?)?;
    let (_, of_type) = line.split_once(" - ")?;
    let mut words = of_type.split(' ');
    let is_ours = words.next()?.starts_with("fuse.");
    let source = PathBuf::from(unescaped(words.next()?));
    (is_ours && source.is_absolute() && source.is_file()).then_some(source)
}

/// The mount table writes blanks and backslashes as three octal digits.
fn unescaped(shown: &str) -> OsString {
    let mut bytes = Vec::with_capacity(shown.len());
    let mut rest = shown.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if first == b'\\' => {
                bytes.push(code);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// Waits until the image can be locked: its server has closed the volume.
fn wait_until_released(image: &Path) -> Result<()> {
    let mode = OpenMode { read_only: true, ..OpenMode::default() };
    let start = Instant::now();
    loop {
        // Each try waits for a moment by itself.
        match FileDevice::open(image, mode) {
            Err(error) if error.errno() == libc::EBUSY && start.elapsed() < PATIENCE => {}
            Err(error) if error.errno() == libc::EBUSY => return Err(Error::Open(error)),
            // Whatever else is wrong with the image is not about unmounting.
            _ => return Ok(()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_table_escapes_are_undone() {
        assert_eq!(unescaped("/a\\040b\\134c"), "/a b\\c");
        assert_eq!(unescaped("/plain\\"), "/plain\\");
        assert_eq!(unescaped("\\9990"), "\\9990");
    }

    #[test]
    fn what_is_not_ours_has_no_image() {
        assert_eq!(image_behind(Path::new("/proc")), None);
        assert_eq!(image_behind(Path::new("/does/not/exist")), None);
    }
}
