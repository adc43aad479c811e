//! Several jobs in one session on a real cluster: at the same time, one after another, and its end.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::flink::{Flink, Outcome};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::job::{Gate, expected_counts};
use flumen_itests::traces::{containers, staging_dir, wait_nothing_left};
use flumen_itests::workload::{differences, final_counts};
use flumen_itests::{process, wait};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// A session of TaskExecutors with two slots each.
struct Session<'a> {
    cluster: &'a HadoopCluster,
    id: String,
}

impl<'a> Session<'a> {
    fn start(cluster: &'a HadoopCluster) -> Session<'a> {
        let outcome = Flink::on(cluster).arg("yarn-session").args("-d -jm 256m -tm 512m -s 2").run().succeeded();
        Session { cluster, id: outcome.application_id().unwrap() }
    }

    fn run(&self, options: &str, program: &str, arguments: &str) -> Outcome {
        let flink = Flink::on(self.cluster).arg("run").args(&format!("-yid {} {options}", self.id));
        flink.arg(binary(program)).args(arguments).limit(LIMIT).run()
    }

    fn get(&self, path: &str) -> Value {
        self.cluster.yarn().through_proxy(&self.id, path).unwrap()
    }

    fn output(&self, name: &str) -> String {
        format!("--output {}/tmp/{name}", self.cluster.hdfs_url())
    }

    fn counts_are_exact(&self, name: &str) {
        let found = final_counts(&self.cluster.hdfs().read_all(&format!("/tmp/{name}")).unwrap()).unwrap();
        assert_eq!(differences(&expected_counts(100_000), &found), "", "{name}");
    }

    /// The containers of its TaskExecutors.
    fn executors(&self) -> Vec<String> {
        let all = self.get("/taskmanagers");
        let mut ids: Vec<String> =
            all["taskmanagers"].as_array().unwrap().iter().map(|tm| tm["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    }

    /// How many jobs are in that state.
    fn jobs(&self, state: &str) -> usize {
        self.get("/jobs")["jobs"].as_array().unwrap().iter().filter(|job| job["status"] == state).count()
    }

    fn token(&self) -> String {
        let file = format!("{}/flumen-application.json", staging_dir(self.cluster.user(), &self.id));
        let staged: Value = serde_json::from_slice(&self.cluster.hdfs().read(&file).unwrap()).unwrap();
        staged["rest_token"].as_str().unwrap().to_owned()
    }
}

#[test]
fn jobs_of_one_session_share_its_executors_and_nothing_of_each_others_failures() {
    let cluster = HadoopCluster::builder().node_resources(6144, 8).start().unwrap();
    let session = Session::start(&cluster);
    assert_eq!(session.executors(), [""; 0], "without a job there are none");

    // A job that lasts, and beside it one whose worker aborts and one of another program.
    let gate = Gate::closed().unwrap();
    let gated = format!("--gate {} {}", gate.path().display(), session.output("lasting"));
    let _ = session.run("-d -p 1", "itest-job", &gated).succeeded();
    let executors = session.executors();
    assert_eq!(executors.len(), 1, "{executors:?}");
    let aborting = format!("--fault abort --at 5000 {}", session.output("aborting"));
    let _ = session.run("-p 1 -D restart-strategy=none", "itest-job", &aborting).failed_with(&["SIGABRT"]);
    cluster.hdfs().wait_empty("/tmp/aborting", LIMIT).unwrap();
    assert_eq!((session.jobs("RUNNING"), session.jobs("FAILED")), (1, 1), "{}", session.get("/jobs/overview"));
    // One more that panics, and one that takes memory until there is no more.
    let panicking = format!("--fault panic --at 5000 {}", session.output("panicking"));
    let _ = session.run("-p 1 -D restart-strategy=none", "itest-job", &panicking).failed_with(&["number 5000 is bad"]);
    let exhausting = format!("--fault exhaust --at 5000 {}", session.output("exhausting"));
    let texts = ["worker used", "taskmanager.memory.process.size"];
    let _ = session.run("-p 1 -D restart-strategy=none", "itest-job", &exhausting).failed_with(&texts);
    assert_eq!((session.jobs("RUNNING"), session.jobs("FAILED")), (1, 3), "{}", session.get("/jobs/overview"));
    let input = format!("--input {}/tmp/input {}", cluster.hdfs_url(), session.output("other"));
    cluster.hdfs().write("/tmp/input", b"to be or not to be").unwrap();
    let _ = session.run("-p 1", "wordcount", &input).succeeded();
    let counts = final_counts(&cluster.hdfs().read_all("/tmp/other").unwrap()).unwrap();
    assert_eq!((counts["to"], counts["be"], counts["or"], counts["not"]), (2, 2, 1, 1));
    assert_eq!(session.executors(), executors, "all in the same TaskExecutor");
    gate.open().unwrap();
    wait::until("the lasting job ends", LIMIT, || (session.jobs("FINISHED") == 2).then_some(())).unwrap();
    session.counts_are_exact("lasting");
    let job = session.get("/jobs/overview")["jobs"].as_array().unwrap().len();
    assert_eq!(job, 5);

    // One after another, on the same TaskExecutors.
    for n in 0..5 {
        let name = format!("following-{n}");
        let _ = session.run("-p 2", "itest-job", &session.output(&name)).succeeded();
        session.counts_are_exact(&name);
    }
    assert_eq!(session.executors(), executors);
    let workers = || process::of_application(&session.id).len();
    wait::until("no worker is left", LIMIT, || (workers() == 2).then_some(())).unwrap();

    // It ends when it is told to, by whoever has its token.
    let yarn = cluster.yarn();
    assert_eq!(yarn.ask_master(&session.id, "DELETE", "/cluster", None).unwrap(), 401);
    assert_eq!(yarn.ask_master(&session.id, "DELETE", "/cluster", Some(&session.token())).unwrap(), 200);
    let ended = yarn.wait_ended(&session.id, LIMIT).unwrap();
    assert_eq!((ended.state.as_str(), ended.final_status.as_str()), ("FINISHED", "SUCCEEDED"), "{}", ended.diagnostics);
    wait_nothing_left(&cluster, &session.id, LIMIT).unwrap();
    assert_eq!(containers(&cluster, &session.id).unwrap(), []);
}
