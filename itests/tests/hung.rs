//! Nobody dies: something hangs or is cut off, others take its place, and it comes back. Then there is still one leader, each
//! record is in the output once, and what came back ends by itself.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::cut::Divide;
use flumen_itests::flink::{self, Flink, Running};
use flumen_itests::hadoop::{Daemon, HadoopCluster, Site};
use flumen_itests::job::Gate;
use flumen_itests::process::{self, ContainerProcess};
use flumen_itests::stateful::{differences, expected_rows};
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::watched::{Checkpoints, MASTER, TASKEXECUTOR, Watched};
use flumen_itests::{say, wait};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(300);
/// The jobs last for minutes while their gate is closed.
const EVENTS: u64 = 600_000;
const WORKER: &str = "itest-stateful";
/// Where everything of the first test is at first.
const HOME: Daemon = Daemon::NodeManager(1);

/// One test at a time has the cluster: each of them halts some of it. YARN gives up an ApplicationMaster that is silent for 10 s.
static CLUSTER: LazyLock<Mutex<HadoopCluster>> = LazyLock::new(|| {
    let builder = HadoopCluster::builder().nodes(3).node_resources(2304, 16);
    let builder = builder.property(Site::Yarn, "yarn.am.liveness-monitor.expiry-interval-ms", "10000");
    Mutex::new(builder.start().unwrap())
});

/// The cluster, healthy again whatever became of the test before.
fn cluster() -> MutexGuard<'static, HadoopCluster> {
    let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    for node in 1..=cluster.nodes() {
        cluster.go_on(Daemon::NodeManager(node)).unwrap();
    }
    cluster.wait_healthy(LIMIT).unwrap();
    cluster
}

/// A job that runs, in an application of its own.
struct Job {
    name: &'static str,
    gate: Gate,
    client: Running,
    application: Watched,
    id: String,
}

impl Job {
    fn start(cluster: &HadoopCluster, name: &'static str, shape: &str, options: &str) -> Job {
        let (hdfs, gate) = (cluster.hdfs_url(), Gate::closed().unwrap());
        let mut client = Flink::on(cluster)
            .args("run -m yarn-cluster -yjm 256m")
            .args(shape)
            .args(&format!(
                "-D high-availability.storageDir={hdfs}/ha -D execution.checkpointing.dir={hdfs}/checkpoints"
            ))
            // Well below what YARN gives an ApplicationMaster here.
            .args("-D yarn.heartbeat.interval=1s")
            .args(options)
            .arg(binary(WORKER))
            .args(&format!("--count {EVENTS} --gate {} --output {hdfs}/out/{name}", gate.path().display()))
            .limit(LIMIT * 2)
            .spawn();
        let id = client.wait_printed("an application id", LIMIT, flink::application_id).unwrap();
        client.wait_printed("the job runs", LIMIT, |text| text.contains("RUNNING").then_some(())).unwrap();
        let application = Watched::new(&id, LIMIT);
        let id = application.wait_jobs(cluster, "RUNNING", 1).unwrap().remove(0);
        Job { name, gate, client, application, id }
    }

    fn workers(&self) -> Vec<u32> {
        self.application.pids(WORKER)
    }

    fn wait_progress(&self, cluster: &HadoopCluster) -> Checkpoints {
        self.application.wait_progress(cluster, &self.id).unwrap()
    }

    /// Lets the job come to its end: its output is exact, and nothing is left.
    fn ends_well(self, cluster: &HadoopCluster) {
        self.gate.open().unwrap();
        let outcome = self.client.wait(LIMIT).succeeded();
        let written = cluster.hdfs().read_all(&format!("/out/{}", self.name)).unwrap();
        assert_eq!(differences(&expected_rows(EVENTS), &written), "", "{}: {outcome}", self.name);
        wait_nothing_left(cluster, &self.application.id, LIMIT).unwrap();
        let kept = cluster.hdfs().tree("/ha").unwrap_or_default();
        assert!(kept.iter().all(|entry| !entry.path.contains(&self.application.id)), "{kept:?}");
    }
}

fn wait_gone(processes: &[ContainerProcess], what: &str) {
    wait::until_ok(what, LIMIT, || {
        let all = processes.iter().flat_map(|of| process::of_container(&of.container));
        match all.filter(|live| processes.iter().any(|process| process.pid == live.pid)).collect::<Vec<_>>() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}")),
        }
    })
    .unwrap();
}

