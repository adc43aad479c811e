//! The way of one execution of a region: slots, workers, deployment, start; and the commit when all have finished.

use std::collections::BTreeMap;
use std::time::Duration;

use flumen_model::checkpoint::SubtaskRestore;
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutionAttempt, ExecutorId, SubtaskId, VertexId};
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::control::{Deployment, RegionId, ToWorker, WorkerAddress};

use super::JobMaster;
use crate::event::Action;
use crate::place::{Former, place};
use crate::region::DeployedTo;
use crate::splits::ReadersUnknown;
use crate::state::{Phase, RegionPhase};

/// How long the driver may take to make outputs visible: renames of part files, thousands at most, by a file system that
/// may be failing over meanwhile.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(600);

impl JobMaster {
    /// Begins the next execution of a region.
    pub(super) fn next_attempt(&mut self, id: RegionId) {
        self.last_attempt = self.later_attempt();
        let (attempt, now) = (self.last_attempt, self.now);
        let deadline = now.after(self.settings.slot_request_timeout);
        let Some(region) = self.regions.get_mut(id as usize) else { return };
        region.attempt = attempt;
        region.departed = None;
        region.unexplained = false;
        region.deployed.clear();
        region.phase = RegionPhase::WaitingForSlots { deadline };
        self.execution.renew(&region.members, attempt, now);
        self.place_waiting();
    }

    /// The number of the next execution.
    pub(super) fn later_attempt(&self) -> ExecutionAttempt {
        self.last_attempt.next().max(self.first_attempt)
    }

    /// Places the regions that wait for slots, as far as there are slots enough, and starts the workers that they lack.
    /// The others go on waiting. The first time it is all regions or none.
    pub(super) fn place_waiting(&mut self) {
        if self.phase != Phase::Living {
            return;
        }
        let waits = |phase| matches!(phase, RegionPhase::WaitingForSlots { .. });
        let waiting: Vec<RegionId> = self.regions.iter().filter(|r| waits(r.phase)).map(|r| r.id).collect();
        if self.placed {
            waiting.into_iter().for_each(|region| self.place_together(&[region]));
        } else {
            self.place_together(&waiting);
        }
    }

    fn place_together(&mut self, ids: &[RegionId]) {
        let slots_of = |wanted: &dyn Fn(RegionId) -> bool| {
            let mut slots: Vec<usize> = self.regions.iter().filter(|r| wanted(r.id)).flat_map(|r| r.slots()).collect();
            slots.sort_unstable();
            slots.dedup();
            slots
        };
        let holds = |id: RegionId| {
            self.region(id).is_some_and(|region| !matches!(region.phase, RegionPhase::WaitingForSlots { .. }))
        };
        let (wanted, held) = (slots_of(&|id| ids.contains(&id)), slots_of(&holds));
        let former = Former { places: &self.slots, held: &held };
        let Ok(slots) = place(&wanted, &self.executors.offers(), former) else { return };
        let host_of = |id: &ExecutorId| self.executors.get(id).map(|executor| executor.host.clone());
        let located: Vec<Option<(ExecutorId, String)>> =
            slots.iter().map(|slot| slot.as_ref().map(|id| (id.clone(), host_of(id).unwrap_or_default()))).collect();
        self.slots = slots;
        self.placed = true;
        self.stop_outgrown_workers(&held);
        let deadline = self.now.after(self.settings.worker_start_timeout);
        for id in ids {
            if let Some(region) = self.regions.get_mut(*id as usize) {
                self.execution.assign(&region.members, &located);
                region.phase = RegionPhase::StartingWorkers { deadline };
            }
            for executor in self.used_executors(*id) {
                if let Some(instance) = self.executors.start_worker(&executor) {
                    self.actions.push(Action::StartWorker { executor, instance });
                }
            }
        }
        ids.iter().for_each(|id| self.deploy_when_ready(*id));
    }

    /// Stops the workers that have the memory of fewer slots than the job has there by now, unless a region whose slots are
    /// `held` needs them: that one would fail.
    fn stop_outgrown_workers(&mut self, held: &[usize]) {
        let needed =
            |id: &ExecutorId| held.iter().any(|slot| self.slots.get(*slot).and_then(Option::as_ref) == Some(id));
        let outgrown = self.executors.iter().map(|executor| &executor.id);
        let outgrown: Vec<ExecutorId> =
            outgrown.filter(|id| self.executors.has_outgrown_worker(id) && !needed(id)).cloned().collect();
        outgrown.iter().for_each(|executor| self.stop_worker(executor));
    }

