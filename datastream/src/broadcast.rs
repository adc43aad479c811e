//! A stream beside one that goes to all subtasks, such as rules or settings.

use std::sync::Arc;

use flumen_model::job_graph::Partitioner;
use flumen_worker::deployment::typed_channels;
use flumen_worker::exchange::writer::RoutingWriter;
use flumen_worker::functions::{BroadcastProcessFunction, KeyedBroadcastProcessFunction};
use flumen_worker::keyed::{ByKeyGroup, KeySelector};
use flumen_worker::operator::Data;
use flumen_worker::operators::Map;
use flumen_worker::operators::either::Either;
use flumen_worker::operators::keyed_process::open_keyed_broadcast_process;
use flumen_worker::operators::process::open_broadcast_process;

use crate::connected::either;
use crate::graph::node::{Keeps, MakeOperator, MakeWriter, Partition};
use crate::graph::records::AnyPush;
use crate::keyed::KeyedStream;
use crate::stream::DataStream;

/// A stream whose records go to all subtasks of the next operator, which keeps them in broadcast state. From
/// [`DataStream::broadcast_stream`].
pub struct BroadcastStream<T> {
    stream: DataStream<T>,
}

impl<T: Data> DataStream<T> {
    /// This stream as the one that goes to all subtasks, to [`connect`](Self::connect) another one with: Flink's `broadcast`
    /// with state descriptors.
    pub fn broadcast_stream(self) -> BroadcastStream<T> {
        BroadcastStream { stream: self.broadcast() }
    }
}

/// A stream and one that goes to all subtasks, as Flink's `BroadcastConnectedStream`.
pub struct BroadcastConnectedStream<A, B> {
    both: DataStream<Either<A, B>>,
}

impl<A: Data, B: Data> BroadcastConnectedStream<A, B> {
    pub(crate) fn new(first: DataStream<A>, second: BroadcastStream<B>) -> Self {
        Self { both: either(first, second.stream) }
    }

    /// Takes the records of both streams one by one.
    pub fn process<Out: Data, F: BroadcastProcessFunction<A, B, Out>>(self, function: F) -> DataStream<Out> {
        let make: MakeOperator = Arc::new(move |making, outputs| {
            let (output, sides) = outputs.with_sides::<Out>();
            let operator = open_broadcast_process(making.context, making.operator, function.clone(), sides, output)?;
            Ok(AnyPush::of::<Either<A, B>>(Box::new(operator)))
        });
        self.both.with_sides("Co-Process-Broadcast", Keeps::OperatorState, make)
    }
}

/// A keyed stream and one that goes to all subtasks.
pub struct BroadcastConnectedKeyedStream<A, B, S> {
    both: DataStream<Either<A, B>>,
    selector: S,
}

impl<A: Data, B: Data, S: KeySelector<A>> BroadcastConnectedKeyedStream<A, B, S> {
    pub(crate) fn new(first: KeyedStream<A, S>, second: BroadcastStream<B>) -> Self {
        let (mut stream, selector) = first.into_parts();
        for input in &mut stream.inputs {
            input.partition = Partition::Keyed(writer::<A, B, S>(selector.clone()));
        }
        debug_assert!(
            second
                .stream
                .inputs
                .iter()
                .all(|input| { matches!(input.partition, Partition::Explicit(Partitioner::Broadcast)) })
        );
        Self { both: either(stream, second.stream), selector }
    }

    /// Takes the records of both streams one by one, those of the first with state and timers of their keys.
    pub fn process<Out: Data, F: KeyedBroadcastProcessFunction<S::Key, A, B, Out>>(
        self,
        function: F,
    ) -> DataStream<Out> {
        let selector = self.selector;
        let make: MakeOperator = Arc::new(move |making, outputs| {
            let (output, sides) = outputs.with_sides::<Out>();
            let (context, operator) = (making.context, making.operator);
            let operator = open_keyed_broadcast_process::<A, B, Out, S, F>(
                context,
                operator,
                selector.clone(),
                function.clone(),
                sides,
                output,
            )?;
            Ok(AnyPush::of::<Either<A, B>>(Box::new(operator)))
        });
        self.both.with_sides("Co-Process-Broadcast-Keyed", Keeps::KeyedState, make)
    }
}

/// Writes each record of the keyed stream to the subtask that owns its key.
fn writer<A: Data, B: Data, S: KeySelector<A>>(selector: S) -> MakeWriter {
    Arc::new(move |making, channels, max_parallelism| {
        let channels = typed_channels::<Either<A, B>>(channels, making.context);
        let route = OfLeft(ByKeyGroup::new(selector.clone(), max_parallelism));
        let writer = Box::new(RoutingWriter::new(channels, route));
        Ok(AnyPush::of::<A>(Box::new(Map::new(Either::Left, writer))))
    })
}

/// Routes the records of the first stream; there are no others on its way.
struct OfLeft<R>(R);

impl<A, B, R: flumen_worker::exchange::writer::Route<A>> flumen_worker::exchange::writer::Route<Either<A, B>>
    for OfLeft<R>
{
    fn route(&mut self, record: &Either<A, B>, channels: usize) -> flumen_worker::operator::TaskResult<usize> {
        match record {
            Either::Left(record) => self.0.route(record, channels),
            Either::Right(_) => unreachable!("the other stream has its own way"),
        }
    }
}
