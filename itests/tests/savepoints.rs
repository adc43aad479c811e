//! Checkpoints and savepoints by the command line, on a real cluster: no record is lost or seen twice.
//!
//! `FLUMEN_STOP_ROUNDS` is how often the job of the first test is stopped and goes on (default 2).

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::sync::LazyLock;
use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::flink::{Flink, Outcome};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::job::Gate;
use flumen_itests::stateful::{self, Rows, differences, expected_rows};
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::{process, say, wait};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(300);
/// The job lasts for minutes while its gate is closed.
const EVENTS: u64 = 600_000;

static CLUSTER: LazyLock<HadoopCluster> =
    LazyLock::new(|| HadoopCluster::builder().node_resources(12_288, 16).start().unwrap());

fn flink(arguments: &str) -> Outcome {
    Flink::on(&CLUSTER).args(arguments).limit(LIMIT).run()
}

/// A job that runs detached.
struct Job {
    name: String,
    application: String,
    id: String,
}

/// Starts `itest-stateful`, detached; it writes to `/out/<name>` and has its checkpoints in `/checkpoints/<name>`.
fn start(name: &str, options: &str, gate: &Gate) -> Job {
    let hdfs = CLUSTER.hdfs_url();
    let outcome = Flink::on(&CLUSTER)
        .args("run -d -m yarn-cluster -yjm 256m -ytm 384m")
        .args(&format!("-D state.checkpoints.dir={hdfs}/checkpoints/{name} -D state.savepoints.dir={hdfs}/savepoints"))
        .args(options)
        .arg(binary("itest-stateful"))
        .args(&format!("--count {EVENTS} --gate {} --output {hdfs}/out/{name}", gate.path().display()))
        .limit(LIMIT)
        .run()
        .succeeded();
    let application = outcome.application_id().unwrap();
    CLUSTER.yarn().wait_job_state(&application, "RUNNING", LIMIT).unwrap();
    let jobs = CLUSTER.yarn().through_proxy(&application, "/jobs").unwrap();
    let id = jobs["jobs"][0]["id"].as_str().unwrap().to_owned();
    Job { name: name.to_owned(), application, id }
}

impl Job {
    fn checkpoints(&self) -> Result<Value, String> {
        let path = format!("/jobs/{}/checkpoints", self.id);
        CLUSTER.yarn().through_proxy(&self.application, &path).map_err(|error| format!("{error:#}"))
    }

    /// Waits until it has completed so many checkpoints, and gives the number of the last.
    fn wait_completed(&self, count: u64) -> u64 {
        wait::until_ok(&format!("{} completes {count} checkpoints", self.name), LIMIT, || {
            let checkpoints = self.checkpoints()?;
            let enough = checkpoints["counts"]["completed"].as_u64().is_some_and(|completed| completed >= count);
            let last = checkpoints["latest"]["completed"]["id"].as_u64().filter(|_| enough);
            last.ok_or_else(|| checkpoints.to_string())
        })
        .unwrap()
    }

    /// Waits until it was restored from a checkpoint that is right, and runs; gives the number of the checkpoint.
    fn wait_restored(&self, right: impl Fn(u64) -> bool) -> u64 {
        let restored = wait::until_ok(&format!("{} is restored", self.name), LIMIT, || {
            let checkpoints = self.checkpoints()?;
            let restored = checkpoints["latest"]["restored"]["id"].as_u64().filter(|id| right(*id));
            restored.ok_or_else(|| checkpoints.to_string())
        })
        .unwrap();
        CLUSTER.yarn().wait_job_state(&self.application, "RUNNING", LIMIT).unwrap();
        restored
    }

    /// Triggers a checkpoint as a user does and gives its number.
    fn checkpoint(&self) -> u64 {
        let outcome = wait::until_ok("a checkpoint is taken", LIMIT, || {
            let outcome = flink(&format!("checkpoint {}", self.id));
            // While the job is on its way back to work there is nothing to take one of.
            if outcome.status.success() { Ok(outcome) } else { Err(outcome.to_string()) }
        })
        .unwrap();
        assert!(outcome.printed().contains(&format!("for job {} completed.", self.id)), "{outcome}");
        self.wait_completed(1)
    }

    /// It has ended with this status, and nothing of it is left.
    fn ended(&self, status: &str) {
        let application = CLUSTER.yarn().wait_ended(&self.application, LIMIT).unwrap();
        assert_eq!(application.final_status, status, "{}: {}", self.name, application.diagnostics);
        wait_nothing_left(&CLUSTER, &self.application, LIMIT).unwrap();
    }

    /// Kills one of its processes.
    fn kill(&self, program: &str) {
        let running = || process::of_application(&self.application).into_iter().find(|one| one.program == program);
        wait::until(&format!("a {program} of {}", self.name), LIMIT, running).unwrap().kill().unwrap();
    }

