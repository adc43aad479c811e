//! Why a job that fits into the cluster waits now.

use super::{ClusterFacts, Demand, NodeFacts, labelled, rounded};

/// Nodes that are named.
const NAMED_MAX: usize = 3;

/// Why not one TaskExecutor more can be started now: what it asks for, and what the nodes with the most memory left have free.
/// `None`: a node has room for it, and what is waited for is something else (a queue's limit, YARN's next heartbeat).
pub fn shortage(demand: &Demand, cluster: &ClusterFacts) -> Option<String> {
    let mut nodes = labelled(cluster, demand.executor_label.as_deref()).ok()?;
    let (mb, vcores) = (rounded(demand.executor_mb, cluster), demand.executor_vcores);
    let has_memory = |node: &&NodeFacts| free(node).0 >= mb;
    if nodes.iter().any(|node| has_memory(node) && free(node).1 >= vcores) {
        return None;
    }
    // Stock YARN counts memory alone, and its ResourceManager does not tell which calculator it was given.
    let only_cores = nodes.iter().any(has_memory);
    let (cores_count, told) = (cluster.schedules_vcores || only_cores, cluster.schedules_vcores);
    let amount = |mb: u64, vcores: u64| match cores_count {
        true => format!("{mb} MB and {vcores} virtual cores"),
        false => format!("{mb} MB"),
    };
    nodes.sort_by_key(|node| std::cmp::Reverse(free(node)));
    let of_node = |node: &&NodeFacts| {
        let (memory, cores) = free(node);
        format!("{} has {} of {}", node.id, amount(memory, cores), amount(node.memory_mb, node.vcores))
    };
    let mut named: Vec<String> = nodes.iter().take(NAMED_MAX).map(of_node).collect();
    if nodes.len() > NAMED_MAX {
        named.push(format!("others have less memory: {}", nodes.len() - NAMED_MAX));
    }
    let doubt = if only_cores && !told { "; that matters if the scheduler counts cores" } else { "" };
    Some(format!(
        "a TaskManager asks for {}, and no node has that free ({}){doubt}",
        amount(mb, vcores),
        named.join(", ")
    ))
}

fn free(node: &NodeFacts) -> (u64, u64) {
    (node.memory_mb.saturating_sub(node.used_memory_mb), node.vcores.saturating_sub(node.used_vcores))
}
