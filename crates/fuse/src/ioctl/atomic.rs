//! Atomic files from the caller's side, for files on a mounted volume.
#![allow(unsafe_code)] // ioctl(2) has no safe form.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use ashlar_core::AtomicClose;
use rustix::ioctl::{Getter, NoArg, Setter, ioctl};

use super::abi::{self, IoInfo, Syncv};
use crate::sys;

/// What atomic updates of the file are bound to.
///
/// # Errors
/// `ENOTTY` if the file is not on an Ashlar volume, `EINVAL` for what is not a regular file.
#[doc(alias = "F_IOINFO")]
pub fn io_info(file: &File) -> io::Result<IoInfo> {
    // SAFETY: the number belongs to a structure of this type, which the kernel fills as a whole;
    // all its bit patterns are valid.
    Ok(unsafe { ioctl(file, Getter::<{ abi::IO_INFO }, IoInfo>::new()) }?)
}

/// Whether the file is atomic for all who open it, and what the last close does then.
///
/// # Errors
/// `ENOTTY` if the file is not on an Ashlar volume.
pub fn atomic(file: &File) -> io::Result<Option<AtomicClose>> {
    // SAFETY: the number belongs to a u32, which the kernel fills.
    let bits = unsafe { ioctl(file, Getter::<{ abi::GET_ATOMIC }, u32>::new()) }?;
    Ok(match bits {
        bits if bits & abi::ATOMIC_ON == 0 => None,
        bits if bits & abi::ATOMIC_COMMIT_ON_CLOSE == 0 => Some(AtomicClose::Discard),
        _ => Some(AtomicClose::Commit),
    })
}

/// Makes a file atomic, or no more so, for all who open it from now on. New files inherit it from
/// their directory.
///
/// # Errors
/// `EPERM` for others than the owner without `CAP_FOWNER`, `EOPNOTSUPP` for what is neither a
/// regular file nor a directory, `EROFS`, `ENOTTY` if the file is not on an Ashlar volume.
pub fn set_atomic(file: &File, close: Option<AtomicClose>) -> io::Result<()> {
    let bits = match close {
        None => 0,
        Some(AtomicClose::Discard) => abi::ATOMIC_ON,
        Some(AtomicClose::Commit) => abi::ATOMIC_ON | abi::ATOMIC_COMMIT_ON_CLOSE,
    };
    // SAFETY: the number belongs to a u32, which the kernel only reads.
    Ok(unsafe { ioctl(file, Setter::<{ abi::SET_ATOMIC }, u32>::new(bits)) }?)
}

/// Begins an update: what is written from here on is committed by [`commit_atomic`] or fsync(2), all
/// at once; or gone with [`abort_atomic`], when `file` is closed, or upon a crash.
///
/// # Errors
/// `EBADF` if not open for writing, `EACCES` for others than the owner, `EINVAL` with `O_DIRECT`,
/// `ENOTTY` if the file is not on an Ashlar volume.
pub fn begin_atomic(file: &File) -> io::Result<()> {
    // SAFETY: the number has no argument.
    Ok(unsafe { ioctl(file, NoArg::<{ abi::F2FS_START }>::new()) }?)
}

/// Commits, durably, and ends the update; a plain sync where none was begun.
///
/// # Errors
/// As [`begin_atomic`], and what syncing says: the changes are given up then.
pub fn commit_atomic(file: &File) -> io::Result<()> {
    // SAFETY: the number has no argument.
    Ok(unsafe { ioctl(file, NoArg::<{ abi::F2FS_COMMIT }>::new()) }?)
}

/// Gives up what was written to an atomic file since the last commit, by whomever: content and size
/// are as committed. Ends the update.
///
/// # Errors
/// As [`begin_atomic`].
pub fn abort_atomic(file: &File) -> io::Result<()> {
    // SAFETY: the number has no argument.
    Ok(unsafe { ioctl(file, NoArg::<{ abi::ABORT }>::new()) }?)
}

/// Commits what was written to several atomic files, durably and together: after a crash all of them
/// are as before this call, or all as after it.
///
/// # Errors
/// `EINVAL` for no file, or one that is not atomic; `E2BIG` above 1,024; `EXDEV` when they are not
/// all on one volume; `EFBIG` for more than one commit can hold; `EIO` where changes were lost
/// before: none is committed then. `ENOTTY` if the files are not on an Ashlar volume.
#[doc(alias = "syncv")]
pub fn commit_together(files: &[&File]) -> io::Result<()> {
    let error = |number| Err(io::Error::from_raw_os_error(number));
    let Some(first) = files.first() else { return error(libc::EINVAL) };
    if files.len() > abi::SYNCV_MAX {
        return error(libc::E2BIG);
    }
    let device = first.metadata()?.dev();
    let mut tokens = [0; abi::SYNCV_MAX];
    for (token, file) in tokens.iter_mut().zip(files) {
        if file.metadata()?.dev() != device {
            return error(libc::EXDEV);
        }
        sys::write_back_pages(file)?;
        // SAFETY: the number belongs to a u64, which the kernel fills.
        *token = unsafe { ioctl(file, Getter::<{ abi::GET_TOKEN }, u64>::new()) }?;
    }
    let argument = Syncv { count: files.len() as u32, flags: abi::SYNCV_WRITTEN_BACK, tokens };
    // SAFETY: the number belongs to a structure of this type, which the kernel only reads.
    Ok(unsafe { ioctl(first, Setter::<{ abi::SYNCV }, Syncv>::new(argument)) }?)
}
