//! What the RocksDB instances of one process share, so that all of them together keep to one budget.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rocksdb::{Cache, WriteBufferManager};

/// No process gives less: below this, each block read would push out another one.
const BYTES_MIN: usize = 8 << 20;
/// Write buffers of all instances: less makes files of a few rows.
const WRITE_BUFFER_BYTES_MIN: usize = 1 << 20;
/// The share of write buffers unless it is said otherwise.
const WRITE_BUFFER_RATIO: f64 = 0.5;
/// The budget of a store that was given none.
const BYTES_DEFAULT: usize = 128 << 20;

/// The memory of all RocksDB instances of a process: one block cache, which also pays for indexes, filters and write buffers,
/// and the room for rows that are kept in front of it. A cheap clone of a handle.
#[derive(Clone)]
pub struct SharedRocksDb(Arc<Shared>);

struct Shared {
    bytes: usize,
    block_cache: Cache,
    write_buffers: WriteBufferManager,
    write_buffer_bytes: usize,
    rows: Arc<RowBudget>,
}

impl SharedRocksDb {
    /// A budget in bytes (the process's share of managed memory), of which all instances together use no more.
    pub fn new(bytes: usize) -> Self {
        Self::with_write_buffer_ratio(bytes, WRITE_BUFFER_RATIO)
    }

    /// As [`Self::new`], with another share for write buffers than a half: from 0 to 1.
    ///
    /// A quarter of the budget is for rows in front of RocksDB. Of the rest, write buffers get two thirds of their share, and
    /// the block cache, from which they are taken, all but one third of their share: while they are flushed, write buffers
    /// take up to half more than they should.
    pub fn with_write_buffer_ratio(bytes: usize, ratio: f64) -> Self {
        let bytes = bytes.max(BYTES_MIN);
        let rows = bytes / 4;
        let rocksdb = bytes - rows;
        let third = (rocksdb as f64 * ratio.clamp(0.0, 1.0) / 3.0) as usize;
        // None at all would mean: without a limit.
        let write_buffer_bytes = (2 * third).max(WRITE_BUFFER_BYTES_MIN);
        let block_cache = Cache::new_hyper_clock_cache(rocksdb - third, 0);
        let write_buffers =
            WriteBufferManager::new_write_buffer_manager_with_cache(write_buffer_bytes, false, block_cache.clone());
        let rows = Arc::new(RowBudget { bytes: rows, stores: AtomicUsize::new(0) });
        Self(Arc::new(Shared { bytes, block_cache, write_buffers, write_buffer_bytes, rows }))
    }

    /// The budget in bytes.
    pub fn budget(&self) -> usize {
        self.0.bytes
    }

    /// What block cache and write buffers take now, bytes.
    pub fn used_by_rocksdb(&self) -> usize {
        self.0.block_cache.get_usage()
    }

    /// What write buffers may take, bytes.
    pub fn write_buffer_budget(&self) -> usize {
        self.0.write_buffer_bytes
    }

    pub(super) fn block_cache(&self) -> &Cache {
        &self.0.block_cache
    }

    pub(super) fn write_buffers(&self) -> &WriteBufferManager {
        &self.0.write_buffers
    }

    pub(super) fn rows(&self) -> RowShare {
        self.0.rows.stores.fetch_add(1, Ordering::Relaxed);
        RowShare(Arc::clone(&self.0.rows))
    }
}

impl Default for SharedRocksDb {
    fn default() -> Self {
        Self::new(BYTES_DEFAULT)
    }
}

impl fmt::Debug for SharedRocksDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRocksDb").field("budget", &self.0.bytes).field("used", &self.used_by_rocksdb()).finish()
    }
}

#[derive(Debug)]
struct RowBudget {
    bytes: usize,
    stores: AtomicUsize,
}

/// One store's part of the memory for rows: each has the same.
#[derive(Debug)]
pub(super) struct RowShare(Arc<RowBudget>);

impl RowShare {
    /// Bytes that this store may use now: less when others come.
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes / self.0.stores.load(Ordering::Relaxed).max(1)
    }

    /// A share of its own, for tests.
    #[cfg(test)]
    pub(super) fn of(bytes: usize) -> Self {
        Self(Arc::new(RowBudget { bytes, stores: AtomicUsize::new(1) }))
    }
}

impl Drop for RowShare {
    fn drop(&mut self) {
        self.0.stores.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_buffers_get_two_thirds_of_their_share() {
        // A quarter is for rows.
        let bytes = 64 << 20;
        let third = (48 << 20) / 3;
        let budget = |ratio| SharedRocksDb::with_write_buffer_ratio(bytes, ratio).write_buffer_budget();
        assert_eq!(SharedRocksDb::new(bytes).write_buffer_budget(), third);
        assert_eq!(budget(0.5), third);
        assert_eq!(budget(1.0), 2 * third);
        assert_eq!(budget(0.0), WRITE_BUFFER_BYTES_MIN);
    }

    #[test]
    fn stores_share_the_memory_for_rows_equally() {
        let shared = SharedRocksDb::new(64 << 20);
        let first = shared.rows();
        assert_eq!(first.bytes(), 16 << 20);
        let second = shared.rows();
        assert_eq!((first.bytes(), second.bytes()), (8 << 20, 8 << 20));
        drop(second);
        assert_eq!(first.bytes(), 16 << 20);
    }
}
