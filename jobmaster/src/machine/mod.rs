//! The JobMaster: takes facts in, keeps what it knows, says what is to be done.

use std::collections::VecDeque;

use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutionAttempt, ExecutorId, JobId};
use flumen_model::job_graph::JobGraph;
use flumen_model::status::JobStatus;

use crate::details::ExceptionEntry;
use crate::event::{Action, Event, SnapshotRequest, Timestamp};
use crate::execution_graph::ExecutionGraph;
use crate::executors::Executors;
use crate::failover::Failover;
use crate::settings::Settings;
use crate::splits::Splits;
use crate::start::Start;
use crate::state::{Phase, Then, job_may_go};

mod attempt;
mod end;
mod failure;
mod show;
mod timers;
mod worker;

/// One job's life as a state machine: facts in, actions out.
///
/// A driver calls [`step`](Self::step) with every fact that concerns the job, and with [`Event::Tick`] when
/// [`next_timer`](Self::next_timer) is due, and carries out the actions in their order. The last one is [`Action::Done`].
///
/// Invariants, checked by the tests under these names:
/// * JM-1: the start of an attempt is sent only after all its workers have said that they are deployed.
/// * JM-2: no action names a worker that has ended or an executor that was lost.
/// * JM-3: `DeclareSlots(0)` and `Done` are each given exactly once, together, and nothing after them.
/// * JM-4: a split is handed out at most once in an attempt.
/// * JM-5: whatever an older worker, an older attempt or an unknown executor says changes nothing.
#[derive(Debug)]
pub struct JobMaster {
    job: JobId,
    /// Without splits.
    graph: JobGraph,
    settings: Settings,

    status: JobStatus,
    phase: Phase,
    execution: ExecutionGraph,
    splits: Splits,
    executors: Executors,
    /// The executor of each slot, in this attempt or (while waiting) in the last one.
    slots: Vec<ExecutorId>,

    failover: Failover,
    /// A failure that only says that a connection broke, held back for its cause.
    held: Option<Held>,
    /// A worker that was lost after all its subtasks had ended: no failure in itself, but the cause of broken
    /// connections.
    departed: Option<Failure>,
    /// Newest first.
    exceptions: VecDeque<ExceptionEntry>,
    exceptions_dropped: bool,
    /// Why the job fails.
    failure: Option<Failure>,

    start: Timestamp,
    now: Timestamp,
    entered: Vec<(JobStatus, Timestamp)>,
    /// What the step in progress asks for.
    actions: Vec<Action>,
}

/// A failure that waits for its cause.
#[derive(Debug)]
struct Held {
    failure: Failure,
    until: Timestamp,
}

impl JobMaster {
    /// Accepts a job. The first action declares the slots that it needs. When it can't start from what it is to start from,
    /// it is over at once, as FAILED with the reason.
    pub fn new(
        job: JobId,
        mut graph: JobGraph,
        settings: Settings,
        start: Start,
        now: Timestamp,
    ) -> (Self, Vec<Action>) {
        let _ = start;
        let splits = Splits::take_from(&mut graph);
        let mut master = Self {
            job,
            status: JobStatus::Created,
            phase: Phase::WaitingForSlots { deadline: now.after(settings.slot_request_timeout) },
            execution: ExecutionGraph::new(&graph, ExecutionAttempt(0), now),
            splits,
            executors: Executors::default(),
            slots: Vec::new(),
            failover: Failover::new(settings.restarts.clone()),
            held: None,
            departed: None,
            exceptions: VecDeque::new(),
            exceptions_dropped: false,
            failure: None,
            start: now,
            now,
            entered: vec![(JobStatus::Created, now)],
            actions: Vec::new(),
            graph,
            settings,
        };
        if master.graph.slots() > 0 {
            master.actions.push(Action::DeclareSlots(master.graph.slots()));
        }
        master.place_and_start();
        let actions = std::mem::take(&mut master.actions);
        (master, actions)
    }

    /// Takes a fact in and says what is to be done about it. Facts from a former life (an older worker or attempt, an
    /// unknown executor, after the end) change nothing.
    pub fn step(&mut self, now: Timestamp, event: Event) -> Vec<Action> {
        if self.phase == Phase::Over {
            return Vec::new();
        }
        self.now = self.now.max(now);
        match event {
            Event::ExecutorRegistered { id, slots, host } => {
                if self.executors.register(id, slots, host) && matches!(self.phase, Phase::WaitingForSlots { .. }) {
                    self.place_and_start();
                }
            }
            Event::ExecutorLost { id, failure } => {
                if self.executors.remove(&id) {
                    self.worker_gone(&id, failure);
                }
            }
            Event::WorkerExited { executor, instance, failure } => {
                if self.executors.instance_mut(&executor, instance).is_some() {
                    self.executors.drop_worker(&executor);
                    self.worker_gone(&executor, failure);
                }
            }
            Event::Worker { executor, instance, message } => {
                if self.executors.instance_mut(&executor, instance).is_some() {
                    self.worker_says(&executor, message);
                }
            }
            Event::Cancel => self.cancel(),
            Event::Snapshot(SnapshotRequest { request, .. }) => {
                let result = Err(Failure::new(Blame::Flumen, "snapshots are not taken yet"));
                self.actions.push(Action::Answer { request, result });
            }
            Event::CheckpointStored { .. } => {}
            Event::ResourcesUnavailable { failure } => self.resources_unavailable(failure),
            Event::OutputsCommitted(result) => self.outputs_committed(result),
            Event::Tick => {}
        }
        self.act_on_time();
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is due; `None` when nothing waits for a time.
    pub fn next_timer(&self) -> Option<Timestamp> {
        let held = self.held.as_ref().map(|held| held.until);
        self.phase.deadline().into_iter().chain(held).min()
    }

    /// The job's state.
    pub fn status(&self) -> JobStatus {
        self.status
    }

    /// The graph that workers get: the job's, without the splits of its sources.
    pub fn worker_graph(&self) -> &JobGraph {
        &self.graph
    }

    fn cancel(&mut self) {
        match self.phase {
            Phase::Over | Phase::Stopping { then: Then::Cancel, .. } => {}
            Phase::Committing { deadline, .. } => {
                let deadline = deadline.min(self.now.after(self.settings.cancel_timeout));
                self.phase = Phase::Committing { deadline, cancel: true };
            }
            Phase::Stopping { deadline, then: Then::Restart { .. } | Then::Fail } => {
                self.failure = None;
                self.enter(JobStatus::Cancelling);
                self.phase = Phase::Stopping { deadline, then: Then::Cancel };
            }
            Phase::WaitingForSlots { .. }
            | Phase::StartingWorkers { .. }
            | Phase::Deploying { .. }
            | Phase::Running
            | Phase::BackingOff { .. } => {
                self.enter(JobStatus::Cancelling);
                self.stop(Then::Cancel);
            }
        }
    }

    fn enter(&mut self, status: JobStatus) {
        debug_assert!(job_may_go(self.status, status), "a job can't go from {} to {status}", self.status);
        tracing::info!(job = %self.job, attempt = %self.execution.attempt, "{} -> {status}", self.status);
        self.status = status;
        self.entered.retain(|(former, _)| *former != status);
        self.entered.push((status, self.now));
    }
}
