//! Functions on two connected streams.

use crate::batch::EventTime;
use crate::functions::{
    Context, FunctionResult, KeyedContext, KeyedProcessFunction, OpenContext, OperatorContext, ProcessFunction,
};
use crate::operators::Collector;
use crate::operators::either::Either;

/// Takes records of two streams.
pub trait CoProcessFunction<A, B, Out>: Clone + Send + Sync + 'static {
    /// What [`open`](Self::open) makes; often `()`.
    type State: 'static;

    /// See [`ProcessFunction::open`].
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn open(&self, context: &mut OperatorContext<'_>) -> FunctionResult<Self::State>;

    /// Takes one record of the first stream.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn process_element1(
        &mut self,
        record: A,
        state: &Self::State,
        ctx: &mut Context<'_>,
        out: &mut Collector<Out>,
    ) -> FunctionResult;

    /// Takes one record of the second stream.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn process_element2(
        &mut self,
        record: B,
        state: &Self::State,
        ctx: &mut Context<'_>,
        out: &mut Collector<Out>,
    ) -> FunctionResult;
}

/// Takes records of two streams with the same type of key, with state and timers of their keys.
pub trait KeyedCoProcessFunction<K, A, B, Out>: Clone + Send + Sync + 'static {
    /// See [`KeyedProcessFunction::State`].
    type State: 'static;

    /// See [`KeyedProcessFunction::open`].
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn open(&self, context: &mut OpenContext<'_, K>) -> FunctionResult<Self::State>;

    /// Takes one record of the first stream.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn process_element1(
        &mut self,
        record: A,
        state: &Self::State,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Collector<Out>,
    ) -> FunctionResult;

    /// Takes one record of the second stream.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn process_element2(
        &mut self,
        record: B,
        state: &Self::State,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Collector<Out>,
    ) -> FunctionResult;

    /// See [`KeyedProcessFunction::on_timer`].
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

/// A function on two streams as one on a stream of both.
#[derive(Clone)]
pub struct BothSides<F>(pub F);

impl<A, B, Out, F: CoProcessFunction<A, B, Out>> ProcessFunction<Either<A, B>, Out> for BothSides<F> {
    type State = F::State;

    fn open(&self, context: &mut OperatorContext<'_>) -> FunctionResult<F::State> {
        self.0.open(context)
    }

    #[inline]
    fn process_element(
        &mut self,
        record: Either<A, B>,
        state: &F::State,
        ctx: &mut Context<'_>,
        out: &mut Collector<Out>,
    ) -> FunctionResult {
        match record {
            Either::Left(record) => self.0.process_element1(record, state, ctx, out),
            Either::Right(record) => self.0.process_element2(record, state, ctx, out),
        }
    }
}

impl<K, A, B, Out, F: KeyedCoProcessFunction<K, A, B, Out>> KeyedProcessFunction<K, Either<A, B>, Out>
    for BothSides<F>
{
    type State = F::State;

    fn open(&self, context: &mut OpenContext<'_, K>) -> FunctionResult<F::State> {
        self.0.open(context)
    }

    #[inline]
    fn process_element(
        &mut self,
        record: Either<A, B>,
        state: &F::State,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Collector<Out>,
    ) -> FunctionResult {
        match record {
            Either::Left(record) => self.0.process_element1(record, state, ctx, out),
            Either::Right(record) => self.0.process_element2(record, state, ctx, out),
        }
    }

    fn on_timer(
        &mut self,
        timestamp: EventTime,
        state: &F::State,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Collector<Out>,
    ) -> FunctionResult {
        self.0.on_timer(timestamp, state, ctx, out)
    }
}
