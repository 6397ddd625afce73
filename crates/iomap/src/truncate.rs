use crate::*;
/// Zeroes [offset, end of its block) in the cache and dirties it; nothing if aligned.
pub fn truncate_page(ops: &dyn MappingOps, host: &dyn Host, offset: u64) -> Result<()> { todo!() }
