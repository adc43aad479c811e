//! One execution: names, rolling, and what is left behind.

use std::time::Duration;

use flumen_worker::operator::{Signal, TaskError};
use flumen_worker::sinks::file::{
    BasePathBucketAssigner, BucketContext, DateTimeBucketAssigner, DefaultRollingPolicy, FileSink,
    OnCheckpointRollingPolicy, OutputFileConfig, SimpleStringEncoder, Zone,
};
use flumen_worker::sinks::text;

use crate::world::{Crash, Make, OPERATOR, World};

fn base(out: &str) -> FileSink<SimpleStringEncoder, BasePathBucketAssigner, OnCheckpointRollingPolicy> {
    FileSink::for_row_format(out, SimpleStringEncoder::new())
        .with_bucket_assigner(BasePathBucketAssigner)
        .with_rolling_policy(OnCheckpointRollingPolicy)
}

fn base_path(out: &str) -> Make {
    let sink = base(out).with_output_file_config(OutputFileConfig::default().with_part_suffix(".txt"));
    Box::new(move |context| sink.open(context, OPERATOR))
}

fn written_as_text(out: &str) -> Make {
    let out = out.to_owned();
    Box::new(move |context| text::open(&out, context, OPERATOR))
}

fn message(error: &TaskError) -> &str {
    match error {
        TaskError::Failed { message, .. } | TaskError::Restore { message } => message,
        TaskError::Canceled => "canceled",
    }
}

#[test]
fn parts_are_named_as_flinks_and_appear_with_their_checkpoint() {
    let mut world = World::new(base_path);
    world.start(1).unwrap();
    for checkpoint in 0..2 {
        world.push(3, 0).unwrap();
        world.barrier().unwrap();
        world.store().unwrap();
        let hidden = world.files().into_iter().find(|(name, _)| name.starts_with('.')).unwrap().0;
        let (name, id) = hidden.strip_prefix('.').unwrap().split_once(".inprogress.").unwrap();
        assert_eq!(id.len(), 36, "{hidden}");
        let (uid, rest) = name.strip_prefix("part-").unwrap().split_at(36);
        assert!(uid.bytes().all(|letter| letter == b'-' || letter.is_ascii_hexdigit()), "{name}");
        assert_eq!(rest, format!("-{checkpoint}.txt"));
        world.notify(1).unwrap();
        world.wait_visible().unwrap();
        let files: Vec<_> = world.files().into_iter().map(|(name, _)| name).collect();
        assert!(files.contains(&name.to_owned()) && !files.contains(&hidden), "{files:?}");
    }
    world.end().unwrap();
    assert_eq!(world.files().len(), 2, "a job that ran through leaves nothing else");
}

#[test]
fn parts_are_rolled_by_size_and_by_time_between_two_barriers() {
    let mut world = World::new(|out| {
        let policy = DefaultRollingPolicy::default()
            .with_max_part_size(3)
            .with_inactivity_interval(Duration::from_secs(10))
            .with_rollover_interval(Duration::from_secs(15));
        let sink = base(out).with_rolling_policy(policy).with_bucket_check_interval(Duration::from_secs(1));
        Box::new(move |context| sink.open(context, OPERATOR))
    });
    world.start(1).unwrap();
    // Two bytes a record: the second makes it more than three bytes, the third begins a new part.
    world.push(5, 0).unwrap();
    world.pass(9_999).unwrap();
    world.push(1, 0).unwrap();
    world.pass(10_000).unwrap();
    world.push(1, 0).unwrap();
    world.barrier().unwrap();
    world.store().unwrap();
    world.notify(1).unwrap();
    world.wait_visible().unwrap();
    let mut sizes: Vec<_> = world.files().into_iter().map(|(_, length)| length).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 4, 4, 4]);
}

#[test]
fn records_go_to_the_bucket_of_their_time() {
    let mut world = World::new(|out| {
        let hours = DateTimeBucketAssigner::with_format("yyyy-MM-dd/HH").unwrap().in_zone(Zone::Utc);
        let sink = base(out).with_bucket_assigner(hours);
        Box::new(move |context| sink.open(context, OPERATOR))
    });
    world.start(1).unwrap();
    world.push(2, 0).unwrap();
    world.pass(25 * 3_600_000).unwrap();
    world.push(1, 0).unwrap();
    world.end().unwrap();
    let directories: Vec<_> =
        world.files().iter().map(|(name, _)| name.rsplit_once('/').unwrap().0.to_owned()).collect();
    assert_eq!(directories, ["1970-01-01/00", "1970-01-02/01"]);
}

