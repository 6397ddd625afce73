//! The inode as the library sees it.

use ashlar_device::Device;

use crate::cache::PageCache;

/// One file of the file system: its size, its cache, its device.
///
/// All methods may be called with the file's cache locked (lock order: inode lock → invalidate lock
/// → cache → the file system's map lock), so they must be quick, must not do I/O and must not call
/// the cache.
#[doc(alias = "address_space")]
pub trait Host: Send + Sync {
    /// End of the file in bytes.
    #[doc(alias = "i_size_read")]
    fn size(&self) -> u64;

    /// Moves the end of the file to `size` after a write past it. The caller of the library holds
    /// the inode lock; the library holds the cache's lock, so that writeback never sees the bytes
    /// without the size.
    #[doc(alias = "i_size_write")]
    fn set_size(&self, size: u64);

    /// Block size in bytes: a power of two from 512 to 65536, constant, equal to that of
    /// [`cache`](Host::cache).
    fn block_size(&self) -> u32;

    /// The file's page cache.
    fn cache(&self) -> &PageCache;

    /// The device that addresses of this file's mappings refer to.
    fn device(&self) -> &dyn Device;
}
