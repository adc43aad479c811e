//! What workers say. The caller has made sure that it is the living worker of that executor.

use flumen_model::checkpoint::CheckpointId;
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutionAttempt, ExecutorId, SubtaskId};
use flumen_model::status::ExecutionState;
use flumen_wire::control::{FromWorker, RegionId, SubtaskIo, ToWorker};

use super::JobMaster;
use crate::alignment::Announcement;
use crate::event::Action;
use crate::execution_graph::Execution;
use crate::state::{Phase, RegionPhase};

/// A subtask's report of its new state.
struct StateReport {
    attempt: ExecutionAttempt,
    subtask: SubtaskId,
    state: ExecutionState,
    failure: Option<Failure>,
    io: SubtaskIo,
}

impl JobMaster {
    pub(super) fn worker_says(&mut self, executor: &ExecutorId, message: FromWorker) {
        // Whatever belongs to an attempt is compared with the current one before anything else (JM-5): the execution of a
        // subtask is found only under its own attempt.
        match message {
            FromWorker::Ready { address, pid } => {
                tracing::debug!(job = %self.job, %executor, pid, "worker is ready");
                if let Some(worker) = self.executors.worker_mut(executor) {
                    worker.address.get_or_insert(address);
                }
                for id in 0..self.regions.len() as RegionId {
                    if matches!(self.region(id).map(|r| r.phase), Some(RegionPhase::StartingWorkers { .. })) {
                        self.deploy_when_ready(id);
                    }
                }
            }
            FromWorker::Refused(failure) => {
                self.stop_worker(executor);
                self.worker_gone(executor, failure);
            }
            FromWorker::Deployed { region: id, attempt } => {
                let Some(region) = self.region_mut(id).filter(|region| region.attempt == attempt) else { return };
                if !matches!(region.phase, RegionPhase::Deploying { .. }) {
                    return;
                }
                if let Some(worker) = region.deployed.iter_mut().find(|worker| worker.executor == *executor) {
                    worker.confirmed = true;
                    self.start_when_deployed(id);
                }
            }
            FromWorker::State { attempt, subtask, state, failure, io } => {
                self.subtask_changed(executor, StateReport { attempt, subtask, state, failure, io });
            }
            FromWorker::RequestSplit { attempt, subtask } => self.give_split(executor, attempt, subtask),
            FromWorker::Io { attempt, subtasks } => {
                for (id, io) in subtasks {
                    let subtask = self.execution.on(executor, attempt, id);
                    if let Some(subtask) = subtask.filter(|subtask| !subtask.state.is_terminal()) {
                        subtask.io = io;
                    }
                }
            }
            // It is not handed on.
            FromWorker::Alive => {}
            FromWorker::EndOfData { attempt, subtask } => {
                if self.runs(executor, attempt, subtask) {
                    self.coordinator.end_of_data(subtask);
                }
            }
            FromWorker::GroupWatermark { attempt, subtask, group, watermark } => {
                if self.runs(executor, attempt, subtask) {
                    self.watermarks.report(group, subtask, attempt, watermark);
                }
            }
            FromWorker::CheckpointAck { attempt, subtask, checkpoint, snapshot, times } => {
                let current = self.runs(executor, attempt, subtask);
                self.checkpoint_acknowledged(current, subtask, checkpoint, *snapshot, times);
            }
            FromWorker::CheckpointDeclined { attempt, subtask, checkpoint, failure } => {
                if self.runs(executor, attempt, subtask) {
                    self.checkpoint_declined(executor, subtask, checkpoint, failure);
                }
            }
            FromWorker::RestoreFailed { attempt, subtask, checkpoint, failure } => {
                if self.execution.on(executor, attempt, subtask).is_some_and(|s| !s.state.is_terminal()) {
                    self.restore_failed(executor, attempt, subtask, (checkpoint, failure));
                }
            }
        }
    }

    /// Tells the members of groups with aligned watermarks how far the slowest of them is, as far as they don't know.
    pub(super) fn align_watermarks(&mut self) {
        let announcements = self.watermarks.announcements(|id, attempt| {
            let runs = |subtask: &Execution| subtask.attempt == attempt && subtask.state == ExecutionState::Running;
            self.execution.get(id).is_some_and(runs)
        });
        for Announcement { group, least, members } in announcements {
            self.tell_running(
                |id| members.contains(&id),
                |attempt, subtasks| ToWorker::GroupWatermark { attempt, subtasks, group: group.clone(), least },
            );
        }
    }

