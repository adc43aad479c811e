//! What a job does about failures: find the cause, restart or fail, keep what is healthy.

mod world;

use flumen_jobmaster::{Action, Event, JobDetails};
use flumen_model::failure::Blame;
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::control::{FromWorker, ToWorker};
use world::*;

/// A job with subtasks on `a` and `b` (two slots each), all running.
fn running(options: &[(&str, &str)]) -> World {
    let mut world = World::new(graph(4, 4, 6), options);
    world.finishing = false;
    world.register("a", 2);
    world.register("b", 2);
    world.deliver();
    assert_eq!(world.status(), JobStatus::Running);
    world
}

fn stops(actions: &[Action]) -> Vec<String> {
    let stop = |action: &Action| match action {
        Action::StopWorker { executor, instance } => Some(format!("{executor}/{instance}")),
        _ => None,
    };
    actions.iter().filter_map(stop).collect()
}

fn starts(actions: &[Action]) -> Vec<String> {
    let start = |action: &Action| match action {
        Action::StartWorker { executor, instance } => Some(format!("{executor}/{instance}")),
        _ => None,
    };
    actions.iter().filter_map(start).collect()
}

#[test]
fn a_failure_of_the_users_code_ends_the_job_after_the_others_were_cancelled() {
    let mut world = running(&[]);
    let actions = world.fail_subtask("b", subtask(SINK, 3), failure(Blame::User, "panicked: boom"));
    assert_eq!(world.status(), JobStatus::Failing);
    let cancels =
        actions.iter().filter(|a| matches!(a, Action::ToWorker { message: ToWorker::Cancel { .. }, .. })).count();
    assert_eq!(cancels, 2);
    world.deliver();
    let result = world.ended();
    assert_eq!(result.status, JobStatus::Failed);
    let text = result.failure.as_ref().unwrap().to_string();
    assert_eq!(text, "Sink (4/4) on b: panicked: boom");
    let states = world.details().vertices[1].subtasks.iter().map(|s| s.state).collect::<Vec<_>>();
    use ExecutionState::{Canceled, Failed};
    assert_eq!(states, [Canceled, Canceled, Canceled, Failed]);
}

#[test]
fn a_dead_worker_is_started_anew_in_place_and_the_healthy_one_is_used_again() {
    let mut world = running(&[]);
    world.kill_worker("b");
    assert_eq!(world.status(), JobStatus::Restarting);
    world.deliver();
    let failed_at = world.now;
    let actions = world.tick();
    assert_eq!(world.now.since(failed_at), 1_000, "the delay of the failure rate");
    assert_eq!(starts(&actions), ["b/2"]);
    world.finishing = true;
    world.deliver();
    let result = world.ended();
    assert_eq!((result.status, result.restarts), (JobStatus::Finished, 1));
    assert_eq!(stops(&world.actions), ["a/1", "b/2"], "only at the end");
    assert_eq!(world.handed_out[&0].len(), 6);
    assert_eq!(world.handed_out[&1].len(), 6, "every split is read again");
    assert!(world.details().exceptions[0].failure.message.contains("signal 9"));
}

#[test]
fn after_the_loss_of_an_executor_the_job_waits_for_another_and_the_rest_stays_in_place() {
    let mut world = running(&[]);
    world.lose("a");
    world.deliver();
    world.tick();
    assert_eq!(world.status(), JobStatus::Restarting);
    world.deliver();
    assert_eq!(starts(&world.register("c", 2)), ["c/1"]);
    world.deliver();
    assert_eq!(world.status(), JobStatus::Running);
    let placement = &world.deployment("b").placement[0].worker_of;
    assert_eq!(placement, &[0, 0, 1, 1], "slots 2 and 3 are still on b");
    assert!(!world.actions.iter().any(|action| matches!(action, Action::DeclareSlots(0))));
}

#[test]
fn an_executor_that_has_more_slots_gets_a_larger_worker_and_takes_the_lost_ones_place() {
    let mut world = running(&[]);
    world.lose("a");
    world.deliver();
    world.tick();
    world.deliver();
    assert_eq!(starts(&world.register("b", 3)), [""; 0], "not enough yet");
    let actions = world.register("b", 4);
    assert_eq!((stops(&actions), starts(&actions)), (vec!["b/1".to_owned()], vec!["b/2".to_owned()]));
    world.deliver();
    assert_eq!(world.status(), JobStatus::Running);
    assert_eq!(world.deployment("b").placement[0].worker_of, [0, 0, 0, 0]);
}

#[test]
fn an_executor_that_comes_back_under_its_name_gets_a_new_worker() {
    let mut world = running(&[]);
    world.lose("a");
    world.deliver();
    world.register("a", 2);
    assert_eq!(starts(&world.tick()), ["a/2"]);
}

