//! How to make and how to mount a volume.

use crate::clock::{Clock, SystemClock};
use crate::types::AtomicClose;
use std::sync::Arc;

/// What a new volume is to be.
#[derive(Debug, Clone)]
pub struct FormatOptions {
    /// Name, at most 64 bytes of UTF-8.
    pub label: String,
    /// Identity; random where not given.
    pub uuid: Option<[u8; 16]>,
    /// Seed of name hashes; random where not given.
    pub hash_seed: Option<u64>,
    /// Write every block once, so that the host of an image file allocates all of them now.
    pub prealloc: bool,
    /// Owner of the root directory.
    pub root_uid: u32,
    /// Group of the root directory.
    pub root_gid: u32,
    /// Permission bits of the root directory.
    pub root_mode: u16,
    /// When the volume is made.
    pub clock: Arc<dyn Clock>,
}

impl Default for FormatOptions {
    fn default() -> Self {
        Self {
            label: String::new(),
            uuid: None,
            hash_seed: None,
            prealloc: false,
            root_uid: 0,
            root_gid: 0,
            root_mode: 0o755,
            clock: Arc::new(SystemClock),
        }
    }
}

/// When reading a file changes its access time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Atime {
    /// When the old one is not newer than the last change, or older than a day.
    #[default]
    Relatime,
    /// Always.
    Strict,
    /// Never.
    Never,
}

/// How to mount.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// Write nothing at all; replay the log in memory only.
    pub read_only: bool,
    /// When reading changes access times.
    pub atime: Atime,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Run threads that write back, sync and clean up. Without them nothing happens by itself:
    /// the caller drives [`Volume::background_step`](crate::Volume::background_step) and
    /// [`Volume::sync`](crate::Volume::sync), and everything is determined by the calls made.
    pub background: bool,
    /// Memory for cached file data, bytes.
    pub cache_bytes: u64,
    /// Memory for clean tree nodes, bytes.
    pub node_cache_bytes: usize,
    /// The caller has a page cache of its own (FUSE): large requests bypass ours, and data
    /// leaves it soon after it is clean.
    pub kernel_cache: bool,
    /// Every regular file that is opened for writing is atomic, and its last close does this.
    pub atomic: Option<AtomicClose>,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            atime: Atime::Relatime,
            clock: Arc::new(SystemClock),
            background: true,
            cache_bytes: 256 << 20,
            node_cache_bytes: 64 << 20,
            kernel_cache: false,
            atomic: None,
        }
    }
}
