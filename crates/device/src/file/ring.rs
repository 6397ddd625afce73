//! Many transfers with one system call: the calling thread's own `io_uring`.
//!
//! A safe interface over raw pointers. The rules that make it sound:
//! * **R1** Between calls the submission queue is empty and nothing is in flight.
//! * **R2** A call returns only after the completion of every request that the kernel took was
//!   seen, so the borrowed memory outlives its use. Where that cannot be achieved, and on a panic
//!   in between, the process aborts.
//! * **R3** A ring whose submission failed may still hold entries that point to borrowed memory. It
//!   is closed at once, and never entered again; a closed ring submits nothing.
//! * **R4** A ring is used by the thread and the process that made it. After a fork the child has
//!   the ring's memory unmapped, so it forgets it and makes its own.
//!
//! Locking: none. Waiting for task work instead of interrupts makes the ring single-threaded, which
//! a thread-local one is.

// Requests carry raw pointers to memory that the kernel reads and writes.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};

use io_uring::{IoUring, opcode, squeue, types};

use super::run::Run;

/// What became of one run: the `io_uring` result, or nothing where it was not tried.
pub(super) type Outcome = Option<i32>;

/// Requests in flight per thread. More than a disk keeps busy with; larger batches take turns.
const ENTRIES: u32 = 128;

/// This thread's ring.
enum Slot {
    Untried,
    Ready(Box<Ring>),
    /// The host refused, or the ring broke: this thread uses plain calls from now on.
    Refused,
}

struct Ring {
    io: IoUring,
    process: u32,
}

thread_local! {
    static SLOT: RefCell<Slot> = const { RefCell::new(Slot::Untried) };
}

/// Whether this thread has, or now gets, a ring.
pub(super) fn is_available() -> bool {
    SLOT.with_borrow_mut(|slot| ready(slot).is_some())
}

