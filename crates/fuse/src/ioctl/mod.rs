//! Ioctls on files of a mounted volume: their numbers, and how to call Ashlar's own.
//!
//! FUSE carries an ioctl to its server when its number tells direction and size, which all of
//! these do. What fallocate(2) and FIEMAP offer elsewhere but the kernel does not pass on to FUSE
//! is offered as an ioctl: taking out and putting in a range, and the extent map.

pub mod abi;
mod client;

pub use client::{Extent, collapse_range, extents, insert_range};
