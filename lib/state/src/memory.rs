//! Keyed state as values in memory, and its snapshots without stopping the subtask.
//!
//! Beside each entry stands the number of the newest snapshot that has, or need not have, its value. A running snapshot walks
//! the tables in slices; an entry that is about to change before the walk came by is written first. So a snapshot holds
//! exactly what was there when it began, and costs an access one comparison.
//!
//! An access to a large table waits for main memory. So operators say which keys of a batch come next, and the processor
//! fetches their entries while it works on others.

mod backend;
mod entries;
mod restored;
mod running;
mod shape;
mod table;
#[cfg(test)]
mod tests;
mod timers;

pub(crate) use backend::Memory;
pub(crate) use running::Running;
pub(crate) use shape::{
    ListOf, MapOf, Plain, STAMP_BYTES, Shape, Stamped, StampedList, StampedMap, StampedValue, UserMap, each_item,
};
pub(crate) use table::MemoryTable;
pub(crate) use timers::{MemoryTimers, TimerRow};

use crate::canonical::Row;
use crate::error::StateError;

/// A table whose types are not known.
pub(crate) trait AnyTable {
    /// Writes entries that running snapshots still need, and takes their number from `budget`; false when all are written.
    fn walk(&self, budget: &mut usize) -> bool;

    /// Begins the walk anew.
    fn rewind(&self);

    /// Whether it pays to [fetch](Self::fetch) entries before they are needed.
    fn is_large(&self) -> bool {
        false
    }

    /// Lets the processor fetch the entries of the keys that have these hashes.
    fn fetch(&self, _hashes: &[u64]) {}

    /// Makes room for so many rows of a snapshot, if that is known to be so many entries.
    fn reserve(&self, _rows: usize) {}

    /// Takes in rows of a snapshot.
    ///
    /// # Errors
    /// The bytes of the row at that position are none of its types.
    fn restore(&self, rows: &[Row<'_>]) -> Result<(), (usize, postcard::Error)>;
}

/// Takes in rows one by one.
pub(crate) fn restore_each(
    rows: &[Row<'_>],
    mut restore: impl FnMut(&Row<'_>) -> postcard::Result<()>,
) -> Result<(), (usize, postcard::Error)> {
    rows.iter().enumerate().try_for_each(|(at, row)| restore(row).map_err(|error| (at, error)))
}

/// Used where a walk skips entries: so many cost as much as one that is written.
pub(crate) const SKIPPED_PER_ENTRY: usize = 32;

/// So that the module's parts name one error type.
pub(crate) type Result<T, E = StateError> = std::result::Result<T, E>;
