//! Mounting through the set-user-id program `fusermount3`, for those who are not root.
//!
//! It opens `/dev/fuse`, checks that the caller owns the mount point, mounts with `nosuid,nodev`,
//! and passes the descriptor back over a socket whose number it finds in `_FUSE_COMMFD`. With
//! `auto_unmount` it stays behind and unmounts when our end of the socket closes.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::mount::MountFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
    recvmsg, socketpair,
};

use crate::error::{Error, Result};
use crate::mount::Plan;

const HELPER: &str = "fusermount3";

/// Mounts and returns the FUSE descriptor, and the socket to hold while mounted.
///
/// # Errors
/// [`Error::Helper`] with what the program printed.
pub(super) fn mount(plan: &Plan<'_>) -> Result<(OwnedFd, Option<OwnedFd>)> {
    let flags = SocketFlags::empty();
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(Error::system("cannot create a socket pair"))?;
    // Only their end may be inherited: with ours open in it, the helper would not see us die.
    fcntl_setfd(&ours, FdFlags::CLOEXEC).map_err(Error::system("cannot mark a socket"))?;
    let child = Command::new(HELPER)
        .arg("-o")
        .arg(option_list(plan))
        .arg("--")
        .arg(&plan.mountpoint)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| not_run(&error))?;
    drop(theirs);
    match receive_descriptor(&ours) {
        // The helper stays until our end of the socket closes.
        Some(device) if plan.options.auto_unmount => Ok((device, Some(ours))),
        device => {
            let reason = last_words(child)?;
            let device = device.ok_or(Error::Helper { reason })?;
            Ok((device, None))
        }
    }
}

/// Asks the helper to unmount; `lazily` also when the mount is busy.
///
/// # Errors
/// [`Error::Helper`] with what the program printed.
pub(super) fn unmount(mountpoint: &Path, lazily: bool) -> Result<()> {
    let mut command = Command::new(HELPER);
    command.arg("-u");
    if lazily {
        command.arg("-z");
    }
    command.arg("--").arg(mountpoint).stdin(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().map_err(|error| not_run(&error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Helper { reason: spoken(&output.stderr) })
}

/// Waits for the helper's end and returns what it complained about.
fn last_words(child: Child) -> Result<String> {
    let output = child.wait_with_output().map_err(Error::system("cannot wait for fusermount3"))?;
    Ok(spoken(&output.stderr))
}

fn spoken(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).trim().to_owned();
    if text.is_empty() { "it gave no reason".to_owned() } else { text }
}

fn not_run(error: &std::io::Error) -> Error {
    let reason = format!("{HELPER} could not be run: {error}; install it (package fuse3)");
    Error::Helper { reason }
}

/// The argument of `-o`.
fn option_list(plan: &Plan<'_>) -> String {
    let flags = plan.options.mount_flags();
    let words = [
        (MountFlags::RDONLY, "ro"),
        (MountFlags::NOEXEC, "noexec"),
        (MountFlags::SYNCHRONOUS, "sync"),
        (MountFlags::DIRSYNC, "dirsync"),
        (MountFlags::NOATIME, "noatime"),
        // The helper adds these two by itself for ordinary users.
        (MountFlags::NOSUID, "nosuid"),
        (MountFlags::NODEV, "nodev"),
    ];
    let mut list: Vec<String> = words
        .into_iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .map(|(_, word)| word.to_owned())
        .collect();
    list.extend(plan.type_options());
    if plan.options.auto_unmount {
        list.push("auto_unmount".to_owned());
    }
    list.push(format!("subtype={}", escaped(&plan.options.subtype)));
    list.push(format!("fsname={}", escaped(&plan.shown_source().to_string_lossy())));
    list.join(",")
}

/// Commas and backslashes are written with a backslash before them.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,")
}

/// The descriptor that comes with a one-byte message; `None` if the helper failed.
fn receive_descriptor(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut byte = [0u8; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut pieces = [IoSliceMut::new(&mut byte)];
    let received = loop {
        match recvmsg(socket, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.ok()?,
        }
    };
    if received.bytes == 0 {
        return None;
    }
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::MountOptions;

    #[test]
    fn commas_in_names_do_not_end_an_option() {
        let options = MountOptions::parse("ro,noexec").unwrap();
        let directory = std::env::temp_dir();
        let mut plan = Plan::new(Path::new("odd,name"), &directory, &options).unwrap();
        plan.open_to_others = false;
        assert_eq!(
            option_list(&plan),
            "ro,noexec,default_permissions,subtype=ashlar,fsname=odd\\,name"
        );
    }
}
