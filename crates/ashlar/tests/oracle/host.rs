//! The kernel's side: operations that `std::fs` does not have, and error numbers.

use std::io;
use std::path::Path;

use ashlar::RenameFlags;

pub(crate) type Outcome<T> = Result<T, i32>;

/// The number of a host's error.
pub(crate) fn number(error: &io::Error) -> i32 {
    match error.raw_os_error() {
        Some(number) => number,
        // The standard library refuses some arguments by itself.
        None if error.kind() == io::ErrorKind::InvalidInput => libc::EINVAL,
        None => panic!("host error without a number: {error}"),
    }
}

pub(crate) fn host<T>(result: io::Result<T>) -> Outcome<T> {
    result.map_err(|error| number(&error))
}

/// The number of a volume's error.
pub(crate) fn ours<T>(result: ashlar::Result<T>) -> Outcome<T> {
    result.map_err(|error| error.errno())
}

pub(crate) fn rename_with(from: &Path, to: &Path, flags: RenameFlags) -> io::Result<()> {
    let mut bits = rustix::fs::RenameFlags::empty();
    bits.set(rustix::fs::RenameFlags::NOREPLACE, flags.contains(RenameFlags::NOREPLACE));
    bits.set(rustix::fs::RenameFlags::EXCHANGE, flags.contains(RenameFlags::EXCHANGE));
    Ok(rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, bits)?)
}
