//! The kernel protocol on `/dev/fuse`: its bytes, their checked decoding, and the channel.
//!
//! Everything that knows the layout of a FUSE message lives below this module; the operations in
//! [`crate::ops`] see a decoded [`request::Operation`] and answer with a [`reply::Reply`]. A second
//! transport (FUSE over io_uring carries the same structures in other places) replaces
//! [`channel`] alone.
//!
//! We speak the protocol ourselves rather than through the `fuser` crate (considered at version
//! 0.18): it has no syncfs, tmpfile or statx, it cannot serve a `fuseblk` mount's needs in full,
//! and it copies the payload of each write. Here a payload arrives page-aligned
//! ([`channel::RequestBuffer`]), ready for direct I/O.
//!
//! | version | what it gave us |
//! |---|---|
//! | 7.31 | the oldest we serve (Linux 5.4) |
//! | 7.33 | set-id bits are ours to clear (`HANDLE_KILLPRIV_V2`), `SETXATTR_EXT` |
//! | 7.34 | `SYNCFS` |
//! | 7.36 | 64 feature bits (`INIT_EXT`) |
//! | 7.37 | `TMPFILE` |
//! | 7.38 | parallel direct writes, supplementary groups with creations |
//! | 7.39 | `STATX` (birth time), shared mappings of direct files |
//! | 7.41 | idmapped mounts |
//! | 7.45 | `COPY_FILE_RANGE_64`; the newest we know |

pub(crate) mod abi;
pub(crate) mod channel;
pub(crate) mod reply;
pub(crate) mod request;
