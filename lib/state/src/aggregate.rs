//! Functions that fold many values into one.

use crate::traits::StateValue;

/// Folds values of one type into an accumulator, from which a result can be taken at any time (Flink's `AggregateFunction`).
pub trait AggregateFunction: 'static {
    /// What is added.
    type In;
    /// What is kept.
    type Acc: StateValue;
    /// What is asked for.
    type Out;

    /// The accumulator of nothing: the same each time, so that one may be made beforehand and copied.
    fn create_accumulator(&self) -> Self::Acc;

    /// Adds one value.
    fn add(&self, accumulator: &mut Self::Acc, value: Self::In);

    /// The result so far.
    fn get_result(&self, accumulator: &Self::Acc) -> Self::Out;

    /// The accumulator of what both had seen. Must be associative and commutative: sliding windows and sessions merge
    /// accumulators in no promised order, and take either for the first.
    fn merge(&self, a: Self::Acc, b: Self::Acc) -> Self::Acc;
}
