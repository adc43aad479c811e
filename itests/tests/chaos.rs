//! Exactly once through real failures: while several jobs run in one session with high availability, anything of it and of Hadoop is
//! killed or halted at random. At the end each output must equal the one that was computed without any fault, record for
//! record, no job may be gone or have run twice, and nothing may be left.
//!
//! `FLUMEN_CHAOS_SEED` repeats the choices of a run, `FLUMEN_CHAOS_BLOWS` is how many there are (default 10);
//! `FLUMEN_CHAOS_MINUTES` goes on for that long instead. `FLUMEN_CHAOS_HA` (`filesystem` or `zookeeper`, whose servers are
//! then killed as well) and `FLUMEN_CHAOS_STANDBY` (0 or 1) are otherwise chosen by the seed.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flumen_itests::binaries::binary;
use flumen_itests::flink::Flink;
use flumen_itests::hadoop::{Daemon, HadoopCluster, Site, ZooKeeper};
use flumen_itests::job::Gate;
use flumen_itests::process::{self, ContainerProcess};
use flumen_itests::random::Random;
use flumen_itests::stateful::{differences, expected_rows};
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::watched::{MASTER, TASKEXECUTOR, Watched};
use flumen_itests::{say, wait};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(300);
const WORKER: &str = "itest-stateful";
/// Events of a job in a minute while its gate is closed.
const EVENTS_A_MINUTE: u64 = 2 * 1600 * 60;
/// How long a job must last without the blows that a number of minutes asks for.
const SPARE_MINUTES: u64 = 10;

struct Job {
    name: &'static str,
    id: String,
}

/// Where it is kept who leads, if that is not a file system.
struct Ensemble {
    servers: ZooKeeper,
    /// Nodes that stay: its own, and the one of all clusters.
    nodes: usize,
}

impl Ensemble {
    fn start() -> Ensemble {
        let servers = ZooKeeper::start(3).unwrap();
        let nodes = servers.nodes().unwrap() + 1;
        Ensemble { servers, nodes }
    }

    /// Options of an application that keeps it here.
    fn options(&self) -> String {
        format!(
            " -D high-availability=zookeeper -D high-availability.zookeeper.quorum={} \
             -D high-availability.zookeeper.client.connection-timeout=2s \
             -D high-availability.zookeeper.client.retry-wait=200ms \
             -D high-availability.zookeeper.client.max-retry-attempts=50",
            self.servers.quorum()
        )
    }

    /// Waits until nothing of any cluster is left.
    fn wait_empty(&mut self) {
        self.servers.wait_serving().unwrap();
        wait::until_ok("no node is left", LIMIT, || match self.servers.nodes() {
            Ok(nodes) if nodes == self.nodes => Ok(()),
            other => Err(format!("{other:?} instead of {}", self.nodes)),
        })
        .unwrap();
    }
}

/// A session with jobs, on a cluster of its own.
struct Chaos {
    cluster: HadoopCluster,
    ensemble: Option<Ensemble>,
    session: Watched,
    jobs: Vec<Job>,
    random: Random,
    /// What stands still until the next blow.
    halted: Vec<ContainerProcess>,
}

