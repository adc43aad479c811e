//! Exactly once through real kills: while windowed, keyed jobs write through the file sink, workers, TaskExecutors and
//! NodeManagers are killed at random; the output must equal the one that was computed without any fault, record for record.
//!
//! `FLUMEN_CHAOS_SEED` repeats the choices of a run, `FLUMEN_CHAOS_KILLS` is how many there are (default 12).

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flumen_itests::binaries::binary;
use flumen_itests::flink::{self, Flink, Running};
use flumen_itests::hadoop::{Daemon, HadoopCluster};
use flumen_itests::job::Gate;
use flumen_itests::process::{self, ContainerProcess};
use flumen_itests::random::Random;
use flumen_itests::stateful::{differences, expected_rows};
use flumen_itests::traces::{containers, wait_nothing_left};
use flumen_itests::{say, wait};

const LIMIT: Duration = Duration::from_secs(300);
const EVENTS: u64 = 400_000;
const TASKEXECUTOR: &str = "flumen-taskexecutor";
const WORKER: &str = "itest-stateful";

struct Job {
    backend: &'static str,
    application: String,
    client: Running,
}

fn start(cluster: &HadoopCluster, backend: &'static str, unaligned: bool, gate: &Gate) -> Job {
    let hdfs = cluster.hdfs_url();
    let options = format!(
        "-D state.backend.type={backend} -D execution.checkpointing.interval=300ms \
         -D execution.checkpointing.unaligned.enabled={unaligned} \
         -D execution.checkpointing.dir={hdfs}/checkpoints -D execution.checkpointing.local-backup.enabled=true \
         -D restart-strategy.type=fixed-delay -D restart-strategy.fixed-delay.attempts=1000 \
         -D restart-strategy.fixed-delay.delay=100ms -D yarn.maximum-failed-containers=1000"
    );
    let mut client = Flink::on(cluster)
        .args("run -m yarn-cluster -yjm 256m -ytm 384m -p 2")
        .args(&options)
        .arg(binary("itest-stateful"))
        .args(&format!("--count {EVENTS} --gate {} --output {hdfs}/out/{backend}", gate.path().display()))
        .limit(LIMIT * 5)
        .spawn();
    let application = client.wait_printed("an application id", LIMIT, flink::application_id).unwrap();
    client.wait_printed("the job runs", LIMIT, |text| text.contains("RUNNING").then_some(())).unwrap();
    Job { backend, application, client }
}

impl Job {
    /// Completed checkpoints, as the JobManager says.
    fn checkpoints(&self, cluster: &HadoopCluster) -> Result<u64, String> {
        let ask = |path: &str| cluster.yarn().through_proxy(&self.application, path).map_err(|e| format!("{e:#}"));
        let jobs = ask("/jobs/overview")?;
        let id = jobs["jobs"][0]["jid"].as_str().ok_or_else(|| jobs.to_string())?.to_owned();
        let checkpoints = ask(&format!("/jobs/{id}/checkpoints"))?;
        checkpoints["counts"]["completed"].as_u64().ok_or_else(|| checkpoints.to_string())
    }

    /// Waits until the job has completed another checkpoint: it has got over what happened.
    fn wait_progress(&self, cluster: &HadoopCluster) {
        let before = wait::until_ok("the job's checkpoints", LIMIT, || self.checkpoints(cluster)).unwrap();
        let what = format!("{} completes a checkpoint after number {before}", self.backend);
        wait::until_ok(&what, LIMIT, || match self.checkpoints(cluster)? {
            now if now > before => Ok(()),
            now => Err(now.to_string()),
        })
        .unwrap();
    }

    fn processes(&self, program: &str) -> Vec<ContainerProcess> {
        process::of_application(&self.application).into_iter().filter(|process| process.program == program).collect()
    }

