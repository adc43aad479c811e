//! The embedded cluster: the JobMaster and one worker of the cluster, joined inside this process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flumen_fs::{FileSystems, output};
use flumen_jobmaster::{
    Action, Event, JobMaster, JobResult, RequestId, Settings, SnapshotRequest, SnapshotWish, Timestamp,
};
use flumen_model::config::{Configuration, Directories};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutionAttempt, ExecutorId, JobId};
use flumen_model::job_graph::JobGraph;
use flumen_model::options::memory;
use flumen_model::status::JobStatus;
use flumen_wire::control::{FromWorker, ProgramSetup, ToWorker, WorkerAddress};
use flumen_worker::deployment::Program;
use flumen_worker::files::file_systems;
use flumen_worker::process::worker_context;
use flumen_worker::subtask::WorkerContext;
use flumen_worker::worker::{QUEUE, Worker};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::embedded::checkpoints::Checkpoints;
use crate::embedded::client::{Command, Reply};
use crate::environment::JobExecutionResult;
use crate::error::{Error, Result};

mod checkpoints;
mod client;

pub use client::JobClient;

/// The one TaskExecutor there is.
const EXECUTOR: &str = "embedded";
/// Cancelled subtasks end in milliseconds; user code that does not look up is left behind.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// Runs a program to its end.
pub(crate) fn run(program: Program, setup: &ProgramSetup) -> Result<JobExecutionResult> {
    let (_, commands) = mpsc::channel(client::COMMANDS);
    Prepared::new(program, setup, commands)?.run()
}

/// Runs a program in a thread of its own.
pub(crate) fn start(program: Program, setup: &ProgramSetup) -> Result<JobClient> {
    let (sender, commands) = mpsc::channel(client::COMMANDS);
    let name = program.graph.name.clone();
    let prepared = Prepared::new(program, setup, commands)?;
    let job = prepared.cluster.job;
    let thread = std::thread::Builder::new().name("embedded cluster".to_owned()).spawn(move || prepared.run());
    Ok(JobClient::new(job, name, sender, thread.map_err(|error| Error::Embedded(error.into()))?))
}

/// A job that is accepted and not begun.
struct Prepared {
    runtime: Runtime,
    cluster: Cluster,
    jobmaster: JobMaster,
    actions: Vec<Action>,
    inbox: mpsc::Receiver<Event>,
    /// Removed when the job is over.
    _local: LocalDirectories,
}

impl Prepared {
    fn new(program: Program, setup: &ProgramSetup, commands: mpsc::Receiver<Command>) -> Result<Self> {
        let io = |error: std::io::Error| Error::Embedded(error.into());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(io)?;
        prepare(runtime, program, setup, commands)
    }

    fn run(self) -> Result<JobExecutionResult> {
        let Self { runtime, cluster, jobmaster, actions, inbox, _local } = self;
        let result = runtime.block_on(cluster.run(jobmaster, actions, inbox));
        runtime.shutdown_timeout(SHUTDOWN_LIMIT);
        let result = result.map_err(|text| Error::Embedded(text.into()))?;
        match (result.failure, result.status) {
            (Some(failure), _) => Err(Error::JobFailed { name: result.name, failure: Box::new(failure) }),
            (None, JobStatus::Canceled) => Err(Error::JobCanceled { name: result.name }),
            (None, _) => Ok(JobExecutionResult { job: result.job, runtime: Duration::from_millis(result.runtime_ms) }),
        }
    }
}

