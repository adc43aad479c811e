//! One record in, any number out.

use crate::batch::{Batch, EventTime, NO_TIME};
use crate::operator::{BATCH_RECORDS, Push, Signal, TaskResult};

/// Takes the records that a function emits.
pub struct Collector<U> {
    output: Box<dyn Push<U>>,
    batch: Batch<U>,
    /// The event time of what is emitted.
    time: EventTime,
    /// The first error of the output; what is emitted after it is thrown away, because nothing more may be pushed.
    result: TaskResult,
}

impl<U> Collector<U> {
    /// Emits into `output`.
    pub fn new(output: Box<dyn Push<U>>) -> Self {
        Self { output, batch: Batch::with_capacity(BATCH_RECORDS), time: NO_TIME, result: Ok(()) }
    }

    /// Emits one record, with the event time of the record (or timer) that is being worked on.
    #[inline]
    pub fn collect(&mut self, record: U) {
        self.collect_at(record, self.time);
    }

    /// Emits one record with an event time of its own.
    #[inline]
    pub fn collect_at(&mut self, record: U, time: EventTime) {
        self.batch.push(record, time);
        // One input record may give more than fits into memory.
        if self.batch.len() >= BATCH_RECORDS {
            self.pass_on();
        }
    }

    /// Sets the event time of what is emitted from now on.
    #[inline]
    pub fn set_time(&mut self, time: EventTime) {
        self.time = time;
    }

    /// Pushes what was emitted. Called at the end of each input batch, and before a signal is passed on.
    ///
    /// # Errors
    /// Those of the output, also the ones that happened while records were emitted.
    pub fn finish(&mut self) -> TaskResult {
        if !self.batch.is_empty() {
            self.pass_on();
        }
        self.result.clone()
    }

    /// Pushes what was emitted, then passes the signal on.
    ///
    /// # Errors
    /// Those of the output.
    pub fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        self.finish()?;
        self.output.signal(signal)
    }

    fn pass_on(&mut self) {
        if self.result.is_ok() {
            self.result = self.output.push(&mut self.batch);
        }
        self.batch.clear();
    }
}

/// Applies a function that emits through a [`Collector`] to every record.
pub struct FlatMap<F, U> {
    function: F,
    collector: Collector<U>,
}

impl<F, U> FlatMap<F, U> {
    /// Pushes what is emitted into `output`.
    pub fn new(function: F, output: Box<dyn Push<U>>) -> Self {
        Self { function, collector: Collector::new(output) }
    }
}

impl<T, U, F: FnMut(T, &mut Collector<U>)> Push<T> for FlatMap<F, U> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        for (record, time) in batch.drain() {
            self.collector.set_time(time);
            (self.function)(record, &mut self.collector);
        }
        self.collector.finish()
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        self.collector.signal(signal)
    }
}
