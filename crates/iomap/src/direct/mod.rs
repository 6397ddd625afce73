use crate::*;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectWritten { pub written: usize, pub size_changed: bool, /** mapped, not new, not shared, not DIRTY, below EOF */ pub pure_overwrite: bool }
pub fn direct_read(ops: &dyn DirectOps, host: &dyn Host, offset: u64, buf: &mut [u8]) -> Result<usize> { todo!() }
pub fn direct_write(ops: &dyn DirectOps, host: &dyn Host, offset: u64, bytes: &[u8]) -> Result<DirectWritten> { todo!() }
