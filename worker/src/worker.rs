//! The worker: carries out the JobMaster's commands and reports what becomes of the subtasks.
//!
//! ```text
//! (nothing) ─ Deploy ─▶ deployed ─ Start ─▶ running ─ all subtasks over ─▶ (nothing to do)
//!      ▲                   └────────── Cancel ─┴──────────────────────────────┘
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flumen_model::failure::{Blame, FailedSubtask, Failure};
use flumen_model::ids::{ExecutionAttempt, JobId, SubtaskId};
use flumen_model::status::ExecutionState;
use flumen_wire::control::{Deployment, FromWorker, RegionId, ToWorker};
use tokio::sync::mpsc;

use crate::deployment::{Prepared, Program, Wired, prepare};
use crate::exchange::network::Network;
use crate::operator::TaskError;
use crate::restore::Restored;
use crate::subtask::{IoCounters, Mail, Mailbox, SubtaskContext, SubtaskHandle, WorkerContext};
use crate::task;

/// Commands and reports that may wait: far more than a job of thousands of subtasks has on the way.
pub const QUEUE: usize = 4096;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// One job's subtasks in this process.
pub struct Worker {
    job: JobId,
    program: Arc<Program>,
    context: WorkerContext,
    network: Option<Network>,
    credit: u32,
    reports: mpsc::Sender<FromWorker>,
    /// By region of the job.
    executions: BTreeMap<RegionId, Execution>,
}

struct Execution {
    attempt: ExecutionAttempt,
    waiting: Option<Prepared>,
    subtasks: HashMap<SubtaskId, Subtask>,
}

struct Subtask {
    handle: Arc<SubtaskHandle>,
    io: Arc<IoCounters>,
    mailbox: Arc<Mailbox>,
    started: bool,
    over: Arc<AtomicBool>,
}

impl Worker {
    /// A worker without a network (embedded) or with one. `credit` is the number of buffers that each channel may have on
    /// the way.
    pub fn new(
        job: JobId,
        program: Arc<Program>,
        context: WorkerContext,
        network: Option<Network>,
        credit: u32,
        reports: mpsc::Sender<FromWorker>,
    ) -> Self {
        Self { job, program, context, network, credit: credit.max(1), reports, executions: BTreeMap::new() }
    }

