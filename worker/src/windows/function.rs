//! What is called when a window fires.

use std::vec::Drain;

use flumen_state::{Key as StateKey, Keyed, StateError, StateValue, Table, TableDescriptor};

use crate::batch::EventTime;
use crate::functions::{FunctionResult, RuntimeContext};
use crate::keyed::Key;
use crate::operator::TaskError;
use crate::operators::Collector;
use crate::operators::side_output::{OutputTag, SideOutputs};

use super::window::Window;

/// What is in a window that fires: its records in the order in which they came, or the one value that they were folded into.
pub struct Elements<'a, T>(Kept<'a, T>);

/// One value is no list: in windows that are folded there is never more.
enum Kept<'a, T> {
    One(Option<T>),
    Many(Drain<'a, T>),
}

impl<'a, T> Elements<'a, T> {
    #[inline]
    pub(crate) fn one(element: T) -> Self {
        Self(Kept::One(Some(element)))
    }

    pub(crate) fn many(elements: Drain<'a, T>) -> Self {
        Self(Kept::Many(elements))
    }
}

impl<T> Iterator for Elements<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Kept::One(element) => element.take(),
            Kept::Many(elements) => elements.next(),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let length = match &self.0 {
            Kept::One(element) => usize::from(element.is_some()),
            Kept::Many(elements) => elements.len(),
        };
        (length, Some(length))
    }

    #[inline]
    fn fold<B, F: FnMut(B, T) -> B>(self, begin: B, mut f: F) -> B {
        match self.0 {
            Kept::One(element) => match element {
                Some(element) => f(begin, element),
                None => begin,
            },
            Kept::Many(elements) => elements.fold(begin, f),
        }
    }
}

impl<T> ExactSizeIterator for Elements<'_, T> {}

impl<T> DoubleEndedIterator for Elements<'_, T> {
    fn next_back(&mut self) -> Option<T> {
        match &mut self.0 {
            Kept::One(element) => element.take(),
            Kept::Many(elements) => elements.next_back(),
        }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Elements<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kept::One(element) => f.debug_list().entries(element).finish(),
            Kept::Many(elements) => f.debug_list().entries(elements.as_slice()).finish(),
        }
    }
}

/// Called with the contents of a window of a key when it fires. What is emitted carries the window's
/// [`max_timestamp`](Window::max_timestamp).
///
/// A closure `|key, ctx, elements, out| { …; Ok(()) }` is one, too.
pub trait ProcessWindowFunction<K, W, In, Out>: Clone + Send + Sync + 'static {
    /// What [`open`](Self::open) makes: handles of state.
    type State: 'static;

    /// Whether [`open`](Self::open) makes handles of keyed state: they are then made to be about the window's key.
    const USES_KEYED_STATE: bool = true;

    /// Called once in each subtask, before everything else.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn open(&self, context: &mut WindowOpenContext<'_, K, W>) -> FunctionResult<Self::State>;

    /// Takes the contents of a window.
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn process(
        &mut self,
        key: &K,
        state: &Self::State,
        ctx: &mut WindowContext<'_, K, W>,
        elements: Elements<'_, In>,
        out: &mut Collector<Out>,
    ) -> FunctionResult;

    /// The window is gone: clear its [`WindowState`].
    ///
    /// # Errors
    /// Any: the subtask fails.
    fn clear(&mut self, _key: &K, _state: &Self::State, _ctx: &mut WindowContext<'_, K, W>) -> FunctionResult {
        Ok(())
    }
}

impl<K, W, In, Out, F> ProcessWindowFunction<K, W, In, Out> for F
where
    F: FnMut(&K, &mut WindowContext<'_, K, W>, Elements<'_, In>, &mut Collector<Out>) -> FunctionResult
        + Clone
        + Send
        + Sync
        + 'static,
{
    type State = ();
    const USES_KEYED_STATE: bool = false;

    fn open(&self, _: &mut WindowOpenContext<'_, K, W>) -> FunctionResult {
        Ok(())
    }

    fn process(
        &mut self,
        key: &K,
        (): &(),
        ctx: &mut WindowContext<'_, K, W>,
        elements: Elements<'_, In>,
        out: &mut Collector<Out>,
    ) -> FunctionResult {
        self(key, ctx, elements, out)
    }
}

/// Emits what is in the window as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmitContents;

impl<K, W, T> ProcessWindowFunction<K, W, T, T> for EmitContents {
    type State = ();
    const USES_KEYED_STATE: bool = false;

    fn open(&self, _: &mut WindowOpenContext<'_, K, W>) -> FunctionResult {
        Ok(())
    }

    #[inline]
    fn process(
        &mut self,
        _: &K,
        (): &(),
        _: &mut WindowContext<'_, K, W>,
        elements: Elements<'_, T>,
        out: &mut Collector<T>,
    ) -> FunctionResult {
        elements.for_each(|element| out.collect(element));
        Ok(())
    }
}

/// Calls `|key, window, elements, out|`, which can't fail and knows nothing else (Flink's `WindowFunction`).
#[derive(Clone)]
pub struct Apply<F>(pub F);

