//! A container with a real TaskExecutor process in it, and the JobManager's side of its connection.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use flumen_model::config::Configuration;
use flumen_model::failure::Failure;
use flumen_model::ids::{Epoch, JobId};
use flumen_model::job_graph::{JobGraph, RuntimeMode};
use flumen_wire::application::Program;
use flumen_wire::control::{
    ExecutorCommand, ExecutorInfo, ExecutorReport, FromExecutor, FromWorker, StartWorker, ToExecutor, ToWorker,
};
use flumen_wire::frame;
use tempfile::TempDir;

pub mod fake_worker;

/// Limit of every wait: generous, because machines are busy.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The job of all tests.
pub const JOB: JobId = JobId(0xabc);

/// The epoch in which the tests' JobManager speaks.
pub const EPOCH: Epoch = Epoch(5);

/// A TaskExecutor process in its own directory, registered.
pub struct Container {
    pub dir: TempDir,
    pub info: ExecutorInfo,
    pub stream: Option<TcpStream>,
    pub process: TaskExecutor,
    /// Of the JobManager that it obeys.
    pub epoch: Epoch,
}

/// The process; killed when dropped, so that a failed test leaves nothing.
pub struct TaskExecutor(Child);

impl TaskExecutor {
    /// Starts it with the arguments `--jobmanager` and these; it logs to `logs` and spills to `local`.
    pub fn spawn(dir: &TempDir, jobmanager: &str, arguments: &[&str]) -> Self {
        for inner in ["logs", "local"] {
            fs::create_dir(dir.path().join(inner)).unwrap();
        }
        symlink(std::env::current_exe().unwrap(), dir.path().join("program")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_flumen-taskexecutor"))
            .args(["--jobmanager", jobmanager])
            .args(arguments)
            .current_dir(dir.path())
            .env("CONTAINER_ID", "container_1_0001_01_000002")
            .env("NM_HOST", "127.0.0.1")
            .env("LOG_DIRS", dir.path().join("logs"))
            .env("LOCAL_DIRS", dir.path().join("local"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(process)
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn terminate(&self) {
        let process = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    }

    pub fn kill(&mut self) {
        self.0.kill().unwrap();
    }

    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the TaskExecutor ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for TaskExecutor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Container {
    /// With 112 MiB of memory, of which 64 MiB are for workers.
    pub fn start(options: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let dir = TempDir::new().unwrap();
        let process = TaskExecutor::spawn(&dir, &address, &["--slots", "2", "--memory", "112m", "--no-tls"]);
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let first: FromExecutor = frame::read_blocking(&mut stream).unwrap().unwrap();
        let ExecutorReport::Register { info, workers: _ } = first.report else { panic!("{first:?}") };
        let mut container = Self { dir, info, stream: Some(stream), process, epoch: EPOCH };
        let mut configuration = Configuration::new();
        for (key, value) in options {
            configuration.set(*key, *value);
        }
        let hadoop = [("fs.defaultFS".to_owned(), "hdfs://nn:9000".to_owned())].into();
        container.say(ExecutorCommand::Registered { configuration, hadoop });
        container
    }

    pub fn say(&mut self, command: ExecutorCommand) {
        self.say_in(self.epoch, command);
    }

    pub fn say_in(&mut self, epoch: Epoch, command: ExecutorCommand) {
        frame::write_blocking(self.stream.as_mut().unwrap(), &ToExecutor { epoch, command }).unwrap();
    }

    /// Starts a worker that plays this script; see [`fake_worker`].
    pub fn start_worker(&mut self, instance: u32, script: &str) {
        self.start_program(instance, script, "program");
    }

    pub fn start_program(&mut self, instance: u32, script: &str, program: &str) {
        self.say(start_worker(instance, script, program));
    }

    pub fn tell_worker(&mut self, instance: u32, message: ToWorker) {
        self.say(ExecutorCommand::Worker { job: JOB, instance, message });
    }

    pub fn hear(&mut self) -> ExecutorReport {
        let report: FromExecutor = frame::read_blocking(self.stream.as_mut().unwrap()).unwrap().unwrap();
        assert_eq!(report.epoch, self.epoch);
        report.report
    }

    /// The next report must be from that worker.
    pub fn hear_worker(&mut self, instance: u32) -> FromWorker {
        match self.hear() {
            ExecutorReport::Worker { job: JOB, instance: from, message } if from == instance => message,
            other => panic!("{other:?}"),
        }
    }

    /// The process of the worker that becomes ready next.
    pub fn hear_ready(&mut self, instance: u32) -> u32 {
        match self.hear_worker(instance) {
            FromWorker::Ready { pid, .. } => pid,
            other => panic!("{other:?}"),
        }
    }

    /// The next report must be that worker's end.
    pub fn hear_exit(&mut self, instance: u32) -> Failure {
        match self.hear() {
            ExecutorReport::WorkerExited { job: JOB, instance: from, failure } if from == instance => failure,
            other => panic!("{other:?}"),
        }
    }

    /// Asks for a sign of life; returns the resident bytes. Nothing else may have been reported before.
    pub fn heartbeat(&mut self) -> u64 {
        self.say(ExecutorCommand::Heartbeat);
        match self.hear() {
            ExecutorReport::Heartbeat { resident } => resident,
            other => panic!("{other:?}"),
        }
    }

    pub fn log(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join("logs").join(file)).unwrap_or_default()
    }

    pub fn tmp_dirs(&self) -> Vec<PathBuf> {
        fs::read_dir(self.dir.path().join("local")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// The command to start this program, which plays this script if it is the usual one.
pub fn start_worker(instance: u32, script: &str, program: &str) -> ExecutorCommand {
    start_worker_of(instance, script, Program::localized(program))
}

/// The same with a program that may have to be fetched.
pub fn start_worker_of(instance: u32, script: &str, program: Program) -> ExecutorCommand {
    let graph = JobGraph {
        name: script.to_owned(),
        mode: RuntimeMode::Batch,
        vertices: vec![],
        edges: vec![],
        outputs: vec![],
        properties: Default::default(),
    };
    let arguments = fake_worker::ARGUMENTS.iter().map(|argument| (*argument).to_owned()).collect();
    let mut configuration = Configuration::new();
    configuration.set("some.key", "the job's");
    let start = StartWorker { job: JOB, instance, program, arguments, graph, configuration, slots: 2 };
    ExecutorCommand::StartWorker(Box::new(start))
}

/// True while there is such a process, zombies included.
pub fn alive(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).try_exists().unwrap()
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "it takes too long until {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
