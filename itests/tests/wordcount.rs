//! Jobs that succeed, on two nodes: right results, spread over processes and nodes, attached and detached, and what YARN is
//! told about them.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::flink::{Flink, Outcome};
use flumen_itests::hadoop::{HadoopCluster, Site};
use flumen_itests::job::{Gate, expected_counts};
use flumen_itests::traces::{wait_containers, wait_nothing_left};
use flumen_itests::workload::{Text, count_words, differences, final_counts, updated_counts};
use flumen_itests::{process, wait};

const LIMIT: Duration = Duration::from_secs(300);
const MB: u64 = 1 << 20;

/// No node has room for four TaskExecutors of 2 GB, but the cluster has it for the other tests' jobs beside them.
static CLUSTER: LazyLock<HadoopCluster> = LazyLock::new(|| {
    HadoopCluster::builder()
        .nodes(2)
        .node_resources(6144, 8)
        .property(Site::CapacityScheduler, "yarn.scheduler.capacity.root.queues", "default,other")
        .property(Site::CapacityScheduler, "yarn.scheduler.capacity.root.default.capacity", "50")
        .property(Site::CapacityScheduler, "yarn.scheduler.capacity.root.default.user-limit-factor", "2")
        .property(Site::CapacityScheduler, "yarn.scheduler.capacity.root.other.capacity", "50")
        .property(Site::CapacityScheduler, "yarn.scheduler.capacity.root.other.maximum-capacity", "100")
        .start()
        .unwrap()
});

fn run(arguments: &str) -> Outcome {
    Flink::on(&CLUSTER).args("run -m yarn-cluster -yjm 256m").args(arguments).run()
}

fn program(name: &str) -> String {
    binary(name).display().to_string()
}

fn output(name: &str) -> (String, String) {
    let path = format!("/tmp/{name}");
    (path.clone(), format!("{}{path}", CLUSTER.hdfs_url()))
}

/// The application succeeded, by all accounts, and is gone. Returns its id.
#[track_caller]
fn succeeded(outcome: Outcome) -> String {
    let outcome = outcome.succeeded();
    let id = outcome.application_id().unwrap();
    let application = CLUSTER.yarn().wait_ended(&id, LIMIT).unwrap();
    assert_eq!((application.state.as_str(), application.final_status.as_str()), ("FINISHED", "SUCCEEDED"), "{outcome}");
    wait_nothing_left(&CLUSTER, &id, LIMIT).unwrap();
    id
}

#[test]
fn a_large_awkward_file_is_counted_as_an_independent_program_counts_it() {
    // Ranges and blocks of 8 MB; the one long line covers some of them completely.
    let text = Text { bytes: 200 * MB, long_line: 20 * MB, seed: 1 };
    let file = tempfile::NamedTempFile::new().unwrap();
    text.write(file.path()).unwrap();
    CLUSTER.hdfs().put(file.path(), "/tmp/large.txt", Some(8 * MB)).unwrap();
    let expected = count_words(file.path()).unwrap();
    let (path, url) = output("large-counts");
    let id = succeeded(
        Flink::on(&CLUSTER)
            .args("run -m yarn-cluster -yjm 256m -ytm 2g -ys 1 -p 4 -D source.file.split.size=8mb")
            .arg(binary("wordcount"))
            .args(&format!("--input {}/tmp/large.txt --output {url}", CLUSTER.hdfs_url()))
            .run(),
    );
    let found = final_counts(&CLUSTER.hdfs().read_all(&path).unwrap()).unwrap();
    assert_eq!(differences(&expected, &found), "");

    // Four workers, on both nodes, so the exchange crossed processes and hosts.
    let logs = CLUSTER.container_logs(&id).unwrap();
    let workers = logs.iter().filter(|log| log.file.starts_with("worker-"));
    let places: BTreeSet<_> = workers.map(|log| (log.node, log.container.clone())).collect();
    let nodes: BTreeSet<_> = places.iter().map(|(node, _)| *node).collect();
    assert_eq!((places.len(), nodes.len()), (4, 2), "{places:?}");
}

