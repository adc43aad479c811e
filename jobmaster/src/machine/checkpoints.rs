//! Joins the CheckpointCoordinator with the rest: tells it what happens, and carries out what it decides.

use std::collections::{BTreeMap, BTreeSet};

use flumen_model::checkpoint::{Barrier, CheckpointId, JobLife, SnapshotTimes, SubtaskSnapshot};
use flumen_model::failure::Failure;
use flumen_model::ids::{ExecutionAttempt, ExecutorId, SubtaskId, VertexId};
use flumen_model::job_graph::Partitioner;
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::control::{RegionId, ToWorker};

use super::JobMaster;
use super::worker::on;
use crate::checkpoint::coordinator::Effect;
use crate::event::{Action, SnapshotRequest};
use crate::state::Phase;

impl JobMaster {
    /// Does what is due: at the end of every step.
    pub(super) fn take_checkpoints(&mut self) {
        if self.phase == Phase::Over {
            return;
        }
        self.apply();
        self.coordinator.set_ready(self.all_run(), self.now);
        self.coordinator.expire(self.now);
        self.apply();
        while let Some(plan) = self.coordinator.due(self.now).filter(|_| self.all_run()) {
            let id = self.coordinator.next();
            let sources = self.splits.trigger(id);
            if let Some(barrier) = self.coordinator.begin(plan, &self.graph, sources, self.now) {
                self.trigger(&barrier);
            }
        }
        self.apply();
    }

    /// Whether every subtask runs or has finished, and some run (CC-7).
    fn all_run(&self) -> bool {
        self.phase == Phase::Living
            && self.status == JobStatus::Running
            && self.regions.iter().all(|region| region.held.is_none())
    }

    /// A user wants a snapshot.
    pub(super) fn snapshot_wanted(&mut self, request: SnapshotRequest) {
        self.coordinator.set_ready(self.all_run(), self.now);
        self.coordinator.want(request);
    }

    pub(super) fn checkpoint_stored(&mut self, checkpoint: CheckpointId, result: Result<(), Failure>) {
        self.coordinator.stored(checkpoint, result, self.now);
        let (restorable, pending) = self.coordinator.restorable();
        self.splits.keep(&restorable, &pending);
        self.apply();
    }

    pub(super) fn checkpoint_acknowledged(
        &mut self,
        current: bool,
        subtask: SubtaskId,
        checkpoint: CheckpointId,
        snapshot: SubtaskSnapshot,
        times: SnapshotTimes,
    ) {
        let context = (&self.graph, self.now);
        self.coordinator.acknowledge(current, subtask, checkpoint, (snapshot, times), context);
        self.apply();
    }

    pub(super) fn checkpoint_declined(
        &mut self,
        executor: &ExecutorId,
        subtask: SubtaskId,
        checkpoint: CheckpointId,
        failure: Failure,
    ) {
        let failure = match failure.subtask {
            Some(_) => failure,
            None => Failure { subtask: self.execution.describe(subtask), ..failure },
        };
        self.coordinator.decline(subtask, checkpoint, on(failure, executor), self.now);
        self.apply();
    }

    /// Some regions have failed, or will be: nothing that is under way completes. True when all others have to be
    /// restarted, too.
    pub(super) fn coordinator_interrupted(&mut self, restarted: &[RegionId], reason: &str) -> bool {
        let ending = self.phase != Phase::Living;
        let all = self.coordinator.interrupted(ending || !restarted.is_empty(), reason, self.now);
        self.apply();
        all
    }

    /// The job has ended: the last words of its checkpoints.
    pub(super) fn checkpoints_over(&mut self, status: JobStatus) {
        self.coordinator.over(status, self.now);
        self.apply();
    }

    /// Carries out what the coordinator has decided.
    pub(super) fn apply(&mut self) {
        while let Some(effect) = self.coordinator.effect() {
            match effect {
                Effect::Act(Action::StoreCheckpoint(mut checkpoint)) => {
                    checkpoint.life = Some(Box::new(self.life()));
                    self.actions.push(Action::StoreCheckpoint(checkpoint));
                }
                Effect::Act(action) => self.actions.push(action),
                Effect::Completed(checkpoint) => {
                    self.tell_running(|_| true, |attempt, _| ToWorker::CheckpointCompleted { attempt, checkpoint });
                }
                Effect::Aborted(checkpoint) => {
                    self.tell_running(|_| true, |attempt, _| ToWorker::CheckpointAborted { attempt, checkpoint });
                }
                Effect::Drain => {
                    let sources: Vec<VertexId> =
                        self.graph.vertices.iter().filter(|v| v.source.is_some()).map(|v| v.id).collect();
                    self.tell_running(
                        |id| sources.contains(&id.vertex),
                        |attempt, subtasks| ToWorker::Drain { attempt, subtasks },
                    );
                }
                Effect::Fail(failure) => self.fail_all(failure),
            }
        }
    }

    /// What the next JobMaster finds of this one's in the checkpoint.
    fn life(&self) -> JobLife {
        let mut life = JobLife { start_ms: self.start.0, ..JobLife::default() };
        self.failover.note(&mut life);
        self.coordinator.note(&mut life);
        life
    }

    /// Tells those that begin a checkpoint: sources, and subtasks whose inputs have all finished.
    fn trigger(&mut self, barrier: &Barrier) {
        let finished = |id: SubtaskId| self.execution.get(id).is_none_or(|s| s.state == ExecutionState::Finished);
        let mut all_finished: BTreeMap<VertexId, bool> = BTreeMap::new();
        for (id, subtask) in self.execution.iter() {
            *all_finished.entry(id.vertex).or_insert(true) &= subtask.state == ExecutionState::Finished;
        }
        let begins = |id: SubtaskId| {
            self.graph.inputs(id.vertex).all(|edge| match edge.partitioner {
                Partitioner::Forward => finished(SubtaskId { vertex: edge.source, index: id.index }),
                Partitioner::Hash | Partitioner::Rebalance | Partitioner::Shuffle | Partitioner::Broadcast => {
                    all_finished.get(&edge.source).copied().unwrap_or(true)
                }
            })
        };
        let beginners: BTreeSet<SubtaskId> = self.execution.iter().map(|(id, _)| id).filter(|id| begins(*id)).collect();
        let barrier = barrier.clone();
        self.tell_running(
            |id| beginners.contains(&id),
            move |attempt, subtasks| ToWorker::TriggerCheckpoint { attempt, subtasks, barrier: barrier.clone() },
        );
    }

    /// Sends one message to each worker and execution that has running subtasks among the wanted.
    pub(super) fn tell_running(
        &mut self,
        wanted: impl Fn(SubtaskId) -> bool,
        message: impl Fn(ExecutionAttempt, Vec<SubtaskId>) -> ToWorker,
    ) {
        let mut receivers: BTreeMap<(ExecutorId, ExecutionAttempt), Vec<SubtaskId>> = BTreeMap::new();
        for (id, subtask) in self.execution.iter() {
            let executor = subtask.executor().filter(|_| subtask.state == ExecutionState::Running && wanted(id));
            if let Some(executor) = executor {
                receivers.entry((executor.clone(), subtask.attempt)).or_default().push(id);
            }
        }
        for ((executor, attempt), subtasks) in receivers {
            self.tell(&executor, message(attempt, subtasks));
        }
    }
}