#[test]
fn a_broken_connection_waits_for_its_cause() {
    for loss_first in [false, true] {
        let mut world = running(&[]);
        let broken = failure(Blame::Peer, "connection to b closed");
        if !loss_first {
            assert!(world.fail_subtask("a", subtask(SINK, 0), broken.clone()).is_empty());
            assert_eq!(world.status(), JobStatus::Running);
            world.pass(400);
            world.fail_subtask("a", subtask(SINK, 1), broken.clone());
        }
        world.kill_worker("b");
        if loss_first {
            world.fail_subtask("a", subtask(SINK, 0), broken);
        }
        assert_eq!(world.status(), JobStatus::Restarting);
        let details = world.details();
        assert_eq!(details.exceptions.len(), 1);
        assert!(details.exceptions[0].failure.message.contains("signal 9"), "{:?}", details.exceptions);
    }
}

#[test]
fn a_broken_connection_without_a_cause_is_acted_on_after_a_second() {
    let mut world = running(&[]);
    world.fail_subtask("a", subtask(SINK, 0), failure(Blame::Peer, "connection closed"));
    world.pass(999);
    assert_eq!(world.status(), JobStatus::Running);
    world.pass(1);
    assert_eq!(world.status(), JobStatus::Restarting);
}

#[test]
fn a_cause_that_comes_after_that_second_is_shown_instead_and_may_forbid_the_restart() {
    let late = |blame| {
        let mut world = running(&[]);
        world.fail_subtask("a", subtask(SINK, 0), failure(Blame::Peer, "connection closed"));
        world.pass(1_000);
        world.fail_subtask("b", subtask(SINK, 2), failure(blame, "the cause"));
        world
    };
    let mut outside = late(Blame::Outside);
    assert_eq!(outside.status(), JobStatus::Restarting);
    assert_eq!(outside.details().exceptions[0].failure.message, "the cause");
    outside.fail_subtask("b", subtask(SINK, 3), failure(Blame::User, "a consequence"));
    assert_eq!(outside.details().exceptions[0].failure.message, "the cause");

    let mut user = late(Blame::User);
    assert_eq!(user.status(), JobStatus::Failing);
    user.deliver();
    assert_eq!(user.ended().failure.as_ref().unwrap().message, "the cause");
}

#[test]
fn a_worker_lost_after_its_subtasks_ended_is_only_a_cause_of_broken_connections() {
    let mut world = World::new(graph(1, 2, 0), &[]);
    world.finishing = false;
    world.register("a", 1);
    world.register("b", 1);
    world.deliver();
    let attempt = world.attempt();
    world.finish(&executor("b"), attempt, subtask(SINK, 1));
    world.deliver();
    world.kill_worker("b");
    assert_eq!(world.status(), JobStatus::Running);
    world.fail_subtask("a", subtask(SINK, 0), failure(Blame::Peer, "connection to b closed"));
    assert_eq!(world.status(), JobStatus::Restarting);
    assert!(world.details().exceptions[0].failure.message.contains("signal 9"));
}

#[test]
fn a_strategy_that_is_set_applies_to_failures_of_the_users_code_too() {
    let mut world = running(&[
        ("restart-strategy.type", "fixed-delay"),
        ("restart-strategy.fixed-delay.attempts", "2"),
        ("restart-strategy.fixed-delay.delay", "0"),
    ]);
    for restart in 1..=2 {
        world.fail_subtask("a", subtask(SOURCE, 0), failure(Blame::User, "boom"));
        world.deliver();
        assert_eq!((world.status(), world.attempt().0), (JobStatus::Running, restart));
    }
    world.fail_subtask("a", subtask(SOURCE, 0), failure(Blame::User, "boom"));
    world.deliver();
    let result = world.ended();
    let message = &result.failure.as_ref().unwrap().message;
    assert_eq!((result.status, result.restarts), (JobStatus::Failed, 2));
    assert!(message.starts_with("boom\n") && message.contains("restarted 2 times"), "{message}");
    assert!(stops(&world.actions).iter().all(|worker| worker.ends_with("/1")), "healthy workers are used again");
}

#[test]
fn losses_are_forgiven_up_to_the_rate() {
    let mut world = running(&[]);
    for _ in 0..3 {
        world.kill_worker("a");
        world.deliver();
        world.tick();
        world.deliver();
        assert_eq!(world.status(), JobStatus::Running);
    }
    world.kill_worker("a");
    world.deliver();
    let message = world.ended().failure.clone().unwrap().message;
    assert!(message.contains("signal 9") && message.contains("restarted 3 times"), "{message}");
}

