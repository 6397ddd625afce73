//! Lifts the kernel's caution towards FUSE servers where root mounted, as far as it lets us.
//!
//! A FUSE mount starts with read-ahead of 128 KiB and may have at most 1 % of the dirtyable
//! memory dirty, because an ordinary user's server must not be able to hold the machine's memory
//! hostage. A server that root runs, and that never allocates while it writes back
//! (`PR_SET_IO_FLUSHER`), may have what a disk has.

use std::fs;
use std::path::Path;

use super::is_root;
use super::unmount::mounted_device;

/// Kilobytes to read ahead: a request of the largest size for each of eight workers, half of them
/// under way while the program takes the other half.
const READ_AHEAD_KB: &str = "8192";
/// Percentage of the dirtyable memory that may be dirty for this mount.
const MAX_RATIO: &str = "20";

/// Adjusts the mount's writeback and read-ahead settings, best effort.
pub(crate) fn tune(mountpoint: &Path) {
    if !is_root() {
        return;
    }
    let Some((major, minor)) = mounted_device(mountpoint) else { return };
    // What a fuseblk mount writes back is counted apart from its block device.
    let folder = |suffix| format!("/sys/class/bdi/{major}:{minor}{suffix}");
    let of_block = folder("-fuseblk");
    let folder = if Path::new(&of_block).exists() { of_block } else { folder("") };
    for (name, value) in
        [("read_ahead_kb", READ_AHEAD_KB), ("max_ratio", MAX_RATIO), ("strict_limit", "0")]
    {
        if let Err(error) = fs::write(format!("{folder}/{name}"), value) {
            tracing::debug!(folder, name, %error, "setting not changed");
        }
    }
}
