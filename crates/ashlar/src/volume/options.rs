//! How a volume is made and opened.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use ashlar_core::{Caller, FormatOptions, MountOptions};
use ashlar_device::{Device, FileDevice, MemoryDevice, OpenMode};

use crate::Volume;
use crate::error::{Cause, Result, errno};

/// Units in which a volume uses its device, bytes.
const BLOCK_BYTES: u64 = 4096;
const SECTOR_BYTES: u64 = 512;

/// Options for making and opening volumes. Made by [`Volume::options`].
///
/// ```no_run
/// use ashlar::Volume;
/// let volume = Volume::options().label("photos").size(10 << 30).create("photos.img")?;
/// # drop(volume);
/// let volume = Volume::options().read_only(true).open("photos.img")?;
/// # Ok::<(), ashlar::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct VolumeOptions {
    label: String,
    uuid: Option<[u8; 16]>,
    size: Option<u64>,
    prealloc: bool,
    overwrite: bool,
    read_only: bool,
    umask: u16,
    owner: (u32, u32),
    cache_bytes: Option<u64>,
}

impl VolumeOptions {
    pub(crate) fn new() -> VolumeOptions {
        VolumeOptions {
            label: String::new(),
            uuid: None,
            size: None,
            prealloc: false,
            overwrite: false,
            read_only: false,
            umask: 0o022,
            owner: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            cache_bytes: None,
        }
    }

    /// Name of the new volume, at most 64 bytes. Default: none.
    pub fn label(mut self, label: impl Into<String>) -> VolumeOptions {
        self.label = label.into();
        self
    }

    /// Identity of the new volume. Default: random.
    pub fn uuid(mut self, uuid: [u8; 16]) -> VolumeOptions {
        self.uuid = Some(uuid);
        self
    }

    /// Size of the new volume in bytes, at least 16 MiB; rounded down to whole 4 KiB blocks.
    /// Default: the size that the file or device has. A new image file takes up space on its host
    /// only as it is written.
    pub fn size(mut self, bytes: u64) -> VolumeOptions {
        self.size = Some(bytes);
        self
    }

    /// Write all of a new image once, so that its host never has to find space later: slower to
    /// make, faster to use. Default: false.
    pub fn prealloc(mut self, prealloc: bool) -> VolumeOptions {
        self.prealloc = prealloc;
        self
    }

    /// Let [`create`](VolumeOptions::create) destroy what a file or device holds. Default: false.
    pub fn overwrite(mut self, overwrite: bool) -> VolumeOptions {
        self.overwrite = overwrite;
        self
    }

    /// Open without changing a single byte of the device; every change fails with `EROFS`.
    /// Default: false.
    pub fn read_only(mut self, read_only: bool) -> VolumeOptions {
        self.read_only = read_only;
        self
    }

    /// Permission bits that new files and directories do not get. Default: `0o022`, whatever the
    /// process has.
    pub fn umask(mut self, umask: u16) -> VolumeOptions {
        self.umask = umask & 0o777;
        self
    }

    /// User and group number of new files, and of a new volume's root. Default: the effective
    /// ones of the process.
    pub fn owner(mut self, uid: u32, gid: u32) -> VolumeOptions {
        self.owner = (uid, gid);
        self
    }

    /// Most memory for cached file data, bytes. Default: chosen by the volume.
    pub fn cache_bytes(mut self, bytes: u64) -> VolumeOptions {
        self.cache_bytes = Some(bytes);
        self
    }

