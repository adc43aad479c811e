//! Functions on any stream.

use crate::functions::{Context, FunctionResult, OperatorContext};
use crate::operators::Collector;

/// Takes records one by one, and emits any number, also into side outputs.
pub trait ProcessFunction<In, Out>: Clone + Send + Sync + 'static {
    /// What [`open`](Self::open) makes; often `()`.
    type State: 'static;

    /// Called once in each subtask, before everything else.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn open(&self, context: &mut OperatorContext<'_>) -> FunctionResult<Self::State>;

    /// Takes one record.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn process_element(
        &mut self,
        record: In,
        state: &Self::State,
        ctx: &mut Context<'_>,
        out: &mut Collector<Out>,
    ) -> FunctionResult;

    /// The input has ended: the last chance to emit.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn finish(&mut self, _state: &Self::State, _ctx: &mut Context<'_>, _out: &mut Collector<Out>) -> FunctionResult {
        Ok(())
    }
}
