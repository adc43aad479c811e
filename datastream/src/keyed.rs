//! Keyed streams: all records of a key come to one subtask.

use std::ops::AddAssign;
use std::sync::Arc;

use flumen_model::job_graph::RuntimeMode;
use flumen_worker::exchange::writer::RoutingWriter;
use flumen_worker::keyed::{ByKeyGroup, KeySelector};
use flumen_worker::operator::{Data, Push};
use flumen_worker::operators::aggregate::BatchReduce;
use flumen_worker::operators::combine::Combine;
use flumen_worker::operators::reduce::{Reduce, StreamingReduce};
use flumen_worker::spill::SpillDirectories;

use crate::graph::node::{MakeOperator, MakeWriter, Partition};
use crate::graph::records::{AnyPush, typed_channels};
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
                RuntimeMode::Streaming => Box::new(StreamingReduce::new(selector, reduce, output)),
                RuntimeMode::Batch => {
                    let spill = SpillDirectories::new(Arc::clone(&worker.tmp_dirs));
                    Box::new(BatchReduce::new(selector, reduce, worker.operator_memory, spill, output))
                }
            }))
        });
        stream.operator(name, make)
    }
}
