//! The harness itself: a cluster starts, survives the loss of each daemon, and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use flumen_itests::hadoop::{Daemon, HadoopCluster};
use flumen_itests::yarn::Yarn;
use flumen_itests::{process, wait};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn a_cluster_is_healthy_again_after_each_daemon_was_killed_and_restarted() {
    let mut cluster = HadoopCluster::builder().nodes(2).start().unwrap();
    cluster.hdfs().write("/tmp/text", "ä\n".as_bytes()).unwrap();

    for daemon in [Daemon::NameNode, Daemon::ResourceManager, Daemon::NodeManager(2), Daemon::DataNode(1)] {
        let before = cluster.pid(daemon).unwrap();
        cluster.kill(daemon).unwrap();
        let error = cluster.check().unwrap_err().to_string();
        assert!(error.contains(&daemon.to_string()), "{error}");
        cluster.restart(daemon).unwrap();
        cluster.wait_healthy(LIMIT).unwrap();
        assert_ne!(cluster.pid(daemon), Some(before));
        assert_eq!(cluster.hdfs().read("/tmp/text").unwrap(), "ä\n".as_bytes());
    }
    assert_eq!(cluster.hdfs().list("/tmp").unwrap().len(), 1);
    assert!(!cluster.hdfs().exists("/tmp/none").unwrap());
    assert!(cluster.yarn().applications().unwrap().is_empty());

    let (run_dir, pid) = (cluster.run_dir().to_owned(), cluster.pid(Daemon::NameNode).unwrap());
    drop(cluster);
    assert!(!run_dir.try_exists().unwrap() && !runs(pid), "a dropped cluster leaves nothing");
}

#[test]
fn a_cluster_whose_owner_is_killed_leaves_no_process_and_no_file() {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_mini-hadoop"))
        .args(["start", "--nodes", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(owner.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let addresses: Value = serde_json::from_str(&line).unwrap();
    let run_dir = std::path::PathBuf::from(addresses["run_dir"].as_str().unwrap());
    let daemons = children(owner.id());
    assert!(daemons.len() >= 4, "{daemons:?}");
    let yarn = Yarn::new(addresses["rm"].as_str().unwrap(), &[], "root");
    let application = yarn.submit("sleep", "exec sleep 600").unwrap();
    let containers = wait::until("the application's container runs", LIMIT, || {
        let found = process::of_application(&application);
        found.iter().any(|process| process.program == "sleep").then_some(found)
    })
    .unwrap();

    owner.kill().unwrap();
    owner.wait().unwrap();
    wait::until("daemons, containers and files are gone", LIMIT, || {
        let containers = containers.iter().any(|process| runs(process.pid));
        (!containers && !daemons.iter().any(|pid| runs(*pid)) && !run_dir.try_exists().unwrap()).then_some(())
    })
    .unwrap();
}

fn children(parent: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Whether a process exists that is more than a zombie.
fn runs(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}
