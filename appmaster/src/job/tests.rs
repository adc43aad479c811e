//! A whole job against played TaskExecutors and a played YARN; no time passes unless a test says so.

use std::num::NonZeroU32;
use std::time::Duration;

use flumen_hadoop::yarn::Resource;
use flumen_jobmaster::{SnapshotWish, Timestamp};
use flumen_model::ids::{SubtaskId, VertexId};
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::application::Purpose;
use flumen_wire::control::{FromWorker, PROTOCOL_VERSION, SubtaskIo, ToWorker, WorkerAddress};

use tokio::sync::oneshot;

use super::*;
use crate::clock;
use crate::resource::manager::Profile;
use crate::resource::testing::{container, container_id, status};
use crate::rest::{CancelReply, SnapshotOrder, TriggerReply};
use crate::testing::application;

struct World {
    driver: JobDriver,
    now: Moment,
    effects: Vec<Effect>,
}

impl World {
    fn new() -> Self {
        Self::watched(ClientWatch::off())
    }

    fn watched(watch: ClientWatch) -> Self {
        let now = clock::now();
        let Purpose::Job(submission) = application().purpose else { unreachable!("a job") };
        let settings = Settings::read(&submission.configuration, &submission.graph).unwrap();
        let profile = Profile {
            container: Resource::new(1024, 1),
            slots: NonZeroU32::MIN,
            node_label: None,
            failures_per_minute_max: 10.0,
            registration_timeout: Duration::from_secs(300),
            fit_grace: Duration::from_secs(5),
            appmaster: Resource::new(256, 1),
            user: "alice".into(),
        };
        let resources = ResourceManager::new(profile, Resource::new(8192, 8), "root.default".into());
        let (driver, effects) = JobDriver::new(*submission, settings, Start::default(), resources, watch, now);
        Self { driver, now, effects }
    }

    fn tell(&mut self, event: Event) -> &mut Self {
        self.effects = self.driver.handle(self.now, event);
        self
    }

    fn later(&mut self, wait: Duration) -> &mut Self {
        self.now = Moment { instant: self.now.instant + wait, timestamp: self.now.timestamp.after(wait) };
        self.tell(Event::Tick)
    }

    /// The effects of the last event in few words.
    fn seen(&self) -> Vec<String> {
        self.effects.iter().map(brief).collect()
    }

    fn saw(&self, part: &str) -> bool {
        self.seen().iter().any(|effect| effect.contains(part))
    }

    fn register(&mut self, n: i64) -> &mut Self {
        let info = ExecutorInfo {
            protocol: PROTOCOL_VERSION,
            id: executor(n),
            slots: 1,
            host: "node1".into(),
            pid: 1,
            memory: 1 << 30,
            cpu_cores: 4,
        };
        self.tell(Event::ExecutorRegistered(info))
    }

    fn says(&mut self, n: i64, message: FromWorker) -> &mut Self {
        let report = ExecutorReport::Worker { job: JobId(7), instance: self.instance(n), message };
        self.tell(Event::ExecutorReport { id: executor(n), report })
    }

    /// All subtasks enter a state. Who runs which is the JobMaster's choice; a stranger's word changes nothing.
    fn all_subtasks(&mut self, state: ExecutionState) {
        for (n, index) in [(2, 0), (2, 1), (3, 0), (3, 1)] {
            let subtask = SubtaskId { vertex: VertexId(1), index };
            let (attempt, io) = (ExecutionAttempt(0), SubtaskIo::default());
            self.says(n, FromWorker::State { attempt, subtask, state, failure: None, io });
        }
    }

    /// The newest worker that was started there.
    fn instance(&self, n: i64) -> u32 {
        self.driver.executors.newest_worker(&executor(n)).unwrap()
    }

    /// Two containers, numbers 2 and 3, with registered TaskExecutors.
    fn with_executors() -> Self {
        let mut world = Self::new();
        world.tell(Event::OutputsPrepared(Ok(())));
        for n in [2, 3] {
            world.tell(Event::Resource(manager::Event::Allocated(vec![container(n, n - 2)])));
            world.tell(Event::Resource(manager::Event::Launched { id: container_id(n), result: Ok(()) }));
            world.register(n);
        }
        world
    }

