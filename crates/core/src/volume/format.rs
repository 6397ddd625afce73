//! mkfs: an empty volume with its root directory.

use crate::error::Result;
use crate::types::{FileKind, Ino, InodeFlags};
use crate::volume::{FormatOptions, Volume};
use ashlar_device::Device;
use ashlar_format::inode::InodeRecord;
use ashlar_format::key::{self, TreeId};
use ashlar_store::Store;
use std::sync::Arc;

impl Volume {
    /// Makes an empty volume that fills the device; whatever was there is lost.
    ///
    /// # Errors
    /// `Invalid` (EINVAL) for a device below 16 MiB or above 4 EiB; `Io` (EIO).
    ///
    /// # Durability
    /// All of it is durable on return. A format that is cut short leaves no volume.
    #[doc(alias = "mkfs")]
    pub fn format(device: &Arc<dyn Device>, options: &FormatOptions) -> Result<()> {
        let now = options.clock.now();
        let root = InodeRecord {
            kind: FileKind::Directory,
            permissions: options.root_mode & 0o7777,
            nlink: 2,
            uid: options.root_uid,
            gid: options.root_gid,
            rdev: 0,
            generation: 1,
            size: 0,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            flags: InodeFlags::empty(),
            project: 0,
            parent: Ino::ROOT.0,
            map_generation: 0,
            inline: None,
        };
        let store_options = ashlar_store::FormatOptions {
            label: options.label.clone(),
            uuid: options.uuid,
            hash_seed: options.hash_seed,
            created: now.seconds,
            prealloc: options.prealloc,
        };
        Store::format(device, &store_options, |txn| {
            txn.put(TreeId::Inodes, &key::inode(Ino::ROOT.0), &root.encode());
        })
        .map_err(|error| crate::Error::from(error).in_op("format"))
    }
}