    /// No checkpoint of it is left.
    fn no_checkpoint_is_left(&self) {
        let left = CLUSTER.hdfs().tree(&format!("/checkpoints/{}", self.name)).unwrap();
        assert!(left.iter().all(|entry| entry.is_dir && !entry.path.contains(&self.id)), "{left:?}");
    }
}

/// What was written and committed: nothing when a job was stopped before it had anything to say.
fn written(name: &str) -> String {
    let directory = format!("/out/{name}");
    if CLUSTER.hdfs().exists(&directory).unwrap() {
        CLUSTER.hdfs().read_all(&directory).unwrap()
    } else {
        String::new()
    }
}

/// The path in what the command has printed.
fn path_of(outcome: &Outcome) -> String {
    let printed = outcome.printed();
    let path = ["Savepoint completed. Path: ", "Savepoint stored in "].into_iter().find_map(|text| {
        let line = printed.split(text).nth(1)?.lines().next()?;
        Some(line.trim_end_matches('.').to_owned())
    });
    path.unwrap_or_else(|| panic!("no path: {printed}"))
}

/// Where a full path lies within HDFS.
fn within(path: &str) -> &str {
    path.strip_prefix(&CLUSTER.hdfs_url()).unwrap()
}

#[track_caller]
fn is_whole(savepoint: &str) {
    assert!(savepoint.starts_with(&format!("{}/savepoints/savepoint-", CLUSTER.hdfs_url())), "{savepoint}");
    assert!(CLUSTER.hdfs().exists(&format!("{}/_metadata", within(savepoint))).unwrap(), "{savepoint}");
}

const OFTEN: &str = "-D execution.checkpointing.interval=200ms";
/// Checkpoints are taken only when a user asks for them.
const ON_DEMAND: &str = "-D execution.checkpointing.interval=24h -D execution.checkpointing.num-retained=3 \
                         -D execution.checkpointing.data-inline-threshold=0b";

#[test]
fn a_job_is_stopped_with_a_savepoint_and_goes_on_from_it_with_another_parallelism() {
    let rounds: u64 = std::env::var("FLUMEN_STOP_ROUNDS").ok().map_or(2, |rounds| rounds.parse().unwrap());
    let gate = Gate::closed().unwrap();
    let mut job = start("stopped", &format!("-p 2 {OFTEN}"), &gate);
    job.wait_completed(1);
    job.checkpoint();

    let hdfs = CLUSTER.hdfs_url();
    let taken = path_of(&flink(&format!("savepoint {} {hdfs}/elsewhere -yid {}", job.id, job.application)).succeeded());
    assert!(CLUSTER.hdfs().exists(&format!("{}/_metadata", within(&taken))).unwrap());
    let disposed = flink(&format!("savepoint -d {taken}")).succeeded();
    assert!(disposed.printed().contains("disposed."), "{}", disposed.printed());
    assert!(!CLUSTER.hdfs().exists(within(&taken)).unwrap());
    let _ = flink(&format!("savepoint -d {taken}")).failed_with(&[&taken]);

    for round in 1..=rounds {
        let stopped = path_of(&flink(&format!("stop {}", job.id)).succeeded());
        is_whole(&stopped);
        job.ended("SUCCEEDED");
        job.no_checkpoint_is_left();
        assert_ne!(differences(&expected_rows(EVENTS), &written("stopped")), "", "stopped in the middle");
        let _ = flink(&format!("stop {}", job.id)).failed_with(&["none of the", &job.id]);
        say(&format!("stopped {round} of {rounds} times"));
        job = start("stopped", &format!("-s {stopped} -p {} {OFTEN}", [1, 3, 2][(round % 3) as usize]), &gate);
        job.wait_completed(1);
    }
    gate.open().unwrap();
    job.ended("SUCCEEDED");
    assert_eq!(differences(&expected_rows(EVENTS), &written("stopped")), "");
}

/// What is written in parts, added up: rows of windows only.
fn windows(text: &str) -> Rows {
    let mut rows = Rows::new();
    for (key, window, events, sum) in text.lines().map(stateful::parsed) {
        if window.is_some() {
            let row = rows.entry((key, window)).or_default();
            *row = (row.0 + events, row.1 + sum);
        }
    }
    rows
}

