//! What goes wrong while a job runs: in the user's code, in a worker, in a TaskExecutor, in the ApplicationMaster.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::sync::LazyLock;
use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::flink::{Flink, Outcome, Running};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::job::{Gate, expected_counts};
use flumen_itests::process::ContainerProcess;
use flumen_itests::traces::{wait_containers, wait_nothing_left};
use flumen_itests::workload::{differences, final_counts};
use flumen_itests::yarn::Application;
use flumen_itests::{flink, process, wait};

const LIMIT: Duration = Duration::from_secs(300);
const TASKEXECUTOR: &str = "flumen-taskexecutor";
const APPMASTER: &str = "flumen-appmaster";
const WORKER: &str = "itest-job";

static CLUSTER: LazyLock<HadoopCluster> =
    LazyLock::new(|| HadoopCluster::builder().nodes(2).node_resources(4096, 8).start().unwrap());

/// A run of `itest-job` on two TaskExecutors.
fn job(options: &str, arguments: &str) -> Flink {
    Flink::on(&CLUSTER)
        .args("run -m yarn-cluster -yjm 256m -ytm 384m -p 2")
        .args(options)
        .arg(binary("itest-job"))
        .args(arguments)
}

fn output(name: &str) -> String {
    format!("--output {}/tmp/{name}", CLUSTER.hdfs_url())
}

/// The output is complete and right.
#[track_caller]
fn counted(name: &str) {
    let found = final_counts(&CLUSTER.hdfs().read_all(&format!("/tmp/{name}")).unwrap()).unwrap();
    assert_eq!(differences(&expected_counts(100_000), &found), "");
}

/// The application failed, YARN was told `texts`, and nothing is left: no container, no process, no file, no half an output.
#[track_caller]
fn failed(outcome: &Outcome, output: &str, texts: &[&str]) -> Application {
    let id = outcome.application_id().unwrap();
    let application = CLUSTER.yarn().wait_ended(&id, LIMIT).unwrap();
    assert_eq!((application.state.as_str(), application.final_status.as_str()), ("FINISHED", "FAILED"), "{outcome}");
    for text in texts {
        assert!(application.diagnostics.contains(text), "{text}: {}", application.diagnostics);
    }
    wait_nothing_left(&CLUSTER, &id, LIMIT).unwrap();
    assert_eq!(CLUSTER.hdfs().tree(output).unwrap(), [], "{outcome}");
    application
}

/// Starts an attached job with a closed gate and waits until it runs; returns its application too.
fn running(options: &str, gate: &Gate, arguments: &str) -> (Running, String) {
    let mut client = job(options, &format!("--gate {} {arguments}", gate.path().display())).spawn();
    let id = client.wait_printed("an application id", LIMIT, flink::application_id).unwrap();
    client.wait_printed("the job runs", LIMIT, |text| text.contains("RUNNING").then_some(())).unwrap();
    (client, id)
}

fn processes(id: &str, program: &str) -> Vec<ContainerProcess> {
    process::of_application(id).into_iter().filter(|process| process.program == program).collect()
}

/// Waits until the job of an application has as many workers, none of which is `not`.
fn wait_workers(id: &str, count: usize, not: &ContainerProcess) -> Vec<ContainerProcess> {
    wait::until_ok("all workers run", LIMIT, || {
        let workers = processes(id, WORKER);
        if workers.len() == count && workers.iter().all(|worker| worker.pid != not.pid) {
            Ok(workers)
        } else {
            Err(format!("{workers:?}"))
        }
    })
    .unwrap()
}

