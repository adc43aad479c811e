//! A simulated cluster: clock, network, workers, storage, users and faults, all by one seed.

use std::collections::{BTreeMap, BTreeSet};

use flumen_jobmaster::{Action, Event, JobMaster, JobResult, RequestId, Settings, Start, Timestamp};
use flumen_model::checkpoint::{
    Barrier, CheckpointId, CompletedCheckpoint, SnapshotKind, StateLocation, SubtaskSnapshot,
};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutionAttempt, ExecutorId, JobId, SubtaskId};
use flumen_model::job_graph::JobGraph;
use flumen_model::key_group::key_hash;
use flumen_model::status::ExecutionState;
use flumen_wire::control::{FromWorker, SubtaskIo, ToWorker};
use flumen_wire::report::WorkerReport;

pub mod former;
mod leader;
pub mod plan;
pub mod random;
pub mod task;
mod user;
mod workers;

use former::{Fence, Formers};
use leader::{Adoptions, Leader};
use plan::Plan;
use random::Random;
use task::{Element, Task};

const JOB: JobId = JobId(0xabcd_ef00_0000_0000_0000_0000_0000_0001);
/// From here on nothing breaks any more, milliseconds.
const CALM: u64 = 2_000;
/// By then the job has to be over: simulated milliseconds.
const LIMIT: u64 = 3_600_000;

/// A worker: its executor and its number there.
pub type Place = (ExecutorId, u32);

/// Something that happens at a time.
#[derive(Debug)]
enum Happening {
    /// The leader of that epoch hears something.
    Hear(u64, Event),
    /// A message of the leader of that epoch comes to the TaskExecutor of a worker, and then to the worker.
    Relay(u64, Place, ToWorker),
    Obey(Place, ToWorker),
    /// A message of a worker comes to its TaskExecutor.
    Said(Place, FromWorker),
    /// A TaskExecutor sees that its worker has ended.
    Ended(Place, Failure),
    /// Nothing is heard of the leader any more: it has died, or is only cut off.
    LeaderGone {
        alive: bool,
    },
    /// A leader that was cut off learns that its attempt is over.
    StepDown(u64),
    /// A new leader takes over the head of the checkpoints.
    Claim,
    /// A TaskExecutor finds the new leader.
    Return(ExecutorId),
    Adopt,
    Deliver {
        from: (Place, SubtaskId),
        to: SubtaskId,
        attempt: ExecutionAttempt,
        element: Element,
    },
    Work(Place, ExecutionAttempt, SubtaskId),
    Written(Place, ExecutionAttempt, SubtaskId, Box<Written>),
    Stored(u64, Box<CompletedCheckpoint>),
    Broken(Place, ExecutionAttempt, SubtaskId, Blame),
    Fault,
    Ask(u64),
    Register(ExecutorId),
    Tick(u64),
}

#[derive(Debug)]
struct Written {
    barrier: Barrier,
    snapshot: SubtaskSnapshot,
    files: Vec<(String, String)>,
}

#[derive(Debug)]
struct Worker {
    tasks: BTreeMap<SubtaskId, Task>,
}

pub struct Sim {
    plan: Plan,
    random: Random,
    verbose: bool,
    graph: JobGraph,
    master: JobMaster,
    now: u64,
    happenings: BTreeMap<(u64, u64), Happening>,
    number: u64,
    /// When the last message of each connection arrives: the next one is not faster.
    arrivals: BTreeMap<String, u64>,
    tick: u64,
    executors: BTreeSet<ExecutorId>,
    workers: BTreeMap<Place, Worker>,
    /// What TaskExecutors know of their workers.
    reports: BTreeMap<Place, WorkerReport>,
    leader: Leader,
    formers: Formers,
    /// The greatest checkpoint that counts, and those that were taken by a stop.
    head: CheckpointId,
    /// Which leader has completed each checkpoint.
    stored_by: BTreeMap<CheckpointId, u64>,
    stops: BTreeSet<CheckpointId>,
    /// Checkpoints that former leaders have completed.
    completed: u64,
    files: BTreeMap<String, String>,
    /// To be removed when another checkpoint counts.
    doomed: Vec<String>,
    committed: BTreeMap<String, Vec<(u64, u64)>>,
    /// Checkpoints whose metadata is in place.
    stored: BTreeMap<CheckpointId, CompletedCheckpoint>,
    last_trigger: CheckpointId,
    asked: BTreeSet<RequestId>,
    stop_request: Option<RequestId>,
    stopped_with: Option<CheckpointId>,
    result: Option<JobResult>,
    life: u32,
    restarts: u32,
    /// Records in flight that were sent again.
    resent: u64,
    trace: u64,
}

