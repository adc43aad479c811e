//! Clients that know a session's address and nothing else: Flink's own command line (Java), and ours without Hadoop's
//! configuration.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::sync::LazyLock;
use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::flink::{Flink, Outcome};
use flumen_itests::flink_client::{FlinkClient, Said};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::job::{Gate, expected_counts};
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::wait;
use flumen_itests::workload::{differences, final_counts};

const LIMIT: Duration = Duration::from_secs(300);
/// The jobs last for minutes while their gate is closed.
const EVENTS: u64 = 600_000;

static CLUSTER: LazyLock<HadoopCluster> =
    LazyLock::new(|| HadoopCluster::builder().node_resources(8192, 16).start().unwrap());

struct Session {
    id: String,
    /// `host:port` of its JobManager.
    address: String,
    token: String,
    /// Its user's home directory: a full path.
    home: String,
    gate: Gate,
    /// The directory of its properties file.
    desk: tempfile::TempDir,
}

impl Session {
    fn start(user: &str, options: &str) -> Session {
        CLUSTER.hdfs().make_home(user).unwrap();
        let desk = tempfile::tempdir().unwrap();
        let location = format!("yarn.properties-file.location={}", desk.path().display());
        let started = Flink::on(&CLUSTER).env("HADOOP_USER_NAME", user).args("yarn-session -d -jm 256m -tm 512m -s 2");
        let started = started.args(options).arg("-D").arg(location).limit(LIMIT).run().succeeded();
        let id = started.application_id().unwrap();
        let address = CLUSTER.yarn().application(&id).unwrap().json["amRPCAddress"].as_str().unwrap().to_owned();
        let description = format!("/user/{user}/.flink/{id}/flumen-application.json");
        let description = CLUSTER.hdfs().as_user(user).read(&description).unwrap();
        let description: serde_json::Value = serde_json::from_slice(&description).unwrap();
        let token = description["rest_token"].as_str().unwrap().to_owned();
        let home = format!("{}/user/{user}", CLUSTER.hdfs_url());
        Session { id, address, token, home, gate: Gate::closed().unwrap(), desk }
    }

    /// A file with the token, and nothing of Hadoop.
    fn rest_alone(&self, action: &str) -> Flink {
        let file = self.desk.path().join("token");
        std::fs::write(&file, format!("{}\n", self.token)).unwrap();
        let token = format!("rest.client.token-file={}", file.display());
        Flink::local().arg(action).arg("-m").arg(&self.address).arg("-D").arg(token).limit(LIMIT)
    }

    /// Starts `itest-stateful`, detached, and waits until it runs.
    fn job(&self, name: &str) -> String {
        let home = &self.home;
        let conf = format!(
            "-D execution.checkpointing.interval=1s -D state.checkpoints.dir={home}/checkpoints \
             -D state.savepoints.dir={home}/savepoints"
        );
        let outcome = self
            .rest_alone("run")
            .args("-d")
            .args(&conf)
            .arg(binary("itest-stateful"))
            .args(&format!("--count {EVENTS} --gate {} --output {home}/out/{name}", self.gate.path().display()));
        job_id(&outcome.run().succeeded())
    }

    fn state(&self, job: &str) -> String {
        let answer = CLUSTER.yarn().through_proxy(&self.id, &format!("/jobs/{job}/status")).unwrap();
        answer["status"].as_str().unwrap().to_owned()
    }

    fn wait_state(&self, job: &str, state: &str) {
        wait::until(&format!("{job} is {state}"), LIMIT, || (self.state(job) == state).then_some(())).unwrap();
    }

    fn stop(self) {
        let status = CLUSTER.yarn().ask_master(&self.id, "DELETE", "/cluster", Some(&self.token)).unwrap();
        assert_eq!(status, 200);
        CLUSTER.yarn().wait_ended(&self.id, LIMIT).unwrap();
        wait_nothing_left(&CLUSTER, &self.id, LIMIT).unwrap();
    }
}

/// The id in Flink's line.
fn job_id(outcome: &Outcome) -> String {
    let printed = outcome.printed();
    let id = printed.split("Job has been submitted with JobID ").nth(1).unwrap_or_else(|| panic!("{outcome}"));
    id.split_whitespace().next().unwrap().to_owned()
}

