//! One operator of the program.

use std::sync::Arc;

use flumen_model::ids::OperatorId;
use flumen_model::job_graph::{Partitioner, RuntimeMode};
use flumen_state::schema::Incompatible;
use flumen_worker::deployment::AnyGate;
use flumen_worker::exchange::channels::OutputChannel;
use flumen_worker::operator::TaskResult;
use flumen_worker::subtask::SubtaskContext;
use flumen_worker::task::SubtaskBody;

use crate::graph::records::{AnyPush, Outputs, Records};

/// Index into the program's nodes.
pub(crate) type NodeId = usize;

/// Which of a node's outputs: [`MAIN`], or a side output counted from 1.
pub(crate) type Port = usize;

/// The output that every node has.
pub(crate) const MAIN: Port = 0;

/// What a factory is told when it makes its part of a subtask.
pub(crate) struct Making<'a> {
    pub(crate) context: &'a SubtaskContext,
    pub(crate) mode: RuntimeMode,
    /// Under this id the operator keeps its state.
    pub(crate) operator: OperatorId,
}

/// Makes an operator in front of its outputs.
pub(crate) type MakeOperator = Arc<dyn Fn(&Making<'_>, Outputs) -> TaskResult<AnyPush> + Send + Sync>;
/// Makes the body of a source subtask in front of its output.
pub(crate) type MakeSource = Arc<dyn Fn(&Making<'_>, Outputs) -> TaskResult<SubtaskBody> + Send + Sync>;
/// Makes the writer of a keyed exchange: channels, key groups of the target.
pub(crate) type MakeWriter =
    Arc<dyn Fn(&Making<'_>, Vec<OutputChannel<AnyGate>>, u32) -> TaskResult<AnyPush> + Send + Sync>;
/// Turns records of the sender's type into those of the receiver's on their way between the two.
pub(crate) type Adapt = Arc<dyn Fn(AnyPush) -> AnyPush + Send + Sync>;

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
    pub(crate) port: Port,
    pub(crate) partition: Partition,
    /// For an operator with inputs of several types, which takes them as one.
    pub(crate) adapt: Option<Adapt>,
}

impl Input {
    /// A node's main output as it is.
    pub(crate) fn of(node: NodeId) -> Self {
        Self { node, port: MAIN, partition: Partition::Default, adapt: None }
    }
}

/// How records are distributed on their way to the next operator.
#[derive(Clone)]
pub(crate) enum Partition {
    /// Forward when both sides have the same parallelism, else round robin.
    Default,
    /// As the program asked.
    Explicit(Partitioner),
    /// By key. The writer takes the sender's records, also where the input is adapted.
    Keyed(MakeWriter),
}

/// Whether values of a type can be read that were written with a schema: name of the state, schema.
pub(crate) type Reads = fn(&str, &str) -> Result<(), Incompatible>;

/// What an operator keeps between records.
#[derive(Clone, Default)]
pub(crate) enum Keeps {
    /// Nothing, or nothing that a checkpoint would have to hold.
    #[default]
    Nothing,
    /// Operator state, if its function asks for some.
    MaybeOperatorState,
    /// Only how far the watermarks were: a program that doesn't find it again begins anew.
    Watermarks,
    /// State that is known only when it runs.
    State,
    /// A list of that name, whose items are of one type of the program.
    List(&'static str, Reads),
    /// Operator state, which can be asked for before it runs.
    OperatorState,
    /// Keyed state, which can be asked for before it runs.
    KeyedState,
}

/// A side output that somebody reads.
pub(crate) struct Side {
    pub(crate) tag: String,
    pub(crate) records: Arc<dyn Records>,
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
    /// By port, from 1.
    pub(crate) sides: Vec<Side>,
    /// Whether it can emit into side outputs at all.
    pub(crate) has_sides: bool,
    pub(crate) keeps: Keeps,
    /// The directory that it creates, for a sink.
    pub(crate) creates: Option<String>,
    /// True for operators that can't run in parallel.
    pub(crate) single: bool,
}

impl Node {
    /// An operator with the settings of one that the program says nothing about.
    pub(crate) fn new(name: &str, inputs: Vec<Input>, work: Work, output: Arc<dyn Records>) -> Self {
        Self {
            name: name.to_owned(),
            uid: None,
            parallelism: None,
            max_parallelism: None,
            chaining: Chaining::Always,
            inputs,
            work,
            output,
            sides: Vec::new(),
            has_sides: false,
            keeps: Keeps::Nothing,
            creates: None,
            single: false,
        }
    }

    /// What comes out of a port.
    pub(crate) fn records_of(&self, port: Port) -> &Arc<dyn Records> {
        match port.checked_sub(1) {
            None => &self.output,
            Some(side) => &self.sides[side].records,
        }
    }
}
