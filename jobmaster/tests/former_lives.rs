//! JM-5: whatever comes from a former life changes nothing.

mod world;

use flumen_jobmaster::Event;
use flumen_model::failure::Blame;
use flumen_model::ids::{ExecutionAttempt, SubtaskId};
use flumen_model::status::{ExecutionState, JobStatus};
use flumen_wire::control::{FromWorker, SubtaskIo, WorkerAddress};
use world::*;

fn messages(attempt: ExecutionAttempt, subtask: SubtaskId) -> Vec<(&'static str, FromWorker)> {
    let io = SubtaskIo { records_in: 99, ..SubtaskIo::default() };
    let failed = |blame| FromWorker::State {
        attempt,
        subtask,
        state: ExecutionState::Failed,
        failure: Some(failure(blame, "from a former life")),
        io,
    };
    vec![
        ("deployed", FromWorker::Deployed { region: 0, attempt }),
        ("running", state(attempt, subtask, ExecutionState::Running)),
        ("finished", state(attempt, subtask, ExecutionState::Finished)),
        ("canceled", state(attempt, subtask, ExecutionState::Canceled)),
        ("failed", failed(Blame::User)),
        ("peer failed", failed(Blame::Peer)),
        ("request split", FromWorker::RequestSplit { attempt, subtask }),
        ("io", FromWorker::Io { attempt, subtasks: vec![(subtask, io)] }),
    ]
}

/// What only a worker itself, not an attempt, can say.
fn life_messages() -> Vec<(&'static str, FromWorker)> {
    let address = WorkerAddress { host: "elsewhere".into(), port: 9, socket: None };
    vec![
        ("ready", FromWorker::Ready { address, pid: 1 }),
        ("refused", FromWorker::Refused(failure(Blame::User, "from a former life"))),
    ]
}

/// A job in its second attempt (b's worker is its second), all running.
fn second_attempt() -> World {
    let mut world = World::new(graph(2, 2, 3), &[]);
    world.finishing = false;
    world.register("a", 1);
    world.register("b", 1);
    world.deliver();
    world.kill_worker("b");
    world.deliver();
    world.tick();
    world.deliver();
    assert_eq!((world.status(), world.attempt()), (JobStatus::Running, ExecutionAttempt(1)));
    assert_eq!(world.workers[&executor("b")].instance, 2);
    world
}

fn changes_nothing(world: &mut World, name: &str, event: Event) {
    let (before, timer) = (world.details(), world.master.next_timer());
    let actions = world.tell(event);
    assert!(actions.is_empty(), "{name}: {actions:?}");
    assert_eq!(world.details(), before, "{name}");
    assert_eq!(world.master.next_timer(), timer, "{name}");
}

#[test]
fn messages_of_an_older_worker_change_nothing() {
    let mut world = second_attempt();
    let on_b = subtask(SINK, 1);
    for (name, message) in messages(world.attempt(), on_b).into_iter().chain(life_messages()) {
        changes_nothing(&mut world, name, Event::Worker { executor: executor("b"), instance: 1, message });
    }
    let exited = Event::WorkerExited { executor: executor("b"), instance: 1, failure: failure(Blame::Outside, "dead") };
    changes_nothing(&mut world, "exited", exited);
}

#[test]
fn messages_of_an_older_attempt_change_nothing() {
    let mut world = second_attempt();
    for attempt in [ExecutionAttempt(0), ExecutionAttempt(2)] {
        for (name, message) in messages(attempt, subtask(SINK, 0)) {
            changes_nothing(&mut world, name, Event::Worker { executor: executor("a"), instance: 1, message });
        }
    }
}

#[test]
fn messages_about_another_workers_subtask_change_nothing() {
    let mut world = second_attempt();
    for id in [subtask(SINK, 1), subtask(SINK, 7), subtask(flumen_model::ids::VertexId(9), 0)] {
        for (name, message) in messages(world.attempt(), id).into_iter().filter(|(name, _)| *name != "deployed") {
            changes_nothing(&mut world, name, Event::Worker { executor: executor("a"), instance: 1, message });
        }
    }
}

#[test]
fn messages_of_unknown_executors_change_nothing() {
    let mut world = second_attempt();
    for (name, message) in messages(world.attempt(), subtask(SINK, 0)).into_iter().chain(life_messages()) {
        changes_nothing(&mut world, name, Event::Worker { executor: executor("z"), instance: 1, message });
    }
    let lost = failure(Blame::Outside, "lost");
    changes_nothing(&mut world, "lost", Event::ExecutorLost { id: executor("z"), failure: lost.clone() });
    let exited = Event::WorkerExited { executor: executor("z"), instance: 1, failure: lost };
    changes_nothing(&mut world, "exited", exited);
}

#[test]
fn a_worker_does_not_decide_on_the_jobmasters_own_states() {
    use ExecutionState::{Canceling, Created, Deploying, Scheduled};
    let mut world = second_attempt();
    for of_ours in [Created, Scheduled, Deploying, Canceling] {
        let message = state(world.attempt(), subtask(SINK, 0), of_ours);
        let event = Event::Worker { executor: executor("a"), instance: 1, message };
        changes_nothing(&mut world, &of_ours.to_string(), event);
    }
}

#[test]
fn what_is_said_twice_counts_once() {
    let mut world = second_attempt();
    let again = Event::ExecutorRegistered { id: executor("a"), slots: 1, host: "other".into() };
    changes_nothing(&mut world, "registered", again);
    let attempt = world.attempt();
    for (name, message) in [
        ("ready", life_messages().remove(0).1),
        ("deployed", FromWorker::Deployed { region: 0, attempt }),
        ("running", state(attempt, subtask(SINK, 0), ExecutionState::Running)),
    ] {
        changes_nothing(&mut world, name, Event::Worker { executor: executor("a"), instance: 1, message });
    }
    changes_nothing(&mut world, "committed", Event::OutputsCommitted(Ok(())));
    changes_nothing(&mut world, "tick", Event::Tick);
}

#[test]
fn nothing_changes_a_job_that_is_over() {
    let mut world = second_attempt();
    world.tell(Event::Cancel);
    world.deliver();
    assert_eq!(world.ended().status, JobStatus::Canceled);
    assert_eq!(world.master.next_timer(), None);
    world.pass(1_000_000);
    let lost = failure(Blame::Outside, "late");
    let mut events = vec![
        Event::Tick,
        Event::Cancel,
        Event::OutputsCommitted(Ok(())),
        Event::OutputsCommitted(Err(lost.clone())),
        Event::ResourcesUnavailable { failure: lost.clone() },
        Event::ExecutorRegistered { id: executor("n"), slots: 4, host: "n".into() },
        Event::WorkerExited { executor: executor("a"), instance: 1, failure: lost.clone() },
        Event::ExecutorLost { id: executor("a"), failure: lost },
    ];
    for (_, message) in messages(world.attempt(), subtask(SINK, 0)).into_iter().chain(life_messages()) {
        events.push(Event::Worker { executor: executor("a"), instance: 1, message });
    }
    for event in events {
        let name = format!("{event:?}");
        changes_nothing(&mut world, &name, event);
    }
}

#[test]
fn a_clock_that_runs_backwards_is_not_followed() {
    let mut world = second_attempt();
    let details = world.details();
    world.now = flumen_jobmaster::Timestamp(5);
    assert!(world.tell(Event::Tick).is_empty());
    assert_eq!(world.details(), details);
    world.tell(Event::Cancel);
    assert!(world.details().entered(JobStatus::Cancelling) >= details.entered(JobStatus::Running));
}