    /// The same, with the job running.
    fn running() -> Self {
        let mut world = Self::with_executors();
        for n in [2, 3] {
            let address = WorkerAddress { host: "node1".into(), port: 1, socket: None };
            world.says(n, FromWorker::Ready { address, pid: 2 });
        }
        for n in [2, 3] {
            world.says(n, FromWorker::Deployed { region: 0, attempt: ExecutionAttempt(0) });
        }
        world.all_subtasks(ExecutionState::Running);
        assert_eq!(world.driver.master.status(), JobStatus::Running);
        world
    }
}

fn executor(n: i64) -> ExecutorId {
    manager::executor_id(container_id(n))
}

fn brief(effect: &Effect) -> String {
    match effect {
        Effect::ToExecutor { id, command } => {
            let command = match command {
                ExecutorCommand::StartWorker(start) => format!("start {} {:?}", start.program.name, start.arguments),
                ExecutorCommand::StopWorker { .. } => "stop".into(),
                ExecutorCommand::Worker { message: ToWorker::Cancel { .. }, .. } => "cancel".into(),
                ExecutorCommand::Worker { .. } => "worker".into(),
                ExecutorCommand::Shutdown { reason } => format!("shutdown: {reason}"),
                ExecutorCommand::Registered { .. } | ExecutorCommand::Heartbeat => "other".into(),
            };
            format!("{}: {command}", &id.0[id.0.len() - 1..])
        }
        Effect::Resource(manager::Action::Ask(ask)) => format!("ask x{}", ask.count),
        Effect::Resource(manager::Action::Release { id, .. }) => format!("release {}", id.sequence()),
        Effect::Resource(manager::Action::Launch(container)) => format!("launch {}", container.id.sequence()),
        Effect::Resource(other) => format!("{other:?}"),
        Effect::CommitOutputs { attempt } => format!("commit {attempt}"),
        Effect::StoreCheckpoint(checkpoint) => format!("store {}", checkpoint.id),
        Effect::DiscardFiles(paths) => format!("discard {paths:?}"),
        Effect::DisposeSavepoint { path, .. } => format!("dispose {path}"),
        Effect::StepDown(reason) => format!("step down: {reason}"),
        Effect::Done { result, cancelled } => match (&result.failure, cancelled) {
            (Some(failure), _) => format!("{}: {failure}", result.status),
            (None, Some(reason)) => format!("{} because {reason}", result.status),
            (None, None) => result.status.to_string(),
        },
    }
}

#[test]
fn a_job_runs_to_its_end() {
    assert_eq!(World::new().seen(), ["ask x1", "ask x1"]);
    let mut world = World::with_executors();
    assert!(world.saw("2: start program [\"--input\", \"x\"]") && world.saw("3: start program"), "{:?}", world.seen());
    world = World::running();
    world.all_subtasks(ExecutionState::Finished);
    assert_eq!(world.seen(), ["commit 0"]);
    world.tell(Event::OutputsCommitted(Ok(())));
    assert_eq!(world.seen().last().unwrap(), "FINISHED");
    assert!(world.saw("release 2") && world.saw("release 3") && world.saw("2: stop"), "{:?}", world.seen());
}

#[test]
fn nothing_runs_before_the_outputs_are_claimed() {
    let mut world = World::new();
    for n in [2, 3] {
        world.tell(Event::Resource(manager::Event::Allocated(vec![container(n, n - 2)])));
        assert!(world.saw("launch"), "containers come meanwhile");
        world.tell(Event::Resource(manager::Event::Launched { id: container_id(n), result: Ok(()) }));
        assert_eq!(world.register(n).seen(), [""; 0]);
    }
    world.tell(Event::OutputsPrepared(Ok(())));
    assert!(world.saw("2: start") && world.saw("3: start"), "{:?}", world.seen());
}

