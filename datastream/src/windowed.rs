//! Windows over keyed streams, and over whole streams.

use std::sync::Arc;
use std::time::Duration;

use flumen_state::AggregateFunction;
use flumen_worker::keyed::{KeySelector, OwnedKey};
use flumen_worker::operator::{Data, Push, TaskResult};
use flumen_worker::operators::Collector;
use flumen_worker::operators::reduce::Reduce;
use flumen_worker::operators::side_output::OutputTag;
use flumen_worker::windows::{
    Aggregating, Apply, Collecting, CountEvictor, CountTrigger, Elements, EmitContents, Evictor, GlobalWindows,
    ProcessWindowFunction, PurgingTrigger, Reducing, Trigger, WindowAssigner, WindowOutputs, Windowing,
};

use crate::graph::node::{Keeps, MakeOperator};
use crate::graph::records::AnyPush;
use crate::keyed::KeyedStream;
use crate::stream::DataStream;

mod evicting;
mod fields;
mod open;

pub use evicting::EvictingWindowedStream;
pub use open::{OpenWindows, WindowParts};

/// A keyed stream whose records are put into windows, as Flink's `WindowedStream`.
///
/// A window fires when its trigger says so (by default when its end has come) and takes late records for as long as
/// [`allowed_lateness`](Self::allowed_lateness) says. What comes out carries the last moment of the window as its event time.
pub struct WindowedStream<T, S, A, G> {
    pub(crate) keyed: KeyedStream<T, S>,
    windowing: Windowing<A, G>,
    late: Option<OutputTag<T>>,
    /// In one subtask: windows over a whole stream.
    single: bool,
}

impl<T: Data, S: KeySelector<T>> KeyedStream<T, S> {
    /// Puts records into windows, separately for each key.
    pub fn window<A: WindowAssigner<T>>(self, assigner: A) -> WindowedStream<T, S, A, A::DefaultTrigger> {
        WindowedStream { keyed: self, windowing: Windowing::of(assigner), late: None, single: false }
    }

    /// Windows of so many records of a key each.
    pub fn count_window(self, size: u64) -> WindowedStream<T, S, GlobalWindows, PurgingTrigger<CountTrigger>> {
        self.window(GlobalWindows::create()).trigger(PurgingTrigger::of(CountTrigger::of(size)))
    }

    /// Windows of the last `size` records of a key, each time that `slide` more have come.
    pub fn sliding_count_window(
        self,
        size: u64,
        slide: u64,
    ) -> EvictingWindowedStream<T, S, GlobalWindows, CountTrigger, CountEvictor> {
        let windowed = self.window(GlobalWindows::create()).trigger(CountTrigger::of(slide));
        windowed.evictor(CountEvictor::of(usize::try_from(size).unwrap_or(usize::MAX)))
    }
}

impl<T: Data> DataStream<T> {
    fn keyed_by_nothing(self) -> KeyedStream<T, impl KeySelector<T, Key = ()>> {
        KeyedStream::new(self, OwnedKey::new(|_: &T| ()))
    }

    /// Puts the records of the whole stream into windows: in one subtask.
    pub fn window_all<A: WindowAssigner<T>>(
        self,
        assigner: A,
    ) -> WindowedStream<T, impl KeySelector<T, Key = ()>, A, A::DefaultTrigger> {
        WindowedStream { single: true, ..self.keyed_by_nothing().window(assigner) }
    }

    /// Windows of so many records each, of the whole stream: in one subtask.
    pub fn count_window_all(
        self,
        size: u64,
    ) -> WindowedStream<T, impl KeySelector<T, Key = ()>, GlobalWindows, PurgingTrigger<CountTrigger>> {
        WindowedStream { single: true, ..self.keyed_by_nothing().count_window(size) }
    }
}

