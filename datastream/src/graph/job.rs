//! From nodes to the JobGraph: parallelism, chains, ids, edges.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::ids::{OperatorId, VertexId};
use flumen_model::job_graph::{JobEdge, JobGraph, JobVertex, OperatorInfo, Partitioner, RuntimeMode, SourceInfo};
use flumen_model::key_group::{MAX_PARALLELISM_BOUND, default_max_parallelism};
use flumen_model::options::execution;
use flumen_worker::deployment::{Program, VertexFactory};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::{Error, Result};
use crate::graph::chain::{Chain, Consumer};
use crate::graph::node::{Chaining, Node, NodeId, Partition, Work};

/// What of the configuration and the environment decides about the graph.
pub(crate) struct GraphSettings {
    pub(crate) parallelism: u32,
    max_parallelism: Option<u32>,
    chaining: bool,
    mode: String,
}

impl GraphSettings {
    /// `parallelism` and `mode` are what the program set itself; they win.
    pub(crate) fn read(
        configuration: &Configuration,
        parallelism: Option<u32>,
        mode: Option<RuntimeMode>,
    ) -> Result<Self, BadConfiguration> {
        Ok(Self {
            parallelism: match parallelism {
                Some(parallelism) => parallelism,
                None => configuration.get(&execution::PARALLELISM)?,
            },
            max_parallelism: configuration.find(&execution::MAX_PARALLELISM)?,
            chaining: configuration.get(&execution::OPERATOR_CHAINING)?,
            mode: match mode {
                Some(RuntimeMode::Batch) => "BATCH".to_owned(),
                Some(RuntimeMode::Streaming) => "STREAMING".to_owned(),
                None => configuration.get(&execution::RUNTIME_MODE)?,
            },
        })
    }
}

fn bad(text: impl Into<String>) -> Error {
    Error::Program(text.into())
}

fn runtime_mode(wanted: &str, nodes: &[Node]) -> Result<RuntimeMode> {
    let unbounded = nodes.iter().find(|node| matches!(node.work, Work::Source { bounded: false, .. }));
    match (wanted.to_ascii_uppercase().as_str(), unbounded) {
        ("STREAMING", _) | ("AUTOMATIC", Some(_)) => Ok(RuntimeMode::Streaming),
        ("BATCH" | "AUTOMATIC", None) => Ok(RuntimeMode::Batch),
        ("BATCH", Some(source)) => Err(bad(format!(
            "`{}` never ends, and execution.runtime-mode is BATCH: set it to STREAMING or AUTOMATIC",
            source.name
        ))),
        _ => Err(bad(format!("execution.runtime-mode is `{wanted}`; STREAMING, BATCH and AUTOMATIC are allowed"))),
    }
}

/// A node with everything decided.
struct Resolved {
    parallelism: u32,
    max_parallelism: u32,
    id: u128,
    /// The node that its chain begins with.
    head: NodeId,
}

