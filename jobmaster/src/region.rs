//! The regions of a job: parts that no exchange connects with each other.

use std::collections::BTreeMap;

use flumen_model::failure::Failure;
use flumen_model::ids::{ExecutionAttempt, ExecutorId, SubtaskId, VertexId};
use flumen_model::job_graph::JobGraph;
use flumen_wire::control::RegionId;

use crate::event::Timestamp;
use crate::state::RegionPhase;

/// One region and its current execution.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) id: RegionId,
    /// Its subtasks, in the order of the graph.
    pub(crate) members: Vec<SubtaskId>,
    pub(crate) attempt: ExecutionAttempt,
    pub(crate) phase: RegionPhase,
    /// The workers that this execution was deployed to; their positions are the indices by which they know each other.
    pub(crate) deployed: Vec<DeployedTo>,
    /// A failure that only says that a connection broke, held back for its cause.
    pub(crate) held: Option<Held>,
    /// A worker that was lost after all its subtasks had ended: no failure in itself, but the cause of broken
    /// connections.
    pub(crate) departed: Option<Failure>,
    /// True when it is stopped because of a broken connection whose cause is not known.
    pub(crate) unexplained: bool,
}

/// A worker that takes part in an execution.
#[derive(Debug, Clone)]
pub(crate) struct DeployedTo {
    pub(crate) executor: ExecutorId,
    pub(crate) instance: u32,
    /// Whether it said that it waits for the start.
    pub(crate) confirmed: bool,
}

/// A failure that waits for its cause.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) failure: Failure,
    pub(crate) until: Timestamp,
}

impl Region {
    /// The slots that its subtasks need, each once, ascending: subtask `k` of a vertex runs in slot `k`.
    pub(crate) fn slots(&self) -> Vec<usize> {
        let mut slots: Vec<usize> = self.members.iter().map(|id| id.index as usize).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

/// Divides a job: into the parts that exchange records, or, if `regional` is false, not at all.
pub(crate) fn regions(graph: &JobGraph, regional: bool, phase: RegionPhase) -> Vec<Region> {
    let ids: Vec<SubtaskId> = graph
        .vertices
        .iter()
        .flat_map(|vertex| (0..vertex.parallelism).map(|index| SubtaskId { vertex: vertex.id, index }))
        .collect();
    let mut parts = Parts::new(ids.len());
    let mut first: BTreeMap<VertexId, (usize, u32)> = BTreeMap::new();
    let mut next = 0;
    for vertex in &graph.vertices {
        first.insert(vertex.id, (next, vertex.parallelism));
        next += vertex.parallelism as usize;
    }
    if regional {
        for edge in &graph.edges {
            let (Some(&(source, senders)), Some(&(target, receivers))) =
                (first.get(&edge.source), first.get(&edge.target))
            else {
                continue;
            };
            for sender in 0..senders {
                for receiver in edge.partitioner.targets(sender, receivers).filter(|r| *r < receivers) {
                    parts.join(source + sender as usize, target + receiver as usize);
                }
            }
        }
    } else {
        (1..ids.len()).for_each(|other| parts.join(0, other));
    }
    let mut regions: Vec<Region> = Vec::new();
    let mut region_of: BTreeMap<usize, usize> = BTreeMap::new();
    for (position, id) in ids.into_iter().enumerate() {
        let region = *region_of.entry(parts.root(position)).or_insert_with(|| {
            regions.push(Region {
                id: regions.len() as RegionId,
                members: Vec::new(),
                attempt: ExecutionAttempt(0),
                phase,
                deployed: Vec::new(),
                held: None,
                departed: None,
                unexplained: false,
            });
            regions.len() - 1
        });
        regions[region].members.push(id);
    }
    regions
}

/// Disjoint sets of positions.
struct Parts(Vec<usize>);

impl Parts {
    fn new(length: usize) -> Self {
        Self((0..length).collect())
    }

    fn root(&mut self, of: usize) -> usize {
        let mut at = of;
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    /// The smaller root stays one, so that regions are numbered in the order of the graph.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_model::job_graph::{JobEdge, JobVertex, Partitioner, RuntimeMode};

    fn graph(parallelism: &[u32], edges: &[(u128, u128, Partitioner)]) -> JobGraph {
        JobGraph {
            name: "j".into(),
            mode: RuntimeMode::Streaming,
            vertices: (0..)
                .zip(parallelism)
                .map(|(id, parallelism)| JobVertex {
                    id: VertexId(id),
                    name: "v".into(),
                    operators: vec![],
                    parallelism: *parallelism,
                    max_parallelism: 128,
                    source: None,
                })
                .collect(),
            edges: edges
                .iter()
                .map(|(source, target, partitioner)| JobEdge {
                    source: VertexId(*source),
                    target: VertexId(*target),
                    partitioner: *partitioner,
                    output: 0,
                })
                .collect(),
            outputs: vec![],
            properties: Default::default(),
        }
    }

    fn shape(graph: &JobGraph, regional: bool) -> Vec<String> {
        let regions = regions(graph, regional, RegionPhase::Running);
        let member = |id: &SubtaskId| format!("{}.{}", id.vertex.0, id.index);
        regions.iter().map(|r| r.members.iter().map(member).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn forward_edges_leave_subtasks_apart_and_all_others_join_them() {
        use Partitioner::{Broadcast, Forward, Hash, Rebalance, Shuffle};
        let pipelines = graph(&[2, 2], &[(0, 1, Forward)]);
        assert_eq!(shape(&pipelines, true), ["0.0 1.0", "0.1 1.1"]);
        assert_eq!(shape(&pipelines, false), ["0.0 0.1 1.0 1.1"]);
        for exchange in [Hash, Rebalance, Shuffle, Broadcast] {
            assert_eq!(shape(&graph(&[2, 1], &[(0, 1, exchange)]), true), ["0.0 0.1 1.0"]);
        }
        let two_jobs_in_one = graph(&[1, 2, 2, 2], &[(0, 1, Hash), (2, 3, Forward)]);
        assert_eq!(shape(&two_jobs_in_one, true), ["0.0 1.0 1.1", "2.0 3.0", "2.1 3.1"]);
        let diamond = graph(&[2, 2, 2, 1], &[(0, 1, Forward), (0, 2, Forward), (1, 3, Hash), (2, 3, Hash)]);
        assert_eq!(shape(&diamond, true).len(), 1);
        assert!(shape(&graph(&[], &[]), true).is_empty());
    }
}