#[test]
fn outputs_that_exist_fail_the_job_before_anything_runs() {
    let mut world = World::new();
    world.tell(Event::Resource(manager::Event::Allocated(vec![container(2, 0)])));
    world.tell(Event::OutputsPrepared(Err(Failure::new(Blame::Outside, "`/out` already exists"))));
    assert_eq!(world.seen(), ["ask x0", "release 2", "FAILED: `/out` already exists"]);
}

#[test]
fn an_executor_that_is_not_ours_is_sent_away() {
    let mut world = World::with_executors();
    assert!(world.register(9).saw("9: shutdown"), "{:?}", world.seen());
    assert_eq!(world.effects.len(), 1);
}

#[test]
fn a_lost_executor_is_replaced_and_the_job_restarted_with_yarns_cause() {
    let mut world = World::running();
    let failure = Failure::new(Blame::Outside, "the connection broke");
    world.tell(Event::ExecutorLost { id: executor(2), failure });
    assert_eq!(world.seen(), ["ask x1"]);
    world.tell(Event::Resource(manager::Event::Completed(vec![status(2, -104, "beyond the limit")])));
    assert!(world.saw("3: cancel"), "{:?}", world.seen());
    let exceptions = world.driver.master.details().exceptions;
    assert!(exceptions[0].failure.to_string().contains("beyond the limit"), "{exceptions:?}");
    assert_eq!(world.driver.master.status(), JobStatus::Restarting);
    world.tell(Event::Resource(manager::Event::Allocated(vec![container(4, 2)])));
    assert!(world.saw("launch 4"), "{:?}", world.seen());
}

#[test]
fn slots_that_will_never_come_fail_the_job_with_the_reason() {
    let mut world = World::new();
    world.tell(Event::Resource(manager::Event::AskRefused("no such label".into())));
    assert_eq!(world.effects.len(), 1, "{:?}", world.seen());
    assert!(world.saw("FAILED: YARN refuses") && world.saw("no such label"), "{:?}", world.seen());
}

#[test]
fn a_client_that_falls_silent_takes_its_job_with_it() {
    let due = clock::now().timestamp.after(Duration::from_secs(60));
    let mut world = World::watched(ClientWatch::until(due));
    world.later(Duration::from_secs(50));
    let (reply, mut answer) = oneshot::channel();
    let expires = world.now.timestamp.after(Duration::from_secs(60));
    world.tell(Event::Rest(RestRequest::ClientHeartbeat { job: JobId(7), expires, reply }));
    assert_eq!(answer.try_recv(), Ok(true));
    assert!(!world.later(Duration::from_secs(50)).saw("CANCELED"));
    let last = world.later(Duration::from_secs(10)).seen().pop().unwrap();
    assert_eq!(last, "CANCELED because its attached client fell silent (client.heartbeat.timeout)");
}

#[test]
fn the_next_timer_is_the_earliest_of_all() {
    let due = clock::now().timestamp.after(Duration::from_secs(2));
    let world = World::watched(ClientWatch::until(due));
    let wait = world.driver.next_timer(world.now).unwrap() - world.now.instant;
    assert!(wait <= Duration::from_secs(2), "{wait:?}");
    let wait = World::new().driver.next_timer(world.now).unwrap() - world.now.instant;
    assert!(
        wait > Duration::from_secs(2) && wait <= Duration::from_secs(6),
        "the grace of the resource check: {wait:?}"
    );
}

#[test]
fn a_request_to_cancel_is_answered_by_what_becomes_of_it() {
    let mut world = World::running();
    let cancel = |world: &mut World, job| {
        let (reply, mut answer) = oneshot::channel();
        world.tell(Event::Rest(RestRequest::Cancel { job, reply }));
        answer.try_recv().unwrap()
    };
    assert_eq!(cancel(&mut world, JobId(8)), CancelReply::Unknown);
    assert_eq!(cancel(&mut world, JobId(7)), CancelReply::Accepted);
    assert!(world.saw("2: cancel") && world.saw("3: cancel"), "{:?}", world.seen());
    world.later(Duration::from_secs(3600));
    assert!(world.saw("CANCELED because its user asked for it"), "{:?}", world.seen());
    assert_eq!(cancel(&mut world, JobId(7)), CancelReply::AlreadyOver(JobStatus::Canceled));
}

