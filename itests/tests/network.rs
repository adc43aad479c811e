//! The network is cut between two processes of an application, both of which live on: client and ApplicationMaster, ApplicationMaster
//! and TaskExecutors, two workers. Nobody is told, and no connection closes.
//!
//! Needs `nft` and the right to use it, and says so when it was not run. With `FLUMEN_LONG=1` the cut between two workers is tried, too,
//! which takes them a minute to see.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::time::{Duration, Instant};

use flumen_itests::firewall::{self, Cut, listening};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::subject::{LIMIT, Plan, Subject};
use flumen_itests::watched::TASKEXECUTOR;
use flumen_itests::{say, wait};
use serde_json::Value;

/// The job lasts for minutes while its gate is closed.
const EVENTS: u64 = 800_000;
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

#[test]
fn a_job_gets_over_a_cut_between_any_two_of_its_processes() {
    if let Err(error) = firewall::possible() {
        return say(&format!("NOT RUN: cuts of the network, which can't be cut here: {error:#}"));
    }
    // One TaskExecutor on each node: on one node workers speak without the network.
    let cluster = HadoopCluster::builder().nodes(2).node_resources(1536, 8).start().unwrap();
    let flags = format!(
        "-ytm 1024m -p 2 -D execution.checkpointing.interval=200ms -D heartbeat.interval=1s -D heartbeat.timeout={}s \
         -D restart-strategy.type=fixed-delay -D restart-strategy.fixed-delay.attempts=100 \
         -D restart-strategy.fixed-delay.delay=100ms",
        HEARTBEAT_TIMEOUT.as_secs()
    );
    let subject = Plan::new("rows", EVENTS, &flags).start(&cluster).unwrap();
    let untouched = subject.untouched(&cluster).unwrap();
    let master = subject.application.master().unwrap();
    let told = &subject.application.processes(TASKEXECUTOR)[0].arguments;
    let place = told.iter().position(|argument| argument == "--jobmanager").unwrap();
    let link: u16 = told[place + 1].rsplit_once(':').unwrap().1.parse().unwrap();
    let pages: Vec<u16> = listening(master.pid).unwrap().into_iter().filter(|port| *port != link).collect();

    say("the ApplicationMaster's pages are cut off from the client, and from YARN's proxy");
    let cut = Cut::ports(&pages).unwrap();
    assert!(subject.application.jobs(&cluster, "RUNNING").is_err());
    wait_longer_than(HEARTBEAT_TIMEOUT);
    drop(cut);
    subject.still(&cluster, &untouched).unwrap();

    say("the ApplicationMaster is cut off from its TaskExecutors");
    let cut = Cut::ports(&[link]).unwrap();
    wait::until_ok("the job does not run", LIMIT, || match state(&cluster, &subject)?.as_str() {
        Some("RUNNING") => Err("RUNNING".to_owned()),
        _ => Ok(()),
    })
    .unwrap();
    drop(cut);
    let restored = subject.wait_restored(&cluster, 0).unwrap();
    subject.wait_progress(&cluster).unwrap();
    assert_eq!(subject.application.master().unwrap(), master);

    if std::env::var("FLUMEN_LONG").is_ok_and(|value| value == "1") {
        say("two workers are cut off from each other");
        let workers = subject.workers();
        let ports: Vec<u16> = workers.iter().flat_map(|pid| listening(*pid).unwrap()).collect();
        let cut = Cut::ports(&ports).unwrap();
        subject.wait_restored(&cluster, restored).unwrap();
        drop(cut);
        subject.wait_progress(&cluster).unwrap();
    } else {
        say("NOT RUN: the cut between two workers, without FLUMEN_LONG=1");
    }
    subject.ends_well(&cluster).unwrap();
}

fn state(cluster: &HadoopCluster, subject: &Subject) -> Result<Value, String> {
    Ok(subject.application.ask(cluster, &format!("/jobs/{}", subject.job))?["state"].take())
}

fn wait_longer_than(time: Duration) {
    let since = Instant::now();
    wait::until("a while has passed", LIMIT, || (since.elapsed() > time).then_some(())).unwrap();
}
