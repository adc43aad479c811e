//! One record in, one record out.

use crate::batch::Batch;
use crate::operator::{Push, Signal, TaskResult};

/// Applies a function to every record.
pub struct Map<F, U> {
    function: F,
    output: Box<dyn Push<U>>,
    batch: Batch<U>,
}

impl<F, U> Map<F, U> {
    /// Pushes the results into `output`.
    pub fn new(function: F, output: Box<dyn Push<U>>) -> Self {
        Self { function, output, batch: Batch::new() }
    }
}

impl<T, U, F: FnMut(T) -> U> Push<T> for Map<F, U> {
    fn push(&mut self, batch: &mut Batch<T>) -> TaskResult {
        batch.map_into(&mut self.batch, &mut self.function);
        self.output.push(&mut self.batch)
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        self.output.signal(signal)
    }
}
