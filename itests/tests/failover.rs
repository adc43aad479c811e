//! Two ResourceManagers and two NameNodes, of which the active ones are killed and the others take over by themselves, as
//! ZooKeeper lets them: the job goes on.

use flumen_itests::hadoop::{HadoopCluster, ZooKeeper};
use flumen_itests::subject::{LIMIT, Plan};
use flumen_itests::watched::TASKEXECUTOR;
use flumen_itests::{say, wait};

/// The job lasts for minutes while its gate is closed.
const EVENTS: u64 = 600_000;

#[test]
fn a_job_goes_on_while_the_active_resourcemanager_and_namenode_die_and_the_others_take_over() {
    let ensemble = ZooKeeper::start(1).unwrap();
    let mut cluster = HadoopCluster::builder().two_masters(&ensemble).node_resources(4096, 8).start().unwrap();
    let flags = "-ytm 384m -p 2 -D execution.checkpointing.interval=200ms";
    let subject = Plan::new("rows", EVENTS, flags).start(&cluster).unwrap();
    let (id, untouched) = (subject.application.id.clone(), subject.untouched(&cluster).unwrap());

    say("the active ResourceManager is killed");
    let resource_manager = cluster.active().1;
    cluster.kill(resource_manager).unwrap();
    cluster.wait_active().unwrap();
    wait::until_ok("the other ResourceManager has all containers", LIMIT, || {
        let seen = cluster.yarn().application(&id).map_err(|error| format!("{error:#}"))?;
        let all = seen.state == "RUNNING" && seen.containers == 3;
        if all { Ok(()) } else { Err(format!("{} with {} containers", seen.state, seen.containers)) }
    })
    .unwrap();
    subject.still(&cluster, &untouched).unwrap();

    say("the active NameNode is killed");
    let name_node = cluster.active().0;
    cluster.kill(name_node).unwrap();
    cluster.wait_active().unwrap();
    subject.still(&cluster, &untouched).unwrap();

    say("a TaskExecutor is killed: the other ResourceManager gives another container");
    subject.application.processes(TASKEXECUTOR)[0].kill().unwrap();
    subject.wait_restored(&cluster, 0).unwrap();
    subject.wait_progress(&cluster).unwrap();

    say("both come back, and take over again");
    for daemon in [name_node, resource_manager] {
        cluster.restart(daemon).unwrap();
    }
    cluster.wait_healthy(LIMIT).unwrap();
    let (name_node, resource_manager) = cluster.active();
    for daemon in [resource_manager, name_node] {
        cluster.kill(daemon).unwrap();
        cluster.wait_active().unwrap();
        subject.wait_progress(&cluster).unwrap();
    }

    subject.ends_well(&cluster).unwrap();
}
