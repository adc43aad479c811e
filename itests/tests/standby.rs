//! A standby JobManager on a real cluster: the ApplicationMaster dies, and its jobs have a leader before YARN has started the next
//! attempt.
//!
//! `FLUMEN_AM_KILLS` is how often the ApplicationMaster is killed (default 2). YARN's ResourceManager is stopped meanwhile, so
//! that what is seen before the next attempt was certainly not its doing.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flumen_itests::binaries::binary;
use flumen_itests::flink::{self, Flink};
use flumen_itests::hadoop::{Daemon, HadoopCluster, Site};
use flumen_itests::http::get_json;
use flumen_itests::job::Gate;
use flumen_itests::process::{ContainerProcess, signal_pid};
use flumen_itests::stateful::{differences, expected_rows};
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::watched::{MASTER, TASKEXECUTOR, Watched};
use flumen_itests::{say, wait};
use rustix::process::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(300);
/// The job lasts for minutes while its gate is closed.
const EVENTS: u64 = 400_000;
const WORKER: &str = "itest-stateful";

static CLUSTER: LazyLock<HadoopCluster> = LazyLock::new(|| {
    let builder = HadoopCluster::builder().node_resources(12_288, 16);
    builder.property(Site::Yarn, "yarn.resourcemanager.am.max-attempts", "100").start().unwrap()
});

/// The ResourceManager of YARN, which does nothing until this is dropped.
struct Stopped(u32);

