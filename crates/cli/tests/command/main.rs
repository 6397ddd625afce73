//! The command as people and scripts use it: arguments in, output and exit codes out.
//!
//! Every test runs the real program in a directory of its own. Mount tests need `/dev/fuse` and
//! root, and say so when they have to be left out.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod check;
mod copy;
mod mkfs;
mod mount;
mod support;
mod usage;
