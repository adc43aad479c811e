//! Keyed streams: all records of a key come to one subtask.

use std::ops::AddAssign;
use std::sync::Arc;

use flumen_model::job_graph::RuntimeMode;
use flumen_worker::deployment::typed_channels;
use flumen_worker::exchange::writer::RoutingWriter;
use flumen_worker::functions::KeyedProcessFunction;
use flumen_worker::keyed::{ByKeyGroup, KeySelector};
use flumen_worker::operator::{Data, Push};
use flumen_worker::operators::aggregate::BatchReduce;
use flumen_worker::operators::combine::Combine;
use flumen_worker::operators::keyed_process::KeyedProcess;
use flumen_worker::operators::reduce::{Reduce, StreamingReduce};
use flumen_worker::spill::SpillDirectories;

use crate::graph::node::{Keeps, MakeOperator, MakeWriter, Partition};
use crate::graph::records::AnyPush;
use crate::stream::DataStream;

/// A stream whose records are grouped by key, as Flink's `KeyedStream`.
///
/// In streaming execution an aggregate emits the new value of a key on every record; in batch execution
/// (`execution.runtime-mode: BATCH`) once per key, at the end of the input.
pub struct KeyedStream<T, S> {
    stream: DataStream<T>,
    selector: S,
}

impl<T: Data, S: KeySelector<T>> KeyedStream<T, S> {
    pub(crate) fn new(stream: DataStream<T>, selector: S) -> Self {
        Self { stream, selector }
    }

    /// Folds the records of each key together: `function(value, record)` changes the value that the key has so far. It
    /// must be associative and commutative, because records of several subtasks arrive in no particular order.
    pub fn reduce(self, function: impl FnMut(&mut T, T) + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.aggregate("Keyed Reduce", function)
    }

    /// Adds up a field; the other fields are those of the key's first record.
    pub fn sum<N: AddAssign + Copy>(
        self,
        field: impl Fn(&mut T) -> &mut N + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        self.aggregate("Keyed Sum", move |value: &mut T, mut record: T| {
            let added = *field(&mut record);
            *field(value) += added;
        })
    }

    /// The least value of a field; the other fields are those of the key's first record.
    pub fn min<N: PartialOrd + Copy>(
        self,
        field: impl Fn(&mut T) -> &mut N + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        self.aggregate("Keyed Min", move |value: &mut T, mut record: T| {
            let other = *field(&mut record);
            let least = field(value);
            if other < *least {
                *least = other;
            }
        })
    }

    /// The greatest value of a field; the other fields are those of the key's first record.
    pub fn max<N: PartialOrd + Copy>(
        self,
        field: impl Fn(&mut T) -> &mut N + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        self.aggregate("Keyed Max", move |value: &mut T, mut record: T| {
            let other = *field(&mut record);
            let greatest = field(value);
            if other > *greatest {
                *greatest = other;
            }
        })
    }

    pub(crate) fn into_parts(self) -> (DataStream<T>, S) {
        (self.stream, self.selector)
    }

    /// The records on their way to the subtasks that own their keys.
    pub(crate) fn exchanged(self) -> (DataStream<T>, S) {
        let Self { mut stream, selector } = self;
        for input in &mut stream.inputs {
            // Of connected streams, each has its own writer already.
            if !matches!(input.partition, Partition::Keyed(_)) {
                input.partition = Partition::Keyed(keyed_writer(selector.clone()));
            }
        }
        (stream, selector)
    }

    /// Takes records one by one, with state and timers of their keys.
    pub fn process<Out: Data, F: KeyedProcessFunction<S::Key, T, Out>>(self, function: F) -> DataStream<Out> {
        let (stream, selector) = self.exchanged();
        let make: MakeOperator = Arc::new(move |making, outputs| {
            let (output, sides) = outputs.with_sides::<Out>();
            let (selector, function) = (selector.clone(), function.clone());
            let operator = KeyedProcess::open(making.context, making.operator, selector, function, sides, output)?;
            Ok(AnyPush::of::<T>(Box::new(operator)))
        });
        stream.with_sides("Keyed Process", Keeps::KeyedState, make)
    }

    fn aggregate(self, name: &str, reduce: impl Reduce<T>) -> DataStream<T> {
        let Self { mut stream, selector } = self;
        let writer: MakeWriter = {
            let (selector, reduce) = (selector.clone(), reduce.clone());
            Arc::new(move |making, channels, max_parallelism| {
                let channels = typed_channels::<T>(channels, making.context);
                let route = ByKeyGroup::new(selector.clone(), max_parallelism);
                let writer: Box<dyn Push<T>> = Box::new(RoutingWriter::new(channels, route));
                let memory = making.context.worker.operator_memory;
                Ok(AnyPush::of::<T>(match making.mode {
                    RuntimeMode::Streaming => writer,
                    RuntimeMode::Batch => Box::new(Combine::new(selector.clone(), reduce.clone(), memory, writer)),
                }))
            })
        };
        for input in &mut stream.inputs {
            input.partition = Partition::Keyed(Arc::clone(&writer));
        }
        let make: MakeOperator = Arc::new(move |making, output| {
            let (selector, reduce, output) = (selector.clone(), reduce.clone(), output.typed::<T>());
            let worker = &making.context.worker;
            Ok(AnyPush::of::<T>(match making.mode {
                RuntimeMode::Streaming => {
                    Box::new(StreamingReduce::open(making.context, making.operator, selector, reduce, output)?)
                }
                RuntimeMode::Batch => {
                    let spill = SpillDirectories::new(Arc::clone(&worker.tmp_dirs));
                    Box::new(BatchReduce::new(selector, reduce, worker.operator_memory, spill, output))
                }
            }))
        });
        stream.stateful(name, Keeps::KeyedState, make)
    }
}

/// Writes each record to the subtask that owns its key.
fn keyed_writer<T: Data, S: KeySelector<T>>(selector: S) -> MakeWriter {
    Arc::new(move |making, channels, max_parallelism| {
        let channels = typed_channels::<T>(channels, making.context);
        let route = ByKeyGroup::new(selector.clone(), max_parallelism);
        Ok(AnyPush::of::<T>(Box::new(RoutingWriter::new(channels, route))))
    })
}