/// Writes every run; `None` for those that were not tried.
pub(super) fn write(file: &File, runs: &[Run<IoSlice<'_>>]) -> Vec<Outcome> {
    let fd = file.as_raw_fd();
    let entries = runs.iter().map(|run| {
        // `IoSlice` has the layout of `iovec` on Unix, as its documentation promises. At most
        // `VECTORS_MAX` of them.
        let vectors: *const libc::iovec = run.vectors.as_ptr().cast();
        opcode::Writev::new(types::Fd(fd), vectors, run.vectors.len() as u32)
            .offset(run.addr)
            .build()
    });
    let entries: Vec<_> = entries.collect();
    // SAFETY: the vectors and what they point to are borrowed until this function returns, and the
    // kernel only reads them.
    unsafe { transfer(&entries) }
}

/// Fills every run; `None` for those that were not tried.
pub(super) fn read(file: &File, runs: &mut [Run<IoSliceMut<'_>>]) -> Vec<Outcome> {
    let fd: RawFd = file.as_raw_fd();
    let entries = runs.iter_mut().map(|run| {
        // As above, for `IoSliceMut`.
        let vectors: *const libc::iovec = run.vectors.as_mut_ptr().cast::<libc::iovec>();
        opcode::Readv::new(types::Fd(fd), vectors, run.vectors.len() as u32)
            .offset(run.addr)
            .build()
    });
    let entries: Vec<_> = entries.collect();
    // SAFETY: the vectors and what they point to are borrowed uniquely until this function returns.
    unsafe { transfer(&entries) }
}

/// Runs all entries and returns their outcomes in order.
///
/// # Safety
/// What the entries point to stays valid, and unused by others, until this returns.
unsafe fn transfer(entries: &[squeue::Entry]) -> Vec<Outcome> {
    let mut outcomes = vec![None; entries.len()];
    SLOT.with_borrow_mut(|slot| {
        for (entries, outcomes) in
            entries.chunks(ENTRIES as usize).zip(outcomes.chunks_mut(ENTRIES as usize))
        {
            let Some(ring) = ready(slot) else { return };
            // SAFETY: passed on from the caller.
            let result = unsafe { transfer_chunk(&mut ring.io, entries, outcomes) };
            if let Err(error) = result {
                tracing::warn!(%error, "io_uring failed; this thread continues with plain calls");
                // R3.
                *slot = Slot::Refused;
                return;
            }
        }
    });
    outcomes
}

/// Runs at most `ENTRIES` entries. After an error the ring must not be used again.
///
/// # Safety
/// As [`transfer`].
unsafe fn transfer_chunk(
    io: &mut IoUring,
    entries: &[squeue::Entry],
    outcomes: &mut [Outcome],
) -> io::Result<()> {
    let unwinding = AbortOnDrop;
    let mut pushed = 0;
    {
        let mut queue = io.submission();
        for (index, entry) in (0..).zip(entries) {
            // SAFETY: the caller keeps the memory; R2 keeps the call from returning early.
            match unsafe { queue.push(&entry.clone().user_data(index)) } {
                Ok(()) => pushed += 1,
                // R1: cannot happen; what does not fit is left untried.
                Err(_full) => break,
            }
        }
    }
    let mut reaped = 0;
    let mut broken = None;
    while reaped < pushed && broken.is_none() {
        match io.submit_and_wait(pushed - reaped) {
            Ok(_) => {}
            Err(error) if is_transient(&error) => {}
            Err(error) => broken = Some(error),
        }
        reaped += reap(io, outcomes);
    }
    if let Some(error) = broken {
        let taken = pushed - io.submission().len();
        while reaped < taken {
            wait_or_abort(io);
            reaped += reap(io, outcomes);
        }
        std::mem::forget(unwinding);
        return Err(error);
    }
    std::mem::forget(unwinding);
    Ok(())
}

/// Errors of entering the ring that go away.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

/// Stores the results that have arrived and returns their number.
fn reap(io: &mut IoUring, outcomes: &mut [Outcome]) -> usize {
    let mut count = 0;
    for completion in io.completion() {
        count += 1;
        if let Some(outcome) = outcomes.get_mut(completion.user_data() as usize) {
            *outcome = Some(completion.result());
        }
    }
    count
}

/// Waits for one completion without submitting anything.
fn wait_or_abort(io: &IoUring) {
    const GET_EVENTS: u32 = 1;
    // SAFETY: submits no entry and passes no argument.
    let result = unsafe { io.submitter().enter::<libc::sigset_t>(0, 1, GET_EVENTS, None) };
    if let Err(error) = result
        && !is_transient(&error)
    {
        // R2: the kernel may still use memory that the caller is about to free.
        tracing::error!(%error, "cannot wait for I/O in flight");
        std::process::abort();
    }
}

/// R2: no unwinding while the kernel holds pointers.
struct AbortOnDrop;

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// The ring in `slot`, made on first use.
fn ready(slot: &mut Slot) -> Option<&mut Ring> {
    let process = std::process::id();
    if let Slot::Ready(ring) = slot
        && ring.process != process
    {
        // R4: dropping it would unmap addresses that may hold something else by now.
        std::mem::forget(std::mem::replace(slot, Slot::Untried));
    }
    if matches!(slot, Slot::Untried) {
        *slot = match build() {
            Ok(io) => Slot::Ready(Box::new(Ring { io, process })),
            Err(error) => {
                tracing::debug!(%error, "io_uring refused; plain calls are used");
                Slot::Refused
            }
        };
    }
    match slot {
        Slot::Ready(ring) => Some(ring),
        Slot::Untried | Slot::Refused => None,
    }
}

fn build() -> io::Result<IoUring> {
    IoUring::builder()
        .dontfork()
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_defer_taskrun()
        .build(ENTRIES)
        .or_else(|error| match error.raw_os_error() {
            // Kernels before 6.1 know fewer flags.
            Some(libc::EINVAL) => IoUring::builder().dontfork().build(ENTRIES),
            _ => Err(error),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a batch of three writes on this thread and returns what the ring did.
    fn batch(file: &File) -> Vec<Outcome> {
        let bytes = [7; 512];
        let runs: Vec<_> = [0, 4096, 8192]
            .map(|addr| Run { addr, vectors: vec![IoSlice::new(&bytes)] })
            .into_iter()
            .collect();
        write(file, &runs)
    }

    fn with_ring(change: impl FnOnce(&mut Ring)) {
        SLOT.with_borrow_mut(|slot| change(ready(slot).expect("a ring")));
    }

    #[test]
    fn ring_of_another_process_is_replaced() {
        let file = tempfile::tempfile().expect("file");
        if !is_available() {
            println!("this host has no io_uring: nothing to test");
            return;
        }
        with_ring(|ring| ring.process = ring.process.wrapping_add(1));
        assert_eq!(batch(&file), [Some(512); 3]);
        with_ring(|ring| assert_eq!(ring.process, std::process::id()));
    }

    #[test]
    fn broken_ring_is_given_up() {
        let file = tempfile::tempfile().expect("file");
        if !is_available() {
            println!("this host has no io_uring: nothing to test");
            return;
        }
        let null = File::open("/dev/null").expect("opens");
        with_ring(|ring| {
            // SAFETY: the descriptor belongs to the ring, which closes whatever it then names.
            let result = unsafe { libc::dup2(null.as_raw_fd(), ring.io.as_raw_fd()) };
            assert!(result >= 0);
        });
        assert_eq!(batch(&file), [None; 3]);
        assert!(!is_available());
        assert_eq!(batch(&file), [None; 3]);
    }

    #[test]
    fn batch_larger_than_ring_takes_turns() {
        let file = tempfile::tempfile().expect("file");
        if !is_available() {
            println!("this host has no io_uring: nothing to test");
            return;
        }
        let bytes = [7; 512];
        let count = u64::from(ENTRIES) * 2 + 3;
        let runs: Vec<_> = (0..count)
            .map(|index| Run { addr: index * 1024, vectors: vec![IoSlice::new(&bytes)] })
            .collect();
        assert!(write(&file, &runs).iter().all(|outcome| *outcome == Some(512)));
        assert_eq!(file.metadata().expect("metadata").len(), (count - 1) * 1024 + 512);
    }
}
