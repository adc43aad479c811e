//! A world that plays executors and workers for a JobMaster, and checks its invariants at every step.
#![allow(dead_code, reason = "each test binary uses its own part of the world")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use flumen_jobmaster::{Action, Event, FormerExecutor, JobDetails, JobMaster, JobResult, Settings, Start, Timestamp};
use flumen_model::config::Configuration;
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutionAttempt, ExecutorId, JobId, SubtaskId, VertexId};
use flumen_model::job_graph::{JobEdge, JobGraph, JobVertex, OperatorInfo, Partitioner, RuntimeMode, SourceInfo};
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::application::Program;
use flumen_wire::control::{Deployment, FromWorker, RegionId, StartWorker, SubtaskIo, ToWorker, WorkerAddress};
use flumen_wire::report::WorkerReport;

pub const SOURCE: VertexId = VertexId(1);
pub const SINK: VertexId = VertexId(2);
pub const JOB: JobId = JobId(7);

/// A source with splits and a sink, joined by a hash exchange.
pub fn graph(source: u32, sink: u32, splits: usize) -> JobGraph {
    let vertex = |id, name: &str, parallelism, source| JobVertex {
        id,
        name: name.into(),
        operators: vec![OperatorInfo {
            id: flumen_model::ids::OperatorId(id.0),
            name: name.into(),
            uid: None,
            states: Default::default(),
        }],
        parallelism,
        max_parallelism: 128,
        source,
    };
    let splits = (0..splits).map(|i| format!("split-{i}")).collect();
    JobGraph {
        name: "WordCount".into(),
        mode: RuntimeMode::Batch,
        vertices: vec![
            vertex(SOURCE, "Source", source, Some(SourceInfo { bounded: true, splits })),
            vertex(SINK, "Sink", sink, None),
        ],
        edges: vec![JobEdge { source: SOURCE, target: SINK, partitioner: Partitioner::Hash, output: 0 }],
        outputs: vec![],
        properties: BTreeMap::new(),
    }
}

pub fn executor(name: &str) -> ExecutorId {
    ExecutorId(name.into())
}

pub fn failure(blame: Blame, text: &str) -> Failure {
    Failure::new(blame, text)
}

pub fn subtask(vertex: VertexId, index: u32) -> SubtaskId {
    SubtaskId { vertex, index }
}

/// A worker as it really is (the JobMaster may not know it yet).
#[derive(Debug)]
pub struct Worker {
    pub instance: u32,
    pub deployment: Option<Deployment>,
    /// Its subtasks that have not ended.
    pub open: BTreeSet<SubtaskId>,
}

pub struct World {
    pub master: JobMaster,
    pub now: Timestamp,
    /// What workers have said and the JobMaster has not heard yet.
    pub mail: VecDeque<Event>,
    pub workers: BTreeMap<ExecutorId, Worker>,
    /// Everything that was asked for, in order.
    pub actions: Vec<Action>,
    /// Splits that were handed out in each attempt.
    pub handed_out: BTreeMap<u32, Vec<String>>,
    pub result: Option<JobResult>,
    /// Whether subtasks finish by themselves once their input is read.
    pub finishing: bool,
    /// Workers on these executors say nothing at all.
    pub mute: BTreeSet<ExecutorId>,
    /// What TaskExecutors know of their workers.
    pub reports: BTreeMap<ExecutorId, WorkerReport>,
    settings: Settings,
    graph: JobGraph,
    known: Known,
}

/// What the JobMaster was told: the invariants are about this, not about how the world really is.
#[derive(Default)]
struct Known {
    executors: BTreeSet<ExecutorId>,
    workers: BTreeMap<ExecutorId, u32>,
    last_instance: BTreeMap<ExecutorId, u32>,
    /// By region and attempt.
    deployed_to: BTreeMap<(RegionId, u32), BTreeSet<(ExecutorId, u32)>>,
    deployed: BTreeSet<(ExecutorId, u32, RegionId, u32)>,
    slots: Option<u32>,
}

impl World {
    pub fn new(graph: JobGraph, options: &[(&str, &str)]) -> Self {
        Self::starting(graph, options, Start::default())
    }

