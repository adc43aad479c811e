//! Whole applications with `high-availability: zookeeper` on a real cluster and a real ensemble of three servers.

#![cfg(feature = "zookeeper")]
#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use flumen_fs::{FileSystems, FsOptions};
use flumen_ha::{HaSettings, Leader, open};
use flumen_itests::binaries::binary;
use flumen_itests::flink::Flink;
use flumen_itests::hadoop::{HadoopCluster, ZooKeeper};
use flumen_itests::job::Gate;
use flumen_itests::process;
use flumen_itests::stateful::{differences, expected_rows};
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::{say, wait};
use flumen_model::config::Configuration;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(300);
/// The job lasts for minutes while its gate is closed.
const EVENTS: u64 = 400_000;

static CLUSTER: LazyLock<HadoopCluster> =
    LazyLock::new(|| HadoopCluster::builder().node_resources(12_288, 16).start().unwrap());
static ENSEMBLE: LazyLock<Mutex<ZooKeeper>> = LazyLock::new(|| Mutex::new(ZooKeeper::start(3).unwrap()));

fn settings() -> Vec<(&'static str, String)> {
    vec![
        ("high-availability", "zookeeper".to_owned()),
        ("high-availability.storageDir", format!("{}/ha", CLUSTER.hdfs_url())),
        ("high-availability.zookeeper.quorum", ENSEMBLE.lock().unwrap().quorum()),
        ("high-availability.zookeeper.path.root", "/streams".to_owned()),
        ("high-availability.zookeeper.client.connection-timeout", "2s".to_owned()),
        ("high-availability.zookeeper.client.retry-wait", "200ms".to_owned()),
        ("high-availability.zookeeper.client.max-retry-attempts", "20".to_owned()),
    ]
}

/// All of them as flags, with those of checkpoints.
fn options() -> String {
    let settings: Vec<String> = settings().iter().map(|(key, value)| format!("-D {key}={value}")).collect();
    format!("{} -D yarn.application-attempts=2 {}", settings.join(" "), checkpoints())
}

fn checkpoints() -> String {
    format!(
        "-D execution.checkpointing.dir={}/checkpoints -D execution.checkpointing.interval=200ms",
        CLUSTER.hdfs_url()
    )
}

