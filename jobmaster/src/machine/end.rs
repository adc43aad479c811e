//! How executions are stopped and how a job ends.

use flumen_model::ids::ExecutorId;
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::control::{RegionId, ToWorker};

use super::JobMaster;
use crate::event::{Action, JobResult, Timestamp};
use crate::region::DeployedTo;
use crate::state::{Phase, RegionPhase, Then};

impl JobMaster {
    /// Cancels whatever of a region still runs. Workers are kept: the next execution uses them again.
    pub(super) fn stop_region(&mut self, id: RegionId, not_before: Timestamp) {
        let deadline = self.now.after(self.settings.cancel_timeout);
        let Some(region) = self.regions.get_mut(id as usize) else { return };
        region.held = None;
        region.phase = RegionPhase::Stopping { deadline, not_before };
        let attempt = region.attempt;
        let alive = |worker: &DeployedTo| {
            self.executors.worker(&worker.executor).is_some_and(|now| now.instance == worker.instance)
        };
        let deployed: Vec<ExecutorId> =
            region.deployed.iter().filter(|worker| alive(worker)).map(|worker| worker.executor.clone()).collect();
        self.execution.cancel(&region.members, self.now);
        for executor in &deployed {
            self.tell(executor, ToWorker::Cancel { region: id, attempt });
        }
    }

    /// Stops all regions for good.
    pub(super) fn stop_all(&mut self, then: Then) {
        self.phase = Phase::Ending(then);
        self.coordinator_interrupted(&[], "the job is ending");
        let running: Vec<RegionId> =
            self.regions.iter().filter(|region| !region.phase.is_stopping()).map(|region| region.id).collect();
        running.into_iter().for_each(|region| self.stop_region(region, self.now));
        self.conclude_when_stopped();
    }

    /// Goes on once the last subtask of a region that is being stopped, or of the job, has ended.
    pub(super) fn conclude_when_stopped(&mut self) {
        match self.phase {
            Phase::Ending(then) => {
                if self.execution.all(ExecutionState::is_terminal) {
                    self.finish(match then {
                        Then::Fail => JobStatus::Failed,
                        Then::Cancel => JobStatus::Canceled,
                    });
                }
            }
            Phase::Living => {
                for id in 0..self.regions.len() as RegionId {
                    self.restart_when_stopped(id);
                }
            }
            Phase::Committing { .. } | Phase::Over => {}
        }
    }

    fn restart_when_stopped(&mut self, id: RegionId) {
        if self.phase != Phase::Living {
            return;
        }
        let Some(region) = self.region(id) else { return };
        let RegionPhase::Stopping { not_before, .. } = region.phase else { return };
        if !self.execution.are(&region.members, ExecutionState::is_terminal) {
            return;
        }
        if not_before <= self.now {
            self.next_attempt(id);
        } else if let Some(region) = self.region_mut(id) {
            region.phase = RegionPhase::BackingOff { until: not_before };
        }
    }

    /// Kills the workers whose subtasks do not stop, and goes on. Other regions that such a worker serves lose it.
    pub(super) fn kill_what_does_not_stop(&mut self, id: RegionId) {
        for executor in self.used_executors(id) {
            let Some(region) = self.region(id) else { return };
            if self.execution.open_on(&executor, &region.members) {
                tracing::warn!(job = %self.job, %executor, "subtasks do not stop within the time: killing their worker");
                self.stop_worker(&executor);
                for region in self.regions.iter().filter(|region| region.phase.is_stopping()) {
                    self.execution.end_on(&executor, &region.members, ExecutionState::Canceled, self.now);
                }
                self.worker_gone(&executor, super::failure::did_not_stop(self.settings.cancel_timeout));
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
        self.checkpoints_over(status);
        let retained = self.coordinator.retained();
        self.actions.push(Action::DeclareSlots(0));
        self.actions.push(Action::Done(JobResult {
            job: self.job,
            name: self.graph.name.clone(),
            status,
            failure: self.failure.clone().filter(|_| status == JobStatus::Failed),
            start: self.start,
            runtime_ms: self.now.since(self.start),
            restarts: self.failover.restarts(),
            retained,
        }));
    }
}
