//! One record in, one record out.

use crate::operator::{Push, TaskResult};

/// Applies a function to every record.
pub struct Map<F, U> {
    function: F,
    output: Box<dyn Push<U>>,
    batch: Vec<U>,
}

impl<F, U> Map<F, U> {
    /// Pushes the results into `output`.
    pub fn new(function: F, output: Box<dyn Push<U>>) -> Self {
        Self { function, output, batch: Vec::new() }
    }
}

impl<T, U: Send, F: FnMut(T) -> U + Send> Push<T> for Map<F, U> {
    fn push(&mut self, batch: &mut Vec<T>) -> TaskResult {
        self.batch.extend(batch.drain(..).map(&mut self.function));
        self.output.push(&mut self.batch)
    }

    fn flush(&mut self) -> TaskResult {
        self.output.flush()
    }

    fn end(&mut self) -> TaskResult {
        self.output.end()
    }
}
