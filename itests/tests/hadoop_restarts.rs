//! Hadoop's own daemons go and come back while a job runs: the job notices as little as possible.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::flink::{self, Flink, Running};
use flumen_itests::hadoop::{Daemon, HadoopCluster};
use flumen_itests::job::{Gate, expected_counts};
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::workload::{differences, final_counts};
use flumen_itests::{process, wait};

const LIMIT: Duration = Duration::from_secs(300);

/// One test at a time has the cluster: each of them breaks it.
static CLUSTER: LazyLock<Mutex<HadoopCluster>> =
    LazyLock::new(|| Mutex::new(HadoopCluster::builder().nodes(2).node_resources(4096, 8).start().unwrap()));

/// The cluster, healthy again whatever became of the test before.
fn cluster() -> MutexGuard<'static, HadoopCluster> {
    let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    for daemon in [Daemon::NameNode, Daemon::ResourceManager, Daemon::NodeManager(1), Daemon::NodeManager(2)] {
        if cluster.pid(daemon).is_none() {
            cluster.restart(daemon).unwrap();
        }
    }
    cluster.wait_healthy(LIMIT).unwrap();
    cluster
}

/// Starts an attached job of two TaskExecutors with a closed gate and waits until it runs.
fn running(cluster: &HadoopCluster, gate: &Gate, name: &str) -> (Running, String) {
    let mut client = Flink::on(cluster)
        .args("run -m yarn-cluster -yjm 256m -ytm 384m -p 2")
        .arg(binary("itest-job"))
        .arg("--gate")
        .arg(gate.path())
        .args(&format!("--output {}/tmp/{name}", cluster.hdfs_url()))
        .spawn();
    let id = client.wait_printed("an application id", LIMIT, flink::application_id).unwrap();
    client.wait_printed("the job runs", LIMIT, |text| text.contains("RUNNING").then_some(())).unwrap();
    (client, id)
}

/// The job succeeded with the right result, and nothing is left.
fn succeeded(cluster: &HadoopCluster, client: Running, id: &str, name: &str) {
    let outcome = client.wait(LIMIT).succeeded();
    let application = cluster.yarn().wait_ended(id, LIMIT).unwrap();
    assert_eq!(application.final_status, "SUCCEEDED", "{outcome}");
    let found = final_counts(&cluster.hdfs().read_all(&format!("/tmp/{name}")).unwrap()).unwrap();
    assert_eq!(differences(&expected_counts(100_000), &found), "");
    wait_nothing_left(cluster, id, LIMIT).unwrap();
}

fn workers(id: &str) -> Vec<u32> {
    let workers = process::of_application(id).into_iter().filter(|process| process.program == "itest-job");
    workers.map(|process| process.pid).collect()
}

#[test]
fn a_job_runs_on_while_the_resourcemanager_is_killed_and_comes_back() {
    let mut cluster = cluster();
    let gate = Gate::closed().unwrap();
    let (client, id) = running(&cluster, &gate, "rm-restarted");
    let before = workers(&id);
    assert_eq!(before.len(), 2);
    cluster.kill(Daemon::ResourceManager).unwrap();
    cluster.restart(Daemon::ResourceManager).unwrap();
    cluster.wait_healthy(LIMIT).unwrap();
    // The ApplicationMaster has found the new one when the new one has heard from it.
    wait::until_ok("the application is running again", LIMIT, || {
        let application = cluster.yarn().application(&id).map_err(|error| format!("{error:#}"))?;
        let back = application.state == "RUNNING" && application.containers == 3;
        if back { Ok(()) } else { Err(format!("{} with {} containers", application.state, application.containers)) }
    })
    .unwrap();
    assert_eq!(workers(&id), before, "the job was not disturbed");
    gate.open().unwrap();
    succeeded(&cluster, client, &id, "rm-restarted");
}

#[test]
fn a_job_that_ends_while_the_resourcemanager_is_away_is_reported_when_it_is_back() {
    let mut cluster = cluster();
    let gate = Gate::closed().unwrap();
    let (client, id) = running(&cluster, &gate, "rm-away");
    cluster.kill(Daemon::ResourceManager).unwrap();
    gate.open().unwrap();
    wait::until_ok("the output is there", LIMIT, || match cluster.hdfs().read_all("/tmp/rm-away") {
        Ok(text) if !text.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .unwrap();
    cluster.restart(Daemon::ResourceManager).unwrap();
    cluster.wait_healthy(LIMIT).unwrap();
    succeeded(&cluster, client, &id, "rm-away");
}

#[test]
fn a_taskexecutor_that_is_lost_while_the_resourcemanager_is_away_is_replaced_when_it_is_back() {
    let mut cluster = cluster();
    let gate = Gate::closed().unwrap();
    let (client, id) = running(&cluster, &gate, "lost-meanwhile");
    let of = |program: &str| {
        let processes = process::of_application(&id).into_iter();
        processes.filter(|process| process.program == program).collect::<Vec<_>>()
    };
    cluster.kill(Daemon::ResourceManager).unwrap();
    let victim = of("flumen-taskexecutor").pop().unwrap();
    victim.kill().unwrap();
    cluster.restart(Daemon::ResourceManager).unwrap();
    cluster.wait_healthy(LIMIT).unwrap();
    wait::until_ok("two TaskExecutors again", LIMIT, || {
        let executors = of("flumen-taskexecutor");
        let replaced = executors.len() == 2 && executors.iter().all(|executor| executor.container != victim.container);
        if replaced && workers(&id).len() == 2 { Ok(()) } else { Err(format!("{executors:?}")) }
    })
    .unwrap();
    gate.open().unwrap();
    succeeded(&cluster, client, &id, "lost-meanwhile");
}

#[test]
fn a_job_writes_its_output_although_the_namenode_was_killed_and_restarted_meanwhile() {
    let mut cluster = cluster();
    let gate = Gate::closed().unwrap();
    let (client, id) = running(&cluster, &gate, "nn-restarted");
    cluster.kill(Daemon::NameNode).unwrap();
    // The job comes to its end while there is no NameNode, and has to wait for it.
    gate.open().unwrap();
    cluster.restart(Daemon::NameNode).unwrap();
    cluster.wait_healthy(LIMIT).unwrap();
    succeeded(&cluster, client, &id, "nn-restarted");
}

#[test]
fn a_job_runs_on_while_its_nodemanagers_are_killed_and_come_back() {
    let mut cluster = cluster();
    let gate = Gate::closed().unwrap();
    let (client, id) = running(&cluster, &gate, "nm-restarted");
    let before = workers(&id);
    for node in [Daemon::NodeManager(1), Daemon::NodeManager(2)] {
        cluster.kill(node).unwrap();
        cluster.restart(node).unwrap();
    }
    cluster.wait_healthy(LIMIT).unwrap();
    assert_eq!(workers(&id), before, "containers outlive their NodeManager");
    gate.open().unwrap();
    succeeded(&cluster, client, &id, "nm-restarted");
}
