//! One accumulator per key, to which values are added.

use std::rc::Rc;

use crate::aggregate::AggregateFunction;
use crate::error::StateError;
use crate::traits::Key;

use super::ValueState;

/// An accumulator of the current key. A cheap clone of a handle.
pub struct AggregatingState<K, A: AggregateFunction> {
    accumulator: ValueState<K, A::Acc>,
    function: Rc<A>,
}

impl<K, A: AggregateFunction> Clone for AggregatingState<K, A> {
    fn clone(&self) -> Self {
        Self { accumulator: self.accumulator.clone(), function: Rc::clone(&self.function) }
    }
}

impl<K: Key, A: AggregateFunction> AggregatingState<K, A> {
    pub(crate) fn new(accumulator: ValueState<K, A::Acc>, function: A) -> Self {
        Self { accumulator, function: Rc::new(function) }
    }

    /// The result of everything that was added; `None` when there is nothing.
    ///
    /// # Errors
    /// The store failed, as in all of these.
    #[inline]
    pub fn get(&self) -> Result<Option<A::Out>, StateError> {
        self.accumulator.with(|accumulator| accumulator.map(|accumulator| self.function.get_result(accumulator)))
    }

    /// Adds a value.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn add(&self, value: A::In) -> Result<(), StateError> {
        self.accumulator
            .upsert(|| self.function.create_accumulator(), |accumulator| self.function.add(accumulator, value))
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[inline]
    pub fn clear(&self) -> Result<(), StateError> {
        self.accumulator.clear()
    }
}
