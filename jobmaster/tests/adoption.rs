//! A new JobManager goes on with what runs, as far as it is whole (AD-1 … AD-4 in docs/adr/0011).
#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use flumen_jobmaster::{Action, Event, Start};
use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint, SnapshotKind, SnapshotTimes, SourceProgress};
use flumen_model::failure::Blame;
use flumen_model::ids::{Epoch, ExecutionAttempt, SubtaskId};
use flumen_model::job_graph::{JobGraph, Partitioner, RuntimeMode};
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::control::{FromWorker, SubtaskIo, ToWorker};
use flumen_wire::report::WorkerReport;
use proptest::prelude::*;
use world::*;

const BOTH: [(&str, u32); 2] = [("a", 1), ("b", 1)];
const FIRST: ExecutionAttempt = ExecutionAttempt(0);
/// The first execution of the second leader.
const LATER: ExecutionAttempt = ExecutionAttempt(10_000);

const CHECKPOINTS: [(&str, &str); 3] = [
    ("execution.checkpointing.dir", "/c"),
    ("execution.checkpointing.interval", "100 ms"),
    ("restart-strategy.type", "none"),
];

/// Two sources and two sinks on executors a and b. One region, or, with a forward exchange, two.
fn streaming(partitioner: Partitioner, splits: usize) -> JobGraph {
    let mut graph = graph(2, 2, splits);
    graph.mode = RuntimeMode::Streaming;
    graph.edges[0].partitioner = partitioner;
    graph
}

fn running(graph: JobGraph) -> World {
    let mut world = World::new(graph, &CHECKPOINTS);
    world.finishing = false;
    world.register("a", 1);
    world.register("b", 1);
    world.deliver();
    assert_eq!(world.status(), JobStatus::Running);
    world
}

fn second() -> Start {
    Start { epoch: Epoch(2), directory: Some("/c/e2".into()), ..Start::default() }
}

fn attempts(world: &World) -> Vec<ExecutionAttempt> {
    world.details().vertices.iter().flat_map(|vertex| &vertex.subtasks).map(|subtask| subtask.attempt).collect()
}

fn messages(actions: &[Action]) -> Vec<&ToWorker> {
    let mut messages = Vec::new();
    for action in actions {
        if let Action::ToWorker { message, .. } = action {
            messages.push(message);
        }
    }
    messages
}

fn touches(actions: &[Action]) -> bool {
    let restarts =
        |message: &&ToWorker| matches!(message, ToWorker::Deploy(_) | ToWorker::Start { .. } | ToWorker::Cancel { .. });
    let started = |action: &Action| matches!(action, Action::StartWorker { .. } | Action::StopWorker { .. });
    actions.iter().any(started) || messages(actions).iter().any(restarts)
}

/// Lets all subtasks confirm the checkpoint that is due next; gives it as it is stored.
fn checkpoint(world: &mut World) -> CompletedCheckpoint {
    let actions = world.pass(100);
    let id = triggered(&actions).expect("a checkpoint is due");
    confirm(world, id)
}

fn confirm(world: &mut World, checkpoint: CheckpointId) -> CompletedCheckpoint {
    let mut stored = None;
    for (executor, index) in [("a", 0), ("b", 1)] {
        for vertex in [SOURCE, SINK] {
            let id = subtask(vertex, index);
            let subtasks = world.details().vertices.into_iter().find(|v| v.id == vertex).unwrap().subtasks;
            let ack = FromWorker::CheckpointAck {
                attempt: subtasks[index as usize].attempt,
                subtask: id,
                checkpoint,
                snapshot: Box::default(),
                times: SnapshotTimes::default(),
            };
            for action in world.say(executor, ack) {
                if let Action::StoreCheckpoint(checkpoint) = action {
                    stored = Some(*checkpoint);
                }
            }
        }
    }
    stored.expect("all have confirmed it")
}

fn complete(world: &mut World) -> CompletedCheckpoint {
    let completed = checkpoint(world);
    world.tell(Event::CheckpointStored { checkpoint: completed.id, result: Ok(()) });
    completed
}

fn triggered(actions: &[Action]) -> Option<CheckpointId> {
    messages(actions).iter().find_map(|message| match message {
        ToWorker::TriggerCheckpoint { barrier, .. } => Some(barrier.checkpoint),
        _ => None,
    })
}