    /// A job that starts from something.
    pub fn starting(graph: JobGraph, options: &[(&str, &str)], start: Start) -> Self {
        let mut conf = Configuration::new();
        for (key, value) in options {
            conf.set(*key, *value);
        }
        let settings = Settings::read(&conf, &graph).expect("the options are valid");
        let now = Timestamp(1_000_000);
        let (master, actions) = JobMaster::new(JOB, graph.clone(), settings.clone(), start, now);
        let mut world = Self {
            master,
            now,
            mail: VecDeque::new(),
            workers: BTreeMap::new(),
            actions: vec![],
            handed_out: BTreeMap::new(),
            result: None,
            finishing: true,
            mute: BTreeSet::new(),
            reports: BTreeMap::new(),
            settings,
            graph,
            known: Known::default(),
        };
        world.carry_out(actions);
        world
    }

    /// The JobManager is lost with all mail to it, and another one takes the job over from what some TaskExecutors with so
    /// many slots report.
    pub fn adopt(&mut self, start: Start, executors: &[(&str, u32)]) -> Vec<Action> {
        self.mail.clear();
        self.handed_out.clear();
        let former = |(name, slots): &(&str, u32)| FormerExecutor {
            id: executor(name),
            slots: *slots,
            host: format!("host-{name}"),
            worker: self.reports.get(&executor(name)).cloned(),
        };
        let executors: Vec<FormerExecutor> = executors.iter().map(former).collect();
        self.known.slots = None;
        self.known.executors = executors.iter().map(|executor| executor.id.clone()).collect();
        let alive = executors.iter().filter_map(|executor| executor.worker.as_ref().map(|worker| (executor, worker)));
        let alive = alive.filter(|(_, worker)| worker.exited.is_none());
        self.known.workers = alive.map(|(executor, worker)| (executor.id.clone(), worker.instance)).collect();
        let (graph, settings) = (self.graph.clone(), self.settings.clone());
        let (master, actions) = JobMaster::adopt(JOB, graph, settings, start, executors, self.now);
        self.master = master;
        self.carry_out(actions.clone());
        actions
    }

    /// Tells the JobMaster a fact and does what it asks for.
    pub fn tell(&mut self, event: Event) -> Vec<Action> {
        let before = self.master.status();
        self.known.hear(&event);
        let actions = self.master.step(self.now, event);
        self.carry_out(actions.clone());
        let after = self.master.status();
        assert!(!before.is_terminal() || after == before, "{before} was final, then it was {after}");
        assert_eq!(after.is_terminal(), self.result.is_some(), "a job is over exactly when it says so");
        actions
    }

    pub fn register(&mut self, name: &str, slots: u32) -> Vec<Action> {
        self.tell(Event::ExecutorRegistered { id: executor(name), slots, host: format!("host-{name}") })
    }

    pub fn lose(&mut self, name: &str) -> Vec<Action> {
        self.workers.remove(&executor(name));
        self.tell(Event::ExecutorLost { id: executor(name), failure: failure(Blame::Outside, "container lost") })
    }

    pub fn kill_worker(&mut self, name: &str) -> Vec<Action> {
        let worker = self.workers.remove(&executor(name)).expect("there is a worker to kill");
        self.tell(Event::WorkerExited {
            executor: executor(name),
            instance: worker.instance,
            failure: failure(Blame::Outside, "worker exited with signal 9"),
        })
    }

    /// What the worker on that executor says, told at once.
    pub fn say(&mut self, name: &str, message: FromWorker) -> Vec<Action> {
        let instance = self.workers[&executor(name)].instance;
        self.reports.get_mut(&executor(name)).into_iter().for_each(|report| report.said(&message));
        self.tell(Event::Worker { executor: executor(name), instance, message })
    }

    pub fn fail_subtask(&mut self, name: &str, id: SubtaskId, failure: Failure) -> Vec<Action> {
        self.workers.get_mut(&executor(name)).expect("there is a worker").open.remove(&id);
        let state = ExecutionState::Failed;
        self.say(
            name,
            FromWorker::State {
                attempt: self.attempt(),
                subtask: id,
                state,
                failure: Some(failure),
                io: SubtaskIo::default(),
            },
        )
    }

    /// Delivers all mail, and what is answered to it.
    pub fn deliver(&mut self) {
        while let Some(event) = self.mail.pop_front() {
            self.tell(event);
        }
    }

    /// Lets the time pass to the next timer.
    pub fn tick(&mut self) -> Vec<Action> {
        self.now = self.now.max(self.master.next_timer().expect("something waits for a time"));
        self.tell(Event::Tick)
    }

    /// Lets that many milliseconds pass.
    pub fn pass(&mut self, ms: u64) -> Vec<Action> {
        self.now = Timestamp(self.now.0 + ms);
        self.tell(Event::Tick)
    }