#[test]
fn a_refused_program_is_stopped_and_the_job_fails_with_its_reason() {
    let mut world = World::new(graph(1, 1, 0), &[]);
    world.register("a", 1);
    world.mail.clear();
    world.say("a", FromWorker::Refused(failure(Blame::User, "vertex 1 is another")));
    let result = world.ended();
    assert_eq!(result.failure.as_ref().unwrap().to_string(), "on a: vertex 1 is another");
    assert_eq!(stops(&world.actions), ["a/1"]);
}

#[test]
fn a_worker_that_does_not_come_up_or_deploy_in_time_is_replaced() {
    for mute_from in ["start", "deployment"] {
        let mut world = World::new(graph(2, 2, 2), &[("worker.start.timeout", "20 s")]);
        world.register("a", 1);
        if mute_from == "start" {
            world.mute.insert(executor("b"));
            world.register("b", 1);
        } else {
            world.register("b", 1);
            let (ready_a, ready_b) = (world.mail.pop_front().unwrap(), world.mail.pop_front().unwrap());
            world.tell(ready_a);
            world.mute.insert(executor("b"));
            world.tell(ready_b);
        }
        world.deliver();
        world.mute.clear();
        let begun = world.now;
        let actions = world.tick();
        assert_eq!(world.now.since(begun), 20_000, "{mute_from}");
        assert_eq!(stops(&actions), ["b/1"], "{mute_from}");
        assert_eq!(world.status(), JobStatus::Restarting, "{mute_from}");
        let shown = world.details().exceptions[0].failure.to_string();
        assert!(shown.starts_with("on b: ") && shown.contains("worker.start.timeout"), "{shown}");
        world.deliver();
        assert_eq!(starts(&world.tick()), ["b/2"], "{mute_from}");
        world.deliver();
        assert_eq!(world.ended().status, JobStatus::Finished, "{mute_from}");
    }
}

#[test]
fn slots_that_do_not_come_are_named_in_the_failure() {
    let mut world = World::new(graph(4, 4, 0), &[("slot.request.timeout", "30 s")]);
    world.register("a", 1);
    world.tick();
    let message = world.ended().failure.clone().unwrap().message;
    assert!(message.contains("4 slots") && message.contains("got 1") && message.contains("30s"), "{message}");
}

#[test]
fn slots_that_do_not_come_back_are_named_with_the_failure_that_took_them() {
    let mut world = running(&[]);
    world.lose("a");
    world.deliver();
    world.tick();
    world.tick();
    let message = world.ended().failure.clone().unwrap().message;
    assert!(message.contains("got 2") && message.contains("container lost"), "{message}");
}

#[test]
fn a_job_that_can_never_get_its_slots_fails_with_the_reason() {
    let mut waiting = World::new(graph(4, 4, 0), &[]);
    waiting.tell(Event::ResourcesUnavailable { failure: failure(Blame::Outside, "at most 2 fit") });
    assert_eq!(waiting.ended().failure.as_ref().unwrap().message, "at most 2 fit");

    let mut restarting = running(&[]);
    restarting.lose("a");
    restarting.tell(Event::ResourcesUnavailable { failure: failure(Blame::Outside, "at most 2 fit") });
    restarting.deliver();
    assert_eq!(restarting.ended().failure.as_ref().unwrap().message, "at most 2 fit");
}

#[test]
fn outputs_that_cannot_be_committed_restart_the_job_and_silence_fails_it() {
    let committing = || {
        let mut world = World::new(graph(1, 1, 2), &[]);
        world.register("a", 1);
        while !matches!(world.mail.front(), Some(Event::OutputsCommitted(_))) {
            let event = world.mail.pop_front().unwrap();
            world.tell(event);
        }
        world.mail.clear();
        world
    };
    let mut refused = committing();
    refused.tell(Event::OutputsCommitted(Err(failure(Blame::Outside, "safe mode"))));
    assert_eq!(refused.status(), JobStatus::Restarting);
    refused.tick();
    refused.deliver();
    assert_eq!((refused.ended().status, refused.ended().restarts), (JobStatus::Finished, 1));

    let mut silent = committing();
    silent.kill_worker("a");
    assert_eq!(silent.status(), JobStatus::Running, "workers are no longer needed");
    silent.tick();
    assert_eq!(silent.ended().status, JobStatus::Failed);
}

#[test]
fn the_history_of_failures_is_bounded() {
    let mut world = running(&[
        ("restart-strategy.type", "fixed-delay"),
        ("restart-strategy.fixed-delay.attempts", "100"),
        ("restart-strategy.fixed-delay.delay", "0"),
    ]);
    for n in 0..40 {
        world.fail_subtask("a", subtask(SOURCE, 0), failure(Blame::User, &format!("failure {n}")));
        world.deliver();
    }
    let details = world.details();
    assert_eq!(details.exceptions.len(), JobDetails::EXCEPTIONS_KEPT);
    assert!(details.exceptions_truncated);
    assert_eq!(details.exceptions[0].failure.message, "failure 39");
}
