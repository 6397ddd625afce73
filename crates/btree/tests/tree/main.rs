//! The tree over a simulated disk.
//!
//! | module | what it attacks |
//! |---|---|
//! | `histories` | everything at once, at random, against a map |
//! | `shape` | one property of the structure at a time |
//! | `faults` | reads that fail |
//! | `forged` | bytes that lie |
//! | `threads` | readers, a writer and a checkpoint at the same time |

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod faults;
mod forged;
mod histories;
mod shape;
mod simulated;
mod threads;
