//! A second leader, and what the first one left.

use std::time::Duration;

use flumen_model::checkpoint::{CheckpointId, CompletedCheckpoint, SnapshotKind};
use flumen_model::failure::Blame;
use flumen_model::ids::{ExecutionAttempt, VertexId};
use flumen_model::status::ExecutionState;
use flumen_wire::control::{
    Deployment, ExecutorReport, FromWorker, StartWorker, SubtaskIo, ToWorker, VertexPlacement, WorkerAddress,
};
use flumen_wire::kept::KeptResult;
use flumen_wire::report::WorkerReport;

use super::super::*;
use super::world::{JOB, World, admitted, executor, submission};
use crate::resource::slots::Reserve;
use crate::resource::testing::{container, status};
use crate::rest::{RestRequest, SubmitReply};

/// What TaskExecutor `me` of `workers` reports of a job with one subtask on each: it runs.
pub(super) fn report(job: u128, me: u32, workers: u32) -> WorkerReport {
    let submission = submission(job, workers);
    let mut report = WorkerReport::starting(&StartWorker {
        job: JobId(job),
        instance: 1,
        program: submission.program,
        arguments: vec![],
        graph: submission.graph,
        configuration: submission.configuration,
        slots: 1,
    });
    let address = |n: u32| WorkerAddress { host: "node1".into(), port: n as u16 + 1, socket: None };
    report.said(&FromWorker::Ready { address: address(me), pid: 10 + me });
    report.told(&ToWorker::Deploy(Deployment {
        region: 0,
        attempt: ExecutionAttempt(0),
        workers: (0..workers).map(address).collect(),
        me,
        placement: vec![VertexPlacement { vertex: VertexId(1), worker_of: (0..workers).collect() }],
        restore: vec![],
    }));
    report.told(&ToWorker::Start { region: 0, attempt: ExecutionAttempt(0) });
    report.said(&running(me));
    report
}

fn running(index: u32) -> FromWorker {
    let subtask = flumen_model::ids::SubtaskId { vertex: VertexId(1), index };
    let (state, io) = (ExecutionState::Running, SubtaskIo::default());
    FromWorker::State { attempt: ExecutionAttempt(0), subtask, state, failure: None, io }
}

/// A second leader whose predecessor had containers 2 and up to `last`, and these jobs.
fn second(session: bool, last: i64, jobs: Vec<JobSubmission>, ended: Vec<KeptResult>) -> World {
    let mut world = World::keeping(session, true, 1, Reserve { standing: session, ..Reserve::none() });
    world.effects = world.dispatcher.recover(world.now, jobs, ended).unwrap();
    let former = (2..=last).map(|n| container(n, n)).collect();
    let asked = world.seen();
    world.tell(Event::Resource(manager::Event::FoundAgain(former)));
    assert!(asked.iter().all(|effect| effect.starts_with("admit") || effect.starts_with("ask")), "{asked:?}");
    world
}

fn kept(job: u128, status: JobStatus) -> KeptResult {
    let submission = submission(job, 1);
    let (failure, cancelled, retained) = (None, None, None);
    KeptResult { submission, status, failure, cancelled, start_ms: 1000, runtime_ms: 500, restarts: 3, retained }
}

