//! When checkpoints are triggered and given up.

use flumen_jobmaster::{Event, RequestId, SnapshotRequest, SnapshotWish};
use flumen_model::checkpoint::SnapshotTimes;
use flumen_model::failure::Blame;
use flumen_model::ids::ExecutionAttempt;
use flumen_model::status::JobStatus;

use crate::job::{DIRECTORY, Job};
use crate::world::{SINK, SOURCE, failure, subtask};

const TOLERABLE: &str = "execution.checkpointing.tolerable-failed-checkpoints";
const TIMEOUT: &str = "execution.checkpointing.timeout";

#[test]
fn a_checkpoint_begins_an_interval_after_the_start_of_the_last_one() {
    let mut job = Job::new(&[]);
    job.pass(99);
    assert_eq!(job.triggered(), 0);
    job.pass(1);
    assert_eq!(job.triggered(), 1);
    job.pass(60);
    job.complete();
    job.pass(39);
    assert_eq!(job.triggered(), 1);
    job.pass(1);
    assert_eq!(job.triggered(), 2);
}

#[test]
fn a_pause_lies_between_the_end_of_a_checkpoint_and_the_next() {
    let mut job = Job::new(&[("execution.checkpointing.min-pause", "500 ms")]);
    job.pass(100);
    job.pass(30);
    job.complete();
    job.pass(499);
    assert_eq!(job.triggered(), 1);
    job.pass(1);
    assert_eq!(job.triggered(), 2);
    // A failed one counts as well: what could not be written must not be tried at once.
    let mut job = Job::new(&[("execution.checkpointing.min-pause", "500 ms"), (TOLERABLE, "1")]);
    job.pass(100);
    job.pass(30);
    job.decline();
    job.pass(499);
    assert_eq!(job.triggered(), 1);
    job.pass(1);
    assert_eq!(job.triggered(), 2);
}

#[test]
fn no_more_checkpoints_are_under_way_than_allowed() {
    for (concurrent, unaligned, at_once) in [("1", "false", 1), ("3", "false", 3), ("3", "true", 1)] {
        let mut job = Job::new(&[
            ("execution.checkpointing.max-concurrent-checkpoints", concurrent),
            ("execution.checkpointing.unaligned.enabled", unaligned),
        ]);
        (0..6).for_each(|_| job.pass(100));
        assert_eq!(job.triggered(), at_once);
        // The oldest completes, and leaves room for one more.
        let first = job.barriers().remove(0);
        job.confirm_all(&first);
        job.stored(first.checkpoint.0);
        job.pass(100);
        assert_eq!(job.triggered(), at_once + 1);
    }
}

#[test]
fn a_newer_checkpoint_that_completes_ends_the_older_ones() {
    let mut job = Job::new(&[("execution.checkpointing.max-concurrent-checkpoints", "2")]);
    job.pass(100);
    job.pass(100);
    assert_eq!(job.triggered(), 2);
    job.complete();
    assert_eq!(job.aborted(), [1]);
    assert!(job.is_removed(&format!("{DIRECTORY}/chk-1")));
    assert_eq!(job.status(), JobStatus::Running, "nothing has failed");
}

#[test]
fn a_checkpoint_that_takes_too_long_is_given_up_and_what_still_comes_of_it_is_removed() {
    let mut job = Job::new(&[(TIMEOUT, "1 s"), (TOLERABLE, "1")]);
    job.pass(100);
    job.confirm(subtask(SINK, 0), SnapshotTimes::default());
    job.pass(999);
    assert_eq!(job.aborted(), [] as [u64; 0]);
    let late = job.barriers().remove(0);
    job.pass(1);
    assert_eq!(job.aborted(), [1]);
    assert!(job.is_removed(&format!("{DIRECTORY}/chk-1")));
    let before = job.discarded().len();
    job.confirm_one(&late, subtask(SINK, 1), SnapshotTimes::default());
    let removed = &job.discarded()[before..];
    assert!(removed.len() == 1 && removed[0].starts_with(&format!("{DIRECTORY}/chk-1/")), "{removed:?}");
    let failed = job.world.master.checkpoints().latest_failed.unwrap();
    assert!(format!("{failed:?}").contains(TIMEOUT), "{failed:?}");
}

