//! Mount and unmount.

use crate::atomic::Uncommitted;
use crate::dir::cache::NameCache;
use crate::error::{ErrorKind, Result};
use crate::inode::cache::InodeCache;
use crate::inode::orphan::{Orphans, References};
use crate::types::{FileKind, Ino};
use crate::volume::{Background, DataDevice, FlushDebt, MountOptions, Volume};
use ashlar_device::Device;
use ashlar_store::{OpenOptions, Store};
use iomap::CachePool;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

impl Volume {
    /// Mounts the volume on `device`, recovering it where it was not unmounted cleanly.
    ///
    /// # Errors
    /// `Corrupt` (EUCLEAN) where there is no volume or it is damaged; `Unsupported` (EOPNOTSUPP) for
    /// features that this version does not know; `Io` (EIO).
    ///
    /// # Blocking
    /// Reads the log, whose length bounds the time.
    pub fn mount(device: Arc<dyn Device>, options: &MountOptions) -> Result<Arc<Self>> {
        Self::open_volume(device, options).map_err(|error| error.in_op("mount"))
    }

    fn open_volume(device: Arc<dyn Device>, options: &MountOptions) -> Result<Arc<Self>> {
        let store_options = OpenOptions {
            read_only: options.read_only,
            node_cache_bytes: options.node_cache_bytes,
            background: options.background,
        };
        let (store, recovery) = Store::open(Arc::clone(&device), &store_options)?;
        let volume = Arc::new(Self {
            data_device: DataDevice::new(device, Arc::clone(&store)),
            store,
            pool: CachePool::new(options.cache_bytes),
            clock: Arc::clone(&options.clock),
            atime: options.atime,
            kernel_cache: options.kernel_cache,
            inodes: InodeCache::new(),
            names: NameCache::new(),
            references: References::new(),
            orphans: Orphans::default(),
            rename_lock: Mutex::new(()),
            background: Background::default(),
            overwrites: FlushDebt::default(),
            atomic: options.atomic,
            uncommitted: Uncommitted::default(),
            recovery,
            read_only: options.read_only,
            closed: AtomicBool::new(false),
            frozen_cause: Mutex::new(None),
        });
        if volume.read_record(Ino::ROOT)?.kind != FileKind::Directory {
            let problem = "the root is not a directory";
            let corruption = ashlar_format::Corruption::new("inode record", 0, problem);
            return Err(crate::Error::from(corruption).at(Ino::ROOT));
        }
        if !options.read_only {
            volume.find_left_orphans()?;
            if options.background {
                volume
                    .start_background()
                    .map_err(|error| crate::Error::from(ErrorKind::WouldBlock).because(error))?;
            }
        }
        Ok(volume)
    }

    /// Writes everything and closes the volume; later calls fail. Files that are still open are cut
    /// off; those without a name go at the next mount.
    ///
    /// # Errors
    /// The first failed writeback; a failed write of the closing state: the volume then recovers at
    /// the next mount. It is closed in each case.
    ///
    /// # Durability
    /// All of it is durable on return.
    #[doc(alias = "umount")]
    pub fn unmount(&self) -> Result<()> {
        self.stop_background();
        if self.closed.load(Ordering::Acquire) {
            return Err(crate::Error::new(ErrorKind::Shutdown, "unmount"));
        }
        let result = if self.read_only { Ok(()) } else { self.write_all_and_close() };
        self.closed.store(true, Ordering::Release);
        result.map_err(|error| error.in_op("unmount"))
    }

    fn write_all_and_close(&self) -> Result<()> {
        self.check_writable()?;
        self.settle_images();
        // Twice: the first one may leave times of what was written meanwhile.
        let first = self.sync();
        let second = self.sync();
        self.remove_unheld_orphans()?;
        self.closed.store(true, Ordering::Release);
        self.store.close()?;
        first.and(second)
    }
}
