//! Functions of users on streams without keys.

use std::marker::PhantomData;

use flumen_model::ids::OperatorId;

use crate::batch::{Batch, NO_TIME};
use crate::functions::{
    BothSides, BroadcastProcessFunction, CoProcessFunction, Context, OperatorContext, Parts, ProcessFunction,
    RuntimeContext, WithBroadcast, not_opened, user_failure,
};
use crate::operator::{Push, Signal, TaskResult};
use crate::operators::Collector;
use crate::operators::either::Either;
use crate::operators::side_output::SideOutputs;
use crate::subtask::SubtaskContext;

/// Runs a [`ProcessFunction`].
pub struct Process<In, Out, F: ProcessFunction<In, Out>> {
    function: F,
    state: F::State,
    parts: Parts,
    out: Collector<Out>,
    records: PhantomData<fn(In)>,
}

/// Runs a [`CoProcessFunction`].
pub type CoProcess<A, B, Out, F> = Process<Either<A, B>, Out, BothSides<F>>;
/// Runs a [`BroadcastProcessFunction`].
pub type BroadcastProcess<A, B, Out, F> = Process<Either<A, B>, Out, WithBroadcast<F>>;

impl<In, Out, F: ProcessFunction<In, Out>> Process<In, Out, F> {
    /// Emits into `output` and the side outputs.
    ///
    /// # Errors
    /// The function's `open` failed.
    pub fn open(
        context: &SubtaskContext,
        operator: OperatorId,
        function: F,
        sides: SideOutputs,
        output: Box<dyn Push<Out>>,
    ) -> TaskResult<Self> {
        let mut parts = Parts::open(context, operator, sides);
        let state = function.open(&mut parts.operator_context()).map_err(not_opened)?;
        Ok(Self { function, state, parts, out: Collector::new(output), records: PhantomData })
    }
}

/// See [`Process::open`].
///
/// # Errors
/// The function's `open` failed.
pub fn open_co_process<A, B, Out, F: CoProcessFunction<A, B, Out>>(
    context: &SubtaskContext,
    operator: OperatorId,
    function: F,
    sides: SideOutputs,
    output: Box<dyn Push<Out>>,
) -> TaskResult<CoProcess<A, B, Out, F>> {
    Process::open(context, operator, BothSides(function), sides, output)
}

/// See [`Process::open`]. The second stream must be broadcast.
///
/// # Errors
/// The function's `open` failed.
pub fn open_broadcast_process<A, B, Out, F: BroadcastProcessFunction<A, B, Out>>(
    context: &SubtaskContext,
    operator: OperatorId,
    function: F,
    sides: SideOutputs,
    output: Box<dyn Push<Out>>,
) -> TaskResult<BroadcastProcess<A, B, Out, F>> {
    Process::open(context, operator, WithBroadcast(function), sides, output)
}

impl Parts {
    pub(crate) fn open(context: &SubtaskContext, operator: OperatorId, sides: SideOutputs) -> Self {
        Self {
            operator,
            state: context.open_operator_state(operator),
            runtime: RuntimeContext::new(context),
            sides,
            clock: context.worker.time.clone(),
            time: NO_TIME,
            watermark: NO_TIME,
        }
    }

    pub(crate) fn operator_context(&mut self) -> OperatorContext<'_> {
        OperatorContext { operator: &mut self.state, runtime: &self.runtime }
    }

    /// What every function's operator does with a signal before it goes on.
    pub(crate) fn note(&mut self, signal: &mut Signal<'_>) -> TaskResult {
        match signal {
            Signal::Watermark(time) => self.watermark = *time,
            Signal::Barrier(snapshot) => snapshot.operator_state(self.operator, &self.state)?,
            _ => {}
        }
        Ok(())
    }
}

impl<In, Out, F: ProcessFunction<In, Out>> Push<In> for Process<In, Out, F> {
    fn push(&mut self, batch: &mut Batch<In>) -> TaskResult {
        for (record, time) in batch.drain() {
            self.parts.time = time;
            self.out.set_time(time);
            self.function
                .process_element(record, &self.state, &mut Context(&mut self.parts), &mut self.out)
                .map_err(|error| user_failure("the function failed", error))?;
        }
        self.parts.sides.finish()?;
        self.out.finish()
    }

    fn signal(&mut self, mut signal: Signal<'_>) -> TaskResult {
        if let Signal::End = signal {
            self.parts.time = NO_TIME;
            self.out.set_time(NO_TIME);
            self.function
                .finish(&self.state, &mut Context(&mut self.parts), &mut self.out)
                .map_err(|error| user_failure("the function's finish() failed", error))?;
        }
        self.parts.note(&mut signal)?;
        self.parts.sides.signal(&mut signal)?;
        self.out.signal(signal)
    }
}
