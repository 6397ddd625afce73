//! Real system calls on a real mount: root, `/dev/fuse` and a small image file.
//!
//! Each test formats and mounts a volume of its own and fails if it cannot: a silently skipped
//! kernel interface proves nothing. Set `ASHLAR_NO_FUSE=1` where there is no FUSE at all; the
//! tests then pass without having tested anything.

mod attributes;
mod data;
mod harness;
mod ioctls;
mod lifetime;
mod names;
mod privileges;
mod sessions;
mod xattrs;
