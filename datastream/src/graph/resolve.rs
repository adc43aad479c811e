//! What is decided for each operator: parallelism, key groups, id, and the chain that it belongs to.

use std::collections::BTreeMap;

use flumen_model::ids::OperatorId;
use flumen_model::job_graph::Partitioner;
use flumen_model::key_group::{MAX_PARALLELISM_BOUND, default_max_parallelism};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::{Error, Result};
use crate::graph::node::{Chaining, Input, MAIN, Node, NodeId, Partition};
use crate::graph::settings::GraphSettings;

/// A node with everything decided.
pub(crate) struct Resolved {
    pub(crate) parallelism: u32,
    pub(crate) max_parallelism: u32,
    pub(crate) id: u128,
    /// The node that its chain begins with.
    pub(crate) head: NodeId,
}

fn bad(text: impl Into<String>) -> Error {
    Error::Program(text.into())
}

/// Decides for all nodes, which stand behind those that they take records from.
pub(crate) fn resolve(nodes: &[Node], settings: &GraphSettings) -> Result<Vec<Resolved>> {
    let mut resolved: Vec<Resolved> = Vec::with_capacity(nodes.len());
    let mut uids = BTreeMap::new();
    for (id, node) in nodes.iter().enumerate() {
        if let Some(uid) = &node.uid
            && let Some(other) = uids.insert(uid.clone(), &node.name)
        {
            return Err(bad(format!("`{other}` and `{}` have the same uid `{uid}`", node.name)));
        }
        let operator = node_id(id, node, &resolved);
        let parallelism = parallelism(node, settings)?;
        let max_parallelism = max_parallelism(node, parallelism, OperatorId(operator), settings)?;
        let head = match node.inputs.as_slice() {
            [input]
                if chained(&nodes[input.node], node, &input.partition, settings)
                    && resolved[input.node].parallelism == parallelism =>
            {
                resolved[input.node].head
            }
            _ => id,
        };
        resolved.push(Resolved { parallelism, max_parallelism, id: operator, head });
    }
    Ok(resolved)
}

fn parallelism(node: &Node, settings: &GraphSettings) -> Result<u32> {
    if node.single && node.parallelism.is_some_and(|p| p > 1) {
        return Err(bad(format!("`{}` can't run in parallel: its parallelism must be 1", node.name)));
    }
    let parallelism = if node.single { 1 } else { node.parallelism.unwrap_or(settings.parallelism) };
    if parallelism == 0 || parallelism > MAX_PARALLELISM_BOUND {
        let range = format!("1 to {MAX_PARALLELISM_BOUND}");
        return Err(bad(format!("the parallelism of `{}` is {parallelism}; {range} is allowed", node.name)));
    }
    Ok(parallelism)
}

fn max_parallelism(node: &Node, parallelism: u32, id: OperatorId, settings: &GraphSettings) -> Result<u32> {
    let former = settings.former.max_parallelism(id);
    let max = match (node.max_parallelism.or(settings.max_parallelism), former) {
        // That it differs from the snapshot's is said by the check against the snapshot.
        (Some(max), _) => max,
        (None, Some(former)) if former < parallelism => {
            return Err(bad(format!(
                "the parallelism of `{}` is {parallelism}, and the snapshot that the job starts from has its state in {former} parts (the maximum parallelism): lower the parallelism to at most {former}",
                node.name
            )));
        }
        (None, Some(former)) => former,
        (None, None) => default_max_parallelism(parallelism),
    };
    if max < parallelism || max > MAX_PARALLELISM_BOUND {
        return Err(bad(format!(
            "the parallelism of `{}` is {parallelism} and its maximum parallelism {max}; it must lie between the parallelism and {MAX_PARALLELISM_BOUND}",
            node.name
        )));
    }
    Ok(max)
}

/// Whether the program and the configuration allow two operators to share a thread.
fn chained(before: &Node, node: &Node, partition: &Partition, settings: &GraphSettings) -> bool {
    let forward = matches!(partition, Partition::Default | Partition::Explicit(Partitioner::Forward));
    settings.chaining && forward && node.chaining == Chaining::Always && before.chaining != Chaining::Never
}

/// The same in every process that runs the same program: from the uid, or from the place in the program and the operators
/// that it takes records from.
fn node_id(id: NodeId, node: &Node, before: &[Resolved]) -> u128 {
    let text = match &node.uid {
        Some(uid) => format!("uid {uid}"),
        None => {
            let input = |input: &Input| {
                let port = if input.port == MAIN { String::new() } else { format!(".{}", input.port) };
                format!("{:032x}{port}{}", before[input.node].id, partition_mark(&input.partition))
            };
            let inputs: Vec<String> = node.inputs.iter().map(input).collect();
            format!("node {id} {}", inputs.join(" "))
        }
    };
    xxh3_128(text.as_bytes())
}

fn partition_mark(partition: &Partition) -> &'static str {
    match partition {
        Partition::Keyed(_) => "#",
        Partition::Default | Partition::Explicit(_) => "",
    }
}

/// How the records of an edge are distributed.
///
/// # Errors
/// `forward` between operators of different parallelism.
pub(crate) fn partitioner(
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