/// Makes the graph and what runs it.
pub(crate) fn build(name: &str, nodes: Vec<Node>, settings: &GraphSettings) -> Result<Program> {
    if nodes.is_empty() {
        return Err(bad("it has no operators: add a source before `execute`"));
    }
    let mode = runtime_mode(&settings.mode, &nodes)?;
    let resolved = resolve(&nodes, settings)?;
    let mut consumers: HashMap<NodeId, Vec<Consumer>> = HashMap::new();
    let mut edges = Vec::new();
    let mut outputs: HashMap<NodeId, u32> = HashMap::new();
    // In the order of the sending node, so that a vertex's edges stand in the order of its outputs.
    for sender in 0..nodes.len() {
        for (id, node) in nodes.iter().enumerate() {
            for input in node.inputs.iter().filter(|input| input.node == sender) {
                if resolved[id].head != id {
                    consumers.entry(sender).or_default().push(Consumer::Chained(id));
                    continue;
                }
                let partitioner = partitioner(&nodes, &resolved, input.node, id, &input.partition)?;
                let number = outputs.entry(resolved[sender].head).or_default();
                edges.push((resolved[sender].head, id, partitioner, *number));
                consumers.entry(sender).or_default().push(Consumer::Exchange {
                    output: *number as usize,
                    partitioner,
                    keyed: match &input.partition {
                        Partition::Keyed(make) => Some(Arc::clone(make)),
                        Partition::Default | Partition::Explicit(_) => None,
                    },
                    target_max_parallelism: resolved[id].max_parallelism,
                });
                *number += 1;
            }
        }
    }
    edges.sort_by_key(|(head, _, _, number)| (*head, *number));

    let vertex_id = |head: NodeId| VertexId(resolved[head].id);
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
            let head = vertex_id(resolved_node.head);
            if let Some(vertex) = vertices.iter_mut().find(|v| v.id == head) {
                vertex.name = format!("{} -> {}", vertex.name, node.name);
                vertex.operators.push(info);
            }
            continue;
        }
        vertices.push(JobVertex {
            id: vertex_id(id),
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
    let graph = JobGraph {
        name: name.to_owned(),
        mode,
        vertices,
        edges: edges
            .iter()
            .map(|(source, target, partitioner, output)| JobEdge {
                source: vertex_id(*source),
                target: vertex_id(*target),
                partitioner: *partitioner,
                output: *output,
            })
            .collect(),
        outputs: nodes.iter().filter_map(|node| node.creates.clone()).collect(),
        properties: BTreeMap::new(),
    };
    let (nodes, consumers) = (Arc::new(nodes), Arc::new(consumers));
    let operators: Arc<Vec<OperatorId>> = Arc::new(resolved.iter().map(|node| OperatorId(node.id)).collect());
    let chain = |head: NodeId| -> Arc<dyn VertexFactory> {
        let (nodes, consumers, operators) = (Arc::clone(&nodes), Arc::clone(&consumers), Arc::clone(&operators));
        Arc::new(Chain { nodes, consumers, operators, head, mode })
    };
    let heads = (0..nodes.len()).filter(|id| resolved[*id].head == *id);
    let vertices = heads.map(|head| (vertex_id(head), chain(head))).collect();
    Ok(Program { graph, vertices })
}

fn resolve(nodes: &[Node], settings: &GraphSettings) -> Result<Vec<Resolved>> {
    let mut resolved: Vec<Resolved> = Vec::with_capacity(nodes.len());
    let mut uids = BTreeMap::new();
    for (id, node) in nodes.iter().enumerate() {
        let parallelism = if node.single { 1 } else { node.parallelism.unwrap_or(settings.parallelism) };
        if node.single && node.parallelism.is_some_and(|p| p > 1) {
            return Err(bad(format!("`{}` can't run in parallel: its parallelism must be 1", node.name)));
        }
        if parallelism == 0 || parallelism > MAX_PARALLELISM_BOUND {
            let range = format!("1 to {MAX_PARALLELISM_BOUND}");
            return Err(bad(format!("the parallelism of `{}` is {parallelism}; {range} is allowed", node.name)));
        }
        let max = node.max_parallelism.or(settings.max_parallelism);
        let max_parallelism = max.unwrap_or_else(|| default_max_parallelism(parallelism));
        if max_parallelism < parallelism || max_parallelism > MAX_PARALLELISM_BOUND {
            return Err(bad(format!(
                "the parallelism of `{}` is {parallelism} and its maximum parallelism {max_parallelism}; it must lie between the parallelism and {MAX_PARALLELISM_BOUND}",
                node.name
            )));
        }
        if let Some(uid) = &node.uid
            && let Some(other) = uids.insert(uid.clone(), &node.name)
        {
            return Err(bad(format!("`{other}` and `{}` have the same uid `{uid}`", node.name)));
        }
        let head = match node.inputs.as_slice() {
            [input]
                if chained(&nodes[input.node], node, &input.partition, settings)
                    && resolved[input.node].parallelism == parallelism =>
            {
                resolved[input.node].head
            }
            _ => id,
        };
        resolved.push(Resolved { parallelism, max_parallelism, id: node_id(id, node, &resolved), head });
    }
    Ok(resolved)
}

/// Whether the program and the configuration allow two operators to share a thread.
fn chained(before: &Node, node: &Node, partition: &Partition, settings: &GraphSettings) -> bool {
    let forward = matches!(partition, Partition::Default | Partition::Explicit(Partitioner::Forward));
    settings.chaining && forward && node.chaining == Chaining::Always && before.chaining != Chaining::Never
}

/// The same in every process that runs the same program: from the uid, or from the place in the program.
fn node_id(id: NodeId, node: &Node, before: &[Resolved]) -> u128 {
    let text = match &node.uid {
        Some(uid) => format!("uid {uid}"),
        None => {
            let inputs: Vec<String> = node.inputs.iter().map(|i| format!("{:032x}", before[i.node].id)).collect();
            format!("node {id} {}", inputs.join(" "))
        }
    };
    xxh3_128(text.as_bytes())
}

fn partitioner(
    nodes: &[Node],
    resolved: &[Resolved],
    from: NodeId,
    to: NodeId,
    partition: &Partition,
) -> Result<Partitioner> {
    let (sender, receiver) = (resolved[from].parallelism, resolved[to].parallelism);
    match partition {
        Partition::Keyed(_) => Ok(Partitioner::Hash),
        Partition::Explicit(Partitioner::Forward) if sender != receiver => Err(bad(format!(
            "`forward` needs the same parallelism on both sides, but `{}` has {sender} and `{}` has {receiver}",
            nodes[from].name, nodes[to].name
        ))),
        Partition::Explicit(partitioner) => Ok(*partitioner),
        Partition::Default if sender == receiver => Ok(Partitioner::Forward),
        Partition::Default => Ok(Partitioner::Rebalance),
    }
}
