//! The real executable, with a JobManager and workers played by this test.

#![allow(clippy::unwrap_used, reason = "the functions that tests share are tests too")]

mod leaders;
mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use flumen_model::failure::Blame;
use flumen_model::ids::{Epoch, ExecutionAttempt, JobId};
use flumen_model::text::hexadecimal;
use flumen_wire::application::{Artifact, Program};
use flumen_wire::certificate::application_pem;
use flumen_wire::control::{
    ExecutorCommand, ExecutorReport, FromExecutor, FromWorker, PROTOCOL_VERSION, ProgramSetup, ToExecutor, ToWorker,
};
use flumen_wire::frame::{self, read, write};
use flumen_wire::tls::{InternalTls, SECURITY_FILE};
use sha2::{Digest as _, Sha256};
use support::{Container, EPOCH, JOB, TaskExecutor, alive, fake_worker, wait_until};
use tempfile::TempDir;

/// Not a test of its own: what the TaskExecutors of the other tests start.
#[test]
fn a_test_program_plays_the_worker() {
    fake_worker::play();
}

#[test]
fn it_registers_as_what_it_is() {
    let container = Container::start(&[]);
    assert_eq!(container.info.protocol, PROTOCOL_VERSION);
    assert_eq!(container.info.id.0, "container_1_0001_01_000002");
    assert_eq!((container.info.slots, container.info.memory), (2, 112 << 20));
    assert_eq!(container.info.pid, container.process.pid());
    assert!(container.info.cpu_cores > 0);
}

#[test]
fn messages_pass_between_jobmanager_and_worker() {
    let mut container = Container::start(&[]);
    container.start_worker(0, "echo");
    let pid = container.hear_ready(0);
    assert!(alive(pid));
    for number in 0..500 {
        container.tell_worker(0, ToWorker::Start { region: 0, attempt: ExecutionAttempt(number) });
    }
    for number in 0..500 {
        let FromWorker::Deployed { attempt, .. } = container.hear_worker(0) else { panic!("not an echo") };
        assert_eq!(attempt, ExecutionAttempt(number));
    }
    // A message for a worker that there is not harms nobody.
    container.tell_worker(7, ToWorker::Start { region: 0, attempt: ExecutionAttempt(0) });
    assert!(container.heartbeat() > 1 << 20);
}

