//! A checkpoint that is not complete yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_model::checkpoint::{
    Barrier, CheckpointId, CompletedCheckpoint, OperatorDescription, SnapshotKind, SourceProgress, SubtaskSnapshot,
    VertexSnapshot,
};
use flumen_model::ids::{SubtaskId, VertexId};
use flumen_model::job_graph::JobGraph;

use super::files::Needs;
use crate::event::{RequestId, Timestamp};

/// See the module.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) barrier: Barrier,
    pub(crate) deadline: Timestamp,
    pub(crate) stage: Stage,
    /// Who asked for it.
    pub(crate) request: Option<RequestId>,
    pub(crate) needs: Needs,
    /// Of every subtask; `None` until it has confirmed.
    snapshots: BTreeMap<SubtaskId, Option<Arc<SubtaskSnapshot>>>,
    missing: usize,
    sources: BTreeMap<VertexId, SourceProgress>,
}

/// How far a pending checkpoint is.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    /// Confirmations are missing.
    Acknowledging,
    /// The driver is writing its metadata.
    Storing(Arc<CompletedCheckpoint>),
    /// The driver is writing its metadata, but whatever comes of that, the job went on without it.
    GivenUp,
}

impl Pending {
    /// A checkpoint of all these subtasks, some of which have finished with a last snapshot.
    pub(crate) fn new(
        barrier: Barrier,
        deadline: Timestamp,
        request: Option<RequestId>,
        needs: Needs,
        snapshots: BTreeMap<SubtaskId, Option<Arc<SubtaskSnapshot>>>,
        sources: BTreeMap<VertexId, SourceProgress>,
    ) -> Self {
        let missing = snapshots.values().filter(|snapshot| snapshot.is_none()).count();
        Self { barrier, deadline, stage: Stage::Acknowledging, request, needs, snapshots, missing, sources }
    }

    pub(crate) fn id(&self) -> CheckpointId {
        self.barrier.checkpoint
    }

    pub(crate) fn kind(&self) -> SnapshotKind {
        self.barrier.kind
    }

    pub(crate) fn is_acknowledging(&self) -> bool {
        matches!(self.stage, Stage::Acknowledging)
    }

    /// Whether a subtask's confirmation is waited for.
    pub(crate) fn misses(&self, subtask: SubtaskId) -> bool {
        self.is_acknowledging() && self.snapshots.get(&subtask).is_some_and(Option::is_none)
    }

    /// Takes a confirmation in; true when it was the last.
    pub(crate) fn acknowledge(&mut self, subtask: SubtaskId, snapshot: SubtaskSnapshot) -> bool {
        if self.misses(subtask) {
            self.snapshots.insert(subtask, Some(Arc::new(snapshot)));
            self.missing -= 1;
        }
        self.missing == 0
    }

    /// All of it, once nothing is missing (CC-1).
    pub(crate) fn complete(&self, graph: &JobGraph, now: Timestamp) -> CompletedCheckpoint {
        assert_eq!(self.missing, 0, "CC-1: a checkpoint completes when every subtask has confirmed it");
        let vertices = graph.vertices.iter().map(|vertex| {
            let subtask = |index| SubtaskId { vertex: vertex.id, index };
            let snapshot = |index| {
                let snapshot = self.snapshots.get(&subtask(index)).and_then(Option::as_ref);
                snapshot.map(|snapshot| (**snapshot).clone()).unwrap_or_default()
            };
            let describe = |operator: &flumen_model::job_graph::OperatorInfo| OperatorDescription {
                id: operator.id,
                name: operator.name.clone(),
                uid: operator.uid.clone(),
                states: operator.states.clone(),
            };
            VertexSnapshot {
                vertex: vertex.id,
                name: vertex.name.clone(),
                parallelism: vertex.parallelism,
                max_parallelism: vertex.max_parallelism,
                operators: vertex.operators.iter().map(describe).collect(),
                subtasks: (0..vertex.parallelism).map(snapshot).collect(),
                source: self.sources.get(&vertex.id).cloned(),
            }
        });
        CompletedCheckpoint {
            life: None,
            id: self.id(),
            kind: self.kind(),
            triggered_ms: self.barrier.triggered_ms,
            completed_ms: now.0,
            directory: self.barrier.directory.clone(),
            vertices: vertices.collect(),
        }
    }
}