#[test]
fn executors_are_shown_with_their_slots_and_logs() {
    let mut world = World::running();
    let report = ExecutorReport::Heartbeat { resident: 12345 };
    world.tell(Event::ExecutorReport { id: executor(3), report });
    let (reply, mut answer) = oneshot::channel();
    world.tell(Event::Rest(RestRequest::Executors { reply }));
    let views = answer.try_recv().unwrap();
    assert_eq!(views.iter().map(|view| view.id.clone()).collect::<Vec<_>>(), [executor(2), executor(3)]);
    assert_eq!((views[0].slots, views[0].free_slots), (1, 0));
    assert_eq!((views[0].resident, views[1].resident), (0, 12345));
    assert!(views[0].last_heartbeat > Timestamp(0));
    let logs = views[0].logs_url.as_deref().unwrap();
    assert_eq!(logs, format!("http://node1:8042/node/containerlogs/{}/alice", executor(2)));
}

impl World {
    fn ask<T>(&mut self, request: impl FnOnce(oneshot::Sender<T>) -> RestRequest) -> T {
        let (reply, mut answer) = oneshot::channel();
        self.tell(Event::Rest(request(reply)));
        answer.try_recv().unwrap()
    }

    fn snapshot(&mut self, job: u128, trigger: u128, wish: SnapshotWish) -> TriggerReply {
        let order = SnapshotOrder { job: JobId(job), trigger: TriggerId(trigger), wish, then_cancel: true };
        self.ask(|reply| RestRequest::Snapshot { order, reply })
    }

    fn operation(&mut self, trigger: u128, kind: OperationKind) -> Option<OperationState> {
        self.ask(|reply| RestRequest::Operation { trigger: TriggerId(trigger), kind, reply })
    }
}

#[test]
fn a_snapshot_is_asked_of_the_jobmaster_and_its_answer_is_kept() {
    let mut world = World::running();
    let target = || SnapshotWish::Savepoint { target: Some("file:///sp".into()) };
    assert_eq!(world.snapshot(8, 1, target()), TriggerReply::UnknownJob);
    assert_eq!(world.snapshot(7, 1, SnapshotWish::Savepoint { target: None }), TriggerReply::NoDirectory);
    assert_eq!(world.operation(1, OperationKind::Savepoint), None);
    // A job in batch execution takes none, and says so at once.
    assert_eq!(world.snapshot(7, 1, target()), TriggerReply::Accepted);
    assert!(world.driver.awaits_reader());
    let state = world.operation(1, OperationKind::Savepoint);
    assert!(matches!(state, Some(OperationState::Failed(_))), "{state:?}");
    assert!(!world.driver.awaits_reader());
    assert_eq!(world.driver.master.status(), JobStatus::Running, "without a savepoint the job is not cancelled");
    world.all_subtasks(ExecutionState::Finished);
    world.tell(Event::OutputsCommitted(Ok(())));
    assert_eq!(world.snapshot(7, 2, target()), TriggerReply::AlreadyOver(JobStatus::Finished));
    assert_eq!(world.snapshot(7, 1, target()), TriggerReply::Accepted, "the one of before");
}

#[test]
fn a_savepoint_is_disposed_of_once() {
    let mut world = World::new();
    let dispose = |reply| RestRequest::Dispose { trigger: TriggerId(1), path: "/sp".into(), reply };
    assert_eq!(world.ask(dispose), TriggerReply::Accepted);
    assert_eq!(world.seen(), ["dispose /sp"]);
    assert_eq!(world.ask(dispose), TriggerReply::Accepted);
    assert!(world.seen().is_empty());
    assert_eq!(world.operation(1, OperationKind::Disposal), Some(OperationState::InProgress));
    world.tell(Event::Disposed { trigger: TriggerId(1), state: OperationState::Disposed });
    assert_eq!(world.operation(1, OperationKind::Disposal), Some(OperationState::Disposed));
}

#[test]
fn an_attempt_that_was_superseded_steps_down() {
    let mut world = World::running();
    world.tell(Event::Superseded("epoch 2 leads".into()));
    assert_eq!(world.seen(), ["step down: epoch 2 leads"]);
}
