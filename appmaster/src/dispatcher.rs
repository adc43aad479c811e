//! The middle of the ApplicationMaster: joins the jobs, the ResourceManager and the TaskExecutors. Pure: facts with their
//! time in, effects out; [`crate::main_loop`] waits for the ones and carries out the others.
//!
//! A session has any number of jobs and lives until it is told to end. An application of one job is a session that takes no
//! other and ends with it. Jobs know nothing of each other: each has its JobMaster, which gets the facts of its own job
//! only; what they share is the pool of slots ([`slots`]).
//!
//! A job gets slots only once its outputs are claimed: containers are asked for meanwhile, but nothing of it runs before.

use std::collections::BTreeMap;

use flumen_jobmaster::{Action, Event as JobEvent, JobResult};
use flumen_model::config::BadConfiguration;
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutorId, JobId};
use flumen_model::status::JobStatus;
use flumen_wire::application::JobSubmission;
use flumen_wire::control::ExecutorCommand;
use tokio::sync::oneshot;

use crate::clock::Moment;
use crate::resource::manager::{self, ResourceManager};
use crate::rest::SubmitReply;

mod archive;
mod cluster;
mod event;
mod executors;
mod job;
mod operations;
mod recovery;
mod rest;
mod slots;

use archive::Archive;
pub use archive::ArchiveLimits;
pub use event::{Admission, Admitted, Effect, Event, Outcome};
use executors::Executors;
use job::Job;
use operations::Operations;
pub use operations::{OperationKind, OperationState, TriggerId};
use recovery::Recovery;
use slots::SlotPool;

/// Jobs that may live at the same time: far more than a queue has containers for.
const JOBS_MAX: usize = 1000;

/// See the module.
pub struct Dispatcher {
    /// Lives until it is told to end; otherwise it ends with its only job.
    session: bool,
    /// What has to outlive this leader is kept: jobs before they are acknowledged, their results before they are told.
    keeps: bool,
    /// Leads only until the next attempt of the ApplicationMaster does.
    stands_in: bool,
    recovery: Recovery,
    jobs: BTreeMap<JobId, Job>,
    submissions: u64,
    archive: Archive,
    resources: ResourceManager,
    executors: Executors,
    pool: SlotPool,
    /// What the ResourceManager was told last: slots of all jobs, and of the largest one that waits.
    declared: (u32, u32),
    /// Removals of savepoints.
    operations: Operations,
    /// The session was told to end.
    stopping: bool,
    outcome: Option<Outcome>,
}

impl Dispatcher {
    /// One without any job. `keeps`: later leaders find what this one has.
    pub fn new(session: bool, keeps: bool, resources: ResourceManager, limits: ArchiveLimits) -> Self {
        Self {
            session,
            keeps,
            stands_in: false,
            recovery: Recovery::default(),
            jobs: BTreeMap::new(),
            submissions: 0,
            archive: Archive::new(limits),
            resources,
            executors: Executors::default(),
            pool: SlotPool::default(),
            declared: (0, 0),
            operations: Operations::default(),
            stopping: false,
            outcome: None,
        }
    }

    /// It leads only until the next attempt of the ApplicationMaster does, and has no line to YARN: what needs one is left to
    /// that attempt.
    pub fn stand_in(&mut self) {
        self.stands_in = true;
    }

    /// Takes the one job in that the application was submitted with.
    ///
    /// # Errors
    /// An option of the job has a value that it can't have.
    pub fn submit_own(&mut self, now: Moment, submission: JobSubmission) -> Result<Vec<Effect>, BadConfiguration> {
        let mut effects = Vec::new();
        // It comes with the application: a later attempt finds it there.
        self.admit(now, submission, false, None, &mut effects)?;
        self.balance(now, &mut effects);
        Ok(effects)
    }

