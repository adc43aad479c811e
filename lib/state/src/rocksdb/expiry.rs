//! Expired rows go when RocksDB merges files, so that what is never used again does not stay forever.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};
use rocksdb::{CompactionDecision, Options};

use crate::memory::STAMP_BYTES;
use crate::meta::{StateKind, StateMeta};
use crate::ttl::StateTtlConfig;

/// Files that were not merged for so long are merged for the sake of expired rows: seconds, at least.
const MERGE_AFTER_SECONDS: u64 = 3600;

/// When the rows of one state expire. A clone of a handle: the filter in RocksDB has one.
#[derive(Debug, Clone)]
pub(super) struct Expiry {
    kind: StateKind,
    /// Milliseconds; 0: never.
    ttl_ms: Arc<AtomicU64>,
    clock: fn() -> i64,
}

impl Expiry {
    pub(super) fn of(meta: &StateMeta, clock: fn() -> i64) -> Self {
        let expiry = Self { kind: meta.kind, ttl_ms: Arc::default(), clock };
        expiry.set(meta.ttl);
        expiry
    }

    /// From now on. Rows must have, or not have, the time of their last use accordingly.
    pub(super) fn set(&self, ttl: Option<StateTtlConfig>) {
        self.ttl_ms.store(ttl.map_or(0, |ttl| ttl.ttl_ms.max(1)), Ordering::Relaxed);
    }

    /// Lets RocksDB drop what has expired.
    pub(super) fn add_to(&self, options: &mut Options) {
        // A list's items have their own times; timers never expire.
        if !matches!(self.kind, StateKind::Value | StateKind::Map) {
            return;
        }
        let ttl_ms = self.ttl_ms.load(Ordering::Relaxed);
        if ttl_ms > 0 {
            options.set_periodic_compaction_seconds((ttl_ms / 1000).max(MERGE_AFTER_SECONDS));
        }
        // A factory belongs to RocksDB. A filter would go with the options, and leave column families created later with none.
        options.set_compaction_filter_factory(self.clone());
    }

    fn expired(&self, value: &[u8]) -> bool {
        let ttl_ms = self.ttl_ms.load(Ordering::Relaxed);
        let Some(used) = value.first_chunk::<STAMP_BYTES>().filter(|_| ttl_ms > 0) else { return false };
        (self.clock)() >= i64::from_le_bytes(*used).saturating_add_unsigned(ttl_ms)
    }
}

impl CompactionFilterFactory for Expiry {
    type Filter = Self;

    fn create(&mut self, _: CompactionFilterContext) -> Self {
        self.clone()
    }

    fn name(&self) -> &CStr {
        c"expiry"
    }
}

impl CompactionFilter for Expiry {
    fn filter(&mut self, _: u32, _: &[u8], value: &[u8]) -> CompactionDecision {
        if self.expired(value) { CompactionDecision::Remove } else { CompactionDecision::Keep }
    }

    fn name(&self) -> &CStr {
        c"expiry"
    }
}
