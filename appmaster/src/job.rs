//! The middle of the ApplicationMaster: joins the JobMaster, the ResourceManager and the TaskExecutors of one job. Pure:
//! facts with their time in, effects out; [`crate::run`] waits for the ones and carries out the others.
//!
//! TaskExecutors are offered to the JobMaster only once the job's outputs are claimed: containers are asked for
//! meanwhile, but nothing of the job runs before.

use flumen_jobmaster::{Action, Event as JobEvent, JobMaster, JobResult, Settings, Start};
use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutionAttempt, ExecutorId, JobId};
use flumen_wire::application::JobSubmission;
use flumen_wire::control::{ExecutorCommand, ExecutorInfo, ExecutorReport, StartWorker};

use crate::client_watch::ClientWatch;
use crate::clock::Moment;
use crate::resource::manager::{self, ResourceManager};
use crate::rest::RestRequest;

mod executors;
mod operations;
mod rest;

use executors::Executors;
use operations::Operations;
pub use operations::{OperationKind, OperationState, TriggerId};

/// A fact.
#[derive(Debug)]
pub enum Event {
    /// The job's outputs are claimed, or why they can't be.
    OutputsPrepared(Result<(), Failure>),
    /// The outputs of the successful attempt are visible, or why not.
    OutputsCommitted(Result<(), Failure>),
    /// A checkpoint can be found again, or why not.
    CheckpointStored {
        /// Which one.
        checkpoint: CheckpointId,
        /// Whether it is complete.
        result: Result<(), Failure>,
    },
    /// A newer attempt of the application has taken the job's checkpoints over: the text says of what.
    Superseded(String),
    /// Files that no checkpoint needs any more have been looked after.
    FilesDiscarded,
    /// What came of the removal of a savepoint.
    Disposed {
        /// The operation.
        trigger: TriggerId,
        /// Its end.
        state: OperationState,
    },
    /// A TaskExecutor registered.
    ExecutorRegistered(ExecutorInfo),
    /// A TaskExecutor says something.
    ExecutorReport {
        /// Who.
        id: ExecutorId,
        /// What.
        report: ExecutorReport,
    },
    /// A TaskExecutor's connection broke, or it fell silent.
    ExecutorLost {
        /// Who.
        id: ExecutorId,
        /// What is known of it.
        failure: Failure,
    },
    /// Something that concerns containers.
    Resource(manager::Event),
    /// A question or command from outside.
    Rest(RestRequest),
    /// Nothing but the time has changed.
    Tick,
}

/// Something to do.
#[derive(Debug)]
pub enum Effect {
    /// Send this to a TaskExecutor.
    ToExecutor {
        /// Whom.
        id: ExecutorId,
        /// What.
        command: ExecutorCommand,
    },
    /// Tell YARN.
    Resource(manager::Action),
    /// Make what the attempt wrote visible, then tell [`Event::OutputsCommitted`].
    CommitOutputs {
        /// The attempt.
        attempt: ExecutionAttempt,
    },
    /// Complete a checkpoint, then tell [`Event::CheckpointStored`].
    StoreCheckpoint(Box<CompletedCheckpoint>),
    /// Remove these files and directories.
    DiscardFiles(Vec<String>),
    /// Remove a savepoint, then tell [`Event::Disposed`].
    DisposeSavepoint {
        /// The operation.
        trigger: TriggerId,
        /// Where it lies, as the user wrote it.
        path: String,
    },
    /// Stop all work: a newer attempt runs.
    StepDown(String),
    /// The job is over: end the application.
    Done {
        /// How it ended.
        result: JobResult,
        /// Why it was cancelled, if somebody did that.
        cancelled: Option<&'static str>,
    },
}

/// See the module.
pub struct JobDriver {
    job: JobId,
    submission: JobSubmission,
    master: JobMaster,
    resources: ResourceManager,
    executors: Executors,
    /// Registered TaskExecutors that wait for the outputs; `None` once these are claimed.
    held_back: Option<Vec<ExecutorId>>,
    watch: ClientWatch,
    operations: Operations,
    /// `state.savepoints.dir` is set.
    has_savepoint_directory: bool,
    /// Why the job was cancelled first.
    cancelled: Option<&'static str>,
}

impl JobDriver {
    /// Accepts a job. The effects are the first to carry out.
    pub fn new(
        submission: JobSubmission,
        settings: Settings,
        start: Start,
        resources: ResourceManager,
        watch: ClientWatch,
        now: Moment,
    ) -> (Self, Vec<Effect>) {
        let graph = submission.graph.clone();
        let has_savepoint_directory = settings.checkpoints.savepoint_directory.is_some();
        let (master, actions) = JobMaster::new(submission.job, graph, settings, start, now.timestamp);
        let mut driver = Self {
            job: submission.job,
            submission,
            master,
            resources,
            executors: Executors::default(),
            held_back: Some(Vec::new()),
            watch,
            operations: Operations::default(),
            has_savepoint_directory,
            cancelled: None,
        };
        let mut effects = Vec::new();
        driver.carry_out(now, actions, &mut effects);
        (driver, effects)
    }

