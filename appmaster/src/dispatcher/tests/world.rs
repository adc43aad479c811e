//! Played TaskExecutors and a played YARN; no time passes unless a test says so.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use flumen_hadoop::yarn::Resource;
use flumen_jobmaster::{Settings, SnapshotWish, Start};
use flumen_model::ids::{ExecutionAttempt, SubtaskId, VertexId};
use flumen_model::status::ExecutionState;
use flumen_wire::application::Purpose;
use flumen_wire::control::{
    ExecutorInfo, ExecutorReport, FromWorker, PROTOCOL_VERSION, SubtaskIo, ToWorker, WorkerAddress,
};
use flumen_wire::report::WorkerReport;

use super::super::*;
use crate::clock;
use crate::resource::manager::Profile;
use crate::resource::slots::Reserve;
use crate::resource::testing::{container, container_id};
use crate::rest::{RestRequest, SnapshotOrder, TriggerReply};
use crate::testing::application;

/// The job of an application of one job.
pub(super) const JOB: u128 = 7;

pub(super) struct World {
    pub(super) dispatcher: Dispatcher,
    pub(super) now: Moment,
    pub(super) effects: Vec<Effect>,
    /// The newest worker of each job on each executor.
    workers: BTreeMap<(u128, i64), u32>,
}

/// A job of one vertex.
pub(super) fn submission(job: u128, parallelism: u32) -> JobSubmission {
    let Purpose::Job(mut submission) = application().purpose else { unreachable!("a job") };
    submission.job = JobId(job);
    submission.graph.vertices[0].parallelism = parallelism;
    submission.program.name = format!("program{job}");
    *submission
}

/// What a job begins with whose outputs are claimed.
pub(super) fn admitted() -> Box<Admitted> {
    let submission = submission(JOB, 2);
    let settings = Settings::read(&submission.configuration, &submission.graph).unwrap();
    Box::new(Admitted { checkpoints: settings.checkpoints, start: Start::default() })
}

impl World {
    /// An application of one job of two subtasks, which is not admitted yet.
    pub(super) fn new() -> Self {
        Self::of(submission(JOB, 2))
    }

    pub(super) fn of(submission: JobSubmission) -> Self {
        let mut world = Self::with(false, 1, Reserve::none());
        world.effects = world.dispatcher.submit_own(world.now, submission).unwrap();
        world
    }

    /// A session whose TaskExecutors have that many slots each.
    pub(super) fn session(slots: u32) -> Self {
        Self::with(true, slots, Reserve { standing: true, idle_timeout: Duration::from_secs(30), ..Reserve::none() })
    }

    pub(super) fn with(session: bool, slots: u32, reserve: Reserve) -> Self {
        Self::keeping(session, false, slots, reserve)
    }

    /// One of high availability: what a former leader left has ten seconds to come.
    pub(super) fn keeping(session: bool, keeps: bool, slots: u32, reserve: Reserve) -> Self {
        let now = clock::now();
        let profile = Profile {
            container: Resource::new(1024, 1),
            slots: NonZeroU32::new(slots).unwrap(),
            reserve,
            node_label: None,
            failures_per_minute_max: 1.0,
            registration_timeout: Duration::from_secs(300),
            former_timeout: keeps.then_some(Duration::from_secs(10)),
            fit_grace: Duration::from_secs(5),
            appmaster: Resource::new(256, 1),
            user: "alice".into(),
        };
        let resources = ResourceManager::new(profile, Resource::new(8192, 8), "root.default".into());
        let limits = ArchiveLimits { jobs: 2, bytes: u64::MAX, age: Duration::from_secs(3600) };
        let dispatcher = Dispatcher::new(session, keeps, resources, limits);
        Self { dispatcher, now, effects: Vec::new(), workers: BTreeMap::new() }
    }

    pub(super) fn tell(&mut self, event: Event) -> &mut Self {
        self.effects = self.dispatcher.handle(self.now, event);
        for effect in &self.effects {
            if let Effect::ToExecutor { id, command: ExecutorCommand::StartWorker(start) } = effect {
                self.workers.insert((start.job.0, number(id)), start.instance);
            }
        }
        self
    }

    pub(super) fn later(&mut self, wait: Duration) -> &mut Self {
        self.now = Moment { instant: self.now.instant + wait, timestamp: self.now.timestamp.after(wait) };
        self.tell(Event::Tick)
    }

