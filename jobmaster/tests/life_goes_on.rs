//! What a job has lived through under one JobManager is known to the next one, as its newest checkpoint tells it.
#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use flumen_jobmaster::{Action, CheckpointCounts, Event, Start, Timestamp};
use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint, SnapshotTimes};
use flumen_model::failure::Blame;
use flumen_model::ids::Epoch;
use flumen_model::job_graph::RuntimeMode;
use flumen_model::status::JobStatus;
use flumen_wire::control::{FromWorker, ToWorker};
use world::*;

fn running(strategy: &[(&str, &str)]) -> World {
    let mut graph = graph(1, 1, 0);
    graph.mode = RuntimeMode::Streaming;
    let checkpoints = [("execution.checkpointing.dir", "/c"), ("execution.checkpointing.interval", "100 ms")];
    let mut world = World::new(graph, &[&checkpoints[..], strategy].concat());
    world.finishing = false;
    world.register("a", 1);
    world.deliver();
    assert_eq!(world.status(), JobStatus::Running);
    world
}

/// The next checkpoint, complete.
fn complete(world: &mut World) -> CompletedCheckpoint {
    let actions = world.pass(100);
    let id: CheckpointId = actions
        .iter()
        .find_map(|action| match action {
            Action::ToWorker { message: ToWorker::TriggerCheckpoint { barrier, .. }, .. } => Some(barrier.checkpoint),
            _ => None,
        })
        .expect("a checkpoint is due");
    let mut stored = None;
    for vertex in [SOURCE, SINK] {
        let (subtask, attempt) = (subtask(vertex, 0), world.attempt());
        let (snapshot, times) = (Box::default(), SnapshotTimes::default());
        let actions = world.say("a", FromWorker::CheckpointAck { attempt, subtask, checkpoint: id, snapshot, times });
        stored = stored.or(actions.into_iter().find_map(|action| match action {
            Action::StoreCheckpoint(checkpoint) => Some(*checkpoint),
            _ => None,
        }));
    }
    world.tell(Event::CheckpointStored { checkpoint: id, result: Ok(()) });
    stored.expect("all have confirmed it")
}

fn fail(world: &mut World) {
    world.fail_subtask("a", subtask(SINK, 0), failure(Blame::Outside, "disk full"));
    world.deliver();
    world.pass(2_000);
    world.deliver();
}

fn next(newest: CompletedCheckpoint) -> Start {
    Start { inherited: vec![newest], epoch: Epoch(2), directory: Some("/c/e2".into()), ..Start::default() }
}

#[test]
fn restarts_that_a_former_jobmanager_allowed_count_against_the_budget_of_the_next_one() {
    for strategy in [
        [("restart-strategy.type", "fixed-delay"), ("restart-strategy.fixed-delay.attempts", "1")],
        [("restart-strategy.type", "failure-rate"), ("restart-strategy.failure-rate.max-failures-per-interval", "1")],
        [
            ("restart-strategy.type", "exponential-delay"),
            ("restart-strategy.exponential-delay.attempts-before-reset-backoff", "1"),
        ],
    ] {
        for taken_over in [false, true] {
            let mut world = running(&strategy);
            if taken_over {
                fail(&mut world);
                assert_eq!((world.status(), world.details().restarts), (JobStatus::Running, 1), "{strategy:?}");
                let newest = complete(&mut world);
                world.adopt(next(newest), &[("a", 1)]);
                assert_eq!((world.status(), world.details().restarts), (JobStatus::Running, 1), "{strategy:?}");
            }
            fail(&mut world);
            let expected = if taken_over { JobStatus::Failed } else { JobStatus::Running };
            assert_eq!(world.status(), expected, "{strategy:?}");
        }
    }
}

#[test]
fn a_job_that_is_taken_over_has_its_age_and_its_checkpoints() {
    let mut world = running(&[]);
    let start = world.details().start;
    complete(&mut world);
    let newest = complete(&mut world);
    world.pass(100);
    let given_up = world.master.checkpoints().counts;
    assert_eq!((given_up.total, given_up.completed), (3, 2));
    let former = world.master.checkpoints().latest_completed.unwrap();
    world.adopt(next(newest), &[("a", 1)]);
    assert_eq!(world.details().start, start);
    let statistics = world.master.checkpoints();
    let counts = CheckpointCounts { restored: 0, total: 2, in_progress: 0, completed: 2, failed: 0 };
    let shown = statistics.latest_completed.unwrap();
    assert_eq!((shown.id, shown.triggered, &shown.directory), (former.id, former.triggered, &former.directory));
    assert_eq!(statistics.history.iter().filter(|entry| entry.id == former.id).count(), 1);
    // The next one is under way already.
    let behind = statistics.counts.in_progress;
    assert_eq!(CheckpointCounts { total: counts.total + behind, in_progress: behind, ..counts }, statistics.counts);
}

#[test]
fn without_a_checkpoint_the_submission_tells_when_a_job_was_accepted() {
    for (accepted, expected) in [(Some(5), 5), (None, 1_000_000), (Some(u64::MAX), 1_000_000)] {
        let mut world = running(&[]);
        let accepted = accepted.map(Timestamp);
        let now = world.now;
        world.adopt(Start { accepted, ..Start::default() }, &[("a", 1)]);
        let start = world.details().start;
        assert_eq!(start, if expected == 5 { Timestamp(5) } else { now });
    }
}

#[test]
fn a_job_that_had_ended_does_nothing_but_say_so() {
    let mut world = running(&[]);
    let actions = world.adopt(Start { finished: true, ..Start::default() }, &[("a", 1)]);
    assert_eq!(world.ended().status, JobStatus::Finished);
    let deploys = |action: &Action| matches!(action, Action::ToWorker { .. } | Action::StartWorker { .. });
    assert!(!actions.iter().any(deploys), "{actions:?}");
    assert!(actions.iter().any(|action| matches!(action, Action::StopWorker { .. })), "its worker is stopped");
}

#[test]
fn a_job_that_failed_names_the_checkpoint_that_is_left() {
    for (retention, left) in [("NO_EXTERNALIZED_CHECKPOINTS", false), ("RETAIN_ON_CANCELLATION", true)] {
        let options = [
            ("execution.checkpointing.externalized-checkpoint-retention", retention),
            ("restart-strategy.type", "none"),
        ];
        let mut world = running(&options);
        let newest = complete(&mut world);
        fail(&mut world);
        assert_eq!(world.ended().status, JobStatus::Failed);
        assert_eq!(world.ended().retained, left.then_some(newest.directory));
    }
}
