//! A standby JobManager and the jobs of a session: while it leads, jobs are listed, submitted, saved, cancelled and come to
//! their end, clients find it by themselves, and the next ApplicationMaster takes all of that over. And the end: what becomes of an
//! application whose last attempt dies beside a standby.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flumen_fs::{FileSystems, FsOptions};
use flumen_ha::{HaSettings, open};
use flumen_itests::binaries::binary;
use flumen_itests::flink::{self, Flink, Outcome};
use flumen_itests::hadoop::{HadoopCluster, Site};
use flumen_itests::http::{get_json, get_text};
use flumen_itests::job::Gate;
use flumen_itests::process::{self, ContainerProcess};
use flumen_itests::stateful::{differences, expected_rows};
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::watched::{MASTER, Watched};
use flumen_itests::{say, wait};
use flumen_model::config::Configuration;
use rustix::process::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(300);
/// A job lasts for minutes while its gate is closed.
const EVENTS: u64 = 400_000;
const WORKER: &str = "itest-stateful";

static CLUSTER: LazyLock<HadoopCluster> = LazyLock::new(|| {
    let builder = HadoopCluster::builder().node_resources(12_288, 16);
    builder.property(Site::Yarn, "yarn.resourcemanager.am.max-attempts", "100").start().unwrap()
});

