//! Waits that have come to their end.

use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::ExecutorId;
use flumen_model::options::deployment;
use flumen_model::status::ExecutionState;

use super::JobMaster;
use crate::state::Phase;

impl JobMaster {
    /// Acts on what is due. One wait at most, and the one of the phase that a step has ended in: a following one is due
    /// at the next tick, so a step always ends.
    pub(super) fn act_on_time(&mut self) {
        if let Some(held) = self.held.take_if(|held| held.until <= self.now) {
            return self.fail_attempt(held.failure);
        }
        if self.phase.deadline().is_none_or(|deadline| deadline > self.now) {
            return;
        }
        match self.phase {
            Phase::WaitingForSlots { .. } => self.fail_job(self.no_slots()),
            Phase::StartingWorkers { .. } => self.too_slow("did not come up"),
            Phase::Deploying { .. } => self.too_slow("did not deploy its subtasks"),
            Phase::Committing { cancel: true, .. } => self.give_up_commit(),
            Phase::Committing { cancel: false, .. } => {
                // Not restarted: what is asked for may still happen, under the feet of another attempt.
                let message = "all subtasks finished, but their output could not be made visible in time; check the file system of the output";
                self.fail_job(Failure::new(Blame::Outside, message));
            }
            Phase::Stopping { .. } => self.kill_what_does_not_stop(),
            Phase::BackingOff { .. } => self.next_attempt(),
            Phase::Running | Phase::Over => {}
        }
    }

    fn no_slots(&self) -> Failure {
        let option = deployment::SLOT_REQUEST_TIMEOUT.key;
        let waited = self.settings.slot_request_timeout;
        let mut message = format!(
            "the job needs {} slots and got {} within {waited:?} ({option}): check that the cluster has the resources \
             (free memory and vcores of the queue), lower the parallelism, or wait longer",
            self.graph.slots(),
            self.executors.slots(),
        );
        if let Some(last) = self.exceptions.front() {
            message.push_str(&format!("\nit was being restarted after: {}", last.failure));
        }
        Failure::new(Blame::Outside, message)
    }

    /// Stops the workers that the phase still waits for, and fails the attempt.
    fn too_slow(&mut self, what: &str) {
        let attempt = self.execution.attempt;
        let starting = matches!(self.phase, Phase::StartingWorkers { .. });
        let late = |id: &ExecutorId| {
            self.executors.worker(id).is_none_or(|worker| match starting {
                true => worker.address.is_none(),
                false => worker.confirmed != Some(attempt),
            })
        };
        let late: Vec<ExecutorId> = self.used_executors().into_iter().filter(|id| late(id)).collect();
        let message = format!(
            "{} of the job's workers {what} within {:?} ({}): see its log on the TaskExecutor, and check that the \
             program reaches `execute` soon after its start",
            match late.len() {
                1 => "one".to_owned(),
                n => n.to_string(),
            },
            self.settings.worker_start_timeout,
            deployment::WORKER_START_TIMEOUT.key,
        );
        for executor in &late {
            self.stop_worker(executor);
            self.execution.end_on(executor, ExecutionState::Failed, self.now);
        }
        let failure = Failure::new(Blame::Outside, message);
        self.fail_attempt(match late.first() {
            Some(executor) => failure.on(executor),
            None => failure,
        });
    }
}