#[test]
fn a_job_whose_subtasks_all_run_goes_on_and_hears_nothing_of_it() {
    let mut world = second(false, 3, vec![submission(JOB, 2)], vec![]);
    world.register_with(2, 1, vec![report(JOB, 0, 2)]);
    world.admit(JOB);
    assert_eq!(world.status(JOB), Some(JobStatus::Created), "the other one may come");
    world.register_with(3, 1, vec![report(JOB, 1, 2)]);
    assert_eq!(world.status(JOB), Some(JobStatus::Running));
    let disturbed = |effect: &String| {
        ["start", "stop", "cancel", "shutdown", "ask", "release"].iter().any(|word| effect.contains(word))
    };
    assert_eq!(world.seen().into_iter().filter(disturbed).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(world.dispatcher.jobs[&JobId(JOB)].master.details().restarts, 0);
    assert_eq!(world.dispatcher.pool.of(JobId(JOB), &executor(2)), 1);
    assert!(!world.dispatcher.resources.awaits_former());
}

#[test]
fn what_workers_say_before_the_job_has_decided_counts() {
    let mut world = second(false, 3, vec![submission(JOB, 2)], vec![]);
    world.admit(JOB);
    world.register_with(2, 1, vec![report(JOB, 0, 2)]);
    let failure = Failure::new(Blame::User, "boom");
    let report_of_end = ExecutorReport::WorkerExited { job: JobId(JOB), instance: 1, failure };
    world.tell(Event::ExecutorReport { id: executor(2), report: report_of_end });
    world.register_with(3, 1, vec![report(JOB, 1, 2)]);
    assert_ne!(world.status(JOB), Some(JobStatus::Running));
    assert!(world.saw("3: cancel"), "they ran together: {:?}", world.seen());
}

#[test]
fn a_taskexecutor_that_does_not_come_is_replaced_and_what_ran_there_is_restarted() {
    let mut world = second(false, 3, vec![submission(JOB, 2)], vec![]);
    world.admit(JOB);
    world.register_with(2, 1, vec![report(JOB, 0, 2)]);
    world.later(Duration::from_secs(10));
    assert!(world.saw("release 3") && world.saw("ask x1"), "{:?}", world.seen());
    assert_ne!(world.status(JOB), Some(JobStatus::Running));
    world.register_with(3, 1, vec![report(JOB, 1, 2)]);
    assert!(world.saw("3: shutdown"), "too late: {:?}", world.seen());
    world.tell(Event::Resource(manager::Event::Completed(vec![status(3, 0, "released")])));
    let ask = world.dispatcher.resources.awaits_yarn();
    assert!(ask, "one is awaited in its place");
}

#[test]
fn slots_are_given_to_others_only_when_the_former_jobs_have_theirs() {
    let mut world = second(true, 3, vec![submission(1, 1)], vec![]);
    let mut answer = world.post(submission(2, 1));
    world.admit(2);
    assert_eq!(answer.try_recv(), Ok(SubmitReply::Accepted));
    world.register_with(3, 1, vec![]);
    world.register_with(2, 1, vec![report(1, 0, 1)]);
    assert!(!world.saw("start"), "{:?}", world.seen());
    world.admit(1);
    assert_eq!(world.status(1), Some(JobStatus::Running));
    assert!(world.saw("3: start program2"), "{:?}", world.seen());
}

#[test]
fn workers_of_nobody_are_stopped() {
    let mut world = second(true, 2, vec![], vec![kept(1, JobStatus::Finished)]);
    world.register_with(2, 1, vec![report(1, 0, 1)]);
    assert!(world.saw("2: stop 1"), "{:?}", world.seen());
}

#[test]
fn a_job_that_can_not_be_taken_over_fails_and_its_workers_end() {
    let mut world = second(true, 2, vec![submission(1, 1)], vec![]);
    world.register_with(2, 1, vec![report(1, 0, 1)]);
    let result = Err(Failure::new(Blame::Outside, "its checkpoints can't be read"));
    world.tell(Event::Admitted { job: JobId(1), result });
    assert!(world.saw("keep 1 FAILED") && world.saw("2: stop 1"), "{:?}", world.seen());
}

#[test]
fn the_checkpoints_of_a_job_that_is_over_are_removed_once_its_end_is_kept() {
    let mut world = second(true, 1, vec![submission(1, 1)], vec![]);
    let mut admitted = admitted();
    admitted.start.inherited = vec![CompletedCheckpoint {
        id: CheckpointId(3),
        kind: SnapshotKind::Checkpoint,
        triggered_ms: 1,
        completed_ms: 2,
        directory: "/cp/1/chk-3".into(),
        vertices: vec![],
        life: None,
    }];
    world.tell(Event::Admitted { job: JobId(1), result: Ok(admitted) });
    let mut seen = world.seen();
    world.tell(Event::Rest(RestRequest::Cancel { job: JobId(1), reply: oneshot::channel().0 }));
    seen.extend(world.seen());
    assert!(seen.iter().any(|effect| effect.starts_with("keep 1")), "{seen:?}");
    assert!(!seen.iter().any(|effect| effect.starts_with("discard")), "{seen:?}");
    world.tell(Event::ResultKept { job: JobId(1) });
    assert!(world.saw("/cp/1/chk-3") && world.saw("close 1"), "{:?}", world.seen());
}

#[test]
fn the_end_of_a_job_is_told_when_it_is_kept() {
    let mut world = second(true, 2, vec![submission(1, 1)], vec![]);
    world.register_with(2, 1, vec![report(1, 0, 1)]).admit(1);
    world.tell(Event::Rest(RestRequest::Cancel { job: JobId(1), reply: oneshot::channel().0 }));
    world.tell(Event::ExecutorReport {
        id: executor(2),
        report: ExecutorReport::WorkerExited {
            job: JobId(1),
            instance: 1,
            failure: Failure::new(Blame::Outside, "killed"),
        },
    });
    assert!(world.saw("keep 1 CANCELED") && !world.saw("close"), "{:?}", world.seen());
    let shown = |world: &mut World| {
        let details = world.ask(|reply| RestRequest::Job { job: JobId(1), reply });
        details.map(|job| (job.status, job.end.is_some()))
    };
    assert_eq!(shown(&mut world), Some((JobStatus::Cancelling, false)));
    world.tell(Event::ResultKept { job: JobId(1) });
    assert!(world.saw("close 1 false"), "{:?}", world.seen());
    assert_eq!(shown(&mut world), Some((JobStatus::Canceled, true)));
}

#[test]
fn an_acknowledged_job_is_kept_and_the_applications_own_need_not_be() {
    let mut world = World::keeping(true, true, 1, Reserve::none());
    let _answer = world.post(submission(1, 1));
    let keeps = |world: &World| match world.effects.first() {
        Some(Effect::Admit(admission)) => (admission.keep.is_some(), admission.taken_over),
        other => panic!("{other:?}"),
    };
    assert_eq!(keeps(&world), (true, false));
    let mut own = World::keeping(false, true, 1, Reserve::none());
    own.effects = own.dispatcher.submit_own(own.now, submission(JOB, 1)).unwrap();
    assert_eq!(keeps(&own), (false, false));
}

#[test]
fn a_job_that_had_ended_is_shown_and_ends_an_application_of_its_own() {
    let world = second(false, 1, vec![], vec![kept(JOB, JobStatus::Finished)]);
    assert_eq!(world.seen().last().map(String::as_str), Some("FINISHED"));
    let mut world = second(true, 1, vec![], vec![kept(1, JobStatus::Canceled)]);
    let details = world.ask(|reply| RestRequest::Job { job: JobId(1), reply }).unwrap();
    assert_eq!(
        (details.status, details.start.0, details.end.map(|end| end.0)),
        (JobStatus::Canceled, 1000, Some(1500))
    );
    assert_eq!(details.restarts, 3);
    assert_eq!(world.post(submission(1, 1)).try_recv(), Ok(SubmitReply::Accepted), "the same job again");
    assert!(!world.saw("admit"));
    // Limits of the archive: two jobs.
    for job in [2, 3] {
        world.submit(job, 1);
        world.tell(Event::Rest(RestRequest::Cancel { job: JobId(job), reply: oneshot::channel().0 }));
        world.tell(Event::ResultKept { job: JobId(job) });
    }
    assert!(world.saw("forget 1"), "{:?}", world.seen());
}

#[test]
fn without_former_containers_a_kept_job_begins_from_its_checkpoint_at_once() {
    let mut world = second(true, 1, vec![submission(1, 1)], vec![]);
    world.tell(Event::Admitted { job: JobId(1), result: Ok(admitted()) });
    world.launch(2, 0).register(2, 1);
    assert!(world.saw("2: start program1"), "{:?}", world.seen());
}
