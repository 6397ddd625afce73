//! The commit protocol as an executable model: small enough to be tried with *every* program of a
//! few steps and *every* power cut, where the sweeps of the real thing take samples.
//!
//! ```text
//!   explore ── every operation, every subset of unflushed cells ──> Machine
//!                 │                                          ┌────────┼─────────┐
//!                 └── states seen before are left out      Disk    Volume    Promise
//!                     (canon)                         what a cut   log, trees,  what must
//!                                                     may leave    allocator    be found
//! ```
//!
//! Modelled: several blocks a file and several files, remapped and journaled commits, commits of
//! several records, appends into a summed block, truncation, overwrites in place, freeing and
//! reuse, seals, checkpoints in steps or at once, power cuts, killed processes, and both during
//! recovery. Left out: trees (a checkpoint is one node), the ring (records have addresses for
//! ever), bytes (a block is two cells, each written whole; a stamp says who wrote it).
//!
//! Every [`Rule`] can be taken out of force; each is needed, and the tests hold the proof of that:
//! a program and a cut after which a promise is broken. `docs/CRASH.md` explains them in words.
//!
//! | module | idea |
//! |---|---|
//! | [`disk`] | cells, durable or pending; everything that a cut may leave |
//! | [`record`] | what a record of the log says, and what that does to the trees |
//! | [`volume`] | the live protocol: where the rules are kept |
//! | [`checkpoint`] | freeze, record, flip, release |
//! | [`recovery`] | opening a disk that was cut |
//! | [`promise`] | what the user was told |
//! | [`machine`] | operations on all three, and the moments at which power may go |
//! | [`canon`] | states that differ only by names are the same |
//! | [`explore`] | all programs in order of length; random ones for the long run |
//! | [`programs`] | what is explored |

pub mod canon;
pub mod checkpoint;
pub mod disk;
pub mod explore;
pub mod machine;
pub mod programs;
pub mod promise;
pub mod record;
pub mod recovery;
pub mod volume;

use std::fmt;

/// What must be kept; numbered as in `docs/CRASH.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// 1. A block is overwritten in place only once its record is proven flushed, unless the bytes
    ///    that were summed stay.
    ProofOverwrite = 1,
    /// 2. A freed block is reused only once the record that freed it is proven flushed.
    ProofReuse,
    /// 3. A checkpoint's own record counts only if the superblock reached that checkpoint.
    Conditional,
    /// 4. The old checkpoint's nodes are reusable only after the flip is durable.
    NodeHold,
    /// 5. Recovery writes and flushes a proof record before anything else is written.
    RecoveryProof,
    /// 6. Recovery verifies data sums of records that are not proven flushed.
    Sums,
    /// 7. A journaled commit goes home only after its record is durable.
    HomeDurable,
    /// 8. The log's tail passes a journaled record only when its bytes are home and flushed.
    HomeCheckpoint,
    /// 9. An overwrite of a journaled block waits until the record's bytes are home and flushed.
    RevokeHome,
    /// 10. And is logged with a revoke, so that replay does not put the old bytes back.
    RevokeRecord,
    /// 11. Replay writes home only after the last record.
    HomeLast,
    /// 12. Recovery flushes what it read before it vouches for it.
    RecoveryFlush,
    /// 13. The proof record of a recovery differs from any record that it may replace.
    ProofDistinct,
    /// 14. The records of one commit count all or not at all.
    Whole,
    /// 15. Freeing a block revokes what the log holds for it.
    FreeRevokes,
    /// 16. A block whose journaled bytes are on their way home is not handed out before they are
    ///     flushed, although it was freed meanwhile.
    HomeHold,
    /// 17. Bytes that a truncation cut off a block are not written again, in place, before it is
    ///     flushed: until then they are part of what a cut brings back.
    TailReuse,
}

impl Rule {
    /// All rules, by number.
    pub const ALL: [Self; 17] = [
        Self::ProofOverwrite,
        Self::ProofReuse,
        Self::Conditional,
        Self::NodeHold,
        Self::RecoveryProof,
        Self::Sums,
        Self::HomeDurable,
        Self::HomeCheckpoint,
        Self::RevokeHome,
        Self::RevokeRecord,
        Self::HomeLast,
        Self::RecoveryFlush,
        Self::ProofDistinct,
        Self::Whole,
        Self::FreeRevokes,
        Self::HomeHold,
        Self::TailReuse,
    ];
}

/// The rules in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rules(u32);

impl Rules {
    /// All of them.
    pub const ALL: Self = Self(u32::MAX);

    /// All but one.
    #[must_use]
    pub fn without(rule: Rule) -> Self {
        Self(!(1 << rule as u32))
    }

    /// True when the rule is kept.
    #[must_use]
    pub fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
