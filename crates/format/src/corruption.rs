//! What is said about bytes that are wrong: which structure, where, and what is the matter.

use thiserror::Error;

/// Result of decoding bytes from a device.
pub type Result<T> = std::result::Result<T, Corruption>;

/// A damaged structure, named precisely enough to find it with `ashlar dump`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("damaged {structure} at block {block}: {problem}; run `ashlar fsck` on the volume")]
pub struct Corruption {
    /// The kind of structure: "superblock", "inodes tree node", ...
    pub structure: &'static str,
    /// First block of the structure, or 0 where a value inside a tree is meant.
    pub block: u64,
    /// What does not fit, with the values seen.
    pub problem: String,
}

impl Corruption {
    /// Describes damage in `structure` at `block`.
    pub fn new(structure: &'static str, block: u64, problem: impl Into<String>) -> Self {
        Self { structure, block, problem: problem.into() }
    }
}
