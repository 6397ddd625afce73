//! One transfer by plain system calls, and the rest of one that a ring left unfinished.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};

use rustix::io::{preadv, pwritev, retry_on_intr};

use super::ring::Outcome;
use super::run::Run;

/// What a first attempt has left to do.
enum Rest {
    /// From this byte of the run on.
    From(usize),
    /// Nothing more can be done.
    Failed(io::Error),
}

fn rest(outcome: Outcome) -> Rest {
    match outcome {
        None => Rest::From(0),
        Some(done) if done >= 0 => Rest::From(done as usize),
        // A ring passes on what a system call would have waited out.
        Some(code) if [libc::EINTR, libc::EAGAIN, libc::ECANCELED].contains(&-code) => {
            Rest::From(0)
        }
        Some(code) => Rest::Failed(io::Error::from_raw_os_error(-code)),
    }
}

/// Writes what `outcome` left of `run`; all or error.
pub(super) fn finish_write(
    file: &File,
    run: &mut Run<IoSlice<'_>>,
    outcome: Outcome,
) -> io::Result<()> {
    let mut done = match rest(outcome) {
        Rest::From(done) => done,
        Rest::Failed(error) => return Err(error),
    };
    let mut vectors = &mut run.vectors[..];
    IoSlice::advance_slices(&mut vectors, done);
    while !vectors.is_empty() {
        let count = retry_on_intr(|| pwritev(file, vectors, run.addr + done as u64))?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        done += count;
        IoSlice::advance_slices(&mut vectors, count);
    }
    Ok(())
}

/// Reads what `outcome` left of `run`; all or error.
pub(super) fn finish_read(
    file: &File,
    run: &mut Run<IoSliceMut<'_>>,
    outcome: Outcome,
) -> io::Result<()> {
    let mut done = match rest(outcome) {
        Rest::From(done) => done,
        Rest::Failed(error) => return Err(error),
    };
    let mut vectors = &mut run.vectors[..];
    IoSliceMut::advance_slices(&mut vectors, done);
    while !vectors.is_empty() {
        let count = retry_on_intr(|| preadv(file, vectors, run.addr + done as u64))?;
        if count == 0 {
            // The capacity was taken at open: somebody has cut the image since.
            let why = "the image file has become shorter than it was when opened";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        done += count;
        IoSliceMut::advance_slices(&mut vectors, count);
    }
    Ok(())
}

/// Makes every completed write durable. An interrupted wait has consumed no error.
pub(super) fn flush(file: &File) -> io::Result<()> {
    Ok(retry_on_intr(|| rustix::fs::fdatasync(file))?)
}