fn inherits(checkpoints: &[CompletedCheckpoint]) -> Start {
    Start { inherited: checkpoints.to_vec(), ..second() }
}

#[test]
fn what_runs_goes_on_untouched() {
    let mut world = running(streaming(Partitioner::Hash, 0));
    let actions = world.adopt(second(), &BOTH);
    assert!(!touches(&actions), "{actions:?}");
    assert_eq!((world.status(), world.details().restarts), (JobStatus::Running, 0));
    assert_eq!(attempts(&world), [FIRST; 4]);
    let on_a = world.details().vertices[0].subtasks[0].clone();
    assert_eq!((on_a.executor, on_a.host), (Some(executor("a")), Some("host-a".into())));
    complete(&mut world);
    world.tell(Event::Cancel);
    world.deliver();
    assert_eq!(world.ended().status, JobStatus::Canceled);
}

#[test]
fn a_job_of_which_nobody_reports_anything_begins_anew_with_numbers_of_its_own() {
    let mut world = running(streaming(Partitioner::Hash, 0));
    world.reports.clear();
    world.workers.clear();
    world.adopt(second(), &[]);
    assert_eq!(world.status(), JobStatus::Created);
    // One that comes late still has its worker.
    let late = world.tell(Event::FormerWorker { executor: executor("a"), instance: 1 });
    assert!(matches!(&late[..], [Action::StopWorker { instance: 1, .. }]), "{late:?}");
    // One that was taken for lost comes back.
    world.tell(Event::FormerWorker { executor: executor("b"), instance: 10_005 });
    world.register("a", 1);
    world.register("b", 1);
    world.deliver();
    assert_eq!(world.status(), JobStatus::Running);
    assert_eq!(attempts(&world), [LATER; 4]);
    let instance = |name| world.workers[&executor(name)].instance;
    assert_eq!((instance("a"), instance("b")), (10_001, 10_006));
}

#[test]
fn without_one_of_its_workers_a_region_is_restarted_and_the_others_are_not() {
    let mut world = running(streaming(Partitioner::Forward, 0));
    let actions = world.adopt(second(), &BOTH[..1]);
    assert!(!touches(&actions), "{actions:?}");
    assert_eq!(attempts(&world), [FIRST, LATER, FIRST, LATER]);
    world.register("c", 1);
    world.deliver();
    assert_eq!((world.status(), world.details().restarts), (JobStatus::Running, 0));
    assert_eq!(world.details().vertices[0].subtasks[1].executor, Some(executor("c")));

    let mut world = running(streaming(Partitioner::Hash, 0));
    let actions = world.adopt(second(), &BOTH[1..]);
    let [ToWorker::Cancel { region: 0, attempt }] = messages(&actions)[..] else { panic!("{actions:?}") };
    assert_eq!(*attempt, FIRST);
    world.register("c", 1);
    world.deliver();
    assert_eq!((world.status(), attempts(&world)), (JobStatus::Running, vec![LATER; 4]));
    assert_eq!(world.workers[&executor("b")].instance, 1, "its worker is used again");
}

