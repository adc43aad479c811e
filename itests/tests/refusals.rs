//! What can't work is refused at once, with a message that says what to do, and nothing happens: no application, no file.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::flink::{Flink, Outcome};
use flumen_itests::hadoop::{HadoopCluster, Site};
use flumen_itests::traces::wait_nothing_left;

/// How soon the user has to know, however busy the machine is: long before the limits of what is waited for otherwise.
const SOON: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(300);

/// Two small nodes, two queues that take applications, one that is stopped, and one that YARN lets nobody into.
static CLUSTER: LazyLock<HadoopCluster> = LazyLock::new(|| {
    let queue = |name: &str, key: &str| format!("yarn.scheduler.capacity.root.{name}.{key}");
    HadoopCluster::builder()
        .nodes(2)
        .node_resources(2048, 4)
        .property(Site::CapacityScheduler, "yarn.scheduler.capacity.root.queues", "default,night,closed,full")
        .property(Site::CapacityScheduler, &queue("default", "capacity"), "50")
        .property(Site::CapacityScheduler, &queue("night", "capacity"), "25")
        .property(Site::CapacityScheduler, &queue("night", "maximum-capacity"), "25")
        .property(Site::CapacityScheduler, &queue("closed", "capacity"), "15")
        .property(Site::CapacityScheduler, &queue("full", "capacity"), "10")
        .property(Site::CapacityScheduler, &queue("full", "maximum-capacity"), "100")
        .property(Site::CapacityScheduler, &queue("full", "maximum-applications"), "0")
        .property(Site::CapacityScheduler, &queue("closed", "state"), "STOPPED")
        .start()
        .unwrap()
});

fn wordcount(flink: Flink, arguments: &str) -> Flink {
    flink.args("run -m yarn-cluster").args(arguments).arg(binary("wordcount"))
}

/// Refused by the client: soon, saying each of `texts`, and without an application.
#[track_caller]
fn refused(flink: Flink, texts: &[&str]) {
    let outcome = flink.run().failed_with(texts);
    assert!(outcome.took < SOON, "{outcome}");
    assert_eq!(outcome.application_id(), None, "{outcome}");
    assert!(!outcome.printed().contains("panicked"), "{outcome}");
}

/// Refused on the cluster: as [`refused`], but by an application that failed and left nothing.
#[track_caller]
fn failed_soon(flink: Flink, texts: &[&str]) -> Outcome {
    let outcome = flink.run().failed_with(texts);
    let id = outcome.application_id().unwrap();
    let application = CLUSTER.yarn().wait_ended(&id, LIMIT).unwrap();
    assert_eq!(application.final_status, "FAILED", "{outcome}");
    for text in texts {
        assert!(application.diagnostics.contains(text), "{text}: {application:?}");
    }
    outcome
}

#[test]
fn a_job_larger_than_the_cluster_is_told_what_would_fit() {
    let texts = ["the cluster can never hold this job", "6 TaskManagers of 1024 MB", "-p 3", "-ytm 5", "-ys 2"];
    refused(wordcount(Flink::on(&CLUSTER), "-yjm 256m -ytm 1024m -p 6"), &texts);
}

#[test]
fn a_job_larger_than_its_queue_is_told_the_bound_of_the_queue() {
    let texts = ["the cluster can never hold this job", "queue `root.night` may use 1024 MB"];
    refused(wordcount(Flink::on(&CLUSTER), "-yqu night -yjm 256m -ytm 1024m -p 2"), &texts);
}

#[test]
fn a_queue_that_takes_no_applications_is_refused_with_those_that_do() {
    let usable = ["`root.default`", "`root.night`"];
    refused(wordcount(Flink::on(&CLUSTER), "-yqu nights"), &["queue `nights` does not exist", usable[0], usable[1]]);
    refused(wordcount(Flink::on(&CLUSTER), "-yqu closed"), &["queue `closed` is STOPPED", usable[0], usable[1]]);
    refused(wordcount(Flink::on(&CLUSTER), "-yqu root"), &["queue `root`", usable[0], usable[1]]);
}

#[test]
fn containers_above_the_clusters_maximum_are_refused_with_the_flag_that_helps() {
    refused(wordcount(Flink::on(&CLUSTER), "-ytm 3000m"), &["3000 MB", "at most 2048", "-ytm"]);
    refused(wordcount(Flink::on(&CLUSTER), "-yjm 9g"), &["9216 MB", "at most 2048", "-yjm"]);
    refused(wordcount(Flink::on(&CLUSTER), "-ytm 512m -ys 5"), &["5 virtual cores", "at most 4", "-ys"]);
}

#[test]
fn a_missing_input_is_refused_before_anything_is_submitted() {
    let missing = format!("{}/tmp/missing.txt", CLUSTER.hdfs_url());
    refused(wordcount(Flink::on(&CLUSTER), "").args(&format!("--input {missing}")), &["/tmp/missing.txt"]);
    refused(wordcount(Flink::on(&CLUSTER), "").args(&format!("--input {missing}/*.gz")), &["/tmp/missing.txt/*.gz"]);
}

#[test]
fn an_existing_output_is_refused_and_stays_as_it_is() {
    let hdfs = CLUSTER.hdfs();
    hdfs.write("/tmp/precious/part-0", b"precious").unwrap();
    let before = hdfs.tree("/tmp/precious").unwrap();
    let output = format!("--output {}/tmp/precious", CLUSTER.hdfs_url());
    refused(wordcount(Flink::on(&CLUSTER), "").args(&output), &["/tmp/precious", "exists"]);
    hdfs.write("/tmp/file", b"precious").unwrap();
    let output = format!("--output {}/tmp/file", CLUSTER.hdfs_url());
    refused(wordcount(Flink::on(&CLUSTER), "").args(&output), &["/tmp/file", "exists"]);
    assert_eq!(hdfs.tree("/tmp/precious").unwrap(), before);
    assert_eq!(hdfs.read("/tmp/precious/part-0").unwrap(), b"precious");
    assert_eq!(hdfs.read("/tmp/file").unwrap(), b"precious");
}

