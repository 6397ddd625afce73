//! A volume in use: opening and closing, durability, space.

mod attributes;
mod names;
mod open;
mod options;
mod remove_tree;
mod xattrs;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ashlar_core::Caller;

use crate::error::{Cause, Result};

pub use attributes::{FileTimes, SpecialFile};
pub use open::OpenOptions;
pub use options::VolumeOptions;

/// An open volume. Share it between threads by reference or in an [`Arc`]: every method takes
/// `&self` and may run at the same time as any other.
///
/// Paths start at the volume's root, with or without a leading slash, and follow symbolic links
/// as on Linux, inside the volume only. Whoever can open the image may do everything inside:
/// modes and owners are kept and reported, but not checked.
///
/// # Durability
/// A method that changes something takes effect at once for everybody who uses the volume, and
/// survives a crash of the process or the machine after the next [`sync`](Volume::sync), after
/// [`File::sync`](crate::File::sync) of the file in question, or five seconds later, whichever is
/// first. Changes of names and attributes survive in the order in which they were made; each is
/// all or nothing.
///
/// Dropping a volume closes it as [`close`](Volume::close) does, but cannot report errors. Files
/// that are still open then fail with [`ErrorKind::Io`](crate::ErrorKind::Io) on further use.
pub struct Volume {
    pub(crate) core: Arc<ashlar_core::Volume>,
    pub(crate) caller: Arc<Caller>,
    closed: bool,
}

/// Size and free space of a volume, from [`Volume::stat`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct VolumeStat {
    /// Bytes that files and metadata can use.
    pub total_bytes: u64,
    /// Bytes not in use.
    pub free_bytes: u64,
    /// Bytes that new data can use: free bytes less what the volume keeps for itself.
    pub available_bytes: u64,
    /// Files and directories there are.
    pub files: u64,
    /// How many could be added, about: they share their space with data.
    pub files_free: u64,
    /// Allocation unit in bytes.
    pub block_bytes: u32,
    /// Longest file name in bytes.
    pub name_bytes_max: u32,
}

impl Volume {
    /// Options for making or opening a volume.
    pub fn options() -> VolumeOptions {
        VolumeOptions::new()
    }

    /// Makes an image file of `size` bytes (at least 16 MiB) with an empty volume and opens it.
    /// Fails if the file exists and is not empty; [`Volume::options`] can overwrite, and more.
    ///
    /// # Errors
    /// As [`VolumeOptions::create`].
    ///
    /// # Durability
    /// The empty volume survives a crash once this returns.
    pub fn create(path: impl AsRef<Path>, size: u64) -> Result<Volume> {
        Volume::options().size(size).create(path)
    }

    /// Opens the volume in an image file or on a block device.
    ///
    /// # Errors
    /// As [`VolumeOptions::open`].
    pub fn open_image(path: impl AsRef<Path>) -> Result<Volume> {
        Volume::options().open(path)
    }

    /// Makes a volume of `size` bytes (at least 16 MiB) in memory, for tests and scratch data.
    ///
    /// # Errors
    /// As [`VolumeOptions::in_memory`].
    pub fn in_memory(size: u64) -> Result<Volume> {
        Volume::options().size(size).in_memory()
    }

    /// Writes everything and closes the volume.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) (`EIO`) if the device failed: what was not made
    /// durable before may be lost. The volume is closed all the same; the next open recovers it.
    ///
    /// # Durability
    /// All changes survive a crash once this returns `Ok`, and the next open has nothing to replay.
    pub fn close(mut self) -> Result<()> {
        self.closed = true;
        self.core.unmount().map_err(Cause::when("close the volume"))
    }

    /// Makes all changes so far durable: one flush of the device.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) (`EIO`) if the device failed; the volume then
    /// takes no more changes. [`ErrorKind::NoSpace`](crate::ErrorKind::NoSpace) cannot happen.
    #[doc(alias = "syncfs")]
    pub fn sync(&self) -> Result<()> {
        self.core.sync().map_err(Cause::when("sync the volume"))
    }

    /// Size and free space.
    #[must_use]
    #[doc(alias = "statfs")]
    pub fn stat(&self) -> VolumeStat {
        let stat = self.core.statfs();
        let bytes = |blocks: u64| blocks.saturating_mul(u64::from(stat.block_size));
        VolumeStat {
            total_bytes: bytes(stat.blocks),
            free_bytes: bytes(stat.free),
            available_bytes: bytes(stat.available),
            files: stat.files,
            files_free: stat.files_free,
            block_bytes: stat.block_size,
            name_bytes_max: stat.name_max,
        }
    }

    /// The volume's name, empty if it has none.
    #[must_use]
    pub fn label(&self) -> String {
        self.core.label()
    }

    /// Renames the volume; at most 64 bytes.
    ///
    /// # Errors
    /// `EINVAL` if it is too long, `EROFS`, `EIO`.
    ///
    /// # Durability
    /// After the next [`sync`](Volume::sync).
    pub fn set_label(&self, label: &str) -> Result<()> {
        self.core.set_label(label).map_err(Cause::when("rename the volume"))
    }

    /// The volume's identity.
    #[must_use]
    pub fn uuid(&self) -> [u8; 16] {
        self.core.info().uuid
    }

    /// Whether the volume was opened for reading only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.core.is_read_only()
    }

    /// Tells the device which bytes of `range` (addresses on the device) hold nothing, in runs of
    /// at least `min_length` bytes; returns how many bytes that were. Use `0..u64::MAX, 0` for all.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if the device cannot forget bytes; `EROFS`, `EIO`.
    #[doc(alias = "FITRIM")]
    pub fn trim(&self, range: Range<u64>, min_length: u64) -> Result<u64> {
        self.core.trim(range, min_length).map_err(Cause::when("trim the volume"))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if !self.closed {
            // Nobody is left to tell; `close` is for those who ask. The log still holds whatever
            // a sync acknowledged.
            let _ = self.core.unmount();
        }
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume").field("label", &self.label()).finish_non_exhaustive()
    }
}
