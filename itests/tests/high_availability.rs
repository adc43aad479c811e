//! The ApplicationMaster dies and its jobs go on: on a real cluster, without one restart and with exactly the right output.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use flumen_itests::binaries::binary;
use flumen_itests::flink::{self, Flink, Outcome};
use flumen_itests::hadoop::{HadoopCluster, Site};
use flumen_itests::job::Gate;
use flumen_itests::process;
use flumen_itests::recovery::masters;
use flumen_itests::stateful::{differences, expected_rows};
use flumen_itests::subject::{Plan, WORKER};
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::watched::{TASKEXECUTOR, Watched};
use flumen_itests::{say, wait};

const LIMIT: Duration = Duration::from_secs(300);
/// The job lasts for minutes while its gate is closed.
const EVENTS: u64 = 400_000;
/// How often the ApplicationMaster of the first test is killed.
const KILLS: u64 = 3;

static CLUSTER: LazyLock<HadoopCluster> = LazyLock::new(|| {
    let builder = HadoopCluster::builder().node_resources(12_288, 16);
    builder.property(Site::Yarn, "yarn.resourcemanager.am.max-attempts", "100").start().unwrap()
});

/// Attempts are counted for ever, so that the number of kills is what the test says.
fn options(attempts: u64) -> String {
    let hdfs = CLUSTER.hdfs_url();
    format!(
        "-D high-availability.storageDir={hdfs}/ha -D yarn.application-attempts={attempts} \
         -D yarn.application-attempt-failures-validity-interval=-1 -D execution.checkpointing.dir={hdfs}/checkpoints \
         -D execution.checkpointing.interval=200ms"
    )
}

fn flink(arguments: &str) -> Outcome {
    Flink::on(&CLUSTER).args(arguments).limit(LIMIT).run()
}

fn arguments(name: &str, events: u64, gate: &Gate) -> String {
    format!("--count {events} --gate {} --output {}/out/{name}", gate.path().display(), CLUSTER.hdfs_url())
}

/// Waits for a checkpoint that was triggered since then. Nothing was ever restored.
fn wait_checkpoint_since(application: &Watched, job: &str, since: SystemTime) -> u64 {
    let checkpoints = application.wait_checkpoint_since(&CLUSTER, job, since).unwrap();
    assert_eq!(checkpoints.restored, 0, "no restart");
    checkpoints.newest
}

/// Nothing of an application is left, nor of its data.
fn nothing_is_left(application: &str) {
    wait_nothing_left(&CLUSTER, application, LIMIT).unwrap();
    let kept = CLUSTER.hdfs().tree("/ha").unwrap_or_default();
    assert!(kept.iter().all(|entry| !entry.path.contains(application)), "{kept:?}");
}

fn output_is_exact(name: &str, events: u64) {
    let written = CLUSTER.hdfs().read_all(&format!("/out/{name}")).unwrap();
    assert_eq!(differences(&expected_rows(events), &written), "", "{name}");
}

#[test]
fn a_job_does_not_notice_that_its_applicationmaster_dies_again_and_again() {
    let flags = format!("-ytm 384m -p 3 {}", masters::flags(KILLS));
    let subject = Plan::new("killed", EVENTS, &flags).start(&CLUSTER).unwrap();
    assert_eq!((subject.application.pids(TASKEXECUTOR).len(), subject.workers().len()), (3, 3));
    for kill in 1..=KILLS {
        let seen = masters::measure(&CLUSTER, &subject).unwrap();
        say(&format!("kill {kill}: {seen:?}"));
        assert!(!seen.restarted, "{seen:?}");
    }
    let printed = subject.ends_well(&CLUSTER).unwrap();
    assert!(!printed.contains("RESTARTING"), "{printed}");
}

