//! The JobManager is lost, and another one comes, or none.

use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use flumen_fs::{FileSystems, FsOptions};
use flumen_ha::{Addresses, Candidate, HaSettings};
use flumen_model::config::Configuration;
use flumen_model::ids::{Epoch, ExecutionAttempt, SubtaskId, VertexId};
use flumen_wire::control::{
    Deployment, ExecutorCommand, ExecutorReport, FromExecutor, FromWorker, ToExecutor, ToWorker, VertexPlacement,
    WorkerAddress,
};
use flumen_wire::frame;
use flumen_wire::report::WorkerReport;
use tempfile::TempDir;

use crate::support::{Container, EPOCH, JOB, LIMIT, alive, wait_until};

const NEXT: Epoch = Epoch(EPOCH.0 + 1);
const SOURCE: SubtaskId = SubtaskId { vertex: VertexId(1), index: 0 };

/// A cluster with high availability whose first JobManager is the container's.
struct Cluster {
    dir: TempDir,
    container: Container,
}

impl Cluster {
    fn start(options: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let storage = dir.path().display().to_string();
        let ha = [("high-availability.storageDir", storage.as_str()), ("high-availability.cluster-id", "c")];
        let options: Vec<_> = ha.iter().chain(options).copied().collect();
        Self { container: Container::start(&options), dir }
    }

    /// A worker that echoes, in execution 3 of its job.
    fn worker(&mut self) -> u32 {
        self.container.start_worker(7, "echo");
        let pid = self.container.hear_ready(7);
        let place = VertexPlacement { vertex: SOURCE.vertex, worker_of: vec![0] };
        let address = WorkerAddress { host: "127.0.0.1".into(), port: 1, socket: None };
        let attempt = ExecutionAttempt(3);
        self.container.tell_worker(
            7,
            ToWorker::Deploy(Deployment {
                region: 0,
                attempt,
                workers: vec![address],
                me: 0,
                placement: vec![place],
                restore: vec![],
            }),
        );
        let split = Some("a".to_owned());
        self.container.tell_worker(7, ToWorker::Split { attempt, subtask: SOURCE, split });
        self.echo(3);
        pid
    }

    fn echo(&mut self, attempt: u32) {
        let attempt = ExecutionAttempt(attempt);
        self.container.tell_worker(7, ToWorker::Start { region: 0, attempt });
        let heard = self.container.hear_worker(7);
        assert!(matches!(heard, FromWorker::Deployed { attempt: heard, .. } if heard == attempt), "{heard:?}");
    }

    /// The next JobManager says where it is.
    fn announce(&self, listener: &TcpListener) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut conf = Configuration::new();
            conf.set("high-availability.storageDir", self.dir.path().display().to_string());
            let settings = HaSettings::read(&conf, "c").unwrap();
            let store = flumen_ha::open(&settings, &FileSystems::new(FsOptions::default()).unwrap()).unwrap();
            let candidate = Candidate {
                owner: "application_1_0001".into(),
                attempt: NEXT.0 as u32,
                replaces: None,
                follows: false,
            };
            let leadership = store.campaign(&candidate).await.unwrap();
            assert_eq!(leadership.epoch(), NEXT);
            let internal = listener.local_addr().unwrap().to_string();
            store.announce(&leadership, &Addresses { internal, rest: String::new() }).await.unwrap();
        });
    }

    /// The registration at the next JobManager, and its answer.
    fn registers_at(&mut self, listener: &TcpListener, epoch: Epoch, answer: ExecutorCommand) -> Vec<WorkerReport> {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let first: FromExecutor = frame::read_blocking(&mut stream).unwrap().unwrap();
        assert_eq!(first.epoch, EPOCH, "the greatest that it has seen");
        let ExecutorReport::Register { info, workers } = first.report else { panic!("{first:?}") };
        assert_eq!(info.id, self.container.info.id);
        frame::write_blocking(&mut stream, &ToExecutor { epoch, command: answer }).unwrap();
        (self.container.stream, self.container.epoch) = (Some(stream), epoch);
        workers
    }
}