impl Chaos {
    fn start(mut random: Random, events: u64, gate: &Gate) -> Chaos {
        let builder = HadoopCluster::builder().nodes(3).node_resources(4096, 8);
        let cluster = builder
            .property(Site::Yarn, "yarn.resourcemanager.am.max-attempts", "100000")
            .property(Site::Yarn, "yarn.am.liveness-monitor.expiry-interval-ms", "10000")
            .start()
            .unwrap();
        let hdfs = cluster.hdfs_url();
        let chosen = random.below(3) == 0;
        let in_zookeeper = std::env::var("FLUMEN_CHAOS_HA").map_or(chosen, |kind| kind == "zookeeper");
        let ensemble = (in_zookeeper && cfg!(feature = "zookeeper")).then(Ensemble::start);
        let chosen = random.below(2);
        let standby = number("FLUMEN_CHAOS_STANDBY").unwrap_or(chosen);
        say(&format!("in ZooKeeper: {}, standby: {standby}", ensemble.is_some()));
        let options = format!(
            "-D high-availability.storageDir={hdfs}/ha -D yarn.application-attempts=100000 \
             -D yarn.application-attempt-failures-validity-interval=-1 -D yarn.heartbeat.interval=1s \
             -D heartbeat.timeout=5s -D heartbeat.interval=1s -D yarn.maximum-failed-containers=100000 \
             -D jobmanager.standby={standby}{}",
            ensemble.as_ref().map(Ensemble::options).unwrap_or_default()
        );
        let started = Flink::on(&cluster).arg("yarn-session").args("-d -jm 256m -tm 512m -s 2").args(&options).run();
        let session = Watched::new(&started.succeeded().application_id().unwrap(), LIMIT);

        let backends: &[(&str, &str)] = if cfg!(feature = "rocksdb") {
            &[("first", "hashmap"), ("second", "hashmap"), ("third", "rocksdb")]
        } else {
            &[("first", "hashmap"), ("second", "hashmap")]
        };
        // One of the jobs lets its barriers overtake records.
        let unaligned = random.index(backends.len()).unwrap();
        say(&format!("unaligned checkpoints: {}", backends[unaligned].0));
        let mut jobs = Vec::new();
        for (number, (name, backend)) in backends.iter().enumerate() {
            let options = format!(
                "-D state.backend.type={backend} -D execution.checkpointing.interval=300ms \
                 -D execution.checkpointing.unaligned.enabled={} -D execution.checkpointing.dir={hdfs}/checkpoints \
                 -D execution.checkpointing.local-backup.enabled=true -D restart-strategy.type=fixed-delay \
                 -D restart-strategy.fixed-delay.attempts=100000 -D restart-strategy.fixed-delay.delay=100ms",
                number == unaligned
            );
            let run = Flink::on(&cluster).args(&format!("run -d -yid {} -p 2", session.id)).args(&options);
            let arguments = format!("--count {events} --gate {} --output {hdfs}/out/{name}", gate.path().display());
            let outcome = run.arg(binary(WORKER)).args(&arguments).limit(LIMIT).run().succeeded();
            let printed = outcome.printed();
            let id = printed.split_once("JobID ").unwrap().1.chars().take_while(char::is_ascii_alphanumeric).collect();
            jobs.push(Job { name, id });
        }
        session.wait_jobs(&cluster, "RUNNING", jobs.len()).unwrap();
        Chaos { cluster, ensemble, session, jobs, random, halted: Vec::new() }
    }

    /// Waits until every job has completed checkpoints: they have got over what happened.
    fn wait_progress(&self) {
        for job in &self.jobs {
            self.session.wait_progress(&self.cluster, &job.id).unwrap();
        }
    }

    /// One of the processes that run a program, as soon as there is one.
    fn one(&mut self, program: &str) -> ContainerProcess {
        let (session, random) = (&self.session, &mut self.random);
        let running = || {
            let running = session.processes(program);
            random.index(running.len()).map(|index| running[index].clone())
        };
        wait::until(&format!("a {program}"), LIMIT, running).unwrap()
    }

    fn kill(&mut self, program: &str) -> String {
        let victim = self.one(program);
        victim.kill().unwrap();
        format!("{program} {} is killed", victim.pid)
    }

    fn halt(&mut self, program: &str) -> String {
        let victim = self.one(program);
        victim.signal(Signal::STOP).unwrap();
        let what = format!("{program} {} is halted", victim.pid);
        self.halted.push(victim);
        what
    }

    /// A daemon is killed, and comes back.
    fn kill_daemon(&mut self, daemon: Daemon) -> String {
        self.cluster.wait_healthy(LIMIT).unwrap();
        self.cluster.kill(daemon).unwrap();
        self.cluster.restart(daemon).unwrap();
        format!("{daemon} is killed and started again")
    }

    /// A node goes down with all that runs on it, and comes up again.
    fn kill_node(&mut self, node: usize) -> String {
        self.cluster.wait_healthy(LIMIT).unwrap();
        let lost = self.session.nodes(&self.cluster).unwrap().into_iter().filter(|(on, _)| *on == node);
        let lost: Vec<String> = lost.map(|(_, container)| container).collect();
        for daemon in [Daemon::NodeManager(node), Daemon::DataNode(node)] {
            self.cluster.kill(daemon).unwrap();
        }
        for process in lost.iter().flat_map(|container| process::of_container(container)) {
            process.kill().unwrap();
        }
        for daemon in [Daemon::NodeManager(node), Daemon::DataNode(node)] {
            self.cluster.restart(daemon).unwrap();
        }
        format!("node {node} is lost and comes back: {} containers", lost.len())
    }