impl Stopped {
    fn resource_manager() -> Self {
        let pid = CLUSTER.pid(Daemon::ResourceManager).unwrap();
        signal_pid(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal_pid(self.0, Signal::CONT).unwrap();
    }
}

fn pids(application: &str, program: &str) -> Vec<u32> {
    Watched::new(application, LIMIT).pids(program)
}

/// The ApplicationMasters (or the standbys) of an application.
fn masters(application: &str, standbys: bool) -> Vec<ContainerProcess> {
    let mut all = Watched::new(application, LIMIT).processes(MASTER);
    all.retain(|process| process.arguments.iter().any(|argument| argument == "standby") == standbys);
    all
}

/// Who leads the cluster of an application, as its data in HDFS says: epoch and address of REST.
fn leader(application: &str) -> Result<(u64, String), String> {
    let directory = format!("/ha/{application}/ha-1");
    let entries = CLUSTER.hdfs().tree(&directory).map_err(|error| format!("{error:#}"))?;
    let names = entries.iter().filter_map(|entry| entry.path.rsplit('/').next());
    let mut said = names.filter_map(|name| {
        let mut parts = name.strip_prefix("at,")?.split(',');
        let epoch = parts.next()?.parse().ok()?;
        Some((epoch, parts.nth(1)?.replace("=3a", ":")))
    });
    said.next().ok_or_else(|| format!("nobody says where the leader is: {entries:?}"))
}

/// Waits for a leader after that of `epoch`.
fn wait_leader_after(application: &str, epoch: u64) -> (u64, String) {
    wait::until_ok(&format!("a leader after {epoch}"), LIMIT, || match leader(application)? {
        (next, rest) if next > epoch => Ok((next, rest)),
        other => Err(format!("{other:?}")),
    })
    .unwrap()
}

/// Waits until the leader at `rest` has completed a checkpoint that was triggered since then; its number. Nothing was ever
/// restored.
fn wait_checkpoint_since(rest: &str, job: &str, since: SystemTime) -> u64 {
    let url = format!("http://{rest}/jobs/{job}/checkpoints");
    let since = since.duration_since(UNIX_EPOCH).unwrap().as_millis();
    wait::until_ok(&format!("a checkpoint at {rest}"), LIMIT, || {
        let checkpoints: Value = get_json(&url).map_err(|error| format!("{error:#}"))?;
        assert_eq!(checkpoints["counts"]["restored"].as_u64().unwrap_or(0), 0, "no restart: {checkpoints}");
        let completed = &checkpoints["latest"]["completed"];
        let is_new = completed["trigger_timestamp"].as_u64().is_some_and(|at| u128::from(at) >= since);
        completed["id"].as_u64().filter(|_| is_new).ok_or_else(|| checkpoints.to_string())
    })
    .unwrap()
}

/// Waits until the ApplicationMaster has a standby other than `former`; its process.
fn wait_standby(application: &str, former: Option<u32>) -> u32 {
    wait::until_ok("a standby JobManager that is registered", LIMIT, || {
        let standbys = masters(application, true);
        let [standby] = &standbys[..] else { return Err(format!("{standbys:?}")) };
        let log = CLUSTER.yarn().page_through_proxy(application, "/jobmanager/log");
        let log = log.map_err(|error| format!("{error:#}"))?;
        let registered = |line: &&str| {
            line.contains("standby JobManager registered") && line.contains(&format!("pid={}", standby.pid))
        };
        match log.lines().find(registered) {
            Some(_) if Some(standby.pid) != former => Ok(standby.pid),
            _ => Err(format!("{standby:?} is not registered: {log}")),
        }
    })
    .unwrap()
}

#[test]
fn a_standby_leads_until_yarn_has_started_the_next_attempt_and_nothing_is_restarted() {
    let kills: u64 = std::env::var("FLUMEN_AM_KILLS").ok().map_or(2, |kills| kills.parse().unwrap());
    let events = EVENTS * (1 + kills / 4);
    let gate = Gate::closed().unwrap();
    let hdfs = CLUSTER.hdfs_url();
    let mut client = Flink::on(&CLUSTER)
        .args("run -m yarn-cluster -yjm 256m -ytm 384m -p 2 -D jobmanager.standby=1")
        .args(&format!("-D high-availability.storageDir={hdfs}/ha -D yarn.application-attempts={}", kills + 1))
        .args("-D yarn.application-attempt-failures-validity-interval=-1 -D execution.checkpointing.interval=200ms")
        .args(&format!("-D execution.checkpointing.dir={hdfs}/checkpoints"))
        .arg(binary(WORKER))
        .args(&format!("--count {events} --gate {} --output {hdfs}/out/standby", gate.path().display()))
        .limit(LIMIT * 4)
        .spawn();
    let application = client.wait_printed("an application id", LIMIT, flink::application_id).unwrap();
    client.wait_printed("the job runs", LIMIT, |text| text.contains("RUNNING").then_some(())).unwrap();
    let (mut epoch, mut rest) = wait_leader_after(&application, 0);
    let jobs: Value = get_json(&format!("http://{rest}/jobs")).unwrap();
    let job = jobs["jobs"][0]["id"].as_str().unwrap().to_owned();
    wait_checkpoint_since(&rest, &job, SystemTime::now());
    let standby = wait_standby(&application, None);
    let (executors, workers) = (pids(&application, TASKEXECUTOR), pids(&application, WORKER));
    assert_eq!((executors.len(), workers.len()), (2, 2));
    for kill in 1..=kills {
        assert_eq!(wait_standby(&application, None), standby);
        let current = masters(&application, false);
        let [master] = &current[..] else { panic!("{current:?}") };
        let stopped = Stopped::resource_manager();
        let (since, time) = (Instant::now(), SystemTime::now());
        master.kill().unwrap();
        (epoch, rest) = wait_leader_after(&application, epoch);
        let led = since.elapsed();
        let checkpoint = wait_checkpoint_since(&rest, &job, time);
        let first = since.elapsed();
        wait_checkpoint_since(&rest, &job, SystemTime::now());
        assert!(masters(&application, false).is_empty(), "no other attempt has begun");
        say(&format!("kill {kill}: announced after {led:?}, checkpoint {checkpoint} after {first:?}"));
        drop(stopped);
        (epoch, rest) = wait_leader_after(&application, epoch);
        wait_checkpoint_since(&rest, &job, SystemTime::now());
        let known = (pids(&application, TASKEXECUTOR), pids(&application, WORKER));
        assert_eq!(known, (executors.clone(), workers.clone()), "they never ended");
    }
    // The standby itself is replaced.
    assert_eq!(wait_standby(&application, None), standby);
    masters(&application, true)[0].kill().unwrap();
    wait_standby(&application, Some(standby));
    wait_checkpoint_since(&rest, &job, SystemTime::now());
    assert!(client.runs(), "{}", client.printed());

    gate.open().unwrap();
    let outcome = client.wait(LIMIT).succeeded();
    assert!(outcome.printed().contains("has finished") && !outcome.printed().contains("RESTARTING"), "{outcome}");
    let written = CLUSTER.hdfs().read_all("/out/standby").unwrap();
    assert_eq!(differences(&expected_rows(events), &written), "");
    wait_nothing_left(&CLUSTER, &application, LIMIT).unwrap();
    let kept = CLUSTER.hdfs().tree("/ha").unwrap_or_default();
    assert!(kept.iter().all(|entry| !entry.path.contains(&application)), "{kept:?}");
}