    /// Takes a fact in and says what to do about it.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.archive.expire(now.timestamp);
        match event {
            Event::Planned(result) => self.planned(now, result, &mut effects),
            Event::Admitted { job, result } => self.admitted(now, job, result, &mut effects),
            Event::OutputsCommitted { job, result } => {
                self.job_event(now, job, JobEvent::OutputsCommitted(result), &mut effects);
            }
            Event::CheckpointStored { job, checkpoint, result } => {
                self.job_event(now, job, JobEvent::CheckpointStored { checkpoint, result }, &mut effects);
            }
            Event::Superseded(reason) => effects.push(Effect::StepDown(reason)),
            Event::FilesDiscarded => {}
            Event::Disposed { trigger, state } => self.operations.end(trigger, state),
            Event::ResultKept { job } => self.result_kept(now, job, &mut effects),
            Event::ExecutorRegistered { info, workers } => self.executor_registered(now, info, workers, &mut effects),
            Event::ExecutorReport { id, report } => self.executor_report(now, id, report, &mut effects),
            Event::ExecutorLost { id, failure } => self.connection_lost(now, &id, failure, &mut effects),
            Event::Resource(event) => self.resource_event(now, event, &mut effects),
            Event::Rest(request) => self.rest(now, request, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
        }
        self.watch_clients(now, &mut effects);
        self.divide(now, &mut effects);
        self.balance(now, &mut effects);
        let forgotten = self.archive.forgotten().into_iter().filter(|_| self.keeps);
        effects.extend(forgotten.map(|job| Effect::ForgetResult { job }));
        if self.stopping && self.jobs.is_empty() {
            self.outcome.get_or_insert(Outcome::Stopped);
        }
        // After the release of containers and all else that the end of a job brings about.
        effects.extend(self.outcome.take().map(Effect::Done));
        effects
    }

    /// When [`Event::Tick`] is due.
    pub fn next_timer(&self, now: Moment) -> Option<std::time::Instant> {
        let of_jobs = self.jobs.values().filter_map(Job::next_timer);
        let shown = of_jobs.chain(self.archive.next_timer()).map(|at| now.instant_of(at));
        shown.chain(self.resources.next_timer()).min()
    }

    /// True while something is awaited from YARN.
    pub fn awaits_yarn(&self) -> bool {
        self.resources.awaits_yarn()
    }

    /// Share of the input that was read, from 0 to 1: of an application's one job. 0 when it can't be told.
    pub fn progress(&self) -> f32 {
        let job = self.jobs.values().next().filter(|_| !self.session);
        job.and_then(|job| job.master.details().progress).unwrap_or(0.0) as f32
    }

    fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.resource_event(now, manager::Event::Tick, effects);
        let due = |job: &&Job| job.next_timer().is_some_and(|at| at <= now.timestamp);
        let due: Vec<JobId> = self.jobs.values().filter(due).map(|job| job.id).collect();
        for job in due {
            self.job_event(now, job, JobEvent::Tick, effects);
        }
    }

    fn watch_clients(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.stands_in {
            // Clients don't know yet whom to speak to.
            return;
        }
        let silent = |job: &mut Job| job.watch.has_fallen_silent(now.timestamp).then_some(job.id);
        let silent: Vec<JobId> = self.jobs.values_mut().filter_map(silent).collect();
        for job in silent {
            self.cancel(now, job, "its attached client fell silent (client.heartbeat.timeout)", effects);
        }
    }

    /// Begins to admit a job, whose submitter hears of it when that is done.
    fn admit(
        &mut self,
        now: Moment,
        submission: JobSubmission,
        keep: bool,
        reply: Option<oneshot::Sender<SubmitReply>>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), BadConfiguration> {
        let id = submission.job;
        tracing::info!(job = %id, name = submission.graph.name, "job is submitted");
        let accepted_ms = Some(now.timestamp.0);
        let keep = (keep && self.keeps).then(|| Box::new(JobSubmission { accepted_ms, ..submission.clone() }));
        let (mut job, admission) = match Job::new(submission, self.submissions, now.timestamp) {
            Ok(job) => job,
            Err(error) => {
                if let Some(reply) = reply {
                    let _ = reply.send(SubmitReply::Refused(error.to_string()));
                }
                return Err(error);
            }
        };
        self.submissions += 1;
        self.pool.declare(id, job.slots());
        reply.into_iter().for_each(|reply| job.reply_on_admission(reply));
        self.jobs.insert(id, job);
        effects.push(Effect::Admit(Box::new(Admission { keep, ..admission })));
        Ok(())
    }

    /// The application's program has told its job.
    fn planned(&mut self, now: Moment, result: Result<Box<JobSubmission>, Failure>, effects: &mut Vec<Effect>) {
        if self.stopping {
            return;
        }
        let failure = match result {
            Ok(submission) => match self.admit(now, *submission, true, None, effects) {
                Ok(()) => return,
                Err(error) => Failure::new(Blame::Outside, error.to_string()),
            },
            Err(failure) => failure,
        };
        tracing::error!(%failure, "the program has no job");
        self.outcome = Some(Outcome::NoJob(failure));
    }

    fn admitted(&mut self, now: Moment, id: JobId, result: Result<Box<Admitted>, Failure>, effects: &mut Vec<Effect>) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_pending()) else { return };
        match result {
            Ok(admitted) if self.recovery.waits(id) => job.hold(admitted),
            Ok(admitted) => {
                job.answer_submitters(&SubmitReply::Accepted);
                let patient_until = now.timestamp.after(job.slot_patience);
                let actions = job.begin(now.timestamp, *admitted);
                self.pool.ready(id, patient_until);
                self.carry_out(now, id, actions, effects);
            }
            Err(failure) => {
                tracing::error!(job = %id, %failure, "the job can't begin");
                job.answer_submitters(&SubmitReply::Refused(failure.to_string()));
                job.begin_refused();
                let taken_over = self.recovery.waits(id);
                self.recovery.forget(id);
                if self.session && !taken_over {
                    // As if it had never been: whoever submitted it was told why.
                    self.jobs.remove(&id);
                    self.pool.forget(id);
                } else {
                    self.job_event(now, id, JobEvent::ResourcesUnavailable { failure }, effects);
                }
            }
        }
    }

    fn cancel(&mut self, now: Moment, id: JobId, reason: &'static str, effects: &mut Vec<Effect>) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.result.is_none()) else { return };
        tracing::info!(job = %id, reason, "job is cancelled");
        job.cancelled.get_or_insert(reason);
        self.job_event(now, id, JobEvent::Cancel, effects);
    }

    fn job_event(&mut self, now: Moment, id: JobId, event: JobEvent, effects: &mut Vec<Effect>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let actions = job.step(now.timestamp, event);
        self.carry_out(now, id, actions, effects);
    }

    fn carry_out(&mut self, now: Moment, id: JobId, actions: Vec<Action>, effects: &mut Vec<Effect>) {
        let over = actions.iter().any(|action| matches!(action, Action::Done(_)));
        for action in actions {
            match action {
                Action::DeclareSlots(0) => self.pool.forget(id),
                Action::DeclareSlots(slots) => {
                    tracing::info!(job = %id, slots, "job declares slots");
                    self.pool.declare(id, slots);
                }
                Action::StartWorker { executor, instance } => {
                    let Some(job) = self.jobs.get(&id) else { return };
                    let slots = self.pool.of(id, &executor);
                    tracing::info!(job = %id, %executor, instance, slots, "worker is started");
                    let command = ExecutorCommand::StartWorker(Box::new(job.start_worker(instance, slots)));
                    effects.push(Effect::ToExecutor { id: executor, command });
                }
                Action::StopWorker { executor, instance } => {
                    tracing::info!(job = %id, %executor, instance, "worker is stopped");
                    let command = ExecutorCommand::StopWorker { job: id, instance };
                    effects.push(Effect::ToExecutor { id: executor, command });
                }
                Action::ToWorker { executor, instance, message } => {
                    let command = ExecutorCommand::Worker { job: id, instance, message };
                    effects.push(Effect::ToExecutor { id: executor, command });
                }
                Action::CommitOutputs { attempt } => effects.push(Effect::CommitOutputs { job: id, attempt }),
                Action::StoreCheckpoint(checkpoint) => effects.push(Effect::StoreCheckpoint { job: id, checkpoint }),
                Action::DiscardFiles { paths } if over && self.keeps => {
                    // A later leader that does not find how the job ended goes on from its checkpoints.
                    self.jobs.get_mut(&id).into_iter().for_each(|job| job.left.extend(paths.iter().cloned()));
                }
                Action::DiscardFiles { paths } => effects.push(Effect::DiscardFiles { job: id, paths }),
                Action::Answer { request, result } => {
                    let job = self.jobs.get_mut(&id);
                    if job.is_some_and(|job| job.operations.answered(request, result)) {
                        self.cancel(now, id, "its user asked for it, with a savepoint", effects);
                    }
                }
                Action::Done(result) => self.over(now, result, effects),
            }
        }
        // One that is ending waits for nothing more than its own end.
        let ending = |job: &Job| matches!(job.status(), JobStatus::Failing | JobStatus::Cancelling);
        if self.jobs.get(&id).is_some_and(ending) {
            self.pool.settle_for_less(id);
        }
    }

    /// A job is over: nobody is told before that is certain to be remembered.
    fn over(&mut self, now: Moment, result: JobResult, effects: &mut Vec<Effect>) {
        let id = result.job;
        self.pool.forget(id);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if self.keeps {
            effects.push(Effect::KeepResult(Box::new(job.kept(&result))));
            job.result = Some(result);
        } else {
            self.close(now, result, effects);
        }
    }

    fn result_kept(&mut self, now: Moment, job: JobId, effects: &mut Vec<Effect>) {
        let Some(over) = self.jobs.get_mut(&job) else { return };
        let (result, paths) = (over.result.take(), std::mem::take(&mut over.left));
        if !paths.is_empty() {
            effects.push(Effect::DiscardFiles { job, paths });
        }
        result.into_iter().for_each(|result| self.close(now, result, effects));
    }

    /// What is left of a job that is over is what can be read of it.
    fn close(&mut self, now: Moment, result: JobResult, effects: &mut Vec<Effect>) {
        let Some(job) = self.jobs.remove(&result.job) else { return };
        let id = result.job;
        let Job { master, operations, cancelled, .. } = job;
        let cancelled = cancelled.map(str::to_owned);
        self.archive.add(now.timestamp, master.details(), master.checkpoints(), operations);
        effects.push(Effect::CloseJob { job: id, succeeded: result.status == JobStatus::Finished });
        if !self.session {
            self.outcome = Some(Outcome::Job { result: Box::new(result), cancelled });
        }
    }

    /// Brings what the jobs declare, what the ResourceManager knows of it and what is given to whom into agreement.
    fn balance(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        loop {
            let grants = if self.recovery.holds_slots_back() { Vec::new() } else { self.pool.allot(now.timestamp) };
            for slots::Grant { job, executor, slots } in &grants {
                tracing::info!(%job, %executor, slots, "job is given slots");
                let host = self.executors.info(executor).map(|info| info.host.clone()).unwrap_or_default();
                let event = JobEvent::ExecutorRegistered { id: executor.clone(), slots: *slots, host };
                self.job_event(now, *job, event, effects);
            }
            let turned = self.pool.turned();
            for (executor, busy) in &turned {
                if let Some(id) = self.executors.container(executor) {
                    self.resource_event(now, manager::Event::Busy { id, busy: *busy }, effects);
                }
            }
            let largest = self.pool.waiting().into_iter().map(|(_, slots)| slots).max().unwrap_or(0);
            let declared = (self.pool.declared(), largest);
            let changed = std::mem::replace(&mut self.declared, declared) != declared;
            if changed {
                let (slots, largest) = declared;
                self.resource_event(now, manager::Event::Declared { slots, largest }, effects);
            }
            if grants.is_empty() && turned.is_empty() && !changed {
                return;
            }
        }
    }

    /// A TaskExecutor is gone, and the jobs that used it hear of it.
    fn executor_gone(&mut self, now: Moment, id: &ExecutorId, failure: &Failure, effects: &mut Vec<Effect>) {
        self.executors.remove(id);
        self.recovery.executor_gone(id);
        for job in self.pool.remove(id) {
            let (id, failure) = (id.clone(), failure.clone());
            self.job_event(now, job, JobEvent::ExecutorLost { id, failure }, effects);
        }
    }
}

#[cfg(test)]
mod tests;
