//! How long a job is without records after a worker or a TaskExecutor of it was killed, with and without a spare one.
//!
//! `FLUMEN_KILLS` is how often each is killed (default 1). Times are told, and none is asserted.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flumen_itests::binaries::binary;
use flumen_itests::flink::{self, Flink};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::job::Gate;
use flumen_itests::stateful::{differences, expected_rows};
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::watched::{TASKEXECUTOR, Watched};
use flumen_itests::{say, wait};

const LIMIT: Duration = Duration::from_secs(300);
const WORKER: &str = "itest-stateful";
/// Of each source subtask, in events a second: a batch takes some 50 ms.
const RATE: u64 = 10_000;
/// Of each job, in subtasks and TaskExecutors.
const PARALLELISM: usize = 2;

fn milliseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// When subtasks had their first records, of those that had them after `since`.
fn first_records(notes: &Path, since: u64) -> Vec<u64> {
    let files = std::fs::read_dir(notes).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let lines = files.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    let first = lines.filter_map(|line| line.strip_suffix(" 0")?.parse().ok());
    first.filter(|time| *time > since).collect()
}

/// Kills `program` of a job so often, and tells how long it took until all of its subtasks had records again.
fn measure(cluster: &HadoopCluster, name: &str, program: &str, spares: usize, kills: u64) {
    let (hdfs, gate, notes) = (cluster.hdfs_url(), Gate::closed().unwrap(), tempfile::tempdir().unwrap());
    // Enough for two minutes, and ten seconds for each kill.
    let events = PARALLELISM as u64 * RATE * (120 + kills * 10);
    let client = Flink::on(cluster)
        .args(&format!("run -d -m yarn-cluster -yjm 256m -ytm 384m -p {PARALLELISM}"))
        .args(&format!("-D execution.checkpointing.dir={hdfs}/checkpoints -D execution.checkpointing.interval=1s"))
        .args("-D restart-strategy.type=fixed-delay -D restart-strategy.fixed-delay.attempts=100000")
        .args("-D restart-strategy.fixed-delay.delay=0s")
        .args(&format!("-D slotmanager.redundant-taskmanager-num={spares}"))
        .arg(binary(WORKER))
        .args(&format!("--count {events} --gate {} --output {hdfs}/out/{name}", gate.path().display()))
        .args(&format!("--gaps {} --rate {RATE}", notes.path().display()))
        .run()
        .succeeded();
    let application = Watched::new(&flink::application_id(&client.printed()).unwrap(), LIMIT);
    let job = application.wait_jobs(cluster, "RUNNING", 1).unwrap().remove(0);
    let mut took = Vec::new();
    for _ in 0..kills {
        application.wait_progress(cluster, &job).unwrap();
        wait::until_ok("all TaskExecutors, spare ones too, have registered", LIMIT, || {
            let registered = application.ask(cluster, "/taskmanagers")?;
            match registered["taskmanagers"].as_array().map(Vec::len) {
                Some(count) if count == PARALLELISM + spares => Ok(()),
                _ => Err(registered.to_string()),
            }
        })
        .unwrap();
        let workers = application.processes(WORKER);
        let executors = application.processes(TASKEXECUTOR).into_iter();
        // Not the spare one, which nobody would miss.
        let mut used = executors.filter(|executor| workers.iter().any(|worker| worker.container == executor.container));
        let victim = if program == WORKER { workers[0].clone() } else { used.next().unwrap() };
        let since = milliseconds();
        victim.kill().unwrap();
        let again = wait::until_ok("all subtasks have records again", LIMIT, || {
            let first = first_records(notes.path(), since);
            if first.len() >= PARALLELISM { Ok(first) } else { Err(format!("{first:?}")) }
        });
        took.push(again.unwrap().into_iter().max().unwrap() - since);
    }
    took.sort_unstable();
    let (least, median, most) = (took[0], took[took.len() / 2], took[took.len() - 1]);
    say(&format!("{name}: median {median} ms ({least} to {most}) of {kills}: {took:?}"));
    gate.open().unwrap();
    cluster.yarn().wait_ended(&application.id, LIMIT).unwrap();
    let written = cluster.hdfs().read_all(&format!("/out/{name}")).unwrap();
    assert_eq!(differences(&expected_rows(events), &written), "", "{name}");
    wait_nothing_left(cluster, &application.id, LIMIT).unwrap();
}

#[test]
fn records_flow_again_after_a_worker_or_a_taskexecutor_was_killed_with_a_spare_one_and_without() {
    let kills = std::env::var("FLUMEN_KILLS").ok().map_or(1, |kills| kills.parse().unwrap());
    let cluster = HadoopCluster::builder().node_resources(6144, 16).start().unwrap();
    measure(&cluster, "worker", WORKER, 0, kills);
    measure(&cluster, "taskexecutor", TASKEXECUTOR, 0, kills);
    measure(&cluster, "taskexecutor-with-a-spare", TASKEXECUTOR, 1, kills);
}
