//! IOCTL.
//!
//! FUSE ioctls are "restricted": the kernel copies the argument as the number announces it, in
//! and out, and nothing else of the caller's memory. The answer is built to the size the kernel
//! expects. An unknown number is `ENOTTY`.
//!
//! | file | ioctls |
//! |---|---|
//! | [`flags`] | flags, project, generation of an inode |
//! | [`administration`] | label, trim, shutdown |
//! | [`ranges`] | collapse, insert, extents |
//! | [`atomic`] | atomic files: F2FS's, and ours |

mod administration;
mod atomic;
mod flags;
mod ranges;

use ashlar_core::Ino;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::{Answer, Outcome, Server};
use crate::ioctl::abi;
use crate::wire::abi::{InHeader, IoctlIn, IoctlOut};
use crate::wire::reply::{Errno, Reply};

/// One ioctl call.
#[derive(Clone, Copy)]
struct Call<'a> {
    header: &'a InHeader,
    arguments: &'a IoctlIn,
    /// The argument's bytes, if the number announces that it goes in.
    data: &'a [u8],
}

impl Call<'_> {
    fn ino(&self) -> Ino {
        Ino(self.header.nodeid)
    }

    /// The argument as a structure.
    fn argument<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<T, Errno> {
        T::read_from_prefix(self.data).map(|(value, _)| value).map_err(|_| Errno::EINVAL)
    }
}

impl Server {
    pub(super) fn ioctl(&self, header: &InHeader, arguments: &IoctlIn, data: &[u8]) -> Outcome {
        let call = Call { header, arguments, data };
        match arguments.cmd {
            abi::TRIM => self.trim(call),
            abi::GET_FLAGS | abi::GET_FLAGS_32 => self.get_flags(call).into(),
            abi::SET_FLAGS | abi::SET_FLAGS_32 => self.set_flags(call).into(),
            abi::GET_FILE_ATTRIBUTES => self.get_file_attributes(call).into(),
            abi::SET_FILE_ATTRIBUTES => self.set_file_attributes(call).into(),
            abi::GET_VERSION | abi::GET_VERSION_32 => self.get_version(call).into(),
            abi::GET_LABEL => self.get_label().into(),
            abi::SET_LABEL => self.set_label(call).into(),
            abi::SHUTDOWN => self.shutdown(call),
            abi::COLLAPSE_RANGE | abi::INSERT_RANGE => self.move_range(call),
            abi::F2FS_START => self.start_atomic(call),
            abi::F2FS_COMMIT => self.commit_atomic(call),
            abi::F2FS_ABORT | abi::ABORT => self.abort_atomic(call),
            abi::F2FS_START_VOLATILE | abi::F2FS_RELEASE_VOLATILE => {
                Outcome::Now(Err(Errno::EOPNOTSUPP))
            }
            abi::F2FS_GET_FEATURES => answer(&abi::F2FS_FEATURE_ATOMIC_WRITE.to_ne_bytes()).into(),
            abi::IO_INFO => self.io_info(call).into(),
            abi::GET_ATOMIC => self.get_atomic(call).into(),
            abi::SET_ATOMIC => self.set_atomic(call).into(),
            abi::GET_TOKEN => self.get_token(call).into(),
            abi::SYNCV => self.syncv(call),
            abi::GET_EXTENTS => self.get_extents(call).into(),
            _ => Outcome::Now(Err(Errno::ENOTTY)),
        }
    }
}

/// Success with an outgoing structure; empty for none.
fn answer(bytes: &[u8]) -> Answer {
    Ok(Reply::Ioctl(IoctlOut::default(), bytes.to_vec()))
}
