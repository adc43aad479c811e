//! Functions on pairs of an interval join.

use crate::batch::EventTime;
use crate::functions::FunctionResult;
use crate::operators::Collector;

/// Takes the pairs of records that an interval join found.
///
/// A closure `|left, right, out|` is one, too.
pub trait ProcessJoinFunction<A, B, Out>: Clone + Send + Sync + 'static {
    /// Takes one pair. What is emitted has the later of both times.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn process_element(&mut self, left: &A, right: &B, ctx: &JoinContext, out: &mut Collector<Out>) -> FunctionResult;
}

impl<A, B, Out, F> ProcessJoinFunction<A, B, Out> for F
where
    F: FnMut(&A, &B, &mut Collector<Out>) + Clone + Send + Sync + 'static,
{
    #[inline]
    fn process_element(&mut self, left: &A, right: &B, _: &JoinContext, out: &mut Collector<Out>) -> FunctionResult {
        self(left, right, out);
        Ok(())
    }
}

/// The times of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinContext {
    /// The event time of the left record.
    pub left_timestamp: EventTime,
    /// The event time of the right record.
    pub right_timestamp: EventTime,
}

impl JoinContext {
    /// The later of both.
    pub fn timestamp(&self) -> EventTime {
        self.left_timestamp.max(self.right_timestamp)
    }
}