    /// Makes a volume in the image file or on the block device `path` and opens it.
    ///
    /// A missing file is created; then [`size`](VolumeOptions::size) is required. An existing
    /// file that is not empty, and a block device, need [`overwrite`](VolumeOptions::overwrite).
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) (`EEXIST`) without `overwrite`;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) (`EINVAL`) if the size is missing,
    /// too small, or not the block device's;
    /// [`InUse`](crate::ErrorKind::InUse) (`EBUSY`) if it is open or mounted elsewhere;
    /// what the host says about the file. A file that was created is removed again.
    ///
    /// # Durability
    /// The empty volume survives a crash once this returns.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<Volume> {
        let path = path.as_ref();
        self.create_at(path).map_err(Cause::at("create a volume in", path))
    }

    /// Opens the volume in the image file or on the block device `path`. After a crash this
    /// replays the log first.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) (`ENOENT`);
    /// [`InUse`](crate::ErrorKind::InUse) (`EBUSY`) if it is open or mounted elsewhere;
    /// [`Damaged`](crate::ErrorKind::Damaged) (`EUCLEAN`) if there is no volume, or a broken one;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if it needs features of a newer version;
    /// what the host says.
    ///
    /// # Blocking
    /// Reads the log: at most a few tens of MiB, whatever the volume's size.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Volume> {
        let path = path.as_ref();
        let mode = OpenMode { read_only: self.read_only, ..OpenMode::default() };
        FileDevice::open(path, mode)
            .map_err(Cause::Device)
            .and_then(|device| self.mount(Arc::new(device)))
            .map_err(Cause::at("open the volume", path))
    }

    /// Makes a volume of [`size`](VolumeOptions::size) bytes in memory; it ends with the process.
    ///
    /// # Errors
    /// `EINVAL` if the size is missing or below 16 MiB.
    pub fn in_memory(&self) -> Result<Volume> {
        let make = || {
            let size = self.size.ok_or(NO_SIZE)? / BLOCK_BYTES * BLOCK_BYTES;
            self.format(Arc::new(MemoryDevice::new(size)))
        };
        make().map_err(Cause::when("create a volume in memory"))
    }

    /// Makes a volume on a device of your own and opens it.
    ///
    /// # Errors
    /// As [`create`](VolumeOptions::create); nothing is asked about what the device holds.
    pub fn create_on(&self, device: Arc<dyn Device>) -> Result<Volume> {
        self.format(device).map_err(Cause::when("create a volume"))
    }

    /// Opens the volume on a device of your own.
    ///
    /// # Errors
    /// As [`open`](VolumeOptions::open).
    pub fn open_on(&self, device: Arc<dyn Device>) -> Result<Volume> {
        self.mount(device).map_err(Cause::when("open a volume"))
    }

    fn create_at(&self, path: &Path) -> Result<Volume, Cause> {
        let found = match fs::metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Cause::Host(error)),
        };
        let Some(metadata) = found else { return self.create_file(path) };
        let block_device = metadata.file_type().is_block_device();
        if !self.overwrite && (block_device || metadata.len() > 0) {
            return Err(Cause::Rule(
                errno::EEXIST,
                "it exists; allow overwriting to destroy what it holds",
            ));
        }
        if !block_device && let Some(size) = self.size {
            resize(path, whole_sectors(size))?;
        }
        let device = FileDevice::open(path, OpenMode::default()).map_err(Cause::Device)?;
        let capacity = device.topology().capacity;
        if block_device && self.size.is_some_and(|size| whole_sectors(size) != capacity) {
            return Err(Cause::Rule(
                errno::EINVAL,
                "a volume fills its block device, which has another size: give none",
            ));
        }
        self.format(Arc::new(device))
    }

    /// Makes the image file too; removes it if the volume cannot be made.
    fn create_file(&self, path: &Path) -> Result<Volume, Cause> {
        let size = whole_sectors(self.size.ok_or(NO_SIZE)?);
        let mode = OpenMode { create_size: Some(size), ..OpenMode::default() };
        let made = FileDevice::open(path, mode)
            .map_err(Cause::Device)
            .and_then(|device| self.format(Arc::new(device)));
        if made.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(path);
        }
        made
    }

    fn format(&self, device: Arc<dyn Device>) -> Result<Volume, Cause> {
        let options = FormatOptions {
            label: self.label.clone(),
            uuid: self.uuid,
            prealloc: self.prealloc,
            root_uid: self.owner.0,
            root_gid: self.owner.1,
            ..FormatOptions::default()
        };
        ashlar_core::Volume::format(&device, &options)?;
        VolumeOptions { read_only: false, ..self.clone() }.mount(device)
    }

    fn mount(&self, device: Arc<dyn Device>) -> Result<Volume, Cause> {
        let mut options = MountOptions { read_only: self.read_only, ..MountOptions::default() };
        if let Some(bytes) = self.cache_bytes {
            options.cache_bytes = bytes;
        }
        let core = ashlar_core::Volume::mount(device, &options)?;
        let (uid, gid) = self.owner;
        let caller = Caller { uid, gid, umask: self.umask.into(), ..Caller::root() };
        Ok(Volume { core, caller: Arc::new(caller), closed: false })
    }
}

const NO_SIZE: Cause = Cause::Rule(errno::EINVAL, "a new volume needs a size");

/// Gives an image file that is going to be overwritten its new size, unless somebody has it open.
fn resize(path: &Path, size: u64) -> Result<(), Cause> {
    // The device holds a lock as long as it is open, and grows the file; shrinking is left.
    let mode = OpenMode { create_size: Some(size), ..OpenMode::default() };
    let lock = FileDevice::open(path, mode).map_err(Cause::Device)?;
    let resized = fs::File::options().write(true).open(path).and_then(|file| file.set_len(size));
    drop(lock);
    resized.map_err(Cause::Host)
}

/// A file device addresses whole sectors; the volume uses whole blocks of them.
fn whole_sectors(bytes: u64) -> u64 {
    bytes / SECTOR_BYTES * SECTOR_BYTES
}