#[test]
fn as_many_failures_in_a_row_as_tolerated_are_forgiven_and_one_more_fails_the_job() {
    let mut job = Job::new(&[(TOLERABLE, "2")]);
    for _ in 0..2 {
        // A success in between begins the count anew.
        job.next();
        job.decline();
        job.next();
        job.decline();
        job.complete_next();
    }
    assert_eq!(job.status(), JobStatus::Running);
    for _ in 0..3 {
        job.next();
        job.decline();
    }
    job.world.deliver();
    let ended = job.world.ended();
    assert_eq!(ended.status, JobStatus::Failed);
    let message = ended.failure.as_ref().unwrap().to_string();
    for word in ["3 checkpoints in a row", TOLERABLE, "disk full"] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn too_many_failures_restart_the_job_if_its_strategy_allows_it_and_are_counted_anew() {
    let mut job = Job::new(&[
        (TOLERABLE, "0"),
        ("restart-strategy.type", "fixed-delay"),
        ("restart-strategy.fixed-delay.attempts", "5"),
        ("restart-strategy.fixed-delay.delay", "10 ms"),
    ]);
    job.complete_next();
    for attempt in 1..=3 {
        job.next();
        job.decline();
        job.world.deliver();
        job.pass(10);
        job.world.deliver();
        assert_eq!((job.status(), job.world.attempt()), (JobStatus::Running, ExecutionAttempt(attempt)));
    }
    let statistics = job.world.master.checkpoints();
    assert_eq!(statistics.latest_restored.unwrap().id.0, 1);
    assert_eq!(statistics.counts.restored, 3);
}

#[test]
fn a_checkpoint_that_can_not_be_stored_counts_as_failed_and_a_savepoint_does_not() {
    let mut job = Job::new(&[(TOLERABLE, "0")]);
    let wish = SnapshotWish::Savepoint { target: Some("/s".into()) };
    job.world.tell(Event::Snapshot(SnapshotRequest { request: RequestId(1), wish }));
    let refused = |id: u64| Event::CheckpointStored {
        checkpoint: flumen_model::checkpoint::CheckpointId(id),
        result: Err(failure(Blame::Outside, "no space left")),
    };
    let savepoint = job.barriers().remove(0);
    assert!(savepoint.kind.is_savepoint());
    job.confirm_all(&savepoint);
    job.world.tell(refused(savepoint.checkpoint.0));
    assert_eq!(job.status(), JobStatus::Running);
    job.next();
    let checkpoint = job.barriers().pop().unwrap();
    job.confirm_all(&checkpoint);
    job.world.tell(refused(checkpoint.checkpoint.0));
    job.world.deliver();
    assert_eq!(job.status(), JobStatus::Failed);
}

#[test]
fn what_could_not_be_stored_is_removed() {
    let mut job = Job::new(&[(TOLERABLE, "1")]);
    job.next();
    let checkpoint = job.barriers().remove(0);
    job.confirm_all(&checkpoint);
    let result = Err(failure(Blame::Outside, "no space left"));
    job.world.tell(Event::CheckpointStored { checkpoint: checkpoint.checkpoint, result });
    assert!(job.is_removed(&format!("{DIRECTORY}/chk-1")));
    assert_eq!(job.aborted(), [1]);
    assert_eq!(job.status(), JobStatus::Running);
}

#[test]
fn a_checkpoint_that_is_refused_because_a_newer_one_counts_is_no_failure_whichever_is_told_first() {
    let mut job = Job::new(&[("execution.checkpointing.max-concurrent-checkpoints", "2"), (TOLERABLE, "0")]);
    job.pass(100);
    job.pass(100);
    let [first, second] = &job.barriers()[..] else { panic!("two are under way") };
    job.confirm_all(first);
    job.confirm_all(second);
    let result = Err(failure(Blame::Outside, "checkpoint 1 was overtaken by checkpoint 2"));
    job.world.tell(Event::CheckpointStored { checkpoint: first.checkpoint, result });
    job.stored(second.checkpoint.0);
    job.world.deliver();
    assert_eq!((job.status(), job.aborted()), (JobStatus::Running, vec![1]));
    assert!(job.is_removed(&format!("{DIRECTORY}/chk-1")) && !job.is_removed(&format!("{DIRECTORY}/chk-2")));
}

#[test]
fn checkpoints_go_on_when_some_subtasks_have_finished() {
    let mut job = Job::new(&[]);
    let source = subtask(SOURCE, 0);
    job.next();
    assert_eq!(job.begun_by(), [source]);
    job.complete();
    job.ends(source);
    job.complete_next();
    job.finish(source);
    job.next();
    assert_eq!(job.begun_by(), [subtask(SINK, 0), subtask(SINK, 1)], "nobody else sends to them");
    let last_of_source = format!("{DIRECTORY}/chk-2");
    job.complete();
    assert!(!job.discarded().contains(&last_of_source), "the source's last snapshot is part of the newest checkpoint");
    let entry = job.world.master.checkpoints().latest_completed.unwrap();
    assert_eq!((entry.id.0, entry.subtasks(), entry.acknowledged()), (3, 3, 3));
}

#[test]
fn a_subtask_that_finishes_without_its_part_lets_the_checkpoint_be_taken_again_without_it() {
    let mut job = Job::new(&[]);
    let source = subtask(SOURCE, 0);
    job.ends(source);
    job.next();
    let first = job.barriers().pop().unwrap();
    job.confirm_all(&first);
    job.stored(1);
    // Triggered while the source still had to hear of the last one.
    job.finish(source);
    job.next();
    assert_eq!(job.begun_by(), [subtask(SINK, 0), subtask(SINK, 1)]);
    job.finish(subtask(SINK, 0));
    assert_eq!(job.aborted(), [2]);
    assert_eq!(job.status(), JobStatus::Running, "it does not count as a failure");
}
