//! Whole applications with `high-availability: zookeeper` on a real cluster and a real ensemble of three servers.

#![cfg(feature = "zookeeper")]
#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::sync::{LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use flumen_fs::{FileSystems, FsOptions};
use flumen_ha::{HaSettings, Leader, open};
use flumen_itests::binaries::binary;
use flumen_itests::flink::Flink;
use flumen_itests::hadoop::{HadoopCluster, ZooKeeper};
use flumen_itests::job::Gate;
use flumen_itests::recovery::Notes;
use flumen_itests::stateful::{differences, expected_rows};
use flumen_itests::subject::Plan;
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::watched::Watched;
use flumen_itests::{say, wait};
use flumen_model::config::Configuration;
use rustix::process::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(300);
/// The job lasts for minutes while its gate is closed.
const EVENTS: u64 = 400_000;
/// Longer than a session and the attempts at one call last.
const OUTAGE: Duration = Duration::from_secs(10);

static CLUSTER: LazyLock<HadoopCluster> =
    LazyLock::new(|| HadoopCluster::builder().node_resources(12_288, 16).start().unwrap());
static ENSEMBLE: LazyLock<Mutex<ZooKeeper>> = LazyLock::new(|| Mutex::new(ZooKeeper::start(3).unwrap()));

fn settings() -> Vec<(&'static str, String)> {
    settings_of(&ENSEMBLE.lock().unwrap())
}

fn settings_of(ensemble: &ZooKeeper) -> Vec<(&'static str, String)> {
    vec![
        ("high-availability", "zookeeper".to_owned()),
        ("high-availability.storageDir", format!("{}/ha", CLUSTER.hdfs_url())),
        ("high-availability.zookeeper.quorum", ensemble.quorum()),
        ("high-availability.zookeeper.path.root", "/streams".to_owned()),
        ("high-availability.zookeeper.client.connection-timeout", "2s".to_owned()),
        ("high-availability.zookeeper.client.retry-wait", "200ms".to_owned()),
        ("high-availability.zookeeper.client.max-retry-attempts", "20".to_owned()),
    ]
}

/// All of them as flags, with those of checkpoints.
fn options() -> String {
    format!("{} {}", flags(&settings()), checkpoints())
}

