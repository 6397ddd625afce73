//! mount(2) by root.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::error::{Error, Result};
use crate::mount::Plan;
use crate::wire::channel::open_device;

/// Type bits of a directory's mode, in the octal form that the kernel parses.
const ROOT_MODE: &str = "40000";
/// Block size announced for `fuseblk`: the unit of bmap answers and the volume's block.
const BLOCK_SIZE: u32 = 4096;

/// Mounts and returns the descriptor on which the kernel's requests arrive.
///
/// # Errors
/// [`Error::Device`] or [`Error::Mount`].
pub(super) fn mount(plan: &Plan<'_>) -> Result<OwnedFd> {
    let device = open_device().map_err(|error| Error::Device { source: error.into() })?;
    let mut list = vec![
        format!("fd={}", device.as_raw_fd()),
        format!("rootmode={ROOT_MODE}"),
        format!("user_id={}", rustix::process::getuid().as_raw()),
        format!("group_id={}", rustix::process::getgid().as_raw()),
    ];
    list.extend(plan.type_options());
    if plan.block {
        list.push(format!("blksize={BLOCK_SIZE}"));
    }
    let family = if plan.block { "fuseblk" } else { "fuse" };
    let kind = format!("{family}.{}", plan.options.subtype);
    let source = plan.shown_source();
    let fail = |error: std::io::Error| Error::Mount {
        what: source.display().to_string(),
        at: plan.mountpoint.display().to_string(),
        kind: kind.clone(),
        advice: advice(&error, plan.block),
        source: error,
    };
    // Only numbers and fixed words: no NUL can be inside.
    let data = CString::new(list.join(",")).map_err(|error| fail(error.into()))?;
    rustix::mount::mount(
        &source,
        &plan.mountpoint,
        kind.as_str(),
        plan.options.mount_flags(),
        data.as_c_str(),
    )
    .map_err(|error| fail(error.into()))?;
    Ok(device)
}

/// What may help against a failed mount(2), to follow the kernel's words.
fn advice(error: &std::io::Error, block: bool) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENODEV) if block => "; this kernel has no fuseblk: load the `fuse` module",
        Some(libc::ENODEV) => "; load the `fuse` module",
        Some(libc::EBUSY) if block => "; the device is mounted or opened exclusively elsewhere",
        Some(libc::EPERM) => "; mounting needs CAP_SYS_ADMIN",
        _ => "",
    }
}
