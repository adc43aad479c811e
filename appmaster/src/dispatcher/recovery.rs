//! The jobs of a former leader: taken over, with everything of them that still runs.
//!
//! A job that was kept is admitted like any other, and then waits until the TaskExecutors that the former leader started have
//! registered, or the time for that is over. Only then it is known what runs, and its JobMaster decides what goes on and what
//! is restarted. Until all jobs have decided nobody is given slots and no TaskExecutor goes.

use std::collections::{BTreeMap, BTreeSet};

use flumen_jobmaster::{Event as JobEvent, FormerExecutor, JobResult, Timestamp};
use flumen_model::config::BadConfiguration;
use flumen_model::failure::Failure;
use flumen_model::ids::{ExecutorId, JobId};
use flumen_wire::application::JobSubmission;
use flumen_wire::control::{ExecutorCommand, FromWorker};
use flumen_wire::kept::KeptResult;
use flumen_wire::report::WorkerReport;

use super::job::{self, Job};
use super::{Dispatcher, Effect, Outcome};
use crate::clock::Moment;
use crate::resource::manager;

/// What is being taken over.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Not all that was found is divided among the jobs yet.
    undivided: bool,
    /// Jobs that have not decided yet.
    jobs: BTreeSet<JobId>,
    /// What TaskExecutors have said of the workers of these jobs, until now.
    reports: BTreeMap<ExecutorId, Vec<WorkerReport>>,
}

impl Recovery {
    /// Whether slots are given to nobody yet.
    pub(super) fn holds_slots_back(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Whether a job has not decided yet.
    pub(super) fn waits(&self, job: JobId) -> bool {
        self.jobs.contains(&job)
    }

    /// The job will decide nothing.
    pub(super) fn forget(&mut self, job: JobId) {
        self.jobs.remove(&job);
    }

    /// A TaskExecutor is gone.
    pub(super) fn executor_gone(&mut self, executor: &ExecutorId) {
        self.reports.remove(executor);
    }

    /// A worker of a job that has not decided yet says something. False when it is not one of those.
    pub(super) fn said(&mut self, job: JobId, executor: &ExecutorId, instance: u32, message: &FromWorker) -> bool {
        if !self.waits(job) {
            return false;
        }
        self.report(job, executor, instance).into_iter().for_each(|report| report.said(message));
        true
    }

    /// A worker of such a job has ended. False when it is not one of those.
    pub(super) fn exited(&mut self, job: JobId, executor: &ExecutorId, instance: u32, failure: &Failure) -> bool {
        if !self.waits(job) {
            return false;
        }
        self.report(job, executor, instance).into_iter().for_each(|report| report.exited(failure));
        true
    }

    fn report(&mut self, job: JobId, executor: &ExecutorId, instance: u32) -> Option<&mut WorkerReport> {
        let reports = self.reports.get_mut(executor)?;
        reports.iter_mut().find(|report| report.job == job && report.instance == instance)
    }
}

impl Dispatcher {
    /// Takes over what a former leader has kept. To be called before anything else; containers that it had, if there are
    /// any, are told as the first event.
    ///
    /// # Errors
    /// An option of a job has a value that it can't have.
    pub fn recover(
        &mut self,
        now: Moment,
        jobs: Vec<JobSubmission>,
        ended: Vec<KeptResult>,
    ) -> Result<Vec<Effect>, BadConfiguration> {
        let mut effects = Vec::new();
        self.resources.keep_everything();
        self.recovery.undivided = true;
        for kept in ended {
            self.recover_ended(now.timestamp, kept)?;
        }
        for submission in jobs {
            let id = submission.job;
            tracing::info!(job = %id, name = submission.graph.name, "job of a former JobManager is taken over");
            let (mut job, admission) = Job::taken_over(submission, self.submissions, now.timestamp)?;
            if self.stands_in {
                job.wait_for_slots();
            }
            self.submissions += 1;
            self.pool.declare(id, job.slots());
            self.recovery.jobs.insert(id);
            self.jobs.insert(id, job);
            effects.push(Effect::Admit(Box::new(admission)));
        }
        self.balance(now, &mut effects);
        Ok(effects)
    }

