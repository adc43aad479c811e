//! What is shown of checkpoints.

use flumen_jobmaster::CheckpointStatus;
use flumen_model::checkpoint::SnapshotTimes;

use crate::job::{DIRECTORY, Job, STATE_BYTES};
use crate::world::{SINK, SOURCE, subtask};

#[test]
fn a_checkpoint_is_shown_with_its_sizes_and_durations_as_confirmations_come() {
    let mut job = Job::new(&[]);
    job.pass(100);
    let begun = job.world.now;
    let times = |written_bytes| SnapshotTimes {
        start_delay_ms: 1,
        alignment_ms: 2,
        sync_ms: 3,
        async_ms: 4,
        written_bytes,
        unaligned: false,
    };
    job.pass(5);
    job.confirm(subtask(SOURCE, 0), times(10));
    job.pass(5);
    job.confirm(subtask(SINK, 1), times(20));
    let shown = job.world.master.checkpoints();
    let [entry] = &shown.history[..] else { panic!("{:?}", shown.history) };
    assert_eq!((entry.status.clone(), entry.triggered), (CheckpointStatus::InProgress, begun));
    assert_eq!((entry.subtasks(), entry.acknowledged()), (3, 2));
    assert_eq!((entry.state_bytes, entry.written_bytes, entry.duration_ms()), (2 * STATE_BYTES, 30, 10));
    assert_eq!((shown.counts.total, shown.counts.in_progress, shown.counts.completed), (1, 1, 0));

    job.pass(30);
    job.confirm(subtask(SINK, 0), times(5));
    job.pass(7);
    job.stored(1);
    let shown = job.world.master.checkpoints();
    assert_eq!((shown.counts.total, shown.counts.in_progress, shown.counts.completed), (1, 0, 1));
    let entry = shown.latest_completed.unwrap();
    assert_eq!((entry.id.0, entry.status.clone()), (1, CheckpointStatus::Completed));
    assert_eq!(entry.directory, format!("{DIRECTORY}/chk-1"));
    assert_eq!((entry.state_bytes, entry.written_bytes, entry.duration_ms()), (3 * STATE_BYTES, 35, 40));
    assert_eq!(entry.end.unwrap().since(begun), 47);
    assert!(!entry.discarded);
    let sink = entry.vertices.iter().find(|vertex| vertex.vertex == SINK).unwrap();
    let of_sink = sink.subtasks[1].unwrap();
    assert_eq!((of_sink.end_to_end_ms, of_sink.state_bytes, of_sink.times), (10, STATE_BYTES, times(20)));
    assert_eq!(shown.history[0].status, CheckpointStatus::Completed);
}

#[test]
fn the_history_is_as_long_as_configured_and_shows_what_was_removed() {
    let mut job =
        Job::new(&[("web.checkpoints.history", "3"), ("execution.checkpointing.tolerable-failed-checkpoints", "9")]);
    (0..4).for_each(|_| job.complete_next());
    job.next();
    job.decline();
    job.next();
    let shown = job.world.master.checkpoints();
    let ids: Vec<u64> = shown.history.iter().map(|entry| entry.id.0).collect();
    assert_eq!(ids, [6, 5, 4, 3], "the one in progress, and three that are over");
    let discarded: Vec<bool> = shown.history.iter().map(|entry| entry.discarded).collect();
    assert_eq!(discarded, [false, false, false, true], "one is retained");
    assert!(matches!(shown.history[1].status, CheckpointStatus::Failed(_)));
    let counts = shown.counts;
    assert_eq!((counts.total, counts.completed, counts.failed, counts.in_progress), (6, 4, 1, 1));
    assert_eq!(shown.latest_failed.unwrap().id.0, 5);
    assert_eq!(shown.latest_completed.unwrap().id.0, 4);
}
