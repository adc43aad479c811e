//! Whether the cluster could ever give what is asked for. Pure.
//!
//! YARN itself never says so: an ask that no node can meet stays pending for ever. What is told here must be certain, so a
//! cluster that is merely full at the moment counts as if it were empty.

use flumen_hadoop::yarn::Resource;

/// What the ResourceManager of YARN tells about the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// What each usable node has altogether, whether it is in use or not.
    pub nodes: Vec<Resource>,
    /// What the queue may use at most, when it is known.
    pub queue_limit: Option<Resource>,
    /// Whether the scheduler counts virtual cores at all (its default compares memory alone).
    pub counts_cores: bool,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// Of one container, as the scheduler rounds it.
    pub container: Resource,
    /// Containers that are needed altogether.
    pub containers: u32,
    /// The ApplicationMaster's own container, which takes its part of one node.
    pub appmaster: Resource,
    /// The queue, for the message.
    pub queue: String,
}

/// A reason why one container can't be given, whatever else the cluster does; `None`: it can.
pub fn one_container(container: &Resource, maximum: &Resource) -> Option<String> {
    (!container.fits_in(maximum)).then(|| {
        format!(
            "a TaskExecutor's container of {container} is larger than the largest that YARN gives ({maximum}): lower \
             taskmanager.memory.process.size, taskmanager.numberOfTaskSlots or yarn.containers.vcores, or have \
             yarn.scheduler.maximum-allocation-* and yarn.nodemanager.resource.* raised"
        )
    })
}

/// A reason why all the containers can't be there at the same time, even if the cluster were empty; `None`: they can.
pub fn all_containers(demand: &Demand, cluster: &Cluster) -> Option<String> {
    let fitting = containers_that_fit(demand, cluster);
    if fitting >= demand.containers {
        return None;
    }
    let total = sum(&cluster.nodes);
    let nodes = match cluster.nodes.len() {
        1 => "1 node".to_owned(),
        n => format!("{n} nodes"),
    };
    let limit = match &cluster.queue_limit {
        Some(limit) => format!(", of which queue `{}` may use {limit}", demand.queue),
        None => String::new(),
    };
    Some(format!(
        "the job needs {} containers of {}, but even an empty cluster holds {fitting} of them beside the ApplicationMaster \
         ({}). It has {nodes} with {total}{limit}; lower the parallelism, raise taskmanager.numberOfTaskSlots or lower \
         taskmanager.memory.process.size",
        demand.containers, demand.container, demand.appmaster,
    ))
}

/// How many such containers an empty cluster holds beside the ApplicationMaster. Never less than it really does.
fn containers_that_fit(demand: &Demand, cluster: &Cluster) -> u32 {
    let on_nodes = |taken: Option<usize>| -> u32 {
        let per_node = |(index, node): (usize, &Resource)| {
            let free = if taken == Some(index) { less(node, &demand.appmaster) } else { node.clone() };
            times(&demand.container, &free, cluster.counts_cores)
        };
        cluster.nodes.iter().enumerate().map(per_node).fold(0, u32::saturating_add)
    };
    // Which node the ApplicationMaster is on doesn't matter: take the best case, so that the answer is certain.
    let best = (0..cluster.nodes.len()).map(|node| on_nodes(Some(node))).max().unwrap_or(0);
    match &cluster.queue_limit {
        Some(limit) => best.min(times(&demand.container, &less(limit, &demand.appmaster), cluster.counts_cores)),
        None => best,
    }
}

/// How often `part` goes into `whole`.
fn times(part: &Resource, whole: &Resource, count_cores: bool) -> u32 {
    let memory = whole.memory_mb.checked_div(part.memory_mb).map_or(u32::MAX, |n| u32::try_from(n).unwrap_or(u32::MAX));
    let cores = whole.vcores.checked_div(part.vcores).unwrap_or(u32::MAX);
    if count_cores { memory.min(cores) } else { memory }
}

fn less(whole: &Resource, part: &Resource) -> Resource {
    Resource::new(whole.memory_mb.saturating_sub(part.memory_mb), whole.vcores.saturating_sub(part.vcores))
}

fn sum(nodes: &[Resource]) -> Resource {
    let mut total = Resource::default();
    for node in nodes {
        total.memory_mb = total.memory_mb.saturating_add(node.memory_mb);
        total.vcores = total.vcores.saturating_add(node.vcores);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(containers: u32, memory_mb: u64, vcores: u32) -> Demand {
        Demand {
            container: Resource::new(memory_mb, vcores),
            containers,
            appmaster: Resource::new(256, 1),
            queue: "root.default".into(),
        }
    }

    fn cluster(nodes: &[(u64, u32)], counts_cores: bool) -> Cluster {
        let nodes = nodes.iter().map(|(memory, cores)| Resource::new(*memory, *cores)).collect();
        Cluster { nodes, queue_limit: None, counts_cores }
    }

    #[test]
    fn a_container_above_the_maximum_is_told_with_what_would_fit() {
        let maximum = Resource::new(8192, 4);
        assert_eq!(one_container(&Resource::new(8192, 4), &maximum), None);
        for large in [Resource::new(8193, 1), Resource::new(1, 5)] {
            let text = one_container(&large, &maximum).unwrap();
            assert!(text.contains(&large.to_string()) && text.contains("8192 MB, 4 vcores"), "{text}");
        }
    }

    #[test]
    fn only_what_an_empty_cluster_could_not_hold_is_refused() {
        const ONE: &[(u64, u32)] = &[(8192, 8)];
        // containers, memory, vcores, nodes, cores count, fits
        type Row = (u32, u64, u32, &'static [(u64, u32)], bool, bool);
        let rows: [Row; 9] = [
            (7, 1024, 1, ONE, true, true),
            (8, 1024, 1, ONE, true, false), // the ApplicationMaster takes a part
            (8, 992, 1, ONE, false, true),
            (8, 992, 1, ONE, true, false), // cores
            (20, 256, 1, ONE, true, false),
            (20, 256, 1, ONE, false, true),
            (3, 5000, 1, &[(8192, 8), (8192, 8)], true, false), // memory of two nodes is not that of one
            (2, 8192, 1, &[(8192, 8), (8192, 8), (256, 1)], true, true), // the ApplicationMaster may be on the small one
            (1, 1, 1, &[], true, false),
        ];
        for (containers, memory, vcores, nodes, counts_cores, fits) in rows {
            let answer = all_containers(&demand(containers, memory, vcores), &cluster(nodes, counts_cores));
            assert_eq!(answer.is_none(), fits, "{containers} x {memory} MB, {vcores} on {nodes:?}: {answer:?}");
        }
    }

    #[test]
    fn the_limit_of_the_queue_counts_and_is_named() {
        let mut cluster = cluster(&[(8192, 8)], false);
        cluster.queue_limit = Some(Resource::new(2304, 8));
        assert_eq!(all_containers(&demand(2, 1024, 1), &cluster), None);
        let text = all_containers(&demand(3, 1024, 1), &cluster).unwrap();
        assert!(text.contains("holds 2 of them") && text.contains("queue `root.default` may use 2304 MB"), "{text}");
    }
}