#[test]
fn a_worker_is_told_what_it_may_use() {
    let mut container = Container::start(&[("some.key", "some value")]);
    container.start_worker(0, "echo");
    container.hear_ready(0);
    let setup = setup(&container);
    assert_eq!(setup.configuration.raw("some.key"), Some("the job's"));
    assert_eq!(setup.hadoop.get("fs.defaultFS").map(String::as_str), Some("hdfs://nn:9000"));
    let worker = setup.worker.unwrap();
    assert_eq!((worker.job, worker.memory, worker.slots), (JOB, 64 << 20, 2));
    assert_eq!((worker.host.as_str(), worker.security), ("127.0.0.1", None));
    let tmp_dirs = container.tmp_dirs();
    assert_eq!(worker.tmp_dirs, [tmp_dirs[0].to_str().unwrap()]);
    assert_eq!(tmp_dirs[0].metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

/// What the only worker was told.
fn setup(container: &Container) -> ProgramSetup {
    wait_until("the worker's output is captured", || container.log("taskmanager.out").contains("setup {"));
    let out = container.log("taskmanager.out");
    let setup = out.lines().find_map(|line| line.split_once("setup ")).unwrap().1;
    serde_json::from_str(setup).unwrap()
}

#[test]
fn a_worker_has_directories_of_its_own_where_its_job_wants_state_and_they_go_with_it() {
    for is_set_by_program in [false, true] {
        let mut container = Container::start(&[]);
        let parent = TempDir::new().unwrap();
        let ExecutorCommand::StartWorker(mut start) = support::start_worker(0, "exit 3", "program") else { panic!() };
        let (key, value) = ("state.backend.rocksdb.localdir", parent.path().to_str().unwrap());
        if is_set_by_program {
            start.graph.properties.insert(key.to_owned(), value.to_owned());
        } else {
            start.configuration.set(key, value);
        }
        container.say(ExecutorCommand::StartWorker(start));
        container.hear_ready(0);
        container.hear_exit(0);
        let worker = setup(&container).worker.unwrap();
        let [dir] = &worker.state_dirs[..] else { panic!("{worker:?}") };
        assert_eq!(Path::new(dir).parent(), Some(parent.path()));
        assert!(!worker.tmp_dirs.contains(dir));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0, "what it left is gone");
    }
}

#[test]
fn a_worker_that_can_have_no_directory_for_state_is_not_started_and_the_option_is_named() {
    let mut container = Container::start(&[]);
    let ExecutorCommand::StartWorker(mut start) = support::start_worker(0, "echo", "program") else { panic!() };
    start.configuration.set("state.backend.rocksdb.localdir", "/nowhere");
    container.say(ExecutorCommand::StartWorker(start));
    let failure = container.hear_exit(0);
    let named = ["/nowhere", "set state.backend.rocksdb.localdir"].iter().all(|text| failure.message.contains(text));
    assert!(named, "{failure}");
    assert!(container.tmp_dirs().is_empty());
}

#[test]
fn an_exit_code_is_reported_with_the_end_of_standard_error_and_nothing_is_left() {
    let mut container = Container::start(&[]);
    container.start_worker(0, "exit 3");
    let pid = container.hear_ready(0);
    let failure = container.hear_exit(0);
    assert_eq!(failure.blame, Blame::Outside);
    assert_eq!(failure.executor.as_ref(), Some(&container.info.id));
    let expected = format!("worker 0 of job {JOB} (pid {pid}) ended with exit code 3\n");
    assert!(failure.message.starts_with(&expected), "{failure}");
    assert!(failure.message.ends_with("line 1999"), "{failure}");
    assert!(failure.message.len() < 5000, "{}", failure.message.len());
    assert!(!alive(pid), "not even a zombie");
    assert!(container.tmp_dirs().is_empty(), "its directory is gone");
    let log = container.log(&format!("worker-{JOB}.log"));
    assert!((0..2000).all(|number| log.contains(&format!("line {number}\n"))), "all of it is in the file");
}

#[test]
fn the_logs_of_jobs_that_ended_last_are_kept() {
    let mut container = Container::start(&[("env.log.workers.max", "2")]);
    let log = |container: &Container, job: JobId| container.log(&format!("worker-{job}.log"));
    for number in 1..=4 {
        let job = JobId(number);
        let ExecutorCommand::StartWorker(mut start) = support::start_worker(0, "abort", "program") else { panic!() };
        start.job = job;
        container.say(ExecutorCommand::StartWorker(start));
        assert!(matches!(container.hear(), ExecutorReport::Worker { .. }));
        assert!(matches!(container.hear(), ExecutorReport::WorkerExited { .. }));
        assert!(log(&container, job).contains("no hope"), "{number}");
        // The JobManager has heard of it.
        container.say(ExecutorCommand::StopWorker { job, instance: 0 });
        container.heartbeat();
    }
    let kept = (1..=4).filter(|number| !log(&container, JobId(*number)).is_empty()).collect::<Vec<_>>();
    assert_eq!(kept, [3, 4]);
}

#[test]
fn a_signal_is_reported_by_name() {
    let mut container = Container::start(&[]);
    container.start_worker(0, "abort");
    container.hear_ready(0);
    let failure = container.hear_exit(0);
    assert!(failure.message.contains("was killed by SIGABRT (signal 6)"), "{failure}");
    assert!(failure.message.ends_with("no hope"), "{failure}");
}

#[test]
fn a_worker_that_uses_too_much_memory_is_killed_with_the_figures() {
    let mut container = Container::start(&[]);
    container.start_worker(0, "hog");
    let pid = container.hear_ready(0);
    let failure = container.hear_exit(0);
    assert!(failure.message.contains("mb of its 64 mb (taskmanager.memory.process.size 112 mb"), "{failure}");
    assert!(failure.message.contains(&format!("(pid {pid})")), "{failure}");
    assert!(!alive(pid));
}

#[test]
fn a_program_that_is_no_job_or_not_there_is_reported_as_such() {
    let mut container = Container::start(&[]);
    container.start_worker(0, "return");
    let failure = container.hear_exit(0);
    assert_eq!(failure.blame, Blame::User);
    assert!(failure.message.starts_with("the program ended without calling `execute`"), "{failure}");

    container.start_program(1, "echo", "nowhere");
    let failure = container.hear_exit(1);
    assert!(failure.message.contains("could not be started: `") && failure.message.contains("nowhere`"), "{failure}");
    assert!(container.tmp_dirs().is_empty());
}

#[test]
fn a_program_that_came_later_is_fetched_and_one_that_was_altered_is_refused() {
    let mut container = Container::start(&[]);
    let program = std::env::current_exe().unwrap();
    let content = fs::read(&program).unwrap();
    let sha256 = hexadecimal(&Sha256::digest(&content));
    let artifact = Artifact { url: format!("file://{}", program.display()), size: content.len() as u64, sha256 };
    let fetched = Program { name: "job".to_owned(), artifact: Some(artifact.clone()) };
    container.say(support::start_worker_of(0, "exit 3", fetched.clone()));
    let pid = container.hear_ready(0);
    let failure = container.hear_exit(0);
    assert!(failure.message.contains(&format!("(pid {pid}) ended with exit code 3")), "{failure}");

    let altered = Artifact { size: artifact.size - 1, sha256: "0".repeat(64), ..artifact };
    container.say(support::start_worker_of(1, "echo", Program { artifact: Some(altered), ..fetched }));
    let failure = container.hear_exit(1);
    assert!(failure.message.contains("is not what was submitted"), "{failure}");
    assert!(container.tmp_dirs().is_empty());
}

#[test]
fn a_worker_that_hangs_is_killed_and_one_that_shows_signs_of_life_is_not() {
    let mut container = Container::start(&[("heartbeat.timeout", "3 s")]);
    container.start_worker(0, "echo");
    let alive_for = container.hear_ready(0);
    // Twice the time of silence, in which nobody but this JobManager says anything.
    let begun = std::time::Instant::now();
    while begun.elapsed().as_secs() < 6 {
        container.heartbeat();
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    assert!(alive(alive_for));

    container.start_worker(1, "hung");
    let hung = container.hear_ready(1);
    let failure = loop {
        container.say(ExecutorCommand::Heartbeat);
        match container.hear() {
            ExecutorReport::Heartbeat { .. } => std::thread::park_timeout(std::time::Duration::from_millis(100)),
            ExecutorReport::WorkerExited { instance: 1, failure, .. } => break failure,
            other => panic!("{other:?}"),
        }
    };
    assert!(failure.message.contains("it was silent for 3 s (heartbeat.timeout)"), "{failure}");
    assert!(failure.blame == Blame::Outside && !alive(hung), "{failure}");
}

#[test]
fn a_refusal_is_passed_on_before_the_exit() {
    let mut container = Container::start(&[]);
    container.start_worker(0, "refuse");
    let FromWorker::Refused(failure) = container.hear_worker(0) else { panic!("no refusal") };
    assert_eq!(failure.message, "another graph");
    container.hear_exit(0);
}

#[test]
fn a_worker_that_says_nothing_or_nonsense_is_killed() {
    let mut container = Container::start(&[("worker.start.timeout", "1 s")]);
    container.start_worker(0, "silent");
    let failure = container.hear_exit(0);
    assert!(failure.message.contains("within 1 s (worker.start.timeout)"), "{failure}");

    let mut container = Container::start(&[]);
    container.start_worker(1, "garbage");
    let pid = container.hear_ready(1);
    let failure = container.hear_exit(1);
    assert!(failure.message.contains("does not speak Flumen's protocol"), "{failure}");
    assert!(!alive(pid));
}

#[test]
fn a_process_that_a_worker_leaves_behind_does_not_hide_its_exit() {
    let mut container = Container::start(&[]);
    container.start_worker(0, "orphan");
    container.hear_ready(0);
    assert!(container.hear_exit(0).message.contains("exit code 4"));
}

#[test]
fn a_former_leader_is_refused() {
    let mut container = Container::start(&[]);
    container.say_in(Epoch(EPOCH.0 - 1), ExecutorCommand::Shutdown { reason: "from the past".into() });
    container.heartbeat();
    assert!(container.log("taskmanager.log").contains("stale leader"), "{}", container.log("taskmanager.log"));
    container.say_in(EPOCH, ExecutorCommand::Shutdown { reason: "from the present".into() });
    assert!(container.process.ended().success());
}

#[test]
fn a_stopped_worker_is_gone_and_its_end_is_no_news() {
    let mut container = Container::start(&[]);
    container.start_worker(0, "echo");
    let pid = container.hear_ready(0);
    container.say(ExecutorCommand::StopWorker { job: JOB, instance: 0 });
    wait_until("the worker is gone", || !alive(pid) && container.tmp_dirs().is_empty());
    container.heartbeat();
}

#[test]
fn a_worker_starts_when_the_workers_that_had_its_slots_are_gone() {
    let mut container = Container::start(&[]);
    container.start_worker(0, "echo");
    let former = container.hear_ready(0);
    let ExecutorCommand::StartWorker(mut next) = support::start_worker(0, "echo", "program") else { panic!() };
    next.job = JobId(JOB.0 + 1);
    container.say(ExecutorCommand::StartWorker(next));
    container.heartbeat();
    assert!(container.log("taskmanager.log").contains("waits for the end of workers"), "both have all the slots");
    assert!(alive(former), "it is not for the TaskExecutor to stop another job's worker");
    container.say(ExecutorCommand::StopWorker { job: JOB, instance: 0 });
    let ExecutorReport::Worker { job, message: FromWorker::Ready { .. }, .. } = container.hear() else { panic!() };
    assert_eq!(job, JobId(JOB.0 + 1));
    assert!(!alive(former));
}

#[test]
fn a_new_worker_starts_when_the_former_one_is_gone_and_an_old_command_is_refused() {
    let mut container = Container::start(&[]);
    container.start_worker(3, "echo");
    let former = container.hear_ready(3);
    container.start_worker(4, "echo");
    let pid = container.hear_ready(4);
    assert!(!alive(former) && alive(pid));
    container.start_worker(3, "echo");
    container.start_worker(4, "echo");
    container.heartbeat();
    assert!(alive(pid));
}

#[test]
fn without_a_jobmanager_everything_ends() {
    let mut container = Container::start(&[]);
    container.start_worker(0, "echo");
    let pid = container.hear_ready(0);
    container.stream = None;
    assert_eq!(container.process.ended().code(), Some(1));
    assert!(!alive(pid) && container.tmp_dirs().is_empty());
    assert!(container.log("taskmanager.log").contains("the JobManager closed the connection"));
}

#[test]
fn a_silent_jobmanager_is_given_up() {
    let mut container = Container::start(&[("heartbeat.timeout", "5 s")]);
    container.start_worker(0, "echo");
    let pid = container.hear_ready(0);
    assert_eq!(container.process.ended().code(), Some(1));
    assert!(!alive(pid));
    assert!(container.log("taskmanager.log").contains("silent for 5 s (heartbeat.timeout)"));
}

#[test]
fn sigterm_ends_the_worker_and_then_the_process_with_success() {
    let mut container = Container::start(&[]);
    container.start_worker(0, "echo");
    let pid = container.hear_ready(0);
    container.process.terminate();
    assert!(container.process.ended().success());
    assert!(!alive(pid));
}

#[test]
fn a_killed_taskexecutor_leaves_no_worker() {
    let mut container = Container::start(&[]);
    container.start_worker(0, "echo");
    let pid = container.hear_ready(0);
    container.process.kill();
    wait_until("the worker notices", || !alive(pid) || is_zombie(pid));
}

/// Nobody may be there to reap what has lost its parent.
fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[test]
fn a_refused_registration_ends_the_process_with_the_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = TempDir::new().unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut process = TaskExecutor::spawn(&dir, &address, &["--slots", "1", "--memory", "1g", "--no-tls"]);
    let (mut stream, _) = listener.accept().unwrap();
    let _: FromExecutor = frame::read_blocking(&mut stream).unwrap().unwrap();
    let command = ExecutorCommand::Shutdown { reason: "another protocol".into() };
    frame::write_blocking(&mut stream, &ToExecutor { epoch: EPOCH, command }).unwrap();
    assert_eq!(process.ended().code(), Some(1));
    let log = fs::read_to_string(dir.path().join("logs/taskmanager.log")).unwrap();
    assert!(log.contains("refused this TaskExecutor: another protocol"), "{log}");
}

#[test]
fn it_dials_again_until_the_jobmanager_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = TempDir::new().unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut process = TaskExecutor::spawn(&dir, &address, &["--slots", "1", "--memory", "1g", "--no-tls"]);
    drop(listener.accept().unwrap());
    let (mut stream, _) = listener.accept().unwrap();
    let first: FromExecutor = frame::read_blocking(&mut stream).unwrap().unwrap();
    assert!(matches!(first.report, ExecutorReport::Register { .. }));
    drop(stream);
    process.kill();
}

