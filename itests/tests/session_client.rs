//! Sessions by the command line, on a real cluster: started, found again, used, stopped, and nothing left.

#![expect(clippy::unwrap_used, reason = "what helpers of a test can't do fails the test")]

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use flumen_itests::binaries::binary;
use flumen_itests::flink::{self, Flink, Outcome};
use flumen_itests::hadoop::HadoopCluster;
use flumen_itests::job::{Gate, expected_counts};
use flumen_itests::stateful;
use flumen_itests::traces::wait_nothing_left;
use flumen_itests::wait;
use flumen_itests::workload::{differences, final_counts};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(120);

static CLUSTER: LazyLock<HadoopCluster> =
    LazyLock::new(|| HadoopCluster::builder().node_resources(8192, 16).start().unwrap());

/// One user's machine: the directory of the properties file.
struct Desk {
    dir: tempfile::TempDir,
    user: String,
}

impl Desk {
    fn of(user: &str) -> Desk {
        CLUSTER.hdfs().make_home(user).unwrap();
        Desk { dir: tempfile::tempdir().unwrap(), user: user.to_owned() }
    }

    fn flink(&self, action: &str) -> Flink {
        let location = format!("yarn.properties-file.location={}", self.dir.path().display());
        Flink::on(&CLUSTER).env("HADOOP_USER_NAME", &self.user).arg(action).arg("-D").arg(location).limit(LIMIT)
    }

    /// Starts a detached session and returns its application.
    fn session(&self) -> (String, Outcome) {
        self.session_with("-tm 384m -s 2")
    }

    fn session_with(&self, options: &str) -> (String, Outcome) {
        let outcome = self.flink("yarn-session").args("-d -jm 256m").args(options).run().succeeded();
        (outcome.application_id().unwrap(), outcome)
    }

    /// Ends a session as scripts do, and looks that nothing is left.
    fn stop(&self, session: &str) {
        let _ = self.flink("yarn-session").args(&format!("-id {session}")).say("stop\n").run().succeeded();
        let application = CLUSTER.yarn().application(session).unwrap();
        assert_eq!((application.state.as_str(), application.final_status.as_str()), ("FINISHED", "SUCCEEDED"));
        self.nothing_left(session);
    }

    fn nothing_left(&self, session: &str) {
        wait_nothing_left(&CLUSTER, session, LIMIT).unwrap();
        let staging = format!("/user/{}/.flink/{session}", self.user);
        wait::until("the staging directory is gone", LIMIT, || {
            (!CLUSTER.hdfs().exists(&staging).unwrap()).then_some(())
        })
        .unwrap();
    }

    fn properties(&self) -> PathBuf {
        self.dir.path().join(format!(".yarn-properties-{}", self.user))
    }

    fn remembers(&self) -> bool {
        self.properties().try_exists().unwrap()
    }

    /// Files that were staged by content: path and when they were written.
    fn cached(&self) -> Vec<(String, u64)> {
        let tree = CLUSTER.hdfs().tree(&format!("/user/{}/.flink/cache", self.user)).unwrap();
        tree.into_iter().filter(|entry| !entry.is_dir).map(|entry| (entry.path, entry.modified_ms)).collect()
    }
}

