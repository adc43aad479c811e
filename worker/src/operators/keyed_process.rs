//! Functions of users on keyed streams: state and timers of the current key.

use std::marker::PhantomData;

use flumen_model::ids::OperatorId;

use crate::batch::{Batch, EventTime, NO_TIME};
use crate::functions::{
    BothSides, KeyedBroadcastProcessFunction, KeyedCoProcessFunction, KeyedContext, KeyedParts, KeyedProcessFunction,
    OpenContext, Parts, TimeDomain, WithBroadcast, not_opened, user_failure,
};
use crate::keyed::{BatchKeys, Key, KeySelector};
use crate::operator::{Clock, Push, Signal, TaskResult};
use crate::operators::Collector;
use crate::operators::either::{Either, EitherKey, LeftKey, SomeKey};
use crate::operators::side_output::SideOutputs;
use crate::subtask::SubtaskContext;

/// Entries that a running snapshot writes between two batches: some tenths of a millisecond, many batches' worth of time. The sooner it
/// is done, the fewer entries have to be written one by one because they are about to change, which costs more.
pub(crate) const SNAPSHOT_STEP: usize = 16 << 10;

/// The names under which timers are kept beside the states of the function.
const EVENT_TIMERS: &str = "_event-time-timers";
const PROCESSING_TIMERS: &str = "_processing-time-timers";

/// Runs a [`KeyedProcessFunction`].
pub struct KeyedProcess<In, Out, S: SomeKey<In>, F: KeyedProcessFunction<S::Key, In, Out>> {
    selector: S,
    function: F,
    state: F::State,
    parts: KeyedParts<S::Key>,
    keys: BatchKeys<S::Key>,
    out: Collector<Out>,
    ended: bool,
    records: PhantomData<fn(In)>,
}

/// Runs a [`KeyedCoProcessFunction`].
pub type KeyedCoProcess<A, B, Out, SA, SB, F> = KeyedProcess<Either<A, B>, Out, EitherKey<SA, SB>, BothSides<F>>;
/// Runs a [`KeyedBroadcastProcessFunction`].
pub type KeyedBroadcastProcess<A, B, Out, S, F> = KeyedProcess<Either<A, B>, Out, LeftKey<S>, WithBroadcast<F>>;

impl<In, Out, S: SomeKey<In>, F: KeyedProcessFunction<S::Key, In, Out>> KeyedProcess<In, Out, S, F> {
    /// Emits into `output` and the side outputs.
    ///
    /// # Errors
    /// The function's `open` failed, or the state can't be restored.
    pub fn open(
        context: &SubtaskContext,
        operator: OperatorId,
        selector: S,
        function: F,
        sides: SideOutputs,
        output: Box<dyn Push<Out>>,
    ) -> TaskResult<Self> {
        let mut keyed = context.open_keyed::<S::Key>(operator)?;
        let event_timers = keyed.timers(EVENT_TIMERS)?;
        let processing_timers = keyed.timers(PROCESSING_TIMERS)?;
        let mut parts = KeyedParts {
            parts: Parts::open(context, operator, sides),
            keyed,
            event_timers,
            processing_timers,
            domain: None,
        };
        let mut open = OpenContext { keyed: &mut parts.keyed, operator: parts.parts.operator_context() };
        let state = function.open(&mut open).map_err(not_opened)?;
        let (keys, out) = (BatchKeys::new(), Collector::new(output));
        Ok(Self { selector, function, state, parts, keys, out, ended: false, records: PhantomData })
    }

    fn fire(&mut self, domain: TimeDomain, upto: EventTime) -> TaskResult {
        let timers = match domain {
            TimeDomain::EventTime => self.parts.event_timers.clone(),
            TimeDomain::ProcessingTime => self.parts.processing_timers.clone(),
        };
        while let Some((time, key, ())) = timers.pop_due(upto)? {
            self.parts.keyed.set_current_key(&key);
            let event_time = if domain == TimeDomain::EventTime { time } else { NO_TIME };
            self.parts.parts.time = event_time;
            self.out.set_time(event_time);
            self.parts.domain = Some(domain);
            self.function
                .on_timer(time, &self.state, &mut KeyedContext(&mut self.parts), &mut self.out)
                .map_err(|error| user_failure("the function's on_timer() failed", error))?;
            self.parts.domain = None;
        }
        Ok(())
    }

