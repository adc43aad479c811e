//! Several jobs in one session.

use std::time::Duration;

use flumen_hadoop::yarn::Resource;
use flumen_jobmaster::SnapshotWish;
use flumen_model::failure::Blame;
use flumen_wire::control::{ExecutorReport, FromWorker};

use super::super::*;
use super::world::{World, executor, submission};
use crate::resource::fit::Cluster;
use crate::resource::slots::Reserve;
use crate::resource::testing::{container, status};
use crate::rest::{CancelReply, RestRequest, TriggerReply};

/// Two jobs of one slot each on one TaskExecutor of two slots (number 2), both running.
fn two_jobs() -> World {
    let mut world = World::session(2);
    world.submit(1, 1);
    assert!(world.dispatcher.awaits_yarn());
    world.launch(2, 0).register(2, 2);
    assert!(world.saw("2: start program1 x1"), "{:?}", world.seen());
    world.run(1);
    world.submit(2, 1);
    assert_eq!(world.seen(), ["2: start program2 x1 [\"--input\", \"x\"]"], "no further container is needed");
    world.run(2);
    world
}

fn jobs(world: &mut World) -> Vec<(u128, JobStatus)> {
    world.ask(|reply| RestRequest::Jobs { reply }).iter().map(|job| (job.job.0, job.status)).collect()
}

#[test]
fn a_session_without_jobs_wants_nothing_and_goes_on() {
    let mut world = World::session(2);
    assert_eq!(world.later(Duration::from_secs(3600)).seen(), [""; 0]);
    assert_eq!(world.dispatcher.next_timer(world.now), None);
    assert_eq!(jobs(&mut world), []);
}

#[test]
fn jobs_share_an_executor_and_one_that_fails_does_not_touch_the_other() {
    let mut world = two_jobs();
    let views = world.ask(|reply| RestRequest::Executors { reply });
    assert_eq!((views[0].slots, views[0].free_slots), (2, 0));
    let failure = Failure::new(Blame::User, "panicked: boom");
    let report = ExecutorReport::WorkerExited { job: JobId(1), instance: 1, failure };
    world.tell(Event::ExecutorReport { id: executor(2), report });
    assert_eq!(world.seen(), ["close 1 false"], "nothing is said to the other's worker, and the session goes on");
    assert_eq!(world.status(2), Some(JobStatus::Running));
    assert!(world.dispatcher.jobs[&JobId(2)].master.details().exceptions.is_empty());
    assert_eq!(jobs(&mut world), [(2, JobStatus::Running), (1, JobStatus::Failed)]);
    let views = world.ask(|reply| RestRequest::Executors { reply });
    assert_eq!(views[0].free_slots, 1);
    world.finish(2);
    assert_eq!(world.seen(), ["2: stop 2", "close 2 true"]);
}

#[test]
fn facts_of_one_job_never_reach_another() {
    let mut world = two_jobs();
    for (job, instance) in [(1, 9), (9, 1)] {
        let failure = Failure::new(Blame::Outside, "gone");
        let report = ExecutorReport::WorkerExited { job: JobId(job), instance, failure };
        assert_eq!(world.tell(Event::ExecutorReport { id: executor(2), report }).seen(), [""; 0]);
    }
    let failure = || Failure::new(Blame::Outside, "disk");
    assert_eq!(world.tell(Event::OutputsCommitted { job: JobId(3), result: Err(failure()) }).seen(), [""; 0]);
    assert_eq!(world.tell(Event::Admitted { job: JobId(1), result: Err(failure()) }).seen(), [""; 0]);
    let address = flumen_wire::control::WorkerAddress { host: "n".into(), port: 1, socket: None };
    assert_eq!(world.says(3, 2, FromWorker::Ready { address, pid: 1 }).seen(), [""; 0]);
    assert_eq!(jobs(&mut world), [(2, JobStatus::Running), (1, JobStatus::Running)]);
}

#[test]
fn a_lost_executor_concerns_all_jobs_that_use_it() {
    let mut world = two_jobs();
    world.submit(3, 2);
    world.launch(3, 1).register(3, 2);
    assert!(world.saw("3: start program3 x2"), "{:?}", world.seen());
    world.run(3);
    world.tell(Event::ExecutorLost { id: executor(2), failure: Failure::new(Blame::Outside, "the connection broke") });
    assert_eq!(world.seen(), ["ask x1"]);
    world.tell(Event::Resource(manager::Event::Completed(vec![status(2, 137, "")])));
    assert_eq!(
        [1, 2, 3].map(|job| world.status(job)),
        [Some(JobStatus::Restarting), Some(JobStatus::Restarting), Some(JobStatus::Running)]
    );
    world.launch(4, 2).register(4, 2);
    world.later(Duration::from_secs(1));
    assert!(world.saw("4: start program1 x1") && world.saw("4: start program2 x1"), "{:?}", world.seen());
}

