//! Checks, repairs and prints an Ashlar volume, independently of the code that writes it.
//!
//! Stands on device and format only: trees are walked and the log is replayed by code of its own,
//! so that a bug in one reading of the format does not hide in the other.
//!
//! ```text
//!   check ── superblock ── log, replayed in memory ── passes over all trees ──> findings, report
//!                                                         └── repair: trees, new checkpoint
//!   dump  ── superblock, log, trees, inodes, paths, nodes ──> text
//! ```
//!
//! Everything is checked *as the next mount will see it*: the checkpoint's trees with the log on
//! top. A volume that was not unmounted cleanly is not wrong for that
//! ([`Report::needs_recovery`]).
//!
//! # Repair
//!
//! With [`CheckOptions::repair`] what can be corrected without a guess is: free space and its
//! counts (from who owns what), link counts, directory sizes and parents, block counts, names of
//! nothing, missing orphans, nameless files (into `/lost+found`), counts of trees. Repair writes a
//! checkpoint of its own that contains the replayed log, so it needs no mount before, not even on a
//! volume that no mount would accept. Only free blocks are written before the superblock is: a cut
//! in the middle leaves the volume as it was. Nothing is written where something was found that
//! would turn a correction into a guess, nor where nothing is wrong.
//!
//! The caller makes sure that nobody has the volume mounted.
//!
//! # Example
//!
//! ```
//! use ashlar_check::{CheckOptions, check};
//! use ashlar_device::MemoryDevice;
//!
//! let device = MemoryDevice::new(16 << 20);
//! let mut print = |finding: &ashlar_check::Finding| println!("{finding}");
//! let result = check(&device, CheckOptions { on_finding: &mut print, ..CheckOptions::default() });
//! assert!(result.is_err(), "an empty device is not a volume");
//! ```

mod blocks;
mod check;
mod context;
mod dump;
mod error;
mod finding;
mod fixes;
mod log;
mod lookup;
mod node_batch;
mod passes;
mod paths;
mod print;
mod repair;
mod replay;
mod report;
mod stream;
mod table;
mod volume;
mod walk;

pub use check::{CheckOptions, check};
pub use context::{Phase, Progress};
pub use dump::{DumpTarget, dump};
pub use error::{Error, Result};
pub use finding::{
    ExtentProblem, Finding, FindingKind, FreeExtentProblem, Location, NameProblem, Owner, Severity,
    SpaceEditProblem, XattrProblem,
};
pub use report::{FINDINGS_PER_KIND_MAX, Report};

#[cfg(test)]
mod tests;