/// What is kept of a cluster.
fn leader(cluster: &str) -> Option<Leader> {
    let mut conf = Configuration::new();
    for (key, value) in settings() {
        conf.set(key, value);
    }
    let settings = HaSettings::read(&conf, cluster).unwrap();
    let store = open(&settings, &FileSystems::new(FsOptions::default()).unwrap()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let read = || runtime.block_on(store.leader()).map_err(|error| error.to_string());
    wait::until_ok("an answer of ZooKeeper", LIMIT, read).unwrap()
}

fn kept_files() -> Vec<String> {
    let entries = CLUSTER.hdfs().tree("/ha").unwrap_or_default();
    entries.into_iter().map(|entry| entry.path).collect()
}

fn arguments(name: &str, gate: &Gate) -> String {
    format!("--count {EVENTS} --gate {} --output {}/out/{name}", gate.path().display(), CLUSTER.hdfs_url())
}

fn pids(application: &str, program: &str) -> Vec<u32> {
    let processes = process::of_application(application).into_iter();
    processes.filter(|process| process.program == program).map(|process| process.pid).collect()
}

fn ask(application: &str, path: &str) -> Result<Value, String> {
    CLUSTER.yarn().through_proxy(application, path).map_err(|error| format!("{error:#}"))
}

fn wait_job(application: &str, status: &str) -> String {
    wait::until_ok(&format!("a job that is {status}"), LIMIT, || {
        let jobs = ask(application, "/jobs")?;
        let all = jobs["jobs"].as_array().ok_or_else(|| jobs.to_string())?;
        let job = all.iter().find(|job| job["status"] == status).and_then(|job| job["id"].as_str());
        job.map(str::to_owned).ok_or_else(|| jobs.to_string())
    })
    .unwrap()
}

/// The job's checkpoints, once one after `before` is complete.
fn wait_checkpoint_after(application: &str, job: &str, before: u64) -> (u64, Value) {
    wait::until_ok(&format!("a checkpoint after {before}"), LIMIT, || {
        let checkpoints = ask(application, &format!("/jobs/{job}/checkpoints"))?;
        let id = checkpoints["latest"]["completed"]["id"].as_u64().filter(|id| *id > before);
        id.map(|id| (id, checkpoints.clone())).ok_or_else(|| checkpoints.to_string())
    })
    .unwrap()
}

fn output_is_exact(name: &str) {
    let written = CLUSTER.hdfs().read_all(&format!("/out/{name}")).unwrap();
    assert_eq!(differences(&expected_rows(EVENTS), &written), "", "{name}");
}

#[test]
fn a_job_survives_its_applicationmaster_while_a_server_of_the_ensemble_is_lost() {
    let gate = Gate::closed().unwrap();
    let started = Flink::on(&CLUSTER).args("run -d -m yarn-cluster -yjm 256m -ytm 384m -p 2").args(&options());
    let started = started.arg(binary("itest-stateful")).args(&arguments("killed", &gate)).limit(LIMIT).run();
    let application = started.succeeded().application_id().unwrap();
    let job = wait_job(&application, "RUNNING");
    let (newest, _) = wait_checkpoint_after(&application, &job, 1);
    let details = ask(&application, &format!("/jobs/{job}")).unwrap();
    let workers = pids(&application, "itest-stateful");
    let first = leader(&application).unwrap();

    let lost = {
        let mut ensemble = ENSEMBLE.lock().unwrap();
        let lost = ensemble.leader().unwrap();
        ensemble.kill(lost).unwrap();
        lost
    };
    let [master] = pids(&application, "flumen-appmaster")[..] else { panic!("one ApplicationMaster") };
    process::of_application(&application).into_iter().find(|process| process.pid == master).unwrap().kill().unwrap();
    wait::until("the next leader", LIMIT, || leader(&application).filter(|next| next.epoch > first.epoch)).unwrap();
    let (id, checkpoints) = wait_checkpoint_after(&application, &job, newest);
    say(&format!("checkpoint {newest} before, {id} after: {}", checkpoints["counts"]));
    assert_eq!(checkpoints["counts"]["restored"], 0, "{checkpoints}");
    assert!(checkpoints["counts"]["completed"].as_u64() > Some(newest), "they go on being counted: {checkpoints}");
    assert_eq!(pids(&application, "itest-stateful"), workers);
    let taken_over = ask(&application, &format!("/jobs/{job}")).unwrap();
    assert_eq!(taken_over["start-time"], details["start-time"]);

    ENSEMBLE.lock().unwrap().launch(lost).unwrap();
    gate.open().unwrap();
    let ended = CLUSTER.yarn().wait_ended(&application, LIMIT).unwrap();
    assert_eq!(ended.final_status, "SUCCEEDED", "{}", ended.diagnostics);
    output_is_exact("killed");
    wait_nothing_left(&CLUSTER, &application, LIMIT).unwrap();
    assert_eq!(leader(&application), None);
    assert!(kept_files().iter().all(|path| !path.contains(&application)), "{:?}", kept_files());
}

fn session(more: &str) -> Flink {
    Flink::on(&CLUSTER).arg("yarn-session").args("-d -jm 256m -tm 384m -s 1").args(&options()).args(more).limit(LIMIT)
}

#[test]
fn a_name_belongs_to_one_session_at_a_time_and_the_next_one_goes_on_with_what_is_left() {
    let first = session("-z etl").run().succeeded().application_id().unwrap();
    let gate = Gate::closed().unwrap();
    let flink = Flink::on(&CLUSTER).args(&format!("run -d -yid {first} -p 1")).args(&checkpoints());
    let flink = flink.arg(binary("itest-stateful")).args(&arguments("inherited", &gate)).limit(LIMIT);
    let _ = flink.run().succeeded();
    let job = wait_job(&first, "RUNNING");
    wait_checkpoint_after(&first, &job, 1);

    let _ = session("-z etl").run().failed_with(&["etl", &first, "high-availability.cluster-id"]);
    let _ = session("-D high-availability.zookeeper.client.acl=creator").run().failed_with(&["client.acl"]);
    wait_job(&first, "RUNNING");

    // Nobody was there to clean up.
    CLUSTER.yarn().kill(&first).unwrap();
    CLUSTER.yarn().wait_ended(&first, LIMIT).unwrap();
    assert!(leader("etl").is_some() && kept_files().iter().any(|path| path.contains("/etl/")), "{:?}", kept_files());

    let second = session("-z etl").run().succeeded().application_id().unwrap();
    assert_eq!(wait_job(&second, "RUNNING"), job);
    gate.open().unwrap();
    assert_eq!(wait_job(&second, "FINISHED"), job);
    output_is_exact("inherited");
    let stopped = Flink::on(&CLUSTER).arg("yarn-session").args(&format!("-id {second}")).say("stop\n").run();
    let _ = stopped.succeeded();
    wait_nothing_left(&CLUSTER, &second, LIMIT).unwrap();
    assert_eq!(leader("etl"), None);
    assert!(kept_files().iter().all(|path| !path.contains("/etl")), "{:?}", kept_files());
}
