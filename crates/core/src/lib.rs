//! Files and names of an Ashlar volume, by inode number.
//!
//! Called by `ashlar` (paths) and `ashlar-fuse` (the kernel); calls `iomap` for file data and
//! `ashlar-store` for everything that must survive a crash.
//!
//! ```text
//!   Volume::create · lookup · rename · setattr · setxattr        File::read_at · write_at · fsync
//!        │  dir/  inode/  xattr/                                      │  file/
//!        │                                                            ▼
//!        │                                             iomap: page cache, direct I/O, writeback
//!        │                                                            │  mapping/ answers "where?"
//!        │                                                            ▼
//!        │                                             extent/: the one gate of block maps
//!        ▼                                                            ▼
//!   ashlar-store: transactions, log, trees, space
//! ```
//!
//! Permission bits are checked above this crate (by the kernel under FUSE). What the kernel cannot
//! know is enforced here: immutable and append-only files, read-only volumes, set-id rules.
//!
//! The order of locks is written down in [`inode`](self) (`inode/mod.rs`).

mod atomic;
mod clock;
mod dir;
mod error;
mod extent;
mod file;
mod inode;
mod mapping;
mod types;
mod volume;
mod xattr;

pub use ashlar_store::RecoveryReport;
pub use clock::{Clock, SystemClock, Timestamp};
pub use error::{Error, ErrorKind, Result};
pub use file::File;
pub use types::{
    AtomicClose, Attr, Caller, DirEntry, ExtentReport, ExtentState, FallocateMode, FileKind, Ino,
    InodeFlags, IoInfo, NewInode, OpenFlags, RenameFlags, SetAttr, SetTime, ShutdownMode, Statfs,
    VolumeInfo, WriteFlags, XattrMode,
};
pub use volume::{Atime, FormatOptions, Hold, MountOptions, Volume};

#[cfg(test)]
mod tests;
