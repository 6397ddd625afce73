//! COPY_FILE_RANGE, which core answers by sharing blocks where it can.
//!
//! The kernel has written back both ranges and keeps others out of the target.

use super::{Answer, Server, errno};
use crate::wire::abi::{CopyFileRangeIn, CopyFileRangeOut, InHeader};
use crate::wire::reply::{Errno, Reply};

/// The most that the first form of the reply can count, in whole blocks.
const NARROW_LIMIT: u64 = u32::MAX as u64 & !4095;

impl Server {
    pub(super) fn copy_file_range(
        &self,
        header: &InHeader,
        arguments: &CopyFileRangeIn,
        wide: bool,
    ) -> Answer {
        if arguments.flags != 0 {
            return Err(Errno::EINVAL);
        }
        let from = self.handles.get(arguments.fh_in)?;
        let to = self.handles.get(arguments.fh_out)?;
        if !to.writable {
            return Err(Errno::EBADF);
        }
        self.drop_privileges(header, &to)?;
        let length = if wide { arguments.len } else { arguments.len.min(NARROW_LIMIT) };
        let copied = from
            .file
            .copy_range(arguments.off_in, &to.file, arguments.off_out, length)
            .map_err(|error| errno(&error))?;
        if wide {
            return Ok(Reply::Copied(CopyFileRangeOut { bytes_copied: copied }));
        }
        // At most `NARROW_LIMIT`, which fits.
        Ok(Reply::written(copied as usize))
    }
}