#[test]
fn all_jobs_of_a_session_survive_its_applicationmaster_and_none_of_them_runs_twice() {
    let started = Flink::on(&CLUSTER).arg("yarn-session").args("-d -jm 256m -tm 512m -s 2").args(&options(3)).run();
    let id = started.succeeded().application_id().unwrap();
    let application = Watched::new(&id, LIMIT);
    let run = |name: &str, gate: &Gate| {
        let flink = Flink::on(&CLUSTER).args(&format!("run -d -yid {id} -p 2"));
        let flink = flink.args("-D execution.checkpointing.interval=200ms").arg(binary(WORKER));
        let _ = flink.args(&arguments(name, EVENTS, gate)).limit(LIMIT).run().succeeded();
    };
    let (first, second) = (Gate::closed().unwrap(), Gate::closed().unwrap());
    run("survivor-1", &first);
    let job = application.wait_jobs(&CLUSTER, "RUNNING", 1).unwrap().remove(0);
    run("survivor-2", &second);
    let running = application.wait_jobs(&CLUSTER, "RUNNING", 2).unwrap();
    for job in &running {
        application.wait_progress(&CLUSTER, job).unwrap();
    }
    let workers = application.pids(WORKER);

    let killed = SystemTime::now();
    masters::kill(&application).unwrap();
    for job in &running {
        wait_checkpoint_since(&application, job, killed);
    }
    assert_eq!(application.pids(WORKER), workers);
    let listed = flink(&format!("list -yid {id}")).succeeded();
    assert!(running.iter().all(|job| listed.printed().contains(job)), "{listed}");

    // One ends; the next leader knows that.
    first.open().unwrap();
    assert_eq!(application.wait_jobs(&CLUSTER, "FINISHED", 1).unwrap(), std::slice::from_ref(&job));
    let killed = SystemTime::now();
    masters::kill(&application).unwrap();
    let other = application.wait_jobs(&CLUSTER, "RUNNING", 1).unwrap().remove(0);
    wait_checkpoint_since(&application, &other, killed);
    assert_eq!(application.jobs(&CLUSTER, "FINISHED"), Ok(vec![job]));
    second.open().unwrap();
    application.wait_jobs(&CLUSTER, "FINISHED", 2).unwrap();
    let stopped = Flink::on(&CLUSTER).arg("yarn-session").args(&format!("-id {id}")).say("stop\n").run();
    let _ = stopped.succeeded();
    output_is_exact("survivor-1", EVENTS);
    output_is_exact("survivor-2", EVENTS);
    nothing_is_left(&id);
}

#[test]
fn what_is_lost_while_there_is_no_leader_is_restarted() {
    let gate = Gate::closed().unwrap();
    let outcome = Flink::on(&CLUSTER)
        .args("run -d -m yarn-cluster -yjm 256m -ytm 384m -p 2")
        .args(&options(2))
        .args("-D restart-strategy.type=fixed-delay -D restart-strategy.fixed-delay.delay=100ms")
        .arg(binary(WORKER))
        .args(&arguments("lost-executor", EVENTS, &gate))
        .limit(LIMIT)
        .run()
        .succeeded();
    let id = outcome.application_id().unwrap();
    let application = Watched::new(&id, LIMIT);
    let job = application.wait_jobs(&CLUSTER, "RUNNING", 1).unwrap().remove(0);
    application.wait_progress(&CLUSTER, &job).unwrap();
    let killed = SystemTime::now();
    application.master().unwrap().kill().unwrap();
    application.processes(TASKEXECUTOR)[0].kill().unwrap();
    application.wait_checkpoint_since(&CLUSTER, &job, killed).unwrap();
    gate.open().unwrap();
    let ended = CLUSTER.yarn().wait_ended(&id, LIMIT).unwrap();
    assert_eq!(ended.final_status, "SUCCEEDED", "{}", ended.diagnostics);
    output_is_exact("lost-executor", EVENTS);
    nothing_is_left(&id);
}

#[test]
fn after_the_last_attempt_the_user_reads_how_each_of_them_ended() {
    let gate = Gate::closed().unwrap();
    let mut client = Flink::on(&CLUSTER)
        .args("run -m yarn-cluster -yjm 256m -ytm 384m -p 1")
        .args(&options(2))
        .arg(binary(WORKER))
        .args(&arguments("used-up", EVENTS, &gate))
        .limit(LIMIT)
        .spawn();
    let id = client.wait_printed("an application id", LIMIT, flink::application_id).unwrap();
    client.wait_printed("the job runs", LIMIT, |text| text.contains("RUNNING").then_some(())).unwrap();
    let application = Watched::new(&id, LIMIT);
    masters::kill(&application).unwrap();
    CLUSTER.yarn().wait_job_state(&id, "RUNNING", LIMIT).unwrap();
    application.master().unwrap().kill().unwrap();
    let outcome = client.wait(LIMIT);
    let _ = outcome.failed_with(&["attempt 1", "attempt 2", "137"]);
    wait::until_ok("no process is left", LIMIT, || match process::of_application(&id) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .unwrap();
}