#[test]
fn reports_that_do_not_fit_together_are_not_gone_on_with() {
    type Change = fn(&mut WorkerReport);
    let table: &[(&str, bool, Change)] = &[
        ("as it is", true, |_| ()),
        ("a count", true, |b| b.regions[0].subtasks[0].io.records_in = 7),
        ("not yet running", true, |b| b.regions[0].subtasks[0].state = ExecutionState::Deploying),
        ("not started", false, |b| b.regions[0].started = false),
        ("being stopped", false, |b| b.regions[0].cancelled = true),
        ("drained", false, |b| b.regions[0].drained = true),
        ("not whole", false, |b| b.whole = false),
        ("nothing of it", false, |b| b.regions.clear()),
        ("canceled", false, |b| b.regions[0].subtasks[0].state = ExecutionState::Canceled),
        ("a later execution", false, |b| b.regions[0].deployment.attempt = ExecutionAttempt(1)),
        ("another address", false, |b| b.address.as_mut().unwrap().port = 99),
        ("other peers", false, |b| b.regions[0].deployment.workers[0].port = 99),
        ("another place", false, |b| b.regions[0].deployment.placement[0].worker_of = vec![1, 1]),
        ("the same place", false, |b| b.regions[0].deployment.me = 0),
        ("a subtask less", false, |b| drop(b.regions[0].subtasks.pop())),
        ("began with a checkpoint", false, |b| b.regions[0].restored = Some(CheckpointId(4))),
        ("heard of a checkpoint", false, |b| b.regions[0].completed = Some(CheckpointId(4))),
        ("had waited for one", false, |b| {
            let subtask = &mut b.regions[0].subtasks[0];
            (subtask.state, subtask.end_of_data) = (ExecutionState::Finished, true);
        }),
        ("a split that there is not", false, |b| {
            let split = flumen_wire::report::GivenSplit { split: "x".into(), after: None };
            b.regions[0].subtasks[0].splits.push(split);
        }),
    ];
    for (name, goes_on, change) in table {
        let mut world = running(streaming(Partitioner::Hash, 0));
        change(world.reports.get_mut(&executor("b")).unwrap());
        let actions = world.adopt(second(), &BOTH);
        assert_eq!(!touches(&actions), *goes_on, "{name}: {actions:?}");
        assert_eq!(attempts(&world).iter().all(|attempt| *attempt == FIRST), *goes_on, "{name}");
        world.deliver();
        let expected = if *name == "not yet running" { JobStatus::Created } else { JobStatus::Running };
        assert_eq!((world.status(), world.details().restarts), (expected, 0), "{name}");
    }
}

#[test]
fn what_failed_while_nobody_listened_is_a_failure_like_any_other() {
    let mut world = running(streaming(Partitioner::Hash, 0));
    let failed = FromWorker::State {
        attempt: FIRST,
        subtask: subtask(SINK, 1),
        state: ExecutionState::Failed,
        failure: Some(failure(Blame::User, "divided by zero")),
        io: SubtaskIo::default(),
    };
    world.reports.get_mut(&executor("b")).unwrap().said(&failed);
    world.adopt(second(), &BOTH);
    world.deliver();
    let result = world.ended();
    assert_eq!(result.status, JobStatus::Failed, "there is no restart strategy");
    assert!(result.failure.as_ref().unwrap().message.contains("divided by zero"));

    let mut world = running(streaming(Partitioner::Hash, 0));
    world.reports.get_mut(&executor("b")).unwrap().exited(&failure(Blame::Outside, "killed by signal 9"));
    world.workers.remove(&executor("b"));
    world.adopt(second(), &BOTH);
    world.deliver();
    assert!(world.ended().failure.as_ref().unwrap().message.contains("killed by signal 9"));
}

fn given(world: &World) -> Vec<String> {
    let splits = |report: &WorkerReport| {
        let subtasks = report.regions.iter().flat_map(|region| region.subtasks.clone());
        subtasks.flat_map(|subtask| subtask.splits).map(|given| given.split).collect::<Vec<_>>()
    };
    let mut all: Vec<String> = world.reports.values().flat_map(splits).collect();
    all.sort();
    all
}

/// Splits that the JobMaster gives from now on, to a reader that never has enough.
fn rest(world: &mut World) -> Vec<String> {
    let before = world.actions.len();
    for _ in 0..20 {
        let id = subtask(SOURCE, 0);
        world.say("a", FromWorker::RequestSplit { attempt: FIRST, subtask: id });
        world.mail.clear();
    }
    splits_in(&world.actions[before..])
}

fn splits_in(actions: &[Action]) -> Vec<String> {
    let split = |message: &&ToWorker| match message {
        ToWorker::Split { split, .. } => split.clone(),
        _ => None,
    };
    messages(actions).iter().filter_map(split).collect()
}

/// A job whose readers have read one split each, and wait for the answer to their next request.
fn reading(partitioner: Partitioner) -> World {
    let mut world = World::new(streaming(partitioner, 6), &CHECKPOINTS);
    world.finishing = false;
    world.register("a", 1);
    world.register("b", 1);
    while given(&world).len() < 2 || world.status() != JobStatus::Running {
        let event = world.mail.pop_front().expect("both ask for splits");
        world.tell(event);
    }
    world
}

