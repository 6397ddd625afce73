//! Power cuts and failing devices, simulated; and an oracle that says what must survive them.
//!
//! ```text
//!   workload ── program ──> Volume ──> SimDevice (remembers every write and flush)
//!                  │                        │ cut after any operation
//!                oracle              CrashStates: what the device may hold then
//!                  │                        │ mount, again cut short, and again
//!                  └── judge <── found ── Volume on that state, checked by ashlar-check
//! ```
//!
//! What the media are assumed to do is in `docs/CRASH.md`; the simulator grants exactly that:
//! * sectors of 512 bytes are written whole or not at all;
//! * a flush that returned has made durable everything completed before it;
//! * nothing else: between flushes any subset of sectors may have arrived, in any order.
//!
//! | module | idea |
//! |---|---|
//! | [`image`] | bytes of a device, copied on write, cheap to keep by the thousand |
//! | [`history`] | what happened, and what of it is durable |
//! | [`device`] | a device that remembers its history |
//! | [`crash`] | what a cut may leave |
//! | [`fault`] | a device that fails on purpose, or lies |
//! | [`workload`], [`program`] | random programs, and running them |
//! | [`oracle`] | what the promises allow |
//! | [`atomic`] | the same for files that are committed as a whole |
//! | [`sweep`] | all of it together, by seed |
//! | [`model`] | the commit protocol alone, tried exhaustively |

pub mod atomic;
pub mod crash;
pub mod device;
pub mod fault;
pub mod history;
pub mod image;
pub mod model;
pub mod oracle;
pub mod program;
pub mod sweep;
pub mod workload;