/// What `flink run` ships: authority, certificate and key in one file.
#[tokio::test]
async fn with_the_applications_certificate_the_connection_is_encrypted_and_workers_get_the_file() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join(SECURITY_FILE);
    fs::write(&file, application_pem().unwrap()).unwrap();
    let tls = InternalTls::from_file(&file).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let _process = TaskExecutor::spawn(&dir, &address, &["--slots", "1", "--memory", "1g"]);
    let talk = async {
        let mut stream = tls.accept(listener.accept().await.unwrap().0).await.unwrap();
        let first: FromExecutor = read(&mut stream).await.unwrap().unwrap();
        assert!(matches!(first.report, ExecutorReport::Register { .. }));
        let registered = ExecutorCommand::Registered { configuration: Default::default(), hadoop: Default::default() };
        for command in [registered, support::start_worker(0, "echo", "program")] {
            write(&mut stream, &ToExecutor { epoch: EPOCH, command }).await.unwrap();
        }
        let ready: FromExecutor = read(&mut stream).await.unwrap().unwrap();
        assert!(matches!(ready.report, ExecutorReport::Worker { message: FromWorker::Ready { .. }, .. }), "{ready:?}");
    };
    tokio::time::timeout(support::LIMIT, talk).await.unwrap();
    wait_until("the worker's output is captured", || {
        let out = fs::read_to_string(dir.path().join("logs/taskmanager.out")).unwrap_or_default();
        out.contains(&format!("\"security\":\"{}\"", file.canonicalize().unwrap().display()))
    });
}

#[test]
fn without_a_certificate_plain_connections_must_be_allowed() {
    let dir = TempDir::new().unwrap();
    let mut process = TaskExecutor::spawn(&dir, "127.0.0.1:1", &["--slots", "1", "--memory", "1g"]);
    assert_eq!(process.ended().code(), Some(1));
    let log = fs::read_to_string(dir.path().join("logs/taskmanager.log")).unwrap();
    assert!(log.contains("flumen-security.pem` is missing"), "{log}");
}
