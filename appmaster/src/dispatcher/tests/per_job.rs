//! An application of one job.

use flumen_jobmaster::{SnapshotWish, Timestamp};
use flumen_model::failure::Blame;
use flumen_model::status::ExecutionState;
use flumen_wire::control::ExecutorReport;
use std::time::Duration;

use super::super::*;
use super::world::{JOB, World, executor, submission};
use crate::resource::slots::Reserve;
use crate::resource::testing::{container, status};
use crate::rest::{CancelReply, RestRequest, TriggerReply};

#[test]
fn a_job_runs_to_its_end() {
    assert_eq!(World::new().seen(), ["admit 7", "ask x1", "ask x1"]);
    let mut world = World::with_executors();
    assert!(
        world.saw("2: start program7 x1 [\"--input\", \"x\"]") && world.saw("3: start program7"),
        "{:?}",
        world.seen()
    );
    world = World::running();
    world.all_subtasks(JOB, ExecutionState::Finished);
    assert_eq!(world.seen(), ["commit 7/0"]);
    world.tell(Event::OutputsCommitted { job: JobId(JOB), result: Ok(()) });
    assert_eq!(world.seen().last().unwrap(), "FINISHED");
    assert!(world.saw("close 7 true"), "{:?}", world.seen());
    assert!(world.saw("release 2") && world.saw("release 3") && world.saw("2: stop 7"), "{:?}", world.seen());
}

#[test]
fn nothing_runs_before_the_outputs_are_claimed() {
    let mut world = World::new();
    for n in [2, 3] {
        world.tell(Event::Resource(manager::Event::Allocated(vec![container(n, n - 2)])));
        assert!(world.saw("launch"), "containers come meanwhile");
        assert_eq!(world.register(n, 1).seen(), [""; 0]);
    }
    world.admit(JOB);
    assert!(world.saw("2: start") && world.saw("3: start"), "{:?}", world.seen());
}

#[test]
fn outputs_that_exist_fail_the_job_before_anything_runs() {
    let mut world = World::new();
    world.tell(Event::Resource(manager::Event::Allocated(vec![container(2, 0)])));
    let result = Err(Failure::new(Blame::Outside, "`/out` already exists"));
    world.tell(Event::Admitted { job: JobId(JOB), result });
    assert_eq!(world.seen(), ["close 7 false", "ask x0", "release 2", "FAILED: `/out` already exists"]);
}

#[test]
fn an_executor_that_is_not_ours_is_sent_away() {
    let mut world = World::with_executors();
    assert!(world.register(9, 1).saw("9: shutdown"), "{:?}", world.seen());
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
    let exceptions = world.dispatcher.jobs[&JobId(JOB)].master.details().exceptions;
    assert!(exceptions[0].failure.to_string().contains("beyond the limit"), "{exceptions:?}");
    assert_eq!(world.status(JOB), Some(JobStatus::Restarting));
    world.tell(Event::Resource(manager::Event::Allocated(vec![container(4, 2)])));
    assert!(world.saw("launch 4"), "{:?}", world.seen());
}

#[test]
fn slots_that_will_never_come_fail_the_job_with_the_reason() {
    let mut world = World::new();
    world.tell(Event::Resource(manager::Event::AskRefused("no such label".into())));
    assert_eq!(world.seen(), [""; 0], "told when it is admitted, so that its outputs are given up again");
    world.admit(JOB);
    assert_eq!(world.effects.len(), 2, "{:?}", world.seen());
    assert!(world.saw("FAILED: YARN refuses") && world.saw("no such label"), "{:?}", world.seen());
}

