//! The file system does what file systems do while a job runs: it is read-only, full, hung, without its data. Checkpoints wait or
//! fail, and the job goes on; only what can't be written to its sink restarts it. In the end nothing is lost, and nothing twice.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::flink::{self, Flink};
use flumen_itests::hadoop::{Daemon, HadoopCluster};
use flumen_itests::job::Gate;
use flumen_itests::stateful::{differences, expected_rows};
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::watched::Watched;
use flumen_itests::{say, wait};

const LIMIT: Duration = Duration::from_secs(300);
/// The job lasts for minutes while its gate is closed.
const EVENTS: u64 = 1_000_000;
const WORKER: &str = "itest-stateful";
const ADMIN: &str = "org.apache.hadoop.hdfs.tools.DFSAdmin";

/// Checkpoints of a job that failed, as its JobManager says.
fn failed(cluster: &HadoopCluster, application: &Watched, job: &str) -> Result<u64, String> {
    let answer = application.ask(cluster, &format!("/jobs/{job}/checkpoints"))?;
    answer["counts"]["failed"].as_u64().ok_or_else(|| answer.to_string())
}

/// Waits until `count` is greater than it was.
fn wait_more(what: &str, before: u64, count: impl Fn() -> Result<u64, String>) {
    wait::until_ok(what, LIMIT, || match count()? {
        now if now > before => Ok(()),
        now => Err(now.to_string()),
    })
    .unwrap();
}

#[test]
fn a_job_gets_over_a_file_system_that_is_read_only_or_full_or_hangs_or_has_lost_its_data_for_a_while() {
    let mut cluster = HadoopCluster::builder().node_resources(4096, 8).start().unwrap();
    let (hdfs, gate) = (cluster.hdfs_url(), Gate::closed().unwrap());
    for dir in ["/checkpoints", "/out"] {
        cluster.hdfs().make_dir(dir, "1777").unwrap();
    }
    let mut client = Flink::on(&cluster)
        .args("run -m yarn-cluster -yjm 256m -ytm 384m -p 2")
        .args(&format!("-D high-availability.storageDir={hdfs}/ha -D execution.checkpointing.dir={hdfs}/checkpoints"))
        .args("-D execution.checkpointing.interval=200ms")
        .args("-D execution.checkpointing.tolerable-failed-checkpoints=100000")
        .args("-D restart-strategy.type=fixed-delay -D restart-strategy.fixed-delay.attempts=100000")
        .args("-D restart-strategy.fixed-delay.delay=500ms")
        .arg(binary(WORKER))
        .args(&format!("--count {EVENTS} --gate {} --output {hdfs}/out/rows", gate.path().display()))
        .limit(LIMIT * 2)
        .spawn();
    let id = client.wait_printed("an application id", LIMIT, flink::application_id).unwrap();
    client.wait_printed("the job runs", LIMIT, |text| text.contains("RUNNING").then_some(())).unwrap();
    let application = Watched::new(&id, LIMIT);
    let job = application.wait_jobs(&cluster, "RUNNING", 1).unwrap().remove(0);
    application.wait_progress(&cluster, &job).unwrap();
    let (master, workers) = (application.master().unwrap(), application.pids(WORKER));
    let undisturbed = |cluster: &HadoopCluster| {
        let checkpoints = application.wait_progress(cluster, &job).unwrap();
        assert_eq!((checkpoints.restored, application.pids(WORKER)), (0, workers.clone()));
        assert_eq!(application.master().unwrap(), master);
    };

    say("read-only (safe mode)");
    cluster.run_tool(ADMIN, &["-safemode", "enter"]).unwrap();
    wait_still(&cluster, &application, &job);
    cluster.run_tool(ADMIN, &["-safemode", "leave"]).unwrap();
    undisturbed(&cluster);

    say("the NameNode hangs");
    cluster.halt(Daemon::NameNode).unwrap();
    wait_still(&cluster, &application, &job);
    cluster.go_on(Daemon::NameNode).unwrap();
    undisturbed(&cluster);

    say("the checkpoints' directory is full (quota)");
    let before = failed(&cluster, &application, &job).unwrap();
    cluster.run_tool(ADMIN, &["-setSpaceQuota", "1", "/checkpoints"]).unwrap();
    wait_more("checkpoints fail", before, || failed(&cluster, &application, &job));
    cluster.run_tool(ADMIN, &["-clrSpaceQuota", "/checkpoints"]).unwrap();
    undisturbed(&cluster);

    say("the only DataNode is lost and comes back");
    cluster.kill(Daemon::DataNode(1)).unwrap();
    wait_still(&cluster, &application, &job);
    cluster.restart(Daemon::DataNode(1)).unwrap();
    cluster.wait_healthy(LIMIT).unwrap();
    application.wait_progress(&cluster, &job).unwrap();

    say("the sink's directory is full (quota)");
    let restored = || application.checkpoints(&cluster, &job).map(|checkpoints| checkpoints.restored);
    let before = restored().unwrap();
    cluster.run_tool(ADMIN, &["-setSpaceQuota", "1", "/out"]).unwrap();
    wait_more("the job is restarted", before, restored);
    cluster.run_tool(ADMIN, &["-clrSpaceQuota", "/out"]).unwrap();
    application.wait_progress(&cluster, &job).unwrap();

    gate.open().unwrap();
    let outcome = client.wait(LIMIT).succeeded();
    let written = cluster.hdfs().read_all("/out/rows").unwrap();
    assert_eq!(differences(&expected_rows(EVENTS), &written), "", "{outcome}");
    wait_nothing_left(&cluster, &id, LIMIT).unwrap();
}

/// Waits until no checkpoint has been completed for some seconds: what happened to the file system has come through.
fn wait_still(cluster: &HadoopCluster, application: &Watched, job: &str) {
    let mut last = (0, std::time::Instant::now());
    wait::until("checkpoints stand still", LIMIT, || {
        let now = application.checkpoints(cluster, job).map_or(last.0, |checkpoints| checkpoints.newest);
        if now > last.0 {
            last = (now, std::time::Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(4)).then_some(())
    })
    .unwrap();
}
