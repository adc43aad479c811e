//! Which checkpoints are kept, and which are removed.

use flumen_jobmaster::Start;
use flumen_model::checkpoint::{CheckpointId, SnapshotKind};
use flumen_model::failure::Blame;
use flumen_model::status::JobStatus;
use flumen_wire::control::FromWorker;

use crate::job::{DIRECTORY, Job, former};
use crate::world::{SINK, failure, subtask};

const RETENTION: &str = "execution.checkpointing.externalized-checkpoint-retention";
const RETAINED: &str = "state.checkpoints.num-retained";
const CLAIM: &str = "execution.state-recovery.claim-mode";

fn chk(number: u64) -> String {
    format!("{DIRECTORY}/chk-{number}")
}

#[test]
fn the_newest_are_kept() {
    let mut job = Job::new(&[(RETAINED, "3")]);
    for newest in 1..=6 {
        job.complete_next();
        for number in 1..=newest {
            assert_eq!(job.is_removed(&chk(number)), number + 3 <= newest, "{number} of {newest}");
        }
    }
}

#[test]
fn what_is_left_at_the_end_follows_from_how_the_job_ended() {
    type End = fn(&mut Job);
    let ends: [(JobStatus, End); 3] =
        [(JobStatus::Canceled, Job::cancel), (JobStatus::Failed, Job::fail), (JobStatus::Finished, Job::finish_all)];
    for (retention, kept_after) in [
        ("RETAIN_ON_CANCELLATION", &[JobStatus::Canceled, JobStatus::Failed][..]),
        ("DELETE_ON_CANCELLATION", &[JobStatus::Failed]),
        ("NO_EXTERNALIZED_CHECKPOINTS", &[]),
    ] {
        for (status, end) in ends {
            let mut job = Job::new(&[(RETENTION, retention), (RETAINED, "2")]);
            (0..3).for_each(|_| job.complete_next());
            end(&mut job);
            assert_eq!(job.status(), status);
            let newest = job.triggered() as u64;
            let kept = kept_after.contains(&status);
            for number in [newest - 1, newest] {
                assert_eq!(!job.is_removed(&chk(number)), kept, "{number} of {newest}: {retention}, {status}");
            }
            assert!(job.is_removed(&chk(1)));
            assert_eq!(job.discarded().contains(&DIRECTORY.to_owned()), !kept, "the job's own directory");
        }
    }
}

#[test]
fn a_checkpoint_under_way_at_the_end_is_not_left() {
    let mut job = Job::new(&[(RETENTION, "RETAIN_ON_CANCELLATION")]);
    job.complete_next();
    job.next();
    job.cancel();
    assert!(job.is_removed(&chk(2)) && !job.is_removed(&chk(1)));
}

#[test]
fn what_a_job_starts_from_is_removed_only_if_it_was_claimed() {
    for kind in [SnapshotKind::Savepoint, SnapshotKind::Checkpoint] {
        for (claim, claimed) in [("NO_CLAIM", false), ("LEGACY", false), ("CLAIM", true)] {
            let from = former("/old/chk-41", kind);
            let start = Start { from: Some(from), ..Start::default() };
            let mut job = Job::starting(&[(CLAIM, claim)], start);
            job.next();
            let first = job.barriers().pop().unwrap();
            assert_eq!(first.checkpoint.0, 42, "numbers go on");
            let full = if claimed { SnapshotKind::Checkpoint } else { SnapshotKind::FullCheckpoint };
            assert_eq!(first.kind, full, "{claim}");
            assert!(!job.is_removed("/old/chk-41"), "it is still needed");
            job.complete();
            assert_eq!(job.is_removed("/old/chk-41"), claimed, "{claim}, {kind:?}");
            job.next();
            assert_eq!(job.barriers().pop().unwrap().kind, SnapshotKind::Checkpoint, "only the first is full");
            job.complete();
            job.finish_all();
            assert_eq!(job.status(), JobStatus::Finished);
            assert_eq!(job.is_removed("/old/chk-41"), claimed, "{claim}, {kind:?}, at the end");
        }
    }
}

#[test]
fn a_job_that_ends_before_its_first_checkpoint_leaves_what_it_did_not_claim() {
    for (claim, claimed) in [("NO_CLAIM", false), ("CLAIM", true)] {
        let start = Start { from: Some(former("/old/chk-41", SnapshotKind::Checkpoint)), ..Start::default() };
        let mut job = Job::starting(&[(CLAIM, claim)], start);
        job.cancel();
        assert_eq!(job.is_removed("/old/chk-41"), claimed, "{claim}");
    }
}

#[test]
fn the_first_checkpoint_is_full_until_one_has_completed() {
    let start = Start { from: Some(former("/old/chk-41", SnapshotKind::Checkpoint)), ..Start::default() };
    let mut job =
        Job::starting(&[("execution.checkpointing.tolerable-failed-checkpoints", "3"), (CLAIM, "NO_CLAIM")], start);
    job.next();
    job.decline();
    job.next();
    assert_eq!(job.barriers().pop().unwrap().kind, SnapshotKind::FullCheckpoint);
    assert!(!job.is_removed("/old/chk-41"));
}

#[test]
fn a_job_that_falls_back_to_what_it_did_not_claim_takes_a_full_checkpoint_once_more() {
    let start = Start { from: Some(former("/old/chk-41", SnapshotKind::Checkpoint)), ..Start::default() };
    let restarts = [("restart-strategy.type", "fixed-delay"), ("restart-strategy.fixed-delay.attempts", "5")];
    let options = [(CLAIM, "NO_CLAIM"), (RETAINED, "2"), restarts[0], restarts[1]];
    let mut job = Job::starting(&options, start);
    job.complete_next();
    job.next();
    assert_eq!(job.barriers().pop().unwrap().kind, SnapshotKind::Checkpoint);
    let again = |job: &mut Job| {
        job.world.deliver();
        job.pass(2_000);
        job.world.deliver();
        assert_eq!(job.status(), JobStatus::Running);
    };
    job.fail();
    again(&mut job);
    let (attempt, failure) = (job.world.attempt(), failure(Blame::Outside, "its file is torn"));
    let (subtask, checkpoint) = (subtask(SINK, 0), CheckpointId(42));
    job.world.say("a", FromWorker::RestoreFailed { attempt, subtask, checkpoint, failure });
    again(&mut job);
    job.next();
    assert_eq!(job.barriers().pop().unwrap().kind, SnapshotKind::FullCheckpoint);
}

#[test]
fn a_job_of_which_no_checkpoint_is_left_whole_does_not_begin_anew() {
    let unusable = Some("`/c/chk-3/list` does not exist".to_owned());
    let from = Some(former("/old/chk-41", SnapshotKind::Savepoint));
    let job = Job::begun(&[], Start { unusable, from, ..Start::default() });
    assert_eq!(job.status(), JobStatus::Failed);
    let failure = job.world.master.details().failure.unwrap();
    assert!(failure.message.contains("/c/chk-3/list"), "{failure}");
}