    pub fn attempt(&self) -> ExecutionAttempt {
        self.master.details().attempt
    }

    pub fn status(&self) -> JobStatus {
        self.master.status()
    }

    pub fn details(&self) -> JobDetails {
        self.master.details()
    }

    /// How the job ended.
    pub fn ended(&self) -> &JobResult {
        self.result.as_ref().expect("the job has ended")
    }

    pub fn deployment(&self, name: &str) -> &Deployment {
        self.workers[&executor(name)].deployment.as_ref().expect("something was deployed")
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            assert!(self.result.is_none(), "{action:?} comes after the end");
            self.known.check(&action);
            self.act(&action);
            self.actions.push(action);
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::DeclareSlots(_) => {}
            Action::StartWorker { executor, instance } => {
                let worker = Worker { instance: *instance, deployment: None, open: BTreeSet::new() };
                self.reports.insert(executor.clone(), self.report(*instance));
                self.workers.insert(executor.clone(), worker);
                let address = WorkerAddress { host: format!("host-{executor}"), port: 1, socket: None };
                self.worker_says(executor, FromWorker::Ready { address, pid: 42 });
            }
            Action::StopWorker { executor, instance } => {
                self.workers.retain(|id, worker| id != executor || worker.instance != *instance);
            }
            Action::ToWorker { executor, instance, message } => {
                if self.workers.get(executor).is_some_and(|worker| worker.instance == *instance) {
                    self.worker_hears(executor, message);
                }
            }
            Action::StoreCheckpoint(_) | Action::DiscardFiles { .. } | Action::Answer { .. } => {}
            Action::CommitOutputs { .. } => self.mail.push_back(Event::OutputsCommitted(Ok(()))),
            Action::Done(result) => self.result = Some(result.clone()),
        }
    }

    fn worker_hears(&mut self, executor: &ExecutorId, message: &ToWorker) {
        let Some(worker) = self.workers.get_mut(executor) else { return };
        self.reports.get_mut(executor).into_iter().for_each(|report| report.told(message));
        match message {
            ToWorker::Deploy(deployment) => {
                worker.open = deployment
                    .placement
                    .iter()
                    .flat_map(|v| (0..).zip(&v.worker_of).map(|(index, worker)| (subtask(v.vertex, index), *worker)))
                    .filter(|(_, worker)| *worker == deployment.me)
                    .map(|(id, _)| id)
                    .collect();
                worker.deployment = Some(deployment.clone());
                let Deployment { region, attempt, .. } = *deployment;
                self.worker_says(executor, FromWorker::Deployed { region, attempt });
            }
            ToWorker::Start { attempt, .. } => {
                let attempt = *attempt;
                for id in worker.open.clone() {
                    self.worker_says(executor, state(attempt, id, ExecutionState::Running));
                    if id.vertex == SOURCE {
                        self.worker_says(executor, FromWorker::RequestSplit { attempt, subtask: id });
                    } else if self.finishing {
                        self.finish(executor, attempt, id);
                    }
                }
            }
            ToWorker::Cancel { attempt, .. } => {
                if worker.deployment.as_ref().is_some_and(|d| d.attempt <= *attempt) {
                    for id in std::mem::take(&mut worker.open) {
                        self.worker_says(executor, state(*attempt, id, ExecutionState::Canceled));
                    }
                }
            }
            ToWorker::TriggerCheckpoint { .. }
            | ToWorker::CheckpointCompleted { .. }
            | ToWorker::Drain { .. }
            | ToWorker::GroupWatermark { .. }
            | ToWorker::CheckpointAborted { .. } => {}
            ToWorker::Split { attempt, subtask: id, split: Some(split) } => {
                let handed_out = self.handed_out.entry(attempt.0).or_default();
                assert!(!handed_out.contains(split), "JM-4: {split} twice in attempt {attempt}");
                handed_out.push(split.clone());
                self.worker_says(executor, FromWorker::RequestSplit { attempt: *attempt, subtask: *id });
            }
            ToWorker::Split { attempt, subtask: id, split: None } => {
                if self.finishing {
                    self.finish(executor, *attempt, *id);
                }
            }
        }
    }

    pub fn finish(&mut self, executor: &ExecutorId, attempt: ExecutionAttempt, id: SubtaskId) {
        if self.workers.get_mut(executor).is_some_and(|worker| worker.open.remove(&id)) {
            self.worker_says(executor, state(attempt, id, ExecutionState::Finished));
        }
    }

    fn report(&self, instance: u32) -> WorkerReport {
        let (program, arguments, graph) = (Program::localized("p"), vec![], self.graph.clone());
        let (job, configuration, slots) = (JOB, Configuration::new(), 1);
        WorkerReport::starting(&StartWorker { job, instance, program, arguments, graph, configuration, slots })
    }

    fn worker_says(&mut self, executor: &ExecutorId, message: FromWorker) {
        self.reports.get_mut(executor).into_iter().for_each(|report| report.said(&message));
        if !self.mute.contains(executor)
            && let Some(worker) = self.workers.get(executor)
        {
            let instance = worker.instance;
            self.mail.push_back(Event::Worker { executor: executor.clone(), instance, message });
        }
    }
}