fn flags(settings: &[(&str, String)]) -> String {
    let settings: Vec<String> = settings.iter().map(|(key, value)| format!("-D {key}={value}")).collect();
    format!("{} -D yarn.application-attempts=2", settings.join(" "))
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

fn counts(application: &Watched, job: &str) -> Value {
    application.ask(&CLUSTER, &format!("/jobs/{job}/checkpoints")).unwrap()["counts"].take()
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
    let id = started.succeeded().application_id().unwrap();
    let application = Watched::new(&id, LIMIT);
    let job = application.wait_jobs(&CLUSTER, "RUNNING", 1).unwrap().remove(0);
    application.wait_progress(&CLUSTER, &job).unwrap();
    let before = counts(&application, &job);
    let started = || application.ask(&CLUSTER, &format!("/jobs/{job}")).unwrap()["start-time"].take();
    let (since_start, workers) = (started(), application.pids("itest-stateful"));
    let first = leader(&id).unwrap();

    let lost = {
        let mut ensemble = ENSEMBLE.lock().unwrap();
        let lost = ensemble.leader().unwrap();
        ensemble.kill(lost).unwrap();
        lost
    };
    let killed = SystemTime::now();
    application.master().unwrap().kill().unwrap();
    wait::until("the next leader", LIMIT, || leader(&id).filter(|next| next.epoch > first.epoch)).unwrap();
    let checkpoints = application.wait_checkpoint_since(&CLUSTER, &job, killed).unwrap();
    let after = counts(&application, &job);
    say(&format!("checkpoints: {before} before, {after} after"));
    assert_eq!(checkpoints.restored, 0);
    assert!(after["completed"].as_u64() > before["completed"].as_u64(), "they go on being counted: {after}");
    assert_eq!(application.pids("itest-stateful"), workers);
    assert_eq!(started(), since_start);

    ENSEMBLE.lock().unwrap().launch(lost).unwrap();
    gate.open().unwrap();
    let ended = CLUSTER.yarn().wait_ended(&id, LIMIT).unwrap();
    assert_eq!(ended.final_status, "SUCCEEDED", "{}", ended.diagnostics);
    output_is_exact("killed");
    wait_nothing_left(&CLUSTER, &id, LIMIT).unwrap();
    assert_eq!(leader(&id), None);
    assert!(kept_files().iter().all(|path| !path.contains(&id)), "{:?}", kept_files());
}

/// With an ensemble of its own, which the other tests need whole.
#[test]
fn a_job_runs_on_while_the_ensemble_has_no_majority_and_when_its_session_has_expired() {
    let mut ensemble = ZooKeeper::start(3).unwrap();
    let session = "-D high-availability.zookeeper.client.session-timeout=4s";
    let often = "-D execution.checkpointing.interval=200ms";
    let flags = format!("-ytm 384m -p 2 {} {session} {often}", flags(&settings_of(&ensemble)));
    let subject = Plan::new("bereft", EVENTS, &flags).start(&CLUSTER).unwrap();
    let untouched = subject.untouched(&CLUSTER).unwrap();

    for number in [1, 2] {
        ensemble.kill(number).unwrap();
    }
    say("two of three servers are lost");
    let (since, notes) = (SystemTime::now() + OUTAGE, Notes::in_folder(subject.notes()));
    // Each batch of the source comes after a time that is noted.
    let flow = || (notes.longest_gap(since) > Duration::ZERO).then_some(());
    wait::until("records flow, longer than anything of it takes to give up", LIMIT, flow).unwrap();
    for number in [1, 2] {
        ensemble.launch(number).unwrap();
    }
    ensemble.wait_serving().unwrap();
    subject.still(&CLUSTER, &untouched).unwrap();

    let sessions = ensemble.sessions().unwrap();
    let master = subject.application.master().unwrap();
    master.signal(Signal::STOP).unwrap();
    wait::until_ok("its session has expired", LIMIT, || match ensemble.sessions() {
        Ok(left) if left < sessions => Ok(()),
        other => Err(format!("{other:?}, and {sessions} before")),
    })
    .unwrap();
    say("the session has expired");
    master.signal(Signal::CONT).unwrap();
    subject.still(&CLUSTER, &untouched).unwrap();
    subject.ends_well(&CLUSTER).unwrap();
}

fn session(more: &str) -> Flink {
    Flink::on(&CLUSTER).arg("yarn-session").args("-d -jm 256m -tm 384m -s 1").args(&options()).args(more).limit(LIMIT)
}

#[test]
fn a_name_belongs_to_one_session_at_a_time_and_the_next_one_goes_on_with_what_is_left() {
    let first = session("-z etl").run().succeeded().application_id().unwrap();
    let application = Watched::new(&first, LIMIT);
    let gate = Gate::closed().unwrap();
    let flink = Flink::on(&CLUSTER).args(&format!("run -d -yid {first} -p 1")).args(&checkpoints());
    let flink = flink.arg(binary("itest-stateful")).args(&arguments("inherited", &gate)).limit(LIMIT);
    let _ = flink.run().succeeded();
    let job = application.wait_jobs(&CLUSTER, "RUNNING", 1).unwrap().remove(0);
    application.wait_progress(&CLUSTER, &job).unwrap();

    let _ = session("-z etl").run().failed_with(&["etl", &first, "high-availability.cluster-id"]);
    let _ = session("-D high-availability.zookeeper.client.acl=creator").run().failed_with(&["client.acl"]);
    assert_eq!(application.jobs(&CLUSTER, "RUNNING"), Ok(vec![job.clone()]));

    // Nobody was there to clean up.
    CLUSTER.yarn().kill(&first).unwrap();
    CLUSTER.yarn().wait_ended(&first, LIMIT).unwrap();
    assert!(leader("etl").is_some() && kept_files().iter().any(|path| path.contains("/etl/")), "{:?}", kept_files());

    let second = session("-z etl").run().succeeded().application_id().unwrap();
    let application = Watched::new(&second, LIMIT);
    assert_eq!(application.wait_jobs(&CLUSTER, "RUNNING", 1).unwrap(), std::slice::from_ref(&job));
    gate.open().unwrap();
    assert_eq!(application.wait_jobs(&CLUSTER, "FINISHED", 1).unwrap(), [job]);
    output_is_exact("inherited");
    let stopped = Flink::on(&CLUSTER).arg("yarn-session").args(&format!("-id {second}")).say("stop\n").run();
    let _ = stopped.succeeded();
    wait_nothing_left(&CLUSTER, &second, LIMIT).unwrap();
    assert_eq!(leader("etl"), None);
    assert!(kept_files().iter().all(|path| !path.contains("/etl")), "{:?}", kept_files());
}