/// Halted or cut off together with their NodeManager, which would kill them at YARN's word: so they live on, as on a node that
/// nobody reaches.
#[test]
fn an_applicationmaster_that_hung_or_was_cut_off_from_yarn_finds_a_successor_and_ends() {
    let cluster = cluster();
    let divide = Divide::start(cluster.scheduler_address()).unwrap();
    let way = format!("-D flink.yarn.resourcemanager.scheduler.address={}", divide.address());
    let (often, never) = ("-D execution.checkpointing.interval=200ms", "-D execution.checkpointing.interval=1h");
    let shape = "-ytm 256m -p 2";
    // Everything is on one node, whose NodeManager can be halted: the others take nothing until then.
    let others = [Daemon::NodeManager(2), Daemon::NodeManager(3)];
    others.iter().for_each(|node| cluster.halt(*node).unwrap());
    let hung = Job::start(&cluster, "hung", shape, often);
    let cut_off = Job::start(&cluster, "cut-off", shape, &format!("{way} {often}"));
    // Nothing but YARN's silence can tell this one's ApplicationMaster that it has a successor.
    let idle = Job::start(&cluster, "cut-off-idle", shape, &format!("{way} {never}"));
    let jobs = [&hung, &cut_off, &idle];
    for job in [&hung, &cut_off] {
        job.wait_progress(&cluster);
    }
    let masters = jobs.map(|job| job.application.master().unwrap());
    let workers = jobs.map(Job::workers);
    assert!(workers.iter().all(|workers| workers.len() == 2), "{workers:?}");

    others.iter().for_each(|node| cluster.go_on(*node).unwrap());
    cluster.halt(HOME).unwrap();
    masters[0].signal(Signal::STOP).unwrap();
    masters[1..].iter().for_each(|master| divide.cut_off(master.pid));

    for (job, master) in jobs.iter().zip(&masters) {
        let next = job.application.wait_master_after(&[master.pid]).unwrap();
        assert_eq!(next.program, MASTER);
        say(&format!("{} has another ApplicationMaster", job.name));
    }
    // Those that are cut off see it while nobody kills them; the one that hung, when it goes on.
    wait_gone(&masters[1..], "the ApplicationMasters that are cut off end");
    hung.wait_progress(&cluster);
    masters[0].signal(Signal::CONT).unwrap();
    wait_gone(&masters[..1], "the ApplicationMaster that hung ends");

    for job in [&hung, &cut_off] {
        assert_eq!(job.wait_progress(&cluster).restored, 0, "{} was not restarted", job.name);
    }
    for (job, workers) in jobs.iter().zip(&workers) {
        assert_eq!(job.application.wait_jobs(&cluster, "RUNNING", 1).unwrap()[0], job.id);
        assert_eq!(job.workers(), *workers, "{}", job.name);
        job.application.master().unwrap();
    }
    cluster.go_on(HOME).unwrap();
    for job in [hung, cut_off, idle] {
        job.ends_well(&cluster);
    }
}

#[test]
fn a_worker_that_hangs_is_replaced_and_so_is_a_node_which_commits_nothing_when_it_comes_back() {
    let cluster = cluster();
    let options = "-D execution.checkpointing.interval=200ms -D heartbeat.timeout=5s -D heartbeat.interval=1s";
    let job = Job::start(&cluster, "frozen", "-ytm 1024m -p 3", options);
    job.wait_progress(&cluster);

    let victim = job.application.processes(WORKER).remove(0);
    victim.signal(Signal::STOP).unwrap();
    wait_gone(std::slice::from_ref(&victim), "the worker that hangs is killed");
    say("the worker that hung is gone");
    let restored = wait_restored(&cluster, &job, 0);
    assert!(job.application.processes(TASKEXECUTOR).iter().any(|executor| executor.container == victim.container));

    // A node whose every process stands still: the ApplicationMaster's has no room for all TaskExecutors.
    let master = job.application.master().unwrap();
    let home = job.application.node_of(&cluster, &master.container).unwrap();
    let all = job.application.nodes(&cluster).unwrap();
    let away = all.iter().map(|(node, _)| *node).find(|node| *node != home).unwrap();
    let frozen: Vec<ContainerProcess> = all
        .iter()
        .filter(|(node, _)| *node == away)
        .flat_map(|(_, container)| process::of_container(container))
        .collect();
    assert!(frozen.iter().any(|process| process.program == WORKER), "{frozen:?}");
    cluster.halt(Daemon::NodeManager(away)).unwrap();
    frozen.iter().for_each(|process| process.signal(Signal::STOP).unwrap());
    wait_restored(&cluster, &job, restored);
    job.wait_progress(&cluster);
    say("what stood still is replaced");
    frozen.iter().for_each(|process| process.signal(Signal::CONT).unwrap());
    // Nobody kills them: their NodeManager still stands.
    wait_gone(&frozen, "what stood still ends when it goes on");
    cluster.go_on(Daemon::NodeManager(away)).unwrap();
    assert_eq!(job.application.master().unwrap(), master);
    job.ends_well(&cluster);
}

/// Waits until the job runs and was restored once more than `before`.
fn wait_restored(cluster: &HadoopCluster, job: &Job, before: u64) -> u64 {
    let restored =
        wait::until_ok("the job is restored", LIMIT, || match job.application.checkpoints(cluster, &job.id)? {
            now if now.restored > before => Ok(now.restored),
            now => Err(format!("{now:?}")),
        });
    job.application.wait_jobs(cluster, "RUNNING", 1).unwrap();
    restored.unwrap()
}