    /// Deploys a region to its workers once the last of them is ready.
    pub(super) fn deploy_when_ready(&mut self, id: RegionId) {
        let used = self.used_executors(id);
        let worker = |id: &ExecutorId| {
            let worker = self.executors.worker(id)?;
            Some((worker.instance, worker.address.clone()?))
        };
        let Some(workers) = used.iter().map(worker).collect::<Option<Vec<(u32, WorkerAddress)>>>() else { return };
        let Some(region) = self.region(id) else { return };
        let (attempt, members) = (region.attempt, region.members.clone());
        let mut restore = match self.restore_of(&members) {
            Ok(restore) => restore,
            Err(failure) => return self.fail_job(*failure),
        };
        let worker_of: Vec<u32> = (0..self.slots.len())
            .map(|slot| {
                (0..).zip(&used).find(|(_, used)| Some(*used) == self.slots[slot].as_ref()).map_or(0, |(i, _)| i)
            })
            .collect();
        let placement = self.execution.placement(&members, |slot| worker_of.get(slot).copied().unwrap_or(0));
        let addresses: Vec<WorkerAddress> = workers.iter().map(|(_, address)| address.clone()).collect();
        let deployed = used.iter().zip(&workers).map(|(executor, (instance, _))| DeployedTo {
            executor: executor.clone(),
            instance: *instance,
            confirmed: false,
        });
        let deployed: Vec<DeployedTo> = deployed.collect();
        let deadline = self.now.after(self.settings.worker_start_timeout);
        if let Some(region) = self.region_mut(id) {
            region.deployed = deployed;
            region.phase = RegionPhase::Deploying { deadline };
        }
        self.execution.deploy(&members, self.now);
        for (me, executor) in (0..).zip(&used) {
            let here = members.iter().filter(|m| worker_of.get(m.index as usize) == Some(&me));
            let deployment = Deployment {
                region: id,
                attempt,
                workers: addresses.clone(),
                me,
                placement: placement.clone(),
                restore: here.filter_map(|member| restore.remove(member)).collect(),
            };
            self.tell(executor, ToWorker::Deploy(deployment));
        }
        self.start_when_deployed(id);
    }

    /// What the subtasks of a region start with.
    fn restore_of(&mut self, members: &[SubtaskId]) -> Result<BTreeMap<SubtaskId, SubtaskRestore>, Box<Failure>> {
        let mut restore = self.coordinator.restore(&self.graph, members, self.now)?;
        self.go_back(members)?;
        self.splits.restore(self.coordinator.newest(), members);
        restore.retain(|subtask, _| members.contains(subtask));
        Ok(restore)
    }

    /// Takes the queues of splits back to a checkpoint that is older than the one at which a former life ended.
    fn go_back(&mut self, members: &[SubtaskId]) -> Result<(), Box<Failure>> {
        let Some(checkpoint) = self.coordinator.newest() else { return Ok(()) };
        let begun_after: Vec<VertexId> = self.splits.begun_after(checkpoint).collect();
        if begun_after.is_empty() {
            return Ok(());
        }
        let positions = self.coordinator.positions(&self.graph);
        for vertex in self.graph.vertices.iter().filter(|vertex| begun_after.contains(&vertex.id)) {
            let Some(progress) = positions.get(&vertex.id) else { continue };
            match members.iter().filter(|member| member.vertex == vertex.id).count() {
                0 => {}
                all if all == vertex.parallelism as usize => self.splits.begin_at(checkpoint, vertex.id, progress),
                _ => {
                    let text = ReadersUnknown { checkpoint }.to_string();
                    return Err(Box::new(Failure::new(Blame::Outside, text)));
                }
            }
        }
        Ok(())
    }

    /// Lets the workers of a region begin once the last of them is deployed (JM-1).
    pub(super) fn start_when_deployed(&mut self, id: RegionId) {
        let Some(region) = self.region_mut(id) else { return };
        if !region.deployed.iter().all(|worker| worker.confirmed) {
            return;
        }
        region.phase = RegionPhase::Running;
        let attempt = region.attempt;
        let executors: Vec<ExecutorId> = region.deployed.iter().map(|worker| worker.executor.clone()).collect();
        for executor in &executors {
            self.tell(executor, ToWorker::Start { region: id, attempt });
        }
        self.check_progress();
    }

    /// Called when a subtask of a running region got further: the job runs when all do, and is committed when all have
    /// finished.
    pub(super) fn check_progress(&mut self) {
        use ExecutionState::{Finished, Running};
        if self.phase != Phase::Living || self.regions.iter().any(|region| region.phase != RegionPhase::Running) {
            return;
        }
        if self.status != JobStatus::Running && self.execution.all(|state| matches!(state, Running | Finished)) {
            self.enter(JobStatus::Running);
        }
        if self.execution.all(|state| state == Finished) {
            self.phase = Phase::Committing { deadline: self.now.after(COMMIT_TIMEOUT), cancel: false };
            // Whatever has outputs is one region.
            let attempt = self.regions.iter().map(|region| region.attempt).max().unwrap_or(self.last_attempt);
            self.actions.push(Action::CommitOutputs { attempt });
        }
    }

    /// The driver has made the outputs visible, or could not.
    pub(super) fn outputs_committed(&mut self, result: Result<(), Failure>) {
        let Phase::Committing { cancel, .. } = self.phase else { return };
        match result {
            // Also when it was cancelled meanwhile: everything is done, and can be seen.
            Ok(()) => self.finish(JobStatus::Finished),
            Err(_) if cancel => self.give_up_commit(),
            Err(failure) => {
                self.phase = Phase::Living;
                self.fail_all(failure);
            }
        }
    }

    /// The executors of a region's slots, each once, in the order of their first slot.
    pub(super) fn used_executors(&self, id: RegionId) -> Vec<ExecutorId> {
        let mut used: Vec<ExecutorId> = Vec::new();
        let slots = self.region(id).map(|region| region.slots()).unwrap_or_default();
        for executor in slots.into_iter().filter_map(|slot| self.slots.get(slot)?.as_ref()) {
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
