//! How long a job is without records after a worker or a TaskExecutor of it was killed, with and without a spare one: each once. Times
//! are told, and none is asserted; `cargo bench -p flumen-itests --bench yarn -- failures` measures many.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::recovery::workers::{self, PARALLELISM, Victim};
use flumen_itests::say;
use flumen_itests::subject::Plan;

/// Of each source subtask, in events a second: a batch takes some 50 ms.
const RATE: u64 = 10_000;
/// Enough for two minutes.
const EVENTS: u64 = PARALLELISM as u64 * RATE * 120;

fn measure(cluster: &HadoopCluster, name: &str, victim: Victim, spares: usize) {
    let subject = Plan { rate: RATE, ..Plan::new(name, EVENTS, &workers::flags(spares)) }.start(cluster).unwrap();
    let seen = workers::measure(cluster, &subject, victim, spares).unwrap();
    say(&format!("{name}: {seen:?}"));
    subject.ends_well(cluster).unwrap();
}

#[test]
fn records_flow_again_after_a_worker_or_a_taskexecutor_was_killed_with_a_spare_one_and_without() {
    let cluster = HadoopCluster::builder().node_resources(6144, 16).start().unwrap();
    measure(&cluster, "worker", Victim::Worker, 0);
    measure(&cluster, "taskexecutor", Victim::TaskExecutor, 0);
    measure(&cluster, "taskexecutor-with-a-spare", Victim::TaskExecutor, 1);
}
