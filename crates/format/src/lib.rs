//! Every byte Ashlar keeps on disk: structures, limits and checksums. No I/O, no locks, no unsafe.
//!
//! ```text
//! block 0      superblock copy 0        copy G mod 2 holds generation G
//! block 1      superblock copy 1
//! block 2..    log                      circular, records padded to the device's sector
//! behind it    allocation groups        file data (4 KiB blocks) and B+tree nodes (16 KiB)
//! ```
//!
//! | module | what lives there |
//! |---|---|
//! | [`limits`] | sizes and maxima, tied together by compile-time checks |
//! | [`superblock`] | identity, geometry, tree roots, where the log starts |
//! | [`node`] | B+tree nodes: header, slots, cells, child pointers |
//! | [`key`] | the trees and the byte-comparable keys in each |
//! | [`inode`], [`extent`], [`name`] | values of the inodes, extents and names trees |
//! | [`log`], [`sums`] | log records: header, edits, data sums |
//! | [`features`] | feature flags and the format version |
//! | [`checksum`] | CRC-32C, and the seeded hash of names |
//! | [`corruption`] | what is said about bytes that are wrong |
//!
//! Bytes read from a device are untrusted: every decoder returns [`Corruption`] for what cannot
//! be, and never panics. `docs/FORMAT.md` states the same layouts; a test compares both.

pub mod checksum;
pub mod corruption;
pub mod extent;
pub mod features;
pub mod inode;
pub mod key;
pub mod limits;
pub mod log;
pub mod name;
pub mod node;
pub mod sums;
pub mod superblock;

pub use corruption::{Corruption, Result};
pub use limits::{BLOCK_SIZE, NODE_BLOCKS, NODE_SIZE};
