//! The file sink's commit protocol on the real HDFS, with a NameNode that goes and comes back in the middle of it.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

// The job and control plane of the worker's own tests: the same protocol on another file system.
#[path = "../../worker/tests/file_sink/world.rs"]
#[allow(dead_code, reason = "the worker's tests use more of it")]
mod world;

use std::time::Duration;

use flumen_fs::FsOptions;
use flumen_itests::hadoop::{Daemon, HadoopCluster};
use flumen_worker::sinks::file::{BucketContext, FileSink, OnCheckpointRollingPolicy, SimpleStringEncoder};
use world::{Crash, OPERATOR, World};

const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn each_record_is_visible_once_on_hdfs_although_executions_and_the_namenode_are_killed() {
    let mut cluster = HadoopCluster::builder().nodes(1).start().unwrap();
    let options = FsOptions { user: Some(cluster.user().to_owned()), ..FsOptions::default() };
    let out = format!("{}/tmp/sink", cluster.hdfs_url());
    let mut world = World::at(tempfile::tempdir().unwrap(), options, &out, |out| {
        let sink = FileSink::for_row_format(out, SimpleStringEncoder::new())
            .with_bucket_assigner(|record: &u64, _: &BucketContext| format!("b{}", record % 3))
            .with_rolling_policy(OnCheckpointRollingPolicy);
        Box::new(move |context| sink.open(context, OPERATOR))
    });
    world.start(2).unwrap();
    world.push(20, 0).unwrap();
    world.push(20, 1).unwrap();
    world.barrier().unwrap();
    world.store().unwrap();
    world.notify(2).unwrap();
    world.wait_visible().unwrap();

    // Renaming the parts of one checkpoint and closing those of the next have to wait for the NameNode.
    world.push(20, 0).unwrap();
    world.barrier().unwrap();
    world.store().unwrap();
    world.push(20, 1).unwrap();
    cluster.kill(Daemon::NameNode).unwrap();
    world.notify(2).unwrap();
    world.barrier().unwrap();
    cluster.restart(Daemon::NameNode).unwrap();
    cluster.wait_healthy(LIMIT).unwrap();
    world.wait_visible().unwrap();
    world.store().unwrap();
    world.assert_never_too_much();

    // Killed before it commits; the next one does, and is cut off while it commits; the third is rescaled.
    world.crash(Crash::Kill);
    world.start(1).unwrap();
    world.wait_visible().unwrap();
    world.push(20, 0).unwrap();
    world.barrier().unwrap();
    world.store().unwrap();
    world.notify(1).unwrap();
    world.push(20, 0).unwrap();
    world.crash(Crash::CutOff);
    world.start(3).unwrap();
    world.push(20, 2).unwrap();
    let count = world.position;
    world.end().unwrap();
    assert_eq!(world.visible(), (0..count).collect::<Vec<_>>());
    assert_eq!(count, 120);
}