#[track_caller]
fn says(said: Said, succeeded: bool, parts: &[&str]) -> String {
    assert_eq!(said.succeeded, succeeded, "{}", said.text);
    for part in parts {
        assert!(said.text.contains(part), "does not say {part:?}: {}", said.text);
    }
    assert!(!said.text.contains("neither of the expected type"), "an answer is not Flink's: {}", said.text);
    said.text
}

/// The path in Flink's line.
fn path_in<'a>(text: &'a str, before: &str) -> &'a str {
    let path = text.split(before).nth(1).unwrap_or_else(|| panic!("{text}")).split_whitespace().next().unwrap();
    path.trim_end_matches('.')
}

#[test]
fn flinks_own_client_lists_cancels_stops_and_takes_savepoints() {
    let client = FlinkClient::ready().unwrap();
    let session = Session::start("fay", "");
    let (at, hdfs, home) = (format!("-m {}", session.address), CLUSTER.hdfs_url(), &session.home);
    let flink = |arguments: &str| client.run(Some(&session.token), arguments).unwrap();
    let (first, second) = (session.job("c1"), session.job("c2"));

    let listed = says(flink(&format!("list {at}")), true, &["Running/Restarting Jobs", "No scheduled jobs."]);
    assert!(listed.contains(&format!(" : {first} : itest-stateful (RUNNING)")), "{listed}");
    let stranger = client.run(None, &format!("cancel {at} {first}")).unwrap();
    says(stranger, false, &["Could not cancel job", "Authorization: Bearer <token>"]);
    assert_eq!(session.state(&first), "RUNNING");

    let taken = says(flink(&format!("savepoint {at} {first}")), true, &["Savepoint completed. Path: "]);
    let savepoint = path_in(&taken, "Path: ").to_owned();
    assert!(CLUSTER.hdfs().exists(savepoint.strip_prefix(&hdfs).unwrap()).unwrap());
    says(flink(&format!("savepoint {at} -dispose {savepoint}")), true, &[&format!("'{savepoint}' disposed")]);
    assert!(!CLUSTER.hdfs().exists(savepoint.strip_prefix(&hdfs).unwrap()).unwrap());
    // What failed is told with its cause, which Flink's client reads from an exception as Java serialises it.
    let nothing = format!("{home}/savepoints/none");
    says(flink(&format!("savepoint {at} -dispose {nothing}")), false, &["could not be disposed of", &nothing]);
    says(flink(&format!("savepoint {at} -type native {first}")), true, &["Savepoint completed"]);
    says(flink(&format!("savepoint {at} -detached {first} {home}/savepoints")), true, &["triggerId: "]);
    says(flink(&format!("checkpoint {at} {first}")), true, &["Checkpoint ", "completed"]);
    says(flink(&format!("checkpoint {at} -full {first}")), true, &["Checkpoint(FULL)", "completed"]);

    let stopped = says(flink(&format!("stop {at} -p {home}/savepoints {first}")), true, &["Savepoint completed"]);
    assert!(path_in(&stopped, "Path: ").starts_with(&format!("{home}/savepoints/savepoint-")), "{stopped}");
    session.wait_state(&first, "FINISHED");
    says(flink(&format!("stop {at} -drain {second}")), true, &["Draining job", "Savepoint completed"]);
    session.wait_state(&second, "FINISHED");
    let third = session.job("c3");
    says(flink(&format!("cancel {at} -s {home}/savepoints {third}")), true, &["Savepoint stored in"]);
    session.wait_state(&third, "CANCELED");
    let fourth = session.job("c4");
    says(flink(&format!("cancel {at} {fourth}")), true, &["Cancelled job"]);
    session.wait_state(&fourth, "CANCELED");

    let all = says(flink(&format!("list {at} -a")), true, &["Terminated Jobs"]);
    for (job, state) in [(&first, "FINISHED"), (&third, "CANCELED")] {
        assert!(all.contains(&format!(" : {job} : itest-stateful ({state})")), "{all}");
    }
    let unknown = "00000000000000000000000000000001";
    says(flink(&format!("stop {at} {unknown}")), false, &["not found"]);
    session.stop();
}

