//! Timers: something that is due for a key and namespace at a time.

use crate::error::StateError;
use crate::memory::MemoryTimers;
use crate::rows::RowTimers;
use crate::traits::{Key, Namespace};

/// The timers of one operator subtask under one name, ordered by time. A cheap clone of a handle.
pub struct Timers<K, N>(Inner<K, N>);

enum Inner<K, N> {
    Memory(MemoryTimers<K, N>),
    Rows(RowTimers<K, N>),
}

impl<K, N> Clone for Timers<K, N> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Inner::Memory(timers) => Inner::Memory(timers.clone()),
            Inner::Rows(timers) => Inner::Rows(timers.clone()),
        })
    }
}

impl<K: Key, N: Namespace + Ord> Timers<K, N> {
    pub(crate) fn in_memory(timers: MemoryTimers<K, N>) -> Self {
        Self(Inner::Memory(timers))
    }

    pub(crate) fn in_rows(timers: RowTimers<K, N>) -> Self {
        Self(Inner::Rows(timers))
    }

    /// Registers a timer; false when there was such a one already.
    ///
    /// # Errors
    /// The store failed, as in all of these.
    #[inline]
    pub fn register(&self, time: i64, key: &K, namespace: &N) -> Result<bool, StateError> {
        match &self.0 {
            Inner::Memory(timers) => Ok(timers.register(time, key, namespace)),
            Inner::Rows(timers) => timers.register(time, key, namespace),
        }
    }

    /// Deletes a timer; false when there was none.
    ///
    /// # Errors
    /// See [`Self::register`].
    #[inline]
    pub fn delete(&self, time: i64, key: &K, namespace: &N) -> Result<bool, StateError> {
        match &self.0 {
            Inner::Memory(timers) => Ok(timers.delete(time, key, namespace)),
            Inner::Rows(timers) => timers.delete(time, key, namespace),
        }
    }

    /// The time of the first one.
    ///
    /// # Errors
    /// See [`Self::register`].
    #[inline]
    pub fn peek(&self) -> Result<Option<i64>, StateError> {
        match &self.0 {
            Inner::Memory(timers) => Ok(timers.peek()),
            Inner::Rows(timers) => timers.peek(),
        }
    }

    /// Takes the first one, if it is due by that time. Those of one time come in no particular order.
    ///
    /// # Errors
    /// See [`Self::register`].
    #[inline]
    pub fn pop_due(&self, upto: i64) -> Result<Option<(i64, K, N)>, StateError> {
        match &self.0 {
            Inner::Memory(timers) => Ok(timers.pop_due(upto)),
            Inner::Rows(timers) => timers.pop_due(upto),
        }
    }

    /// How many there are; `None` where counting would mean reading all.
    pub fn count(&self) -> Option<usize> {
        match &self.0 {
            Inner::Memory(timers) => Some(timers.count()),
            Inner::Rows(_) => None,
        }
    }
}

/// A time as bytes that sort as the times do.
pub(crate) fn time_bytes(time: i64) -> [u8; 8] {
    (time ^ i64::MIN).to_be_bytes()
}

/// The time of [`time_bytes`].
pub(crate) fn time_of(bytes: &[u8]) -> postcard::Result<i64> {
    let bytes = bytes.try_into().map_err(|_| postcard::Error::DeserializeUnexpectedEnd)?;
    Ok(i64::from_be_bytes(bytes) ^ i64::MIN)
}
