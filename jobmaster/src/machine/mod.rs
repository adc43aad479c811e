//! The JobMaster: takes facts in, keeps what it knows, says what is to be done.

use std::collections::{BTreeMap, HashMap, VecDeque};

use flumen_model::checkpoint::SourceProgress;
use flumen_model::failure::Failure;
use flumen_model::ids::{ExecutionAttempt, ExecutorId, JobId, SubtaskId, VertexId};
use flumen_model::job_graph::JobGraph;
use flumen_model::status::JobStatus;
use flumen_wire::control::RegionId;

use crate::alignment::WatermarkGroups;
use crate::checkpoint::coordinator::Coordinator;
use crate::details::ExceptionEntry;
use crate::event::{Action, Event, Timestamp};
use crate::execution_graph::ExecutionGraph;
use crate::executors::Executors;
use crate::failover::Failover;
use crate::region::{Region, regions};
use crate::settings::Settings;
use crate::splits::Splits;
use crate::start::Start;
use crate::state::{Phase, RegionPhase, Then, job_may_go};

mod adopt;
mod attempt;
mod checkpoints;
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
/// * JM-1: the start of an execution of a region is sent only after all its workers have said that they are deployed.
/// * JM-2: no action names a worker that has ended or an executor that was lost.
/// * JM-3: `DeclareSlots(0)` and `Done` are each given exactly once, together, and nothing after them.
/// * JM-4: a split is handed out again only after its reader was restarted from a checkpoint without it.
/// * JM-5: whatever an older worker, an older attempt or an unknown executor says changes nothing.
///
/// Those of checkpoints (CC-1 …) are with the `checkpoint` module.
#[derive(Debug)]
pub struct JobMaster {
    job: JobId,
    /// Without splits.
    graph: JobGraph,
    settings: Settings,

    status: JobStatus,
    phase: Phase,
    regions: Vec<Region>,
    region_of: HashMap<SubtaskId, RegionId>,
    /// The greatest attempt that was given.
    last_attempt: ExecutionAttempt,
    /// The least attempt that this leader gives.
    first_attempt: ExecutionAttempt,
    execution: ExecutionGraph,
    splits: Splits,
    executors: Executors,
    /// The executor of each slot, now or (of slots that nothing runs in) before.
    slots: Vec<Option<ExecutorId>>,
    /// False until the whole job was placed: it begins only when all its slots are there.
    placed: bool,

    failover: Failover,
    coordinator: Coordinator,
    watermarks: WatermarkGroups,
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

impl JobMaster {
    /// Accepts a job. The first action declares the slots that it needs. When it can't start from what it is to start
    /// from, it is over at once, as FAILED with the reason.
    pub fn new(job: JobId, graph: JobGraph, settings: Settings, start: Start, now: Timestamp) -> (Self, Vec<Action>) {
        Self::adopt(job, graph, settings, start, Vec::new(), now)
    }

    /// A job without executors, and where its sources begin.
    fn prepare(
        job: JobId,
        mut graph: JobGraph,
        settings: Settings,
        start: Start,
        now: Timestamp,
    ) -> (Self, Result<BTreeMap<VertexId, SourceProgress>, Failure>) {
        let splits = Splits::take_from(&mut graph);
        // Outputs that become visible at the end of the job bear the number of one execution: they tie all who write
        // them together.
        let regional = settings.regional && graph.outputs.is_empty();
        let (first_number, first_attempt) = (start.first_number(), start.first_attempt());
        let life = start.inherited.last().and_then(|newest| newest.life.clone());
        let accepted = life.as_deref().map(|life| Timestamp(life.start_ms)).or(start.accepted);
        let accepted = accepted.filter(|accepted| *accepted < now).unwrap_or(now);
        let mut failover = Failover::new(settings.restarts.clone());
        life.iter().for_each(|life| failover.go_on(life));
        let waiting = RegionPhase::WaitingForSlots { deadline: now.after(settings.slot_request_timeout) };
        let (coordinator, begun) = Coordinator::new(job, &graph, &settings.checkpoints, start, now);
        let regions = regions(&graph, regional, waiting);
        let member_of = |region: &Region| region.members.iter().map(|id| (*id, region.id)).collect::<Vec<_>>();
        let mut master = Self {
            job,
            status: JobStatus::Created,
            phase: Phase::Living,
            region_of: regions.iter().flat_map(member_of).collect(),
            regions,
            last_attempt: first_attempt,
            first_attempt,
            execution: ExecutionGraph::new(&graph, first_attempt, now),
            splits,
            executors: Executors::new(first_number),
            slots: Vec::new(),
            placed: false,
            failover,
            coordinator,
            watermarks: WatermarkGroups::default(),
            exceptions: VecDeque::new(),
            exceptions_dropped: false,
            failure: None,
            start: accepted,
            now,
            entered: vec![(JobStatus::Created, now)],
            actions: Vec::new(),
            graph,
            settings,
        };
        if master.graph.slots() > 0 {
            master.actions.push(Action::DeclareSlots(master.graph.slots()));
        }
        master.regions.iter_mut().for_each(|region| region.attempt = first_attempt);
        (master, begun)
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
                if self.executors.register(id, slots, host) {
                    self.place_waiting();
                }
            }
            Event::FormerWorker { executor, instance } => self.stop_former_worker(&executor, instance),
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
            Event::Snapshot(request) => self.snapshot_wanted(request),
            Event::CheckpointStored { checkpoint, result } => self.checkpoint_stored(checkpoint, result),
            Event::ResourcesUnavailable { failure } => self.resources_unavailable(failure),
            Event::OutputsCommitted(result) => self.outputs_committed(result),
            Event::Tick => {}
        }
        self.act_on_time();
        self.take_checkpoints();
        self.align_watermarks();
        std::mem::take(&mut self.actions)
    }

    /// When the next [`Event::Tick`] is due; `None` when nothing waits for a time.
    pub fn next_timer(&self) -> Option<Timestamp> {
        if self.phase == Phase::Over {
            return None;
        }
        let regions = self.regions.iter().flat_map(|region| {
            let held = region.held.as_ref().map(|held| held.until);
            region.phase.deadline().into_iter().chain(held)
        });
        let regions = regions.filter(|_| matches!(self.phase, Phase::Living | Phase::Ending(_)));
        regions.chain(self.phase.deadline()).chain(self.coordinator.next_timer(self.now)).min()
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
            Phase::Over | Phase::Ending(Then::Cancel) => {}
            Phase::Committing { deadline, .. } => {
                let deadline = deadline.min(self.now.after(self.settings.cancel_timeout));
                self.phase = Phase::Committing { deadline, cancel: true };
            }
            Phase::Ending(Then::Fail) => {
                self.failure = None;
                self.enter(JobStatus::Cancelling);
                self.phase = Phase::Ending(Then::Cancel);
            }
            Phase::Living => {
                self.enter(JobStatus::Cancelling);
                self.stop_all(Then::Cancel);
            }
        }
    }

    fn enter(&mut self, status: JobStatus) {
        debug_assert!(job_may_go(self.status, status), "a job can't go from {} to {status}", self.status);
        tracing::info!(job = %self.job, attempt = %self.last_attempt, "{} -> {status}", self.status);
        self.status = status;
        self.entered.retain(|(former, _)| *former != status);
        self.entered.push((status, self.now));
    }

    fn region(&self, id: RegionId) -> Option<&Region> {
        self.regions.get(id as usize)
    }

    fn region_mut(&mut self, id: RegionId) -> Option<&mut Region> {
        self.regions.get_mut(id as usize)
    }
}