/// What came of a seed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    pub trace: u64,
    pub happenings: u64,
    pub completed: u64,
    pub restarts: u32,
    pub resent: u64,
    pub stopped: bool,
    pub adoptions: Adoptions,
}

/// Runs a seed to its end.
///
/// # Panics
/// When an invariant does not hold.
pub fn run(seed: u64, verbose: bool) -> Outcome {
    run_without(None, seed, verbose)
}

/// The same in a world in which a rule is broken.
///
/// # Panics
/// When an invariant does not hold.
pub fn run_without(fence: Option<Fence>, seed: u64, verbose: bool) -> Outcome {
    let mut random = Random::new(seed);
    let plan = Plan::of(&mut random);
    let mut sim = Sim::new(plan, random, verbose);
    sim.formers.broken = fence;
    sim.live();
    let mut completed = sim.completed + sim.master.checkpoints().counts.completed;
    let adoptions = sim.leader.adoptions;
    let stopped = sim.stopped_with;
    if let Some(savepoint) = stopped {
        sim.again(savepoint);
        sim.live();
        completed += sim.master.checkpoints().counts.completed;
    }
    sim.check_output();
    let Sim { trace, number: happenings, restarts, resent, .. } = sim;
    Outcome { trace, happenings, completed, restarts, resent, stopped: stopped.is_some(), adoptions }
}

impl Sim {
    fn new(plan: Plan, random: Random, verbose: bool) -> Self {
        let graph = plan.graph(plan.parallelism);
        let settings = Settings::read(&plan.configuration(), &graph).expect("valid options");
        let (master, actions) = JobMaster::new(JOB, graph.clone(), settings, Start::default(), Timestamp(0));
        let mut sim = Self {
            plan,
            random,
            verbose,
            graph,
            master,
            now: 0,
            happenings: BTreeMap::new(),
            number: 0,
            arrivals: BTreeMap::new(),
            tick: u64::MAX,
            executors: BTreeSet::new(),
            workers: BTreeMap::new(),
            reports: BTreeMap::new(),
            leader: Leader::first(),
            formers: Formers::default(),
            head: CheckpointId(0),
            stored_by: BTreeMap::new(),
            stops: BTreeSet::new(),
            completed: 0,
            files: BTreeMap::new(),
            doomed: Vec::new(),
            committed: BTreeMap::new(),
            stored: BTreeMap::new(),
            last_trigger: CheckpointId(0),
            asked: BTreeSet::new(),
            stop_request: None,
            stopped_with: None,
            result: None,
            life: 0,
            restarts: 0,
            resent: 0,
            trace: 0,
        };
        sim.say(|| format!("{:?}", sim_plan(&sim)));
        sim.schedule_user();
        sim.offer_executors();
        sim.carry_out(actions);
        sim
    }

    /// The same program with another parallelism, from the savepoint that it was stopped with.
    fn again(&mut self, savepoint: CheckpointId) {
        self.life += 1;
        self.happenings.clear();
        self.workers.clear();
        self.reports.clear();
        self.leader = Leader::first();
        self.formers = Formers::default();
        self.executors.clear();
        self.arrivals.clear();
        self.tick = u64::MAX;
        self.asked.clear();
        self.stop_request = None;
        self.result = None;
        self.graph = self.plan.graph(self.plan.rescaled);
        let settings = Settings::read(&self.plan.configuration(), &self.graph).expect("valid options");
        let start = Start { from: Some(self.stored[&savepoint].clone()), ..Start::default() };
        let (master, actions) =
            JobMaster::new(JobId(JOB.0 + 1), self.graph.clone(), settings, start, Timestamp(self.now));
        self.master = master;
        for _ in 0..self.random.between(0, 3) {
            let at = self.now + self.random.between(0, 800);
            self.at(at, Happening::Fault);
        }
        self.offer_executors();
        self.carry_out(actions);
    }

    fn live(&mut self) {
        while self.result.is_none() {
            let ((at, number), happening) =
                self.happenings.pop_first().unwrap_or_else(|| panic!("{} waits for nothing", self.master.status()));
            self.now = at;
            let limit = if self.life == 0 { LIMIT } else { 2 * LIMIT };
            assert!(at < limit, "still {} after an hour", self.master.status());
            self.note(number, &happening);
            self.happen(happening);
        }
        self.restarts += self.result.as_ref().map_or(0, |result| result.restarts);
    }