    /// Takes a fact in and says what to do about it.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::OutputsPrepared(result) => self.outputs_prepared(now, result, &mut effects),
            Event::OutputsCommitted(result) => self.job_event(now, JobEvent::OutputsCommitted(result), &mut effects),
            Event::CheckpointStored { checkpoint, result } => {
                self.job_event(now, JobEvent::CheckpointStored { checkpoint, result }, &mut effects);
            }
            Event::Superseded(reason) => effects.push(Effect::StepDown(reason)),
            Event::FilesDiscarded => {}
            Event::Disposed { trigger, state } => self.operations.end(trigger, state),
            Event::ExecutorRegistered(info) => self.executor_registered(now, info, &mut effects),
            Event::ExecutorReport { id, report } => self.executor_report(now, id, report, &mut effects),
            Event::ExecutorLost { id, failure } => {
                if let Some(container) = self.executors.container(&id) {
                    tracing::warn!(executor = %id, %failure, "connection to a TaskExecutor lost");
                    self.resource_event(now, manager::Event::ExecutorLost { id: container, failure }, &mut effects);
                }
            }
            Event::Resource(event) => self.resource_event(now, event, &mut effects),
            Event::Rest(request) => self.rest(now, request, &mut effects),
            Event::Tick => {
                self.resource_event(now, manager::Event::Tick, &mut effects);
                self.job_event(now, JobEvent::Tick, &mut effects);
            }
        }
        if self.watch.has_fallen_silent(now.timestamp) {
            self.cancel(now, "its attached client fell silent (client.heartbeat.timeout)", &mut effects);
        }
        effects
    }

    /// When [`Event::Tick`] is due.
    pub fn next_timer(&self, now: Moment) -> Option<std::time::Instant> {
        let of_job = self.master.next_timer().into_iter().chain(self.watch.expires()).map(|at| now.instant_of(at));
        of_job.chain(self.resources.next_timer()).min()
    }

    /// True while something is awaited from YARN.
    pub fn awaits_yarn(&self) -> bool {
        self.resources.awaits_yarn()
    }

    /// Share of the input that was read, from 0 to 1; 0 when it can't be told.
    pub fn progress(&self) -> f32 {
        self.master.details().progress.unwrap_or(0.0) as f32
    }

    fn outputs_prepared(&mut self, now: Moment, result: Result<(), Failure>, effects: &mut Vec<Effect>) {
        match result {
            Ok(()) => {
                for id in self.held_back.take().unwrap_or_default() {
                    self.offer(now, &id, effects);
                }
            }
            Err(failure) => {
                tracing::error!(%failure, "the job's outputs can't be claimed");
                self.job_event(now, JobEvent::ResourcesUnavailable { failure }, effects);
            }
        }
    }

    fn executor_registered(&mut self, now: Moment, info: ExecutorInfo, effects: &mut Vec<Effect>) {
        let id = info.id.clone();
        let container = id.0.parse().ok().filter(|container| self.resources.owns(*container));
        let Some(container) = container else {
            tracing::warn!(executor = %id, "a TaskExecutor of a container that was given up or is not ours registered");
            let reason = "its container is not, or no longer, in use by this application".to_owned();
            effects.push(Effect::ToExecutor { id, command: ExecutorCommand::Shutdown { reason } });
            return;
        };
        let logs_url = self.resources.logs_url(container);
        self.executors.add(info, container, logs_url, now.timestamp);
        self.resource_event(now, manager::Event::ExecutorRegistered(container), effects);
        match &mut self.held_back {
            Some(waiting) => waiting.push(id),
            None => self.offer(now, &id, effects),
        }
    }

    fn offer(&mut self, now: Moment, id: &ExecutorId, effects: &mut Vec<Effect>) {
        if let Some(info) = self.executors.info(id) {
            let event = JobEvent::ExecutorRegistered { id: id.clone(), slots: info.slots, host: info.host.clone() };
            self.job_event(now, event, effects);
        }
    }

    fn executor_report(&mut self, now: Moment, id: ExecutorId, report: ExecutorReport, effects: &mut Vec<Effect>) {
        self.executors.heard(&id, now.timestamp);
        match report {
            ExecutorReport::Heartbeat { resident } => self.executors.set_resident(&id, resident),
            ExecutorReport::Register(_) => tracing::warn!(executor = %id, "registered twice on one connection"),
            ExecutorReport::WorkerExited { job, instance, failure } if job == self.job => {
                tracing::warn!(executor = %id, instance, %failure, "worker ended");
                self.worker_gone(now, &id, instance, effects);
                self.job_event(now, JobEvent::WorkerExited { executor: id, instance, failure }, effects);
            }
            ExecutorReport::Worker { job, instance, message } if job == self.job => {
                self.job_event(now, JobEvent::Worker { executor: id, instance, message }, effects);
            }
            ExecutorReport::WorkerExited { job, .. } | ExecutorReport::Worker { job, .. } => {
                tracing::warn!(executor = %id, %job, "a report on another job");
            }
        }
    }

    fn cancel(&mut self, now: Moment, reason: &'static str, effects: &mut Vec<Effect>) {
        tracing::info!(job = %self.job, reason, "job is cancelled");
        self.cancelled.get_or_insert(reason);
        self.job_event(now, JobEvent::Cancel, effects);
    }

    fn worker_gone(&mut self, now: Moment, id: &ExecutorId, instance: u32, effects: &mut Vec<Effect>) {
        if let Some(container) = self.executors.worker_gone(id, instance) {
            self.resource_event(now, manager::Event::Busy { id: container, busy: false }, effects);
        }
    }

    fn job_event(&mut self, now: Moment, event: JobEvent, effects: &mut Vec<Effect>) {
        let actions = self.master.step(now.timestamp, event);
        self.carry_out(now, actions, effects);
    }

    fn carry_out(&mut self, now: Moment, actions: Vec<Action>, effects: &mut Vec<Effect>) {
        for action in actions {
            match action {
                Action::DeclareSlots(slots) => {
                    tracing::info!(job = %self.job, slots, "job declares slots");
                    self.resource_event(now, manager::Event::Declared { slots }, effects);
                }
                Action::StartWorker { executor, instance } => self.start_worker(now, executor, instance, effects),
                Action::StopWorker { executor, instance } => {
                    tracing::info!(%executor, instance, "worker is stopped");
                    let command = ExecutorCommand::StopWorker { job: self.job, instance };
                    effects.push(Effect::ToExecutor { id: executor.clone(), command });
                    self.worker_gone(now, &executor, instance, effects);
                }
                Action::ToWorker { executor, instance, message } => {
                    let command = ExecutorCommand::Worker { job: self.job, instance, message };
                    effects.push(Effect::ToExecutor { id: executor, command });
                }
                Action::CommitOutputs { attempt } => effects.push(Effect::CommitOutputs { attempt }),
                Action::StoreCheckpoint(checkpoint) => effects.push(Effect::StoreCheckpoint(checkpoint)),
                Action::DiscardFiles { paths } => effects.push(Effect::DiscardFiles(paths)),
                Action::Answer { request, result } => {
                    if self.operations.answered(request, result) {
                        self.cancel(now, "its user asked for it, with a savepoint", effects);
                    }
                }
                Action::Done(result) => effects.push(Effect::Done { result, cancelled: self.cancelled }),
            }
        }
    }

    fn start_worker(&mut self, now: Moment, executor: ExecutorId, instance: u32, effects: &mut Vec<Effect>) {
        tracing::info!(%executor, instance, "worker is started");
        let start = StartWorker {
            job: self.job,
            instance,
            program: self.submission.program.clone(),
            arguments: self.submission.arguments.clone(),
            graph: self.master.worker_graph().clone(),
            configuration: self.submission.configuration.clone(),
            slots: self.executors.info(&executor).map_or(1, |info| info.slots),
        };
        if let Some(container) = self.executors.worker_started(&executor, instance) {
            self.resource_event(now, manager::Event::Busy { id: container, busy: true }, effects);
        }
        effects.push(Effect::ToExecutor { id: executor, command: ExecutorCommand::StartWorker(Box::new(start)) });
    }

    /// Forgets a TaskExecutor, and lets the JobMaster forget it if it was offered.
    fn executor_gone(&mut self, now: Moment, id: ExecutorId, failure: Failure, effects: &mut Vec<Effect>) {
        let known = self.executors.remove(&id);
        match &mut self.held_back {
            Some(waiting) => waiting.retain(|other| *other != id),
            None if known => self.job_event(now, JobEvent::ExecutorLost { id, failure }, effects),
            None => {}
        }
    }

    fn resource_event(&mut self, now: Moment, event: manager::Event, effects: &mut Vec<Effect>) {
        for action in self.resources.step(now.instant, event) {
            match action {
                manager::Action::ReportLost { id, failure } => {
                    tracing::warn!(executor = %id, %failure, "TaskExecutor is gone");
                    self.executor_gone(now, id, failure, effects);
                }
                manager::Action::GiveUp(failure) => {
                    tracing::error!(%failure, "the job's slots will not come");
                    self.job_event(now, JobEvent::ResourcesUnavailable { failure }, effects);
                }
                manager::Action::Release { id, reason } => {
                    tracing::info!(container = %id, reason, "container is given back");
                    let executor = manager::executor_id(id);
                    if self.executors.info(&executor).is_some() {
                        let command = ExecutorCommand::Shutdown { reason: reason.to_owned() };
                        effects.push(Effect::ToExecutor { id: executor.clone(), command });
                        let failure = Failure::new(Blame::Outside, format!("its container was given back: {reason}"));
                        self.executor_gone(now, executor, failure, effects);
                    }
                    effects.push(Effect::Resource(manager::Action::Release { id, reason }));
                }
                action @ (manager::Action::Ask(_) | manager::Action::Launch(_) | manager::Action::InspectCluster) => {
                    effects.push(Effect::Resource(action));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
