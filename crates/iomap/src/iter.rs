//! The loop under every operation: ask, check the answer, let the operation work, report back.
//!
//! ```text
//!   request   |------------------------------------|
//!   begin 1   |-------------|                         answers may cover less than asked
//!   work      |=======|                               the operation may do less than answered
//!   end(written = |=======|)
//!   begin 2           |-----------------------|       asked again from where work stopped
//! ```
//!
//! Called by every operation → calls [`MappingOps`].
//!
//! Invariants:
//! - (I1) `end` is called exactly once for each `begin` that succeeded, also when the operation
//!   leaves early: dropping the iterator ends the round.
//! - (I2) no answer reaches an operation unchecked (contract rules C1–C6 of [`MappingOps`]).
//! - (I3) the loop stops when a round makes no progress, unless its mapping was stale; stale rounds
//!   in a row are bounded by [`STALE_ROUNDS_MAX`].

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::{Mapping, MappingKind};
use crate::ops::{MapMods, MapReply, MapRequest, MappingOps, Outcome, Purpose};

/// Rounds in a row that may find their mapping out of date. Each needs a change of the map between
/// `begin` and the check right after; a file system that gets here never validates anything.
pub const STALE_ROUNDS_MAX: u32 = 10_000;

/// Largest file offset of the library, as that of POSIX `off_t`.
pub const OFFSET_MAX: u64 = i64::MAX as u64;

/// The loop of one operation over the mappings of a range. See the module for the invariants.
///
/// ```
/// # use iomap::*;
/// # struct Ops;
/// # impl MappingOps for Ops {
/// #     fn begin(&self, request: &MapRequest) -> Result<MapReply> {
/// #         Ok(Mapping::new(request.offset, 4096, MappingKind::Hole).into())
/// #     }
/// # }
/// # fn count_holes(ops: &dyn MappingOps) -> Result<u64> {
/// let request =
///     MapRequest { offset: 0, length: 8192, purpose: Purpose::Report, mods: MapMods::empty() };
/// let mut iter = MappingIter::new("count_holes", ops, request);
/// let mut holes = 0;
/// while iter.next_mapping()? {
///     if iter.mapping().kind == MappingKind::Hole {
///         holes += iter.length();
///     }
///     iter.advance(iter.length());
/// }
/// # Ok(holes) }
/// # assert_eq!(count_holes(&Ops).unwrap(), 8192);
/// ```
#[doc(alias = "iomap_iter")]
pub struct MappingIter<'a> {
    ops: &'a dyn MappingOps,
    operation: &'static str,
    /// What is still to do; shrinks as rounds end.
    request: MapRequest,
    /// Rule C6 asks addressed mappings to be multiples of this; 1 when no I/O follows.
    block_size: u64,
    round: Option<Round>,
    /// Bytes done in rounds that have ended.
    done: u64,
    stale_rounds: u32,
}

/// The part between one `begin` and its `end`.
struct Round {
    reply: MapReply,
    outcome: Outcome,
}

impl<'a> MappingIter<'a> {
    /// A loop over `request`, for the operation of that name.
    #[must_use]
    pub fn new(operation: &'static str, ops: &'a dyn MappingOps, request: MapRequest) -> Self {
        Self { ops, operation, request, block_size: 1, round: None, done: 0, stale_rounds: 0 }
    }

    /// The same loop for an operation that does I/O: rule C6 then asks for block borders.
    #[must_use]
    pub fn with_block_size(mut self, block_size: u32) -> Self {
        self.block_size = u64::from(block_size);
        self
    }

    /// Ends the round under way, if any, and begins the next one. `false`: nothing is left to do,
    /// or the last round did nothing.
    ///
    /// # Errors
    /// What `begin` or `end` return; [`ErrorKind::Contract`] when the answer breaks a rule.
    pub fn next_mapping(&mut self) -> Result<bool> {
        if let Some(progress) = self.end_round()? {
            // I3: without progress the same answer would come for ever.
            if progress.written == 0 && !progress.stale {
                return Ok(false);
            }
            self.stale_rounds = if progress.written == 0 { self.stale_rounds + 1 } else { 0 };
            if self.stale_rounds > STALE_ROUNDS_MAX {
                return Err(self.contract("is_valid never accepted a mapping"));
            }
        }
        if self.request.length == 0 {
            return Ok(false);
        }
        if self.request.offset.checked_add(self.request.length).is_none_or(|end| end > OFFSET_MAX) {
            let kind = ErrorKind::InvalidArgument("the range ends past 2^63 - 1");
            return Err(Error::new(self.operation, kind).at(self.request.offset));
        }
        let reply = self.ops.begin(&self.request)?;
        // I1: the round exists before the checks, so that a refused answer is ended, too.
        self.round = Some(Round { reply, outcome: Outcome::default() });
        self.check_answer()?;
        Ok(true)
    }