    fn note(&mut self, number: u64, happening: &Happening) {
        if self.verbose {
            println!("{:>8} {happening:?}", self.now);
        }
        let kind = std::mem::discriminant(happening);
        let of = match happening {
            Happening::Hear(epoch, Event::Worker { executor, instance, message }) => {
                format!("{epoch} {executor}/{instance} {:?}", std::mem::discriminant(message))
            }
            Happening::Obey((executor, instance), _) => format!("{executor}/{instance}"),
            Happening::Relay(epoch, place, _) => format!("{epoch} {place:?}"),
            Happening::Said(place, message) => format!("{place:?} {:?}", std::mem::discriminant(message)),
            Happening::Return(executor) => executor.to_string(),
            Happening::Deliver { from, to, attempt, .. } => format!("{} {to} {attempt}", from.1),
            _ => String::new(),
        };
        let line = format!("{} {} {number} {kind:?} {of}", self.trace, self.now);
        self.trace = key_hash(line.as_bytes());
    }

    fn say(&self, text: impl Fn() -> String) {
        if self.verbose {
            println!("{:>8} {}", self.now, text());
        }
    }

    fn at(&mut self, time: u64, happening: Happening) {
        self.number += 1;
        self.happenings.insert((time.max(self.now), self.number), happening);
    }

    /// After the time that a message takes, and not before the one sent before it on the same connection.
    fn send(&mut self, connection: String, happening: Happening) {
        let mut at = self.now + self.random.between(0, self.plan.latency);
        let last = self.arrivals.entry(connection).or_default();
        at = at.max(*last);
        *last = at;
        self.at(at, happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Hear(epoch, event) => self.hear(epoch, event),
            Happening::Tick(epoch) => self.tick(epoch),
            Happening::Relay(epoch, place, message) => self.relay(epoch, place, message),
            Happening::Obey(place, message) => self.obey(&place, message),
            Happening::Said(place, message) => self.said(place, message),
            Happening::Ended(place, failure) => self.worker_ended(place, failure),
            Happening::LeaderGone { alive } => self.leader_gone(alive),
            Happening::StepDown(epoch) => self.formers.step_down(epoch),
            Happening::Claim => self.claim(),
            Happening::Return(executor) => self.executor_returns(executor),
            Happening::Adopt => self.adopt(),
            Happening::Deliver { from, to, attempt, element } => self.deliver(from, to, attempt, element),
            Happening::Work(place, attempt, id) => self.work(&place, attempt, id),
            Happening::Written(place, attempt, id, written) => self.written(&place, attempt, id, *written),
            Happening::Stored(epoch, checkpoint) => self.store(epoch, *checkpoint),
            Happening::Broken(place, attempt, id, blame) => self.broken(&place, attempt, id, blame),
            Happening::Fault => self.fault(),
            Happening::Ask(number) => self.ask(number),
            Happening::Register(executor) => {
                self.executors.insert(executor.clone());
                self.leader.obeyed.insert(executor.clone(), self.epoch_to_come());
                self.offer(executor);
            }
        }
    }

    fn offer(&mut self, executor: ExecutorId) {
        let (slots, host) = (self.plan.slots, "h".to_owned());
        self.tell(Event::ExecutorRegistered { id: executor, slots, host });
    }

