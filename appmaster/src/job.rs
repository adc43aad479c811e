//! The middle of the ApplicationMaster: joins the JobMaster, the ResourceManager and the TaskExecutors of one job. Pure:
//! facts with their time in, effects out; [`crate::run`] waits for the ones and carries out the others.
//!
//! TaskExecutors are offered to the JobMaster only once the job's outputs are claimed: containers are asked for
//! meanwhile, but nothing of the job runs before.

use std::collections::BTreeMap;

use flumen_jobmaster::{Action, Event as JobEvent, JobMaster, JobResult, Settings, Start};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutionAttempt, ExecutorId, JobId};
use flumen_wire::application::Application;
use flumen_wire::control::{ExecutorCommand, ExecutorInfo, ExecutorReport, StartWorker};
use tokio::sync::oneshot;

use crate::client_watch::ClientWatch;
use crate::clock::Moment;
use crate::resource::manager::{self, ResourceManager};
use crate::rest::{CancelReply, ExecutorView, RestRequest};

mod executors;

use executors::Executors;

/// A fact.
#[derive(Debug)]
pub enum Event {
    /// The job's outputs are claimed, or why they can't be.
    OutputsPrepared(Result<(), Failure>),
    /// The outputs of the successful attempt are visible, or why not.
    OutputsCommitted(Result<(), Failure>),
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
    program: String,
    arguments: Vec<String>,
    master: JobMaster,
    resources: ResourceManager,
    executors: Executors,
    /// Registered TaskExecutors that wait for the outputs; `None` once these are claimed.
    held_back: Option<Vec<ExecutorId>>,
    watch: ClientWatch,
    /// Why the job was cancelled first.
    cancelled: Option<&'static str>,
}

impl JobDriver {
    /// Accepts the application's job. The effects are the first to carry out.
    pub fn new(
        application: &Application,
        settings: Settings,
        resources: ResourceManager,
        watch: ClientWatch,
        now: Moment,
    ) -> (Self, Vec<Effect>) {
        let graph = application.graph.clone();
        let (master, actions) = JobMaster::new(application.job, graph, settings, Start::default(), now.timestamp);
        let mut driver = Self {
            job: application.job,
            program: application.program.clone(),
            arguments: application.arguments.clone(),
            master,
            resources,
            executors: Executors::default(),
            held_back: Some(Vec::new()),
            watch,
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

    fn rest(&mut self, now: Moment, request: RestRequest, effects: &mut Vec<Effect>) {
        match request {
            RestRequest::Jobs { reply } => answer(reply, vec![self.master.details()]),
            RestRequest::Executors { reply } => answer(reply, self.executor_views()),
            RestRequest::Cancel { job, reply } => {
                let status = self.master.status();
                let outcome = match job == self.job {
                    false => CancelReply::Unknown,
                    true if status.is_terminal() => CancelReply::AlreadyOver(status),
                    true => CancelReply::Accepted,
                };
                answer(reply, outcome);
                if outcome == CancelReply::Accepted {
                    self.cancel(now, "its user asked for it", effects);
                }
            }
            RestRequest::ClientHeartbeat { job, expires, reply } => {
                let known = job == self.job;
                if known {
                    self.watch.heard(expires);
                }
                answer(reply, known);
            }
        }
    }

    fn cancel(&mut self, now: Moment, reason: &'static str, effects: &mut Vec<Effect>) {
        tracing::info!(job = %self.job, reason, "job is cancelled");
        self.cancelled.get_or_insert(reason);
        self.job_event(now, JobEvent::Cancel, effects);
    }

    fn executor_views(&self) -> Vec<ExecutorView> {
        let details = self.master.details();
        let mut used: BTreeMap<&ExecutorId, u32> = BTreeMap::new();
        for vertex in &details.vertices {
            let mut here: BTreeMap<&ExecutorId, u32> = BTreeMap::new();
            for subtask in vertex.subtasks.iter().filter(|subtask| !subtask.state.is_terminal()) {
                if let Some(id) = &subtask.executor {
                    *here.entry(id).or_default() += 1;
                }
            }
            // A slot holds one subtask of every vertex.
            for (id, count) in here {
                let slots = used.entry(id).or_default();
                *slots = count.max(*slots);
            }
        }
        self.executors.views(|id| used.get(id).copied().unwrap_or(0))
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
                Action::StoreCheckpoint(checkpoint) => {
                    let failure = Failure::new(Blame::Flumen, "checkpoints are not stored yet");
                    tracing::warn!(checkpoint = %checkpoint.id, "checkpoints are not stored yet");
                    let event = JobEvent::CheckpointStored { checkpoint: checkpoint.id, result: Err(failure) };
                    self.job_event(now, event, effects);
                }
                Action::DiscardFiles { paths } => tracing::warn!(?paths, "files of checkpoints are not removed yet"),
                Action::Answer { request, .. } => tracing::warn!(?request, "nobody asked for this snapshot"),
                Action::Done(result) => effects.push(Effect::Done { result, cancelled: self.cancelled }),
            }
        }
    }

    fn start_worker(&mut self, now: Moment, executor: ExecutorId, instance: u32, effects: &mut Vec<Effect>) {
        tracing::info!(%executor, instance, "worker is started");
        let start = StartWorker {
            job: self.job,
            instance,
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            graph: self.master.worker_graph().clone(),
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

/// Answers a question. Whoever asked may have gone; then nobody misses the answer.
fn answer<T>(reply: oneshot::Sender<T>, answer: T) {
    let _ = reply.send(answer);
}

#[cfg(test)]
mod tests;