    /// The node of its ApplicationMaster, which is not to be lost here.
    fn master_node(&self, cluster: &HadoopCluster) -> Option<usize> {
        let all = containers(cluster, &self.application).ok()?;
        all.into_iter().find(|(_, id)| id.ends_with("_000001")).map(|(node, _)| node)
    }
}

/// Kills something of a job and says what.
fn kill(cluster: &mut HadoopCluster, job: &Job, all: &[Job], random: &mut Random) -> String {
    match random.below(5) {
        0 | 1 => format!("worker {} of {}", kill_one(job, WORKER, random), job.backend),
        2 | 3 => format!("TaskExecutor {} of {}", kill_one(job, TASKEXECUTOR, random), job.backend),
        _ => {
            let masters: Vec<usize> = all.iter().filter_map(|job| job.master_node(cluster)).collect();
            let free: Vec<usize> = (1..=cluster.nodes()).filter(|node| !masters.contains(node)).collect();
            let node = free[random.index(free.len()).expect("two masters leave one of three nodes")];
            let all = all.iter().flat_map(|job| containers(cluster, &job.application).unwrap());
            let lost: Vec<String> = all.filter(|(on, _)| *on == node).map(|(_, container)| container).collect();
            cluster.kill(Daemon::NodeManager(node)).unwrap();
            // The node is gone with all that ran on it, not only its NodeManager.
            for process in lost.iter().flat_map(|container| process::of_container(container)) {
                process.kill().unwrap();
            }
            cluster.restart(Daemon::NodeManager(node)).unwrap();
            format!("node {node}")
        }
    }
}

/// Kills one of a job's processes as soon as there is one, and gives its number.
fn kill_one(job: &Job, program: &str, random: &mut Random) -> u32 {
    let running = || {
        let running = job.processes(program);
        random.index(running.len()).map(|index| running[index].clone())
    };
    let victim = wait::until(&format!("a {program} of {}", job.backend), LIMIT, running).unwrap();
    victim.kill().unwrap();
    victim.pid
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn what_jobs_write_is_exactly_right_whatever_is_killed() {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("FLUMEN_CHAOS_SEED").unwrap_or(clock);
    let kills = number("FLUMEN_CHAOS_KILLS").unwrap_or(12);
    say(&format!("FLUMEN_CHAOS_SEED={seed}"));
    let mut random = Random::new(seed);
    let mut cluster = HadoopCluster::builder().nodes(3).node_resources(4096, 8).start().unwrap();
    let gate = Gate::closed().unwrap();
    let backends: &[&'static str] = if cfg!(feature = "rocksdb") { &["hashmap", "rocksdb"] } else { &["hashmap"] };
    // One of the jobs lets its barriers overtake records.
    let unaligned = backends[random.index(backends.len()).unwrap()];
    say(&format!("unaligned checkpoints: {unaligned}"));
    let mut jobs: Vec<Job> =
        backends.iter().map(|backend| start(&cluster, backend, *backend == unaligned, &gate)).collect();
    jobs.iter().for_each(|job| job.wait_progress(&cluster));

    for number in 1..=kills {
        let victim = random.index(jobs.len()).unwrap();
        let what = kill(&mut cluster, &jobs[victim], &jobs, &mut random);
        say(&format!("kill {number} of {kills}: {what}"));
        // Now and then the next blow falls while the last one is still being recovered from.
        if random.below(3) > 0 {
            jobs.iter().for_each(|job| job.wait_progress(&cluster));
        }
    }

    jobs.iter().for_each(|job| job.wait_progress(&cluster));
    gate.open().unwrap();
    let expected = expected_rows(EVENTS);
    for job in jobs.drain(..) {
        let outcome = job.client.wait(LIMIT * 2).succeeded();
        let written = cluster.hdfs().read_all(&format!("/out/{}", job.backend)).unwrap();
        assert_eq!(differences(&expected, &written), "", "{}, FLUMEN_CHAOS_SEED={seed}\n{outcome}", job.backend);
        wait_nothing_left(&cluster, &job.application, LIMIT).unwrap();
    }
}
