//! Keyed state in RocksDB: on local disks, larger than memory, with checkpoints that share their files.
//!
//! One instance for each operator subtask, in a directory of its own that goes with it; one column family for each state. The
//! write-ahead log is off: state is recovered from checkpoints. All instances of a process share one budget of memory,
//! [`SharedRocksDb`].
//!
//! An access goes to the rows in memory first (`cache`), where changes wait for being written in sorted batches; the first
//! timers of each key group are in memory, too (`heads`). A checkpoint writes what waits; another thread makes hard links to
//! RocksDB's files (`link`), which are then copied elsewhere. Files of sorted rows never change, so that later checkpoints refer to
//! them (`files`). A savepoint reads such links and writes the canonical format (`savepoint`).

mod cache;
mod contents;
mod expiry;
mod files;
mod heads;
mod instance;
mod link;
mod rescale;
mod restore;
mod savepoint;
mod shared;
mod store;
#[cfg(test)]
mod tests;
mod tuning;

pub use restore::open;
pub use shared::SharedRocksDb;
