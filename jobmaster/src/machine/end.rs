//! How an attempt is stopped and how a job ends.

use flumen_model::ids::ExecutorId;
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::control::ToWorker;

use super::JobMaster;
use crate::event::{Action, JobResult};
use crate::state::{Phase, Then};

impl JobMaster {
    /// Cancels whatever of the attempt still runs. Workers are kept: the next attempt uses them again.
    pub(super) fn stop(&mut self, then: Then) {
        self.held = None;
        let attempt = self.execution.attempt;
        let deployed: Vec<ExecutorId> = self
            .executors
            .iter()
            .filter(|executor| executor.worker.as_ref().is_some_and(|worker| worker.deployed == Some(attempt)))
            .map(|executor| executor.id.clone())
            .collect();
        for executor in &deployed {
            self.tell(executor, ToWorker::Cancel { region: 0, attempt });
        }
        self.execution.cancel_all(self.now);
        self.phase = Phase::Stopping { deadline: self.now.after(self.settings.cancel_timeout), then };
        self.conclude_when_stopped();
    }

    /// Goes on once the last subtask of a stopping attempt has ended.
    pub(super) fn conclude_when_stopped(&mut self) {
        let Phase::Stopping { then, .. } = self.phase else { return };
        if !self.execution.all(ExecutionState::is_terminal) {
            return;
        }
        match then {
            Then::Restart { not_before } if not_before <= self.now => self.next_attempt(),
            Then::Restart { not_before } => self.phase = Phase::BackingOff { until: not_before },
            Then::Fail => self.finish(JobStatus::Failed),
            Then::Cancel => self.finish(JobStatus::Canceled),
        }
    }

    /// Kills the workers whose subtasks do not stop, and goes on.
    pub(super) fn kill_what_does_not_stop(&mut self) {
        for executor in self.used_executors() {
            if self.execution.open_on(&executor) {
                tracing::warn!(job = %self.job, %executor, "subtasks do not stop within the time: killing their worker");
                self.stop_worker(&executor);
                self.execution.end_on(&executor, ExecutionState::Canceled, self.now);
            }
        }
        self.conclude_when_stopped();
    }

    /// The outputs could not be made visible, and the user wants the job to end anyway.
    pub(super) fn give_up_commit(&mut self) {
        self.enter(JobStatus::Cancelling);
        self.finish(JobStatus::Canceled);
    }

    /// Ends the job (JM-3).
    pub(super) fn finish(&mut self, status: JobStatus) {
        let executors: Vec<ExecutorId> = self.executors.iter().map(|executor| executor.id.clone()).collect();
        for executor in &executors {
            self.stop_worker(executor);
        }
        self.enter(status);
        self.phase = Phase::Over;
        self.actions.push(Action::DeclareSlots(0));
        self.actions.push(Action::Done(JobResult {
            job: self.job,
            name: self.graph.name.clone(),
            status,
            failure: self.failure.clone().filter(|_| status == JobStatus::Failed),
            start: self.start,
            runtime_ms: self.now.since(self.start),
            restarts: self.restarts_made(),
        }));
    }

    /// Attempts after the first.
    pub(super) fn restarts_made(&self) -> u32 {
        self.execution.attempt.0
    }
}
