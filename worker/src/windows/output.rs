//! What the operators for windows have in common: how they call the function, what becomes of late records, snapshots.

use std::marker::PhantomData;

use flumen_model::checkpoint::Redistribution;
use flumen_model::failure::Blame;
use flumen_model::ids::OperatorId;
use flumen_state::Keyed;

use crate::batch::{END_OF_TIME, EventTime, NO_TIME};
use crate::exchange::codec;
use crate::functions::{RuntimeContext, not_opened, user_failure};
use crate::keyed::Key;
use crate::operator::{Push, Signal, TaskError, TaskResult};
use crate::operators::Collector;
use crate::operators::side_output::{OutputTag, SideOutputs};
use crate::subtask::{SubtaskContext, TimeSource};

use super::function::{Elements, ProcessWindowFunction, WindowContext, WindowOpenContext};
use super::window::Window;

/// Where an operator for windows emits beside its main output.
pub struct WindowOutputs<T> {
    /// Records that come too late go there; without, they are dropped and counted.
    pub late: Option<OutputTag<T>>,
    /// The side outputs that somebody reads.
    pub sides: SideOutputs,
}

impl<T> Default for WindowOutputs<T> {
    fn default() -> Self {
        Self { late: None, sides: SideOutputs::new() }
    }
}

/// Entries of state that a running snapshot goes on with between two batches: about 100 µs of work.
const SNAPSHOT_SLICE: usize = 1000;

/// See the module.
pub(crate) struct Firing<K, W, T, Item, F, Out>
where
    F: ProcessWindowFunction<K, W, Item, Out>,
{
    pub(crate) operator: OperatorId,
    pub(crate) keyed: Keyed<K>,
    function: F,
    state: F::State,
    pub(crate) collector: Collector<Out>,
    /// What the function gets next.
    pub(crate) items: Vec<Item>,
    outputs: WindowOutputs<T>,
    /// Records that were too late and that nobody wanted.
    pub(crate) late_dropped: u64,
    runtime: RuntimeContext,
    clock: TimeSource,
    subtask: (u32, u32),
    pub(crate) watermark: EventTime,
    /// The processing time when the batch or signal came.
    pub(crate) now: EventTime,
    window: PhantomData<W>,
}

/// The name of the list state that has the watermark.
const WATERMARK: &str = "window-watermark";