#[test]
fn a_panic_is_told_to_the_user_to_yarn_and_in_the_log_with_vertex_subtask_and_text() {
    let outcome = job("", &format!("--fault panic --at 777 {}", output("panic"))).run();
    let texts = ["Checking", "/2)", "panicked at", "itest-job.rs:", "number 777 is bad"];
    let outcome = outcome.failed_with(&texts);
    let application = failed(&outcome, "/tmp/panic", &texts);
    let logs = CLUSTER.container_logs(&application.id).unwrap();
    for file in ["jobmanager.log", "worker-"] {
        let told = logs.iter().any(|log| log.file.starts_with(file) && log.text.contains("number 777 is bad"));
        assert!(told, "{file} does not name the cause");
    }
}

#[test]
fn a_worker_that_aborts_once_is_replaced_and_the_result_is_right() {
    let gate = Gate::closed().unwrap();
    let once = gate.once().display().to_string();
    let outcome =
        job("", &format!("--fault abort --at 50000 --once {once} {}", output("abort-once"))).run().succeeded();
    assert!(gate.once().is_file(), "it did abort");
    counted("abort-once");
    wait_nothing_left(&CLUSTER, &outcome.application_id().unwrap(), LIMIT).unwrap();
}

#[test]
fn a_worker_that_aborts_again_and_again_fails_the_job_with_the_cause_after_the_configured_number() {
    let restarts =
        "-D restart-strategy.failure-rate.max-failures-per-interval=2 -D restart-strategy.failure-rate.delay=100ms";
    let outcome = job(restarts, &format!("--fault abort --at 50000 {}", output("abort"))).run();
    let texts = ["SIGABRT"];
    let application = failed(&outcome.failed_with(&texts), "/tmp/abort", &texts);
    let logs = CLUSTER.container_logs(&application.id).unwrap();
    let deaths: usize =
        logs.iter().filter(|log| log.file == "taskmanager.log").map(|log| log.text.matches("SIGABRT").count()).sum();
    assert_eq!(deaths, 3, "once, and after each of two restarts");
}

#[test]
fn a_worker_that_takes_all_memory_is_stopped_before_its_container_and_the_message_says_what_to_do() {
    let options = "-D restart-strategy.type=none";
    let outcome = job(options, &format!("--fault exhaust --at 50000 {}", output("exhaust"))).run();
    let texts = ["worker used", "taskmanager.memory.process.size", "-ytm"];
    failed(&outcome.failed_with(&texts), "/tmp/exhaust", &texts);

    let gate = Gate::closed().unwrap();
    let once = gate.once().display().to_string();
    let outcome =
        job("", &format!("--fault exhaust --at 50000 --once {once} {}", output("exhaust-once"))).run().succeeded();
    counted("exhaust-once");
    wait_nothing_left(&CLUSTER, &outcome.application_id().unwrap(), LIMIT).unwrap();
}

#[test]
fn a_killed_worker_is_replaced_on_the_same_taskexecutor() {
    let gate = Gate::closed().unwrap();
    let (client, id) = running("", &gate, &output("worker-killed"));
    let before = processes(&id, TASKEXECUTOR);
    let victim = processes(&id, WORKER).pop().unwrap();
    victim.kill().unwrap();
    let workers = wait_workers(&id, 2, &victim);
    assert!(workers.iter().any(|worker| worker.container == victim.container), "{workers:?}");
    assert_eq!(processes(&id, TASKEXECUTOR), before);
    gate.open().unwrap();
    let _ = client.wait(LIMIT).succeeded();
    counted("worker-killed");
    wait_nothing_left(&CLUSTER, &id, LIMIT).unwrap();
}

#[test]
fn a_killed_taskexecutor_is_replaced_and_the_result_is_right() {
    let gate = Gate::closed().unwrap();
    let (client, id) = running("", &gate, &output("executor-killed"));
    let victim = processes(&id, TASKEXECUTOR).pop().unwrap();
    let orphan = processes(&id, WORKER).into_iter().find(|worker| worker.container == victim.container).unwrap();
    victim.kill().unwrap();
    wait_workers(&id, 2, &orphan);
    let executors = processes(&id, TASKEXECUTOR);
    assert!(
        executors.len() == 2 && executors.iter().all(|executor| executor.container != victim.container),
        "{executors:?}"
    );
    wait_containers(&CLUSTER, &id, 3, LIMIT).unwrap();
    gate.open().unwrap();
    let _ = client.wait(LIMIT).succeeded();
    counted("executor-killed");
    wait_nothing_left(&CLUSTER, &id, LIMIT).unwrap();
}

