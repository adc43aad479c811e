//! Two streams in the same windows: `a.join(b).where_(…).equal_to(…).window(…).apply(…)`.

use flumen_worker::keyed::{Key, KeySelector, OwnedKey};
use flumen_worker::operator::Data;
use flumen_worker::operators::Collector;
use flumen_worker::operators::either::{Either, EitherKey};
use flumen_worker::windows::{CoGroup, Join, Trigger, WindowAssigner};

use crate::connected::ConnectedKeyedStreams;
use crate::keyed::KeyedStream;
use crate::stream::DataStream;
use crate::windowed::WindowedStream;

/// Two streams whose records are to be put together, as Flink's `JoinedStreams` and `CoGroupedStreams`. `M` says how.
pub struct JoinedStreams<A, B, M> {
    first: DataStream<A>,
    second: DataStream<B>,
    how: M,
}

/// With the key of the first stream.
pub struct JoinedWhere<A, B, S, M> {
    first: KeyedStream<A, S>,
    second: DataStream<B>,
    how: M,
}

/// With the keys of both streams.
pub struct JoinedKeyed<A, B, SA, SB, M> {
    first: KeyedStream<A, SA>,
    second: KeyedStream<B, SB>,
    how: M,
}

/// In windows.
pub struct JoinedWindows<A, B, SA, SB, W, G, M> {
    windowed: WindowedStream<Either<A, B>, EitherKey<SA, SB>, W, G>,
    how: M,
}

/// Each pair of records of both streams that are in a window of a key.
#[derive(Debug, Clone, Copy)]
pub struct Pairs;

/// All records of both streams that are in a window of a key, at once.
#[derive(Debug, Clone, Copy)]
pub struct Groups;

impl<A: Data> DataStream<A> {
    /// Each pair of records of both streams that have the same key and are in the same window.
    pub fn join<B: Data>(self, other: DataStream<B>) -> JoinedStreams<A, B, Pairs> {
        JoinedStreams { first: self, second: other, how: Pairs }
    }

    /// The records of both streams that have the same key and are in the same window.
    pub fn co_group<B: Data>(self, other: DataStream<B>) -> JoinedStreams<A, B, Groups> {
        JoinedStreams { first: self, second: other, how: Groups }
    }
}

impl<A: Data, B: Data, M> JoinedStreams<A, B, M> {
    /// The key of a record of the first stream.
    pub fn where_<K: Key>(
        self,
        key: impl Fn(&A) -> K + Clone + Send + Sync + 'static,
    ) -> JoinedWhere<A, B, impl KeySelector<A, Key = K>, M> {
        let first = KeyedStream::new(self.first, OwnedKey::new(key));
        JoinedWhere { first, second: self.second, how: self.how }
    }
}

impl<A: Data, B: Data, S: KeySelector<A>, M> JoinedWhere<A, B, S, M> {
    /// The key of a record of the second stream.
    pub fn equal_to(
        self,
        key: impl Fn(&B) -> S::Key + Clone + Send + Sync + 'static,
    ) -> JoinedKeyed<A, B, S, impl KeySelector<B, Key = S::Key>, M> {
        let second = KeyedStream::new(self.second, OwnedKey::new(key));
        JoinedKeyed { first: self.first, second, how: self.how }
    }
}

impl<A, B, SA, SB, M> JoinedKeyed<A, B, SA, SB, M>
where
    A: Data,
    B: Data,
    SA: KeySelector<A>,
    SB: KeySelector<B, Key = SA::Key>,
{
    /// The windows.
    pub fn window<W: WindowAssigner<Either<A, B>>>(
        self,
        assigner: W,
    ) -> JoinedWindows<A, B, SA, SB, W, W::DefaultTrigger, M> {
        let both = ConnectedKeyedStreams::new(self.first, self.second).into_keyed();
        JoinedWindows { windowed: both.window(assigner), how: self.how }
    }
}

impl<A, B, SA, SB, W, G, M> JoinedWindows<A, B, SA, SB, W, G, M>
where
    A: Data,
    B: Data,
    SA: KeySelector<A>,
    SB: KeySelector<B, Key = SA::Key>,
    W: WindowAssigner<Either<A, B>>,
    G: Trigger<Either<A, B>, W::Window>,
{
    /// Decides when windows fire, instead of at their ends.
    pub fn trigger<H: Trigger<Either<A, B>, W::Window>>(self, trigger: H) -> JoinedWindows<A, B, SA, SB, W, H, M> {
        JoinedWindows { windowed: self.windowed.trigger(trigger), how: self.how }
    }

    /// For how long after its end a window takes late records; the default is not at all.
    pub fn allowed_lateness(self, lateness: std::time::Duration) -> Self {
        Self { windowed: self.windowed.allowed_lateness(lateness), how: self.how }
    }
}

impl<A, B, SA, SB, W, G> JoinedWindows<A, B, SA, SB, W, G, Pairs>
where
    A: Data,
    B: Data,
    SA: KeySelector<A>,
    SB: KeySelector<B, Key = SA::Key>,
    W: WindowAssigner<Either<A, B>>,
    G: Trigger<Either<A, B>, W::Window>,
{
    /// Calls `|first, second, out|` for each pair.
    pub fn apply<Out: Data>(
        self,
        function: impl FnMut(&A, &B, &mut Collector<Out>) + Clone + Send + Sync + 'static,
    ) -> DataStream<Out> {
        self.windowed.process(Join::new(function)).name("Join")
    }
}

impl<A, B, SA, SB, W, G> JoinedWindows<A, B, SA, SB, W, G, Groups>
where
    A: Data,
    B: Data,
    SA: KeySelector<A>,
    SB: KeySelector<B, Key = SA::Key>,
    W: WindowAssigner<Either<A, B>>,
    G: Trigger<Either<A, B>, W::Window>,
{
    /// Calls `|first, second, out|` with all records of a window of a key. One side may be empty.
    pub fn apply<Out: Data>(
        self,
        function: impl FnMut(Vec<A>, Vec<B>, &mut Collector<Out>) + Clone + Send + Sync + 'static,
    ) -> DataStream<Out> {
        self.windowed.process(CoGroup(function)).name("Co-Group")
    }
}