#[test]
fn a_user_without_a_home_directory_is_told_where_nothing_can_be_staged() {
    let flink = Flink::on(&CLUSTER).env("HADOOP_USER_NAME", "stranger");
    refused(wordcount(flink, "-ytm 512m"), &["/user/stranger", "ermission denied"]);
}

#[test]
fn an_output_where_the_user_may_not_write_fails_with_the_path_and_leaves_nothing() {
    CLUSTER.hdfs().make_home("bob").unwrap();
    CLUSTER.hdfs().make_dir("/private", "755").unwrap();
    let flink = Flink::on(&CLUSTER).env("HADOOP_USER_NAME", "bob");
    let output = format!("--output {}/private/counts", CLUSTER.hdfs_url());
    flink_fails_as_bob(wordcount(flink, "-yjm 256m -ytm 512m").args(&output), "/private");
    assert_eq!(CLUSTER.hdfs().tree("/private").unwrap(), []);
}

#[test]
fn an_input_that_the_user_may_not_read_is_refused_with_its_path() {
    CLUSTER.hdfs().make_home("bob").unwrap();
    CLUSTER.hdfs().write("/secret/in.txt", b"secret").unwrap();
    CLUSTER.hdfs().set_permission("/secret", "700").unwrap();
    let flink = Flink::on(&CLUSTER).env("HADOOP_USER_NAME", "bob");
    let input = format!("--input {}/secret/in.txt", CLUSTER.hdfs_url());
    refused(wordcount(flink, "").args(&input), &["/secret", "ermission denied"]);
}

/// A failure on the cluster of a job that belongs to bob, whose staging directory must be gone.
fn flink_fails_as_bob(flink: Flink, path: &str) {
    let outcome = flink.run().failed_with(&[path, "ermission denied"]);
    if let Some(id) = outcome.application_id() {
        let application = CLUSTER.yarn().wait_ended(&id, LIMIT).unwrap();
        assert_eq!((application.final_status.as_str(), application.user.as_str()), ("FAILED", "bob"), "{outcome}");
        assert!(application.diagnostics.contains("ermission denied"), "{application:?}");
        wait_nothing_left(&CLUSTER, &id, LIMIT).unwrap();
        assert!(!CLUSTER.hdfs().exists(&format!("/user/bob/.flink/{id}")).unwrap());
    }
}

#[test]
fn a_wrong_configuration_directory_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let dir = |dir: &Path| wordcount(Flink::local().env("HADOOP_CONF_DIR", dir), "");
    refused(dir(empty.path()), &["HADOOP_CONF_DIR", empty.path().to_str().unwrap()]);
    refused(dir(Path::new("/no/such/dir")), &["HADOOP_CONF_DIR", "/no/such/dir"]);
    refused(wordcount(Flink::local().env("HADOOP_HOME", "/no/such/hadoop"), ""), &["HADOOP_CONF_DIR"]);
    std::fs::write(empty.path().join("core-site.xml"), "<configuration><property>").unwrap();
    refused(dir(empty.path()), &["core-site.xml"]);
}

#[test]
fn masters_that_do_not_answer_are_named_within_the_clients_patience() {
    let patience = "-D yarn.client.connect-timeout=3s";
    let dead = "127.0.0.1:1";
    let rm = format!("{patience} -D flink.yarn.resourcemanager.webapp.address={dead}");
    refused(wordcount(Flink::on(&CLUSTER), &rm), &["ResourceManager", dead, "HADOOP_CONF_DIR"]);
    let namenode = format!("{patience} -D flink.hadoop.fs.defaultFS=hdfs://{dead}");
    refused(wordcount(Flink::on(&CLUSTER), &namenode), &["NameNode", dead]);
}

#[test]
fn a_job_whose_input_goes_away_on_the_cluster_fails_with_the_cause() {
    // The program opens its socket only when it runs: nothing that the client could have seen.
    let flink = Flink::on(&CLUSTER).args("run -m yarn-cluster -yjm 256m -ytm 512m").arg(binary("socket-wordcount"));
    let outcome = failed_soon(flink.args("--hostname 127.0.0.1 --port 1"), &["Source: Socket Stream", "127.0.0.1:1"]);
    wait_nothing_left(&CLUSTER, &outcome.application_id().unwrap(), LIMIT).unwrap();
}

#[test]
fn an_application_that_yarn_itself_refuses_ends_the_client_with_yarns_words_and_leaves_nothing_staged() {
    for what in ["run -m yarn-cluster -p 1", "yarn-session -d"] {
        let flink = Flink::on(&CLUSTER)
            .args(what)
            .args("-D yarn.application.queue=full -D jobmanager.memory.process.size=256m");
        let flink = if what.starts_with("run") { flink.arg(binary("wordcount")) } else { flink };
        let outcome = flink.run().failed_with(&["cannot accept submission of application"]);
        let id = outcome.application_id().unwrap();
        let application = CLUSTER.yarn().wait_ended(&id, LIMIT).unwrap();
        assert_eq!(application.final_status, "FAILED", "{outcome}");
        wait_nothing_left(&CLUSTER, &id, LIMIT).unwrap();
    }
}
