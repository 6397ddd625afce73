//! LSEEK: where the next data or hole is.
//!
//! The kernel asks without writing back first, so data that is only in its cache would look like
//! a hole, and a program that copies sparse files (cp, tar) would lose it. When somebody has the
//! file open for writing, we make the kernel write back before we look. That waits for WRITE
//! requests, so it is done off the workers.

use ashlar_core::Ino;

use super::{Outcome, Server, errno};
use crate::wire::abi::{InHeader, LseekIn, LseekOut};
use crate::wire::channel::Channel;
use crate::wire::reply::{Errno, Reply};

impl Server {
    pub(super) fn lseek(&self, header: &InHeader, arguments: &LseekIn) -> Outcome {
        let ino = Ino(header.nodeid);
        let arguments = *arguments;
        if !self.handles.has_writer(ino) {
            return self.seek(&arguments).into();
        }
        Outcome::Later(Box::new(move |server: &Server, channel: &Channel| {
            // The kernel rejects a negative offset by itself; it takes a page boundary.
            let from = i64::try_from(arguments.offset & !4095).unwrap_or(0);
            if let Err(error) = channel.invalidate(ino.0, from) {
                tracing::debug!(%error, ino = ino.0, "nothing to write back before a seek");
            }
            server.seek(&arguments)
        }))
    }

    fn seek(&self, arguments: &LseekIn) -> Result<Reply, Errno> {
        let open = self.handles.get(arguments.fh)?;
        let found = match i32::try_from(arguments.whence) {
            Ok(libc::SEEK_DATA) => open.file.seek_data(arguments.offset),
            Ok(libc::SEEK_HOLE) => open.file.seek_hole(arguments.offset),
            _ => return Err(Errno::EINVAL),
        };
        let offset = found.map_err(|error| errno(&error))?;
        Ok(Reply::Lseek(LseekOut { offset }))
    }
}