    /// Whether that execution of a subtask is on that executor and runs, as far as is known here.
    fn runs(&mut self, executor: &ExecutorId, attempt: ExecutionAttempt, id: SubtaskId) -> bool {
        self.execution.on(executor, attempt, id).is_some_and(|subtask| subtask.state == ExecutionState::Running)
    }

    fn restore_failed(
        &mut self,
        executor: &ExecutorId,
        attempt: ExecutionAttempt,
        subtask: SubtaskId,
        (checkpoint, failure): (CheckpointId, Failure),
    ) {
        let failed = ExecutionState::Failed;
        match self.coordinator.cannot_restore(checkpoint, failure) {
            Ok(failure) => {
                let (failure, io) = (Some(failure), SubtaskIo::default());
                self.subtask_changed(executor, StateReport { attempt, subtask, state: failed, failure, io });
            }
            Err(failure) => {
                if let Some(execution) = self.execution.on(executor, attempt, subtask) {
                    execution.go(failed, self.now);
                }
                if self.phase == Phase::Living {
                    let failure = Failure { subtask: self.execution.describe(subtask), ..*failure };
                    self.fail_job(on(failure, executor));
                } else {
                    self.conclude_when_stopped();
                }
            }
        }
    }

    fn subtask_changed(&mut self, executor: &ExecutorId, report: StateReport) {
        use ExecutionState::{Canceled, Canceling, Created, Deploying, Failed, Finished, Running, Scheduled};
        let StateReport { attempt, subtask: id, state, failure, io } = report;
        // The others are the JobMaster's own: a worker does not decide on them.
        let reportable = match state {
            Running | Finished | Canceled | Failed => true,
            Created | Scheduled | Deploying | Canceling => false,
        };
        let Some(region) = self.region_of.get(&id).and_then(|region| self.region(*region)) else { return };
        let (region, phase) = (region.id, region.phase);
        let stopping = phase.is_stopping();
        if !reportable || !(stopping || matches!(phase, RegionPhase::Deploying { .. } | RegionPhase::Running)) {
            return;
        }
        let Some(subtask) = self.execution.on(executor, attempt, id) else { return };
        if !subtask.go(state, self.now) {
            return;
        }
        subtask.io = io;
        match state {
            Finished => {
                self.splits.complete(id);
                self.coordinator.finished(id, self.now);
            }
            Failed | Canceled if stopping && failure.is_none() => {}
            Failed => {
                let unexplained = || Failure::new(Blame::Flumen, "the subtask failed without saying why");
                self.subtask_failed(executor, region, id, failure.unwrap_or_else(unexplained));
            }
            Canceled if !stopping => {
                let failure = Failure::new(Blame::Flumen, "the subtask was canceled although nobody asked for it");
                self.subtask_failed(executor, region, id, failure);
            }
            Running | Canceled | Created | Scheduled | Deploying | Canceling => {}
        }
        if stopping {
            self.conclude_when_stopped();
        } else {
            self.check_progress();
        }
    }

    fn subtask_failed(&mut self, executor: &ExecutorId, region: RegionId, id: SubtaskId, mut failure: Failure) {
        if failure.subtask.is_none() {
            failure.subtask = self.execution.describe(id);
        }
        self.report(region, on(failure, executor));
    }

    pub(super) fn give_split(&mut self, executor: &ExecutorId, attempt: ExecutionAttempt, id: SubtaskId) {
        let region = self.region_of.get(&id).and_then(|region| self.region(*region));
        let running = self.phase == Phase::Living && region.is_some_and(|region| region.phase == RegionPhase::Running);
        let subtask = self.execution.on(executor, attempt, id);
        if !running || subtask.is_none_or(|subtask| subtask.state.is_terminal()) {
            return;
        }
        let split = self.splits.next(id);
        self.tell(executor, ToWorker::Split { attempt, subtask: id, split });
    }

    /// Has a worker killed and forgets it.
    pub(super) fn stop_worker(&mut self, executor: &ExecutorId) {
        if let Some(instance) = self.executors.drop_worker(executor) {
            self.actions.push(Action::StopWorker { executor: executor.clone(), instance });
        }
    }
}

/// The failure, with the executor on which it happened.
pub(super) fn on(failure: Failure, executor: &ExecutorId) -> Failure {
    if failure.executor.is_some() { failure } else { failure.on(executor) }
}