    fn tell(&mut self, event: Event) {
        if self.leader.electing.is_some() {
            return self.learn(event);
        }
        let actions = self.master.step(Timestamp(self.now), event);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            assert!(self.result.is_none(), "JM-3: {action:?} comes after the end");
            self.say(|| format!("    => {action:?}"));
            self.act(action);
        }
        if let Some(next) = self.master.next_timer().filter(|next| next.0.max(self.now) < self.tick) {
            self.tick = next.0.max(self.now);
            self.at(self.tick, Happening::Tick(self.leader.epoch));
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::DeclareSlots(_) => {}
            Action::StartWorker { executor, instance } => {
                self.start_worker(self.leader.epoch, executor, instance);
            }
            Action::StopWorker { executor, instance } => {
                self.stop_worker(self.leader.epoch, executor, instance);
            }
            Action::ToWorker { executor, instance, message } => {
                self.check_message(&message);
                self.send_to_worker(self.leader.epoch, (executor, instance), message);
            }
            Action::CommitOutputs { .. } => {
                let at = self.now + self.random.between(0, 20);
                self.at(at, Happening::Hear(self.leader.epoch, Event::OutputsCommitted(Ok(()))));
            }
            Action::StoreCheckpoint(checkpoint) => {
                self.check_files(&checkpoint);
                let at = self.now + self.random.between(0, 3 * self.plan.latency);
                self.at(at, Happening::Stored(self.leader.epoch, checkpoint));
            }
            Action::DiscardFiles { paths } => self.discard(&paths),
            Action::Answer { request, result } => {
                assert!(self.asked.remove(&request), "CC-6: {request:?} is answered twice");
                if self.stop_request == Some(request) {
                    self.stopped_with = result.ok().map(|taken| taken.checkpoint);
                }
            }
            Action::Done(result) => {
                assert!(self.asked.is_empty(), "CC-6: not answered: {:?}", self.asked);
                let failure = result.failure.as_ref().map(ToString::to_string);
                assert_eq!(result.status.to_string(), "FINISHED", "{failure:?}");
                for path in std::mem::take(&mut self.doomed) {
                    self.files.retain(|file, _| *file != path && !file.starts_with(&format!("{path}/")));
                }
                self.check_what_is_left();
                // The answer to whoever asked a former leader.
                if self.leader.stop_asked && self.stops.contains(&self.head) {
                    self.stopped_with = Some(self.head);
                }
                self.result = Some(result);
            }
        }
    }

    fn store(&mut self, epoch: u64, checkpoint: CompletedCheckpoint) {
        let id = checkpoint.id;
        let fails = self.now < CALM && self.random.percent(self.plan.storage_failures);
        if !fails && self.is_superseded(epoch) && checkpoint.kind != SnapshotKind::Savepoint {
            return self.formers.step_down(epoch);
        }
        let result = match fails {
            true => Err(Failure::new(Blame::Outside, "no space left")),
            false => self.put(epoch, checkpoint).map_err(|failure| *failure),
        };
        self.hear(epoch, Event::CheckpointStored { checkpoint: id, result });
    }

    /// Its metadata is in place, and it counts unless it is a savepoint for the user alone.
    fn put(&mut self, epoch: u64, checkpoint: CompletedCheckpoint) -> Result<(), Box<Failure>> {
        let (id, kind) = (checkpoint.id, checkpoint.kind);
        if kind != SnapshotKind::Savepoint {
            if id < self.head {
                return Err(Box::new(Failure::new(Blame::Outside, "overtaken")));
            }
            self.head = id;
        }
        if kind == SnapshotKind::StopWithSavepoint {
            self.stops.insert(id);
            self.files.insert(format!("{}/_metadata", leader::counted(&checkpoint).directory), String::new());
        }
        self.files.insert(format!("{}/_metadata", checkpoint.directory), String::new());
        if self.is_superseded(epoch) {
            // Of a savepoint under a number that the new leader gives as well: the user's.
            return Ok(());
        }
        self.stored.insert(id, checkpoint);
        self.stored_by.insert(id, epoch);
        let doomed = std::mem::take(&mut self.doomed);
        self.remove_files(epoch, &doomed);
        Ok(())
    }

    fn check_message(&mut self, message: &ToWorker) {
        match message {
            ToWorker::CheckpointCompleted { checkpoint, .. } => {
                assert!(self.stored.contains_key(checkpoint), "CC-2: {checkpoint} is told but not stored");
            }
            ToWorker::TriggerCheckpoint { barrier, .. } if barrier.checkpoint != self.last_trigger => {
                assert!(barrier.checkpoint > self.last_trigger, "CC-3: {} again", barrier.checkpoint);
                self.last_trigger = barrier.checkpoint;
                let subtasks = self.master.details().vertices.into_iter().flat_map(|vertex| vertex.subtasks);
                let run = |state| matches!(state, ExecutionState::Running | ExecutionState::Finished);
                assert!(subtasks.into_iter().all(|subtask| run(subtask.state)), "CC-7: not all subtasks run");
            }
            _ => {}
        }
    }

    fn check_files(&self, checkpoint: &CompletedCheckpoint) {
        for handle in checkpoint.handles() {
            if let StateLocation::File { path, .. } = &handle.location {
                // Nobody tells a new leader which of the job's own files a former one's savepoint needs: those of subtasks
                // that had ended.
                let former = self.stored_by.get(&checkpoint.id).is_some_and(|epoch| *epoch < self.leader.epoch);
                let savepoint = checkpoint.kind == SnapshotKind::Savepoint;
                if former && savepoint && !path.starts_with(&checkpoint.directory) {
                    continue;
                }
                assert!(self.files.contains_key(path), "CC-4: checkpoint {} lacks {path}", checkpoint.id);
            }
        }
    }

    fn discard(&mut self, paths: &[String]) {
        self.remove_files(self.leader.epoch, paths);
        self.check_what_counts();
    }

    /// What counts stays until another one does.
    fn remove_files(&mut self, epoch: u64, paths: &[String]) {
        let newest = self.newest_of(epoch);
        for path in paths {
            let holds = |newest: &String| newest == path || newest.starts_with(&format!("{path}/"));
            match newest.as_ref().is_some_and(holds) {
                true => self.doomed.push(path.clone()),
                false => self.files.retain(|file, _| file != path && !file.starts_with(&format!("{path}/"))),
            }
        }
    }

    /// The directory of the newest checkpoint that counts, as a leader of that epoch knows it.
    fn newest_of(&self, epoch: u64) -> Option<String> {
        let counts = |id: &CheckpointId| self.stored[id].kind != SnapshotKind::Savepoint;
        let newest = self.stored_by.iter().filter(|(id, by)| **by <= epoch && counts(id)).map(|(id, _)| *id).max()?;
        Some(leader::counted(&self.stored[&newest]).directory)
    }

    fn check_what_counts(&self) {
        // The newest is what the JobMaster counts as such; that it is the right one shows at the next restore.
        let statistics = self.master.checkpoints();
        let newest =
            statistics.latest_completed.into_iter().chain(statistics.latest_savepoint).map(|entry| entry.id).max();
        let kept = |checkpoint: &&CompletedCheckpoint| checkpoint.kind.is_savepoint() || Some(checkpoint.id) == newest;
        if !self.master.status().is_terminal() {
            self.stored.values().filter(kept).for_each(|checkpoint| self.check_files(checkpoint));
        }
    }

    /// When the job is over: savepoints whole, and nothing else.
    fn check_what_is_left(&self) {
        let savepoints: Vec<_> = self.stored.values().filter(|checkpoint| checkpoint.kind.is_savepoint()).collect();
        savepoints.iter().for_each(|checkpoint| self.check_files(checkpoint));
        // Of what a former leader left, the file system's side takes care.
        if savepoints.is_empty() && self.leader.epoch == 1 {
            let left: Vec<_> = self.files.keys().filter(|path| path.starts_with("/cp/")).collect();
            assert!(left.is_empty(), "files are left: {left:?}");
        }
    }

    /// Whatever happened: the committed output is that of a run in which nothing did.
    fn check_output(&self) {
        let mut output: Vec<(u64, u64)> = self.committed.values().flatten().copied().collect();
        output.sort_unstable();
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        let expected = (0..self.plan.records()).map(|record| match self.plan.keyed {
            true => {
                let count = counts.entry(record % self.plan.keys).or_default();
                *count += 1;
                (record % self.plan.keys, *count)
            }
            false => (record, 1),
        });
        let mut expected: Vec<(u64, u64)> = expected.collect();
        expected.sort_unstable();
        assert_eq!(output, expected, "exactly once");
    }

    fn report(&mut self, place: &Place, message: FromWorker) {
        self.send_inside(format!("out {place:?}"), Happening::Said(place.clone(), message));
    }

    /// Within a TaskExecutor.
    fn send_inside(&mut self, connection: String, happening: Happening) {
        let mut at = self.now + self.random.between(0, self.plan.latency / 5);
        let last = self.arrivals.entry(connection).or_default();
        at = at.max(*last);
        *last = at;
        self.at(at, happening);
    }

    fn relay(&mut self, epoch: u64, place: Place, message: ToWorker) {
        if !self.is_obeyed(epoch, &place.0) {
            return;
        }
        self.check_number(epoch, &message);
        let Some(report) = self.reports.get_mut(&place).filter(|report| report.exited.is_none()) else { return };
        report.told(&message);
        self.send_inside(format!("in {place:?}"), Happening::Obey(place, message));
    }

    fn said(&mut self, place: Place, message: FromWorker) {
        let Some(report) = self.reports.get_mut(&place) else { return };
        report.said(&message);
        let (executor, instance) = place;
        if let Some(epoch) = self.leader_of(&executor) {
            let connection = format!("from {executor}");
            self.send(connection, Happening::Hear(epoch, Event::Worker { executor, instance, message }));
        }
    }

    fn worker_ended(&mut self, place: Place, failure: Failure) {
        let Some(report) = self.reports.get_mut(&place) else { return };
        report.exited(&failure);
        let (executor, instance) = place;
        if let Some(epoch) = self.leader_of(&executor) {
            let connection = format!("from {executor}");
            self.send(connection, Happening::Hear(epoch, Event::WorkerExited { executor, instance, failure }));
        }
    }

    fn report_state(
        &mut self,
        place: &Place,
        attempt: ExecutionAttempt,
        subtask: SubtaskId,
        (state, failure): (ExecutionState, Option<Failure>),
    ) {
        let io = SubtaskIo::default();
        self.report(place, FromWorker::State { attempt, subtask, state, failure, io });
    }
}

fn sim_plan(sim: &Sim) -> Plan {
    sim.plan.clone()
}