#[test]
fn a_drained_job_has_told_all_that_it_knew_and_its_savepoint_holds_the_rest() {
    for then in [2, 1] {
        let name = format!("drained-{then}");
        let gate = Gate::closed().unwrap();
        let job = start(&name, &format!("-p 2 {OFTEN}"), &gate);
        job.wait_completed(3);
        let stopped = path_of(&flink(&format!("stop -d {}", job.id)).succeeded());
        is_whole(&stopped);
        job.ended("SUCCEEDED");
        job.no_checkpoint_is_left();

        // All windows have fired, those too that would have lasted longer, and all timers: the totals say the same.
        let text = written(&name);
        let (mut of_windows, mut totals) = (Rows::new(), Rows::new());
        for (key, window, events, sum) in text.lines().map(stateful::parsed) {
            let rows = if window.is_some() { &mut of_windows } else { &mut totals };
            let row = rows.entry((key, None)).or_default();
            *row = (row.0 + events, row.1 + sum);
        }
        assert_eq!(of_windows, totals);
        let count: u64 = totals.values().map(|row| row.0).sum();
        assert!(0 < count && count < EVENTS, "stopped in the middle: {count}");

        // The rest comes in windows of its own, where some had fired before their time.
        gate.open().unwrap();
        let job = start(&name, &format!("-s {stopped} -p {then} {OFTEN}"), &gate);
        job.ended("SUCCEEDED");
        let mut expected = expected_rows(EVENTS);
        expected.retain(|(_, window), _| window.is_some());
        let found = windows(&written(&name));
        let wrong: Vec<_> = expected.iter().filter(|(key, row)| found.get(key) != Some(row)).take(10).collect();
        assert!(wrong.is_empty() && found.len() == expected.len(), "{then} subtasks: {wrong:?}");
    }
}

#[test]
fn a_job_is_cancelled_with_a_savepoint_and_goes_on_from_it() {
    let gate = Gate::closed().unwrap();
    let job = start("cancelled", &format!("-p 2 {OFTEN}"), &gate);
    job.wait_completed(2);
    let directory = format!("{}/savepoints", CLUSTER.hdfs_url());
    let taken = path_of(&flink(&format!("cancel -s {directory} {}", job.id)).succeeded());
    is_whole(&taken);
    job.ended("KILLED");
    job.no_checkpoint_is_left();
    gate.open().unwrap();
    start("cancelled", &format!("-s {taken} -p 3 {OFTEN}"), &gate).ended("SUCCEEDED");
    assert_eq!(differences(&expected_rows(EVENTS), &written("cancelled")), "");
}

#[test]
fn a_second_applicationmaster_goes_on_from_the_newest_checkpoint_of_the_first() {
    let gate = Gate::closed().unwrap();
    let retained = "-D execution.checkpointing.num-retained=3 -D yarn.application-attempts=2";
    let job = start("taken-over", &format!("-p 2 {OFTEN} {retained}"), &gate);
    let before = job.wait_completed(5);
    job.kill("flumen-appmaster");
    let restored = job.wait_restored(|id| id >= before);
    // Those of the first are counted.
    let after = job.wait_completed(restored + 1);
    assert!(after > restored, "numbers go on: {after} after {restored}");
    gate.open().unwrap();
    job.ended("SUCCEEDED");
    assert_eq!(differences(&expected_rows(EVENTS), &written("taken-over")), "");
    job.no_checkpoint_is_left();
}

/// Alters the files of state of a checkpoint of a job.
fn damage(job: &Job, checkpoint: u64) {
    let hdfs = CLUSTER.hdfs();
    let files = hdfs.tree(&format!("/checkpoints/{}/{}", job.name, job.id)).unwrap();
    let of_it = |path: &str| path.contains(&format!("/chk-{checkpoint}/"));
    let files: Vec<_> = files.into_iter().filter(|file| !file.is_dir && of_it(&file.path)).collect();
    let state: Vec<_> = files.iter().filter(|file| !file.path.ends_with("/_metadata") && file.length > 0).collect();
    assert!(!state.is_empty(), "no files of state in checkpoint {checkpoint}: {files:?}");
    for file in state {
        let mut bytes = hdfs.read(&file.path).unwrap();
        bytes.truncate(bytes.len() / 2);
        hdfs.write(&file.path, &bytes).unwrap();
    }
}

#[test]
fn where_the_newest_checkpoint_is_damaged_the_one_before_is_used_by_both_attempts() {
    let gate = Gate::closed().unwrap();
    let job = start("damaged", &format!("-p 2 {ON_DEMAND} -D yarn.application-attempts=2"), &gate);
    let whole = [job.checkpoint(), job.checkpoint()][1];
    damage(&job, job.checkpoint());
    job.kill("itest-stateful");
    // Within an attempt.
    job.wait_restored(|id| id == whole);

    let whole = job.checkpoint();
    damage(&job, job.checkpoint());
    job.kill("flumen-appmaster");
    // By the next attempt.
    job.wait_restored(|id| id == whole);
    let logs = CLUSTER.container_logs(&job.application).unwrap();
    let named = |log: &&flumen_itests::hadoop::ContainerLog| {
        log.file == "jobmanager.log"
            && log.container.contains("_02_")
            && log.text.contains("the checkpoint is not used")
    };
    assert_eq!(logs.iter().filter(named).count(), 1, "the damaged one is named");

    gate.open().unwrap();
    job.ended("SUCCEEDED");
    // What a checkpoint has committed stays when the job has to go back behind it: such rows come twice, but never wrong.
    let mut rows: Vec<String> = written("damaged").lines().map(str::to_owned).collect();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(differences(&expected_rows(EVENTS), &rows.join("\n")), "");
}
