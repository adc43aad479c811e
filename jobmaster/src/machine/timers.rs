//! Waits that have come to their end.

use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::ExecutorId;
use flumen_model::options::deployment;
use flumen_wire::control::RegionId;

use super::JobMaster;
use crate::event::Timestamp;
use crate::state::{Phase, RegionPhase};

impl JobMaster {
    /// Acts on what is due. One wait at most, and one that a step has ended in: others are due at the next tick, so a
    /// step always ends. Those of checkpoints come on top.
    pub(super) fn act_on_time(&mut self) {
        let now = self.now;
        let due = |deadline: Option<Timestamp>| deadline.is_some_and(|deadline| deadline <= now);
        match self.phase {
            Phase::Over => {}
            Phase::Committing { deadline, cancel: true } if deadline <= now => self.give_up_commit(),
            Phase::Committing { deadline, cancel: false } if deadline <= now => {
                // Not restarted: what is asked for may still happen, under the feet of another execution.
                let message = "all subtasks finished, but their output could not be made visible in time; check the file system of the output";
                self.fail_job(Failure::new(Blame::Outside, message));
            }
            Phase::Committing { .. } => {}
            Phase::Living | Phase::Ending(_) => {
                for index in 0..self.regions.len() {
                    let region = &mut self.regions[index];
                    let id = region.id;
                    if let Some(held) = region.held.take_if(|held| held.until <= now) {
                        return self.fail_regions(&[id], held.failure);
                    }
                    if due(region.phase.deadline()) {
                        return self.region_is_due(id);
                    }
                }
            }
        }
    }

    fn region_is_due(&mut self, id: RegionId) {
        match self.region(id).map(|region| region.phase) {
            Some(RegionPhase::WaitingForSlots { .. }) => self.fail_job(self.no_slots()),
            Some(RegionPhase::StartingWorkers { .. }) => self.too_slow(id, "did not come up"),
            Some(RegionPhase::Deploying { .. }) => self.too_slow(id, "did not deploy its subtasks"),
            Some(RegionPhase::Stopping { .. }) => self.kill_what_does_not_stop(id),
            Some(RegionPhase::BackingOff { .. }) => self.next_attempt(id),
            Some(RegionPhase::Running) | None => {}
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

    /// Stops the workers that a region still waits for, which fails it.
    fn too_slow(&mut self, id: RegionId, what: &str) {
        let Some(region) = self.region(id) else { return };
        let late: Vec<ExecutorId> = match region.phase {
            RegionPhase::StartingWorkers { .. } => {
                let not_ready =
                    |id: &ExecutorId| self.executors.worker(id).is_none_or(|worker| worker.address.is_none());
                self.used_executors(id).into_iter().filter(not_ready).collect()
            }
            _ => region.deployed.iter().filter(|w| !w.confirmed).map(|w| w.executor.clone()).collect(),
        };
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
        let failure = Failure::new(Blame::Outside, message);
        for executor in &late {
            self.stop_worker(executor);
        }
        for executor in &late {
            self.worker_gone(executor, failure.clone());
        }
    }
}