/// The id in Flink's line.
fn job_id(outcome: &Outcome) -> String {
    let printed = outcome.printed();
    let id = printed.split("Job has been submitted with JobID ").nth(1).unwrap_or_else(|| panic!("{outcome}"));
    id.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn jobs_run_in_the_session_of_the_properties_file_until_it_is_told_to_stop() {
    let desk = Desk::of("erin");
    let (session, started) = desk.session();
    for part in ["JobManager Web Interface: http://", &format!("yarn-session.sh -id {session}")] {
        assert!(started.stdout.contains(part), "{part}: {started}");
    }
    assert_eq!(std::fs::metadata(desk.properties()).unwrap().mode() & 0o777, 0o600);
    let application = CLUSTER.yarn().application(&session).unwrap();
    assert_eq!((application.name.as_str(), application.kind.as_str()), ("Flink session cluster", "Apache Flink"));

    let run = |name: &str| {
        let output = format!("--output {}/tmp/{name}", CLUSTER.hdfs_url());
        desk.flink("run").args("-p 2").arg(binary("itest-job")).args(&output).run().succeeded()
    };
    let first = run("session-1");
    let cached = desk.cached();
    assert!(cached.iter().any(|(path, _)| path.ends_with("/itest-job")), "{cached:?}");
    let second = run("session-2");
    assert_eq!(desk.cached(), cached, "nothing is uploaded twice");
    assert_ne!(job_id(&first), job_id(&second));
    for name in ["session-1", "session-2"] {
        let found = final_counts(&CLUSTER.hdfs().read_all(&format!("/tmp/{name}")).unwrap()).unwrap();
        assert_eq!(differences(&expected_counts(100_000), &found), "");
    }

    let gate = Gate::closed().unwrap();
    let output = format!("--output {}/tmp/session-3", CLUSTER.hdfs_url());
    let gated = desk.flink("run").args("-d -p 2").arg(binary("itest-job")).arg("--gate").arg(gate.path());
    let job = job_id(&gated.args(&output).run().succeeded());
    let listed = desk.flink("list").run().succeeded();
    assert!(listed.stdout.contains("- Running/Restarting Jobs -"), "{listed}");
    assert!(listed.stdout.contains(&format!(" : {job} : ")) && listed.stdout.contains("(RUNNING)"), "{listed}");
    assert!(!listed.stdout.contains(&job_id(&first)), "{listed}");
    let all = desk.flink("list").args("-a --json").run().succeeded();
    for id in [&job, &job_id(&first), &job_id(&second), &session] {
        assert!(all.stdout.contains(id.as_str()), "{id}: {all}");
    }
    let cancelled = desk.flink("cancel").arg(&job).run().succeeded();
    assert!(cancelled.stdout.contains(&format!("Cancelled job {job}.")), "{cancelled}");
    let listed = desk.flink("list").arg("-r").run().succeeded();
    assert!(listed.stdout.contains("No running jobs."), "{listed}");
    CLUSTER.hdfs().wait_empty("/tmp/session-3", LIMIT).unwrap();

    desk.stop(&session);
    assert_eq!(std::fs::read_dir(desk.dir.path()).unwrap().count(), 0, "no properties file is left");
    let text = ["no target was chosen", "there is no session"];
    let _ = desk.flink("run").arg(binary("itest-job")).run().failed_with(&text);
}

#[test]
fn a_stale_properties_file_is_named_and_removed_and_never_used() {
    let desk = Desk::of("frank");
    let (session, _) = desk.session();
    CLUSTER.yarn().kill(&session).unwrap();
    CLUSTER.yarn().wait_ended(&session, LIMIT).unwrap();
    let outcome = desk.flink("run").arg(binary("itest-job")).run();
    let outcome = outcome.failed_with(&[&session, "has ended", "the file is removed", "no target was chosen"]);
    assert!(!desk.remembers(), "{outcome}");

    let unknown = format!("applicationID={}\n", session.replace("application_", "application_9"));
    std::fs::write(desk.properties(), &unknown).unwrap();
    let _ = desk.flink("run").arg(binary("itest-job")).run().failed_with(&["is unknown", "rm "]);
    assert_eq!(std::fs::read_to_string(desk.properties()).unwrap(), unknown, "it may be another cluster's");
    std::fs::write(desk.properties(), "nonsense").unwrap();
    let _ = desk.flink("list").arg("-t").arg("yarn-session").run().failed_with(&["does not name an application"]);

    // What a killed session leaves is swept by the next one.
    let (next, _) = desk.session();
    desk.nothing_left(&session);
    desk.stop(&next);
}

#[test]
fn sessions_of_two_users_and_two_sessions_of_one_do_not_mix() {
    let (alice, bob) = (Desk::of("grace"), Desk::of("heidi"));
    let (first, _) = alice.session();
    let (second, outcome) = alice.session();
    assert!(outcome.stderr.contains(&format!("-yid {first}")), "the older one is named: {outcome}");
    let (others, _) = bob.session();
    let json = |desk: &Desk, options: &str| desk.flink("list").args("-a --json").args(options).run().succeeded().stdout;

    let output = format!("--output {}/tmp/mixed", CLUSTER.hdfs_url());
    let run = alice.flink("run").args(&format!("-yid {first}")).arg(binary("itest-job")).args(&output).run();
    let job = job_id(&run.succeeded());
    assert!(json(&alice, &format!("-yid {first}")).contains(&job));
    assert_eq!(json(&alice, "").trim(), "[]", "the newest session owns the file");
    assert_eq!(json(&bob, "").trim(), "[]");
    // Another user's session is not to be used without its token.
    let _ = bob.flink("yarn-session").args(&format!("-id {first}")).say("stop\n").run().failed_with(&[&first]);

    alice.stop(&first);
    assert!(alice.remembers(), "it names the other session");
    assert_eq!(json(&alice, "").trim(), "[]");
    alice.stop(&second);
    bob.stop(&others);
}

#[test]
fn an_attached_session_ends_with_ctrl_c_and_a_re_attached_one_goes_on() {
    let desk = Desk::of("ivan");
    let mut attached = desk.flink("yarn-session").args("-jm 256m -tm 384m").say("help\n").spawn();
    let session = attached.wait_printed("an application id", LIMIT, flink::application_id).unwrap();
    attached.wait_printed("the help", LIMIT, |text| text.matches("stop - stop").nth(1).map(drop)).unwrap();

    let mut second = desk.flink("yarn-session").args(&format!("-id {session}")).spawn();
    second.wait_printed("the help", LIMIT, |text| text.contains("stop - stop").then_some(())).unwrap();
    second.signal(Signal::INT).unwrap();
    let outcome = second.wait(LIMIT).succeeded();
    assert!(outcome.printed().contains("goes on"), "{outcome}");
    assert_eq!(CLUSTER.yarn().application(&session).unwrap().state, "RUNNING");

    attached.signal(Signal::INT).unwrap();
    let _ = attached.wait(LIMIT).succeeded();
    assert_eq!(CLUSTER.yarn().application(&session).unwrap().final_status, "SUCCEEDED");
    desk.nothing_left(&session);
    assert!(!desk.remembers());
}

#[test]
fn a_session_that_is_interrupted_before_it_can_be_used_leaves_nothing() {
    let desk = Desk::of("judy");
    let mut client = desk.flink("yarn-session").args("-d -jm 256m -tm 384m").spawn();
    let session = client.wait_printed("an application id", LIMIT, flink::application_id).unwrap();
    client.signal(Signal::INT).unwrap();
    let _ = client.wait(LIMIT).failed_with(&["interrupted"]);
    assert!(CLUSTER.yarn().wait_ended(&session, LIMIT).unwrap().ended());
    desk.nothing_left(&session);
    assert!(!desk.remembers());
}

#[test]
fn a_program_in_hdfs_is_planned_and_run_on_the_cluster_alone() {
    let desk = Desk::of("kim");
    CLUSTER.hdfs().put(&binary("itest-job"), "/tmp/bin/itest-job", None).unwrap();
    let hdfs = CLUSTER.hdfs_url();
    let run = desk.flink("run-application").args("-t yarn-application -yjm 256m -ytm 384m -p 2");
    let outcome = run.args(&format!("{hdfs}/tmp/bin/itest-job --output {hdfs}/tmp/in-application")).run().succeeded();
    let id = outcome.application_id().unwrap();
    let application = CLUSTER.yarn().wait_ended(&id, LIMIT).unwrap();
    assert_eq!(
        (application.name.as_str(), application.final_status.as_str()),
        ("Flink Application Cluster", "SUCCEEDED")
    );
    let found = final_counts(&CLUSTER.hdfs().read_all("/tmp/in-application").unwrap()).unwrap();
    assert_eq!(differences(&expected_counts(100_000), &found), "");
    desk.nothing_left(&id);
    assert!(!desk.cached().iter().any(|(path, _)| path.ends_with("/itest-job")), "it was there already");
}

/// The id of a job once its client has seen it running.
fn job_that_runs(printed: &str) -> Option<String> {
    let id = printed.split("Job has been submitted with JobID ").nth(1).filter(|rest| rest.contains("RUNNING"))?;
    id.split_whitespace().next().map(str::to_owned)
}

/// Events of the stateful job, which lasts for minutes while its gate is closed.
const EVENTS: u64 = 300_000;

/// `flink run` of the stateful job, which writes to `/tmp/<name>`.
fn stateful(desk: &Desk, options: &str, name: &str, gate: &Gate) -> Flink {
    let hdfs = CLUSTER.hdfs_url();
    let run = desk.flink("run").args(options).arg(binary("itest-stateful"));
    run.args(&format!("--count {EVENTS} --gate {} --output {hdfs}/tmp/{name}", gate.path().display()))
}

/// The full path of the savepoint that the command has taken.
fn savepoint_of(outcome: &Outcome) -> String {
    let printed = outcome.printed();
    let path = printed.split("Savepoint completed. Path: ").nth(1).and_then(|rest| rest.lines().next());
    path.unwrap_or_else(|| panic!("{outcome}")).to_owned()
}

#[test]
fn savepoints_stops_and_silent_clients_concern_one_job_of_a_session() {
    let desk = Desk::of("laura");
    let hdfs = CLUSTER.hdfs_url();
    let (session, _) = desk.session_with(&format!(
        "-tm 640m -s 4 -D execution.checkpointing.interval=200ms -D state.checkpoints.dir={hdfs}/tmp/laura/checkpoints \
         -D state.savepoints.dir={hdfs}/tmp/laura/savepoints"
    ));
    let get = |path: &str| CLUSTER.yarn().through_proxy(&session, path).unwrap();
    let restored = |job: &str| get(&format!("/jobs/{job}/checkpoints"))["latest"]["restored"]["id"].as_u64();
    let completes = |job: &str| {
        wait::until("a checkpoint is completed", LIMIT, || {
            let counts = get(&format!("/jobs/{job}/checkpoints"));
            counts["counts"]["completed"].as_u64().filter(|completed| *completed > 0)
        })
    };
    let (others_gate, gate) = (Gate::closed().unwrap(), Gate::closed().unwrap());
    let other = job_id(&stateful(&desk, "-d -p 1", "laura-other", &others_gate).run().succeeded());
    completes(&other).unwrap();

    let mut job = job_id(&stateful(&desk, "-d -p 1", "laura-job", &gate).run().succeeded());
    completes(&job).unwrap();
    let outcome = desk.flink("checkpoint").arg(&job).run().succeeded();
    assert!(outcome.printed().contains(&format!("for job {job} completed.")), "{outcome}");
    let mut savepoint = savepoint_of(&desk.flink("savepoint").arg(&job).run().succeeded());
    let _ = desk.flink("cancel").arg(&job).run().succeeded();
    // What it wrote since the savepoint is written again: into a directory of its own.
    for (name, options) in [("laura-first", "-n -p 2"), ("laura-claimed", "-cm CLAIM -p 1")] {
        job = job_id(&stateful(&desk, &format!("-d -s {savepoint} {options}"), name, &gate).run().succeeded());
        completes(&job).unwrap();
        assert!(restored(&job).is_some(), "{}", get(&format!("/jobs/{job}/checkpoints")));
        let before = savepoint;
        savepoint = savepoint_of(&desk.flink("stop").arg(&job).run().succeeded());
        let kept = CLUSTER.hdfs().exists(before.strip_prefix(&hdfs).unwrap()).unwrap();
        assert!(kept || options.contains("CLAIM"), "{before} is the user's");
    }
    let listed = desk.flink("list").arg("-r").run().succeeded();
    assert!(listed.stdout.contains(&other) && !listed.stdout.contains(&job), "{listed}");

    // An attached client that vanishes takes its job with it, and no other.
    let heartbeat = "-sae -D client.heartbeat.interval=500ms -D client.heartbeat.timeout=5s";
    let output = format!("--output {hdfs}/tmp/laura-silent --gate {}", gate.path().display());
    let run = desk.flink("run").args(heartbeat).arg(binary("itest-job")).args(&output);
    let mut client = run.spawn();
    client.wait_printed("the job runs", LIMIT, |text| text.contains("RUNNING").then_some(())).unwrap();
    client.signal(Signal::KILL).unwrap();
    drop(client);
    let state = |name: &str| {
        let jobs = get("/jobs/overview");
        let found = jobs["jobs"].as_array().unwrap().iter().find(|job| job["name"] == name).cloned();
        found.map(|job| job["state"].as_str().unwrap().to_owned())
    };
    wait::until("the silent client's job is cancelled", LIMIT, || (state("itest")? == "CANCELED").then_some(()))
        .unwrap();
    CLUSTER.hdfs().wait_empty("/tmp/laura-silent", LIMIT).unwrap();

    others_gate.open().unwrap();
    wait::until("the other job is over", LIMIT, || {
        (get(&format!("/jobs/{other}"))["state"] == "FINISHED").then_some(())
    })
    .unwrap();
    assert_eq!(restored(&other), None, "nothing has touched it");
    let written = CLUSTER.hdfs().read_all("/tmp/laura-other").unwrap();
    assert_eq!(stateful::differences(&stateful::expected_rows(EVENTS), &written), "");
    desk.stop(&session);
}

#[test]
fn a_session_has_as_many_taskexecutors_as_its_limits_and_jobs_say() {
    let desk = Desk::of("mike");
    let (session, _) = desk.session_with(
        "-tm 384m -s 2 -D slotmanager.number-of-slots.min=1 -D slotmanager.number-of-slots.max=5 \
         -D slotmanager.redundant-taskmanager-num=1 -D resourcemanager.taskmanager-timeout=2s",
    );
    let executors = |count: usize| {
        wait::until_ok(&format!("there are {count} TaskExecutors"), LIMIT, || {
            let found = CLUSTER.yarn().through_proxy(&session, "/taskmanagers").map_err(|error| error.to_string())?;
            if found["taskmanagers"].as_array().unwrap().len() == count { Ok(()) } else { Err(found.to_string()) }
        })
        .unwrap();
    };
    executors(1);
    let run = |options: &str, name: &str, arguments: &str| {
        let output = format!("--output {}/tmp/mike-{name} {arguments}", CLUSTER.hdfs_url());
        desk.flink("run").args(options).arg(binary("itest-job")).args(&output)
    };
    let _ = run("-p 5", "too-large", "").run().failed_with(&["needs 5 slots", "slotmanager.number-of-slots.max is 5"]);

    // One job with half of the slots, and a spare TaskExecutor. One that needs all of them waits, and lets small ones pass.
    let gate = Gate::closed().unwrap();
    let _ = run("-d -p 2", "half", &format!("--gate {}", gate.path().display())).run().succeeded();
    executors(2);
    let mut large = run("-p 4", "large", "").spawn();
    large.wait_printed("the large job is submitted", LIMIT, |text| text.contains("JobID").then_some(())).unwrap();
    let _ = run("-p 1", "small", "").run().succeeded();
    let waits = |text: &str| text.contains("it waits for slots").then_some(());
    large.wait_printed("the large job says what it waits for", LIMIT, waits).unwrap();
    gate.open().unwrap();
    let _ = large.wait(LIMIT).succeeded();
    for name in ["half", "small", "large"] {
        let found = final_counts(&CLUSTER.hdfs().read_all(&format!("/tmp/mike-{name}")).unwrap()).unwrap();
        assert_eq!(differences(&expected_counts(100_000), &found), "", "{name}");
    }
    executors(1);
    desk.stop(&session);
}

#[test]
fn what_high_availability_kept_of_a_killed_session_is_told_and_used_and_of_a_killed_job_removed() {
    let desk = Desk::of("oscar");
    let storage = format!("{}/user/oscar/ha", CLUSTER.hdfs_url());
    let kept = |name: &str| CLUSTER.hdfs().exists(&format!("/user/oscar/ha/{name}")).unwrap();
    let on = format!("-D high-availability.storageDir={storage}");
    let (session, started) = desk.session_with(&format!("-tm 384m -s 2 {on}"));
    let told =
        [format!("`{storage}/{session}`"), format!("-z {session}"), format!("hdfs dfs -rm -r {storage}/{session}")];
    assert!(told.iter().all(|part| started.printed().contains(part)), "{started}");
    let gate = Gate::closed().unwrap();
    let hdfs = CLUSTER.hdfs_url();
    let gated = |flink: Flink, name: &str| {
        flink.arg(binary("itest-job")).arg("--gate").arg(gate.path()).args(&format!("--output {hdfs}/tmp/{name}"))
    };
    let mut attached = gated(desk.flink("run"), "oscar-kept").spawn();
    let job = attached.wait_printed("the job runs", LIMIT, job_that_runs).unwrap();
    CLUSTER.yarn().kill(&session).unwrap();
    CLUSTER.yarn().wait_ended(&session, LIMIT).unwrap();
    assert!(kept(&session));
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    let _ = attached.wait(LIMIT).failed_with(&told);
    let _ = desk.flink("yarn-session").args(&format!("-id {session} {on}")).run().failed_with(&told);
    // The file, which knew the directory, has been removed with that.
    assert!(!desk.remembers());
    let (next, _) = desk.session_with(&format!("-tm 384m -s 2 -z {session} {on}"));
    wait::until("its job goes on", LIMIT, || {
        let listed = desk.flink("list").arg("-r").run().succeeded();
        listed.stdout.contains(&format!(" : {job} : ")).then_some(())
    })
    .unwrap();
    let _ = desk.flink("cancel").arg(&job).run().succeeded();
    desk.stop(&next);
    assert!(!kept(&session), "a session that was stopped leaves nothing");

    // Of an application of one job nobody goes on.
    let run = desk.flink("run").args("-m yarn-cluster -yjm 256m -ytm 384m").args(&on);
    let mut attached = gated(run, "oscar-killed").spawn();
    let killed = attached.wait_printed("the job runs", LIMIT, |text| {
        text.contains("RUNNING").then(|| flink::application_id(text)).flatten()
    });
    let killed = killed.unwrap();
    assert!(kept(&killed));
    CLUSTER.yarn().kill(&killed).unwrap();
    let _ = attached.wait(LIMIT).failed_with(&["was killed by user"]);
    assert!(!kept(&killed), "its client removes it");
    let run = desk.flink("run").args("-d -m yarn-cluster -yjm 256m -ytm 384m").args(&on);
    let alone = gated(run, "oscar-alone").run().succeeded();
    let alone = alone.application_id().unwrap();
    CLUSTER.yarn().kill(&alone).unwrap();
    CLUSTER.yarn().wait_ended(&alone, LIMIT).unwrap();
    assert!(kept(&alone));
    let (last, _) = desk.session();
    wait::until("the next submission removes it", LIMIT, || (!kept(&alone)).then_some(())).unwrap();
    desk.nothing_left(&alone);
    desk.stop(&last);
}

#[test]
fn the_newest_checkpoint_of_a_killed_cluster_is_named_by_who_follows_its_job() {
    let desk = Desk::of("nina");
    let checkpoints = format!("{}/user/nina/checkpoints", CLUSTER.hdfs_url());
    let on = format!("-D execution.checkpointing.interval=200ms -D state.checkpoints.dir={checkpoints}");
    let (session, _) = desk.session_with(&format!("-tm 384m {on}"));
    let own = format!("-m yarn-cluster -yjm 256m -ytm 384m {on}");
    for (options, name) in [("", "nina-session"), (own.as_str(), "nina-own")] {
        let gate = Gate::closed().unwrap();
        let mut attached = stateful(&desk, options, name, &gate).spawn();
        let job = attached.wait_printed("the job runs", LIMIT, job_that_runs).unwrap();
        wait::until("a checkpoint is complete", LIMIT, || {
            let tree = CLUSTER.hdfs().tree(&format!("/user/nina/checkpoints/{job}")).ok()?;
            tree.iter().any(|entry| entry.path.ends_with("/_metadata")).then_some(())
        })
        .unwrap();
        let killed = match options {
            "" => session.clone(),
            _ => attached.wait_printed("its application", LIMIT, flink::application_id).unwrap(),
        };
        CLUSTER.yarn().kill(&killed).unwrap();
        let from = format!("its newest checkpoint stays: `flink run -s {checkpoints}/{job}/chk-");
        let _ = attached.wait(LIMIT).failed_with(&[&from, &format!("hdfs dfs -rm -r {checkpoints}/{job}")]);
    }
}
