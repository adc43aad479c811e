//! Functions on keyed streams.

use crate::batch::EventTime;
use crate::functions::{FunctionResult, KeyedContext, OpenContext};
use crate::operators::Collector;

/// Takes records one by one, with state and timers of their keys.
pub trait KeyedProcessFunction<K, In, Out>: Clone + Send + Sync + 'static {
    /// What [`open`](Self::open) makes: mostly handles of keyed state, which are always about the current key.
    type State: 'static;

    /// Called once in each subtask, before everything else.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn open(&self, context: &mut OpenContext<'_, K>) -> FunctionResult<Self::State>;

    /// Takes one record.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn process_element(
        &mut self,
        record: In,
        state: &Self::State,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Collector<Out>,
    ) -> FunctionResult;

    /// A timer that was registered for the current key is due. [`KeyedContext::time_domain`] says of which kind it is. What
    /// is emitted has the timer's time if that is an event time.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn on_timer(
        &mut self,
        _timestamp: EventTime,
        _state: &Self::State,
        _ctx: &mut KeyedContext<'_, K>,
        _out: &mut Collector<Out>,
    ) -> FunctionResult {
        Ok(())
    }
}
