//! Sinks that a program writes itself.

use std::marker::PhantomData;

use flumen_worker::batch::{Batch, EventTime, NO_TIME};
use flumen_worker::functions::{FunctionResult, RuntimeContext};
use flumen_worker::operator::{Push, Signal, TaskResult};

use crate::function_error::failed;

/// A sink of the program's own, as Flink's `SinkFunction`. Each subtask works with a clone of its own, in its own thread.
///
/// Records are delivered at least once: after a restart those come again that were taken after the last checkpoint. What
/// [`flush`](Self::flush) has made durable does not come again once the checkpoint is complete. For exactly once use a sink
/// that commits with checkpoints, such as the file sink.
pub trait SinkFunction<T>: Clone + Send + Sync + 'static {
    /// What [`open`](Self::open) makes: a connection, a file. Need not be sendable: it stays in the subtask's thread.
    type State: 'static;

    /// Called once in each subtask, before everything else.
    ///
    /// # Errors
    /// Any, as in all of these: the subtask fails.
    fn open(&self, context: &RuntimeContext) -> FunctionResult<Self::State>;

    /// Takes a record.
    ///
    /// # Errors
    /// See [`Self::open`].
    fn invoke(&mut self, record: T, state: &mut Self::State, context: &SinkContext) -> FunctionResult;

    /// Makes durable what was taken: called when a checkpoint passes.
    ///
    /// # Errors
    /// See [`Self::open`].
    fn flush(&mut self, _state: &mut Self::State) -> FunctionResult {
        Ok(())
    }

    /// There are no more records.
    ///
    /// # Errors
    /// See [`Self::open`].
    fn finish(&mut self, _state: &mut Self::State) -> FunctionResult {
        Ok(())
    }

    /// Called last, also after a failure and after a cancellation.
    fn close(&mut self, _state: Self::State) {}
}

/// What a sink is told with a record.
#[derive(Debug, Clone, Copy)]
pub struct SinkContext {
    time: EventTime,
    watermark: EventTime,
}

impl SinkContext {
    /// The record's event time, milliseconds since 1970; `None` when it has none.
    pub fn timestamp(&self) -> Option<EventTime> {
        (self.time != NO_TIME).then_some(self.time)
    }

    /// No record with this or an earlier event time is expected; `i64::MIN` before the first watermark.
    pub fn current_watermark(&self) -> EventTime {
        self.watermark
    }
}

/// A [`SinkFunction`] at the end of a chain.
pub(crate) struct FunctionSink<F: SinkFunction<T>, T> {
    function: F,
    /// `None` when it is closed.
    state: Option<F::State>,
    context: SinkContext,
    records: PhantomData<fn(T)>,
}

impl<T: 'static, F: SinkFunction<T>> FunctionSink<F, T> {
    pub(crate) fn open(function: F, context: &RuntimeContext) -> TaskResult<Self> {
        let state = function.open(context).map_err(|error| failed("the sink's open() failed", &*error))?;
        let context = SinkContext { time: NO_TIME, watermark: NO_TIME };
        Ok(Self { function, state: Some(state), context, records: PhantomData })
    }
}

impl<T, F: SinkFunction<T>> FunctionSink<F, T> {
    fn close(&mut self) {
        if let Some(state) = self.state.take() {
            self.function.close(state);
        }
    }
}

impl<T: 'static, F: SinkFunction<T>> Push<T> for FunctionSink<F, T> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        let Self { function, state: Some(state), context, .. } = self else { return Ok(()) };
        let mut records = batch.drain();
        let written = records.try_for_each(|(record, time)| {
            context.time = time;
            function.invoke(record, state, context)
        });
        written.map_err(|error| failed("the sink failed", &*error))
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        let Self { function, state: Some(state), context, .. } = self else { return Ok(()) };
        let done = match signal {
            Signal::Watermark(time) => {
                context.watermark = time;
                Ok(())
            }
            Signal::Barrier(_) => function.flush(state),
            Signal::End => function.finish(state),
            Signal::Close => {
                self.close();
                Ok(())
            }
            _ => Ok(()),
        };
        done.map_err(|error| failed("the sink failed", &*error))
    }
}

impl<T, F: SinkFunction<T>> Drop for FunctionSink<F, T> {
    fn drop(&mut self) {
        self.close();
    }
}