fn prepare(
    runtime: Runtime,
    program: Program,
    setup: &ProgramSetup,
    commands: mpsc::Receiver<Command>,
) -> Result<Prepared> {
    let configuration = &setup.configuration;
    let embedded = |error: Box<dyn std::error::Error + Send + Sync>| Error::Embedded(error);
    let files = file_systems(configuration, &setup.hadoop).map_err(|e| embedded(e.into()))?;
    let job = new_job_id();
    runtime.block_on(prepare_outputs(&files, &program.graph, job))?;
    let slots = program.graph.slots();
    let local = LocalDirectories::create(configuration, job).map_err(embedded)?;
    let context = worker_context(
        setup,
        &program.graph,
        runtime.handle().clone(),
        configuration.get(&memory::TASKMANAGER_PROCESS)?.0,
        slots,
        &local.0,
        &[],
    )
    .map_err(|e| embedded(e.into()))?;
    let mut settings = Settings::read(configuration, &program.graph)?;
    let (events, inbox) = mpsc::channel(QUEUE);
    let begun = Checkpoints::begin(&files, configuration, job, &mut settings.checkpoints, events.clone());
    let (checkpoints, start) = runtime.block_on(begun)?;
    let (jobmaster, actions) = JobMaster::new(job, program.graph.clone(), settings, start, now());
    let cluster = Cluster {
        job,
        outputs: program.graph.outputs.clone(),
        program: Arc::new(program),
        context,
        credit: configuration.get(&memory::NETWORK_BATCHES_PER_CHANNEL)?,
        files,
        checkpoints,
        events,
        workers: HashMap::new(),
        slots,
        commands,
        waiting: None,
        asked: HashMap::new(),
        requests: 0,
        result: None,
    };
    Ok(Prepared { runtime, cluster, jobmaster, actions, inbox, _local: local })
}

async fn prepare_outputs(files: &FileSystems, graph: &JobGraph, job: JobId) -> Result<()> {
    for path in &graph.outputs {
        let failed = |cause| Error::Output { output: path.clone(), cause };
        let directory = files.resolve(path).map_err(failed)?;
        let fs = files.get(&directory).map_err(failed)?;
        output::prepare(&*fs, &directory, &job.to_string()).await.map_err(failed)?;
    }
    Ok(())
}

/// Where the job keeps what its subtasks spill and their local state: removed with it.
struct LocalDirectories(Vec<String>);

impl LocalDirectories {
    /// One for the job in each of `io.tmp.dirs`.
    fn create(configuration: &Configuration, job: JobId) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let Directories(mut roots) = configuration.find(&memory::TMP_DIRS)?.unwrap_or_default();
        if roots.is_empty() {
            roots.push(std::env::temp_dir());
        }
        let mut own = Self(Vec::new());
        for root in roots {
            let directory = std::path::absolute(root)?.join(format!("flumen-{job}"));
            std::fs::create_dir_all(&directory)?;
            own.0.push(directory.display().to_string());
        }
        Ok(own)
    }
}

