//! Savepoints and checkpoints by the command line, on a real cluster: no record is lost or seen twice.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::flink::{Flink, Outcome};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::wait;

const LIMIT: Duration = Duration::from_secs(120);
const EVENTS: u64 = 60_000;

static CLUSTER: LazyLock<HadoopCluster> =
    LazyLock::new(|| HadoopCluster::builder().node_resources(6144, 8).start().unwrap());

fn flink(arguments: &str) -> Outcome {
    Flink::on(&CLUSTER).args(arguments).limit(LIMIT).run()
}

/// Runs a keyed job that takes about twenty seconds for all of its events.
fn keyed_sum(options: &str, probe: &Path) -> Outcome {
    let hdfs = CLUSTER.hdfs_url();
    Flink::on(&CLUSTER)
        .args("run -m yarn-cluster -yjm 256m -ytm 384m -D execution.checkpointing.interval=200ms")
        .args(&format!("-D state.checkpoints.dir={hdfs}/checkpoints -D state.savepoints.dir={hdfs}/savepoints"))
        .args(options)
        .arg(binary("keyed-sum"))
        .args(&format!("--events {EVENTS} --rate 3000 --keys 100 --probe {}", probe.display()))
        .limit(LIMIT)
        .run()
        .succeeded()
}

/// Records that the sinks have seen, by their last lines.
fn records(probe: &Path) -> u64 {
    let files = std::fs::read_dir(probe).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    files.map(|text| text.lines().last().unwrap().split('\t').nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

/// The path in what the command has printed.
fn path_of(outcome: &Outcome) -> String {
    let printed = outcome.printed();
    let after = printed.split("Savepoint completed. Path: ").nth(1).unwrap_or_else(|| panic!("no path: {printed}"));
    after.lines().next().unwrap().trim().to_owned()
}

/// Where a full path lies within HDFS.
fn within(path: &str) -> &str {
    path.strip_prefix(&CLUSTER.hdfs_url()).unwrap()
}

#[test]
fn a_job_is_stopped_with_a_savepoint_and_goes_on_from_it_with_another_parallelism() {
    let probes = tempfile::tempdir().unwrap();
    let (first, second) = (probes.path().join("first"), probes.path().join("second"));
    let application = keyed_sum("-d -p 2", &first).application_id().unwrap();
    let ask = |path: &str| CLUSTER.yarn().through_proxy(&application, path).map_err(|error| format!("{error:#}"));
    let job = ask("/jobs").unwrap()["jobs"][0]["id"].as_str().unwrap().to_owned();
    let completed = || {
        let checkpoints = ask(&format!("/jobs/{job}/checkpoints"))?;
        let count = checkpoints["counts"]["completed"].as_u64().filter(|count| *count > 0);
        count.ok_or_else(|| checkpoints.to_string())
    };
    wait::until_ok("a checkpoint is completed", LIMIT, completed).unwrap();

    let checkpoint = flink(&format!("checkpoint {job}")).succeeded();
    assert!(checkpoint.printed().contains(&format!("for job {job} completed.")), "{}", checkpoint.printed());

    let hdfs = CLUSTER.hdfs_url();
    let taken = path_of(&flink(&format!("savepoint {job} {hdfs}/elsewhere -yid {application}")).succeeded());
    assert!(CLUSTER.hdfs().exists(&format!("{}/_metadata", within(&taken))).unwrap());
    let disposed = flink(&format!("savepoint -d {taken}")).succeeded();
    assert!(disposed.printed().contains("disposed."), "{}", disposed.printed());
    assert!(!CLUSTER.hdfs().exists(within(&taken)).unwrap());
    let _ = flink(&format!("savepoint -d {taken}")).failed_with(&[&taken]);

    let stopped = path_of(&flink(&format!("stop {job}")).succeeded());
    assert!(stopped.starts_with(&format!("{hdfs}/savepoints/savepoint-")), "{stopped}");
    assert_eq!(CLUSTER.yarn().wait_ended(&application, LIMIT).unwrap().final_status, "SUCCEEDED");
    wait_nothing_left(&CLUSTER, &application, LIMIT).unwrap();
    let before = records(&first);
    assert!(0 < before && before < EVENTS, "stopped in the middle: {before}");
    assert_eq!(CLUSTER.hdfs().tree("/checkpoints").unwrap(), [], "no checkpoint is left");

    keyed_sum(&format!("-s {stopped} -p 1"), &second);
    assert_eq!(before + records(&second), EVENTS);
    let _ = flink(&format!("stop {job}")).failed_with(&["none of the", &job]);
}
