//! The attached client goes before its job does, or somebody else ends the job: what is left is what `-sae` says.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::fs::File;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::flink::{self, Flink, Running};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::job::{Gate, expected_counts};
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::workload::{differences, final_counts};
use flumen_itests::{process, wait};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(300);

static CLUSTER: LazyLock<HadoopCluster> =
    LazyLock::new(|| HadoopCluster::builder().node_resources(6144, 8).start().unwrap());

/// Starts an attached job with a closed gate and waits until it runs.
fn running(options: &str, gate: &Gate, name: &str) -> (Running, String) {
    let mut client = Flink::on(&CLUSTER)
        .args("run -m yarn-cluster -yjm 256m -ytm 384m -ys 2 -p 2")
        .args(options)
        .arg(binary("itest-job"))
        .arg("--gate")
        .arg(gate.path())
        .args(&format!("--output {}/tmp/{name}", CLUSTER.hdfs_url()))
        .spawn();
    let id = client.wait_printed("an application id", LIMIT, flink::application_id).unwrap();
    client.wait_printed("the job runs", LIMIT, |text| text.contains("RUNNING").then_some(())).unwrap();
    (client, id)
}

/// The job goes on without its client, to the right result.
fn goes_on(id: &str, gate: &Gate, name: &str) {
    assert_eq!(CLUSTER.yarn().application(id).unwrap().state, "RUNNING");
    gate.open().unwrap();
    assert_eq!(CLUSTER.yarn().wait_ended(id, LIMIT).unwrap().final_status, "SUCCEEDED");
    let found = final_counts(&CLUSTER.hdfs().read_all(&format!("/tmp/{name}")).unwrap()).unwrap();
    assert_eq!(differences(&expected_counts(100_000), &found), "");
    wait_nothing_left(&CLUSTER, id, LIMIT).unwrap();
}

/// The job was cancelled, and neither it nor half an output is left.
fn cancelled(id: &str, name: &str) {
    let application = CLUSTER.yarn().wait_ended(id, LIMIT).unwrap();
    assert_eq!(application.final_status, "KILLED", "{application:?}");
    wait_nothing_left(&CLUSTER, id, LIMIT).unwrap();
    assert_eq!(CLUSTER.hdfs().tree(&format!("/tmp/{name}")).unwrap(), []);
}

#[test]
fn a_job_goes_on_when_its_attached_client_is_killed() {
    let gate = Gate::closed().unwrap();
    let (client, id) = running("", &gate, "client-killed");
    client.signal(Signal::KILL).unwrap();
    drop(client);
    goes_on(&id, &gate, "client-killed");
}

#[test]
fn with_sae_a_job_is_cancelled_when_its_client_falls_silent() {
    let gate = Gate::closed().unwrap();
    let heartbeat = "-sae -D client.heartbeat.interval=500ms -D client.heartbeat.timeout=10s";
    let (client, id) = running(heartbeat, &gate, "client-silent");
    client.signal(Signal::KILL).unwrap();
    drop(client);
    cancelled(&id, "client-silent");
    let diagnostics = CLUSTER.yarn().application(&id).unwrap().diagnostics;
    assert!(diagnostics.contains("client"), "says why: {diagnostics}");
}

#[test]
fn ctrl_c_leaves_the_job_alone_and_says_how_to_stop_it() {
    let gate = Gate::closed().unwrap();
    let (client, id) = running("", &gate, "interrupted");
    client.signal(Signal::INT).unwrap();
    let _ = client.wait(LIMIT).failed_with(&["goes on", &format!("yarn application -kill {id}")]);
    goes_on(&id, &gate, "interrupted");
}

#[test]
fn ctrl_c_with_sae_cancels_the_job() {
    let gate = Gate::closed().unwrap();
    let (client, id) = running("-sae", &gate, "interrupted-sae");
    client.signal(Signal::INT).unwrap();
    let outcome = client.wait(LIMIT).failed_with(&["cancelled", &id]);
    assert!(CLUSTER.yarn().application(&id).unwrap().ended(), "it has ended when the client says so: {outcome}");
    cancelled(&id, "interrupted-sae");
}