#[test]
fn a_client_that_falls_silent_takes_its_job_with_it() {
    let mut world = World::of(JobSubmission { client_heartbeat: true, ..submission(JOB, 2) });
    world.admit(JOB);
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
    let mut watched = JobSubmission { client_heartbeat: true, ..submission(JOB, 2) };
    watched.configuration.set("client.heartbeat.timeout", "2 s");
    let world = World::of(watched);
    let wait = world.dispatcher.next_timer(world.now).unwrap() - world.now.instant;
    assert!(wait <= Duration::from_secs(2), "{wait:?}");
    let wait = World::new().dispatcher.next_timer(world.now).unwrap() - world.now.instant;
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

#[test]
fn a_snapshot_is_asked_of_the_jobmaster_and_its_answer_is_kept() {
    let mut world = World::running();
    let target = || SnapshotWish::Savepoint { target: Some("file:///sp".into()) };
    assert_eq!(world.snapshot(8, 1, target()), TriggerReply::UnknownJob);
    assert_eq!(world.snapshot(7, 1, SnapshotWish::Savepoint { target: None }), TriggerReply::NoDirectory);
    assert_eq!(world.operation(7, 1, OperationKind::Savepoint), None);
    // A job in batch execution takes none, and says so at once.
    assert_eq!(world.snapshot(7, 1, target()), TriggerReply::Accepted);
    assert!(world.dispatcher.awaits_reader());
    let state = world.operation(7, 1, OperationKind::Savepoint);
    assert!(matches!(state, Some(OperationState::Failed(_))), "{state:?}");
    assert!(!world.dispatcher.awaits_reader());
    assert_eq!(world.status(JOB), Some(JobStatus::Running), "without a savepoint the job is not cancelled");
    world.finish(JOB);
    assert_eq!(world.snapshot(7, 2, target()), TriggerReply::AlreadyOver(JobStatus::Finished));
    assert_eq!(world.snapshot(7, 1, target()), TriggerReply::Accepted, "the one of before");
}

#[test]
fn a_savepoint_is_disposed_of_once() {
    let mut world = World::new();
    let disposal = |world: &mut World| {
        let (trigger, kind) = (TriggerId(1), OperationKind::Disposal);
        world.ask(|reply| RestRequest::Operation { job: None, trigger, kind, reply })
    };
    let dispose = |reply| RestRequest::Dispose { trigger: TriggerId(1), path: "/sp".into(), reply };
    assert_eq!(world.ask(dispose), TriggerReply::Accepted);
    assert_eq!(world.seen(), ["dispose /sp"]);
    assert_eq!(world.ask(dispose), TriggerReply::Accepted);
    assert!(world.seen().is_empty());
    assert_eq!(disposal(&mut world), Some(OperationState::InProgress));
    world.tell(Event::Disposed { trigger: TriggerId(1), state: OperationState::Disposed });
    assert_eq!(disposal(&mut world), Some(OperationState::Disposed));
}

#[test]
fn an_attempt_that_was_superseded_steps_down() {
    let mut world = World::running();
    world.tell(Event::Superseded("epoch 2 leads".into()));
    assert_eq!(world.seen(), ["step down: epoch 2 leads"]);
}

#[test]
fn a_program_is_asked_for_its_job_and_the_application_ends_with_that() {
    let mut world = World::with(false, 1, Reserve::none());
    assert_eq!(world.later(Duration::from_secs(100)).seen(), [""; 0]);
    let planned = Ok(Box::new(submission(JOB, 2)));
    assert_eq!(world.tell(Event::Planned(planned)).seen(), ["admit 7", "ask x1", "ask x1"]);
    world.admit(JOB);
    for n in [2, 3] {
        world.launch(n, n - 2).register(n, 1);
    }
    world.run(JOB).finish(JOB);
    assert_eq!(world.seen().last().unwrap(), "FINISHED");
}

#[test]
fn a_program_without_a_job_ends_the_application_with_its_reason() {
    let mut world = World::with(false, 1, Reserve::none());
    let no_plan = Failure::new(Blame::User, "it must call `execute`");
    assert_eq!(world.tell(Event::Planned(Err(no_plan))).seen(), ["no job: it must call `execute`"]);
    let mut wrong = submission(JOB, 2);
    wrong.graph.properties.insert("restart-strategy.type".into(), "sometimes".into());
    let mut world = World::with(false, 1, Reserve::none());
    assert!(world.tell(Event::Planned(Ok(Box::new(wrong)))).saw("sometimes"), "{:?}", world.seen());
    let mut world = World::with(false, 1, Reserve::none());
    world.ask(|reply| RestRequest::Shutdown { reply });
    assert_eq!(world.seen(), ["session over"]);
    assert_eq!(world.tell(Event::Planned(Ok(Box::new(submission(JOB, 2))))).seen(), ["session over"], "too late");
}
