//! Puts the file system into the kernel's mount table and takes it out again.
//!
//! | who mounts | how | type |
//! |---|---|---|
//! | root, an image file | mount(2) | `fuse.ashlar` |
//! | root, a block device | mount(2); bmap, swapon and syncfs reach us | `fuseblk.ashlar` |
//! | others, or `auto_unmount` | `fusermount3`, which passes the descriptor | `fuse.ashlar` |
//!
//! mount(2) returns before the kernel has asked anything: the first request on the descriptor is
//! `INIT`, which [`crate::session`] answers next.

mod direct;
mod helper;
mod tune;
mod unmount;

use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::options::{Access, MountOptions};
use crate::wire::channel::Channel;

pub(crate) use tune::tune;
pub use unmount::unmount;
pub(crate) use unmount::{detach, force, is_busy, unmount_only};

/// What the kernel is told about the mount.
pub(crate) struct Plan<'a> {
    /// What the mount table shows as source.
    pub(crate) source: PathBuf,
    /// Absolute path of the directory.
    pub(crate) mountpoint: PathBuf,
    /// Serve as `fuseblk`: the source is a block device.
    pub(crate) block: bool,
    pub(crate) options: &'a MountOptions,
    /// Whether users other than the owner get in.
    pub(crate) open_to_others: bool,
}

/// A mount that exists in the kernel, unmounted when dropped unless released.
#[derive(Debug)]
pub(crate) struct KernelMount {
    pub(crate) mountpoint: PathBuf,
    /// While `fusermount3` holds the other end it watches for our death (`auto_unmount`).
    _helper: Option<OwnedFd>,
    armed: bool,
}

impl KernelMount {
    /// The kernel has unmounted by itself; nothing is left to do.
    pub(crate) fn release(&mut self) {
        self.armed = false;
    }
}

impl Drop for KernelMount {
    fn drop(&mut self) {
        if self.armed
            && let Err(error) = detach(&self.mountpoint)
        {
            tracing::warn!("{error}");
        }
    }
}

impl<'a> Plan<'a> {
    /// Checks the mount point and decides how `source` is going to be mounted there.
    ///
    /// # Errors
    /// [`Error::MountPoint`] if it is missing or no directory.
    pub(crate) fn new(
        source: &Path,
        mountpoint: &Path,
        options: &'a MountOptions,
    ) -> Result<Plan<'a>> {
        let fail = |source| Error::MountPoint { path: mountpoint.to_owned(), source };
        let absolute = mountpoint.canonicalize().map_err(fail)?;
        if !absolute.metadata().map_err(fail)?.is_dir() {
            return Err(fail(std::io::Error::from_raw_os_error(libc::ENOTDIR)));
        }
        let root = is_root();
        // A name that is no path (a memory device, a network address) stays as it is.
        let shown = source.canonicalize().unwrap_or_else(|_| source.to_owned());
        let open_to_others = match options.access {
            None => root,
            Some(Access::Owner) => false,
            // Root owns its own mounts: nobody else is to be let in.
            Some(Access::OwnerAndRoot) => !root,
            Some(Access::All) => true,
        };
        Ok(Plan {
            block: goes_to_kernel(&shown, options),
            source: shown,
            mountpoint: absolute,
            options,
            open_to_others,
        })
    }

    /// Mounts, and gives the channel on which the kernel speaks.
    ///
    /// # Errors
    /// As mount(2) or `fusermount3` say.
    pub(crate) fn execute(&self) -> Result<(KernelMount, Channel)> {
        let (device, helper) = if is_root() && !self.options.auto_unmount {
            (direct::mount(self)?, None)
        } else {
            helper::mount(self)?
        };
        let mountpoint = self.mountpoint.clone();
        Ok((KernelMount { mountpoint, _helper: helper, armed: true }, Channel::new(device)))
    }

    /// What the mount table shows as source.
    fn shown_source(&self) -> PathBuf {
        match (&self.options.fsname, self.block) {
            (Some(name), false) => PathBuf::from(name),
            _ => self.source.clone(),
        }
    }

    /// Options of the file-system type, as both ways of mounting need them.
    fn type_options(&self) -> Vec<String> {
        let mut list = vec!["default_permissions".to_owned()];
        if self.open_to_others {
            list.push("allow_other".to_owned());
        }
        if let Some(bytes) = self.options.max_read {
            list.push(format!("max_read={bytes}"));
        }
        list
    }
}

/// Whether `source` is going to be mounted as `fuseblk`.
pub(crate) fn goes_to_kernel(source: &Path, options: &MountOptions) -> bool {
    let is_block = source.metadata().is_ok_and(|meta| meta.file_type().is_block_device());
    is_block && is_root() && !options.auto_unmount
}

/// Whether mount(2) can be expected to work.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The kernel's number of the device that `path` lies on, as `major:minor`.
fn device_number(path: &Path) -> std::io::Result<(u32, u32)> {
    let number = path.metadata()?.dev();
    Ok((rustix::fs::major(number), rustix::fs::minor(number)))
}