#[test]
fn splits_that_readers_have_are_not_given_again_and_open_requests_are_answered() {
    let mut world = reading(Partitioner::Hash);
    assert_eq!(given(&world), ["split-0", "split-1"]);
    let actions = world.adopt(second(), &BOTH);
    assert_eq!(splits_in(&actions), ["split-2", "split-3"], "both had asked: {actions:?}");
    world.mail.clear();
    assert_eq!(rest(&mut world), ["split-4", "split-5"]);
}

#[test]
fn a_split_that_never_arrived_is_given_again() {
    let mut world = reading(Partitioner::Hash);
    let subtask = &mut world.reports.get_mut(&executor("a")).unwrap().regions[0].subtasks[0];
    subtask.splits.clear();
    subtask.wants_split = true;
    let actions = world.adopt(second(), &BOTH);
    assert_eq!(splits_in(&actions), ["split-0", "split-2"]);
}

#[test]
fn a_split_that_two_readers_have_is_read_once() {
    let mut graph = streaming(Partitioner::Forward, 6);
    graph.vertices[0].source.as_mut().unwrap().splits.truncate(3);
    let mut world = World::new(graph, &CHECKPOINTS);
    world.finishing = false;
    world.register("a", 1);
    world.register("b", 1);
    world.deliver();
    let splits = |world: &World, name: &str| world.reports[&executor(name)].regions[0].subtasks[0].splits.clone();
    let of_a = splits(&world, "a");
    assert!(!of_a.is_empty());
    world.reports.get_mut(&executor("b")).unwrap().regions[0].subtasks[0].splits.push(of_a[0].clone());
    world.adopt(second(), &BOTH);
    assert_eq!(attempts(&world), [FIRST, LATER, FIRST, LATER]);
}

#[test]
fn only_splits_since_the_newest_checkpoint_count() {
    let mut world = reading(Partitioner::Hash);
    let mut newest = complete(&mut world);
    let source = newest.vertices.iter_mut().find(|vertex| vertex.vertex == SOURCE).unwrap();
    let expected = SourceProgress { remaining: (2..6).map(|n| format!("split-{n}")).collect(), handed_out: 2 };
    assert_eq!(source.source.as_ref(), Some(&expected));
    assert_eq!(given(&world), [""; 0], "it is complete: what was given before is in the readers' state");
    let event = world.mail.pop_front().unwrap();
    world.tell(event);
    assert_eq!(given(&world), ["split-2"]);
    world.reports.values_mut().for_each(|report| report.regions[0].subtasks[0].wants_split = false);
    world.adopt(inherits(&[newest]), &BOTH);
    assert_eq!(attempts(&world), [FIRST; 4]);
    world.mail.clear();
    assert_eq!(rest(&mut world), ["split-3", "split-4", "split-5"]);
    assert_eq!(world.details().vertices[0].splits.unwrap().total, 6);
}

/// Two checkpoints of a former life, one split apart.
fn two_checkpoints(partitioner: Partitioner) -> [CompletedCheckpoint; 2] {
    let mut world = reading(partitioner);
    let older = complete(&mut world);
    let event = world.mail.pop_front().unwrap();
    world.tell(event);
    let newer = complete(&mut world);
    let remaining = |checkpoint: &CompletedCheckpoint| {
        let source = checkpoint.vertices.iter().find_map(|vertex| vertex.source.as_ref());
        source.map(|progress| progress.remaining.len())
    };
    assert_eq!((remaining(&older), remaining(&newer)), (Some(4), Some(3)));
    [older, newer]
}

/// A later life of it, in which the newer of them turns out to be damaged.
fn newer_is_damaged(partitioner: Partitioner, [older, newer]: [CompletedCheckpoint; 2]) -> World {
    let options = [CHECKPOINTS[0], CHECKPOINTS[1], ("restart-strategy.type", "fixed-delay")];
    let damaged = newer.id;
    let mut world = World::starting(streaming(partitioner, 6), &options, inherits(&[older, newer]));
    world.finishing = false;
    world.register("a", 1);
    world.register("b", 1);
    world.deliver();
    assert_eq!(given(&world), ["split-3", "split-4", "split-5"]);
    let attempt = attempts(&world)[0];
    let failure = failure(Blame::Outside, "its file is torn");
    world.say("a", FromWorker::RestoreFailed { attempt, subtask: subtask(SOURCE, 0), checkpoint: damaged, failure });
    world.deliver();
    world.pass(2_000);
    world.deliver();
    world
}

