//! What fallocate(2) and FIEMAP do elsewhere and the kernel does not pass on to FUSE.

use ashlar_core::{Caller, ExtentReport, ExtentState, FallocateMode};
use zerocopy::{FromZeros, IntoBytes};

use super::{Answer, Call, Outcome, Server, answer};
use crate::ioctl::abi::{self, Extents, RawExtent};
use crate::ops::errno;
use crate::wire::reply::Errno;

impl Server {
    /// COLLAPSE_RANGE and INSERT_RANGE. Afterwards the kernel's cached pages from `offset` on
    /// belong to other places of the file; they are dropped, which may wait for WRITE requests
    /// and is therefore done off the workers.
    pub(super) fn move_range(&self, call: Call<'_>) -> Outcome {
        let mode = if call.arguments.cmd == abi::COLLAPSE_RANGE {
            FallocateMode::CollapseRange
        } else {
            FallocateMode::InsertRange
        };
        let (ino, fh) = (call.ino(), call.arguments.fh);
        let header = *call.header;
        let range: abi::Range = match call.argument() {
            Ok(range) => range,
            Err(errno) => return Outcome::Now(Err(errno)),
        };
        Outcome::Later(Box::new(move |server, channel| {
            let open = server.handles.get(fh)?;
            if !open.writable {
                return Err(Errno::EBADF);
            }
            server.drop_privileges(&header, &open)?;
            let from = i64::try_from(range.offset).map_err(|_| Errno::EINVAL)? & !4095;
            // What is dirty must arrive before it would land in the wrong place.
            let drop_cache = || {
                if let Err(error) = channel.invalidate(ino.0, from) {
                    tracing::debug!(%error, ino = ino.0, "nothing cached to drop");
                }
            };
            drop_cache();
            open.file
                .allocate(&Caller::root(), mode, range.offset, range.length)
                .map_err(|error| errno(&error))?;
            drop_cache();
            answer(&[])
        }))
    }

    pub(super) fn get_extents(&self, call: Call<'_>) -> Answer {
        let wanted: abi::Range = call.argument()?;
        let open = self.handles.get(call.arguments.fh)?;
        let end = wanted.offset.saturating_add(wanted.length);
        let found = open.file.extents(wanted.offset..end).map_err(|error| errno(&error))?;
        let mut out = Extents::new_zeroed();
        out.range = wanted;
        let found = found.iter().filter(|report| report.state != ExtentState::Hole);
        for (to, from) in out.list.iter_mut().zip(found) {
            *to = to_raw(from);
            out.count += 1;
        }
        answer(out.as_bytes())
    }
}

fn to_raw(report: &ExtentReport) -> RawExtent {
    let mut flags = match report.state {
        ExtentState::Written | ExtentState::Hole => 0,
        ExtentState::Unwritten => abi::EXTENT_UNWRITTEN,
        ExtentState::Delalloc => abi::EXTENT_DELALLOC,
    };
    if report.last {
        flags |= abi::EXTENT_LAST;
    }
    RawExtent {
        offset: report.offset,
        length: report.length,
        addr: report.addr.unwrap_or(abi::NO_ADDRESS),
        flags,
        reserved: 0,
    }
}
