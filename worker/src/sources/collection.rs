//! Records that the program itself holds.

use std::sync::Arc;

use flumen_model::checkpoint::Redistribution;
use flumen_model::failure::Blame;
use flumen_model::ids::OperatorId;

use crate::batch::{Batch, NO_TIME};
use crate::exchange::codec;
use crate::operator::{Data, TaskError, TaskResult};
use crate::sources::{Position, Source, SourceStatus};
use crate::subtask::SubtaskContext;

/// Emits the elements in order, then ends. Runs with parallelism 1.
pub struct CollectionSource<T> {
    elements: Arc<[T]>,
    next: usize,
}

impl<T> CollectionSource<T> {
    /// A source of these elements, which begins where the checkpoint that the subtask starts from says.
    ///
    /// # Errors
    /// The position in the checkpoint is none, or lies behind the last element: it is of another collection.
    pub fn new(elements: Arc<[T]>, context: &SubtaskContext, operator: OperatorId) -> TaskResult<Self> {
        let restored = context.restored_list(operator, Position::NAME).unwrap_or_default();
        let next = match restored.first() {
            Some(position) => codec::decode::<u64>(&mut &position[..])? as usize,
            None => 0,
        };
        if next > elements.len() {
            let text = format!(
                "the checkpoint was taken after element {next} of a collection, and this one has only {}: it is another program's",
                elements.len()
            );
            return Err(TaskError::failed(Blame::User, text));
        }
        Ok(Self { elements, next })
    }
}

impl<T: Data + Sync> Source<T> for CollectionSource<T> {
    fn poll(&mut self, context: &mut SubtaskContext, out: &mut Batch<T>) -> TaskResult<SourceStatus> {
        let end = (self.next + context.batch_records).min(self.elements.len());
        self.elements[self.next..end].iter().for_each(|element| out.push(element.clone(), NO_TIME));
        self.next = end;
        Ok(if end == self.elements.len() { SourceStatus::End } else { SourceStatus::More })
    }

    fn snapshot(&mut self, _: &SubtaskContext) -> TaskResult<Position> {
        let mut position = Vec::new();
        codec::encode(&(self.next as u64), &mut position)?;
        Ok(Position { items: vec![position], schema: String::new(), redistribution: Redistribution::Split })
    }
}
