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

use crate::graph::node::{Adapt, MAIN, MakeWriter, Making, Node, NodeId, Port, Work};
use crate::graph::records::{AnyPush, Outputs, Records};

/// Who takes what comes out of one port of a node.
pub(crate) struct Consumer {
    pub(crate) node: NodeId,
    pub(crate) adapt: Option<Adapt>,
    /// `None` for the next operator of the chain.
    pub(crate) exchange: Option<Exchange>,
}

/// The way to another vertex.
pub(crate) struct Exchange {
    /// Which output of the vertex.
    pub(crate) output: usize,
    pub(crate) partitioner: Partitioner,
    pub(crate) keyed: Option<MakeWriter>,
    pub(crate) target_max_parallelism: u32,
}

/// The chain that begins with `head`.
pub(crate) struct Chain {
    pub(crate) nodes: Arc<Vec<Node>>,
    pub(crate) consumers: Arc<HashMap<(NodeId, Port), Vec<Consumer>>>,
    /// By node.
    pub(crate) operators: Arc<Vec<OperatorId>>,
    pub(crate) head: NodeId,
    pub(crate) mode: RuntimeMode,
}

/// The channels of each output, until a writer takes them.
type Wires = Vec<Option<Vec<OutputChannel<AnyGate>>>>;

impl Chain {
    fn making<'a>(&self, id: NodeId, context: &'a SubtaskContext) -> Making<'a> {
        Making { context, mode: self.mode, operator: self.operators[id] }
    }

    /// What a node's records are pushed into.
    fn outputs_of(&self, id: NodeId, context: &SubtaskContext, wires: &mut Wires) -> TaskResult<Outputs> {
        let main = self.port(id, MAIN, context, wires)?;
        let mut outputs = Outputs::new(main);
        for (index, side) in self.nodes[id].sides.iter().enumerate() {
            let push = self.port(id, index + 1, context, wires)?;
            side.records.add_side(&mut outputs, &side.tag, push);
        }
        Ok(outputs)
    }

    fn port(&self, id: NodeId, port: Port, context: &SubtaskContext, wires: &mut Wires) -> TaskResult<AnyPush> {
        let mut ends = Vec::new();
        for consumer in self.consumers.get(&(id, port)).map_or(&[][..], Vec::as_slice) {
            ends.push(match &consumer.exchange {
                None => consumer.adapted(self.operator(consumer.node, context, wires)?),
                Some(exchange) => {
                    let channels = wires.get_mut(exchange.output).and_then(Option::take).unwrap_or_default();
                    match &exchange.keyed {
                        Some(make) => make(&self.making(id, context), channels, exchange.target_max_parallelism)?,
                        None => {
                            let records = self.input_of(consumer.node);
                            consumer.adapted(records.writer(exchange.partitioner, channels, context))
                        }
                    }
                }
            });
        }
        Ok(self.nodes[id].records_of(port).join(ends))
    }

    /// What is pushed into a node.
    fn operator(&self, id: NodeId, context: &SubtaskContext, wires: &mut Wires) -> TaskResult<AnyPush> {
        let outputs = self.outputs_of(id, context, wires)?;
        match &self.nodes[id].work {
            Work::Operator { make, .. } => make(&self.making(id, context), outputs),
            Work::Source { .. } => unreachable!("a source has no input and begins a chain"),
        }
    }

    fn input_of(&self, id: NodeId) -> &Arc<dyn Records> {
        match &self.nodes[id].work {
            Work::Operator { records, .. } => records,
            Work::Source { .. } => unreachable!("a source has no input"),
        }
    }
}

impl Consumer {
    fn adapted(&self, push: AnyPush) -> AnyPush {
        match &self.adapt {
            Some(adapt) => adapt(push),
            None => push,
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
        let mut wires: Wires = outputs.into_iter().map(Some).collect();
        match (&self.nodes[self.head].work, gate) {
            (Work::Operator { records, .. }, Some(gate)) => {
                let head = self.operator(self.head, &context, &mut wires)?;
                Ok(records.receiving(context, &gate, head))
            }
            (Work::Source { make, .. }, _) => {
                let outputs = self.outputs_of(self.head, &context, &mut wires)?;
                make(&self.making(self.head, &context), outputs)
            }
            (Work::Operator { .. }, None) => unreachable!("`gate` gives every operator one"),
        }
    }
}
