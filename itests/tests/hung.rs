//! Nobody dies: something hangs or is cut off, others take its place, and it comes back. Then there is still one leader, each
//! record is in the output once, and what came back ends by itself.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flumen_itests::clock::Clock;
use flumen_itests::cut::Divide;
use flumen_itests::hadoop::{Daemon, HadoopCluster, Site};
use flumen_itests::process::{self, ContainerProcess};
use flumen_itests::subject::{LIMIT, Plan, Subject, Untouched, WORKER};
use flumen_itests::watched::{MASTER, TASKEXECUTOR};
use flumen_itests::{say, wait};
use rustix::process::Signal;

/// The jobs last for minutes while their gate is closed.
const EVENTS: u64 = 600_000;
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

/// A subject that beats well more often than YARN here insists on.
fn start(cluster: &HadoopCluster, name: &str, shape: &str, options: &str) -> Subject {
    let flags = format!("{shape} -D yarn.heartbeat.interval=1s {options}");
    Plan::new(name, EVENTS, &flags).start(cluster).unwrap()
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
    let hung = start(&cluster, "hung", shape, often);
    let cut_off = start(&cluster, "cut-off", shape, &format!("{way} {often}"));
    // Nothing but YARN's silence can tell this one's ApplicationMaster that it has a successor.
    let idle = start(&cluster, "cut-off-idle", shape, &format!("{way} {never}"));
    let jobs = [&hung, &cut_off, &idle];
    for job in [&hung, &cut_off] {
        job.wait_progress(&cluster).unwrap();
    }
    let masters = jobs.map(|job| job.application.master().unwrap());
    let workers = jobs.map(Subject::workers);
    assert!(workers.iter().all(|workers| workers.len() == 2), "{workers:?}");

    for job in jobs {
        cluster.wait_known_to_run(&job.application.id, 3).unwrap();
    }
    others.iter().for_each(|node| cluster.go_on(*node).unwrap());
    cluster.halt(HOME).unwrap();
    masters[0].signal(Signal::STOP).unwrap();
    masters[1..].iter().for_each(|master| divide.cut_off(master.pid));

    for (job, master) in jobs.iter().zip(&masters) {
        let next = job.application.wait_master_after(&[master.pid]).unwrap();
        assert_eq!(next.program, MASTER);
        say(&format!("{} has another ApplicationMaster", job.name()));
    }
    // Those that are cut off see it while nobody kills them; the one that hung, when it goes on.
    wait_gone(&masters[1..], "the ApplicationMasters that are cut off end");
    hung.wait_progress(&cluster).unwrap();
    masters[0].signal(Signal::CONT).unwrap();
    wait_gone(&masters[..1], "the ApplicationMaster that hung ends");

    for job in [&hung, &cut_off] {
        assert_eq!(job.wait_progress(&cluster).unwrap().restored, 0, "{} was not restarted", job.name());
    }
    for (job, workers) in jobs.iter().zip(&workers) {
        assert_eq!(job.application.wait_jobs(&cluster, "RUNNING", 1).unwrap()[0], job.job);
        assert_eq!(job.workers(), *workers, "{}", job.name());
        job.application.master().unwrap();
    }
    cluster.go_on(HOME).unwrap();
    for job in [hung, cut_off, idle] {
        job.ends_well(&cluster).unwrap();
    }
}

#[test]
fn a_worker_that_hangs_is_replaced_and_so_is_a_node_which_commits_nothing_when_it_comes_back() {
    let cluster = cluster();
    let options = "-D execution.checkpointing.interval=200ms -D heartbeat.timeout=5s -D heartbeat.interval=1s";
    let job = start(&cluster, "frozen", "-ytm 1024m -p 3", options);
    job.wait_progress(&cluster).unwrap();

    let victim = job.application.processes(WORKER).remove(0);
    victim.signal(Signal::STOP).unwrap();
    wait_gone(std::slice::from_ref(&victim), "the worker that hangs is killed");
    say("the worker that hung is gone");
    let restored = job.wait_restored(&cluster, 0).unwrap();
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
    job.wait_restored(&cluster, restored).unwrap();
    job.wait_progress(&cluster).unwrap();
    say("what stood still is replaced");
    frozen.iter().for_each(|process| process.signal(Signal::CONT).unwrap());
    // Nobody kills them: their NodeManager still stands.
    wait_gone(&frozen, "what stood still ends when it goes on");
    cluster.go_on(Daemon::NodeManager(away)).unwrap();
    assert_eq!(job.application.master().unwrap(), master);
    job.ends_well(&cluster).unwrap();
}

/// The clock of everything that runs is put forward by a day, back by two, and on the right time again.
#[test]
fn a_job_does_not_notice_that_the_clock_jumps_and_a_restart_gets_over_it() {
    let cluster = cluster();
    let clock = Clock::right().unwrap();
    let preload = |of: &str| format!("-D containerized.{of}.env.LD_PRELOAD={}", clock.library().display());
    let options = format!(
        "{} {} -D execution.checkpointing.interval=200ms -D heartbeat.timeout={}s -D heartbeat.interval=1s \
         -D restart-strategy.type=fixed-delay -D restart-strategy.fixed-delay.delay=100ms",
        preload("master"),
        preload("taskmanager"),
        HEARTBEAT_TIMEOUT.as_secs()
    );
    let job = start(&cluster, "jumped", "-ytm 384m -p 2", &options);
    let untouched = job.untouched(&cluster).unwrap();
    for seconds in [DAY, -DAY, 0] {
        clock.jump_to(seconds).unwrap();
        say(&format!("the clock is {seconds} s off"));
        still_for(&cluster, &job, &untouched);
    }
    // Whoever starts now has another time than those that it talks to had when they started.
    clock.jump_to(-DAY).unwrap();
    job.application.processes(TASKEXECUTOR)[0].kill().unwrap();
    job.wait_restored(&cluster, 0).unwrap();
    // A next leader begins at its own time.
    let newest = job.wait_progress(&cluster).unwrap().newest;
    job.application.master().unwrap().kill().unwrap();
    wait::until_ok("checkpoints of the next leader, a day ago", LIMIT, || {
        match job.application.checkpoints(&cluster, &job.job)? {
            now if now.newest > newest + 3 => Ok(()),
            now => Err(format!("{now:?} after {newest}")),
        }
    })
    .unwrap();
    job.ends_well(&cluster).unwrap();
}

const DAY: i64 = 86_400;
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// Nothing happens to a job for longer than its heartbeats' time-out.
fn still_for(cluster: &HadoopCluster, job: &Subject, untouched: &Untouched) {
    let since = Instant::now();
    wait::until("heartbeats have been heard", LIMIT, || {
        job.still(cluster, untouched).unwrap();
        (since.elapsed() > HEARTBEAT_TIMEOUT).then_some(())
    })
    .unwrap();
}
