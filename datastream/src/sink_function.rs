//! Sinks that a program writes itself.

use flumen_worker::batch::{Batch, EventTime, NO_TIME};
use flumen_worker::operator::{Push, Signal, TaskResult};

use crate::runtime_context::{FunctionError, RuntimeContext, failed};

/// A sink of the program's own, as Flink's `SinkFunction`. Each subtask works with a clone of its own, in its own thread.
///
/// Records are delivered at least once: after a restart those come again that were taken after the last checkpoint. What
/// [`flush`](Self::flush) has made durable does not come again once the checkpoint is complete. For exactly once use a sink
/// that commits with checkpoints, such as the file sink.
pub trait SinkFunction<T>: 'static {
    /// Called first.
    ///
    /// # Errors
    /// As all of these: the job fails with it.
    fn open(&mut self, context: &RuntimeContext) -> Result<(), FunctionError> {
        let _ = context;
        Ok(())
    }

    /// Takes a record.
    fn invoke(&mut self, record: T, context: &SinkContext) -> Result<(), FunctionError>;

    /// Makes durable what was taken: called when a checkpoint passes.
    fn flush(&mut self) -> Result<(), FunctionError> {
        Ok(())
    }

    /// There are no more records.
    fn finish(&mut self) -> Result<(), FunctionError> {
        Ok(())
    }

    /// Called last, also after a failure and after a cancellation.
    fn close(&mut self) {}
}

/// What a sink is told with a record.
#[derive(Debug, Clone, Copy)]
pub struct SinkContext {
    time: EventTime,
    watermark: EventTime,
}

impl SinkContext {
    /// The record's event time, milliseconds since 1970; `None` when it has none.
    pub fn timestamp(&self) -> Option<i64> {
        (self.time != NO_TIME).then_some(self.time)
    }

    /// The watermark: earlier records than this are late. `i64::MIN` before the first one.
    pub fn current_watermark(&self) -> i64 {
        self.watermark
    }
}

/// A [`SinkFunction`] at the end of a chain.
pub(crate) struct FunctionSink<F: SinkFunction<T>, T> {
    function: F,
    context: SinkContext,
    name: String,
    is_closed: bool,
    records: std::marker::PhantomData<fn(T)>,
}

impl<T: 'static, F: SinkFunction<T>> FunctionSink<F, T> {
    pub(crate) fn open(mut function: F, context: &RuntimeContext) -> TaskResult<Self> {
        let name = context.task_name().to_owned();
        function.open(context).map_err(|error| failed("opening the sink", &*error))?;
        let context = SinkContext { time: NO_TIME, watermark: NO_TIME };
        Ok(Self { function, context, name, is_closed: false, records: std::marker::PhantomData })
    }

    fn done(&self, what: &str, result: Result<(), FunctionError>) -> TaskResult {
        result.map_err(|error| failed(&format!("{what} the sink of `{}`", self.name), &*error))
    }
}

impl<T: 'static, F: SinkFunction<T>> Push<T> for FunctionSink<F, T> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        let mut result = Ok(());
        for (record, time) in batch.drain() {
            self.context.time = time;
            result = self.function.invoke(record, &self.context);
            if result.is_err() {
                break;
            }
        }
        self.done("writing to", result)
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        match signal {
            Signal::Watermark(time) => self.context.watermark = time,
            Signal::Barrier(_) => {
                let result = self.function.flush();
                self.done("flushing", result)?;
            }
            Signal::End => {
                let result = self.function.finish();
                self.done("finishing", result)?;
            }
            Signal::Close => {
                self.is_closed = true;
                self.function.close();
            }
            _ => {}
        }
        Ok(())
    }
}

impl<T, F: SinkFunction<T>> Drop for FunctionSink<F, T> {
    fn drop(&mut self) {
        if !self.is_closed {
            self.function.close();
        }
    }
}