#[test]
fn splits_return_when_the_newest_checkpoint_of_a_former_life_is_damaged() {
    let world = newer_is_damaged(Partitioner::Hash, two_checkpoints(Partitioner::Hash));
    assert_eq!(world.status(), JobStatus::Running);
    assert_eq!(given(&world), ["split-2", "split-3", "split-4", "split-5"]);
}

#[test]
fn a_job_fails_rather_than_lose_splits_of_which_the_readers_are_not_known() {
    let world = newer_is_damaged(Partitioner::Forward, two_checkpoints(Partitioner::Forward));
    let failure = world.details().failure.expect("only one of two regions can go back");
    assert!(failure.message.contains("which subtasks were given which splits"), "{failure}");
}

#[test]
fn checkpoints_go_on_and_those_under_way_are_given_up() {
    let mut world = running(streaming(Partitioner::Hash, 0));
    let newest = complete(&mut world);
    let under_way = triggered(&world.pass(100)).unwrap();
    let directory = format!("/c/{JOB}/chk-{under_way}");
    let actions = world.adopt(inherits(std::slice::from_ref(&newest)), &BOTH);
    assert!(!touches(&actions), "{actions:?}");
    let told = |wanted: &dyn Fn(&ToWorker) -> bool| messages(&actions).into_iter().filter(|m| wanted(m)).count();
    assert_eq!(told(&|m| matches!(m, ToWorker::CheckpointAborted { checkpoint, .. } if *checkpoint == under_way)), 2);
    assert_eq!(told(&|m| matches!(m, ToWorker::CheckpointCompleted { checkpoint, .. } if *checkpoint == newest.id)), 2);
    assert!(
        actions.iter().any(|action| matches!(action, Action::DiscardFiles { paths } if *paths == [directory.clone()]))
    );
    let next = triggered(&actions).expect("it was cut off: the next one is due at once");
    assert_eq!(next, CheckpointId(under_way.0 + 1));
    let late = confirm(&mut world, next);
    assert!(late.directory.starts_with("/c/e2/"), "{}", late.directory);
}

#[test]
fn a_checkpoint_that_was_completed_but_never_announced_is_announced() {
    let mut world = running(streaming(Partitioner::Hash, 0));
    let newest = checkpoint(&mut world);
    let actions = world.adopt(inherits(std::slice::from_ref(&newest)), &BOTH);
    assert!(!touches(&actions));
    let announced = messages(&actions).into_iter().find_map(|message| match message {
        ToWorker::CheckpointCompleted { checkpoint, .. } => Some(*checkpoint),
        ToWorker::CheckpointAborted { .. } => panic!("{actions:?}"),
        _ => None,
    });
    assert_eq!(announced, Some(newest.id));
}

#[test]
fn an_execution_that_is_not_that_of_the_newest_checkpoint_is_restarted() {
    // The former leader gave the checkpoint up, and only then its rename took place.
    let mut world = running(streaming(Partitioner::Hash, 0));
    let first = complete(&mut world);
    let given_up = checkpoint(&mut world);
    for report in world.reports.values_mut() {
        report.told(&ToWorker::CheckpointAborted { attempt: FIRST, checkpoint: given_up.id });
    }
    let reports = world.reports.clone();
    world.adopt(inherits(&[first.clone(), given_up]), &BOTH);
    assert_eq!(attempts(&world), [LATER; 4]);
    world.reports = reports;
    world.adopt(inherits(&[first]), &BOTH);
    assert_eq!(attempts(&world), [FIRST; 4], "its rename did not take place");
}

