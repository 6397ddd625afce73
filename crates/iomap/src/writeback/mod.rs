use crate::*;
use std::ops::Range;
mod ioend;
mod ops;
pub use ioend::{Ioend, IoendFlags, Piece};
pub use ops::{DirectOps, WritebackOps};
#[derive(Debug, Clone, Copy)]
pub struct WritebackControl { pub max_bytes: u64, pub batch_bytes: u64 }
impl Default for WritebackControl { fn default() -> Self { Self { max_bytes: u64::MAX, batch_bytes: 8 << 20 } } }
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WritebackReport { pub bytes: u64, pub ioends: u64 }
/// Err: the first failure, also recorded in the cache (ErrorKind::Writeback(cause)).
pub fn writepages(ops: &dyn WritebackOps, host: &dyn Host, range: Range<u64>, control: &WritebackControl) -> Result<WritebackReport> { todo!() }
/// Ok: clean (unless redirtied meanwhile). Err of `store`: the blocks stay dirty and the error comes back unchanged, not recorded.
pub fn take_inline(host: &dyn Host, ops: &dyn MappingOps, size: u64, store: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> { todo!() }