#[test]
fn an_application_that_is_killed_in_yarn_ends_its_client_and_leaves_nothing() {
    let gate = Gate::closed().unwrap();
    let (client, id) = running("", &gate, "killed");
    CLUSTER.yarn().kill(&id).unwrap();
    let _ = client.wait(LIMIT).failed_with(&["cancelled"]);
    cancelled(&id, "killed");
}

#[test]
fn an_application_that_is_killed_before_its_job_runs_leaves_nothing() {
    let gate = Gate::closed().unwrap();
    let mut client = Flink::on(&CLUSTER)
        .args("run -m yarn-cluster -yjm 256m -ytm 384m")
        .arg(binary("itest-job"))
        .arg("--gate")
        .arg(gate.path())
        .spawn();
    let id = client.wait_printed("an application id", LIMIT, flink::application_id).unwrap();
    CLUSTER.yarn().kill(&id).unwrap();
    let _ = client.wait(LIMIT).failed_with(&["cancelled"]);
    wait_nothing_left(&CLUSTER, &id, LIMIT).unwrap();
}

/// A submission with a large file, interrupted by `signal` in the middle of its upload, by a user of its own.
fn interrupted_upload(user: &str, signal: Signal) -> Vec<String> {
    CLUSTER.hdfs().make_home(user).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let large: PathBuf = dir.path().join("large");
    // All zeros, so neither the disk nor the hash costs much: it is HDFS that takes its time.
    File::create(&large).unwrap().set_len(512 << 20).unwrap();
    let mut client = Flink::on(&CLUSTER)
        .env("HADOOP_USER_NAME", user)
        .args("run -m yarn-cluster -ytm 384m -yt")
        .arg(&large)
        .arg(binary("wordcount"))
        .spawn();
    let cache = format!("/user/{user}/.flink/cache");
    let uploading = || {
        let files = CLUSTER.hdfs().tree(&cache).unwrap();
        files.into_iter().find(|file| file.path.contains("/.large.") && file.path.ends_with(".tmp"))
    };
    wait::until("the upload has begun", LIMIT, uploading).unwrap();
    client.signal(signal).unwrap();
    wait::until("the client has ended", LIMIT, || (!client.runs()).then_some(())).unwrap();
    assert!(!client.wait(LIMIT).status.success());
    let submitted = CLUSTER.yarn().applications().unwrap().into_iter().filter(|application| application.user == user);
    assert_eq!(submitted.map(|application| application.id).collect::<Vec<_>>(), Vec::<String>::new());
    let files = CLUSTER.hdfs().tree(&format!("/user/{user}/.flink")).unwrap();
    files
        .into_iter()
        .filter(|file| !file.is_dir && !file.path.contains("wordcount") && !file.path.contains("flumen-"))
        .map(|file| file.path)
        .collect()
}

#[test]
fn ctrl_c_while_uploading_submits_nothing_and_removes_what_was_begun() {
    assert_eq!(interrupted_upload("carol", Signal::INT), Vec::<String>::new());
}

#[test]
fn what_a_client_that_is_killed_while_uploading_leaves_is_swept_by_a_later_one() {
    let left = interrupted_upload("dave", Signal::KILL);
    assert!(left.iter().any(|path| path.ends_with(".tmp")), "{left:?}");
    let outcome = Flink::on(&CLUSTER)
        .env("HADOOP_USER_NAME", "dave")
        .args("run -m yarn-cluster -yjm 256m -ytm 384m")
        .arg(binary("itest-job"))
        .run()
        .succeeded();
    let files = CLUSTER.hdfs().tree("/user/dave/.flink").unwrap();
    let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
    assert!(!paths.iter().any(|path| path.ends_with(".tmp")), "{paths:?}");
    let id = outcome.application_id().unwrap();
    assert!(!paths.iter().any(|path| path.contains(&id)), "{paths:?}");
    wait::until("no process is left", LIMIT, || process::of_application(&id).is_empty().then_some(())).unwrap();
}
