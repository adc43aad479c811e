//! What can be done with records of a type that has been forgotten.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use flumen_model::job_graph::Partitioner;
use flumen_state::SnapshotStep;
use flumen_worker::checkpoint::Snapshot;
use flumen_worker::deployment::{AnyGate, typed_channels};
use flumen_worker::exchange::channels::OutputChannel;
use flumen_worker::exchange::gate::{ChannelOrigin, Gate};
use flumen_worker::exchange::writer::{BroadcastWriter, Forward, Rebalance, RoutingWriter, Shuffle};
use flumen_worker::operator::{Data, Discard, Push, Signal, TaskResult, Tee};
use flumen_worker::operators::side_output::{OutputTag, SideOutputs};
use flumen_worker::subtask::{SubtaskContext, SubtaskHandle};
use flumen_worker::task::{self, SubtaskBody};

/// A `Box<dyn Push<T>>` whose type is known to the two ends of an edge only.
pub(crate) struct AnyPush(Box<dyn Any>);

impl AnyPush {
    pub(crate) fn of<T: 'static>(push: Box<dyn Push<T>>) -> Self {
        Self(Box::new(push))
    }

    /// The type again.
    ///
    /// # Panics
    /// When it is another one: both ends of an edge were made from one typed stream.
    pub(crate) fn typed<T: 'static>(self) -> Box<dyn Push<T>> {
        *self.0.downcast().expect("both ends of an edge have the type of its stream")
    }
}

/// What an operator emits into.
pub(crate) struct Outputs {
    main: AnyPush,
    sides: SideOutputs,
}

impl Outputs {
    /// A main output and no other.
    pub(crate) fn new(main: AnyPush) -> Self {
        Self { main, sides: SideOutputs::default() }
    }

    /// The output of an operator that has no other.
    pub(crate) fn typed<T: 'static>(self) -> Box<dyn Push<T>> {
        self.main.typed()
    }

    /// The output and the side outputs.
    pub(crate) fn with_sides<T: 'static>(self) -> (Box<dyn Push<T>>, SideOutputs) {
        (self.main.typed(), self.sides)
    }
}

/// Operations on records of one type.
pub(crate) trait Records: Send + Sync {
    /// The type, for messages and comparisons.
    fn type_name(&self) -> &'static str;
    /// Adds a side output.
    fn add_side(&self, outputs: &mut Outputs, tag: &str, push: AnyPush);
    /// One end for several consumers (or none).
    fn join(&self, consumers: Vec<AnyPush>) -> AnyPush;
    /// A writer for an exchange that does not look into the records.
    fn writer(
        &self,
        partitioner: Partitioner,
        channels: Vec<OutputChannel<AnyGate>>,
        context: &SubtaskContext,
    ) -> AnyPush;
    /// A gate for them.
    fn gate(&self, origins: &[ChannelOrigin], credit: u32, receiver: Arc<SubtaskHandle>) -> AnyGate;
    /// Takes the snapshot of an operator that takes them, and throws the operator away.
    fn snapshot(&self, push: AnyPush, snapshot: &mut Snapshot) -> TaskResult;
    /// The body of a subtask that takes them from its gate.
    fn receiving(&self, context: SubtaskContext, gate: &AnyGate, head: AnyPush) -> SubtaskBody;
}

/// [`Records`] of type `T`.
pub(crate) struct RecordsOf<T>(PhantomData<fn() -> T>);

impl<T: Data> RecordsOf<T> {
    pub(crate) fn shared() -> Arc<dyn Records> {
        Arc::new(Self(PhantomData))
    }
}

impl<T: Data> Records for RecordsOf<T> {
    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }

    fn add_side(&self, outputs: &mut Outputs, tag: &str, push: AnyPush) {
        let sides = std::mem::take(&mut outputs.sides);
        outputs.sides = sides.with(&OutputTag::new(tag), push.typed::<T>());
    }

    fn join(&self, mut consumers: Vec<AnyPush>) -> AnyPush {
        match consumers.len() {
            0 => AnyPush::of::<T>(Box::new(Discard)),
            1 => consumers.remove(0),
            _ => AnyPush::of::<T>(Box::new(Tee::<T>::new(consumers.into_iter().map(AnyPush::typed).collect()))),
        }
    }

    fn writer(
        &self,
        partitioner: Partitioner,
        channels: Vec<OutputChannel<AnyGate>>,
        context: &SubtaskContext,
    ) -> AnyPush {
        let channels = typed_channels::<T>(channels, context);
        let index = context.id.index as usize;
        AnyPush::of::<T>(match partitioner {
            Partitioner::Forward => Box::new(RoutingWriter::new(channels, Forward)),
            // Senders begin at different channels, so that few records do not all go to the first.
            Partitioner::Rebalance => {
                let next = index % channels.len().max(1);
                Box::new(RoutingWriter::new(channels, Rebalance { next }))
            }
            Partitioner::Shuffle => {
                let state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(index as u64 + 1) | 1;
                Box::new(RoutingWriter::new(channels, Shuffle { state }))
            }
            Partitioner::Broadcast => Box::new(BroadcastWriter::new(channels)),
            Partitioner::Hash => unreachable!("a keyed exchange brings its own writer"),
        })
    }

    fn gate(&self, origins: &[ChannelOrigin], credit: u32, receiver: Arc<SubtaskHandle>) -> AnyGate {
        AnyGate::of(Gate::<T>::new(origins, credit, receiver))
    }

    fn snapshot(&self, push: AnyPush, snapshot: &mut Snapshot) -> TaskResult {
        let mut operator = push.typed::<T>();
        operator.signal(Signal::Barrier(snapshot))?;
        let mut next = SnapshotStep::More;
        while std::mem::take(&mut next) > SnapshotStep::Done {
            operator.signal(Signal::Background(&mut next))?;
        }
        Ok(())
    }

    fn receiving(&self, context: SubtaskContext, gate: &AnyGate, head: AnyPush) -> SubtaskBody {
        task::receiving::<T>(context, gate.typed(), head.typed())
    }
}