impl Drop for LocalDirectories {
    fn drop(&mut self) {
        for directory in &self.0 {
            // Files of subtasks that were left behind may come after this.
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// Carries out what the JobMaster decides.
struct Cluster {
    job: JobId,
    outputs: Vec<String>,
    program: Arc<Program>,
    context: WorkerContext,
    credit: u32,
    files: FileSystems,
    checkpoints: Checkpoints,
    events: mpsc::Sender<Event>,
    workers: HashMap<u32, mpsc::Sender<ToWorker>>,
    slots: u32,
    commands: mpsc::Receiver<Command>,
    /// What was wanted before the job ran; another wish at that time is refused.
    waiting: Option<(SnapshotWish, Reply)>,
    /// Who waits for which snapshot.
    asked: HashMap<RequestId, Reply>,
    /// So many.
    requests: u64,
    result: Option<JobResult>,
}

impl Cluster {
    async fn run(
        mut self,
        mut jobmaster: JobMaster,
        actions: Vec<Action>,
        mut inbox: mpsc::Receiver<Event>,
    ) -> Result<JobResult, &'static str> {
        self.act(actions).await;
        let offer = Event::ExecutorRegistered { id: executor(), slots: self.slots, host: "localhost".to_owned() };
        self.act(jobmaster.step(now(), offer)).await;
        while self.result.is_none() {
            let wait = jobmaster
                .next_timer()
                .map_or(Duration::from_secs(3600), |at| Duration::from_millis(at.0.saturating_sub(now().0)));
            let runs = jobmaster.status() == JobStatus::Running;
            let event = match self.waiting.take_if(|_| runs) {
                Some((wish, reply)) => self.ask(wish, reply),
                None => tokio::select! {
                    event = tokio::time::timeout(wait, inbox.recv()) => match event {
                        Ok(Some(event)) => event,
                        Ok(None) => return Err("the embedded cluster lost its own events"),
                        Err(_) => Event::Tick,
                    },
                    Some(command) = self.commands.recv() => match command {
                        Command::Cancel => Event::Cancel,
                        Command::Snapshot(wish, reply) if runs || self.waiting.is_some() => self.ask(wish, reply),
                        // A snapshot can be taken of a job that runs: until then the program waits.
                        Command::Snapshot(wish, reply) => {
                            self.waiting = Some((wish, reply));
                            Event::Tick
                        }
                    },
                },
            };
            self.act(jobmaster.step(now(), event)).await;
        }
        self.checkpoints.settle().await;
        self.result.take().ok_or("the job ended without a result")
    }

    /// What the program wants, as the JobMaster is told it.
    fn ask(&mut self, mut wish: SnapshotWish, reply: Reply) -> Event {
        if let SnapshotWish::Savepoint { target: Some(target) } | SnapshotWish::Stop { target: Some(target), .. } =
            &mut wish
        {
            match self.files.resolve(target) {
                Ok(path) => *target = path.to_string(),
                Err(error) => {
                    // Who has asked waits for it.
                    let _ = reply.try_send(Err(Failure::new(Blame::User, error.to_string())));
                    return Event::Tick;
                }
            }
        }
        self.requests += 1;
        let request = RequestId(self.requests);
        self.asked.insert(request, reply);
        Event::Snapshot(SnapshotRequest { request, wish })
    }

    async fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::DeclareSlots(_) => {}
                Action::StartWorker { instance, .. } => self.start_worker(instance).await,
                Action::StopWorker { instance, .. } => drop(self.workers.remove(&instance)),
                Action::ToWorker { instance, message, .. } => {
                    if let Some(worker) = self.workers.get(&instance) {
                        // It ends only when it is dropped from this map.
                        let _ = worker.send(message).await;
                    }
                }
                Action::CommitOutputs { attempt } => {
                    let result = self.commit(attempt).await;
                    let _ = self.events.send(Event::OutputsCommitted(result)).await;
                }
                Action::StoreCheckpoint(checkpoint) => self.checkpoints.store(checkpoint),
                Action::DiscardFiles { paths } => self.checkpoints.discard(paths),
                Action::Answer { request, result } => {
                    if let Some(asked) = self.asked.remove(&request) {
                        // Who has asked waits for it.
                        let _ = asked.try_send(result);
                    }
                }
                Action::Done(result) => {
                    if result.status != JobStatus::Finished {
                        self.abandon_outputs().await;
                    }
                    self.result = Some(result);
                }
            }
        }
    }

    async fn start_worker(&mut self, instance: u32) {
        let (commands, obeyed) = mpsc::channel(QUEUE);
        let (reports, mut reported) = mpsc::channel::<FromWorker>(QUEUE);
        let worker = Worker::new(self.job, Arc::clone(&self.program), self.context.clone(), None, self.credit, reports);
        tokio::spawn(worker.run(obeyed));
        self.workers.insert(instance, commands);
        let events = self.events.clone();
        let address = WorkerAddress { host: "localhost".to_owned(), port: 0, socket: None };
        let ready = FromWorker::Ready { address, pid: std::process::id() };
        tokio::spawn(async move {
            let mut next = Some(ready);
            while let Some(message) = next {
                let event = Event::Worker { executor: executor(), instance, message };
                if events.send(event).await.is_err() {
                    return;
                }
                next = reported.recv().await;
            }
        });
    }

    async fn commit(&self, attempt: ExecutionAttempt) -> Result<(), Failure> {
        for path in &self.outputs {
            let failed = |error| {
                let text = format!("{:?}", Error::Output { output: path.clone(), cause: error });
                Failure::new(Blame::Outside, text)
            };
            let directory = self.files.resolve(path).map_err(failed)?;
            let fs = self.files.get(&directory).map_err(failed)?;
            output::commit(&*fs, &directory, attempt.0).await.map_err(failed)?;
        }
        Ok(())
    }

    /// As well as it can be done: the job has its result already.
    async fn abandon_outputs(&self) {
        for path in &self.outputs {
            let Ok(directory) = self.files.resolve(path) else { continue };
            let Ok(fs) = self.files.get(&directory) else { continue };
            if let Err(error) = output::abandon(&*fs, &directory).await {
                tracing::warn!(output = %directory, %error, "temporary files of the job could not be removed");
            }
        }
    }
}

fn executor() -> ExecutorId {
    ExecutorId(EXECUTOR.to_owned())
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_millis() as u64)
}

/// Unlike any other's on this machine, which is all that an embedded job needs.
fn new_job_id() -> JobId {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    JobId(nanos << 32 | u128::from(std::process::id()))
}
