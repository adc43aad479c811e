//! Records that the program itself holds.

use std::sync::Arc;

use crate::operator::{BATCH_RECORDS, Data, TaskResult};
use crate::sources::{Source, SourceStatus};
use crate::subtask::SubtaskContext;

/// Emits the elements in order, then ends. Runs with parallelism 1.
pub struct CollectionSource<T> {
    elements: Arc<[T]>,
    next: usize,
}

impl<T> CollectionSource<T> {
    /// A source of these elements.
    pub fn new(elements: Arc<[T]>) -> Self {
        Self { elements, next: 0 }
    }
}

impl<T: Data + Sync> Source<T> for CollectionSource<T> {
    fn poll(&mut self, _: &mut SubtaskContext, out: &mut Vec<T>) -> TaskResult<SourceStatus> {
        let end = (self.next + BATCH_RECORDS).min(self.elements.len());
        out.extend_from_slice(&self.elements[self.next..end]);
        self.next = end;
        Ok(if end == self.elements.len() { SourceStatus::End } else { SourceStatus::More })
    }
}
