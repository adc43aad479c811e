//! The file system does what file systems do while a job runs: it is read-only, full, hung, without its data. Checkpoints wait or
//! fail, and the job goes on; only what can't be written to its sink restarts it. In the end nothing is lost, and nothing twice.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::disk::SmallDisk;
use flumen_itests::flink::Flink;
use flumen_itests::hadoop::{Daemon, HadoopCluster, Site};
use flumen_itests::subject::{LIMIT, Plan, Subject, WORKER};
use flumen_itests::{say, wait};
use serde_json::Value;

/// The job lasts for minutes while its gate is closed.
const EVENTS: u64 = 1_000_000;
/// Of the DataNode: for the programs under test, which are large when they are not optimised.
const DISK_MB: u32 = 1024;
/// The least that HDFS allows.
const BLOCK: u32 = 1 << 20;
/// Whose job it is. Who runs the tests is the superuser.
const USER: &str = "carol";
const ADDITIONAL_SPACE: &str = "dfs.datanode.round-robin-volume-choosing-policy.additional-available-space";
const ADMIN: &str = "org.apache.hadoop.hdfs.tools.DFSAdmin";

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
    let disk = SmallDisk::mount(DISK_MB).inspect_err(|error| {
        say(&format!("NOT RUN: the part with the full disk of a DataNode, for no disk can be mounted: {error:#}"));
    });
    let mut builder = HadoopCluster::builder().node_resources(4096, 8);
    if let Ok(disk) = &disk {
        // Blocks so small that the disk is full when one of them has no room.
        let data = format!("file://{}/data", disk.dir().display());
        builder = builder.property(Site::Hdfs, "dfs.datanode.data.dir", &data);
        builder = builder.property(Site::Hdfs, "dfs.blocksize", &BLOCK.to_string());
        // A gigabyte by default, which a DataNode would keep besides.
        builder = builder.property(Site::Hdfs, ADDITIONAL_SPACE, "0");
    }
    let mut cluster = builder.start().unwrap();
    cluster.hdfs().make_home(USER).unwrap();
    for dir in ["/checkpoints", "/out", "/ha"] {
        cluster.hdfs().make_dir(dir, "1777").unwrap();
    }
    let flags = "-ytm 384m -p 2 -D execution.checkpointing.interval=200ms \
        -D execution.checkpointing.tolerable-failed-checkpoints=100000 \
        -D restart-strategy.type=fixed-delay -D restart-strategy.fixed-delay.attempts=100000 \
        -D restart-strategy.fixed-delay.delay=500ms";
    let subject = Plan { user: Some(USER), ..Plan::new("rows", EVENTS, flags) }.start(&cluster).unwrap();
    let untouched = subject.untouched(&cluster).unwrap();

    say("read-only (safe mode)");
    cluster.run_tool(ADMIN, &["-safemode", "enter"]).unwrap();
    wait_still(&cluster, &subject);
    cluster.run_tool(ADMIN, &["-safemode", "leave"]).unwrap();
    subject.still(&cluster, &untouched).unwrap();

    say("read-only (permissions)");
    let before = subject.failed(&cluster).unwrap();
    let own = format!("/checkpoints/{}", subject.job);
    cluster.hdfs().set_permission(&own, "555").unwrap();
    wait_more("checkpoints fail", before, || subject.failed(&cluster));
    cluster.hdfs().set_permission(&own, "755").unwrap();
    subject.still(&cluster, &untouched).unwrap();

    say("the NameNode hangs");
    cluster.halt(Daemon::NameNode).unwrap();
    wait_still(&cluster, &subject);
    cluster.go_on(Daemon::NameNode).unwrap();
    subject.still(&cluster, &untouched).unwrap();

    say("the checkpoints' directory is full (quota)");
    let before = subject.failed(&cluster).unwrap();
    cluster.run_tool(ADMIN, &["-setSpaceQuota", "1", "/checkpoints"]).unwrap();
    wait_more("checkpoints fail", before, || subject.failed(&cluster));
    cluster.run_tool(ADMIN, &["-clrSpaceQuota", "/checkpoints"]).unwrap();
    subject.still(&cluster, &untouched).unwrap();

    if let Ok(disk) = &disk {
        say("the disk of the only DataNode is full");
        let before = subject.failed(&cluster).unwrap();
        disk.fill().unwrap();
        wait_more("checkpoints fail", before, || subject.failed(&cluster));
        let refused = Flink::on(&cluster).args("run -d -m yarn-cluster -yjm 256m -ytm 384m").arg(binary(WORKER));
        let _ = refused.args("--count 1 --output /tmp/refused").run().failed_with(&["full", "dfsadmin -report"]);
        disk.empty().unwrap();
        // The sink writes there, too: if it met the full disk before that had room again, and nothing else, the job was restarted.
        subject.wait_progress(&cluster).unwrap();
        let answer = subject.application.ask(&cluster, &format!("/jobs/{}/exceptions", subject.job)).unwrap();
        let failures = answer["exceptionHistory"]["entries"].as_array().unwrap();
        let is_of_sink = |failure: &Value| failure["stacktrace"].as_str().is_some_and(|text| text.contains("/out/"));
        assert!(failures.iter().all(is_of_sink), "{answer}");
    }

    say("the only DataNode is lost and comes back");
    cluster.kill(Daemon::DataNode(1)).unwrap();
    wait_still(&cluster, &subject);
    cluster.restart(Daemon::DataNode(1)).unwrap();
    cluster.wait_healthy(LIMIT).unwrap();
    subject.wait_progress(&cluster).unwrap();

    say("the sink's directory is full (quota)");
    let before = subject.restored(&cluster).unwrap();
    cluster.run_tool(ADMIN, &["-setSpaceQuota", "1", "/out"]).unwrap();
    wait_more("the job is restarted", before, || subject.restored(&cluster));
    cluster.run_tool(ADMIN, &["-clrSpaceQuota", "/out"]).unwrap();
    subject.wait_progress(&cluster).unwrap();

    subject.ends_well(&cluster).unwrap();
}

/// Waits until no checkpoint has been completed for some seconds: what happened to the file system has come through.
fn wait_still(cluster: &HadoopCluster, subject: &Subject) {
    let mut last = (0, std::time::Instant::now());
    wait::until("checkpoints stand still", LIMIT, || {
        let now =
            subject.application.checkpoints(cluster, &subject.job).map_or(last.0, |checkpoints| checkpoints.newest);
        if now > last.0 {
            last = (now, std::time::Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(4)).then_some(())
    })
    .unwrap();
}