/// A report of a subtask that changed without failing.
pub fn state(attempt: ExecutionAttempt, subtask: SubtaskId, state: ExecutionState) -> FromWorker {
    FromWorker::State { attempt, subtask, state, failure: None, io: SubtaskIo::default() }
}

impl Known {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::ExecutorRegistered { id, .. } => {
                self.executors.insert(id.clone());
            }
            Event::ExecutorLost { id, .. } => {
                self.executors.remove(id);
                self.workers.remove(id);
            }
            Event::WorkerExited { executor, instance, .. } => {
                self.workers.retain(|id, living| id != executor || living != instance);
            }
            Event::Worker { executor, instance, message: FromWorker::Deployed { region, attempt } } => {
                self.deployed.insert((executor.clone(), *instance, *region, attempt.0));
            }
            Event::FormerWorker { executor, instance } => {
                self.workers.entry(executor.clone()).or_insert(*instance);
            }
            Event::Worker { .. }
            | Event::Cancel
            | Event::Snapshot(_)
            | Event::CheckpointStored { .. }
            | Event::ResourcesUnavailable { .. }
            | Event::OutputsCommitted(_)
            | Event::Tick => {}
        }
    }

    fn check(&mut self, action: &Action) {
        match action {
            Action::DeclareSlots(slots) => {
                assert_ne!(self.slots, Some(0), "JM-3: slots are declared after they were given back");
                self.slots = Some(*slots);
            }
            Action::StartWorker { executor, instance } => {
                assert!(self.executors.contains(executor), "JM-2: {executor} is not there");
                assert!(!self.workers.contains_key(executor), "{executor} has a worker");
                let last = self.last_instance.insert(executor.clone(), *instance);
                assert!(last.is_none_or(|last| last < *instance), "instance {instance} again on {executor}");
                self.workers.insert(executor.clone(), *instance);
            }
            Action::StopWorker { executor, instance } => {
                assert_eq!(self.workers.remove(executor), Some(*instance), "JM-2: no such worker on {executor}");
            }
            Action::ToWorker { executor, instance, message } => {
                assert_eq!(self.workers.get(executor), Some(instance), "JM-2: no such worker on {executor}");
                let me = (executor.clone(), *instance);
                match message {
                    ToWorker::Deploy(deployment) => {
                        assert!(deployment.workers.len() > deployment.me as usize);
                        let execution = (deployment.region, deployment.attempt.0);
                        self.deployed_to.entry(execution).or_default().insert(me);
                    }
                    ToWorker::Start { region, attempt } => {
                        for (executor, instance) in &self.deployed_to[&(*region, attempt.0)] {
                            let said = self.deployed.contains(&(executor.clone(), *instance, *region, attempt.0));
                            assert!(said, "JM-1: attempt {attempt} starts before {executor} is deployed");
                        }
                    }
                    ToWorker::Cancel { .. }
                    | ToWorker::Split { .. }
                    | ToWorker::TriggerCheckpoint { .. }
                    | ToWorker::CheckpointCompleted { .. }
                    | ToWorker::Drain { .. }
                    | ToWorker::GroupWatermark { .. }
                    | ToWorker::CheckpointAborted { .. } => {}
                }
            }
            Action::StoreCheckpoint(_)
            | Action::DiscardFiles { .. }
            | Action::Answer { .. }
            | Action::CommitOutputs { .. } => {}
            Action::Done(result) => {
                assert_eq!(self.slots, Some(0), "JM-3: slots are given back at the end");
                assert!(self.workers.is_empty(), "workers are left: {:?}", self.workers);
                assert!(result.status.is_terminal());
                assert_eq!(result.failure.is_some(), result.status == JobStatus::Failed);
            }
        }
    }
}
