//! A new leader takes a job over whose subtasks may still run.

use std::collections::BTreeMap;

use flumen_model::checkpoint::{Barrier, CheckpointId};
use flumen_model::ids::{ExecutionAttempt, ExecutorId, JobId, SubtaskId};
use flumen_model::job_graph::JobGraph;
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::control::{FromWorker, ToWorker};
use flumen_wire::report::{SubtaskReport, WorkerReport};

use super::JobMaster;
use crate::adoption::{Adopted, FormerExecutor, NotAdopted, decide};
use crate::checkpoint::adopt::Continued;
use crate::event::{Action, Timestamp};
use crate::execution_graph::Execution;
use crate::executors::Worker;
use crate::settings::Settings;
use crate::splits::Splits;
use crate::start::Start;
use crate::state::RegionPhase;

impl JobMaster {
    /// Takes a job over from a former leader. What of it still runs goes on untouched, as far as `executors` show that it is
    /// whole; the rest is restarted from the newest checkpoint. That is no failure, and no restart strategy is asked. What
    /// failed while there was no leader is worked off like any failure.
    ///
    /// `executors` are the TaskExecutors of the former leader that have registered with this one, which have refused that one
    /// since. Whatever else their workers have said until now must be in their reports: a driver that lets time pass between
    /// registration and adoption folds it in ([`WorkerReport::said`](flumen_wire::report::WorkerReport::said)). They are not
    /// told by [`Event::ExecutorRegistered`](crate::Event::ExecutorRegistered) again; other TaskExecutors are. With no
    /// executors this is [`new`](Self::new).
    pub fn adopt(
        job: JobId,
        graph: JobGraph,
        settings: Settings,
        start: Start,
        executors: Vec<FormerExecutor>,
        now: Timestamp,
    ) -> (Self, Vec<Action>) {
        let finished = start.finished;
        let (mut master, begun) = Self::prepare(job, graph, settings, start, now);
        master.take_executors(&executors);
        match begun {
            _ if finished => {
                master.enter(JobStatus::Running);
                master.finish(JobStatus::Finished);
            }
            Ok(positions) => {
                if let Some(checkpoint) = master.coordinator.newest() {
                    for (vertex, progress) in &positions {
                        master.splits.begin_at(checkpoint, *vertex, progress);
                    }
                }
                master.take_regions(&executors);
                master.hear_of_failures(&executors);
                master.place_waiting();
                master.check_progress();
                master.act_on_time();
                master.take_checkpoints();
                master.align_watermarks();
            }
            Err(failure) => master.fail_job(failure),
        }
        let actions = std::mem::take(&mut master.actions);
        (master, actions)
    }

    /// A worker of a former leader that nobody goes on with.
    pub(super) fn stop_former_worker(&mut self, executor: &ExecutorId, instance: u32) {
        self.executors.note_instance(executor, instance);
        if self.executors.worker(executor).is_none_or(|worker| worker.instance < instance) {
            self.actions.push(Action::StopWorker { executor: executor.clone(), instance });
        }
    }

    fn take_executors(&mut self, executors: &[FormerExecutor]) {
        for FormerExecutor { id, slots, host, worker } in executors {
            self.executors.register(id.clone(), *slots, host.clone());
            if let Some(report) = worker {
                let (instance, slots, address) = (report.instance, report.slots, report.address.clone());
                self.executors.note_instance(id, instance);
                if report.exited.is_none() {
                    self.executors.adopt_worker(id, Worker { instance, slots, address });
                }
            }
        }
    }