#[test]
fn without_the_check_of_the_token_flinks_own_client_needs_none() {
    let client = FlinkClient::ready().unwrap();
    let session = Session::start("gus", "-D rest.authorization.enabled=false");
    let job = session.job("open");
    says(client.run(None, &format!("cancel -m {} {job}", session.address)).unwrap(), true, &["Cancelled job"]);
    session.wait_state(&job, "CANCELED");
    session.stop();
}

#[test]
fn without_hadoops_configuration_programs_run_over_rest_and_logs_are_read_through_yarns_proxy() {
    let session = Session::start("hal", "");
    let output = format!("{}/tmp/over-rest", CLUSTER.hdfs_url());
    let run = session.rest_alone("run").args("-p 2").arg(binary("itest-job")).args(&format!("--output {output}"));
    let ran = run.run().succeeded();
    let found = final_counts(&CLUSTER.hdfs().read_all("/tmp/over-rest").unwrap()).unwrap();
    assert_eq!(differences(&expected_counts(100_000), &found), "");
    let get = |path: &str| CLUSTER.yarn().through_proxy(&session.id, path).unwrap();
    assert_eq!(get("/jars")["files"], serde_json::json!([]), "nothing of it is left");
    assert_eq!(session.state(&job_id(&ran)), "FINISHED");

    // A refusal is heard although the program is large.
    let stranger = Flink::local().args("run -m").arg(&session.address).arg(binary("itest-job")).limit(LIMIT);
    let _ = stranger.run().failed_with(&["takes changes only with its application's token"]);
    let refused = session.rest_alone("run").arg(binary("itest-job")).args(&format!("--output {output}"));
    let _ = refused.run().failed_with(&["already exists"]);

    let job = session.job("rest");
    session.wait_state(&job, "RUNNING");
    let listed = session.rest_alone("list").run().succeeded();
    assert!(listed.stdout.contains(&format!(" : {job} : ")), "{listed}");
    let managers = get("/taskmanagers");
    let manager = managers["taskmanagers"][0]["id"].as_str().unwrap();
    let logs = get(&format!("/taskmanagers/{manager}/logs"));
    let names: Vec<&str> = logs["logs"].as_array().unwrap().iter().map(|log| log["name"].as_str().unwrap()).collect();
    for name in ["taskmanager.log", "taskmanager.err"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let log = CLUSTER.yarn().page_through_proxy(&session.id, &format!("/taskmanagers/{manager}/log")).unwrap();
    assert!(log.contains("TaskExecutor starts") && log.contains(&job), "{log}");

    let taken = session.rest_alone("savepoint").arg(&job).run().succeeded();
    let savepoint = path_in(&taken.stdout, "Path: ").to_owned();
    let _ = session.rest_alone("savepoint").arg("-d").arg(&savepoint).run().succeeded();
    assert!(!CLUSTER.hdfs().exists(savepoint.strip_prefix(&CLUSTER.hdfs_url()).unwrap()).unwrap());
    let _ = session.rest_alone("cancel").arg(&job).run().succeeded();
    session.wait_state(&job, "CANCELED");
    session.stop();
}

#[test]
fn a_jobmanager_that_dies_at_its_start_says_why() {
    use std::os::unix::fs::PermissionsExt as _;
    let lib = tempfile::tempdir().unwrap();
    let dying = lib.path().join("flumen-appmaster");
    std::fs::write(&dying, "#!/bin/sh\necho 'libwhatever.so.6: cannot open shared object file' >&2\nexit 127\n")
        .unwrap();
    std::fs::set_permissions(&dying, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::copy(binary("flumen-taskexecutor"), lib.path().join("flumen-taskexecutor")).unwrap();
    let lib_dir = |flink: Flink| flink.env("FLUMEN_LIB_DIR", lib.path()).limit(LIMIT);
    let why = "exit code 127. The last that it printed:\nlibwhatever.so.6: cannot open shared object file";
    let run = lib_dir(Flink::on(&CLUSTER).args("run -m yarn-cluster -yjm 256m -ytm 384m").arg(binary("itest-job")));
    let _ = run.run().failed_with(&[why, "Its logs: http"]);
    let _ = lib_dir(Flink::on(&CLUSTER).args("yarn-session -d -jm 256m -tm 384m")).run().failed_with(&[why]);
}
