//! Ioctls on files of a mounted volume: their numbers, and how to call Ashlar's own.
//!
//! FUSE carries an ioctl to its server when its number tells direction and size, which all of
//! these do. What fallocate(2) and FIEMAP offer elsewhere but the kernel does not pass on to FUSE
//! is offered as an ioctl: taking out and putting in a range, and the extent map. So are the
//! switches of atomic files, and the commit of several files together.

pub mod abi;
mod atomic;
mod client;

pub use atomic::{
    abort_atomic, atomic, begin_atomic, commit_atomic, commit_together, io_info, set_atomic,
};
pub use client::{Extent, collapse_range, extents, insert_range};
