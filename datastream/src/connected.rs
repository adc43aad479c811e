//! Two streams of different types that one function works on.

use std::marker::PhantomData;
use std::sync::Arc;

use flumen_worker::deployment::typed_channels;
use flumen_worker::exchange::writer::RoutingWriter;
use flumen_worker::functions::{CoProcessFunction, KeyedCoProcessFunction};
use flumen_worker::keyed::{ByKeyGroup, Key, KeySelector, OwnedKey};
use flumen_worker::operator::{Data, Push};
use flumen_worker::operators::either::{Either, EitherKey};
use flumen_worker::operators::keyed_process::open_keyed_co_process;
use flumen_worker::operators::process::open_co_process;
use flumen_worker::operators::{Collector, FlatMap, Map};

use crate::broadcast::BroadcastStream;
use crate::graph::node::{Adapt, Input, Keeps, MakeOperator, MakeWriter, Partition};
use crate::graph::records::AnyPush;
use crate::keyed::KeyedStream;
use crate::stream::DataStream;

/// What a stream of `A` can be connected with: a stream, or a [`BroadcastStream`].
pub trait ConnectWith<A> {
    /// What comes of it.
    type Connected;
    /// Connects the two.
    fn connect_with(self, first: DataStream<A>) -> Self::Connected;
}

/// What a keyed stream can be connected with: a keyed stream with the same type of key, or a [`BroadcastStream`].
pub trait ConnectKeyedWith<A, S> {
    /// What comes of it.
    type Connected;
    /// Connects the two.
    fn connect_with(self, first: KeyedStream<A, S>) -> Self::Connected;
}

impl<T: Data> DataStream<T> {
    /// Both streams, for a function that takes the records of each and shares its state between them.
    pub fn connect<C: ConnectWith<T>>(self, other: C) -> C::Connected {
        other.connect_with(self)
    }
}

impl<T: Data, S: KeySelector<T>> KeyedStream<T, S> {
    /// Both streams, for a function that has the same state and timers for equal keys of both.
    pub fn connect<C: ConnectKeyedWith<T, S>>(self, other: C) -> C::Connected {
        other.connect_with(self)
    }
}

impl<A: Data, B: Data> ConnectWith<A> for DataStream<B> {
    type Connected = ConnectedStreams<A, B>;

    fn connect_with(self, first: DataStream<A>) -> ConnectedStreams<A, B> {
        ConnectedStreams { first, second: self }
    }
}

impl<A: Data, B: Data> ConnectWith<A> for BroadcastStream<B> {
    type Connected = crate::broadcast::BroadcastConnectedStream<A, B>;

    fn connect_with(self, first: DataStream<A>) -> Self::Connected {
        crate::broadcast::BroadcastConnectedStream::new(first, self)
    }
}

impl<A: Data, B: Data, SA: KeySelector<A>, SB: KeySelector<B, Key = SA::Key>> ConnectKeyedWith<A, SA>
    for KeyedStream<B, SB>
{
    type Connected = ConnectedKeyedStreams<A, B, SA, SB>;

    fn connect_with(self, first: KeyedStream<A, SA>) -> Self::Connected {
        ConnectedKeyedStreams::new(first, self)
    }
}

impl<A: Data, B: Data, S: KeySelector<A>> ConnectKeyedWith<A, S> for BroadcastStream<B> {
    type Connected = crate::broadcast::BroadcastConnectedKeyedStream<A, B, S>;

    fn connect_with(self, first: KeyedStream<A, S>) -> Self::Connected {
        crate::broadcast::BroadcastConnectedKeyedStream::new(first, self)
    }
}

/// Two streams, as Flink's `ConnectedStreams`.
pub struct ConnectedStreams<A, B> {
    first: DataStream<A>,
    second: DataStream<B>,
}

impl<A: Data, B: Data> ConnectedStreams<A, B> {
    /// Groups the records of both by keys of one type.
    pub fn key_by<K: Key>(
        self,
        first: impl Fn(&A) -> K + Clone + Send + Sync + 'static,
        second: impl Fn(&B) -> K + Clone + Send + Sync + 'static,
    ) -> ConnectedKeyedStreams<A, B, impl KeySelector<A, Key = K>, impl KeySelector<B, Key = K>> {
        ConnectedKeyedStreams::new(
            KeyedStream::new(self.first, OwnedKey::new(first)),
            KeyedStream::new(self.second, OwnedKey::new(second)),
        )
    }

    fn either(self) -> DataStream<Either<A, B>> {
        either(self.first, self.second)
    }

    /// Takes the records of both streams one by one.
    pub fn process<Out: Data, F: CoProcessFunction<A, B, Out>>(self, function: F) -> DataStream<Out> {
        let make: MakeOperator = Arc::new(move |making, outputs| {
            let (output, sides) = outputs.with_sides::<Out>();
            let operator = open_co_process(making.context, making.operator, function.clone(), sides, output)?;
            Ok(AnyPush::of::<Either<A, B>>(Box::new(operator)))
        });
        self.either().with_sides("Co-Process", Keeps::MaybeOperatorState, make)
    }