#[test]
fn a_stop_whose_savepoint_counts_ends_the_job_if_all_can_end() {
    for whole in [true, false] {
        let mut world = running(streaming(Partitioner::Forward, 0));
        let mut savepoint = checkpoint(&mut world);
        savepoint.kind = SnapshotKind::StopWithSavepoint;
        let executors = if whole { &BOTH[..] } else { &BOTH[..1] };
        let actions = world.adopt(inherits(&[savepoint]), executors);
        assert_eq!(triggered(&world.pass(1_000)), None);
        if whole {
            assert!(!touches(&actions));
            for (name, index) in [("a", 0), ("b", 1)] {
                for vertex in [SOURCE, SINK] {
                    world.say(name, state(FIRST, subtask(vertex, index), ExecutionState::Finished));
                }
            }
            world.deliver();
            assert_eq!(world.ended().status, JobStatus::Finished);
        } else {
            assert_eq!(attempts(&world), [LATER; 4]);
        }
    }
}

#[test]
fn subtasks_that_have_ended_stay_ended() {
    let mut world = running(streaming(Partitioner::Forward, 0));
    let ids: Vec<SubtaskId> = [SOURCE, SINK].into_iter().map(|vertex| subtask(vertex, 1)).collect();
    for id in &ids {
        world.say("b", FromWorker::EndOfData { attempt: FIRST, subtask: *id });
    }
    let newest = complete(&mut world);
    for id in &ids {
        world.say("b", state(FIRST, *id, ExecutionState::Finished));
    }
    let actions = world.adopt(inherits(&[newest]), &BOTH);
    assert!(!touches(&actions), "{actions:?}");
    let next = triggered(&actions).expect("the next one is due");
    let mut stored = Vec::new();
    for vertex in [SOURCE, SINK] {
        let (subtask, times) = (subtask(vertex, 0), SnapshotTimes::default());
        let (attempt, checkpoint, snapshot) = (FIRST, next, Box::default());
        stored.extend(world.say("a", FromWorker::CheckpointAck { attempt, subtask, checkpoint, snapshot, times }));
    }
    let whole = stored.iter().any(|action| matches!(action, Action::StoreCheckpoint(_)));
    assert!(whole, "those that have ended need not confirm: {stored:?}");
    assert_eq!(world.details().vertices[0].subtasks[1].state, ExecutionState::Finished);
    assert_eq!(world.status(), JobStatus::Running);
}

proptest! {
    /// Whatever reports say: nothing panics, no rule of actions is broken (the world looks), and subtasks of one region are
    /// in one execution.
    #[test]
    fn any_mixture_of_reports_leads_to_a_job_that_can_run(
        forward in any::<bool>(),
        changes in proptest::collection::vec((any::<bool>(), 0..12u8, 0..4u64), 0..5),
        executors in 0..4usize,
        newest in proptest::option::of(0..3u64),
    ) {
        let mut world = running(streaming(if forward { Partitioner::Forward } else { Partitioner::Hash }, 2));
        let template = complete(&mut world);
        for (on_a, what, number) in changes {
            let Some(report) = world.reports.get_mut(&executor(if on_a { "a" } else { "b" })) else { continue };
            let id = CheckpointId(number);
            let Some(region) = report.regions.first_mut() else { continue };
            match what {
                0 => region.started = false,
                1 => region.cancelled = true,
                2 => region.drained = true,
                3 => region.restored = Some(id),
                4 => region.completed = Some(id),
                5 => region.deployment.attempt = ExecutionAttempt(number as u32),
                6 => region.subtasks[0].acknowledged = vec![id],
                7 => region.subtasks[0].state = ExecutionState::Finished,
                8 => region.subtasks[0].state = ExecutionState::Failed,
                9 => region.subtasks[0].end_of_data = true,
                10 => report.exited(&failure(Blame::Outside, "exited")),
                _ => report.regions.clear(),
            }
        }
        let inherited = newest.map(|id| CompletedCheckpoint { id: CheckpointId(id), ..template });
        world.adopt(inherits(&inherited.into_iter().collect::<Vec<_>>()), &BOTH[..executors.min(2)]);
        let details = world.details();
        for index in 0..2 {
            let attempt = |vertex: usize| details.vertices[vertex].subtasks[index].attempt;
            prop_assert_eq!(attempt(0), attempt(1));
            prop_assert!(forward || attempt(0) == details.vertices[0].subtasks[1 - index].attempt);
        }
        if world.result.is_none() {
            world.tell(Event::Cancel);
        }
    }
}
