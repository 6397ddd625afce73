//! READ: page faults, read-ahead, and direct reads.

use super::{Answer, Server, errno};
use crate::wire::abi::ReadIn;
use crate::wire::channel::OutputBuffer;
use crate::wire::reply::Reply;

impl Server {
    /// Reads into the worker's aligned buffer, from which the reply is sent; a reply shorter than
    /// asked is the end of the file.
    pub(super) fn read(&self, arguments: &ReadIn, output: &mut OutputBuffer) -> Answer {
        let open = self.handles.get(arguments.fh)?;
        let buffer = output.first_mut(arguments.size as usize);
        let count = open.file.read_at(arguments.offset, buffer).map_err(|error| errno(&error))?;
        Ok(Reply::Output(count))
    }
}
