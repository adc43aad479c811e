//! A chain of operators as something that makes subtasks.

use std::collections::HashMap;
use std::sync::Arc;

use flumen_model::job_graph::{Partitioner, RuntimeMode};
use flumen_worker::deployment::{AnyGate, VertexFactory};
use flumen_worker::exchange::writer::OutputChannel;
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
    pub(crate) head: NodeId,
    pub(crate) mode: RuntimeMode,
}

/// The channels of each output, until a writer takes them.
type Outputs = Vec<Option<Vec<OutputChannel<AnyGate>>>>;

impl Chain {
    /// What a node's records are pushed into.
    fn output_of(&self, id: NodeId, making: &Making<'_>, outputs: &mut Outputs) -> TaskResult<AnyPush> {
        let mut ends = Vec::new();
        for consumer in self.consumers.get(&id).map_or(&[][..], Vec::as_slice) {
            ends.push(match consumer {
                Consumer::Chained(next) => self.operator(*next, making, outputs)?,
                Consumer::Exchange { output, partitioner, keyed, target_max_parallelism } => {
                    let channels = outputs.get_mut(*output).and_then(Option::take).unwrap_or_default();
                    match keyed {
                        Some(make) => make(making, channels, *target_max_parallelism)?,
                        None => self.nodes[id].output.writer(*partitioner, channels, making.context),
                    }
                }
            });
        }
        Ok(self.nodes[id].output.join(ends))
    }

    /// What is pushed into a node.
    fn operator(&self, id: NodeId, making: &Making<'_>, outputs: &mut Outputs) -> TaskResult<AnyPush> {
        let output = self.output_of(id, making, outputs)?;
        match &self.nodes[id].work {
            Work::Operator { make, .. } => make(making, output),
            Work::Source { .. } => unreachable!("a source has no input and begins a chain"),
        }
    }
}

impl VertexFactory for Chain {
    fn gate(&self, channels: usize, credit: u32, receiver: Arc<SubtaskHandle>) -> Option<AnyGate> {
        match &self.nodes[self.head].work {
            Work::Operator { records, .. } => Some(records.gate(channels, credit, receiver)),
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
        let making = Making { context: &context, mode: self.mode };
        match (&self.nodes[self.head].work, gate) {
            (Work::Operator { records, .. }, Some(gate)) => {
                let head = self.operator(self.head, &making, &mut outputs)?;
                Ok(records.receiving(context, &gate, head))
            }
            (Work::Source { make, .. }, _) => {
                let output = self.output_of(self.head, &making, &mut outputs)?;
                make(context, output)
            }
            (Work::Operator { .. }, None) => unreachable!("`gate` gives every operator one"),
        }
    }
}