    /// The mapping of this round.
    ///
    /// # Panics
    /// Outside a round: before the first [`next_mapping`](Self::next_mapping) or after it said
    /// `false`.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.round().reply.mapping
    }

    /// Where old contents are read from: the source if there is one, else the mapping itself.
    ///
    /// # Panics
    /// As [`mapping`](Self::mapping).
    #[must_use]
    #[doc(alias = "iomap_iter_srcmap")]
    pub fn source(&self) -> &Mapping {
        let reply = &self.round().reply;
        reply.source.as_ref().unwrap_or(&reply.mapping)
    }

    /// Offset of the first byte not yet done.
    #[must_use]
    pub fn offset(&self) -> u64 {
        let here = self.round.as_ref().map_or(0, |round| round.outcome.written);
        self.request.offset + here
    }

    /// Bytes that can be done in this round from [`offset`](Self::offset): up to the end of the
    /// request, of the mapping, and of the source if there is one.
    ///
    /// # Panics
    /// As [`mapping`](Self::mapping).
    #[must_use]
    #[doc(alias = "iomap_length")]
    pub fn length(&self) -> u64 {
        let reply = &self.round().reply;
        let source_end = reply.source.as_ref().map_or(u64::MAX, Mapping::end);
        let request_end = self.request.offset + self.request.length;
        request_end.min(reply.mapping.end()).min(source_end).saturating_sub(self.offset())
    }

    /// The request of this round, as `begin` saw it.
    #[must_use]
    pub fn request(&self) -> &MapRequest {
        &self.request
    }

    /// Bytes done since the loop began.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done + self.round.as_ref().map_or(0, |round| round.outcome.written)
    }

    /// Records that `length` more bytes are done.
    ///
    /// # Panics
    /// When that is more than [`length`](Self::length): a bug of the operation.
    pub fn advance(&mut self, length: u64) {
        assert!(length <= self.length(), "an operation did more than its mapping covers");
        if let Some(round) = &mut self.round {
            round.outcome.written += length;
        }
    }

    /// Records that the mapping was found out of date: the round ends and the rest is asked again.
    pub fn mark_stale(&mut self) {
        if let Some(round) = &mut self.round {
            round.outcome.stale = true;
        }
    }

    /// Records that this round moved the end of the file.
    pub fn mark_size_changed(&mut self) {
        if let Some(round) = &mut self.round {
            round.outcome.size_changed = true;
        }
    }

    /// Whether the file system still stands by this round's mapping. Called with the cache locked.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.ops.is_valid(self.mapping())
    }

    /// Ends the round under way and the loop; bytes done.
    ///
    /// # Errors
    /// What `end` returns.
    pub fn finish(mut self) -> Result<u64> {
        self.end_round()?;
        Ok(self.done)
    }

    fn round(&self) -> &Round {
        self.round.as_ref().expect("mapping() is for the body of the loop only")
    }

    /// Calls `end` for the round under way and counts its bytes.
    fn end_round(&mut self) -> Result<Option<Outcome>> {
        // I1: taken first, so that an error of `end` cannot lead to a second `end`.
        let Some(Round { reply, outcome }) = self.round.take() else { return Ok(None) };
        let request = self.request;
        self.request.offset += outcome.written;
        self.request.length -= outcome.written;
        self.done += outcome.written;
        self.ops.end(&request, &reply.mapping, outcome)?;
        Ok(Some(outcome))
    }

    fn contract(&self, rule: &'static str) -> Error {
        Error::contract(self.operation, rule, self.request.offset)
    }

    /// I2: the one place where every answer of every file system passes.
    fn check_answer(&self) -> Result<()> {
        let MapReply { mapping, source } = &self.round().reply;
        self.check_mapping(mapping)?;
        let request = &self.request;
        let needs_space = match request.purpose {
            Purpose::Write | Purpose::Fault => true,
            Purpose::Unshare => source.is_none(),
            Purpose::Read | Purpose::Zero | Purpose::Report => false,
        };
        if needs_space && mapping.kind == MappingKind::Hole {
            return Err(self.contract("C3: a hole cannot be written to"));
        }
        let Some(source) = source else { return Ok(()) };
        if request.mods.contains(MapMods::DIRECT) {
            return Err(self.contract("C4: direct I/O has no separate source"));
        }
        if source.kind == MappingKind::Delalloc {
            return Err(self.contract("C4: a source must be readable"));
        }
        self.check_mapping(source)
    }

    fn check_mapping(&self, mapping: &Mapping) -> Result<()> {
        if mapping.length == 0 {
            return Err(self.contract("C1: the mapping is empty"));
        }
        if mapping.offset.checked_add(mapping.length).is_none() {
            return Err(self.contract("C1: the mapping's end overflows"));
        }
        if !mapping.covers(self.request.offset) {
            return Err(self.contract("C2: the mapping does not cover the first byte"));
        }
        match &mapping.kind {
            MappingKind::Hole | MappingKind::Delalloc => Ok(()),
            MappingKind::Inline(bytes) if bytes.len() as u64 > mapping.length => {
                Err(self.contract("C5: inline data is longer than its mapping"))
            }
            MappingKind::Inline(_) => Ok(()),
            MappingKind::Mapped { addr } | MappingKind::Unwritten { addr } => {
                if addr.checked_add(mapping.length).is_none() {
                    return Err(self.contract("C6: the address overflows"));
                }
                // Block sizes are powers of two, so one test covers all three.
                if (mapping.offset | mapping.length | addr) & (self.block_size - 1) != 0 {
                    return Err(self.contract("C6: the mapping is not made of whole blocks"));
                }
                Ok(())
            }
        }
    }
}

impl Drop for MappingIter<'_> {
    /// I1 for operations that leave early.
    fn drop(&mut self) {
        // The operation is already on its way out with its own error, which is the cause.
        let _ = self.end_round();
    }
}