#[test]
fn the_next_job_uses_the_executors_of_the_last_one_and_idle_ones_go_after_a_while() {
    let mut world = World::session(1);
    world.submit(1, 2);
    for n in [2, 3] {
        world.launch(n, n - 2).register(n, 1);
    }
    world.run(1).finish(1);
    assert_eq!(world.seen(), ["2: stop 1", "3: stop 1", "close 1 true"], "no container is given back");
    for job in 2..10 {
        world.later(Duration::from_secs(20));
        world.submit(job, 2);
        assert!(world.saw("2: start") && world.saw("3: start"), "{:?}", world.seen());
        world.run(job).finish(job);
    }
    assert_eq!(world.later(Duration::from_secs(29)).seen(), [""; 0]);
    world.later(Duration::from_secs(1));
    assert!(world.saw("release 2") && world.saw("release 3") && world.saw("2: shutdown"), "{:?}", world.seen());
    // Nothing is left of ten jobs but what is shown of the last two.
    assert_eq!(jobs(&mut world), [(9, JobStatus::Finished), (8, JobStatus::Finished)]);
    assert!(world.dispatcher.jobs.is_empty() && world.dispatcher.pool.waiting().is_empty());
    assert_eq!(world.dispatcher.pool.declared(), 0);
    world.later(Duration::from_secs(3600));
    assert_eq!(jobs(&mut world), []);
}

#[test]
fn jobs_get_slots_in_the_order_in_which_they_came() {
    let reserve = Reserve { slots_max: 2, ..Reserve::none() };
    let mut world = World::with(true, 2, reserve);
    world.submit(1, 2);
    world.launch(2, 0).register(2, 2);
    world.run(1);
    for job in [2, 3] {
        world.submit(job, 1);
        assert_eq!(world.seen(), [""; 0], "there are no more");
    }
    world.finish(1);
    assert!(world.saw("2: start program2 x1") && world.saw("2: start program3 x1"), "{:?}", world.seen());
    assert!(!world.saw("release"), "{:?}", world.seen());
    let mut answer = world.post(submission(4, 3));
    world.admit(4);
    assert_eq!(answer.try_recv(), Ok(SubmitReply::Accepted));
    assert_eq!(world.seen(), ["close 4 false"], "it can never get its slots");
    let job = world.ask(|reply| RestRequest::Job { job: JobId(4), reply }).unwrap();
    assert!(job.failure.as_ref().unwrap().message.contains("slotmanager.number-of-slots.max"), "{job:?}");
    assert_eq!(world.status(2), Some(JobStatus::Created), "the others are not concerned");
}

#[test]
fn containers_that_fail_fail_the_jobs_that_wait_and_no_other() {
    let mut world = two_jobs();
    world.submit(3, 1);
    world.tell(Event::Resource(manager::Event::Allocated(vec![container(3, 1)])));
    world.tell(Event::Resource(manager::Event::Completed(vec![status(3, 1, "")])));
    assert_eq!(world.seen(), ["ask x1"]);
    world.tell(Event::Resource(manager::Event::Allocated(vec![container(4, 2)])));
    world.tell(Event::Resource(manager::Event::Completed(vec![status(4, 1, "")])));
    assert_eq!(world.seen(), ["close 3 false"]);
    assert_eq!(jobs(&mut world), [(2, JobStatus::Running), (1, JobStatus::Running), (3, JobStatus::Failed)]);
    world.submit(4, 1);
    assert_eq!(world.seen(), [""; 0], "and another job may try its luck: its container was asked for already");
    assert!(world.dispatcher.awaits_yarn());
}

#[test]
fn a_job_too_large_for_the_cluster_fails_alone() {
    let mut world = two_jobs();
    world.submit(3, 4);
    world.submit(4, 100);
    world.later(Duration::from_secs(5));
    let cluster = Cluster { nodes: vec![Resource::new(4096, 4)], queue_limit: None, counts_cores: true };
    world.tell(Event::Resource(manager::Event::ClusterInspected(Some(cluster))));
    world.tell(Event::Resource(manager::Event::Answered));
    assert!(world.saw("close 4 false") && !world.saw("close 3"), "{:?}", world.seen());
    assert_eq!(world.status(3), Some(JobStatus::Created));
}

