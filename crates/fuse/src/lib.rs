//! Serves an Ashlar volume to the kernel through FUSE.
//!
//! ```text
//!    programs ─▶ kernel (VFS, page cache) ─▶ /dev/fuse
//!                                               │ bytes
//!      session   threads, start and end      wire/channel
//!                                            wire/request, wire/reply
//!                                               │ Operation ─▶ Reply
//!                                              ops/*
//!                                               │ inode numbers, ranges, names
//!                                            ashlar-core
//! ```
//!
//! The kernel protocol is spoken here, not through a library: `fuser` (0.18 was considered) has
//! no syncfs, tmpfile or statx, which we promise, and copies the payload of every write. The
//! layer that knows bytes ([`wire`]) is small and apart, so that FUSE over io_uring can become a
//! second transport below the same operations.
//!
//! What a mount promises beyond the usual: [`ops`] lists the operations; files keep their birth
//! time, ACLs, set-id rules and flags as local file systems do; a block device is mounted as
//! `fuseblk`, which brings bmap, swap files and syncfs.
//!
//! ```no_run
//! use std::path::Path;
//! let options = ashlar_fuse::MountOptions::parse("noatime")?;
//! let mounted = ashlar_fuse::mount(Path::new("disk.img"), Path::new("/mnt"), &options)?;
//! mounted.serve()?; // until somebody unmounts
//! # Ok::<(), ashlar_fuse::Error>(())
//! ```

mod credentials;
mod error;
mod handles;
mod inside;
pub mod ioctl;
mod mount;
mod ops;
mod options;
mod session;
mod sys;
mod wire;

pub use ashlar_core::AtomicClose;
pub use error::{Error, Result};
pub use mount::unmount;
pub use options::{Access, Atime, MountOptions};
pub use session::{Mounted, mount, mount_volume, volume_options};