fn yes() -> ExecutorCommand {
    ExecutorCommand::Registered { configuration: Configuration::new(), hadoop: Default::default() }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn is_closed(mut stream: TcpStream) -> bool {
    matches!(frame::read_blocking::<FromExecutor>(&mut stream), Ok(None) | Err(_))
}

#[test]
fn a_worker_goes_on_without_a_jobmanager_and_is_reported_to_the_next_one() {
    let mut cluster = Cluster::start(&[]);
    let pid = cluster.worker();
    cluster.container.stream = None;
    let listener = listener();
    cluster.announce(&listener);
    let workers = cluster.registers_at(&listener, NEXT, yes());
    let [worker] = &workers[..] else { panic!("{workers:?}") };
    assert_eq!((worker.job, worker.instance, worker.pid, &worker.exited), (JOB, 7, Some(pid), &None));
    let [region] = &worker.regions[..] else { panic!("{worker:?}") };
    assert!(region.started && !region.cancelled && worker.whole);
    assert_eq!((region.subtasks[0].subtask, region.subtasks[0].splits[0].split.as_str()), (SOURCE, "a"));
    assert!(alive(pid));
    cluster.echo(4);
    cluster.container.say_in(EPOCH, ExecutorCommand::Shutdown { reason: "from the past".into() });
    cluster.echo(5);
    assert!(cluster.container.log("taskmanager.log").contains("stale leader"));
}

#[test]
fn a_worker_that_ends_while_there_is_no_jobmanager_is_reported_with_its_failure() {
    let mut cluster = Cluster::start(&[]);
    let pid = cluster.worker();
    cluster.container.stream = None;
    wait_until("the loss is noticed", || cluster.container.log("taskmanager.log").contains("the JobManager is lost"));
    let process = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    wait_until("the worker is reaped", || !alive(pid));
    wait_until("its end is noticed", || cluster.container.log("taskmanager.log").contains("SIGKILL"));
    let listener = listener();
    cluster.announce(&listener);
    let workers = cluster.registers_at(&listener, NEXT, yes());
    let failure = workers[0].exited.clone().unwrap();
    assert!(failure.message.contains("was killed by SIGKILL") && workers[0].regions.len() == 1, "{failure}");
    cluster.container.heartbeat();
}

#[test]
fn without_another_jobmanager_it_gives_up_in_time() {
    let mut cluster = Cluster::start(&[("taskexecutor.leader-lost-timeout", "1 s")]);
    let pid = cluster.worker();
    let before = Instant::now();
    cluster.container.stream = None;
    assert_eq!(cluster.container.process.ended().code(), Some(1));
    assert!(before.elapsed().as_millis() >= 1000, "not at once");
    assert!(!alive(pid) && cluster.container.tmp_dirs().is_empty());
    let log = cluster.container.log("taskmanager.log");
    assert!(log.contains("no JobManager was found within 1 s (taskexecutor.leader-lost-timeout)"), "{log}");
}

#[test]
fn a_jobmanager_that_says_nothing_is_left_for_its_successor() {
    let mut cluster = Cluster::start(&[("heartbeat.timeout", "3 s")]);
    let pid = cluster.worker();
    let former = cluster.container.stream.take().unwrap();
    let listener = listener();
    cluster.announce(&listener);
    cluster.registers_at(&listener, NEXT, yes());
    assert!(is_closed(former), "nobody obeys the former one any more");
    cluster.echo(4);
    assert!(alive(pid));
}

#[test]
fn an_answer_of_a_former_jobmanager_counts_for_nothing() {
    let mut cluster = Cluster::start(&[]);
    cluster.worker();
    cluster.container.stream = None;
    let listener = listener();
    cluster.announce(&listener);
    let former = Epoch(EPOCH.0 - 1);
    cluster.registers_at(&listener, former, ExecutorCommand::Shutdown { reason: "gone".into() });
    cluster.registers_at(&listener, former, yes());
    let workers = cluster.registers_at(&listener, NEXT, yes());
    assert_eq!(workers.len(), 1);
    cluster.echo(4);
}

#[test]
fn the_next_jobmanager_may_refuse_it() {
    let mut cluster = Cluster::start(&[]);
    let pid = cluster.worker();
    cluster.container.stream = None;
    let listener = listener();
    cluster.announce(&listener);
    cluster.registers_at(&listener, NEXT, ExecutorCommand::Shutdown { reason: "its container was given up".into() });
    assert_eq!(cluster.container.process.ended().code(), Some(1));
    assert!(!alive(pid));
    let log = cluster.container.log("taskmanager.log");
    assert!(log.contains("refused this TaskExecutor: its container was given up"), "{log}");
}

#[test]
fn a_worker_that_was_stopped_is_not_reported() {
    let mut cluster = Cluster::start(&[]);
    let pid = cluster.worker();
    cluster.container.say(ExecutorCommand::StopWorker { job: JOB, instance: 7 });
    wait_until("the worker is gone", || !alive(pid));
    cluster.container.stream = None;
    let listener = listener();
    cluster.announce(&listener);
    assert_eq!(cluster.registers_at(&listener, NEXT, yes()), []);
}