#[test]
fn a_submission_that_is_repeated_is_the_same_job() {
    let mut world = World::session(1);
    let mut first = world.post(submission(1, 1));
    assert!(world.saw("admit 1"));
    let mut second = world.post(submission(1, 1));
    assert_eq!(world.seen(), [""; 0]);
    world.admit(1);
    assert_eq!((first.try_recv(), second.try_recv()), (Ok(SubmitReply::Accepted), Ok(SubmitReply::Accepted)));
    let mut third = world.post(submission(1, 1));
    assert_eq!((world.seen().len(), third.try_recv()), (0, Ok(SubmitReply::Accepted)));
    world.launch(2, 0).register(2, 1);
    world.run(1).finish(1);
    let mut fourth = world.post(submission(1, 1));
    assert_eq!((world.seen().len(), fourth.try_recv()), (0, Ok(SubmitReply::Accepted)), "it is over and not run again");
}

#[test]
fn a_refused_submission_leaves_nothing_behind() {
    let mut world = World::session(1);
    let mut answer = world.post(submission(1, 1));
    assert_eq!(world.seen(), ["admit 1", "ask x1"]);
    let refusal = Failure::new(Blame::Outside, "`/out` already exists");
    world.tell(Event::Admitted { job: JobId(1), result: Err(refusal) });
    assert_eq!(answer.try_recv(), Ok(SubmitReply::Refused("`/out` already exists".into())));
    assert_eq!(world.seen(), ["ask x0"]);
    assert_eq!(jobs(&mut world), []);
    let mut malformed = submission(2, 1);
    malformed.configuration.set("restart-strategy.type", "sometimes");
    let mut answer = world.post(malformed);
    let Ok(SubmitReply::Refused(reason)) = answer.try_recv() else { panic!("refused") };
    assert!(reason.contains("sometimes"), "{reason}");
    assert_eq!((world.seen(), jobs(&mut world)), (vec![], vec![]));
    world.submit(1, 1);
    assert_eq!(world.status(1), Some(JobStatus::Created), "another time it may be better");
}

#[test]
fn a_job_that_is_cancelled_while_it_is_being_accepted_begins_and_ends() {
    let mut world = World::session(1);
    let mut answer = world.post(submission(1, 1));
    assert_eq!(world.ask(|reply| RestRequest::Cancel { job: JobId(1), reply }), CancelReply::Accepted);
    let wish = SnapshotWish::Checkpoint { full: false };
    assert_eq!(world.snapshot(1, 1, wish), TriggerReply::NotBegun);
    world.admit(1);
    assert_eq!(answer.try_recv(), Ok(SubmitReply::Accepted));
    assert!(world.saw("close 1 false") && world.saw("ask x0"), "{:?}", world.seen());
    assert_eq!(jobs(&mut world), [(1, JobStatus::Canceled)]);
}

#[test]
fn operations_of_one_job_are_not_seen_under_another() {
    let mut world = two_jobs();
    let wish = || SnapshotWish::Savepoint { target: Some("file:///sp".into()) };
    assert_eq!(world.snapshot(1, 5, wish()), TriggerReply::Accepted);
    assert_eq!(world.operation(2, 5, OperationKind::Savepoint), None);
    world.finish(1);
    assert!(matches!(world.operation(1, 5, OperationKind::Savepoint), Some(OperationState::Failed(_))));
    assert_eq!(world.snapshot(1, 5, wish()), TriggerReply::Accepted, "the one of before");
    assert_eq!(world.snapshot(1, 6, wish()), TriggerReply::AlreadyOver(JobStatus::Finished));
}

#[test]
fn a_session_that_is_shut_down_cancels_its_jobs_and_takes_no_more() {
    let mut world = two_jobs();
    world.ask(|reply| RestRequest::Shutdown { reply });
    assert!(world.saw("2: cancel") && !world.saw("session over"), "{:?}", world.seen());
    let mut late = world.post(submission(3, 1));
    assert_eq!(late.try_recv(), Ok(SubmitReply::Ending));
    world.later(Duration::from_secs(3600));
    assert_eq!(jobs(&mut world), [(2, JobStatus::Canceled), (1, JobStatus::Canceled)]);
    assert_eq!(world.later(Duration::ZERO).seen().last().unwrap(), "session over");

    let mut idle = World::session(1);
    idle.ask(|reply| RestRequest::Shutdown { reply });
    assert_eq!(idle.seen(), ["session over"]);
}

#[test]
fn an_application_of_one_job_takes_no_other_and_is_cancelled_when_it_is_shut_down() {
    let mut world = World::running();
    let mut other = world.post(submission(8, 1));
    assert_eq!(other.try_recv(), Ok(SubmitReply::OtherJob));
    let mut same = world.post(submission(7, 2));
    assert_eq!(same.try_recv(), Ok(SubmitReply::Accepted));
    world.ask(|reply| RestRequest::Shutdown { reply });
    world.later(Duration::from_secs(3600));
    assert_eq!(world.seen().last().unwrap(), "CANCELED because its cluster was shut down");
}
