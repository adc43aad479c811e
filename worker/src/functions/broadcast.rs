//! Functions on a stream and one that goes to all subtasks, such as rules or settings.

use flumen_state::{Key, StateValue};

use crate::batch::EventTime;
use crate::functions::context::Parts;
use crate::functions::{
    Context, FunctionResult, KeyedContext, KeyedProcessFunction, OpenContext, OperatorContext, ProcessFunction,
    RuntimeContext,
};
use crate::operators::Collector;
use crate::operators::either::Either;
use crate::operators::side_output::OutputTag;

/// A map that is the same in all subtasks, as [`open`](BroadcastProcessFunction::open) gets it. What can be done with it
/// depends on the stream that is being worked on: [`Context::broadcast_state`], [`BroadcastContext::broadcast_state`].
#[derive(Clone)]
pub struct BroadcastState<UK, UV>(flumen_state::operator::BroadcastState<UK, UV>);

impl<UK, UV> BroadcastState<UK, UV> {
    pub(crate) fn new(state: flumen_state::operator::BroadcastState<UK, UV>) -> Self {
        Self(state)
    }
}

/// Broadcast state as the other stream sees it.
pub struct ReadOnlyBroadcastState<'a, UK, UV>(&'a flumen_state::operator::BroadcastState<UK, UV>);

impl<UK: Key, UV: StateValue> ReadOnlyBroadcastState<'_, UK, UV> {
    /// The value of a key.
    pub fn get(&self, key: &UK) -> Option<UV> {
        self.0.get(key)
    }

    /// Looks at the value of a key.
    #[inline]
    pub fn with<R>(&self, key: &UK, f: impl FnOnce(Option<&UV>) -> R) -> R {
        self.0.with(key, f)
    }

    /// Whether there is such a key.
    pub fn contains(&self, key: &UK) -> bool {
        self.0.contains(key)
    }

    /// Looks at each entry, in no particular order.
    pub fn for_each(&self, f: impl FnMut(&UK, &UV)) {
        self.0.for_each(f);
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Context<'_> {
    /// Broadcast state, to be read.
    pub fn broadcast_state<'s, UK, UV>(&self, state: &'s BroadcastState<UK, UV>) -> ReadOnlyBroadcastState<'s, UK, UV> {
        ReadOnlyBroadcastState(&state.0)
    }
}

impl<K> KeyedContext<'_, K> {
    /// Broadcast state, to be read.
    pub fn broadcast_state<'s, UK, UV>(&self, state: &'s BroadcastState<UK, UV>) -> ReadOnlyBroadcastState<'s, UK, UV> {
        ReadOnlyBroadcastState(&state.0)
    }
}

/// Of functions while they work on a record of the broadcast stream. All subtasks get these records, each in its own order
/// relative to those of the other stream: what is done with broadcast state must not depend on anything else.
pub struct BroadcastContext<'a>(&'a mut Parts);

impl BroadcastContext<'_> {
    /// Broadcast state, to be changed.
    pub fn broadcast_state<'s, UK, UV>(
        &mut self,
        state: &'s BroadcastState<UK, UV>,
    ) -> &'s flumen_state::operator::BroadcastState<UK, UV> {
        &state.0
    }

    /// The event time of the record, if it has one.
    pub fn timestamp(&mut self) -> Option<EventTime> {
        Context(self.0).timestamp()
    }

    /// No record with this or an earlier event time is expected; [`NO_TIME`](crate::batch::NO_TIME) before the first
    /// watermark.
    pub fn current_watermark(&self) -> EventTime {
        self.0.watermark
    }

    /// Milliseconds since 1970.
    pub fn current_processing_time(&self) -> EventTime {
        self.0.clock.now()
    }

    /// Emits into a side output, with the event time of the record.
    ///
    /// # Errors
    /// The side output is one of another type.
    pub fn output<X: 'static>(&mut self, tag: &OutputTag<X>, record: X) -> FunctionResult {
        self.0.output(tag, record)
    }

    /// The subtask.
    pub fn runtime(&self) -> &RuntimeContext {
        &self.0.runtime
    }
}

/// Takes records of a stream, and of one that goes to all subtasks.
pub trait BroadcastProcessFunction<A, B, Out>: Clone + Send + Sync + 'static {
    /// What [`open`](Self::open) makes: mostly [`BroadcastState`].
    type State: 'static;

    /// See [`ProcessFunction::open`].
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn open(&self, context: &mut OperatorContext<'_>) -> FunctionResult<Self::State>;

    /// Takes one record of the stream, which this subtask alone gets.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn process_element(
        &mut self,
        record: A,
        state: &Self::State,
        ctx: &mut Context<'_>,
        out: &mut Collector<Out>,
    ) -> FunctionResult;

    /// Takes one record of the broadcast stream, which all subtasks get.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn process_broadcast_element(
        &mut self,
        record: B,
        state: &Self::State,
        ctx: &mut BroadcastContext<'_>,
        out: &mut Collector<Out>,
    ) -> FunctionResult;
}

/// Takes records of a keyed stream, and of one that goes to all subtasks.
pub trait KeyedBroadcastProcessFunction<K, A, B, Out>: Clone + Send + Sync + 'static {
    /// What [`open`](Self::open) makes: [`BroadcastState`] and handles of keyed state.
    type State: 'static;

    /// See [`KeyedProcessFunction::open`].
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn open(&self, context: &mut OpenContext<'_, K>) -> FunctionResult<Self::State>;

    /// Takes one record of the keyed stream.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn process_element(
        &mut self,
        record: A,
        state: &Self::State,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Collector<Out>,
    ) -> FunctionResult;

    /// Takes one record of the broadcast stream, which all subtasks get. It has no key: keyed state must not be used.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn process_broadcast_element(
        &mut self,
        record: B,
        state: &Self::State,
        ctx: &mut BroadcastContext<'_>,
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

/// A function on two streams, of which the second goes to all subtasks, as one on a stream of both.
#[derive(Clone)]
pub struct WithBroadcast<F>(pub F);

impl<A, B, Out, F: BroadcastProcessFunction<A, B, Out>> ProcessFunction<Either<A, B>, Out> for WithBroadcast<F> {
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
            Either::Left(record) => self.0.process_element(record, state, ctx, out),
            Either::Right(record) => self.0.process_broadcast_element(record, state, &mut BroadcastContext(ctx.0), out),
        }
    }
}

impl<K, A, B, Out, F: KeyedBroadcastProcessFunction<K, A, B, Out>> KeyedProcessFunction<K, Either<A, B>, Out>
    for WithBroadcast<F>
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
            Either::Left(record) => self.0.process_element(record, state, ctx, out),
            Either::Right(record) => {
                self.0.process_broadcast_element(record, state, &mut BroadcastContext(&mut ctx.0.parts), out)
            }
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
