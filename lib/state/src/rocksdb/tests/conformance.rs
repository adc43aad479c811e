//! The suite that every backend must pass, over RocksDB, and between RocksDB and memory.

use std::cell::Cell;

use super::*;
use crate::conformance::{Backend, check, clock};
use crate::error::StateError;
use crate::keyed::Keyed;
use crate::traits::Key;

struct InRocksDb {
    options: BackendOptions,
    _local: tempfile::TempDir,
}

impl InRocksDb {
    fn new() -> Self {
        let local = local_directory();
        Self { options: BackendOptions { clock, ..options(local.path()) }, _local: local }
    }
}

impl Backend for InRocksDb {
    fn open<K: Key>(
        &self,
        groups: KeyGroupRange,
        max_parallelism: u32,
        restore: Vec<RestoredKeyed>,
    ) -> Result<Keyed<K>, StateError> {
        Keyed::open(&self.options, groups, max_parallelism, restore)
    }
}

#[test]
fn state_in_rocksdb_conforms() {
    check(&InRocksDb::new());
}

/// Restores into the other backend each time. What is not a savepoint is restored where it comes from.
struct Alternating {
    rocksdb: InRocksDb,
    in_memory: Cell<bool>,
}

impl Backend for Alternating {
    fn open<K: Key>(
        &self,
        groups: KeyGroupRange,
        max_parallelism: u32,
        restore: Vec<RestoredKeyed>,
    ) -> Result<Keyed<K>, StateError> {
        let is_canonical = restore.iter().all(|piece| piece.state.format == KeyedFormat::Canonical);
        if is_canonical && self.in_memory.replace(!self.in_memory.get()) {
            let options = BackendOptions { clock, ..BackendOptions::default() };
            return Keyed::open(&options, groups, max_parallelism, restore);
        }
        self.rocksdb.open(groups, max_parallelism, restore)
    }
}

#[test]
fn what_memory_wrote_rocksdb_reads_and_the_other_way_round() {
    for first in [true, false] {
        check(&Alternating { rocksdb: InRocksDb::new(), in_memory: Cell::new(first) });
    }
}