#[test]
fn a_bucket_does_not_lead_out_of_the_sinks_directory() {
    for id in ["..", "a/../../b", "a/./b"] {
        let mut world = World::new(|out| {
            let sink = base(out).with_bucket_assigner(move |_: &u64, _: &BucketContext| id.to_owned());
            Box::new(move |context| sink.open(context, OPERATOR))
        });
        world.start(1).unwrap();
        let error = world.push(1, 0).unwrap_err();
        assert!(message(&error).contains("is no bucket"), "{error:?}");
    }
}

#[test]
fn without_checkpoints_parts_appear_at_the_end() {
    let mut world = World::new(base_path);
    world.checkpointing = false;
    world.start(2).unwrap();
    world.push(5, 0).unwrap();
    world.push(5, 1).unwrap();
    world.signal_all(Signal::Flush).unwrap();
    assert_eq!(world.visible(), Vec::<u64>::new());
    world.end().unwrap();
    assert_eq!(world.visible(), (0..10).collect::<Vec<_>>());
    assert_eq!(world.files().len(), 2);
}

#[test]
fn a_cancelled_sink_removes_what_no_checkpoint_knows() {
    let mut world = World::new(|out| {
        let sink = base(out).with_rolling_policy(DefaultRollingPolicy::default().with_max_part_size(1));
        Box::new(move |context| sink.open(context, OPERATOR))
    });
    world.start(1).unwrap();
    world.push(3, 0).unwrap();
    world.barrier().unwrap();
    world.store().unwrap();
    world.push(3, 0).unwrap();
    world.crash(Crash::Cancel);
    world.start(1).unwrap();
    // Three parts of the checkpoint; two that were closed after it and one that was open are removed.
    world.wait_visible().unwrap();
    let begun = std::time::Instant::now();
    while world.files().len() != 3 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", world.files());
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn what_cannot_be_written_fails_the_subtask_and_its_checkpoint() {
    let mut world = World::new(base_path);
    world.put_in_the_way(None);
    world.start(1).unwrap();
    // Whoever looks first sees it: the record, the barrier or the checkpoint.
    let failed = world.push(1, 0).and_then(|()| world.barrier()).and_then(|_| world.store());
    let error = failed.unwrap_err();
    assert!(message(&error).contains("is not a directory"), "{error:?}");
    let error = world.push(1, 0).unwrap_err();
    assert!(message(&error).contains("is not a directory"), "{error:?}");
}

#[test]
fn a_part_that_is_gone_after_a_restore_is_an_error_that_says_what_to_do() {
    let mut world = World::new(base_path);
    world.start(1).unwrap();
    world.push(3, 0).unwrap();
    world.barrier().unwrap();
    world.store().unwrap();
    world.crash(Crash::Kill);
    world.files().iter().for_each(|(name, _)| world.remove(name));
    world.start(1).unwrap();
    let begun = std::time::Instant::now();
    let error = loop {
        if let Err(error) = world.pass(0) {
            break error;
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
    };
    assert!(message(&error).contains("MissingParts::Consumed"), "{error:?}");
}

#[test]
fn text_with_checkpoints_appears_with_them_and_goes_on_after_a_restore() {
    let mut world = World::new(written_as_text);
    world.start(2).unwrap();
    world.push(3, 0).unwrap();
    world.push(3, 1).unwrap();
    world.barrier().unwrap();
    world.store().unwrap();
    world.notify(2).unwrap();
    world.wait_visible().unwrap();
    world.crash(Crash::Kill);
    world.start(1).unwrap();
    world.push(4, 0).unwrap();
    world.end().unwrap();
    assert_eq!(world.visible(), (0..10).collect::<Vec<_>>());
}

#[test]
fn text_with_checkpoints_refuses_a_directory_that_holds_something() {
    let mut world = World::new(written_as_text);
    world.put_in_the_way(Some("part-0"));
    let error = world.start(1).unwrap_err();
    assert!(message(&error).contains("already exists"), "{error:?}");
}
