//! Which backend, and what it needs from its surroundings.

use std::path::PathBuf;
use std::time::SystemTime;

/// Where keyed state is kept between accesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BackendKind {
    /// As values in memory (`state.backend: hashmap`).
    #[default]
    HashMap,
    /// Serialised, in RocksDB on local disks (`state.backend: rocksdb`).
    RocksDb,
}

/// How keyed state is kept.
#[derive(Debug, Clone)]
pub struct BackendOptions {
    /// Which backend.
    pub kind: BackendKind,
    /// The time for TTL: milliseconds since 1970.
    pub clock: fn() -> i64,
    /// Local directories for RocksDB, one of which is chosen (`state.backend.rocksdb.localdir`, else `io.tmp.dirs`).
    pub directories: Vec<PathBuf>,
    /// What the directory of this subtask's state is called, below one of `directories`. Unique in the process.
    pub name: String,
    /// Whether checkpoints refer to files of earlier ones where they can (`state.backend.incremental`).
    pub incremental: bool,
    /// What the RocksDB instances of one process share: block cache and write buffers.
    #[cfg(feature = "rocksdb")]
    pub rocksdb: Option<crate::rocksdb::SharedRocksDb>,
}

impl Default for BackendOptions {
    fn default() -> Self {
        Self {
            kind: BackendKind::HashMap,
            clock: system_clock,
            directories: Vec::new(),
            name: String::new(),
            incremental: false,
            #[cfg(feature = "rocksdb")]
            rocksdb: None,
        }
    }
}

/// The system's clock: milliseconds since 1970.
fn system_clock() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