    /// A job that has ended is shown, and never runs again.
    fn recover_ended(&mut self, now: Timestamp, kept: KeptResult) -> Result<(), BadConfiguration> {
        let id = kept.submission.job;
        let (status, failure, cancelled) = (kept.status, kept.failure.clone(), kept.cancelled.clone());
        let start = Timestamp(kept.start_ms);
        let result = JobResult {
            job: id,
            name: kept.submission.graph.name.clone(),
            status,
            failure,
            start,
            runtime_ms: kept.runtime_ms,
            restarts: kept.restarts,
            retained: kept.retained.clone(),
        };
        tracing::info!(job = %id, %status, "job of a former JobManager had ended");
        let (details, checkpoints) = job::as_ended(&kept, start)?;
        self.archive.add(now, details, checkpoints, super::Operations::default());
        if !self.session {
            self.outcome = Some(Outcome::Job { result: Box::new(result), cancelled });
        }
        Ok(())
    }

    /// What a TaskExecutor that registers runs already.
    pub(super) fn former_workers(
        &mut self,
        now: Moment,
        executor: &ExecutorId,
        workers: Vec<WorkerReport>,
        effects: &mut Vec<Effect>,
    ) {
        for report in workers {
            let (job, instance) = (report.job, report.instance);
            tracing::info!(%job, %executor, instance, exited = report.exited.is_some(), "runs a worker of a former JobManager");
            if self.recovery.waits(job) {
                self.recovery.reports.entry(executor.clone()).or_default().push(report);
            } else if self.jobs.contains_key(&job) {
                let event = JobEvent::FormerWorker { executor: executor.clone(), instance };
                self.job_event(now, job, event, effects);
            } else if report.exited.is_none() {
                let command = ExecutorCommand::StopWorker { job, instance };
                effects.push(Effect::ToExecutor { id: executor.clone(), command });
            }
        }
    }

    /// Lets the jobs decide, once everybody has reported who may.
    pub(super) fn divide(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if !self.recovery.undivided || self.resources.awaits_former() {
            return;
        }
        let admitted = |id: &JobId| self.jobs.get(id).is_some_and(Job::is_admitted);
        let admitted: Vec<JobId> = self.recovery.jobs.iter().copied().filter(admitted).collect();
        for id in admitted {
            self.decide(now, id, effects);
        }
        if self.recovery.jobs.is_empty() {
            // Of jobs that could not be taken over.
            for (executor, reports) in std::mem::take(&mut self.recovery).reports {
                for WorkerReport { job, instance, .. } in reports {
                    let command = ExecutorCommand::StopWorker { job, instance };
                    effects.push(Effect::ToExecutor { id: executor.clone(), command });
                }
            }
            tracing::info!("what a former JobManager left behind is divided among the jobs");
            self.resource_event(now, manager::Event::Divided, effects);
        }
    }

    fn decide(&mut self, now: Moment, id: JobId, effects: &mut Vec<Effect>) {
        self.recovery.jobs.remove(&id);
        let mut former = Vec::new();
        for (executor, reports) in &mut self.recovery.reports {
            let Some(info) = self.executors.info(executor) else { continue };
            let Some(place) = reports.iter().position(|report| report.job == id) else { continue };
            let report = reports.swap_remove(place);
            let slots = report.slots.max(1);
            self.pool.assign(id, executor, slots);
            former.push(FormerExecutor { id: executor.clone(), slots, host: info.host.clone(), worker: Some(report) });
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        tracing::info!(job = %id, executors = former.len(), "what runs of the job is known");
        let patient_until = now.timestamp.after(job.slot_patience);
        let actions = job.adopt(now.timestamp, former);
        self.pool.ready(id, patient_until);
        self.carry_out(now, id, actions, effects);
    }
}
