use std::ops::Range;
use std::sync::Arc;
use crate::*;
#[derive(Debug, Clone, Copy)]
pub struct PoolOptions { pub budget_bytes: u64, pub background_dirty_bytes: u64, pub hard_dirty_bytes: u64 }
#[derive(Debug)]
pub struct CachePool;
impl CachePool {
    pub fn new(budget_bytes: u64) -> Arc<Self> { todo!() }
    pub fn with_options(options: PoolOptions) -> Arc<Self> { todo!() }
    pub fn cached_bytes(&self) -> u64 { todo!() }
    pub fn clean_bytes(&self) -> u64 { todo!() }
    pub fn dirty_bytes(&self) -> u64 { todo!() }
    pub fn writeback_bytes(&self) -> u64 { todo!() }
    pub fn over_background_limit(&self) -> bool { todo!() }
    pub fn over_hard_limit(&self) -> bool { todo!() }
    pub fn shrink_to(&self, bytes: u64) { todo!() }
}
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorCursor(u32);
#[derive(Debug)]
pub struct PageCache { pool: Arc<CachePool>, block_size: u32 }
impl PageCache {
    pub fn new(pool: &Arc<CachePool>, block_size: u32) -> Self { todo!() }
    pub fn pool(&self) -> &Arc<CachePool> { todo!() }
    pub fn block_size(&self) -> u32 { todo!() }
    /// For page faults and for whoever unmaps blocks: shared by fills, exclusive around `invalidate` + unmapping.
    pub fn invalidate_lock(&self) -> &parking_lot::RwLock<()> { todo!() }
    pub fn is_dirty(&self) -> bool { todo!() }
    pub fn dirty_bytes(&self) -> u64 { todo!() }
    pub fn dirty_range(&self) -> Option<Range<u64>> { todo!() }
    /// Drops whole blocks in the range, dirty ones too; waits for writeback under way there.
    pub fn invalidate(&self, range: Range<u64>) { todo!() }
    /// Drops clean blocks in the range; false if something dirty or under writeback stayed.
    pub fn invalidate_clean(&self, range: Range<u64>) -> bool { todo!() }
    pub fn truncate(&self, new_size: u64) { todo!() }
    pub fn drop_clean(&self) { todo!() }
    /// Dirty data, data under writeback, or clean data cached.
    pub fn has_cached_data(&self, range: Range<u64>) -> bool { todo!() }
    pub fn next_cached_data(&self, range: Range<u64>) -> Option<Range<u64>> { todo!() }
    pub fn sample_error(&self) -> ErrorCursor { todo!() }
    pub fn check_error(&self, since: &mut ErrorCursor) -> Result<()> { todo!() }
    pub fn record_error(&self, error: Error) -> Arc<Error> { todo!() }
}
