//! Two ResourceManagers and two NameNodes, of which the active ones are killed and the others take over: the job goes on.

use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::flink::{self, Flink};
use flumen_itests::hadoop::{Daemon, HadoopCluster};
use flumen_itests::job::Gate;
use flumen_itests::stateful::{differences, expected_rows};
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::watched::{TASKEXECUTOR, Watched};
use flumen_itests::{say, wait};

const LIMIT: Duration = Duration::from_secs(300);
/// The job lasts for minutes while its gate is closed.
const EVENTS: u64 = 600_000;
const WORKER: &str = "itest-stateful";

#[test]
fn a_job_goes_on_while_the_active_resourcemanager_and_namenode_die_and_the_others_take_over() {
    let mut cluster = HadoopCluster::builder().two_masters().node_resources(4096, 8).start().unwrap();
    let (hdfs, gate) = (cluster.hdfs_url(), Gate::closed().unwrap());
    let mut client = Flink::on(&cluster)
        .args("run -m yarn-cluster -yjm 256m -ytm 384m -p 2")
        .args(&format!("-D high-availability.storageDir={hdfs}/ha -D execution.checkpointing.dir={hdfs}/checkpoints"))
        .args("-D execution.checkpointing.interval=200ms")
        .arg(binary(WORKER))
        .args(&format!("--count {EVENTS} --gate {} --output {hdfs}/out/rows", gate.path().display()))
        .limit(LIMIT * 2)
        .spawn();
    let id = client.wait_printed("an application id", LIMIT, flink::application_id).unwrap();
    client.wait_printed("the job runs", LIMIT, |text| text.contains("RUNNING").then_some(())).unwrap();
    let application = Watched::new(&id, LIMIT);
    let job = application.wait_jobs(&cluster, "RUNNING", 1).unwrap().remove(0);
    application.wait_progress(&cluster, &job).unwrap();
    let (master, workers) = (application.master().unwrap(), application.pids(WORKER));
    let undisturbed = |cluster: &HadoopCluster| {
        let checkpoints = application.wait_progress(cluster, &job).unwrap();
        assert_eq!((checkpoints.restored, application.pids(WORKER)), (0, workers.clone()));
        assert_eq!(application.master().unwrap(), master);
    };

    say("the active ResourceManager is killed");
    cluster.kill(Daemon::ResourceManager).unwrap();
    cluster.activate(Daemon::SecondResourceManager).unwrap();
    wait::until_ok("the other ResourceManager has all containers", LIMIT, || {
        let seen = cluster.yarn().application(&id).map_err(|error| format!("{error:#}"))?;
        let all = seen.state == "RUNNING" && seen.containers == 3;
        if all { Ok(()) } else { Err(format!("{} with {} containers", seen.state, seen.containers)) }
    })
    .unwrap();
    undisturbed(&cluster);

    say("the active NameNode is killed");
    cluster.kill(Daemon::NameNode).unwrap();
    cluster.activate(Daemon::SecondNameNode).unwrap();
    undisturbed(&cluster);

    say("a TaskExecutor is killed: the other ResourceManager gives another container");
    application.processes(TASKEXECUTOR)[0].kill().unwrap();
    wait::until_ok("the job is restored", LIMIT, || match application.checkpoints(&cluster, &job)?.restored {
        0 => Err("not yet".to_owned()),
        _ => Ok(()),
    })
    .unwrap();
    application.wait_progress(&cluster, &job).unwrap();

    say("both come back, and take over again");
    for (second, first) in
        [(Daemon::SecondResourceManager, Daemon::ResourceManager), (Daemon::SecondNameNode, Daemon::NameNode)]
    {
        cluster.restart(first).unwrap();
        cluster.kill(second).unwrap();
        cluster.activate(first).unwrap();
        application.wait_progress(&cluster, &job).unwrap();
    }

    gate.open().unwrap();
    let outcome = client.wait(LIMIT).succeeded();
    let written = cluster.hdfs().read_all("/out/rows").unwrap();
    assert_eq!(differences(&expected_rows(EVENTS), &written), "", "{outcome}");
    wait_nothing_left(&cluster, &id, LIMIT).unwrap();
}