#[test]
fn streaming_execution_emits_every_update_and_reads_folders_and_patterns() {
    let hdfs = CLUSTER.hdfs();
    let texts =
        [("a.txt", "to be or\r\nnot to be\n"), ("b.txt", "\n\nthat is the question — Ähre"), ("_c.txt", "hidden")];
    for (name, text) in texts {
        hdfs.write(&format!("/tmp/texts/{name}"), text.as_bytes()).unwrap();
    }
    hdfs.write("/tmp/more/1.log", "be".as_bytes()).unwrap();
    hdfs.write("/tmp/more/2.txt", "never read".as_bytes()).unwrap();
    let (path, url) = output("update-counts");
    let at = CLUSTER.hdfs_url();
    succeeded(run(&format!(
        "-ytm 512m -ys 2 -p 2 {} --execution-mode streaming --input {at}/tmp/texts --input {at}/tmp/more/*.log --output {url}",
        program("wordcount")
    )));
    let found = updated_counts(&hdfs.read_all(&path).unwrap()).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "to be or not to be that is the question Ähre be").unwrap();
    assert_eq!(differences(&count_words(file.path()).unwrap(), &found), "");
}

#[test]
fn a_program_without_input_and_output_counts_its_own_text_and_prints() {
    let id = succeeded(run(&format!("-ytm 512m -p 1 {}", program("wordcount"))));
    let logs = CLUSTER.container_logs(&id).unwrap();
    let printed: Vec<_> = logs.iter().filter(|log| log.file == "taskmanager.out").collect();
    assert_eq!(printed.len(), 1, "{printed:?}");
    assert!(printed[0].text.contains("(to,"), "{printed:?}");
}

#[test]
fn a_detached_run_returns_while_the_job_runs_and_says_how_to_stop_it() {
    let gate = Gate::closed().unwrap();
    let (path, url) = output("detached-counts");
    let outcome = run(&format!(
        "-d -ytm 512m -ys 2 -p 3 {} --gate {} --output {url}",
        program("itest-job"),
        gate.path().display()
    ))
    .succeeded();
    let id = outcome.application_id().unwrap();
    for text in
        ["Job has been submitted with JobID ", "Web interface: http://", &format!("yarn application -kill {id}")]
    {
        assert!(outcome.printed().contains(text), "{text}: {outcome}");
    }
    CLUSTER.yarn().wait_job_state(&id, "RUNNING", LIMIT).unwrap();
    assert_eq!(CLUSTER.yarn().application(&id).unwrap().state, "RUNNING");
    // Unfinished work is not visible.
    assert_eq!(CLUSTER.hdfs().read_all(&path).unwrap(), "");

    gate.open().unwrap();
    let application = CLUSTER.yarn().wait_ended(&id, LIMIT).unwrap();
    assert_eq!(application.final_status, "SUCCEEDED", "{application:?}");
    let found = final_counts(&CLUSTER.hdfs().read_all(&path).unwrap()).unwrap();
    assert_eq!(differences(&expected_counts(100_000), &found), "");
    wait_nothing_left(&CLUSTER, &id, LIMIT).unwrap();
}