impl<T, S, A, G> WindowedStream<T, S, A, G>
where
    T: Data,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
{
    /// Decides when windows fire, instead of at their ends.
    pub fn trigger<H: Trigger<T, A::Window>>(self, trigger: H) -> WindowedStream<T, S, A, H> {
        let Windowing { assigner, allowed_lateness, .. } = self.windowing;
        let windowing = Windowing { assigner, trigger, allowed_lateness };
        WindowedStream { keyed: self.keyed, windowing, late: self.late, single: self.single }
    }

    /// Removes records from a window before or after its function is called. All records are then kept until it fires.
    pub fn evictor<E: Evictor<T, A::Window>>(self, evictor: E) -> EvictingWindowedStream<T, S, A, G, E> {
        EvictingWindowedStream { windowed: self, evictor }
    }

    /// For how long after its end a window takes late records; the default is not at all.
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.windowing.allowed_lateness = lateness;
        self
    }

    /// Records that come too late go into that side output instead of being dropped:
    /// [`get_side_output`](DataStream::get_side_output) of what the windows give.
    pub fn side_output_late_data(mut self, tag: &OutputTag<T>) -> Self {
        self.late = Some(tag.clone());
        self
    }

    /// Calls the function with all records of a window, which are kept until it fires.
    pub fn process<Out: Data, F: ProcessWindowFunction<S::Key, A::Window, T, Out>>(
        self,
        function: F,
    ) -> DataStream<Out> {
        self.operator("Window", |windowing, parts| open::open(windowing, Collecting, parts), function)
    }

    /// Calls `|key, window, elements, out|` with all records of a window.
    pub fn apply<Out: Data>(
        self,
        function: impl FnMut(&S::Key, &A::Window, Elements<'_, T>, &mut Collector<Out>) + Clone + Send + Sync + 'static,
    ) -> DataStream<Out> {
        self.process(Apply(function))
    }

    /// Adds an operator that calls a function on windows.
    fn operator<Item, Out: Data, F: ProcessWindowFunction<S::Key, A::Window, Item, Out>>(
        self,
        name: &str,
        open: impl Fn(Windowing<A, G>, WindowParts<'_, T, S, F, Out>) -> TaskResult<Box<dyn Push<T>>>
        + Send
        + Sync
        + 'static,
        function: F,
    ) -> DataStream<Out> {
        let Self { keyed, windowing, late, single } = self;
        let (stream, selector) = keyed.exchanged();
        let make: MakeOperator = Arc::new(move |making, outputs| {
            let (output, sides) = outputs.with_sides::<Out>();
            let parts = WindowParts {
                context: making.context,
                operator: making.operator,
                selector: selector.clone(),
                function: function.clone(),
                outputs: WindowOutputs { late: late.clone(), sides },
                output,
            };
            Ok(AnyPush::of::<T>(open(windowing.clone(), parts)?))
        });
        let stream = stream.with_sides(name, Keeps::KeyedState, make);
        if single { stream.in_one_subtask() } else { stream }
    }
}

impl<T, S, A, G> WindowedStream<T, S, A, G>
where
    T: Data,
    S: KeySelector<T>,
    A: OpenWindows<T>,
    G: Trigger<T, A::Window>,
{
    /// Folds the records of each window together: `function(value, record)` changes the value so far. It must be
    /// associative and commutative: windows that share records merge what others have come to, in no promised order.
    pub fn reduce(self, function: impl Reduce<T>) -> DataStream<T> {
        self.reduce_with(function, EmitContents)
    }

    /// Folds the records of each window together, and calls the function with the one value (Flink's `reduce` with two
    /// arguments).
    pub fn reduce_with<Out, F>(self, reduce: impl Reduce<T>, function: F) -> DataStream<Out>
    where
        Out: Data,
        F: ProcessWindowFunction<S::Key, A::Window, T, Out>,
    {
        self.operator(
            "Window",
            move |windowing, parts| A::open_folded(windowing, Reducing(reduce.clone()), parts),
            function,
        )
    }

    /// Aggregates the records of each window.
    pub fn aggregate<N>(self, aggregate: N) -> DataStream<N::Out>
    where
        N: AggregateFunction<In = T> + Clone + Send + Sync,
        N::Out: Data,
    {
        self.aggregate_with(aggregate, EmitContents)
    }

    /// Aggregates the records of each window, and calls the function with the result (Flink's `aggregate` with two
    /// arguments).
    pub fn aggregate_with<N, Out, F>(self, aggregate: N, function: F) -> DataStream<Out>
    where
        N: AggregateFunction<In = T> + Clone + Send + Sync,
        N::Out: 'static,
        Out: Data,
        F: ProcessWindowFunction<S::Key, A::Window, N::Out, Out>,
    {
        self.operator(
            "Window",
            move |windowing, parts| A::open_folded(windowing, Aggregating(aggregate.clone()), parts),
            function,
        )
    }
}
