//! What workers say. The caller has made sure that it is the living worker of that executor.

use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutionAttempt, ExecutorId, SubtaskId};
use flumen_model::status::ExecutionState;
use flumen_wire::control::{FromWorker, SubtaskIo, ToWorker};

use super::JobMaster;
use crate::event::Action;
use crate::state::Phase;

/// A subtask's report of its new state.
struct StateReport {
    subtask: SubtaskId,
    state: ExecutionState,
    failure: Option<Failure>,
    io: SubtaskIo,
}

impl JobMaster {
    pub(super) fn worker_says(&mut self, executor: &ExecutorId, message: FromWorker) {
        // Whatever belongs to an attempt is compared with the current one before anything else (JM-5).
        let current = |attempt: ExecutionAttempt| attempt == self.execution.attempt;
        match message {
            FromWorker::Ready { address, pid } => {
                tracing::debug!(job = %self.job, %executor, pid, "worker is ready");
                if let Some(worker) = self.executors.worker_mut(executor) {
                    worker.address.get_or_insert(address);
                }
                if matches!(self.phase, Phase::StartingWorkers { .. }) {
                    self.deploy_when_ready();
                }
            }
            FromWorker::Refused(failure) => {
                self.stop_worker(executor);
                self.worker_gone(executor, failure);
            }
            FromWorker::Deployed { attempt, .. } if current(attempt) => {
                if let Some(worker) = self.executors.worker_mut(executor).filter(|w| w.deployed == Some(attempt)) {
                    worker.confirmed = Some(attempt);
                }
                if matches!(self.phase, Phase::Deploying { .. }) {
                    self.start_when_deployed();
                }
            }
            FromWorker::State { attempt, subtask, state, failure, io } if current(attempt) => {
                self.subtask_changed(executor, StateReport { subtask, state, failure, io });
            }
            FromWorker::RequestSplit { attempt, subtask } if current(attempt) => self.give_split(executor, subtask),
            FromWorker::Io { attempt, subtasks } if current(attempt) => {
                for (id, io) in subtasks {
                    if let Some(subtask) = self.execution.on(executor, id).filter(|s| !s.state.is_terminal()) {
                        subtask.io = io;
                    }
                }
            }
            FromWorker::Deployed { .. }
            | FromWorker::State { .. }
            | FromWorker::RequestSplit { .. }
            | FromWorker::Io { .. }
            | FromWorker::EndOfData { .. }
            | FromWorker::RestoreFailed { .. }
            | FromWorker::CheckpointAck { .. }
            | FromWorker::CheckpointDeclined { .. } => {}
        }
    }

    fn subtask_changed(&mut self, executor: &ExecutorId, report: StateReport) {
        use ExecutionState::{Canceled, Canceling, Created, Deploying, Failed, Finished, Running, Scheduled};
        let StateReport { subtask: id, state, failure, io } = report;
        // The others are the JobMaster's own: a worker does not decide on them.
        let reportable = match state {
            Running | Finished | Canceled | Failed => true,
            Created | Scheduled | Deploying | Canceling => false,
        };
        let stopping = matches!(self.phase, Phase::Stopping { .. });
        if !reportable || !(stopping || matches!(self.phase, Phase::Deploying { .. } | Phase::Running)) {
            return;
        }
        let Some(subtask) = self.execution.on(executor, id) else { return };
        if !subtask.go(state, self.now) {
            return;
        }
        subtask.io = io;
        match state {
            Finished => self.splits.complete(id),
            Failed | Canceled if stopping && failure.is_none() => {}
            Failed => {
                let unexplained = || Failure::new(Blame::Flumen, "the subtask failed without saying why");
                self.subtask_failed(executor, id, failure.unwrap_or_else(unexplained));
            }
            Canceled if !stopping => {
                let failure = Failure::new(Blame::Flumen, "the subtask was canceled although nobody asked for it");
                self.subtask_failed(executor, id, failure);
            }
            Running | Canceled | Created | Scheduled | Deploying | Canceling => {}
        }
        if self.phase == Phase::Running {
            self.check_progress();
        } else {
            self.conclude_when_stopped();
        }
    }

    fn subtask_failed(&mut self, executor: &ExecutorId, id: SubtaskId, mut failure: Failure) {
        if failure.subtask.is_none() {
            failure.subtask = self.execution.describe(id);
        }
        self.report(on(failure, executor));
    }

    fn give_split(&mut self, executor: &ExecutorId, id: SubtaskId) {
        let running = self.phase == Phase::Running;
        let open = self.execution.on(executor, id).is_some_and(|subtask| !subtask.state.is_terminal());
        if !running || !open {
            return;
        }
        let split = self.splits.next(id);
        let attempt = self.execution.attempt;
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