#[test]
fn the_resource_manager_is_told_what_the_flags_say() {
    let gate = Gate::closed().unwrap();
    let outcome = Flink::on(&CLUSTER)
        .args("run -m yarn-cluster -yd -yjm 300m -ytm 600 -ys 2 -p 3 -yqu other -yat Sparrow -ynm")
        .arg("the name, with spaces")
        .args("-yD yarn.tags=night,counts -D yarn.application.priority=0 -D env.log.level=debug")
        .arg(binary("itest-job"))
        .arg("--gate")
        .arg(gate.path())
        .run()
        .succeeded();
    let id = outcome.application_id().unwrap();
    let application = CLUSTER.yarn().application(&id).unwrap();
    let told =
        (application.name.as_str(), application.kind.as_str(), application.queue.as_str(), application.user.as_str());
    assert_eq!(told, ("the name, with spaces", "Sparrow", "root.other", CLUSTER.user()));
    let tags: BTreeSet<_> = application.json["applicationTags"].as_str().unwrap().split(',').collect();
    assert_eq!(tags, BTreeSet::from(["counts", "night"]));
    // Three slots are two TaskExecutors of 600 MB; both sizes rounded to multiples of 128, and a core for each slot.
    wait::until_ok("three containers", LIMIT, || {
        let json = CLUSTER.yarn().application(&id).unwrap().json;
        let held =
            [&json["runningContainers"], &json["allocatedMB"], &json["allocatedVCores"]].map(|value| value.as_u64());
        if held == [Some(3), Some(384 + 2 * 640), Some(1 + 2 * 2)] { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .unwrap();
    let taskmanagers = CLUSTER.yarn().through_proxy(&id, "/taskmanagers").unwrap();
    let slots: Vec<_> = taskmanagers["taskmanagers"].as_array().unwrap().iter().map(|t| &t["slotsNumber"]).collect();
    assert_eq!(slots, [2, 2]);
    let configuration = CLUSTER.yarn().through_proxy(&id, "/jobmanager/config").unwrap();
    let of = |key: &str| configuration.as_array().unwrap().iter().find(|entry| entry["key"] == key).cloned();
    assert_eq!(of("env.log.level").unwrap()["value"], "debug", "{configuration}");
    CLUSTER.yarn().kill(&id).unwrap();
    wait_nothing_left(&CLUSTER, &id, LIMIT).unwrap();
}

#[test]
fn two_applications_run_beside_each_other_and_hold_no_more_than_they_asked_for() {
    let (first, second) = (Gate::closed().unwrap(), Gate::closed().unwrap());
    let start = |gate: &Gate, name: &str| {
        let arguments = format!(
            "-d -ytm 512m -p 2 {} --gate {} --output {}",
            program("itest-job"),
            gate.path().display(),
            output(name).1
        );
        run(&arguments).succeeded().application_id().unwrap()
    };
    let (one, two) = (start(&first, "one"), start(&second, "two"));
    for id in [&one, &two] {
        CLUSTER.yarn().wait_job_state(id, "RUNNING", LIMIT).unwrap();
        wait_containers(&CLUSTER, id, 3, LIMIT).unwrap();
        let workers = process::of_application(id).into_iter().filter(|process| process.program == "itest-job").count();
        assert_eq!(workers, 2, "{id}");
    }
    second.open().unwrap();
    assert_eq!(CLUSTER.yarn().wait_ended(&two, LIMIT).unwrap().final_status, "SUCCEEDED");
    assert_eq!(CLUSTER.yarn().application(&one).unwrap().state, "RUNNING");
    first.open().unwrap();
    assert_eq!(CLUSTER.yarn().wait_ended(&one, LIMIT).unwrap().final_status, "SUCCEEDED");
    for (name, id) in [("/tmp/one", &one), ("/tmp/two", &two)] {
        let found = final_counts(&CLUSTER.hdfs().read_all(name).unwrap()).unwrap();
        assert_eq!(differences(&expected_counts(100_000), &found), "");
        wait_nothing_left(&CLUSTER, id, LIMIT).unwrap();
    }
}

#[test]
fn a_second_submission_uploads_nothing_of_what_the_first_one_did() {
    let cache = || {
        let files = CLUSTER.hdfs().tree(&format!("/user/{}/.flink/cache", CLUSTER.user())).unwrap();
        files.into_iter().filter(|file| !file.is_dir && file.path.ends_with("/socket-wordcount")).collect::<Vec<_>>()
    };
    // Nobody listens, so the job fails, after everything was staged.
    let submit = || {
        let arguments = format!("-ytm 512m {} --hostname 127.0.0.1 --port 1", program("socket-wordcount"));
        let outcome = run(&arguments).failed_with(&["127.0.0.1:1"]);
        wait_nothing_left(&CLUSTER, &outcome.application_id().unwrap(), LIMIT).unwrap();
    };
    assert_eq!(cache(), []);
    submit();
    let staged = cache();
    assert_eq!(staged.len(), 1, "{staged:?}");
    assert_eq!(staged[0].length, std::fs::metadata(binary("socket-wordcount")).unwrap().len());
    submit();
    assert_eq!(cache(), staged, "also the time of the last change");
}

#[test]
fn info_shows_the_plan_and_starts_nothing() {
    let outcome = Flink::on(&CLUSTER).args("info -p 3").arg(binary("wordcount")).run().succeeded();
    let plan = outcome.stdout.lines().find(|line| line.starts_with('{')).unwrap();
    let plan: serde_json::Value = serde_json::from_str(plan).unwrap();
    let nodes = plan["nodes"].as_array().unwrap();
    assert!(nodes.len() >= 2, "{plan}");
    assert_eq!(nodes[nodes.len() - 1]["parallelism"], 3, "{plan}");
    assert_eq!(outcome.application_id(), None);
}

#[test]
fn a_local_run_needs_no_hadoop_and_counts_the_same() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in.txt"), "to be or not to be").unwrap();
    for (number, target) in ["-m local", "-t local"].into_iter().enumerate() {
        let output = dir.path().join(format!("out{number}"));
        let outcome = Flink::local()
            .args(&format!("run {target} -p 2"))
            .arg(binary("wordcount"))
            .args("--input in.txt --output")
            .arg(&output)
            .current_dir(dir.path())
            .run();
        assert_eq!(outcome.succeeded().application_id(), None);
        let mut text = String::new();
        for part in std::fs::read_dir(&output).unwrap() {
            text += &std::fs::read_to_string(part.unwrap().path()).unwrap();
        }
        let expected = count_words(&dir.path().join("in.txt")).unwrap();
        assert_eq!(differences(&expected, &final_counts(&text).unwrap()), "");
    }
}