    /// One record for each record of either stream.
    pub fn map<Out: Data>(
        self,
        first: impl FnMut(A) -> Out + Clone + Send + Sync + 'static,
        second: impl FnMut(B) -> Out + Clone + Send + Sync + 'static,
    ) -> DataStream<Out> {
        let make: MakeOperator = Arc::new(move |_, output| {
            let (mut first, mut second) = (first.clone(), second.clone());
            let both = move |record| match record {
                Either::Left(record) => first(record),
                Either::Right(record) => second(record),
            };
            Ok(AnyPush::of::<Either<A, B>>(Box::new(Map::new(both, output.typed::<Out>()))))
        });
        self.either().operator("Co-Map", make)
    }

    /// Any number of records for each record of either stream.
    pub fn flat_map<Out: Data>(
        self,
        first: impl FnMut(A, &mut Collector<Out>) + Clone + Send + Sync + 'static,
        second: impl FnMut(B, &mut Collector<Out>) + Clone + Send + Sync + 'static,
    ) -> DataStream<Out> {
        let make: MakeOperator = Arc::new(move |_, output| {
            let (mut first, mut second) = (first.clone(), second.clone());
            let both = move |record, out: &mut Collector<Out>| match record {
                Either::Left(record) => first(record, out),
                Either::Right(record) => second(record, out),
            };
            Ok(AnyPush::of::<Either<A, B>>(Box::new(FlatMap::new(both, output.typed::<Out>()))))
        });
        self.either().operator("Co-Flat Map", make)
    }
}

/// Two keyed streams with one type of key, as Flink's keyed `ConnectedStreams`.
pub struct ConnectedKeyedStreams<A, B, SA, SB> {
    pub(crate) both: DataStream<Either<A, B>>,
    pub(crate) selectors: (SA, SB),
    records: PhantomData<fn(A, B)>,
}

impl<A, B, SA, SB> ConnectedKeyedStreams<A, B, SA, SB>
where
    A: Data,
    B: Data,
    SA: KeySelector<A>,
    SB: KeySelector<B, Key = SA::Key>,
{
    pub(crate) fn new(first: KeyedStream<A, SA>, second: KeyedStream<B, SB>) -> Self {
        let (mut a, first) = first.into_parts();
        let (mut b, second) = second.into_parts();
        let selectors = (first, second);
        for input in &mut a.inputs {
            input.partition = Partition::Keyed(writer(&selectors, Either::Left));
        }
        for input in &mut b.inputs {
            input.partition = Partition::Keyed(writer(&selectors, Either::Right));
        }
        Self { both: either(a, b), selectors, records: PhantomData }
    }

    /// As one keyed stream.
    pub(crate) fn into_keyed(self) -> KeyedStream<Either<A, B>, EitherKey<SA, SB>> {
        KeyedStream::new(self.both, EitherKey(self.selectors.0, self.selectors.1))
    }

    /// Takes the records of both streams one by one, with state and timers of their keys.
    pub fn process<Out: Data, F: KeyedCoProcessFunction<SA::Key, A, B, Out>>(self, function: F) -> DataStream<Out> {
        let selectors = self.selectors;
        let make: MakeOperator = Arc::new(move |making, outputs| {
            let (output, sides) = outputs.with_sides::<Out>();
            let (context, operator) = (making.context, making.operator);
            let operator =
                open_keyed_co_process(context, operator, selectors.clone(), function.clone(), sides, output)?;
            Ok(AnyPush::of::<Either<A, B>>(Box::new(operator)))
        });
        self.both.with_sides("Co-Keyed-Process", Keeps::KeyedState, make)
    }
}

/// Writes each record of one of the streams to the subtask that owns its key.
fn writer<T: Data, A: Data, B: Data, SA, SB>(selectors: &(SA, SB), side: fn(T) -> Either<A, B>) -> MakeWriter
where
    SA: KeySelector<A>,
    SB: KeySelector<B, Key = SA::Key>,
{
    let (first, second) = selectors.clone();
    Arc::new(move |making, channels, max_parallelism| {
        let channels = typed_channels::<Either<A, B>>(channels, making.context);
        let route = ByKeyGroup::new(EitherKey(first.clone(), second.clone()), max_parallelism);
        let writer: Box<dyn Push<Either<A, B>>> = Box::new(RoutingWriter::new(channels, route));
        Ok(AnyPush::of::<T>(Box::new(Map::new(side, writer))))
    })
}

/// The records of both, as those of one stream.
pub(crate) fn either<A: Data, B: Data>(first: DataStream<A>, second: DataStream<B>) -> DataStream<Either<A, B>> {
    let left: Adapt =
        Arc::new(|push: AnyPush| AnyPush::of::<A>(Box::new(Map::new(Either::Left, push.typed::<Either<A, B>>()))));
    let right: Adapt =
        Arc::new(|push: AnyPush| AnyPush::of::<B>(Box::new(Map::new(Either::Right, push.typed::<Either<A, B>>()))));
    let adapted = |input: Input, adapt: &Adapt| Input { adapt: Some(Arc::clone(adapt)), ..input };
    let env = first.env;
    let inputs = first.inputs.into_iter().map(|input| adapted(input, &left));
    let inputs = inputs.chain(second.inputs.into_iter().map(|input| adapted(input, &right))).collect();
    DataStream::from_inputs(env, inputs)
}