    /// The effects of the last event in few words.
    pub(super) fn seen(&self) -> Vec<String> {
        self.effects.iter().map(brief).collect()
    }

    pub(super) fn saw(&self, part: &str) -> bool {
        self.seen().iter().any(|effect| effect.contains(part))
    }

    pub(super) fn admit(&mut self, job: u128) -> &mut Self {
        self.tell(Event::Admitted { job: JobId(job), result: Ok(admitted()) })
    }

    /// Submits a job and lets it begin.
    pub(super) fn submit(&mut self, job: u128, parallelism: u32) -> &mut Self {
        let mut answer = self.post(submission(job, parallelism));
        assert!(answer.try_recv().is_err(), "it is answered when the job is admitted");
        self.admit(job);
        assert_eq!(answer.try_recv(), Ok(SubmitReply::Accepted));
        self
    }

    pub(super) fn post(&mut self, submission: JobSubmission) -> oneshot::Receiver<SubmitReply> {
        let (reply, answer) = oneshot::channel();
        self.tell(Event::Rest(RestRequest::Submit { submission: Box::new(submission), reply }));
        answer
    }

    /// A container is given for a wish and launched.
    pub(super) fn launch(&mut self, n: i64, wish: i64) -> &mut Self {
        self.tell(Event::Resource(manager::Event::Allocated(vec![container(n, wish)])));
        assert!(self.saw(&format!("launch {n}")), "{:?}", self.seen());
        self.tell(Event::Resource(manager::Event::Launched { id: container_id(n), result: Ok(()) }))
    }

    pub(super) fn register(&mut self, n: i64, slots: u32) -> &mut Self {
        self.register_with(n, slots, Vec::new())
    }

    pub(super) fn register_with(&mut self, n: i64, slots: u32, workers: Vec<WorkerReport>) -> &mut Self {
        let info = ExecutorInfo {
            protocol: PROTOCOL_VERSION,
            id: executor(n),
            slots,
            host: "node1".into(),
            pid: 1,
            memory: 1 << 30,
            cpu_cores: 4,
        };
        self.tell(Event::ExecutorRegistered { info, workers })
    }

    /// The newest worker of the job there says something.
    pub(super) fn says(&mut self, job: u128, n: i64, message: FromWorker) -> &mut Self {
        let instance = self.workers.get(&(job, n)).copied().unwrap_or(1);
        let report = ExecutorReport::Worker { job: JobId(job), instance, message };
        self.tell(Event::ExecutorReport { id: executor(n), report })
    }

    /// All subtasks of a job enter a state. Who runs which is the JobMaster's choice; a stranger's word changes nothing.
    pub(super) fn all_subtasks(&mut self, job: u128, state: ExecutionState) {
        let executors: Vec<i64> = self.workers.keys().filter(|(of, _)| *of == job).map(|(_, n)| *n).collect();
        let mut all = Vec::new();
        for n in executors {
            for index in 0..8 {
                let subtask = SubtaskId { vertex: VertexId(1), index };
                let (attempt, io) = (ExecutionAttempt(0), SubtaskIo::default());
                self.says(job, n, FromWorker::State { attempt, subtask, state, failure: None, io });
                all.append(&mut self.effects);
            }
        }
        self.effects = all;
    }

    /// Workers of the job come up, are deployed and run.
    pub(super) fn run(&mut self, job: u128) -> &mut Self {
        let executors: Vec<i64> = self.workers.keys().filter(|(of, _)| *of == job).map(|(_, n)| *n).collect();
        for n in &executors {
            let address = WorkerAddress { host: "node1".into(), port: 1, socket: None };
            self.says(job, *n, FromWorker::Ready { address, pid: 2 });
        }
        for n in executors {
            self.says(job, n, FromWorker::Deployed { region: 0, attempt: ExecutionAttempt(0) });
        }
        self.all_subtasks(job, ExecutionState::Running);
        assert_eq!(self.status(job), Some(JobStatus::Running), "{job}");
        self
    }

    /// The job finishes. The effects are those of its end.
    pub(super) fn finish(&mut self, job: u128) -> &mut Self {
        self.all_subtasks(job, ExecutionState::Finished);
        assert!(self.saw(&format!("commit {job}/0")), "{:?}", self.seen());
        self.tell(Event::OutputsCommitted { job: JobId(job), result: Ok(()) })
    }

