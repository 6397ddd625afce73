//! Requests turned into runs: sorted, joined where they touch, and copied where memory is
//! misaligned.
//!
//! A plan owns the copies and the order; its runs borrow the caller's memory and the copies. The
//! same steps serve both directions:
//!
//! ```text
//! requests   [C][A   ][B]      in the caller's order
//! sorted     [A   ][B]  [C]    by address
//! runs       {A     B}  {C}    one vectored transfer each
//! ```

use std::io::{IoSlice, IoSliceMut};
use std::ops::Deref;

use crate::{AlignedBuf, Read, Write};

/// Memory pieces in one vectored call: the kernel's limit.
const VECTORS_MAX: usize = 1024;

/// One transfer: contiguous on the device from `addr` on, scattered in memory.
pub(super) struct Run<S> {
    pub(super) addr: u64,
    pub(super) vectors: Vec<S>,
}

impl<S: Deref<Target = [u8]>> Run<S> {
    /// Bytes to transfer.
    pub(super) fn length(&self) -> u64 {
        self.vectors.iter().map(|vector| vector.len() as u64).sum()
    }
}

/// The writes of one batch.
pub(super) struct WritePlan<'a> {
    /// Sorted by address; empty writes are gone.
    writes: Vec<Write<'a>>,
    /// For each write its aligned copy, where it needed one.
    copies: Vec<Option<AlignedBuf>>,
}

impl<'a> WritePlan<'a> {
    pub(super) fn new(writes: &[Write<'a>], memory_align: usize) -> Self {
        let mut writes: Vec<_> =
            writes.iter().filter(|write| !write.bytes.is_empty()).copied().collect();
        // Stable: overlapping writes are the caller's error, but then the later one still wins.
        writes.sort_by_key(|write| write.addr);
        let copies = writes
            .iter()
            .map(|write| {
                (!is_aligned(write.bytes, memory_align))
                    .then(|| AlignedBuf::from_slice(write.bytes))
            })
            .collect();
        Self { writes, copies }
    }

    pub(super) fn runs(&self) -> Vec<Run<IoSlice<'_>>> {
        join(self.writes.iter().zip(&self.copies).map(|(write, copy)| {
            (write.addr, IoSlice::new(copy.as_deref().unwrap_or(write.bytes)))
        }))
    }
}

/// The reads of one batch. After the runs are done, [`copy_back`](Self::copy_back).
pub(super) struct ReadPlan<'p, 'b> {
    /// Sorted by address; empty reads are gone.
    reads: Vec<&'p mut Read<'b>>,
    /// For each read the aligned memory that is filled in its place, where it needs one.
    copies: Vec<Option<AlignedBuf>>,
}

impl<'p, 'b> ReadPlan<'p, 'b> {
    pub(super) fn new(reads: &'p mut [Read<'b>], memory_align: usize) -> Self {
        let mut reads: Vec<_> = reads.iter_mut().filter(|read| !read.buf.is_empty()).collect();
        reads.sort_by_key(|read| read.addr);
        let copies = reads
            .iter()
            .map(|read| {
                (!is_aligned(read.buf, memory_align))
                    .then(|| AlignedBuf::new_zeroed(read.buf.len()))
            })
            .collect();
        Self { reads, copies }
    }

    pub(super) fn runs(&mut self) -> Vec<Run<IoSliceMut<'_>>> {
        join(self.reads.iter_mut().zip(&mut self.copies).map(|(read, copy)| {
            (read.addr, IoSliceMut::new(copy.as_deref_mut().unwrap_or(read.buf)))
        }))
    }

    /// Moves what went into aligned memory to where the caller wants it.
    pub(super) fn copy_back(self) {
        for (read, copy) in self.reads.into_iter().zip(self.copies) {
            if let Some(copy) = copy {
                read.buf.copy_from_slice(&copy);
            }
        }
    }
}

fn is_aligned(bytes: &[u8], align: usize) -> bool {
    bytes.as_ptr().addr().is_multiple_of(align)
}

/// Joins pieces, sorted by address, that touch each other on the device.
fn join<S: Deref<Target = [u8]>>(pieces: impl Iterator<Item = (u64, S)>) -> Vec<Run<S>> {
    let mut runs: Vec<Run<S>> = Vec::new();
    let mut end = 0;
    for (addr, vector) in pieces {
        let after = addr + vector.len() as u64;
        match runs.last_mut() {
            Some(run) if end == addr && run.vectors.len() < VECTORS_MAX => run.vectors.push(vector),
            _ => runs.push(Run { addr, vectors: vec![vector] }),
        }
        end = after;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_writes_share_a_run() {
        let bytes = [0; 4096];
        let write = |addr, length| Write { addr, bytes: &bytes[..length] };
        let plan = WritePlan::new(
            &[write(8192, 512), write(0, 1024), write(4096, 0), write(1024, 512), write(2048, 512)],
            1,
        );
        let runs = plan.runs();
        let shape: Vec<_> = runs.iter().map(|r| (r.addr, r.length(), r.vectors.len())).collect();
        assert_eq!(shape, [(0, 1536, 2), (2048, 512, 1), (8192, 512, 1)]);
    }

    #[test]
    fn run_is_cut_at_kernel_limit() {
        let bytes = [0; 512];
        let writes: Vec<_> =
            (0..VECTORS_MAX as u64 + 1).map(|i| Write { addr: i * 512, bytes: &bytes }).collect();
        let plan = WritePlan::new(&writes, 1);
        let shape: Vec<_> = plan.runs().iter().map(|run| run.vectors.len()).collect();
        assert_eq!(shape, [VECTORS_MAX, 1]);
    }

    #[test]
    fn only_misaligned_memory_is_copied() {
        let buffer = AlignedBuf::new_zeroed(8192);
        let plan = WritePlan::new(
            &[
                Write { addr: 0, bytes: &buffer[512..1024] },
                Write { addr: 4096, bytes: &buffer[1..513] },
            ],
            512,
        );
        assert!(plan.copies[0].is_none());
        assert!(plan.copies[1].is_some());
    }

    #[test]
    fn misaligned_read_is_copied_back() {
        let mut buffer = AlignedBuf::new_zeroed(8192);
        let (first, second) = buffer.split_at_mut(4097);
        let mut reads =
            [Read { addr: 512, buf: &mut second[..512] }, Read { addr: 0, buf: &mut first[..512] }];
        let mut plan = ReadPlan::new(&mut reads, 512);
        let mut runs = plan.runs();
        assert_eq!((runs.len(), runs[0].addr, runs[0].vectors.len()), (1, 0, 2));
        runs[0].vectors[0].fill(1);
        runs[0].vectors[1].fill(2);
        drop(runs);
        plan.copy_back();
        assert!(buffer[..512].iter().all(|&byte| byte == 1));
        assert!(buffer[4097..4609].iter().all(|&byte| byte == 2));
    }
}
