//! Tables: values by key and namespace, both given with each access. What operators such as windows use.

use crate::error::StateError;
use crate::memory::{MemoryTable, Plain};
use crate::rows::RowTable;
use crate::traits::{Key, Namespace, StateValue};

/// Values of one operator subtask by key and namespace. A cheap clone of a handle.
///
/// In memory, a value is changed where it is. Using a table inside of a function that was given to the same table panics.
pub struct Table<K, N, V: StateValue>(pub(crate) Inner<K, N, V>);

pub(crate) enum Inner<K, N, V: StateValue> {
    Memory(MemoryTable<K, N, Plain<V>>),
    Rows(RowTable<K, N, V>),
}

impl<K, N, V: StateValue> Clone for Table<K, N, V> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Inner::Memory(table) => Inner::Memory(table.clone()),
            Inner::Rows(table) => Inner::Rows(table.clone()),
        })
    }
}

impl<K: Key, N: Namespace, V: StateValue> Table<K, N, V> {
    /// The value.
    ///
    /// # Errors
    /// The store failed, as in all of these.
    #[inline]
    pub fn get(&self, key: &K, namespace: &N) -> Result<Option<V>, StateError> {
        self.with(key, namespace, |value| value.cloned())
    }

    /// Looks at the value.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn with<R>(&self, key: &K, namespace: &N, f: impl FnOnce(Option<&V>) -> R) -> Result<R, StateError> {
        match &self.0 {
            Inner::Memory(table) => Ok(table.with(table.hash(key, namespace), key, namespace, f)),
            Inner::Rows(table) => table.with(key, namespace, f),
        }
    }

    /// Changes the value, beginning with `initial`. In memory the fastest way to change one.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn upsert<R>(
        &self,
        key: &K,
        namespace: &N,
        initial: impl FnOnce() -> V,
        f: impl FnOnce(&mut V) -> R,
    ) -> Result<R, StateError> {
        match &self.0 {
            Inner::Memory(table) => Ok(table.upsert(table.hash(key, namespace), key, namespace, initial, f)),
            Inner::Rows(table) => table.update(key, namespace, |value| f(value.get_or_insert_with(initial))),
        }
    }

    /// Changes the value, which may be nothing before and after.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn update<R>(&self, key: &K, namespace: &N, f: impl FnOnce(&mut Option<V>) -> R) -> Result<R, StateError> {
        match &self.0 {
            Inner::Memory(table) => Ok(table.update(table.hash(key, namespace), key, namespace, f)),
            Inner::Rows(table) => table.update(key, namespace, f),
        }
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn put(&self, key: &K, namespace: &N, value: V) -> Result<(), StateError> {
        match &self.0 {
            Inner::Memory(table) => {
                table.put(table.hash(key, namespace), key, namespace, value);
                Ok(())
            }
            Inner::Rows(table) => table.put(key, namespace, &value),
        }
    }

    /// Forgets the value, and returns it.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn take(&self, key: &K, namespace: &N) -> Result<Option<V>, StateError> {
        match &self.0 {
            Inner::Memory(table) => Ok(table.remove(table.hash(key, namespace), key, namespace)),
            Inner::Rows(table) => table.update(key, namespace, Option::take),
        }
    }

    /// Forgets the value.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn remove(&self, key: &K, namespace: &N) -> Result<(), StateError> {
        match &self.0 {
            Inner::Memory(table) => {
                table.remove(table.hash(key, namespace), key, namespace);
                Ok(())
            }
            Inner::Rows(table) => table.remove(key, namespace),
        }
    }
}
