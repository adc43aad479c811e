//! One record in, any number out.

use crate::operator::{BATCH_RECORDS, Push, TaskResult};

/// Takes the records that a function emits.
pub struct Collector<U> {
    output: Box<dyn Push<U>>,
    batch: Vec<U>,
    /// The first error of the output; what is emitted after it is thrown away, because nothing more may be pushed.
    result: TaskResult,
}

impl<U> Collector<U> {
    /// Emits one record.
    #[inline]
    pub fn collect(&mut self, record: U) {
        self.batch.push(record);
        // One input record may give more than fits into memory.
        if self.batch.len() >= BATCH_RECORDS {
            self.pass_on();
        }
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
        Self { function, collector: Collector { output, batch: Vec::with_capacity(BATCH_RECORDS), result: Ok(()) } }
    }
}

impl<T, U: Send, F: FnMut(T, &mut Collector<U>) + Send> Push<T> for FlatMap<F, U> {
    fn push(&mut self, batch: &mut Vec<T>) -> TaskResult {
        for record in batch.drain(..) {
            (self.function)(record, &mut self.collector);
        }
        if !self.collector.batch.is_empty() {
            self.collector.pass_on();
        }
        self.collector.result.clone()
    }

    fn flush(&mut self) -> TaskResult {
        self.collector.output.flush()
    }

    fn end(&mut self) -> TaskResult {
        self.collector.output.end()
    }
}