    /// Runs until the commands end; then everything is cancelled.
    pub async fn run(mut self, mut commands: mpsc::Receiver<ToWorker>) {
        let mut tick = tokio::time::interval(REPORT_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => break,
                },
                _ = tick.tick() => self.report_io(),
            }
        }
        let regions: Vec<RegionId> = self.executions.keys().copied().collect();
        for region in regions {
            self.cancel(region).await;
        }
    }

    async fn obey(&mut self, command: ToWorker) {
        let current = |region: RegionId| self.executions.get(&region).map(|e| e.attempt);
        match command {
            ToWorker::Deploy(deployment) if current(deployment.region).is_some_and(|a| a >= deployment.attempt) => {
                tracing::warn!(attempt = %deployment.attempt, "ignored a deployment of a former execution");
            }
            ToWorker::Deploy(deployment) => self.deploy(deployment).await,
            ToWorker::Start { region, attempt } if current(region) == Some(attempt) => self.start(region).await,
            ToWorker::Cancel { region, attempt } if current(region).is_some_and(|a| a <= attempt) => {
                self.cancel(region).await;
            }
            ToWorker::Start { .. } | ToWorker::Cancel { .. } => {}
            ToWorker::Split { attempt, subtask, split } => {
                self.post(attempt, |id| (id == subtask).then(|| Mail::Split(split.clone())));
            }
            ToWorker::TriggerCheckpoint { attempt, subtasks, barrier } => {
                self.post(attempt, |id| subtasks.contains(&id).then(|| Mail::Trigger(barrier.clone())));
            }
            ToWorker::Drain { attempt, subtasks } => {
                self.post(attempt, |id| subtasks.contains(&id).then_some(Mail::Drain));
            }
            ToWorker::GroupWatermark { attempt, subtasks, group, least } => {
                self.post(attempt, |id| subtasks.contains(&id).then(|| Mail::Align { group: group.clone(), least }));
            }
            ToWorker::CheckpointCompleted { attempt, checkpoint } => {
                self.post(attempt, |_| Some(Mail::Completed(checkpoint)));
            }
            ToWorker::CheckpointAborted { attempt, checkpoint } => {
                self.post(attempt, |_| Some(Mail::Aborted(checkpoint)));
            }
        }
    }

    /// Gives mails to running subtasks of an execution.
    fn post(&self, attempt: ExecutionAttempt, mail: impl Fn(SubtaskId) -> Option<Mail>) {
        let executions = self.executions.values().filter(|execution| execution.attempt == attempt);
        for (id, subtask) in executions.flat_map(|execution| &execution.subtasks) {
            if let Some(mail) = mail(*id).filter(|_| !subtask.over.load(Ordering::Relaxed)) {
                subtask.mailbox.put(mail);
                subtask.handle.wake();
            }
        }
    }

    async fn deploy(&mut self, deployment: Deployment) {
        let (region, attempt) = (deployment.region, deployment.attempt);
        self.cancel(region).await;
        let network = self.network.as_ref().map(|network| (network, self.job));
        let report = match prepare(&self.program, &deployment, &self.context, network, self.credit, &self.reports) {
            Ok(prepared) => {
                let known = |wired: &Wired| (wired.context.id, Subtask::of(&wired.context));
                let subtasks = prepared.subtasks.iter().map(known).collect();
                self.executions.insert(region, Execution { attempt, waiting: Some(prepared), subtasks });
                FromWorker::Deployed { region, attempt }
            }
            Err(error) => FromWorker::Refused(Failure::new(Blame::Flumen, error.to_string())),
        };
        self.report(report).await;
    }

    async fn start(&mut self, region: RegionId) {
        let Some(execution) = self.executions.get_mut(&region) else { return };
        let Some(prepared) = execution.waiting.take() else { return };
        if let Some(network) = &self.network {
            let connections = prepared.connections.into_iter();
            connections.for_each(|outbound| network.connect(region, execution.attempt, outbound));
        }
        let mut failed = None;
        for wired in prepared.subtasks {
            let Some(subtask) = execution.subtasks.get_mut(&wired.context.id) else { continue };
            let context = wired.context.clone();
            match spawn(wired, self.reports.clone(), Arc::clone(&subtask.over)) {
                Ok(()) => subtask.started = true,
                Err(error) => {
                    let error = TaskError::caused_by(Blame::Outside, "starting a thread", &error);
                    failed = Some(end_report(&context, Err(error)));
                    break;
                }
            }
        }
        if let Some(report) = failed {
            self.report(report).await;
        }
    }

    /// Cancels the execution of a region. Subtasks that run report their end themselves; those that were never started are
    /// reported here.
    async fn cancel(&mut self, region: RegionId) {
        let Some(execution) = self.executions.get_mut(&region) else { return };
        let attempt = execution.attempt;
        execution.waiting = None;
        for subtask in execution.subtasks.values() {
            subtask.handle.cancel();
        }
        if let Some(network) = &self.network {
            network.close(region, attempt);
        }
        let never_started: Vec<SubtaskId> =
            execution.subtasks.iter().filter(|(_, s)| !s.started).map(|(id, _)| *id).collect();
        for subtask in never_started {
            execution.subtasks.remove(&subtask);
            let (state, failure, io) = (ExecutionState::Canceled, None, Default::default());
            let report = FromWorker::State { attempt, subtask, state, failure, io };
            let _ = self.reports.send(report).await;
        }
    }

    fn report_io(&self) {
        for execution in self.executions.values() {
            let running = execution.subtasks.iter().filter(|(_, s)| s.started && !s.over.load(Ordering::Relaxed));
            let subtasks: Vec<_> = running.map(|(id, s)| (*id, s.io.snapshot())).collect();
            if !subtasks.is_empty() {
                // Counts come again in a second: nothing waits for them.
                let _ = self.reports.try_send(FromWorker::Io { attempt: execution.attempt, subtasks });
            }
        }
    }

    async fn report(&self, report: FromWorker) {
        // Nobody to hear it: the commands will end as well.
        let _ = self.reports.send(report).await;
    }
}