/// How an application keeps what its leaders need.
struct Store(Vec<(&'static str, String)>);

impl Store {
    fn files() -> Self {
        Self(vec![("high-availability.storageDir", format!("{}/ha", CLUSTER.hdfs_url()))])
    }

    /// As flags, with a standby, that many attempts, and checkpoints.
    fn options(&self, attempts: u32) -> String {
        let settings: Vec<String> = self.0.iter().map(|(key, value)| format!("-D {key}={value}")).collect();
        format!(
            "{} -D jobmanager.standby=1 -D yarn.application-attempts={attempts} \
             -D yarn.application-attempt-failures-validity-interval=-1 {}",
            settings.join(" "),
            checkpoints()
        )
    }

    /// Number and REST address of the leader.
    fn leader(&self, application: &str) -> Result<(u64, String), String> {
        let mut conf = Configuration::new();
        self.0.iter().for_each(|(key, value)| conf.set(*key, value.as_str()));
        let settings = HaSettings::read(&conf, application).unwrap();
        let store = open(&settings, &FileSystems::new(FsOptions::default()).unwrap()).unwrap();
        let leader = RUNTIME.block_on(store.leader()).map_err(|error| error.to_string())?;
        let leader = leader.ok_or("nobody leads")?;
        let rest = leader.addresses.ok_or("the leader has not said where it is")?.rest;
        Ok((leader.epoch.0, rest))
    }

    fn wait_leader_after(&self, application: &str, epoch: u64) -> (u64, String) {
        wait::until_ok(&format!("a leader after {epoch}"), LIMIT, || match self.leader(application)? {
            (next, rest) if next > epoch && get_json(&format!("http://{rest}/overview")).is_ok() => Ok((next, rest)),
            other => Err(format!("{other:?}")),
        })
        .unwrap()
    }

    /// Waits for an attempt of YARN to lead, no standby, at another address than `former`; its address.
    fn wait_attempt_after(&self, application: &str, former: &str) -> String {
        wait::until_ok("the next attempt leads", LIMIT, || match self.leader(application)? {
            (_, rest) if rest != former && log(&rest)?.contains("registered with YARN") => Ok(rest),
            other => Err(format!("{other:?}")),
        })
        .unwrap()
    }
}

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());

fn checkpoints() -> String {
    format!(
        "-D execution.checkpointing.interval=200ms -D execution.checkpointing.dir={}/checkpoints",
        CLUSTER.hdfs_url()
    )
}

fn flink(arguments: &str) -> Outcome {
    Flink::on(&CLUSTER).args(arguments).limit(LIMIT).run().succeeded()
}

fn arguments(name: &str, gate: &Gate) -> String {
    format!("--count {EVENTS} --gate {} --output {}/out/{name}", gate.path().display(), CLUSTER.hdfs_url())
}

fn output_is_exact(name: &str) {
    let written = CLUSTER.hdfs().read_all(&format!("/out/{name}")).unwrap();
    assert_eq!(differences(&expected_rows(EVENTS), &written), "", "{name}");
}

fn log(rest: &str) -> Result<String, String> {
    get_text(&format!("http://{rest}/jobmanager/log")).map_err(|error| format!("{error:#}"))
}

/// The ApplicationMasters (or the standbys) of an application.
fn masters(application: &Watched, standbys: bool) -> Vec<ContainerProcess> {
    let mut all = application.processes(MASTER);
    all.retain(|process| process.arguments.iter().any(|argument| argument == "standby") == standbys);
    all
}

fn master(application: &Watched) -> ContainerProcess {
    let masters = masters(application, false);
    let [master] = &masters[..] else { panic!("one ApplicationMaster: {masters:?}") };
    master.clone()
}

/// Waits until the leader at `rest` has a standby other than `former`; its process.
fn wait_standby(application: &Watched, rest: &str, former: Option<&ContainerProcess>) -> ContainerProcess {
    wait::until_ok("a standby JobManager that is registered", LIMIT, || {
        let standbys = masters(application, true);
        let new: Vec<_> = standbys.iter().filter(|standby| Some(standby.pid) != former.map(|of| of.pid)).collect();
        let [standby] = new[..] else { return Err(format!("{standbys:?}")) };
        let log = log(rest)?;
        let registered = |line: &str| {
            line.contains("standby JobManager registered") && line.contains(&format!("pid={}", standby.pid))
        };
        if log.lines().any(registered) { Ok(standby.clone()) } else { Err(format!("{standby:?} is not registered")) }
    })
    .unwrap()
}

/// Waits until that JobManager says so of a job.
fn wait_state(rest: &str, job: &str, state: &str) {
    wait::until_ok(&format!("{job} is {state}"), LIMIT, || {
        let view: Value = get_json(&format!("http://{rest}/jobs/{job}")).map_err(|error| format!("{error:#}"))?;
        if view["state"] == state { Ok(()) } else { Err(view["state"].to_string()) }
    })
    .unwrap();
}

/// Waits until that JobManager has completed a checkpoint of a job that began after this call.
fn wait_progress(rest: &str, job: &str) -> Value {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    wait::until_ok(&format!("a checkpoint of {job}"), LIMIT, || {
        let all: Value =
            get_json(&format!("http://{rest}/jobs/{job}/checkpoints")).map_err(|error| format!("{error:#}"))?;
        let triggered = all["latest"]["completed"]["trigger_timestamp"].as_u64();
        if triggered.is_some_and(|at| u128::from(at) >= since) { Ok(all) } else { Err(all.to_string()) }
    })
    .unwrap()
}

/// Where the web page at that place goes on without its JobManager: what it is told, and looks at before it goes.
fn elsewhere(place: &str) -> Result<String, String> {
    let shown = |error: anyhow::Error| format!("{error:#}");
    let told = get_json(&format!("http://{place}/jobmanager/elsewhere")).map_err(shown)?;
    let address = told["address"].as_str().ok_or_else(|| told.to_string())?;
    let page = get_text(&format!("http://{place}/")).map_err(shown)?;
    assert!(page.contains(&format!("name=\"elsewhere\" content=\"{address}\"")), "{address}: {page}");
    let there = get_text(&format!("{address}/ui/style.css"));
    there.map_err(shown).map(|_| address.trim_start_matches("http://").to_owned())
}

/// Waits until the page at a place goes on at another one.
fn wait_leads_to(place: &str, other: &str) {
    wait::until_ok(&format!("the page of {place} leads to {other}"), LIMIT, || match elsewhere(place)? {
        found if found == other => Ok(()),
        found => Err(found),
    })
    .unwrap();
}

fn job_id(printed: &str) -> Option<String> {
    let id: String = printed.split_once("JobID ")?.1.chars().take_while(char::is_ascii_alphanumeric).collect();
    (id.len() == 32).then_some(id)
}

/// A job in a session.
struct Job {
    name: &'static str,
    gate: Gate,
    id: String,
}

impl Job {
    fn submit(session: &str, name: &'static str) -> Self {
        let gate = Gate::closed().unwrap();
        let run = Flink::on(&CLUSTER).args(&format!("run -d -yid {session} -p 1")).args(&checkpoints());
        let outcome = run.arg(binary(WORKER)).args(&arguments(name, &gate)).limit(LIMIT).run().succeeded();
        Self { name, id: job_id(&outcome.printed()).unwrap(), gate }
    }
}

#[test]
fn while_a_standby_leads_a_session_everything_but_its_end_can_be_asked_of_it() {
    let store = Store::files();
    let options = format!("{} -D heartbeat.timeout=5s -D heartbeat.interval=1s", store.options(100));
    let started = Flink::on(&CLUSTER).args("yarn-session -d -jm 256m -tm 768m -s 5").args(&options).run().succeeded();
    let application = Watched::new(&started.application_id().unwrap(), LIMIT);
    let session = application.id.as_str();
    let attached_gate = Gate::closed().unwrap();
    let mut attached = Flink::on(&CLUSTER)
        .args(&format!("run -yid {session} -p 1"))
        .args(&checkpoints())
        .arg(binary(WORKER))
        .args(&arguments("attached", &attached_gate))
        .limit(LIMIT * 2)
        .spawn();
    let attached_job = attached.wait_printed("the job's id", LIMIT, job_id).unwrap();
    let [short, unwanted] = ["short", "unwanted"].map(|name| Job::submit(session, name));
    let (first, hung_at) = store.wait_leader_after(session, 0);
    let rest = hung_at.clone();
    for job in [&attached_job, &short.id, &unwanted.id] {
        wait_progress(&rest, job);
    }
    let standby = wait_standby(&application, &rest, None);
    let workers = application.pids(WORKER);
    // The standby's page is where the leader's goes on, and leads back.
    let page = elsewhere(&rest).unwrap();
    wait_leads_to(&page, &rest);
    let told = CLUSTER.yarn().through_proxy(session, "/jobmanager/elsewhere").unwrap();
    assert_eq!(told["address"], format!("http://{page}"));

    // The ApplicationMaster hangs. YARN doesn't notice for minutes, and names it to whoever asks.
    let hung = master(&application);
    hung.signal(Signal::STOP).unwrap();
    let (second, rest) = store.wait_leader_after(session, first);
    say(&format!("the standby leads at {rest}"));
    wait_leads_to(&page, &rest);
    wait_leads_to(&rest, &page);
    let listed = flink(&format!("list -yid {session}"));
    for job in [&attached_job, &short.id, &unwanted.id] {
        assert!(listed.printed().contains(job), "{job}: {listed}");
    }
    let late = Job::submit(session, "late");
    wait_progress(&rest, &late.id);
    let saved = flink(&format!("savepoint -yid {session} {} {}/savepoints", late.id, CLUSTER.hdfs_url()));
    assert!(saved.printed().contains("Savepoint completed"), "{saved}");
    let _ = flink(&format!("cancel -yid {session} {}", unwanted.id));
    short.gate.open().unwrap();
    wait_state(&rest, &short.id, "FINISHED");
    wait_progress(&rest, &attached_job);
    assert!(attached.runs(), "{}", attached.printed());

    // It goes on, finds that somebody else leads, and ends: YARN starts the next one, which takes over.
    hung.signal(Signal::CONT).unwrap();
    let rest = store.wait_attempt_after(session, &hung_at);
    assert!(store.leader(session).unwrap().0 > second);
    for (job, state) in [(&short.id, "FINISHED"), (&unwanted.id, "CANCELED"), (&late.id, "RUNNING")] {
        wait_state(&rest, job, state);
    }
    for job in [&attached_job, &late.id] {
        let checkpoints = wait_progress(&rest, job);
        assert_eq!(checkpoints["counts"]["restored"].as_u64().unwrap_or(0), 0, "no restart: {checkpoints}");
    }
    let stays = |pid: &u32| application.pids(WORKER).contains(pid);
    assert!(workers.iter().any(stays), "workers go on: {workers:?}");
    assert_eq!(wait_standby(&application, &rest, None), standby);
    wait_leads_to(&page, &rest);
    // YARN's proxy leads to the next attempt, too.
    assert!(application.jobs(&CLUSTER, "RUNNING").unwrap().contains(&late.id));

    // A standby that hangs is replaced.
    standby.signal(Signal::STOP).unwrap();
    let standby = wait_standby(&application, &rest, Some(&standby));
    say(&format!("the standby that hung is replaced by {}", standby.pid));
    assert_ne!(elsewhere(&rest).unwrap(), page);

    // Savepoints that can't be completed yet, while their JobManager dies: the next one is asked again.
    let (stopped, cancelled) = (Job::submit(session, "stopped"), Job::submit(session, "cancelled"));
    [&stopped, &cancelled].into_iter().for_each(|job| drop(wait_progress(&rest, &job.id)));
    let held: Vec<_> = application.processes(WORKER);
    held.iter().for_each(|worker| worker.signal(Signal::STOP).unwrap());
    let target = format!("{}/savepoints", CLUSTER.hdfs_url());
    let asked = [
        (format!("savepoint -yid {session} {} {target}", late.id), "Savepoint completed"),
        (format!("stop -yid {session} -p {target} {}", stopped.id), "Savepoint completed"),
        (format!("cancel -yid {session} -s {target} {}", cancelled.id), "Savepoint stored in"),
    ]
    .map(|(command, told)| {
        let mut asked = Flink::on(&CLUSTER).args(&command).limit(LIMIT).spawn();
        asked.wait_printed("it waits", LIMIT, |text| text.contains("Waiting for response").then_some(())).unwrap();
        (asked, told)
    });
    master(&application).kill().unwrap();
    held.iter().for_each(|worker| worker.signal(Signal::CONT).unwrap());
    for (asked, told) in asked {
        let saved = asked.wait(LIMIT).succeeded();
        assert!(saved.printed().contains(told) && saved.printed().contains("asked again"), "{saved}");
    }
    let rest = store.wait_attempt_after(session, &rest);
    wait_state(&rest, &stopped.id, "FINISHED");
    wait_state(&rest, &cancelled.id, "CANCELED");

    late.gate.open().unwrap();
    attached_gate.open().unwrap();
    let outcome = attached.wait(LIMIT).succeeded();
    assert!(outcome.printed().contains("has finished"), "{outcome}");
    wait_state(&rest, &late.id, "FINISHED");
    ["attached", short.name, late.name].into_iter().for_each(output_is_exact);

    // Who is told to end the session while a standby leads waits for the next ApplicationMaster, which ends it.
    wait_standby(&application, &rest, None);
    let (epoch, _) = store.leader(session).unwrap();
    let hung = master(&application);
    hung.signal(Signal::STOP).unwrap();
    store.wait_leader_after(session, epoch);
    let mut stop = Flink::on(&CLUSTER).arg("yarn-session").args(&format!("-id {session}")).say("stop\n").spawn();
    let waits = |text: &str| text.contains("Waiting for the next ApplicationMaster").then_some(());
    stop.wait_printed("it waits for the next ApplicationMaster", LIMIT, waits).unwrap();
    hung.signal(Signal::CONT).unwrap();
    let _ = stop.wait(LIMIT).succeeded();
    wait_nothing_left(&CLUSTER, session, LIMIT).unwrap();
    let kept = CLUSTER.hdfs().tree("/ha").unwrap_or_default();
    assert!(kept.iter().all(|entry| !entry.path.contains(session)), "{kept:?}");
}

/// Starts a job in an application of its own with two attempts, and kills its ApplicationMaster twice.
fn dies_with_its_last_attempt(store: &Store, name: &str) -> (Watched, Outcome) {
    let gate = Gate::closed().unwrap();
    let mut client = Flink::on(&CLUSTER)
        .args("run -m yarn-cluster -yjm 256m -ytm 384m -p 1")
        .args(&store.options(2))
        .arg(binary(WORKER))
        .args(&arguments(name, &gate))
        .limit(LIMIT)
        .spawn();
    let id = client.wait_printed("an application id", LIMIT, flink::application_id).unwrap();
    let application = Watched::new(&id, LIMIT);
    client.wait_printed("the job runs", LIMIT, |text| text.contains("RUNNING").then_some(())).unwrap();
    let (first, rest) = store.wait_leader_after(&id, 0);
    let job = get_json(&format!("http://{rest}/jobs")).unwrap()["jobs"][0]["id"].as_str().unwrap().to_owned();
    wait_progress(&rest, &job);
    let standby = wait_standby(&application, &rest, None);
    let workers = application.pids(WORKER);

    master(&application).kill().unwrap();
    // The standby leads, and then the next attempt, beside which it stands by again.
    let rest = store.wait_attempt_after(&id, &rest);
    assert!(store.leader(&id).unwrap().0 > first + 1, "somebody led between the two attempts");
    let checkpoints = wait_progress(&rest, &job);
    assert_eq!(checkpoints["counts"]["restored"].as_u64().unwrap_or(0), 0, "no restart: {checkpoints}");
    assert_eq!(application.pids(WORKER), workers);
    assert_eq!(wait_standby(&application, &rest, None), standby);

    // YARN ends an application with its last attempt, whoever stands by.
    master(&application).kill().unwrap();
    let outcome = client.wait(LIMIT).failed_with(&["attempt 1", "attempt 2", "137"]);
    wait::until_ok("no process is left", LIMIT, || match process::of_application(&id) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .unwrap();
    (application, outcome)
}

#[test]
fn with_its_last_attempt_an_application_ends_and_its_standby_with_it() {
    let refused = Flink::on(&CLUSTER)
        .args("run -m yarn-cluster -yjm 256m -ytm 384m -p 1")
        .args(&Store::files().options(1))
        .arg(binary(WORKER))
        .args(&arguments("refused", &Gate::closed().unwrap()))
        .run();
    let _ = refused.failed_with(&["jobmanager.standby", "yarn.application-attempts"]);
    let (application, _) = dies_with_its_last_attempt(&Store::files(), "used-up");
    let kept = CLUSTER.hdfs().tree("/ha").unwrap_or_default();
    assert!(kept.iter().all(|entry| !entry.path.contains(&application.id)), "its client removes it: {kept:?}");
}

#[cfg(feature = "zookeeper")]
#[test]
fn a_standby_leads_by_zookeepers_word_as_well() {
    let ensemble = flumen_itests::hadoop::ZooKeeper::start(1).unwrap();
    let store = Store(vec![
        ("high-availability", "zookeeper".to_owned()),
        ("high-availability.storageDir", format!("{}/ha", CLUSTER.hdfs_url())),
        ("high-availability.zookeeper.quorum", ensemble.quorum()),
    ]);
    let before = ensemble.nodes().unwrap();
    let (application, outcome) = dies_with_its_last_attempt(&store, "zookeeper");
    assert_eq!(store.leader(&application.id), Err("nobody leads".to_owned()), "its client removes it: {outcome}");
    // The node of all clusters is left.
    assert_eq!(ensemble.nodes().unwrap(), before + 1, "{outcome}");
}