    /// A server of the ensemble is killed, and comes back.
    fn kill_server(&mut self) -> String {
        let Some(Ensemble { servers, .. }) = &mut self.ensemble else { return "no server is there".to_owned() };
        servers.wait_serving().unwrap();
        let victim = self.random.index(servers.servers()).unwrap() + 1;
        servers.kill(victim).unwrap();
        servers.launch(victim).unwrap();
        format!("ZooKeeper's server {victim} is killed and started again")
    }

    /// Something happens; says what.
    fn blow(&mut self) -> String {
        for process in std::mem::take(&mut self.halted) {
            process.signal(Signal::CONT).unwrap();
        }
        let node = self.random.index(self.cluster.nodes()).unwrap() + 1;
        let kinds = if self.ensemble.is_some() { 17 } else { 15 };
        match self.random.below(kinds) {
            0 | 1 => self.kill(WORKER),
            2 | 3 => self.kill(TASKEXECUTOR),
            4 | 5 => self.kill(MASTER),
            6 => self.halt(WORKER),
            7 => self.halt(TASKEXECUTOR),
            8 => self.halt(MASTER),
            9 | 10 => self.kill_node(node),
            11 => self.kill_daemon(Daemon::NodeManager(node)),
            12 => self.kill_daemon(Daemon::ResourceManager),
            13 => self.kill_daemon(Daemon::NameNode),
            15 | 16 => self.kill_server(),
            _ => self.kill_daemon(Daemon::DataNode(node)),
        }
    }

    /// All jobs come to their end, each once and with the right output, and nothing of the session stays.
    fn ends_well(mut self, events: u64, gate: &Gate, seed: u64) {
        for process in std::mem::take(&mut self.halted) {
            process.signal(Signal::CONT).unwrap();
        }
        self.cluster.wait_healthy(LIMIT).unwrap();
        gate.open().unwrap();
        let ended = self.session.wait_jobs(&self.cluster, "FINISHED", self.jobs.len()).unwrap();
        let submitted: BTreeSet<&String> = self.jobs.iter().map(|job| &job.id).collect();
        assert_eq!(ended.iter().collect::<BTreeSet<_>>(), submitted, "FLUMEN_CHAOS_SEED={seed}");
        let all = self.session.ask(&self.cluster, "/jobs").unwrap();
        assert_eq!(all["jobs"].as_array().map(Vec::len), Some(self.jobs.len()), "{all}");
        let expected = expected_rows(events);
        for job in &self.jobs {
            let written = self.cluster.hdfs().read_all(&format!("/out/{}", job.name)).unwrap();
            assert_eq!(differences(&expected, &written), "", "{}, FLUMEN_CHAOS_SEED={seed}", job.name);
        }
        let stop = Flink::on(&self.cluster).arg("yarn-session").args(&format!("-id {}", self.session.id));
        let _ = stop.say("stop\n").run().succeeded();
        wait_nothing_left(&self.cluster, &self.session.id, LIMIT).unwrap();
        for dir in ["/ha", "/checkpoints"] {
            let kept = self.cluster.hdfs().tree(dir).unwrap_or_default();
            let files: Vec<_> = kept.iter().filter(|entry| !entry.is_dir).collect();
            assert!(files.is_empty(), "{dir}, FLUMEN_CHAOS_SEED={seed}: {files:?}");
        }
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.wait_empty();
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn what_jobs_write_is_exactly_right_whatever_is_killed() {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("FLUMEN_CHAOS_SEED").unwrap_or(clock);
    say(&format!("FLUMEN_CHAOS_SEED={seed}"));
    let minutes = number("FLUMEN_CHAOS_MINUTES");
    let blows = minutes.map_or(number("FLUMEN_CHAOS_BLOWS").unwrap_or(10), |_| u64::MAX);
    let events = EVENTS_A_MINUTE * (minutes.unwrap_or(0) + SPARE_MINUTES);
    let gate = Gate::closed().unwrap();
    let mut chaos = Chaos::start(Random::new(seed), events, &gate);
    chaos.wait_progress();

    let begun = Instant::now();
    let over = |number| number > blows || minutes.is_some_and(|minutes| begun.elapsed().as_secs() >= 60 * minutes);
    for number in (1..).take_while(|number| !over(*number)) {
        let what = chaos.blow();
        say(&format!("{:.1} s, blow {number}: {what}", begun.elapsed().as_secs_f64()));
        // Now and then the next blow falls while the last one is still being recovered from.
        if chaos.random.below(3) > 0 {
            chaos.wait_progress();
        }
    }
    chaos.ends_well(events, &gate, seed);
}
