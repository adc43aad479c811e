//! A leader that has stood by: without a line to YARN, until the next attempt leads.

use std::time::Duration;

use super::super::*;
use super::recovery::report;
use super::world::{JOB, World, submission};
use crate::resource::slots::Reserve;
use crate::resource::testing::{container, status};
use crate::rest::RestRequest;

/// One that follows a leader with container 2.
fn standing_in(session: bool, jobs: Vec<JobSubmission>) -> World {
    let mut world = World::keeping(session, true, 1, Reserve { standing: session, ..Reserve::none() });
    world.dispatcher.stand_in();
    world.effects = world.dispatcher.recover(world.now, jobs, vec![]).unwrap();
    world.tell(Event::Resource(manager::Event::FoundAgain(vec![container(2, 2)])));
    world
}

#[test]
fn a_taskexecutor_of_which_the_last_leader_had_no_time_to_tell_is_taken_over_as_well() {
    let mut world = standing_in(false, vec![submission(JOB, 2)]);
    world.admit(JOB);
    world.register_with(3, 1, vec![report(JOB, 1, 2)]);
    assert!(!world.saw("shutdown"), "{:?}", world.seen());
    world.register_with(2, 1, vec![report(JOB, 0, 2)]);
    assert_eq!(world.status(JOB), Some(JobStatus::Running));
    assert!(!world.saw("start") && !world.saw("stop"), "{:?}", world.seen());
}

#[test]
fn a_job_waits_for_containers_as_long_as_it_takes_and_for_no_client() {
    let attached = JobSubmission { client_heartbeat: true, ..submission(JOB, 1) };
    let mut world = standing_in(false, vec![attached]);
    world.admit(JOB);
    world.tell(Event::Resource(manager::Event::Completed(vec![status(2, 137, "")])));
    for _ in 0..10 {
        world.later(Duration::from_secs(3600));
    }
    assert_eq!(world.status(JOB), Some(JobStatus::Created));
}

#[test]
fn a_session_is_not_stopped_by_one_who_can_not_tell_yarn() {
    let mut world = standing_in(true, vec![submission(JOB, 1)]);
    let (reply, mut answer) = oneshot::channel();
    world.tell(Event::Rest(RestRequest::Shutdown { reply }));
    assert!(matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    assert!(!world.saw("session over") && world.status(JOB).is_some());
}