impl<K, W, In, Out, F> ProcessWindowFunction<K, W, In, Out> for Apply<F>
where
    F: FnMut(&K, &W, Elements<'_, In>, &mut Collector<Out>) + Clone + Send + Sync + 'static,
{
    type State = ();
    const USES_KEYED_STATE: bool = false;

    fn open(&self, _: &mut WindowOpenContext<'_, K, W>) -> FunctionResult {
        Ok(())
    }

    #[inline]
    fn process(
        &mut self,
        key: &K,
        (): &(),
        ctx: &mut WindowContext<'_, K, W>,
        elements: Elements<'_, In>,
        out: &mut Collector<Out>,
    ) -> FunctionResult {
        (self.0)(key, ctx.window, elements, out);
        Ok(())
    }
}

/// What a function on windows gets its state from.
pub struct WindowOpenContext<'a, K, W> {
    pub(crate) keyed: &'a mut Keyed<K>,
    pub(crate) runtime: &'a RuntimeContext,
    pub(crate) window: std::marker::PhantomData<W>,
}

impl<K: StateKey, W: Window> WindowOpenContext<'_, K, W> {
    /// State of a key that all of its windows share: the handles that it gives are about the key of the window that fires.
    pub fn global_state(&mut self) -> &mut Keyed<K> {
        self.keyed
    }

    /// State of a window of a key. The function has to clear it when the window is gone.
    ///
    /// # Errors
    /// What was restored under this name is of a type that this one can't take the place of; the store failed.
    pub fn window_state<V: StateValue>(&mut self, name: &str) -> Result<WindowState<K, W, V>, StateError> {
        Ok(WindowState(self.keyed.table(TableDescriptor::new(format!("window-state-{name}")))?))
    }

    /// The subtask.
    pub fn runtime(&self) -> &RuntimeContext {
        self.runtime
    }
}

/// A value per window and key.
pub struct WindowState<K, W, V: StateValue>(Table<K, W, V>);

impl<K: Key, W: Window, V: StateValue> WindowState<K, W, V> {
    /// The value of the window that the context is about.
    ///
    /// # Errors
    /// The state backend failed, as in all of these.
    pub fn get(&self, ctx: &WindowContext<'_, K, W>) -> Result<Option<V>, StateError> {
        self.0.get(ctx.key, ctx.window)
    }

    /// Replaces it.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn set(&self, ctx: &WindowContext<'_, K, W>, value: V) -> Result<(), StateError> {
        self.0.put(ctx.key, ctx.window, value)
    }

    /// Changes it; it may be nothing before and after.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn update<R>(
        &self,
        ctx: &WindowContext<'_, K, W>,
        f: impl FnOnce(&mut Option<V>) -> R,
    ) -> Result<R, StateError> {
        self.0.update(ctx.key, ctx.window, f)
    }

    /// Forgets it.
    ///
    /// # Errors
    /// See [`Self::get`].
    pub fn clear(&self, ctx: &WindowContext<'_, K, W>) -> Result<(), StateError> {
        self.0.remove(ctx.key, ctx.window)
    }
}

/// What a function on windows can ask for and do.
pub struct WindowContext<'a, K, W> {
    pub(crate) key: &'a K,
    pub(crate) window: &'a W,
    pub(crate) watermark: EventTime,
    pub(crate) now: EventTime,
    pub(crate) time: EventTime,
    pub(crate) sides: &'a mut SideOutputs,
    pub(crate) runtime: &'a RuntimeContext,
}

impl<K, W> WindowContext<'_, K, W> {
    /// The window that fires.
    #[inline]
    pub fn window(&self) -> &W {
        self.window
    }

    /// The last watermark; [`NO_TIME`](crate::batch::NO_TIME) before the first.
    pub fn current_watermark(&self) -> EventTime {
        self.watermark
    }

    /// Milliseconds since 1970.
    pub fn current_processing_time(&self) -> EventTime {
        self.now
    }

    /// Emits into a side output, with the window's time.
    ///
    /// # Errors
    /// The side output is one of another type.
    pub fn output<X: 'static>(&mut self, tag: &OutputTag<X>, record: X) -> FunctionResult {
        self.sides.emit(tag, record, self.time).map_err(|error| match error {
            TaskError::Failed { message, .. } | TaskError::Restore { message } => message.into(),
            TaskError::Canceled => "canceled".into(),
        })
    }

    /// The subtask.
    pub fn runtime(&self) -> &RuntimeContext {
        self.runtime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_element_and_many_are_taken_alike_from_both_ends() {
        let mut list = vec![1, 2, 3];
        let mut many = Elements::many(list.drain(..));
        assert_eq!((many.len(), many.next(), many.next_back(), many.len()), (3, Some(1), Some(3), 1));
        assert_eq!(format!("{many:?}"), "[2]");
        assert_eq!((many.sum::<i32>(), list.len()), (2, 0));
        let mut one = Elements::one(7);
        assert_eq!((one.len(), format!("{one:?}")), (1, "[7]".to_owned()));
        assert_eq!((one.next_back(), one.next(), one.len(), one.sum::<i32>()), (Some(7), None, 0, 0));
        assert_eq!(Elements::one(7).sum::<i32>(), 7);
    }
}