    fn tell_time(&mut self, clock: &mut Clock) -> TaskResult {
        // Nothing may be emitted while the subtask waits for its last checkpoint.
        if self.ended {
            return Ok(());
        }
        if self.parts.processing_timers.peek()?.is_some_and(|first| first <= clock.now) {
            self.fire(TimeDomain::ProcessingTime, clock.now)?;
        }
        if let Some(next) = self.parts.processing_timers.peek()? {
            clock.call_at(next);
        }
        Ok(())
    }
}

/// See [`KeyedProcess::open`].
///
/// # Errors
/// The function's `open` failed, or the state can't be restored.
pub fn open_keyed_co_process<A, B, Out, K: Key, SA, SB, F>(
    context: &SubtaskContext,
    operator: OperatorId,
    selectors: (SA, SB),
    function: F,
    sides: SideOutputs,
    output: Box<dyn Push<Out>>,
) -> TaskResult<KeyedCoProcess<A, B, Out, SA, SB, F>>
where
    SA: KeySelector<A, Key = K>,
    SB: KeySelector<B, Key = K>,
    F: KeyedCoProcessFunction<K, A, B, Out>,
{
    KeyedProcess::open(context, operator, EitherKey(selectors.0, selectors.1), BothSides(function), sides, output)
}

/// See [`KeyedProcess::open`]. The second stream must be broadcast.
///
/// # Errors
/// The function's `open` failed, or the state can't be restored.
pub fn open_keyed_broadcast_process<A, B, Out, S, F>(
    context: &SubtaskContext,
    operator: OperatorId,
    selector: S,
    function: F,
    sides: SideOutputs,
    output: Box<dyn Push<Out>>,
) -> TaskResult<KeyedBroadcastProcess<A, B, Out, S, F>>
where
    S: KeySelector<A>,
    F: KeyedBroadcastProcessFunction<S::Key, A, B, Out>,
{
    KeyedProcess::open(context, operator, LeftKey(selector), WithBroadcast(function), sides, output)
}

impl<In, Out, S: SomeKey<In>, F: KeyedProcessFunction<S::Key, In, Out>> Push<In> for KeyedProcess<In, Out, S, F> {
    fn push(&mut self, batch: &mut Batch<In>) -> TaskResult {
        self.keys.look_ahead(&mut self.parts.keyed, &self.selector, batch.records());
        for (record, time) in batch.drain() {
            self.keys.set_current(&mut self.parts.keyed, &self.selector, &record);
            self.parts.parts.time = time;
            self.out.set_time(time);
            self.function
                .process_element(record, &self.state, &mut KeyedContext(&mut self.parts), &mut self.out)
                .map_err(|error| user_failure("the function failed", error))?;
        }
        self.parts.parts.sides.finish()?;
        self.out.finish()
    }

    fn signal(&mut self, mut signal: Signal<'_>) -> TaskResult {
        self.parts.parts.note(&mut signal)?;
        match &mut signal {
            Signal::Watermark(time) => self.fire(TimeDomain::EventTime, *time)?,
            Signal::Time(clock) => self.tell_time(clock)?,
            Signal::Barrier(snapshot) => {
                let state = self.parts.keyed.snapshot(snapshot.barrier().kind)?;
                snapshot.keyed(self.parts.parts.operator, state);
            }
            Signal::Background(more) => **more |= self.parts.keyed.snapshot_step(SNAPSHOT_STEP),
            Signal::End => self.ended = true,
            Signal::Close => self.parts.keyed.finish_snapshots(),
            _ => {}
        }
        self.parts.parts.sides.signal(&mut signal)?;
        self.out.signal(signal)
    }
}
