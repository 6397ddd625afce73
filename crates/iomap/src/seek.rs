use crate::*;
/// Err(NoData) = ENXIO
pub fn seek_data(ops: &dyn MappingOps, host: &dyn Host, offset: u64) -> Result<u64> { todo!() }
pub fn seek_hole(ops: &dyn MappingOps, host: &dyn Host, offset: u64) -> Result<u64> { todo!() }
