//! From nodes to the JobGraph and to what runs it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use flumen_model::ids::{OperatorId, VertexId};
use flumen_model::job_graph::{JobEdge, JobGraph, JobVertex, OperatorInfo, Partitioner, RuntimeMode, SourceInfo};
use flumen_worker::deployment::{Program, VertexFactory};

use crate::error::{Error, Result};
use crate::graph::chain::{Chain, Consumer, Exchange};
use crate::graph::node::{Keeps, Node, NodeId, Partition, Port, Work};
use crate::graph::resolve::{Resolved, partitioner, resolve};
use crate::graph::settings::GraphSettings;

/// An edge by the nodes that its vertices begin with, and the number of the source vertex's output.
struct Edge {
    source: NodeId,
    target: NodeId,
    partitioner: Partitioner,
    output: u32,
}

type Consumers = HashMap<(NodeId, Port), Vec<Consumer>>;

/// What became of a program.
pub(crate) struct Built {
    pub(crate) program: Program,
    /// Names of the operators with state whose ids follow from their place in the program.
    pub(crate) without_uid: Vec<String>,
    pub(crate) nodes: Arc<Vec<Node>>,
    /// By node.
    pub(crate) operators: Arc<Vec<OperatorId>>,
}

/// Makes the graph and what runs it.
pub(crate) fn build(name: &str, nodes: Vec<Node>, settings: &GraphSettings) -> Result<Built> {
    if nodes.is_empty() {
        return Err(Error::Program("it has no operators: add a source before `execute`".to_owned()));
    }
    let mode = settings.runtime_mode(&nodes)?;
    let resolved = resolve(&nodes, settings)?;
    let (edges, consumers) = connect(&nodes, &resolved)?;
    let vertex_id = |head: NodeId| VertexId(resolved[head].id);
    // With checkpoints, sinks commit what they have written by themselves.
    let by_job = !(settings.periodic_checkpoints && mode == RuntimeMode::Streaming);
    let graph = JobGraph {
        name: name.to_owned(),
        mode,
        vertices: vertices(&nodes, &resolved),
        edges: edges
            .iter()
            .map(|edge| JobEdge {
                source: vertex_id(edge.source),
                target: vertex_id(edge.target),
                partitioner: edge.partitioner,
                output: edge.output,
            })
            .collect(),
        outputs: nodes.iter().filter(|_| by_job).filter_map(|node| node.creates.clone()).collect(),
        properties: settings.properties.clone(),
    };
    let without_uid = nodes.iter().filter(|node| node.uid.is_none() && node.keeps_state()).map(|n| n.name.clone());
    let without_uid = without_uid.collect();
    let (nodes, consumers) = (Arc::new(nodes), Arc::new(consumers));
    let operators: Arc<Vec<OperatorId>> = Arc::new(resolved.iter().map(|node| OperatorId(node.id)).collect());
    let chain = |head: NodeId| -> Arc<dyn VertexFactory> {
        let (nodes, consumers, operators) = (Arc::clone(&nodes), Arc::clone(&consumers), Arc::clone(&operators));
        Arc::new(Chain { nodes, consumers, operators, head, mode })
    };
    let heads = (0..nodes.len()).filter(|id| resolved[*id].head == *id);
    let vertices = heads.map(|head| (vertex_id(head), chain(head))).collect();
    Ok(Built {
        program: Program { graph, vertices },
        without_uid,
        nodes: Arc::clone(&nodes),
        operators: Arc::clone(&operators),
    })
}

fn connect(nodes: &[Node], resolved: &[Resolved]) -> Result<(Vec<Edge>, Consumers)> {
    let mut consumers = Consumers::new();
    let mut edges = Vec::new();
    let mut outputs: HashMap<NodeId, u32> = HashMap::new();
    // In the order of the sending node, so that a vertex's edges stand in the order of its outputs.
    for sender in 0..nodes.len() {
        for (id, node) in nodes.iter().enumerate() {
            for input in node.inputs.iter().filter(|input| input.node == sender) {
                let exchange = if resolved[id].head != id {
                    None
                } else {
                    let partitioner = partitioner(nodes, resolved, sender, id, &input.partition)?;
                    let source = resolved[sender].head;
                    let number = outputs.entry(source).or_default();
                    edges.push(Edge { source, target: id, partitioner, output: *number });
                    *number += 1;
                    Some(Exchange {
                        output: *number as usize - 1,
                        partitioner,
                        keyed: match &input.partition {
                            Partition::Keyed(make) => Some(Arc::clone(make)),
                            Partition::Default | Partition::Explicit(_) => None,
                        },
                        target_max_parallelism: resolved[id].max_parallelism,
                    })
                };
                let consumer = Consumer { node: id, adapt: input.adapt.clone(), exchange };
                consumers.entry((sender, input.port)).or_default().push(consumer);
            }
        }
    }
    edges.sort_by_key(|edge| (edge.source, edge.output));
    Ok((edges, consumers))
}

fn vertices(nodes: &[Node], resolved: &[Resolved]) -> Vec<JobVertex> {
    let mut vertices: Vec<JobVertex> = Vec::new();
    for (id, node) in nodes.iter().enumerate() {
        let resolved_node = &resolved[id];
        let info = OperatorInfo {
            id: OperatorId(resolved_node.id),
            name: node.name.clone(),
            uid: node.uid.clone(),
            states: BTreeMap::new(),
        };
        if resolved_node.head != id {
            let head = VertexId(resolved[resolved_node.head].id);
            if let Some(vertex) = vertices.iter_mut().find(|v| v.id == head) {
                vertex.name = format!("{} -> {}", vertex.name, node.name);
                vertex.operators.push(info);
            }
            continue;
        }
        vertices.push(JobVertex {
            id: VertexId(resolved_node.id),
            name: node.name.clone(),
            operators: vec![info],
            parallelism: resolved_node.parallelism,
            max_parallelism: resolved_node.max_parallelism,
            source: match &node.work {
                Work::Source { bounded, splits, .. } => Some(SourceInfo { bounded: *bounded, splits: splits.clone() }),
                Work::Operator { .. } => None,
            },
        });
    }
    vertices
}

impl Node {
    /// Whether a snapshot holds something of it. A source's position is state, too.
    fn keeps_state(&self) -> bool {
        match self.keeps {
            Keeps::State | Keeps::List(..) | Keeps::OperatorState | Keeps::KeyedState => true,
            Keeps::Nothing | Keeps::MaybeOperatorState | Keeps::Watermarks => false,
        }
    }
}
