//! Windows from which an evictor removes records.

use flumen_worker::keyed::KeySelector;
use flumen_worker::operator::Data;
use flumen_worker::operators::Collector;
use flumen_worker::operators::reduce::Reduce;
use flumen_worker::windows::{
    Aggregating, Apply, Collecting, Elements, EmitContents, Evicting, Evictor, ProcessWindowFunction, Reducing,
    Trigger, WindowAssigner,
};

use flumen_state::AggregateFunction;

use crate::stream::DataStream;
use crate::windowed::{WindowedStream, open};

/// A [`WindowedStream`] with an evictor: all records of a window are kept until it fires.
pub struct EvictingWindowedStream<T, S, A, G, E> {
    pub(super) windowed: WindowedStream<T, S, A, G>,
    pub(super) evictor: E,
}

impl<T, S, A, G, E> EvictingWindowedStream<T, S, A, G, E>
where
    T: Data,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    E: Evictor<T, A::Window>,
{
    /// Calls the function with what the evictor leaves of a window's records.
    pub fn process<Out: Data, F: ProcessWindowFunction<S::Key, A::Window, T, Out>>(
        self,
        function: F,
    ) -> DataStream<Out> {
        let Self { windowed, evictor } = self;
        windowed.operator(
            "Window",
            move |windowing, parts| {
                open::open(windowing, Evicting { evictor: evictor.clone(), inner: Collecting }, parts)
            },
            function,
        )
    }

    /// Calls `|key, window, elements, out|` with what the evictor leaves of a window's records.
    pub fn apply<Out: Data>(
        self,
        function: impl FnMut(&S::Key, &A::Window, Elements<'_, T>, &mut Collector<Out>) + Clone + Send + Sync + 'static,
    ) -> DataStream<Out> {
        self.process(Apply(function))
    }

    /// Folds what the evictor leaves of a window's records.
    pub fn reduce(self, function: impl Reduce<T>) -> DataStream<T> {
        let Self { windowed, evictor } = self;
        windowed.operator(
            "Window",
            move |windowing, parts| {
                let inner = Reducing(function.clone());
                open::open(windowing, Evicting { evictor: evictor.clone(), inner }, parts)
            },
            EmitContents,
        )
    }

    /// Aggregates what the evictor leaves of a window's records.
    pub fn aggregate<N>(self, function: N) -> DataStream<N::Out>
    where
        N: AggregateFunction<In = T> + Clone + Send + Sync,
        N::Out: Data,
    {
        let Self { windowed, evictor } = self;
        windowed.operator(
            "Window",
            move |windowing, parts| {
                let inner = Aggregating(function.clone());
                open::open(windowing, Evicting { evictor: evictor.clone(), inner }, parts)
            },
            EmitContents,
        )
    }
}
