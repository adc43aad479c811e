//! A standby JobManager on a real cluster: the ApplicationMaster dies, and its jobs have a leader before YARN has started the next
//! attempt. YARN's ResourceManager is stopped meanwhile, so that what is seen before the next attempt was certainly not its doing.

use std::time::SystemTime;

use flumen_itests::hadoop::{HadoopCluster, Site};
use flumen_itests::recovery::standby::{masters, measure, wait_checkpoint_since, wait_leader_after, wait_standby};
use flumen_itests::recovery::{self};
use flumen_itests::say;
use flumen_itests::subject::Plan;

/// The job lasts for minutes while its gate is closed.
const EVENTS: u64 = 600_000;
const KILLS: u64 = 2;

#[test]
fn a_standby_leads_until_yarn_has_started_the_next_attempt_and_nothing_is_restarted() {
    let builder = HadoopCluster::builder().node_resources(12_288, 16);
    let cluster = builder.property(Site::Yarn, "yarn.resourcemanager.am.max-attempts", "100").start().unwrap();
    let flags = format!("-ytm 384m -p 2 -D jobmanager.standby=1 {}", recovery::masters::flags(KILLS));
    let subject = Plan::new("standby", EVENTS, &flags).start(&cluster).unwrap();
    let application = &subject.application;
    let mut leader = wait_leader_after(&cluster, application, 0).unwrap();
    subject.wait_progress(&cluster).unwrap();
    let mut standby = wait_standby(&cluster, application, None).unwrap();
    for kill in 1..=KILLS {
        let seen;
        (seen, leader) = measure(&cluster, &subject, &leader).unwrap();
        say(&format!("kill {kill}: {seen:?}"));
        assert!(!seen.restarted, "{seen:?}");
        standby = wait_standby(&cluster, application, None).unwrap();
    }
    // The standby itself is replaced.
    masters(application, true)[0].kill().unwrap();
    wait_standby(&cluster, application, Some(standby)).unwrap();
    wait_checkpoint_since(&leader.1, &subject.job, SystemTime::now()).unwrap();
    let printed = subject.ends_well(&cluster).unwrap();
    assert!(!printed.contains("RESTARTING"), "{printed}");
}
