//! Which operator runs windows.

use std::any::TypeId;

use flumen_model::ids::OperatorId;
use flumen_worker::keyed::KeySelector;
use flumen_worker::operator::{Data, Push, TaskResult};
use flumen_worker::subtask::SubtaskContext;
use flumen_worker::windows::{
    Fold, GlobalWindows, ProcessWindowFunction, RegularWindows, SessionGap, SessionWindows, SliceOperator, Slicing,
    SlidingWindows, TimeDomain, TimeWindow, Trigger, TumblingWindows, WindowAssigner, WindowContents, WindowOperator,
    WindowOutputs, Windowing,
};

/// What an operator for windows is made of beside the windows themselves.
pub struct WindowParts<'a, T, S, F, Out> {
    pub(super) context: &'a SubtaskContext,
    pub(super) operator: OperatorId,
    pub(super) selector: S,
    pub(super) function: F,
    pub(super) outputs: WindowOutputs<T>,
    pub(super) output: Box<dyn Push<Out>>,
}

/// How the windows of an assigner are run. For an assigner of the program's own, an empty implementation is right:
/// `impl OpenWindows<T> for MyWindows {}`.
pub trait OpenWindows<T: Data>: WindowAssigner<T> {
    /// The operator for windows whose records are folded.
    ///
    /// # Errors
    /// The state can't be restored; the function's `open` failed.
    fn open_folded<S, G, C, F, Out>(
        windowing: Windowing<Self, G>,
        fold: C,
        parts: WindowParts<'_, T, S, F, Out>,
    ) -> TaskResult<Box<dyn Push<T>>>
    where
        S: KeySelector<T>,
        G: Trigger<T, Self::Window>,
        C: Fold<T> + WindowContents<S::Key, T, Self::Window, Item = <C as Fold<T>>::Item>,
        F: ProcessWindowFunction<S::Key, Self::Window, <C as Fold<T>>::Item, Out>,
        Out: Data,
    {
        open(windowing, fold, parts)
    }
}

/// The operator for all kinds of windows.
pub(super) fn open<T, S, A, G, C, F, Out>(
    windowing: Windowing<A, G>,
    contents: C,
    parts: WindowParts<'_, T, S, F, Out>,
) -> TaskResult<Box<dyn Push<T>>>
where
    T: Data,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: WindowContents<S::Key, T, A::Window>,
    F: ProcessWindowFunction<S::Key, A::Window, C::Item, Out>,
    Out: Data,
{
    let WindowParts { context, operator, selector, function, outputs, output } = parts;
    Ok(Box::new(WindowOperator::<T, S, A, G, C::Opened, F, Out>::open(
        context, operator, selector, windowing, contents, function, outputs, output,
    )?))
}

/// The operator for windows of a size that is known beforehand: with the default trigger, records are folded by slices of
/// time that windows share.
fn open_regular<T, S, A, G, C, F, Out>(
    windowing: Windowing<A, G>,
    fold: C,
    parts: WindowParts<'_, T, S, F, Out>,
) -> TaskResult<Box<dyn Push<T>>>
where
    T: Data,
    S: KeySelector<T>,
    A: WindowAssigner<T, Window = TimeWindow> + RegularWindows,
    G: Trigger<T, TimeWindow>,
    C: Fold<T> + WindowContents<S::Key, T, TimeWindow, Item = <C as Fold<T>>::Item>,
    F: ProcessWindowFunction<S::Key, TimeWindow, <C as Fold<T>>::Item, Out>,
    Out: Data,
{
    let by_default = TypeId::of::<G>() == TypeId::of::<A::DefaultTrigger>();
    let slicing = Slicing::of(&windowing.assigner, windowing.allowed_lateness, F::USES_KEYED_STATE);
    let Some(slicing) = slicing.filter(|_| by_default) else { return open(windowing, fold, parts) };
    let WindowParts { context, operator, selector, function, outputs, output } = parts;
    Ok(Box::new(SliceOperator::open(context, operator, selector, slicing, fold, function, outputs, output)?))
}

macro_rules! regular {
    ($windows:ident) => {
        impl<T: Data, D: TimeDomain> OpenWindows<T> for $windows<D> {
            fn open_folded<S, G, C, F, Out>(
                windowing: Windowing<Self, G>,
                fold: C,
                parts: WindowParts<'_, T, S, F, Out>,
            ) -> TaskResult<Box<dyn Push<T>>>
            where
                S: KeySelector<T>,
                G: Trigger<T, TimeWindow>,
                C: Fold<T> + WindowContents<S::Key, T, TimeWindow, Item = <C as Fold<T>>::Item>,
                F: ProcessWindowFunction<S::Key, TimeWindow, <C as Fold<T>>::Item, Out>,
                Out: Data,
            {
                open_regular(windowing, fold, parts)
            }
        }
    };
}

regular!(TumblingWindows);
regular!(SlidingWindows);

impl<T: Data> OpenWindows<T> for GlobalWindows {}
impl<T: Data, D: TimeDomain, G: SessionGap<T>> OpenWindows<T> for SessionWindows<D, G> {}
