//! Some of the records.

use crate::operator::{Push, TaskResult};

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

impl<T: Send, F: FnMut(&T) -> bool + Send> Push<T> for Filter<F, T> {
    fn push(&mut self, batch: &mut Vec<T>) -> TaskResult {
        batch.retain(&mut self.predicate);
        if batch.is_empty() { Ok(()) } else { self.output.push(batch) }
    }

    fn flush(&mut self) -> TaskResult {
        self.output.flush()
    }

    fn end(&mut self) -> TaskResult {
        self.output.end()
    }
}
