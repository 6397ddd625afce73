use crate::*;
use std::ops::Range;
pub fn buffered_read(ops: &dyn MappingOps, host: &dyn Host, offset: u64, buf: &mut [u8]) -> Result<usize> { todo!() }
/// All of `bytes`, or a short count after progress, or the error. Caller holds the inode lock.
pub fn buffered_write(ops: &dyn MappingOps, host: &dyn Host, offset: u64, bytes: &[u8]) -> Result<usize> { todo!() }
/// For `MappingOps::end` of a buffered write: calls `release` for each block range of a NEW mapping that this request
/// reserved, did not write, and that holds no dirty data (cache locked while `release` runs).
pub fn release_unwritten(host: &dyn Host, request: &MapRequest, mapping: &Mapping, outcome: Outcome, release: &mut dyn FnMut(Range<u64>)) { todo!() }
