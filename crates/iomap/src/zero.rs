use crate::*;
/// Makes [offset, offset+length) read zero through the cache; never moves EOF. Purpose::Zero.
pub fn zero_range(ops: &dyn MappingOps, host: &dyn Host, offset: u64, length: u64) -> Result<()> { todo!() }
