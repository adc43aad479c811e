//! The life of a job when all goes well, and when it is cancelled.

mod world;

use flumen_jobmaster::{Action, Event};
use flumen_model::failure::Blame;
use flumen_model::job_graph::JobGraph;
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::control::{FromWorker, SubtaskIo, ToWorker};
use world::*;

fn declared(actions: &[Action]) -> Vec<u32> {
    actions.iter().filter_map(|a| if let Action::DeclareSlots(n) = a { Some(*n) } else { None }).collect()
}

#[test]
fn a_job_waits_for_slots_then_deploys_runs_commits_and_gives_its_slots_back() {
    let mut world = World::new(graph(2, 3, 5), &[]);
    assert_eq!(declared(&world.actions), [3]);
    assert!(world.register("a", 2).is_empty(), "two of three slots are not enough");
    assert_eq!(world.register("b", 2).len(), 2, "one worker on each executor");
    world.deliver();

    let result = world.ended();
    assert_eq!((result.status, result.failure.clone(), result.restarts), (JobStatus::Finished, None, 0));
    assert_eq!(declared(&world.actions), [3, 0]);
    let mut splits = world.handed_out[&0].clone();
    splits.sort();
    assert_eq!(splits, ["split-0", "split-1", "split-2", "split-3", "split-4"]);
    let order: Vec<&str> = world
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::CommitOutputs { .. } => Some("commit"),
            Action::StopWorker { .. } => Some("stop"),
            Action::Done(_) => Some("done"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["commit", "stop", "stop", "done"]);
    let details = world.details();
    assert_eq!(details.progress, Some(1.0));
    assert!(details.vertices.iter().flat_map(|v| &v.subtasks).all(|s| s.state == ExecutionState::Finished));
}

#[test]
fn subtask_k_of_every_vertex_shares_slot_k() {
    let mut world = World::new(graph(1, 4, 1), &[]);
    world.finishing = false;
    world.register("a", 3);
    world.register("b", 3);
    world.deliver();
    let deployment = world.deployment("b");
    assert_eq!(deployment.me, 1);
    assert_eq!(deployment.workers[1].host, "host-b");
    let placed: Vec<&[u32]> = deployment.placement.iter().map(|p| p.worker_of.as_slice()).collect();
    assert_eq!(placed, [&[0][..], &[0, 0, 0, 1][..]]);
}

#[test]
fn an_executor_that_is_not_needed_is_left_alone() {
    let mut world = World::new(graph(1, 1, 1), &[]);
    world.finishing = false;
    world.register("a", 1);
    assert!(world.register("b", 5).is_empty());
    world.deliver();
    assert_eq!(world.status(), JobStatus::Running);
    assert!(world.lose("b").is_empty());
    assert_eq!(world.status(), JobStatus::Running);
}

#[test]
fn a_job_is_running_only_when_all_its_subtasks_are() {
    let mut world = World::new(graph(2, 2, 0), &[]);
    world.finishing = false;
    world.register("a", 2);
    while world.details().vertices[1].subtasks[1].state != ExecutionState::Running {
        assert_eq!(world.status(), JobStatus::Created);
        let event = world.mail.pop_front().expect("there is mail until all run");
        world.tell(event);
    }
    assert_eq!(world.status(), JobStatus::Running);
}

#[test]
fn a_source_without_splits_is_told_that_there_are_none() {
    let mut world = World::new(graph(1, 1, 0), &[]);
    world.register("a", 1);
    world.deliver();
    assert_eq!(world.ended().status, JobStatus::Finished);
    assert!(world.handed_out.is_empty());
}

#[test]
fn workers_do_not_get_the_splits_in_the_graph() {
    let world = World::new(graph(1, 1, 9), &[]);
    let source = world.master.worker_graph().vertices[0].source.clone().unwrap();
    assert!(source.bounded && source.splits.is_empty());
}

#[test]
fn a_job_of_no_subtasks_is_committed_at_once() {
    let empty = JobGraph { vertices: vec![], edges: vec![], ..graph(1, 1, 0) };
    let mut world = World::new(empty, &[]);
    world.deliver();
    assert_eq!(world.ended().status, JobStatus::Finished);
    assert_eq!(declared(&world.actions), [0]);
}

#[test]
fn counts_and_times_are_shown() {
    let mut world = World::new(graph(1, 1, 4), &[]);
    world.finishing = false;
    world.register("a", 1);
    world.deliver();
    let io = SubtaskIo { records_in: 1, records_out: 2, bytes_in: 3, bytes_out: 4 };
    world.say("a", FromWorker::Io { attempt: world.attempt(), subtasks: vec![(subtask(SINK, 0), io)] });
    let details = world.details();
    let shown = &details.vertices[1].subtasks[0];
    assert_eq!((shown.io, shown.host.as_deref(), shown.start), (io, Some("host-a"), Some(world.now)));
    assert_eq!(details.entered(JobStatus::Running), Some(world.now));
    assert_eq!((details.slots_needed, details.slots_present), (1, 1));
    // All four were read: the source asked a fifth time.
    assert_eq!((details.vertices[0].splits.unwrap().done, details.progress), (4, Some(1.0)));
}

