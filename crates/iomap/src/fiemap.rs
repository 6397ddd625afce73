use crate::*;
use std::ops::Range;
bitflags::bitflags! { #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)] pub struct ReportFlags: u32 {
    const LAST = 1; const UNKNOWN = 2; const DELALLOC = 4; const NOT_ALIGNED = 0x100; const DATA_INLINE = 0x200; const UNWRITTEN = 0x800; const MERGED = 0x1000; const SHARED = 0x2000; } }
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportedExtent { pub offset: u64, pub length: u64, pub addr: Option<u64>, pub flags: ReportFlags }
pub struct Fiemap<'a> { iter: MappingIter<'a> }
pub fn fiemap(ops: &dyn MappingOps, range: Range<u64>) -> Fiemap<'_> { todo!() }
impl Iterator for Fiemap<'_> { type Item = Result<ReportedExtent>; fn next(&mut self) -> Option<Self::Item> { todo!() } }
