//! The way of one attempt: slots, workers, deployment, start, commit.

use std::time::Duration;

use flumen_model::failure::Failure;
use flumen_model::ids::ExecutorId;
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::control::{Deployment, ToWorker, WorkerAddress};

use super::JobMaster;
use crate::event::Action;
use crate::execution_graph::ExecutionGraph;
use crate::place::place;
use crate::state::Phase;

/// How long the driver may take to make outputs visible: renames of part files, thousands at most, by a file system that
/// may be failing over meanwhile.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(600);

impl JobMaster {
    /// Begins the next attempt.
    pub(super) fn next_attempt(&mut self) {
        self.execution = ExecutionGraph::new(&self.graph, self.execution.attempt.next(), self.now);
        self.splits.reset();
        self.departed = None;
        self.phase = Phase::WaitingForSlots { deadline: self.now.after(self.settings.slot_request_timeout) };
        self.place_and_start();
    }

    /// Places the subtasks if there are slots enough, and starts the workers that are missing. Else the job goes on
    /// waiting for slots.
    pub(super) fn place_and_start(&mut self) {
        let Ok(slots) = place(self.graph.slots(), &self.executors.offers(), &self.slots) else { return };
        let host_of = |id: &ExecutorId| self.executors.get(id).map(|executor| executor.host.clone());
        let located: Vec<_> = slots.iter().map(|id| (id.clone(), host_of(id).unwrap_or_default())).collect();
        self.execution.assign(&located);
        self.slots = slots;
        for executor in self.used_executors() {
            if let Some(instance) = self.executors.start_worker(&executor) {
                self.actions.push(Action::StartWorker { executor, instance });
            }
        }
        self.phase = Phase::StartingWorkers { deadline: self.now.after(self.settings.worker_start_timeout) };
        self.deploy_when_ready();
    }

    /// Deploys to all workers once the last of them is ready.
    pub(super) fn deploy_when_ready(&mut self) {
        let used = self.used_executors();
        let address = |id: &ExecutorId| self.executors.worker(id)?.address.clone();
        let Some(workers) = used.iter().map(address).collect::<Option<Vec<WorkerAddress>>>() else { return };
        let index_of = |id: &ExecutorId| (0..).zip(&used).find(|(_, used)| *used == id).map_or(0, |(index, _)| index);
        let worker_of: Vec<u32> = self.slots.iter().map(index_of).collect();
        let placement = self.execution.placement(&worker_of);
        let attempt = self.execution.attempt;
        for (me, executor) in (0..).zip(&used) {
            if let Some(worker) = self.executors.worker_mut(executor) {
                worker.deployed = Some(attempt);
            }
            let deployment = Deployment {
                region: 0,
                attempt,
                workers: workers.clone(),
                me,
                placement: placement.clone(),
                restore: Vec::new(),
            };
            self.tell(executor, ToWorker::Deploy(deployment));
        }
        self.execution.deploy_all(self.now);
        self.phase = Phase::Deploying { deadline: self.now.after(self.settings.worker_start_timeout) };
        self.start_when_deployed();
    }

    /// Lets all workers begin once the last of them is deployed (JM-1).
    pub(super) fn start_when_deployed(&mut self) {
        let attempt = self.execution.attempt;
        let used = self.used_executors();
        let confirmed = |id: &ExecutorId| self.executors.worker(id).is_some_and(|w| w.confirmed == Some(attempt));
        if !used.iter().all(confirmed) {
            return;
        }
        for executor in &used {
            self.tell(executor, ToWorker::Start { region: 0, attempt });
        }
        self.phase = Phase::Running;
        self.check_progress();
    }

    /// Called when a subtask of a running attempt got further: the job runs when all do, and is committed when all have
    /// finished.
    pub(super) fn check_progress(&mut self) {
        use ExecutionState::{Finished, Running};
        if self.status != JobStatus::Running && self.execution.all(|state| matches!(state, Running | Finished)) {
            self.enter(JobStatus::Running);
        }
        if self.execution.all(|state| state == Finished) {
            self.phase = Phase::Committing { deadline: self.now.after(COMMIT_TIMEOUT), cancel: false };
            self.actions.push(Action::CommitOutputs { attempt: self.execution.attempt });
        }
    }

    /// The driver has made the outputs visible, or could not.
    pub(super) fn outputs_committed(&mut self, result: Result<(), Failure>) {
        let Phase::Committing { cancel, .. } = self.phase else { return };
        match result {
            // Also when it was cancelled meanwhile: everything is done, and can be seen.
            Ok(()) => self.finish(JobStatus::Finished),
            Err(_) if cancel => self.give_up_commit(),
            Err(failure) => self.fail_attempt(failure),
        }
    }

    /// The executors of this attempt's slots, each once, in the order of their first slot. Their positions are the
    /// indices by which workers know each other.
    pub(super) fn used_executors(&self) -> Vec<ExecutorId> {
        let mut used: Vec<ExecutorId> = Vec::new();
        for executor in &self.slots {
            if !used.contains(executor) {
                used.push(executor.clone());
            }
        }
        used
    }

    /// Sends a message to the worker on an executor, if there is one (JM-2).
    pub(super) fn tell(&mut self, executor: &ExecutorId, message: ToWorker) {
        if let Some(worker) = self.executors.worker(executor) {
            let instance = worker.instance;
            self.actions.push(Action::ToWorker { executor: executor.clone(), instance, message });
        }
    }
}
