//! Two streams in the same windows: all records of both at once, or each pair.

use std::marker::PhantomData;

use crate::functions::FunctionResult;
use crate::operators::Collector;
use crate::operators::either::Either;

use super::function::{Elements, ProcessWindowFunction, WindowContext, WindowOpenContext};

/// Calls `|first, second, out|` with the records of both streams that are in a window of a key; one side may be empty.
#[derive(Clone)]
pub struct CoGroup<F>(pub F);

impl<K, W, A, B, Out, F> ProcessWindowFunction<K, W, Either<A, B>, Out> for CoGroup<F>
where
    F: FnMut(Vec<A>, Vec<B>, &mut Collector<Out>) + Clone + Send + Sync + 'static,
{
    type State = ();
    const USES_KEYED_STATE: bool = false;

    fn open(&self, _: &mut WindowOpenContext<'_, K, W>) -> FunctionResult {
        Ok(())
    }

    fn process(
        &mut self,
        _: &K,
        (): &(),
        _: &mut WindowContext<'_, K, W>,
        elements: Elements<'_, Either<A, B>>,
        out: &mut Collector<Out>,
    ) -> FunctionResult {
        let (first, second) = divide(elements);
        (self.0)(first, second, out);
        Ok(())
    }
}

/// Calls `|first, second, out|` with each pair of records of the two streams that are in a window of a key.
#[derive(Clone)]
pub struct Join<F, A, B>(F, PhantomData<fn(A, B)>);

impl<F, A, B> Join<F, A, B> {
    /// Of that function.
    pub fn new<Out>(function: F) -> Self
    where
        F: FnMut(&A, &B, &mut Collector<Out>),
    {
        Self(function, PhantomData)
    }
}

impl<K, W, A, B, Out, F> ProcessWindowFunction<K, W, Either<A, B>, Out> for Join<F, A, B>
where
    A: Clone + 'static,
    B: Clone + 'static,
    F: FnMut(&A, &B, &mut Collector<Out>) + Clone + Send + Sync + 'static,
{
    type State = ();
    const USES_KEYED_STATE: bool = false;

    fn open(&self, _: &mut WindowOpenContext<'_, K, W>) -> FunctionResult {
        Ok(())
    }

    fn process(
        &mut self,
        _: &K,
        (): &(),
        _: &mut WindowContext<'_, K, W>,
        elements: Elements<'_, Either<A, B>>,
        out: &mut Collector<Out>,
    ) -> FunctionResult {
        let (first, second) = divide(elements);
        for a in &first {
            for b in &second {
                (self.0)(a, b, out);
            }
        }
        Ok(())
    }
}

fn divide<A, B>(elements: Elements<'_, Either<A, B>>) -> (Vec<A>, Vec<B>) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for element in elements {
        match element {
            Either::Left(record) => first.push(record),
            Either::Right(record) => second.push(record),
        }
    }
    (first, second)
}
