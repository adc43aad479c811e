//! What a backend provides that keeps rows.

use std::ops::ControlFlow;

use flumen_model::checkpoint::SnapshotKind;

use crate::error::StateError;
use crate::meta::StateMeta;
use crate::snapshot::PendingSnapshot;

/// Called with the key and the value of a row.
pub type EachRow<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Sorted rows of bytes, for each state apart. Used by one thread; methods take `&self` because handles share it.
///
/// It is called through a virtual call: a row's way through such a store costs a hundred times more.
pub trait RowStore {
    /// The states that are there, such as restored ones. A state's number is its position; numbers never change.
    fn states(&self) -> Vec<StateMeta>;

    /// Adds an empty state and returns its number.
    ///
    /// # Errors
    /// The store failed, as in all of these.
    fn create(&self, meta: StateMeta) -> Result<usize, StateError>;

    /// Replaces what is known of a state, whose rows were rewritten.
    ///
    /// # Errors
    /// See [`Self::create`].
    fn describe(&self, state: usize, meta: StateMeta) -> Result<(), StateError>;

    /// Puts the value of a row into `value`, replacing what is in there; false when there is no such row.
    ///
    /// # Errors
    /// See [`Self::create`].
    fn get(&self, state: usize, row: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError>;

    /// Sets a row.
    ///
    /// # Errors
    /// See [`Self::create`].
    fn put(&self, state: usize, row: &[u8], value: &[u8]) -> Result<(), StateError>;

    /// Appends to a row's value, which is empty when there is none. Only for states of the kind `List`.
    ///
    /// # Errors
    /// See [`Self::create`].
    fn append(&self, state: usize, row: &[u8], value: &[u8]) -> Result<(), StateError>;

    /// Deletes a row, if there is such a one.
    ///
    /// # Errors
    /// See [`Self::create`].
    fn delete(&self, state: usize, row: &[u8]) -> Result<(), StateError>;

    /// Calls with the rows from `from` on that begin with `prefix`, in order, until told to stop. The caller does not change
    /// the store meanwhile.
    ///
    /// # Errors
    /// See [`Self::create`].
    fn scan(&self, state: usize, prefix: &[u8], from: &[u8], each: &mut EachRow<'_>) -> Result<(), StateError>;

    /// Takes what there is now; cheap. The rest happens in whoever has the result.
    ///
    /// # Errors
    /// See [`Self::create`].
    fn snapshot(&self, kind: SnapshotKind) -> Result<PendingSnapshot, StateError>;
}
