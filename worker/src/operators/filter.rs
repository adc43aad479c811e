//! Some of the records.

use crate::batch::Batch;
use crate::operator::{Push, Signal, TaskResult};

/// Lets the records through for which a predicate holds.
pub struct Filter<F, T> {
    predicate: F,
    output: Box<dyn Push<T>>,
}

impl<F, T> Filter<F, T> {
    /// Pushes what is let through into `output`.
    pub fn new(predicate: F, output: Box<dyn Push<T>>) -> Self {
        Self { predicate, output }
    }
}

impl<T, F: FnMut(&T) -> bool> Push<T> for Filter<F, T> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        batch.retain(&mut self.predicate);
        if batch.is_empty() { Ok(()) } else { self.output.push(batch) }
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        self.output.signal(signal)
    }
}
