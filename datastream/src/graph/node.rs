//! One operator of the program.

use std::sync::Arc;

use flumen_model::ids::OperatorId;
use flumen_model::job_graph::{Partitioner, RuntimeMode};
use flumen_worker::deployment::AnyGate;
use flumen_worker::exchange::channels::OutputChannel;
use flumen_worker::operator::TaskResult;
use flumen_worker::subtask::SubtaskContext;
use flumen_worker::task::SubtaskBody;

use crate::graph::records::{AnyPush, Records};

/// Index into the program's nodes.
pub(crate) type NodeId = usize;

/// What a factory is told when it makes its part of a subtask.
pub(crate) struct Making<'a> {
    pub(crate) context: &'a SubtaskContext,
    pub(crate) mode: RuntimeMode,
    /// Under this id the operator keeps its state.
    pub(crate) operator: OperatorId,
}

/// Makes an operator in front of its output.
pub(crate) type MakeOperator = Arc<dyn Fn(&Making<'_>, AnyPush) -> TaskResult<AnyPush> + Send + Sync>;
/// Makes the body of a source subtask in front of its output.
pub(crate) type MakeSource = Arc<dyn Fn(&Making<'_>, AnyPush) -> TaskResult<SubtaskBody> + Send + Sync>;
/// Makes the writer of a keyed exchange: channels, key groups of the target.
pub(crate) type MakeWriter =
    Arc<dyn Fn(&Making<'_>, Vec<OutputChannel<AnyGate>>, u32) -> TaskResult<AnyPush> + Send + Sync>;

/// What a node does.
pub(crate) enum Work {
    Source { bounded: bool, splits: Vec<String>, make: MakeSource },
    Operator { records: Arc<dyn Records>, make: MakeOperator },
}

/// Whether an operator shares a thread with its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chaining {
    /// With the one before and the ones after.
    Always,
    /// With the ones after only (`start_new_chain`).
    Head,
    /// With none (`disable_chaining`).
    Never,
}

/// Where a node's records come from.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) node: NodeId,
    pub(crate) partition: Partition,
}

/// How records are distributed on their way to the next operator.
#[derive(Clone)]
pub(crate) enum Partition {
    /// Forward when both sides have the same parallelism, else round robin.
    Default,
    /// As the program asked.
    Explicit(Partitioner),
    /// By key.
    Keyed(MakeWriter),
}

/// One operator.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
    pub(crate) parallelism: Option<u32>,
    pub(crate) max_parallelism: Option<u32>,
    pub(crate) chaining: Chaining,
    pub(crate) inputs: Vec<Input>,
    pub(crate) work: Work,
    /// Of what it emits.
    pub(crate) output: Arc<dyn Records>,
    /// The directory that it creates, for a sink.
    pub(crate) creates: Option<String>,
    /// True for operators that can't run in parallel.
    pub(crate) single: bool,
}