#[test]
fn a_killed_applicationmaster_ends_the_application_and_takes_everything_with_it() {
    let gate = Gate::closed().unwrap();
    let (client, id) = running("", &gate, &output("master-killed"));
    processes(&id, APPMASTER).pop().unwrap().kill().unwrap();
    let outcome = client.wait(LIMIT).failed_with(&[&id]);
    assert_eq!(CLUSTER.yarn().wait_ended(&id, LIMIT).unwrap().final_status, "FAILED", "{outcome}");
    wait::until_ok("no process is left", LIMIT, || match process::of_application(&id).as_slice() {
        [] => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .unwrap();
}

#[test]
fn a_second_attempt_of_the_applicationmaster_runs_the_job_again_to_the_right_result() {
    let gate = Gate::closed().unwrap();
    let (client, id) = running("-D yarn.application-attempts=2", &gate, &output("second-attempt"));
    let victim = processes(&id, APPMASTER).pop().unwrap();
    victim.kill().unwrap();
    wait::until_ok("a second ApplicationMaster and new workers run", LIMIT, || {
        let (masters, workers) = (processes(&id, APPMASTER), processes(&id, WORKER));
        let new = |process: &ContainerProcess| process.container.contains("_02_");
        let all_new = workers.len() == 2 && workers.iter().all(new) && masters.iter().all(new);
        if all_new { Ok(()) } else { Err(format!("{masters:?} {workers:?}")) }
    })
    .unwrap();
    gate.open().unwrap();
    let _ = client.wait(LIMIT).succeeded();
    counted("second-attempt");
    wait_nothing_left(&CLUSTER, &id, LIMIT).unwrap();
}

#[test]
fn a_job_whose_containers_fail_again_and_again_fails_with_their_causes_and_its_session_goes_on() {
    // What is staged there no other test has brought to a node.
    let staging = "/tmp/brake";
    CLUSTER.hdfs().make_dir(staging, "1777").unwrap();
    let place = format!("-D yarn.staging-directory={}{staging}", CLUSTER.hdfs_url());
    let started = Flink::on(&CLUSTER)
        .args("yarn-session -d -jm 256m -tm 384m -s 1 -D yarn.maximum-failed-containers=2")
        .args(&place)
        .run()
        .succeeded();
    let id = started.application_id().unwrap();
    let staged = CLUSTER.hdfs().tree(staging).unwrap();
    let program = staged.iter().find(|entry| entry.path.ends_with(&format!("/{TASKEXECUTOR}"))).unwrap();
    CLUSTER.hdfs().delete(&program.path).unwrap();

    let run = Flink::on(&CLUSTER).args(&format!("run -yid {id} -p 1 {place}")).arg(binary("itest-job"));
    let _ = run.run().failed_with(&[
        "3 containers failed within a minute before their TaskExecutor registered; allowed are 2",
        "resourcemanager.start-worker.max-failure-rate",
        "File does not exist",
        &program.path,
    ]);
    assert_eq!(CLUSTER.yarn().application(&id).unwrap().state, "RUNNING");
    wait_containers(&CLUSTER, &id, 1, LIMIT).unwrap();
    let stop = Flink::on(&CLUSTER).args(&format!("yarn-session -id {id} {place}")).say("stop\n").run();
    let _ = stop.succeeded();
    wait_containers(&CLUSTER, &id, 0, LIMIT).unwrap();
    let left = CLUSTER.hdfs().tree(staging).unwrap();
    assert!(left.iter().all(|entry| !entry.path.contains(&id)), "{left:?}");
}