impl<K: Key, W: Window, T: 'static, Item, F, Out> Firing<K, W, T, Item, F, Out>
where
    F: ProcessWindowFunction<K, W, Item, Out>,
{
    pub(crate) fn open(
        context: &SubtaskContext,
        operator: OperatorId,
        mut keyed: Keyed<K>,
        function: F,
        outputs: WindowOutputs<T>,
        output: Box<dyn Push<Out>>,
    ) -> TaskResult<Self> {
        let runtime = RuntimeContext::new(context);
        let mut opening = WindowOpenContext { keyed: &mut keyed, runtime: &runtime, window: PhantomData };
        let state = function.open(&mut opening).map_err(not_opened)?;
        let subtask = (context.id.index, context.parallelism);
        Ok(Self {
            operator,
            keyed,
            function,
            state,
            collector: Collector::new(output),
            items: Vec::new(),
            outputs,
            late_dropped: 0,
            runtime,
            clock: context.worker.time.clone(),
            subtask,
            watermark: restored_watermark(context, operator)?,
            now: context.worker.time.now(),
            window: PhantomData,
        })
    }

    /// Looks at the clock. Once per batch: a moment is not much longer than that.
    pub(crate) fn look_at_clock(&mut self) {
        self.now = self.clock.now();
    }

    /// Calls the function with what is in `items`.
    pub(crate) fn fire(&mut self, key: &K, window: &W) -> TaskResult {
        let mut items = std::mem::take(&mut self.items);
        let result = self.fire_with(key, window, Elements::many(items.drain(..)));
        self.items = items;
        result
    }

    /// Calls the function with that alone.
    #[inline]
    pub(crate) fn fire_one(&mut self, key: &K, window: &W, item: Item) -> TaskResult {
        self.fire_with(key, window, Elements::one(item))
    }

    #[inline]
    fn fire_with(&mut self, key: &K, window: &W, elements: Elements<'_, Item>) -> TaskResult {
        if F::USES_KEYED_STATE {
            self.keyed.set_current_key(key);
        }
        let time = window.max_timestamp();
        let Self { watermark, now, runtime, outputs, collector, function, state, .. } = self;
        let (watermark, now) = (*watermark, *now);
        collector.set_time(time);
        let mut ctx = WindowContext { key, window, watermark, now, time, sides: &mut outputs.sides, runtime };
        let result = function.process(key, state, &mut ctx, elements, collector);
        result.map_err(|error| user_failure("the function on windows failed", error))
    }

    /// Lets the function forget a window.
    pub(crate) fn clear(&mut self, key: &K, window: &W) -> TaskResult {
        if !F::USES_KEYED_STATE {
            return Ok(());
        }
        self.keyed.set_current_key(key);
        let time = window.max_timestamp();
        let Self { watermark, now, runtime, outputs, function, state, .. } = self;
        let (watermark, now) = (*watermark, *now);
        let mut ctx = WindowContext { key, window, watermark, now, time, sides: &mut outputs.sides, runtime };
        let result = function.clear(key, state, &mut ctx);
        result.map_err(|error| user_failure("the function on windows failed while it cleared a window", error))
    }

    /// A record came too late for all of its windows.
    #[cold]
    pub(crate) fn late(&mut self, record: T, time: EventTime) -> TaskResult {
        match &self.outputs.late {
            Some(tag) => self.outputs.sides.emit(tag, record, time),
            None => {
                self.late_dropped += 1;
                Ok(())
            }
        }
    }

    /// Pushes what was emitted: at the end of a batch.
    pub(crate) fn finish(&mut self) -> TaskResult {
        self.outputs.sides.finish()?;
        self.collector.finish()
    }

    /// Does what has to be done at a signal after timers have fired, and passes it on.
    pub(crate) fn pass_on(&mut self, mut signal: Signal<'_>) -> TaskResult {
        match &mut signal {
            Signal::Barrier(snapshot) => {
                self.finish()?;
                snapshot.keyed(self.operator, self.keyed.snapshot(snapshot.barrier().kind)?);
                let mut item = Vec::new();
                codec::encode(&(self.subtask, self.watermark), &mut item)?;
                snapshot.list(self.operator, WATERMARK, Redistribution::Union, "", [item.as_slice()]);
            }
            Signal::Background(more) => **more |= self.keyed.snapshot_step(SNAPSHOT_SLICE),
            Signal::End if self.late_dropped > 0 => {
                let task = self.runtime.task_name();
                tracing::warn!(
                    task,
                    subtask = self.subtask.0,
                    records = self.late_dropped,
                    "late records were dropped"
                );
            }
            Signal::Close => self.keyed.finish_snapshots(),
            _ => {}
        }
        self.outputs.sides.signal(&mut signal)?;
        self.collector.signal(signal)
    }
}

/// What the watermark was at the checkpoint that the subtask starts from: a record that was late before is late again. With
/// another parallelism it is the smallest one of all former subtasks, so that no record becomes late. The end of time is none:
/// if records come after it, as they do to a job that was drained and goes on, they begin anew.
fn restored_watermark(context: &SubtaskContext, operator: OperatorId) -> TaskResult<EventTime> {
    let mut smallest = END_OF_TIME;
    for item in context.restored_list(operator, WATERMARK).unwrap_or_default() {
        let ((index, parallelism), watermark): ((u32, u32), EventTime) = codec::decode(&mut &item[..])?;
        if (index, parallelism) == (context.id.index, context.parallelism) {
            return Ok(if watermark == END_OF_TIME { NO_TIME } else { watermark });
        }
        smallest = smallest.min(watermark);
    }
    Ok(if smallest == END_OF_TIME { NO_TIME } else { smallest })
}

/// The error of windows that came to an end before the records that make them grow.
#[cold]
pub(crate) fn merged_into_the_past(what: &str, end: EventTime, now: EventTime) -> TaskError {
    let message = format!(
        "windows were merged into one that ends at {end}, before the current {what} {now}: a window's end must not become \
         earlier by merging"
    );
    TaskError::failed(Blame::User, message)
}