impl Subtask {
    fn of(context: &SubtaskContext) -> Self {
        Self {
            handle: Arc::clone(&context.handle),
            io: Arc::clone(&context.io),
            mailbox: Arc::clone(&context.mailbox),
            started: false,
            over: Arc::default(),
        }
    }
}

/// Starts the thread of a subtask.
fn spawn(wired: Wired, reports: mpsc::Sender<FromWorker>, over: Arc<AtomicBool>) -> std::io::Result<()> {
    let context = wired.context.clone();
    let checkpoint = wired.restore.as_ref().map(|restore| restore.checkpoint);
    let copied = wired.restore.as_ref().filter(|_| context.worker.state.local_copies.is_some());
    let copied = copied.map(|restore| restore.state.clone());
    let name = format!("{} ({}/{})", context.vertex_name, context.id.index + 1, context.parallelism);
    std::thread::Builder::new().name(name).spawn(move || {
        context.handle.attach_current_thread();
        let running = FromWorker::State {
            attempt: context.attempt,
            subtask: context.id,
            state: ExecutionState::Running,
            failure: None,
            io: Default::default(),
        };
        let announce = reports.clone();
        let result = task::run(Box::new(move || {
            let mut context = wired.context;
            if let Some(restore) = wired.restore {
                context.restored = Arc::new(Restored::load(restore, &context)?);
            }
            let body = wired.factory.subtask(context, wired.gate, wired.outputs)?;
            // When nobody hears it, the worker is going down and cancels this subtask.
            let _ = announce.blocking_send(running);
            body()
        }));
        over.store(true, Ordering::Relaxed);
        let cancelled = context.handle.check().is_err();
        let may_be_damaged = !cancelled
            && matches!(&result, Err(TaskError::Restore { .. } | TaskError::Failed { blame: Blame::Outside, .. }));
        let had_copies = match (copied.filter(|_| may_be_damaged), context.local_copies()) {
            (Some(copied), Some(copies)) => copies.forget(copied.handles()),
            _ => false,
        };
        let report = match (result, checkpoint) {
            // The checkpoint may be whole where its copies here are not: the next attempt reads the checkpoint. And what
            // could not be read because the subtask was cancelled is as good as it was.
            (Err(TaskError::Restore { message }), Some(checkpoint)) if !had_copies && !cancelled => {
                FromWorker::RestoreFailed {
                    attempt: context.attempt,
                    subtask: context.id,
                    checkpoint,
                    failure: Failure::new(Blame::Outside, message),
                }
            }
            (result, _) => end_report(&context, result),
        };
        let _ = reports.blocking_send(report);
    })?;
    Ok(())
}

fn end_report(context: &SubtaskContext, result: Result<(), TaskError>) -> FromWorker {
    let (state, failure) = match result {
        Ok(()) => (ExecutionState::Finished, None),
        Err(TaskError::Canceled) => (ExecutionState::Canceled, None),
        // What breaks while everything is being torn down is no failure.
        Err(_) if context.handle.check().is_err() => (ExecutionState::Canceled, None),
        Err(error) => {
            let (blame, message) = match error {
                TaskError::Failed { blame, message } => (blame, message),
                TaskError::Restore { message } => (Blame::Outside, message),
                TaskError::Canceled => (Blame::Flumen, "the subtask was cancelled".to_owned()),
            };
            let subtask = FailedSubtask {
                id: context.id,
                vertex_name: context.vertex_name.to_string(),
                parallelism: context.parallelism,
            };
            (ExecutionState::Failed, Some(Failure::new(blame, message).in_subtask(subtask)))
        }
    };
    FromWorker::State { attempt: context.attempt, subtask: context.id, state, failure, io: context.io.snapshot() }
}