#[test]
fn a_job_can_be_cancelled_in_every_phase() {
    type Reach = fn(&mut World);
    let table: &[(&str, Reach)] = &[
        ("waiting for slots", |_| {}),
        ("starting workers", |world| {
            world.mute.insert(executor("b"));
            world.register("a", 1);
            world.register("b", 1);
            world.deliver();
        }),
        ("deploying", |world| {
            world.register("a", 1);
            world.register("b", 1);
            for _ in 0..2 {
                let ready = world.mail.pop_front().unwrap();
                world.tell(ready);
            }
            world.mail.pop_front();
        }),
        ("running", |world| {
            world.finishing = false;
            world.register("a", 2);
            world.deliver();
            assert_eq!(world.status(), JobStatus::Running);
        }),
        ("stopping for a restart", |world| {
            world.finishing = false;
            world.register("a", 2);
            world.deliver();
            world.fail_subtask("a", subtask(SINK, 0), failure(Blame::Outside, "gone"));
            assert_eq!(world.status(), JobStatus::Restarting);
        }),
        ("backing off", |world| {
            world.finishing = false;
            world.register("a", 2);
            world.deliver();
            world.lose("a");
            assert_eq!(world.status(), JobStatus::Restarting);
        }),
        ("failing", |world| {
            world.finishing = false;
            world.register("a", 2);
            world.deliver();
            world.fail_subtask("a", subtask(SINK, 0), failure(Blame::User, "panicked"));
            assert_eq!(world.status(), JobStatus::Failing);
        }),
    ];
    for (name, reach) in table {
        let mut world = World::new(graph(1, 2, 1), &[]);
        reach(&mut world);
        assert!(world.result.is_none(), "{name}");
        world.tell(Event::Cancel);
        world.deliver();
        if world.result.is_none() {
            assert_eq!(world.status(), JobStatus::Cancelling, "{name}");
            world.tick();
        }
        assert_eq!(world.ended().status, JobStatus::Canceled, "{name}");
        let states: Vec<_> = world.details().vertices.iter().flat_map(|v| v.subtasks.clone()).collect();
        assert!(states.iter().all(|s| s.state.is_terminal()), "{name}: {states:?}");
    }
}

#[test]
fn a_worker_that_does_not_stop_is_killed_when_the_time_is_up() {
    let mut world = World::new(graph(1, 1, 1), &[("task.cancellation.timeout", "5 s")]);
    world.finishing = false;
    world.register("a", 1);
    world.deliver();
    world.mute.insert(executor("a"));
    world.tell(Event::Cancel);
    let cancelled = world.now;
    assert_eq!(world.status(), JobStatus::Cancelling);
    world.tick();
    assert_eq!(world.now.since(cancelled), 5_000);
    assert_eq!(world.ended().status, JobStatus::Canceled);
}

#[test]
fn a_cancellation_during_the_commit_is_decided_by_the_commit() {
    let committing = || {
        let mut world = World::new(graph(1, 1, 1), &[("task.cancellation.timeout", "5 s")]);
        world.register("a", 1);
        while !matches!(world.mail.front(), Some(Event::OutputsCommitted(_))) {
            let event = world.mail.pop_front().unwrap();
            world.tell(event);
        }
        world.mail.clear();
        assert!(world.tell(Event::Cancel).is_empty());
        world
    };
    let mut done = committing();
    done.tell(Event::OutputsCommitted(Ok(())));
    assert_eq!(done.ended().status, JobStatus::Finished);
    let mut failed = committing();
    failed.tell(Event::OutputsCommitted(Err(failure(Blame::Outside, "no space"))));
    assert_eq!(failed.ended().status, JobStatus::Canceled);
    let mut silent = committing();
    silent.pass(5_000);
    assert_eq!(silent.ended().status, JobStatus::Canceled);
}

#[test]
fn members_of_a_group_with_aligned_watermarks_hear_of_the_slowest_on_whatever_worker_it_is() {
    let restarts = [
        ("restart-strategy.type", "fixed-delay"),
        ("restart-strategy.fixed-delay.attempts", "1"),
        ("restart-strategy.fixed-delay.delay", "0"),
    ];
    let mut world = World::new(graph(2, 2, 5), &restarts);
    world.finishing = false;
    world.register("a", 1);
    world.register("b", 1);
    world.deliver();
    let attempt = world.attempt();
    let watermark = |index, watermark, attempt| FromWorker::GroupWatermark {
        attempt,
        subtask: subtask(SOURCE, index),
        group: "all".to_owned(),
        watermark,
    };
    let told = |actions: Vec<Action>| -> Vec<(String, u32, Option<i64>)> {
        let mut told = Vec::new();
        for action in actions {
            if let Action::ToWorker {
                executor, message: ToWorker::GroupWatermark { subtasks, group, least, .. }, ..
            } = action
            {
                assert_eq!(group, "all");
                told.extend(subtasks.iter().map(|id| (executor.0.clone(), id.index, least)));
            }
        }
        told
    };
    assert_eq!(told(world.say("a", watermark(0, Some(1000), attempt))), [("a".to_owned(), 0, Some(1000))]);
    let both = [("a".to_owned(), 0, Some(10)), ("b".to_owned(), 1, Some(10))];
    assert_eq!(told(world.say("b", watermark(1, Some(10), attempt))), both);
    assert!(told(world.say("a", watermark(1, Some(0), attempt))).is_empty(), "a subtask that runs elsewhere");
    assert!(told(world.say("b", watermark(1, Some(0), attempt.next()))).is_empty(), "an execution that is not");
    let finished = world.say("b", state(attempt, subtask(SOURCE, 1), ExecutionState::Finished));
    assert_eq!(told(finished), [("a".to_owned(), 0, Some(1000))]);
    // Whoever begins anew has to be told anew.
    world.kill_worker("b");
    world.deliver();
    let again = world.attempt();
    assert!(again > attempt);
    assert_eq!(told(world.say("a", watermark(0, Some(1000), again))), [("a".to_owned(), 0, Some(1000))]);
}