    /// The state of a job that is not over.
    pub(super) fn status(&self, job: u128) -> Option<JobStatus> {
        self.dispatcher.jobs.get(&JobId(job)).map(Job::status)
    }

    pub(super) fn ask<T>(&mut self, request: impl FnOnce(oneshot::Sender<T>) -> RestRequest) -> T {
        let (reply, mut answer) = oneshot::channel();
        self.tell(Event::Rest(request(reply)));
        answer.try_recv().unwrap()
    }

    pub(super) fn snapshot(&mut self, job: u128, trigger: u128, wish: SnapshotWish) -> TriggerReply {
        let order = SnapshotOrder { job: JobId(job), trigger: TriggerId(trigger), wish, then_cancel: true };
        self.ask(|reply| RestRequest::Snapshot { order, reply })
    }

    pub(super) fn operation(&mut self, job: u128, trigger: u128, kind: OperationKind) -> Option<OperationState> {
        self.ask(|reply| RestRequest::Operation { job: Some(JobId(job)), trigger: TriggerId(trigger), kind, reply })
    }

    /// Two containers, numbers 2 and 3, with registered TaskExecutors.
    pub(super) fn with_executors() -> Self {
        let mut world = Self::new();
        world.admit(JOB);
        for n in [2, 3] {
            world.launch(n, n - 2).register(n, 1);
        }
        world
    }

    /// The same, with the job running.
    pub(super) fn running() -> Self {
        let mut world = Self::with_executors();
        world.run(JOB);
        world
    }
}

pub(super) fn executor(n: i64) -> ExecutorId {
    manager::executor_id(container_id(n))
}

fn number(id: &ExecutorId) -> i64 {
    id.0.rsplit('_').next().and_then(|number| number.parse().ok()).unwrap()
}

fn brief(effect: &Effect) -> String {
    match effect {
        Effect::ToExecutor { id, command } => {
            let command = match command {
                ExecutorCommand::StartWorker(start) => {
                    format!("start {} x{} {:?}", start.program.name, start.slots, start.arguments)
                }
                ExecutorCommand::StopWorker { job, .. } => format!("stop {}", job.0),
                ExecutorCommand::Worker { message: ToWorker::Cancel { .. }, .. } => "cancel".into(),
                ExecutorCommand::Worker { .. } => "worker".into(),
                ExecutorCommand::Shutdown { reason } => format!("shutdown: {reason}"),
                ExecutorCommand::StandingBy { .. } | ExecutorCommand::Containers { .. } => "standby".into(),
                ExecutorCommand::Registered { .. } | ExecutorCommand::ReadLogs { .. } | ExecutorCommand::Heartbeat => {
                    "other".into()
                }
            };
            format!("{}: {command}", number(id))
        }
        Effect::Resource(manager::Action::Ask(ask)) => format!("ask x{}", ask.count),
        Effect::Resource(manager::Action::Release { id, .. }) => format!("release {}", id.sequence()),
        Effect::Resource(manager::Action::Launch(container)) => format!("launch {}", container.id.sequence()),
        Effect::Resource(other) => format!("{other:?}"),
        Effect::Admit(admission) => format!("admit {}", admission.job.0),
        Effect::CommitOutputs { job, attempt } => format!("commit {}/{attempt}", job.0),
        Effect::StoreCheckpoint { job, checkpoint } => format!("store {}/{}", job.0, checkpoint.id),
        Effect::DiscardFiles { job, paths } => format!("discard {}/{paths:?}", job.0),
        Effect::CloseJob { job, succeeded } => format!("close {} {succeeded}", job.0),
        Effect::Done(Outcome::NoJob(failure)) => format!("no job: {failure}"),
        Effect::Done(Outcome::Stopped) => "session over".into(),
        Effect::DisposeSavepoint { path, .. } => format!("dispose {path}"),
        Effect::KeepResult(result) => format!("keep {} {}", result.submission.job.0, result.status),
        Effect::ForgetResult { job } => format!("forget {}", job.0),
        Effect::StepDown(reason) => format!("step down: {reason}"),
        Effect::Done(Outcome::Job { result, cancelled }) => match (&result.failure, cancelled) {
            (Some(failure), _) => format!("{}: {failure}", result.status),
            (None, Some(reason)) => format!("{} because {reason}", result.status),
            (None, None) => result.status.to_string(),
        },
    }
}
