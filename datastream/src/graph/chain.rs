//! A chain of operators as something that makes subtasks.

use std::collections::HashMap;
use std::sync::Arc;

use flumen_model::ids::OperatorId;
use flumen_model::job_graph::{Partitioner, RuntimeMode};
use flumen_worker::deployment::{AnyGate, VertexFactory};
use flumen_worker::exchange::channels::OutputChannel;
use flumen_worker::exchange::gate::ChannelOrigin;
use flumen_worker::operator::TaskResult;
use flumen_worker::subtask::{SubtaskContext, SubtaskHandle};
use flumen_worker::task::SubtaskBody;

use crate::graph::node::{MakeWriter, Making, Node, NodeId, Work};
use crate::graph::records::AnyPush;

/// Who takes what a node emits.
pub(crate) enum Consumer {
    /// The next operator of the chain.
    Chained(NodeId),
    /// Another vertex.
    Exchange {
        /// Which output of the vertex.
        output: usize,
        partitioner: Partitioner,
        keyed: Option<MakeWriter>,
        target_max_parallelism: u32,
    },
}

/// The chain that begins with `head`.
pub(crate) struct Chain {
    pub(crate) nodes: Arc<Vec<Node>>,
    pub(crate) consumers: Arc<HashMap<NodeId, Vec<Consumer>>>,
    /// By node.
    pub(crate) operators: Arc<Vec<OperatorId>>,
    pub(crate) head: NodeId,
    pub(crate) mode: RuntimeMode,
}

/// The channels of each output, until a writer takes them.
type Outputs = Vec<Option<Vec<OutputChannel<AnyGate>>>>;

impl Chain {
    fn making<'a>(&self, id: NodeId, context: &'a SubtaskContext) -> Making<'a> {
        Making { context, mode: self.mode, operator: self.operators[id] }
    }

    /// What a node's records are pushed into.
    fn output_of(&self, id: NodeId, context: &SubtaskContext, outputs: &mut Outputs) -> TaskResult<AnyPush> {
        let mut ends = Vec::new();
        for consumer in self.consumers.get(&id).map_or(&[][..], Vec::as_slice) {
            ends.push(match consumer {
                Consumer::Chained(next) => self.operator(*next, context, outputs)?,
                Consumer::Exchange { output, partitioner, keyed, target_max_parallelism } => {
                    let channels = outputs.get_mut(*output).and_then(Option::take).unwrap_or_default();
                    match keyed {
                        Some(make) => make(&self.making(id, context), channels, *target_max_parallelism)?,
                        None => self.nodes[id].output.writer(*partitioner, channels, context),
                    }
                }
            });
        }
        Ok(self.nodes[id].output.join(ends))
    }

    /// What is pushed into a node.
    fn operator(&self, id: NodeId, context: &SubtaskContext, outputs: &mut Outputs) -> TaskResult<AnyPush> {
        let output = self.output_of(id, context, outputs)?;
        match &self.nodes[id].work {
            Work::Operator { make, .. } => make(&self.making(id, context), output),
            Work::Source { .. } => unreachable!("a source has no input and begins a chain"),
        }
    }
}

impl VertexFactory for Chain {
    fn gate(&self, origins: &[ChannelOrigin], credit: u32, receiver: Arc<SubtaskHandle>) -> Option<AnyGate> {
        match &self.nodes[self.head].work {
            Work::Operator { records, .. } => Some(records.gate(origins, credit, receiver)),
            Work::Source { .. } => None,
        }
    }

    fn subtask(
        &self,
        context: SubtaskContext,
        gate: Option<AnyGate>,
        outputs: Vec<Vec<OutputChannel<AnyGate>>>,
    ) -> TaskResult<SubtaskBody> {
        let mut outputs: Outputs = outputs.into_iter().map(Some).collect();
        match (&self.nodes[self.head].work, gate) {
            (Work::Operator { records, .. }, Some(gate)) => {
                let head = self.operator(self.head, &context, &mut outputs)?;
                Ok(records.receiving(context, &gate, head))
            }
            (Work::Source { make, .. }, _) => {
                let output = self.output_of(self.head, &context, &mut outputs)?;
                make(&self.making(self.head, &context), output)
            }
            (Work::Operator { .. }, None) => unreachable!("`gate` gives every operator one"),
        }
    }
}
