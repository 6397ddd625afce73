//! Mappings for seek and extent reports: as for reads, nothing changes.

use crate::mapping::{FileRef, ReadOps};
use iomap::{MapReply, MapRequest, Mapping, MappingOps};

/// Answers questions about where a file lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReportOps<'a>(pub(crate) FileRef<'a>);

impl MappingOps for ReportOps<'_> {
    fn begin(&self, request: &MapRequest) -> iomap::Result<MapReply> {
        let mut reply = ReadOps(self.0).begin(request)?;
        // Content in the inode ends where the file does.
        if let iomap::MappingKind::Inline(bytes) = &reply.mapping.kind {
            let end = self.0.inode.size().max(bytes.len() as u64);
            reply.mapping.length = reply.mapping.length.min(end.max(request.offset + 1));
        }
        Ok(reply)
    }

    fn is_valid(&self, mapping: &Mapping) -> bool {
        self.0.is_valid(mapping)
    }
}
