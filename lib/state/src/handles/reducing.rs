//! One value per key, into which others are folded.

use std::rc::Rc;

use crate::error::StateError;
use crate::traits::{Key, StateValue};

use super::ValueState;

/// A value of the current key that grows by a function. A cheap clone of a handle.
pub struct ReducingState<K, V: StateValue, F> {
    value: ValueState<K, V>,
    reduce: Rc<F>,
}

impl<K, V: StateValue, F> Clone for ReducingState<K, V, F> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), reduce: Rc::clone(&self.reduce) }
    }
}

impl<K: Key, V: StateValue, F: Fn(V, V) -> V> ReducingState<K, V, F> {
    pub(crate) fn new(value: ValueState<K, V>, reduce: F) -> Self {
        Self { value, reduce: Rc::new(reduce) }
    }

    /// The value of everything that was added.
    ///
    /// # Errors
    /// The store failed, as in all of these.
    #[inline]
    pub fn get(&self) -> Result<Option<V>, StateError> {
        self.value.get()
    }

    /// Adds a value.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn add(&self, added: V) -> Result<(), StateError> {
        self.value.update(|value| {
            *value = Some(match value.take() {
                Some(so_far) => (self.reduce)(so_far, added),
                None => added,
            });
        })
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn clear(&self) -> Result<(), StateError> {
        self.value.clear()
    }
}
