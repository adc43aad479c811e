//! Outputs beside the main one, each with its own type of record.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use flumen_model::failure::Blame;

use crate::batch::EventTime;
use crate::operator::{Push, Signal, TaskError, TaskResult};
use crate::operators::Collector;

/// Names a side output. Tags with the same name lead to the same output.
pub struct OutputTag<X> {
    name: Arc<str>,
    records: PhantomData<fn() -> X>,
}

impl<X> OutputTag<X> {
    /// The side output of that name: unique in its operator.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), records: PhantomData }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<X> Clone for OutputTag<X> {
    fn clone(&self) -> Self {
        Self { name: Arc::clone(&self.name), records: PhantomData }
    }
}

impl<X> fmt::Debug for OutputTag<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OutputTag").field(&self.name).finish()
    }
}

/// The side outputs of one operator that somebody reads. Records for others vanish.
#[derive(Default)]
pub struct SideOutputs {
    /// Few: looked through for each record.
    outputs: Vec<(Arc<str>, Box<dyn SideOutput>)>,
}

/// A [`Collector`] whose type is not known.
trait SideOutput {
    fn as_any(&mut self) -> &mut dyn Any;
    fn finish(&mut self) -> TaskResult;
    fn signal(&mut self, signal: Signal<'_>) -> TaskResult;
}

impl<X: 'static> SideOutput for Collector<X> {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn finish(&mut self) -> TaskResult {
        Collector::finish(self)
    }

    fn signal(&mut self, signal: Signal<'_>) -> TaskResult {
        Collector::signal(self, signal)
    }
}

impl SideOutputs {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more: records of that tag go into `output`.
    #[must_use]
    pub fn with<X: 'static>(mut self, tag: &OutputTag<X>, output: Box<dyn Push<X>>) -> Self {
        self.outputs.push((Arc::clone(&tag.name), Box::new(Collector::new(output))));
        self
    }

    /// Emits a record.
    ///
    /// # Errors
    /// The output of that name takes records of another type.
    pub fn emit<X: 'static>(&mut self, tag: &OutputTag<X>, record: X, time: EventTime) -> TaskResult {
        let wanted = |(name, _): &&mut (Arc<str>, _)| Arc::ptr_eq(name, &tag.name) || *name == tag.name;
        let Some((_, output)) = self.outputs.iter_mut().find(wanted) else { return Ok(()) };
        // A virtual call per record: few records go to a side output.
        match output.as_any().downcast_mut::<Collector<X>>() {
            Some(collector) => {
                collector.collect_at(record, time);
                Ok(())
            }
            None => Err(wrong_type(tag)),
        }
    }

    /// Pushes what was emitted. Called at the end of each input batch.
    ///
    /// # Errors
    /// Those of the outputs.
    pub fn finish(&mut self) -> TaskResult {
        self.outputs.iter_mut().try_for_each(|(_, output)| output.finish())
    }

    /// Pushes what was emitted, then passes a signal on to all outputs: before it goes to the main one.
    ///
    /// # Errors
    /// Those of the outputs.
    pub fn signal(&mut self, signal: &mut Signal<'_>) -> TaskResult {
        self.outputs.iter_mut().try_for_each(|(_, output)| output.signal(signal.again()))
    }
}

#[cold]
fn wrong_type<X>(tag: &OutputTag<X>) -> TaskError {
    let record = std::any::type_name::<X>();
    let message = format!(
        "the side output `{}` was given a {record}, but is read as a stream of another type: give each type its own tag",
        tag.name
    );
    TaskError::failed(Blame::User, message)
}