    /// Goes on with the regions that can be gone on with, and begins a new execution of the others.
    fn take_regions(&mut self, executors: &[FormerExecutor]) {
        let newest = self.coordinator.newest_of_former();
        let decision = decide(&self.regions, newest, executors);
        let stopping = decision.stopping;
        let mut taken: Vec<Option<Adopted>> = Vec::new();
        for (region, adopted) in self.regions.iter().zip(decision.regions) {
            let since = newest.map(|newest| newest.id);
            let adopted = adopted.and_then(|adopted| match take_splits(&mut self.splits, &adopted, since) {
                true => Ok(adopted),
                false => Err(NotAdopted::Splits),
            });
            match &adopted {
                Ok(adopted) => {
                    tracing::info!(job = %self.job, region = region.id, attempt = %adopted.attempt, "goes on")
                }
                Err(reason) => tracing::info!(job = %self.job, region = region.id, %reason, "is restarted"),
            }
            taken.push(adopted.ok());
        }
        if stopping && taken.iter().any(Option::is_none) {
            taken.iter_mut().for_each(|adopted| *adopted = None);
        }
        let seen = workers(executors).map(|(_, worker)| (worker.greatest_attempt, worker.greatest_checkpoint));
        if let Some((attempt, checkpoint)) = seen.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1))) {
            let everything = taken.iter().all(Option::is_some);
            self.coordinator.goes_on_after(checkpoint, everything);
            self.last_attempt = attempt;
            if !everything {
                self.last_attempt = self.later_attempt();
            }
        }
        self.placed = taken.iter().any(Option::is_some);
        for (index, adopted) in taken.iter().enumerate() {
            match adopted {
                Some(adopted) => self.take_region(index, adopted),
                None => self.renew_region(index),
            }
            self.cancel_former(index, adopted.as_ref().map(|adopted| adopted.attempt), executors);
        }
        self.coordinator.resume(open_checkpoints(executors), stopping && self.placed);
        self.apply();
        for adopted in taken.iter().flatten() {
            for (executor, subtask) in adopted.subtasks.iter().filter(|(_, subtask)| subtask.wants_split) {
                self.give_split(&executor.id, adopted.attempt, subtask.subtask);
            }
        }
    }

    fn take_region(&mut self, index: usize, adopted: &Adopted) {
        let Some(region) = self.regions.get_mut(index) else { return };
        region.attempt = adopted.attempt;
        region.phase = RegionPhase::Running;
        region.deployed.clone_from(&adopted.workers);
        for (executor, report) in &adopted.subtasks {
            let (id, place) = (report.subtask, report.subtask.index as usize);
            if self.slots.len() <= place {
                self.slots.resize(place + 1, None);
            }
            self.slots[place] = Some(executor.id.clone());
            // Its failure is told when everything is in place.
            let state = if report.state == ExecutionState::Failed { ExecutionState::Running } else { report.state };
            let location = (executor.id.clone(), executor.host.clone());
            self.execution.adopt(id, Execution::adopted(adopted.attempt, location, (state, report.io), self.now));
            if state == ExecutionState::Running {
                for (group, watermark) in &report.watermarks {
                    self.watermarks.report(group.clone(), id, adopted.attempt, *watermark);
                }
                if !report.wants_split && !report.end_of_data && !report.splits.is_empty() {
                    self.splits.reads(id);
                }
            }
        }
        self.coordinator.adopt_subtasks(adopted.subtasks.iter().map(|(_, report)| Continued {
            subtask: report.subtask,
            restored: adopted.restored,
            end_of_data: report.end_of_data,
            finished: report.state == ExecutionState::Finished,
        }));
    }

    /// The next execution of a region waits for slots.
    fn renew_region(&mut self, index: usize) {
        let attempt = self.last_attempt;
        let Some(region) = self.regions.get_mut(index) else { return };
        region.attempt = attempt;
        self.execution.renew(&region.members, attempt, self.now);
    }

    /// Stops whatever of a region still runs somewhere in another execution than the one that goes on.
    fn cancel_former(&mut self, index: usize, goes_on: Option<ExecutionAttempt>, executors: &[FormerExecutor]) {
        let Some(id) = self.regions.get(index).map(|region| region.id) else { return };
        for (executor, worker) in workers(executors) {
            for report in worker.regions.iter().filter(|report| report.deployment.region == id && !report.cancelled) {
                let attempt = report.deployment.attempt;
                if Some(attempt) != goes_on {
                    self.tell(executor, ToWorker::Cancel { region: id, attempt });
                }
            }
        }
    }

    /// What went wrong while nobody listened.
    fn hear_of_failures(&mut self, executors: &[FormerExecutor]) {
        for (id, worker) in workers(executors) {
            if let Some(failure) = worker.exited.clone() {
                self.worker_gone(id, failure);
            }
        }
        for (id, worker) in workers(executors).filter(|(_, worker)| worker.exited.is_none()) {
            for region in &worker.regions {
                for report in region.subtasks.iter().filter(|report| report.state == ExecutionState::Failed) {
                    let SubtaskReport { subtask, state, failure, io, .. } = report.clone();
                    let attempt = region.deployment.attempt;
                    self.worker_says(id, FromWorker::State { attempt, subtask, state, failure, io });
                }
            }
        }
    }
}

fn workers(executors: &[FormerExecutor]) -> impl Iterator<Item = (&ExecutorId, &WorkerReport)> {
    executors.iter().filter_map(|executor| Some((&executor.id, executor.worker.as_ref()?)))
}

/// Takes what the subtasks of a region were given since the newest checkpoint out of the queues; false when that can't be.
fn take_splits(splits: &mut Splits, adopted: &Adopted, newest: Option<CheckpointId>) -> bool {
    let since = |report: &'_ SubtaskReport| {
        let given = report.splits.iter().filter(|given| given.after >= newest);
        given.map(|given| given.split.clone()).collect::<Vec<String>>()
    };
    let given: Vec<(SubtaskId, Vec<String>)> =
        adopted.subtasks.iter().map(|(_, report)| (report.subtask, since(report))).collect();
    splits.adopt(&given)
}

/// What the former leader has triggered, as far as is known, each once.
fn open_checkpoints(executors: &[FormerExecutor]) -> Vec<Barrier> {
    let open = workers(executors).flat_map(|(_, worker)| &worker.regions).flat_map(|region| &region.open);
    let open: BTreeMap<CheckpointId, &Barrier> = open.map(|barrier| (barrier.checkpoint, barrier)).collect();
    open.into_values().cloned().collect()
}
